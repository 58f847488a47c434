
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

CREATE TYPE caliber_conflict_strategy AS ENUM (
    'last_write_wins', 'first_write_wins', 'highest_confidence', 'merge', 'escalate',
    'reject_both');

COMMENT ON TYPE caliber_conflict_strategy IS
'How a conflict is resolved.';

CREATE FUNCTION caliber_conflict_create(
    conflict_type caliber_conflict_conflict_type,
    item_a_type text,
    item_a_id uuid,
    item_b_type text,
    item_b_id uuid,
    agent_a_id uuid DEFAULT NULL,
    agent_b_id uuid DEFAULT NULL,
    trajectory_id uuid DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    conflict_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_conflict_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_conflict_create IS
'Records that two items disagree and returns the conflict''s id.';

CREATE FUNCTION caliber_conflict_get(id uuid)
RETURNS caliber_conflict_row
AS 'MODULE_PATHNAME', 'caliber_conflict_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_conflict_get IS
'The conflict with this id; null for an unknown one.';

CREATE FUNCTION caliber_conflict_resolve(
    id uuid,
    strategy caliber_conflict_strategy,
    winner uuid DEFAULT NULL,
    reason text DEFAULT NULL,
    resolved_by uuid DEFAULT NULL,
    expected_version bigint DEFAULT NULL)
RETURNS caliber_conflict_row
AS 'MODULE_PATHNAME', 'caliber_conflict_resolve_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_conflict_resolve IS
'Resolves or escalates a conflict; a losing artifact or note is superseded by the winner. Returns the new row.';

CREATE FUNCTION caliber_conflict_list_pending(
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_conflict_row
AS 'MODULE_PATHNAME', 'caliber_conflict_list_pending_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_conflict_list_pending IS
'The conflicts that are detected or being resolved, oldest first.';
