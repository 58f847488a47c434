
-- Delegation: a sub-task.

CREATE DOMAIN caliber_delegation_id AS uuid;

COMMENT ON DOMAIN caliber_delegation_id IS
'Key of a delegation; a column of this type makes a caliber_am table a delegation table.';

CREATE TYPE caliber_delegation_status AS ENUM (
    'pending', 'accepted', 'in_progress', 'rejected', 'completed', 'failed');

COMMENT ON TYPE caliber_delegation_status IS
'State of a delegation: pending, accepted, in_progress; rejected, completed and failed are final.';

CREATE TYPE caliber_delegation_row AS (
    delegation_id        uuid,
    delegator_agent_id   uuid,
    delegatee_agent_id   uuid,
    delegatee_agent_type text,
    task_description     text,
    parent_trajectory_id uuid,
    child_trajectory_id  uuid,
    shared_artifacts     uuid[],
    shared_notes         uuid[],
    additional_context   text,
    constraints          jsonb,
    deadline             timestamptz,
    status               caliber_delegation_status,
    result               jsonb,
    accepted_at          timestamptz,
    completed_at         timestamptz,
    metadata             jsonb,
    created_at           timestamptz,
    updated_at           timestamptz,
    version              bigint);

COMMENT ON TYPE caliber_delegation_row IS
'A delegation as functions return it.';

CREATE FUNCTION caliber_delegation_create(
    delegator_agent_id uuid,
    task_description text,
    parent_trajectory_id uuid,
    delegatee_agent_id uuid DEFAULT NULL,
    delegatee_agent_type text DEFAULT NULL,
    shared_artifacts uuid[] DEFAULT NULL,
    shared_notes uuid[] DEFAULT NULL,
    additional_context text DEFAULT NULL,
    constraints jsonb DEFAULT NULL,
    deadline timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    delegation_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_delegation_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_delegation_create IS
'Offers a sub-task to an agent or to a type of agents, with a message; returns its id.';

CREATE FUNCTION caliber_delegation_get(id uuid)
RETURNS caliber_delegation_row
AS 'MODULE_PATHNAME', 'caliber_delegation_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_delegation_get IS
'The delegation with this id; null for an unknown one.';

CREATE FUNCTION caliber_delegation_accept(
    id uuid,
    agent_id uuid,
    child_trajectory_id uuid DEFAULT NULL)
RETURNS caliber_delegation_row
AS 'MODULE_PATHNAME', 'caliber_delegation_accept_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_delegation_accept IS
'Takes a pending delegation on, in a new child trajectory unless one is given; returns the new row.';

CREATE FUNCTION caliber_delegation_start(
    id uuid,
    agent_id uuid)
RETURNS caliber_delegation_row
AS 'MODULE_PATHNAME', 'caliber_delegation_start_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_delegation_start IS
'Marks an accepted delegation as in progress; returns the new row.';

CREATE FUNCTION caliber_delegation_complete(
    id uuid,
    agent_id uuid,
    result jsonb DEFAULT NULL)
RETURNS caliber_delegation_row
AS 'MODULE_PATHNAME', 'caliber_delegation_complete_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_delegation_complete IS
'Completes a delegation with its result and tells the delegator; returns the new row.';

CREATE FUNCTION caliber_delegation_fail(
    id uuid,
    agent_id uuid,
    reason text DEFAULT NULL)
RETURNS caliber_delegation_row
AS 'MODULE_PATHNAME', 'caliber_delegation_fail_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_delegation_fail IS
'Gives a delegation up, by the delegatee or the delegator; returns the new row.';

CREATE FUNCTION caliber_delegation_reject(
    id uuid,
    agent_id uuid,
    reason text DEFAULT NULL)
RETURNS caliber_delegation_row
AS 'MODULE_PATHNAME', 'caliber_delegation_reject_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_delegation_reject IS
'Turns a pending delegation down and tells the delegator; returns the new row.';

CREATE FUNCTION caliber_delegation_list_pending(
    agent_id uuid DEFAULT NULL,
    agent_type text DEFAULT NULL,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_delegation_row
AS 'MODULE_PATHNAME', 'caliber_delegation_list_pending_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_delegation_list_pending IS
'The pending delegations that an agent, or any agent of a type, may accept, oldest first.';
