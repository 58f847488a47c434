-- caliber_am beside heap, and the functions beside the executor, in one run: five interleaved
-- rounds, medians and their spread. Run it on a release build:
--
--   cargo xtask build --release
--   cargo xtask psql -- -f docs/performance.sql
--
-- It works in a schema of its own, caliber_bench, and drops it at the end.

\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS caliber_bench CASCADE;
CREATE EXTENSION IF NOT EXISTS "caliber-pg" CASCADE;
SELECT count(*) AS created FROM caliber_init('caliber_bench') \gset
SET search_path = caliber_bench, public;
SET caliber.schema = 'caliber_bench';
SET max_parallel_workers_per_gather = 0;
SET max_parallel_maintenance_workers = 0;

-- Storage: one million rows each.
CREATE TABLE plain_heap (a int, b uuid, c text) USING heap;
CREATE TABLE plain_caliber_am (a int, b uuid, c text) USING caliber_am;
INSERT INTO plain_heap SELECT g, gen_random_uuid(), repeat('x', 50) FROM generate_series(1, 1000000) g;
INSERT INTO plain_caliber_am SELECT * FROM plain_heap ORDER BY a;
CREATE INDEX ON plain_heap (a);
CREATE INDEX ON plain_caliber_am (a);
CREATE TABLE copied_heap (LIKE plain_heap) USING heap;
CREATE TABLE copied_caliber_am (LIKE plain_heap) USING caliber_am;
VACUUM ANALYZE plain_heap;
VACUUM ANALYZE plain_caliber_am;

-- Functions: 200,000 turns, asked for in random order; the same rows in a heap table.
SELECT caliber_trajectory_create('bench', trajectory_id => '01920000-0000-7000-8000-000000000001') AS t,
       caliber_scope_create('01920000-0000-7000-8000-000000000001', 'bench', 1000000000,
                            scope_id => '01920000-0000-7000-8000-000000000002') AS s \gset
INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
SELECT '01920000-0000-7000-8000-000000000002', g, 'user', 'message ' || g, 1
FROM generate_series(0, 199999) g;
CREATE TABLE turn_heap (LIKE caliber_turn INCLUDING ALL) USING heap;
INSERT INTO turn_heap SELECT * FROM caliber_turn;
CREATE TABLE ids AS SELECT turn_id::uuid AS id FROM caliber_turn ORDER BY random();
VACUUM ANALYZE caliber_turn;
VACUUM ANALYZE turn_heap;
VACUUM ANALYZE ids;
CHECKPOINT;

CREATE TABLE measured (operation text, implementation text, round int, seconds float8);

CREATE PROCEDURE measure(operation text, implementation text, round int, statement text)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
BEGIN
    EXECUTE statement;
    INSERT INTO measured
    VALUES (operation, implementation, round, extract(epoch FROM clock_timestamp() - started));
    COMMIT;
END
$$;

DO $$
DECLARE
    am text;
    file text := current_setting('data_directory') || '/caliber_bench.copy';
BEGIN
    EXECUTE format('COPY plain_heap TO %L', file);
    -- Round 0 warms up and is not counted.
    FOR round IN 0..5 LOOP
        FOREACH am IN ARRAY CASE WHEN round % 2 = 0 THEN '{heap,caliber_am}' ELSE '{caliber_am,heap}' END::text[] LOOP
            CALL measure('seqscan', am, round, format('SELECT count(c) FROM plain_%s', am));
            CALL measure('indexscan', am, round, format(
                'SELECT count(c) FROM (SELECT (SELECT c FROM plain_%s p WHERE p.a = g) c
                 FROM generate_series(1, 300000) g OFFSET 0) x', am));
            CALL measure('create_index', am, round, format('CREATE INDEX bench_index ON plain_%s (b)', am));
            DROP INDEX bench_index;
            CALL measure('copy', am, round, format('COPY copied_%s FROM %L', am, file));
            EXECUTE format('TRUNCATE copied_%s', am);
            COMMIT;
        END LOOP;
        CALL measure('get', 'executor', round,
            'SELECT count(t) FROM (SELECT (SELECT t FROM turn_heap t WHERE t.turn_id = ids.id) t FROM ids OFFSET 0) x');
        CALL measure('get', 'api', round,
            'SELECT count(t) FROM (SELECT caliber_turn_get(id) t FROM ids OFFSET 0) x');
    END LOOP;
END
$$;

\echo Seconds, and the ratio to the peer of the same round
WITH paired AS (
    SELECT m.operation, m.implementation, m.seconds, p.implementation AS peer, p.seconds AS peer_seconds,
           m.seconds / p.seconds AS ratio
    FROM measured m JOIN measured p
      ON p.operation = m.operation AND p.round = m.round AND p.implementation IN ('heap', 'executor')
    WHERE m.round > 0 AND m.implementation IN ('caliber_am', 'api')
)
SELECT operation, implementation, peer,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds)::numeric, 3) AS median,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY peer_seconds)::numeric, 3) AS peer_median,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ratio)::numeric, 2) AS ratio,
       round(min(ratio)::numeric, 2) || ' to ' || round(max(ratio)::numeric, 2) AS spread
FROM paired
GROUP BY operation, implementation, peer
ORDER BY operation;

\echo Memory of the backend before and after one million caliber_turn_get calls in one statement
SELECT pg_size_pretty(sum(total_bytes)) AS before FROM pg_backend_memory_contexts;
SELECT count(t) AS calls FROM (SELECT caliber_turn_get(id) t FROM ids, generate_series(1, 5) OFFSET 0) x;
SELECT pg_size_pretty(sum(total_bytes)) AS after FROM pg_backend_memory_contexts;

DROP SCHEMA caliber_bench CASCADE;
