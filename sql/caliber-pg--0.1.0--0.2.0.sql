-- complain if the script is sourced in psql rather than by ALTER EXTENSION
\echo Use "ALTER EXTENSION ""caliber-pg"" UPDATE TO '0.2.0'" to load this file. \quit

-- Inspect: damage and space, where PostgreSQL's own tools refuse other access methods than heap.

CREATE FUNCTION caliber_verify(
    relation regclass,
    OUT part regclass,
    OUT blkno bigint,
    OUT offnum int,
    OUT attnum int,
    OUT msg text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'caliber_verify_wrapper'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 1 COST 10000;

COMMENT ON FUNCTION caliber_verify IS
'What is damaged in a caliber_am table, its toast table and their indexes, by amcheck; no rows when nothing is.';

CREATE FUNCTION caliber_stat(
    relation regclass,
    OUT table_len bigint,
    OUT tuple_count bigint,
    OUT tuple_len bigint,
    OUT tuple_percent float8,
    OUT dead_tuple_count bigint,
    OUT dead_tuple_len bigint,
    OUT dead_tuple_percent float8,
    OUT free_space bigint,
    OUT free_percent float8,
    OUT updates bigint,
    OUT hot_updates bigint,
    OUT hot_percent float8)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'caliber_stat_wrapper'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1 COST 10000;

COMMENT ON FUNCTION caliber_stat IS
'Tuples, dead tuples and free space of a caliber_am table, as pgstattuple counts them, and its HOT updates.';
