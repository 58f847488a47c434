
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
