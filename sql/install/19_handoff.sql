
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
