
-- Agent: who works here.

CREATE DOMAIN caliber_agent_id AS uuid;

COMMENT ON DOMAIN caliber_agent_id IS
'Key of an agent; a column of this type makes a caliber_am table an agent table.';

CREATE TYPE caliber_agent_status AS ENUM (
    'idle', 'active', 'blocked', 'failed', 'offline');

COMMENT ON TYPE caliber_agent_status IS
'State of an agent; every move is free.';

CREATE TYPE caliber_agent_row AS (
    agent_id              uuid,
    agent_type            text,
    capabilities          text[],
    memory_access         jsonb,
    status                caliber_agent_status,
    current_trajectory_id uuid,
    current_scope_id      uuid,
    can_delegate_to       text[],
    reports_to            uuid,
    last_heartbeat        timestamptz,
    metadata              jsonb,
    created_at            timestamptz,
    updated_at            timestamptz,
    version               bigint);

COMMENT ON TYPE caliber_agent_row IS
'An agent as functions return it.';

CREATE FUNCTION caliber_agent_register(
    agent_type text,
    capabilities text[] DEFAULT NULL,
    memory_access jsonb DEFAULT NULL,
    can_delegate_to text[] DEFAULT NULL,
    reports_to uuid DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    agent_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_agent_register_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_agent_register IS
'Registers an idle agent and returns its id.';

CREATE FUNCTION caliber_agent_get(id uuid)
RETURNS caliber_agent_row
AS 'MODULE_PATHNAME', 'caliber_agent_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_agent_get IS
'The agent with this id; null for an unknown one.';

CREATE FUNCTION caliber_agent_get_many(ids uuid[])
RETURNS SETOF caliber_agent_row
AS 'MODULE_PATHNAME', 'caliber_agent_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_agent_get_many IS
'The agents with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_agent_heartbeat(id uuid)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'caliber_agent_heartbeat_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_agent_heartbeat IS
'Shows that an agent lives; returns the database''s clock.';

CREATE FUNCTION caliber_agent_set_status(
    id uuid,
    status caliber_agent_status,
    expected_version bigint DEFAULT NULL)
RETURNS caliber_agent_row
AS 'MODULE_PATHNAME', 'caliber_agent_set_status_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_agent_set_status IS
'Moves an agent to another state; returns the new row.';

CREATE FUNCTION caliber_agent_update(
    id uuid,
    changes jsonb,
    expected_version bigint DEFAULT NULL)
RETURNS caliber_agent_row
AS 'MODULE_PATHNAME', 'caliber_agent_update_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_agent_update IS
'Changes agent_type, capabilities, memory_access, can_delegate_to, reports_to, current_trajectory_id, current_scope_id, metadata of an agent; returns the new row.';

CREATE FUNCTION caliber_agent_list_by_type(
    agent_type text,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_agent_row
AS 'MODULE_PATHNAME', 'caliber_agent_list_by_type_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_agent_list_by_type IS
'The agents of a type, oldest first.';

CREATE FUNCTION caliber_agent_list_active(
    max_age interval DEFAULT '1 minute',
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_agent_row
AS 'MODULE_PATHNAME', 'caliber_agent_list_active_wrapper'
LANGUAGE C VOLATILE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_agent_list_active IS
'The idle and active agents with a heartbeat not older than max_age, oldest first.';
