
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
