
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
