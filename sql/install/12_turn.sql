
-- Turn: one message of a conversation, append-only.

CREATE DOMAIN caliber_turn_id AS uuid;

COMMENT ON DOMAIN caliber_turn_id IS
'Key of a turn; a column of this type makes a caliber_am table a turn table.';

CREATE TYPE caliber_turn_role AS ENUM (
    'system', 'user', 'assistant', 'tool');

COMMENT ON TYPE caliber_turn_role IS
'Who speaks in a turn.';

CREATE TYPE caliber_turn_row AS (
    turn_id      uuid,
    scope_id     uuid,
    sequence     int,
    role         caliber_turn_role,
    content      text,
    token_count  int,
    tool_calls   jsonb,
    tool_results jsonb,
    created_at   timestamptz,
    metadata     jsonb);

COMMENT ON TYPE caliber_turn_row IS
'A turn as functions return it.';

CREATE FUNCTION caliber_turn_create(
    scope_id uuid,
    role caliber_turn_role,
    content text,
    token_count int DEFAULT NULL,
    tool_calls jsonb DEFAULT NULL,
    tool_results jsonb DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    sequence int DEFAULT NULL,
    fence bigint DEFAULT NULL,
    turn_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_turn_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_turn_create IS
'Appends a turn to an active scope, charges its budget, and returns the turn''s id.';

CREATE FUNCTION caliber_turn_append_many(
    scope_id uuid,
    messages jsonb,
    fence bigint DEFAULT NULL)
RETURNS SETOF uuid
AS 'MODULE_PATHNAME', 'caliber_turn_append_many_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;

COMMENT ON FUNCTION caliber_turn_append_many IS
'Appends an array of messages in the OpenAI chat format to a scope, all or nothing; returns the ids.';

CREATE FUNCTION caliber_turn_get(id uuid)
RETURNS caliber_turn_row
AS 'MODULE_PATHNAME', 'caliber_turn_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_turn_get IS
'The turn with this id; null for an unknown one.';

CREATE FUNCTION caliber_turn_get_many(ids uuid[])
RETURNS SETOF caliber_turn_row
AS 'MODULE_PATHNAME', 'caliber_turn_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_turn_get_many IS
'The turns with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_turn_get_by_scope(
    scope_id uuid,
    after_sequence int DEFAULT -1,
    max_rows int DEFAULT 100)
RETURNS SETOF caliber_turn_row
AS 'MODULE_PATHNAME', 'caliber_turn_get_by_scope_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_turn_get_by_scope IS
'The turns of a scope after a sequence number, in sequence order.';

CREATE FUNCTION caliber_turn_tail(
    scope_id uuid,
    max_rows int DEFAULT 100)
RETURNS SETOF caliber_turn_row
AS 'MODULE_PATHNAME', 'caliber_turn_tail_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_turn_tail IS
'The newest turns of a scope, in sequence order.';
