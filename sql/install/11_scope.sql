
-- Scope: a context window with a token budget.

CREATE DOMAIN caliber_scope_id AS uuid;

COMMENT ON DOMAIN caliber_scope_id IS
'Key of a scope; a column of this type makes a caliber_am table a scope table.';

CREATE TYPE caliber_scope_row AS (
    scope_id        uuid,
    trajectory_id   uuid,
    parent_scope_id uuid,
    name            text,
    purpose         text,
    is_active       boolean,
    token_budget    int,
    tokens_used     int,
    turn_count      int,
    fence           bigint,
    checkpoint      jsonb,
    closed_at       timestamptz,
    metadata        jsonb,
    created_at      timestamptz,
    updated_at      timestamptz,
    version         bigint);

COMMENT ON TYPE caliber_scope_row IS
'A scope as functions return it.';

CREATE FUNCTION caliber_scope_create(
    trajectory_id uuid,
    name text,
    token_budget int,
    purpose text DEFAULT NULL,
    parent_scope_id uuid DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    fence bigint DEFAULT NULL,
    scope_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_scope_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_scope_create IS
'Opens a scope in an active trajectory and returns its id.';

CREATE FUNCTION caliber_scope_get(id uuid)
RETURNS caliber_scope_row
AS 'MODULE_PATHNAME', 'caliber_scope_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_scope_get IS
'The scope with this id; null for an unknown one.';

CREATE FUNCTION caliber_scope_get_many(ids uuid[])
RETURNS SETOF caliber_scope_row
AS 'MODULE_PATHNAME', 'caliber_scope_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_scope_get_many IS
'The scopes with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_scope_get_current(trajectory_id uuid)
RETURNS caliber_scope_row
AS 'MODULE_PATHNAME', 'caliber_scope_get_current_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_scope_get_current IS
'The newest active scope of a trajectory; null when there is none.';

CREATE FUNCTION caliber_scope_list_by_trajectory(
    trajectory_id uuid,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_scope_row
AS 'MODULE_PATHNAME', 'caliber_scope_list_by_trajectory_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_scope_list_by_trajectory IS
'The scopes of a trajectory, oldest first.';

CREATE FUNCTION caliber_scope_update_tokens(
    id uuid,
    tokens_used int,
    fence bigint DEFAULT NULL)
RETURNS caliber_scope_row
AS 'MODULE_PATHNAME', 'caliber_scope_update_tokens_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_scope_update_tokens IS
'Sets a scope''s counter tokens_used, which never falls; returns the new row.';

CREATE FUNCTION caliber_scope_update(
    id uuid,
    changes jsonb,
    expected_version bigint DEFAULT NULL,
    fence bigint DEFAULT NULL)
RETURNS caliber_scope_row
AS 'MODULE_PATHNAME', 'caliber_scope_update_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_scope_update IS
'Changes name, purpose, token_budget, checkpoint, metadata of a scope; returns the new row.';

CREATE FUNCTION caliber_scope_close(
    id uuid,
    expected_version bigint DEFAULT NULL,
    fence bigint DEFAULT NULL)
RETURNS caliber_scope_row
AS 'MODULE_PATHNAME', 'caliber_scope_close_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_scope_close IS
'Closes a scope for good; returns the new row.';
