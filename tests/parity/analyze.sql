-- ANALYZE: the same rows give the same statistics.

CREATE TABLE t (id int, few int, skewed int, txt text, arr int[], rng int4range, maybe int) WITH (autovacuum_enabled = off);
INSERT INTO t
SELECT g, g % 10, CASE WHEN g % 3 = 0 THEN 1 ELSE g END, 'text ' || g % 100, ARRAY[g % 5, g % 7],
       int4range(g, g + g % 20), NULLIF(g % 4, 0)
FROM generate_series(1, 10000) g;
ANALYZE t;
SELECT relpages, reltuples, relallvisible FROM pg_class WHERE oid = 't'::regclass;
SELECT attname, null_frac, avg_width, n_distinct, most_common_vals, most_common_freqs, histogram_bounds, correlation,
       most_common_elems, elem_count_histogram
FROM pg_stats WHERE schemaname = :'schema' AND tablename = 't' ORDER BY attname;
CREATE STATISTICS t_ext (ndistinct, dependencies, mcv) ON few, skewed FROM t;
CREATE INDEX t_expr ON t ((id % 3));
ANALYZE t (few, skewed);
SELECT stxname, d.stxdndistinct, d.stxddependencies FROM pg_statistic_ext s JOIN pg_statistic_ext_data d ON d.stxoid = s.oid
    WHERE stxrelid = 't'::regclass;
ANALYZE t;
SELECT tablename, n_distinct, most_common_vals FROM pg_stats WHERE schemaname = :'schema' AND tablename = 't_expr';
-- Twice: a commit that is not flushed yet hides from the first one that a row is all-visible.
CALL settle();
VACUUM (FREEZE) t;
VACUUM (ANALYZE) t;
SELECT relpages, reltuples, relallvisible FROM pg_class WHERE oid = 't'::regclass;
EXPLAIN SELECT * FROM t WHERE few = 3 AND skewed = 1;
EXPLAIN SELECT * FROM t WHERE txt = 'text 7' AND maybe IS NULL;

-- Rows of the own transaction, deleted ones among them.
BEGIN;
CREATE TABLE own (id int);
INSERT INTO own SELECT generate_series(1, 1000);
DELETE FROM own WHERE id <= 400;
ANALYZE own;
SELECT reltuples FROM pg_class WHERE oid = 'own'::regclass;
SELECT n_distinct, (histogram_bounds::text::int[])[1] FROM pg_stats WHERE schemaname = :'schema' AND tablename = 'own';
ROLLBACK;

-- Trees.
CREATE TABLE p (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (500);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (500) TO (1000);
INSERT INTO p SELECT g, g % 5 FROM generate_series(0, 999) g;
ANALYZE p;
SELECT relname, reltuples FROM pg_class WHERE oid IN ('p'::regclass, 'p1'::regclass, 'p2'::regclass) ORDER BY relname;
SELECT tablename, attname, inherited, n_distinct, correlation FROM pg_stats WHERE schemaname = :'schema' AND tablename LIKE 'p%'
    ORDER BY tablename, attname, inherited;

-- An empty table, and one of one page.
CREATE TABLE empty (id int);
ANALYZE empty;
SELECT relpages, reltuples FROM pg_class WHERE oid = 'empty'::regclass;
CREATE TABLE small AS SELECT 1 AS id;
ANALYZE small;
SELECT relpages, reltuples FROM pg_class WHERE oid = 'small'::regclass;
EXPLAIN SELECT * FROM small;

-- The same seed, the same sample of a table larger than the sample.
SET default_statistics_target = 1;
SELECT setseed(0.5);
CREATE TABLE large AS SELECT g AS id, g % 1000 AS v FROM generate_series(1, 30000) g;
ANALYZE large;
SELECT reltuples FROM pg_class WHERE oid = 'large'::regclass;
SELECT attname, null_frac, avg_width FROM pg_stats WHERE schemaname = :'schema' AND tablename = 'large' ORDER BY attname;
