
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
