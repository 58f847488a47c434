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
