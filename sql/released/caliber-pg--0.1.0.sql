-- complain if the script is sourced in psql rather than by CREATE EXTENSION
\echo Use "CREATE EXTENSION ""caliber-pg""" to load this file. \quit

\echo Use "CREATE EXTENSION "caliber-pg"" to load this file. \quit

-- Core: the table access method, and the functions that belong to no entity.

CREATE FUNCTION caliber_am_handler(internal)
RETURNS table_am_handler
AS 'MODULE_PATHNAME', 'caliber_am_handler_wrapper'
LANGUAGE C STRICT;

COMMENT ON FUNCTION caliber_am_handler IS
'Handler of the table access method caliber_am.';

CREATE ACCESS METHOD caliber_am TYPE TABLE HANDLER caliber_am_handler;

COMMENT ON ACCESS METHOD caliber_am IS
'Heap tables whose entity rows change only as their entity may.';

CREATE FUNCTION caliber_am_callbacks(
    OUT callback text,
    OUT provider text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'caliber_am_callbacks_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 44;

COMMENT ON FUNCTION caliber_am_callbacks IS
'Each callback of the access method, and whether heap or caliber_am provides it.';

CREATE FUNCTION caliber_rows_support(internal)
RETURNS internal
AS 'MODULE_PATHNAME', 'caliber_rows_support_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_rows_support IS
'Tells the planner how many rows a list returns at most, and at what cost.';

CREATE FUNCTION caliber_version()
RETURNS text
AS 'MODULE_PATHNAME', 'caliber_version_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_version IS
'Version of the loaded library.';

CREATE FUNCTION caliber_new_id()
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_new_id_wrapper'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_new_id IS
'New UUIDv7; the default of every entity''s key.';

-- search_path is pinned: the function runs the tables' DDL.
CREATE FUNCTION caliber_init(
    schema name DEFAULT 'caliber',
    embedding_dim int DEFAULT 1536)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'caliber_init_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100
SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION caliber_init IS
'Creates what is missing of the entity tables in a schema, and lists what it created.';

CREATE FUNCTION caliber_schema_exists(
    schema name DEFAULT 'caliber')
RETURNS boolean
AS 'MODULE_PATHNAME', 'caliber_schema_exists_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_schema_exists IS
'Whether a schema has all entity tables.';

CREATE FUNCTION caliber_entity(relation regclass)
RETURNS text
AS 'MODULE_PATHNAME', 'caliber_entity_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_entity IS
'Which entity a table stores; null for a plain table.';

CREATE FUNCTION caliber_estimate_tokens(content text)
RETURNS int
AS 'MODULE_PATHNAME', 'caliber_estimate_tokens_wrapper'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_estimate_tokens IS
'Estimate of the tokens that a text costs; charged when no token count is given.';

-- Generated columns need it immutable. A text's UTF-8 form does not change in a database's life.
CREATE FUNCTION caliber_content_hash(content text)
RETURNS bytea
AS 'MODULE_PATHNAME', 'caliber_content_hash_wrapper'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_content_hash IS
'SHA-256 of a text''s UTF-8 bytes; generates the content_hash columns.';


-- Trajectory: a task.

CREATE DOMAIN caliber_trajectory_id AS uuid;

COMMENT ON DOMAIN caliber_trajectory_id IS
'Key of a trajectory; a column of this type makes a caliber_am table a trajectory table.';

CREATE TYPE caliber_trajectory_status AS ENUM (
    'active', 'suspended', 'completed', 'failed');

COMMENT ON TYPE caliber_trajectory_status IS
'State of a trajectory: active and suspended alternate; completed and failed are final.';

CREATE TYPE caliber_trajectory_row AS (
    trajectory_id        uuid,
    name                 text,
    description          text,
    status               caliber_trajectory_status,
    parent_trajectory_id uuid,
    root_trajectory_id   uuid,
    agent_id             uuid,
    fence                bigint,
    outcome              jsonb,
    completed_at         timestamptz,
    metadata             jsonb,
    created_at           timestamptz,
    updated_at           timestamptz,
    version              bigint);

COMMENT ON TYPE caliber_trajectory_row IS
'A trajectory as functions return it.';

CREATE FUNCTION caliber_trajectory_create(
    name text,
    description text DEFAULT NULL,
    agent_id uuid DEFAULT NULL,
    parent_trajectory_id uuid DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    trajectory_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_trajectory_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_trajectory_create IS
'Creates an active trajectory and returns its id.';

CREATE FUNCTION caliber_trajectory_get(id uuid)
RETURNS caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_trajectory_get IS
'The trajectory with this id; null for an unknown one.';

CREATE FUNCTION caliber_trajectory_get_many(ids uuid[])
RETURNS SETOF caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_trajectory_get_many IS
'The trajectories with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_trajectory_update(
    id uuid,
    changes jsonb,
    expected_version bigint DEFAULT NULL,
    fence bigint DEFAULT NULL)
RETURNS caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_update_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_trajectory_update IS
'Changes name, description, agent_id, outcome, metadata of a trajectory; returns the new row.';

CREATE FUNCTION caliber_trajectory_set_status(
    id uuid,
    status caliber_trajectory_status,
    outcome jsonb DEFAULT NULL,
    expected_version bigint DEFAULT NULL,
    fence bigint DEFAULT NULL)
RETURNS caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_set_status_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_trajectory_set_status IS
'Moves a trajectory to another state, with its outcome; returns the new row.';

CREATE FUNCTION caliber_trajectory_list_by_status(
    status caliber_trajectory_status,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_list_by_status_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_trajectory_list_by_status IS
'The trajectories in a state, oldest first.';

CREATE FUNCTION caliber_trajectory_list_children(
    id uuid,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_list_children_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_trajectory_list_children IS
'The trajectories directly below a trajectory, oldest first.';

CREATE FUNCTION caliber_trajectory_delete(
    id uuid,
    fence bigint DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'caliber_trajectory_delete_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_trajectory_delete IS
'Deletes a trajectory and the tree below it; returns how many trajectories were deleted.';


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


-- Artifact: a typed output.

CREATE DOMAIN caliber_artifact_id AS uuid;

COMMENT ON DOMAIN caliber_artifact_id IS
'Key of an artifact; a column of this type makes a caliber_am table an artifact table.';

CREATE TYPE caliber_artifact_extraction_method AS ENUM (
    'explicit', 'inferred', 'user_provided');

COMMENT ON TYPE caliber_artifact_extraction_method IS
'How an artifact came to be known.';

CREATE TYPE caliber_artifact_row AS (
    artifact_id       uuid,
    trajectory_id     uuid,
    scope_id          uuid,
    artifact_type     text,
    name              text,
    content           text,
    content_hash      bytea,
    embedding         @extschema:vector@.vector,
    source_turn       int,
    extraction_method caliber_artifact_extraction_method,
    confidence        real,
    expires_at        timestamptz,
    superseded_by     uuid,
    metadata          jsonb,
    created_at        timestamptz,
    updated_at        timestamptz,
    version           bigint);

COMMENT ON TYPE caliber_artifact_row IS
'An artifact as functions return it.';

CREATE FUNCTION caliber_artifact_create(
    trajectory_id uuid,
    scope_id uuid,
    artifact_type text,
    name text,
    content text,
    embedding @extschema:vector@.vector DEFAULT NULL,
    source_turn int DEFAULT NULL,
    extraction_method caliber_artifact_extraction_method DEFAULT NULL,
    confidence real DEFAULT NULL,
    ttl interval DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    artifact_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_artifact_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_artifact_create IS
'Stores an artifact of a scope and returns its id.';

CREATE FUNCTION caliber_artifact_get(id uuid)
RETURNS caliber_artifact_row
AS 'MODULE_PATHNAME', 'caliber_artifact_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_artifact_get IS
'The artifact with this id; null for an unknown one.';

CREATE FUNCTION caliber_artifact_get_many(ids uuid[])
RETURNS SETOF caliber_artifact_row
AS 'MODULE_PATHNAME', 'caliber_artifact_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_artifact_get_many IS
'The artifacts with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_artifact_query_by_type(
    trajectory_id uuid,
    artifact_type text,
    include_stale boolean DEFAULT false,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_artifact_row
AS 'MODULE_PATHNAME', 'caliber_artifact_query_by_type_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_artifact_query_by_type IS
'The artifacts of a type in a trajectory, oldest first, without expired and superseded ones.';

CREATE FUNCTION caliber_artifact_query_by_scope(
    scope_id uuid,
    include_stale boolean DEFAULT false,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_artifact_row
AS 'MODULE_PATHNAME', 'caliber_artifact_query_by_scope_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_artifact_query_by_scope IS
'The artifacts of a scope, oldest first, without expired and superseded ones.';

CREATE FUNCTION caliber_artifact_update(
    id uuid,
    changes jsonb,
    embedding @extschema:vector@.vector DEFAULT NULL,
    expected_version bigint DEFAULT NULL)
RETURNS caliber_artifact_row
AS 'MODULE_PATHNAME', 'caliber_artifact_update_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_artifact_update IS
'Changes content, name, confidence, expires_at, metadata and the embedding of an artifact; returns the new row.';

CREATE FUNCTION caliber_artifact_supersede(
    id uuid,
    by_id uuid)
RETURNS caliber_artifact_row
AS 'MODULE_PATHNAME', 'caliber_artifact_supersede_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_artifact_supersede IS
'Marks an artifact as replaced by another; returns the new row.';

CREATE FUNCTION caliber_artifact_search(
    embedding @extschema:vector@.vector,
    k int DEFAULT 10,
    trajectory_id uuid DEFAULT NULL,
    OUT artifact caliber_artifact_row,
    OUT distance double precision)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'caliber_artifact_search_wrapper'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_artifact_search IS
'The k live artifacts nearest to an embedding by cosine distance, nearest first.';


-- Note: knowledge across trajectories.

CREATE DOMAIN caliber_note_id AS uuid;

COMMENT ON DOMAIN caliber_note_id IS
'Key of a note; a column of this type makes a caliber_am table a note table.';

CREATE TYPE caliber_note_abstraction_level AS ENUM (
    'raw', 'summary', 'principle');

COMMENT ON TYPE caliber_note_abstraction_level IS
'How far a note stands above what was observed.';

CREATE TYPE caliber_note_row AS (
    note_id               uuid,
    note_type             text,
    title                 text,
    content               text,
    content_hash          bytea,
    embedding             @extschema:vector@.vector,
    abstraction_level     caliber_note_abstraction_level,
    source_trajectory_ids uuid[],
    source_artifact_ids   uuid[],
    source_note_ids       uuid[],
    expires_at            timestamptz,
    superseded_by         uuid,
    accessed_at           timestamptz,
    access_count          bigint,
    metadata              jsonb,
    created_at            timestamptz,
    updated_at            timestamptz,
    version               bigint);

COMMENT ON TYPE caliber_note_row IS
'A note as functions return it.';

CREATE FUNCTION caliber_note_create(
    note_type text,
    title text,
    content text,
    source_trajectory_ids uuid[] DEFAULT NULL,
    source_artifact_ids uuid[] DEFAULT NULL,
    source_note_ids uuid[] DEFAULT NULL,
    abstraction_level caliber_note_abstraction_level DEFAULT NULL,
    embedding @extschema:vector@.vector DEFAULT NULL,
    ttl interval DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    note_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_note_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_note_create IS
'Stores a note and returns its id.';

CREATE FUNCTION caliber_note_get(id uuid)
RETURNS caliber_note_row
AS 'MODULE_PATHNAME', 'caliber_note_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_note_get IS
'The note with this id; null for an unknown one.';

CREATE FUNCTION caliber_note_get_many(ids uuid[])
RETURNS SETOF caliber_note_row
AS 'MODULE_PATHNAME', 'caliber_note_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_note_get_many IS
'The notes with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_note_touch(id uuid)
RETURNS caliber_note_row
AS 'MODULE_PATHNAME', 'caliber_note_touch_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_note_touch IS
'Counts an access to a note; returns the new row.';

CREATE FUNCTION caliber_note_query_by_trajectory(
    trajectory_id uuid,
    include_stale boolean DEFAULT false,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_note_row
AS 'MODULE_PATHNAME', 'caliber_note_query_by_trajectory_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_note_query_by_trajectory IS
'The notes drawn from a trajectory, oldest first, without expired and superseded ones.';

CREATE FUNCTION caliber_note_list_by_type(
    note_type text,
    include_stale boolean DEFAULT false,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_note_row
AS 'MODULE_PATHNAME', 'caliber_note_list_by_type_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_note_list_by_type IS
'The notes of a type, oldest first, without expired and superseded ones.';

CREATE FUNCTION caliber_note_update(
    id uuid,
    changes jsonb,
    embedding @extschema:vector@.vector DEFAULT NULL,
    expected_version bigint DEFAULT NULL)
RETURNS caliber_note_row
AS 'MODULE_PATHNAME', 'caliber_note_update_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_note_update IS
'Changes title, content, abstraction_level, the source arrays, expires_at, metadata and the embedding of a note; returns the new row.';

CREATE FUNCTION caliber_note_supersede(
    id uuid,
    by_id uuid)
RETURNS caliber_note_row
AS 'MODULE_PATHNAME', 'caliber_note_supersede_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_note_supersede IS
'Marks a note as replaced by another; returns the new row.';

CREATE FUNCTION caliber_note_search(
    embedding @extschema:vector@.vector,
    k int DEFAULT 10,
    note_type text DEFAULT NULL,
    OUT note caliber_note_row,
    OUT distance double precision)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'caliber_note_search_wrapper'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_note_search IS
'The k live notes nearest to an embedding by cosine distance, nearest first.';


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


-- Lock: a lease with a fencing token.

CREATE DOMAIN caliber_lock_id AS uuid;

COMMENT ON DOMAIN caliber_lock_id IS
'Key of a lock; a column of this type makes a caliber_am table a lock table.';

CREATE TYPE caliber_lock_mode AS ENUM (
    'exclusive', 'shared');

COMMENT ON TYPE caliber_lock_mode IS
'Whether a lease tolerates other shared leases on its resource.';

CREATE TYPE caliber_lock_row AS (
    lock_id         uuid,
    resource_type   text,
    resource_id     uuid,
    holder_agent_id uuid,
    mode            caliber_lock_mode,
    fence           bigint,
    acquired_at     timestamptz,
    expires_at      timestamptz,
    metadata        jsonb,
    created_at      timestamptz,
    updated_at      timestamptz,
    version         bigint);

COMMENT ON TYPE caliber_lock_row IS
'A lock as functions return it.';

CREATE FUNCTION caliber_lock_acquire(
    agent_id uuid,
    resource_type text,
    resource_id uuid,
    ttl interval,
    mode caliber_lock_mode DEFAULT 'exclusive',
    wait interval DEFAULT '0')
RETURNS caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_acquire_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_lock_acquire IS
'Takes a lease on a resource; null when the resource is busy for the whole wait.';

CREATE FUNCTION caliber_lock_extend(
    lock_id uuid,
    fence bigint,
    ttl interval)
RETURNS caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_extend_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_lock_extend IS
'Lets a live lease end ttl from now, with the fence it has; returns the new row.';

CREATE FUNCTION caliber_lock_release(
    lock_id uuid,
    fence bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'caliber_lock_release_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_lock_release IS
'Gives a lease back, with its current fence; false when there is no such lease any more.';

CREATE FUNCTION caliber_lock_get(id uuid)
RETURNS caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_lock_get IS
'The lease with this id, live or expired; null for an unknown one.';

CREATE FUNCTION caliber_lock_check(
    resource_type text,
    resource_id uuid)
RETURNS SETOF caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_check_wrapper'
LANGUAGE C VOLATILE PARALLEL SAFE ROWS 1;

COMMENT ON FUNCTION caliber_lock_check IS
'The live leases on a resource.';

CREATE FUNCTION caliber_lock_list_by_resource(
    resource_type text,
    resource_id uuid)
RETURNS SETOF caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_list_by_resource_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 10;

COMMENT ON FUNCTION caliber_lock_list_by_resource IS
'All leases on a resource, expired ones too, oldest fence first.';

CREATE FUNCTION caliber_lock_reap()
RETURNS bigint
AS 'MODULE_PATHNAME', 'caliber_lock_reap_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_lock_reap IS
'Removes expired leases; returns how many.';


-- Message: from agent to agent.

CREATE DOMAIN caliber_message_id AS uuid;

COMMENT ON DOMAIN caliber_message_id IS
'Key of a message; a column of this type makes a caliber_am table a message table.';

CREATE TYPE caliber_message_priority AS ENUM (
    'low', 'normal', 'high', 'critical');

COMMENT ON TYPE caliber_message_priority IS
'Urgency of a message, in rising order.';

CREATE TYPE caliber_message_status AS ENUM (
    'pending', 'delivered', 'acknowledged', 'dead');

COMMENT ON TYPE caliber_message_status IS
'State of a message: pending and delivered alternate, dead can return to pending; acknowledged is final.';

CREATE TYPE caliber_message_row AS (
    message_id      uuid,
    from_agent_id   uuid,
    to_agent_id     uuid,
    to_agent_type   text,
    message_type    text,
    payload         jsonb,
    trajectory_id   uuid,
    scope_id        uuid,
    artifact_ids    uuid[],
    priority        caliber_message_priority,
    status          caliber_message_status,
    visible_at      timestamptz,
    delivery_count  int,
    max_deliveries  int,
    claimed_by      uuid,
    broadcast_id    uuid,
    expires_at      timestamptz,
    delivered_at    timestamptz,
    acknowledged_at timestamptz,
    metadata        jsonb,
    created_at      timestamptz,
    updated_at      timestamptz,
    version         bigint);

COMMENT ON TYPE caliber_message_row IS
'A message as functions return it.';

CREATE FUNCTION caliber_channel(agent_id uuid)
RETURNS text
AS 'MODULE_PATHNAME', 'caliber_channel_of_agent_wrapper'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_channel(uuid) IS
'The channel to LISTEN on for messages to an agent.';

CREATE FUNCTION caliber_channel(agent_type text)
RETURNS text
AS 'MODULE_PATHNAME', 'caliber_channel_of_type_wrapper'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_channel(text) IS
'The channel to LISTEN on for messages to a type of agents.';

CREATE FUNCTION caliber_message_send(
    from_agent_id uuid,
    message_type text,
    payload jsonb,
    to_agent_id uuid DEFAULT NULL,
    to_agent_type text DEFAULT NULL,
    priority caliber_message_priority DEFAULT NULL,
    trajectory_id uuid DEFAULT NULL,
    scope_id uuid DEFAULT NULL,
    artifact_ids uuid[] DEFAULT NULL,
    ttl interval DEFAULT NULL,
    delay interval DEFAULT NULL,
    max_deliveries int DEFAULT NULL,
    message_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_message_send_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_message_send IS
'Sends a message to an agent, to one agent of a type, or to everybody; returns its id, for everybody the broadcast_id.';

CREATE FUNCTION caliber_message_send_many(
    from_agent_id uuid,
    message_type text,
    payloads jsonb[],
    to_agent_id uuid DEFAULT NULL,
    to_agent_type text DEFAULT NULL,
    priority caliber_message_priority DEFAULT NULL,
    trajectory_id uuid DEFAULT NULL,
    scope_id uuid DEFAULT NULL,
    ttl interval DEFAULT NULL,
    delay interval DEFAULT NULL,
    max_deliveries int DEFAULT NULL)
RETURNS SETOF uuid
AS 'MODULE_PATHNAME', 'caliber_message_send_many_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;

COMMENT ON FUNCTION caliber_message_send_many IS
'Sends a message for each payload to an agent, or to agents of a type, all or none; returns the ids.';

CREATE FUNCTION caliber_message_get(id uuid)
RETURNS caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_message_get IS
'The message with this id; null for an unknown one.';

CREATE FUNCTION caliber_message_get_many(ids uuid[])
RETURNS SETOF caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_message_get_many IS
'The messages with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_message_list_for_agent(
    agent_id uuid,
    max_rows int DEFAULT 100,
    after_priority caliber_message_priority DEFAULT NULL,
    after_visible_at timestamptz DEFAULT NULL,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_list_for_agent_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_message_list_for_agent IS
'The pending and delivered messages to an agent or its type, critical first, then by visible_at.';

CREATE FUNCTION caliber_message_receive(
    agent_id uuid,
    max_messages int DEFAULT 1,
    visibility interval DEFAULT '30 seconds')
RETURNS SETOF caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_receive_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_message_receive IS
'Claims messages to an agent or its type; unless acknowledged within visibility, they become visible again.';

CREATE FUNCTION caliber_message_acknowledge(
    message_id uuid,
    agent_id uuid,
    receipt int)
RETURNS caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_acknowledge_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_message_acknowledge IS
'Marks a delivery as done; receipt is the delivery_count received. Returns the new row.';

CREATE FUNCTION caliber_message_release(
    message_id uuid,
    agent_id uuid,
    receipt int,
    delay interval DEFAULT '0')
RETURNS caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_release_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_message_release IS
'Gives a delivery back, visible again after delay; returns the new row.';

CREATE FUNCTION caliber_message_redrive(
    message_id uuid,
    deliveries int DEFAULT 5)
RETURNS caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_redrive_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_message_redrive IS
'Makes a dead message pending again, for so many further deliveries; returns the new row.';

CREATE FUNCTION caliber_message_list_dead(
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_list_dead_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_message_list_dead IS
'The messages that nobody acknowledged in time, oldest first.';


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

-- Check: what is wrong in a schema of entity tables.

CREATE FUNCTION caliber_check_table(relation regclass)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'caliber_check_table_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 1;

COMMENT ON FUNCTION caliber_check_table IS
'What keeps a table from serving as the table of its entity; no rows when nothing does.';

-- Looks at each table that has an entity's name or a column of an entity's key type.
CREATE FUNCTION caliber_check(
    schema name DEFAULT 'caliber',
    OUT relation regclass,
    OUT problem text)
RETURNS SETOF record
LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    WITH entity AS (
        SELECT t.oid AS domain, substring(t.typname::text FROM '^(.*)_id$')::name AS table_name
        FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
            AND d.objid = t.oid AND d.deptype = 'e'
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'caliber-pg'
        WHERE t.typtype = 'd'),
    candidate AS (
        SELECT c.oid
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind = 'r' AND (
            c.relname IN (SELECT entity.table_name FROM entity)
            OR EXISTS (
                SELECT FROM pg_catalog.pg_attribute a
                JOIN entity ON entity.domain = a.atttypid
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)))
    SELECT NULL::pg_catalog.regclass,
        pg_catalog.format('table %I.%I is missing', $1, entity.table_name)
    FROM entity
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = entity.table_name)
    UNION ALL
    SELECT candidate.oid::pg_catalog.regclass, found.problem
    FROM candidate
    CROSS JOIN LATERAL caliber_check_table(candidate.oid) AS found (problem);
END;

COMMENT ON FUNCTION caliber_check IS
'What is wrong with the entity tables of a schema; no rows when nothing is.';
