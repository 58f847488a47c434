
-- Conflict: two items disagree.

CREATE DOMAIN caliber_conflict_id AS uuid;

COMMENT ON DOMAIN caliber_conflict_id IS
'Key of a conflict; a column of this type makes a caliber_am table a conflict table.';

CREATE TYPE caliber_conflict_conflict_type AS ENUM (
    'concurrent_write', 'contradicting_fact', 'incompatible_decision', 'resource_contention',
    'goal_conflict');

COMMENT ON TYPE caliber_conflict_conflict_type IS
'In what way two items disagree.';

CREATE TYPE caliber_conflict_status AS ENUM (
    'detected', 'resolving', 'resolved', 'escalated');

COMMENT ON TYPE caliber_conflict_status IS
'State of a conflict; resolved is final.';

CREATE TYPE caliber_conflict_row AS (
    conflict_id   uuid,
    conflict_type caliber_conflict_conflict_type,
    item_a_type   text,
    item_a_id     uuid,
    item_b_type   text,
    item_b_id     uuid,
    agent_a_id    uuid,
    agent_b_id    uuid,
    trajectory_id uuid,
    status        caliber_conflict_status,
    resolution    jsonb,
    detected_at   timestamptz,
    resolved_at   timestamptz,
    metadata      jsonb,
    created_at    timestamptz,
    updated_at    timestamptz,
    version       bigint);

COMMENT ON TYPE caliber_conflict_row IS
'A conflict as functions return it.';
