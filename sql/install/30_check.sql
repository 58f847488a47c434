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
