
-- Handoff: the whole task changes hands.

CREATE DOMAIN caliber_handoff_id AS uuid;

COMMENT ON DOMAIN caliber_handoff_id IS
'Key of a handoff; a column of this type makes a caliber_am table a handoff table.';

CREATE TYPE caliber_handoff_reason AS ENUM (
    'capability_mismatch', 'load_balancing', 'specialization', 'escalation', 'timeout', 'failure',
    'scheduled');

COMMENT ON TYPE caliber_handoff_reason IS
'Why a task changes hands.';

CREATE TYPE caliber_handoff_status AS ENUM (
    'initiated', 'accepted', 'rejected', 'completed');

COMMENT ON TYPE caliber_handoff_status IS
'State of a handoff: initiated, accepted; rejected and completed are final.';

CREATE TYPE caliber_handoff_row AS (
    handoff_id          uuid,
    from_agent_id       uuid,
    to_agent_id         uuid,
    to_agent_type       text,
    trajectory_id       uuid,
    scope_id            uuid,
    context_snapshot_id uuid,
    handoff_notes       text,
    next_steps          text[],
    blockers            text[],
    open_questions      text[],
    reason              caliber_handoff_reason,
    status              caliber_handoff_status,
    initiated_at        timestamptz,
    accepted_at         timestamptz,
    completed_at        timestamptz,
    metadata            jsonb,
    created_at          timestamptz,
    updated_at          timestamptz,
    version             bigint);

COMMENT ON TYPE caliber_handoff_row IS
'A handoff as functions return it.';

CREATE FUNCTION caliber_handoff_create(
    from_agent_id uuid,
    trajectory_id uuid,
    scope_id uuid,
    reason caliber_handoff_reason,
    to_agent_id uuid DEFAULT NULL,
    to_agent_type text DEFAULT NULL,
    handoff_notes text DEFAULT NULL,
    next_steps text[] DEFAULT NULL,
    blockers text[] DEFAULT NULL,
    open_questions text[] DEFAULT NULL,
    context_snapshot_id uuid DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    handoff_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_handoff_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_handoff_create IS
'Offers a whole task to an agent or to a type of agents, with a message; returns its id.';

CREATE FUNCTION caliber_handoff_get(id uuid)
RETURNS caliber_handoff_row
AS 'MODULE_PATHNAME', 'caliber_handoff_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_handoff_get IS
'The handoff with this id; null for an unknown one.';

CREATE FUNCTION caliber_handoff_accept(
    id uuid,
    agent_id uuid,
    OUT handoff caliber_handoff_row,
    OUT fence bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'caliber_handoff_accept_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;

COMMENT ON FUNCTION caliber_handoff_accept IS
'Takes a task over: makes the agent the trajectory''s, under a new fence that ends the former agent''s writes.';

CREATE FUNCTION caliber_handoff_complete(
    id uuid,
    agent_id uuid)
RETURNS caliber_handoff_row
AS 'MODULE_PATHNAME', 'caliber_handoff_complete_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_handoff_complete IS
'Ends an accepted handoff; returns the new row.';

CREATE FUNCTION caliber_handoff_reject(
    id uuid,
    agent_id uuid,
    reason text DEFAULT NULL)
RETURNS caliber_handoff_row
AS 'MODULE_PATHNAME', 'caliber_handoff_reject_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_handoff_reject IS
'Turns a handoff down and tells the agent it comes from; returns the new row.';

CREATE FUNCTION caliber_handoff_list_pending(
    agent_id uuid DEFAULT NULL,
    agent_type text DEFAULT NULL,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_handoff_row
AS 'MODULE_PATHNAME', 'caliber_handoff_list_pending_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_handoff_list_pending IS
'The handoffs that an agent, or any agent of a type, may accept, oldest first.';
