-- Every kind of scan, and the plans that choose it.

CREATE TABLE t (id int, a int, b int, pad text) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT g, g * 7919 % 1009, g % 10, repeat('p', 100) FROM generate_series(1, 5000) g;
CREATE UNIQUE INDEX t_id ON t (id);
CREATE INDEX t_a ON t (a);
CREATE INDEX t_b ON t (b);
-- Twice: a commit that is not flushed yet hides from the first one that a row is all-visible.
CALL settle();
VACUUM (FREEZE) t;
VACUUM (ANALYZE, FREEZE) t;
SELECT relpages, reltuples FROM pg_class WHERE oid = 't'::regclass;

-- Plans as the planner likes them.
EXPLAIN (COSTS OFF) SELECT * FROM t;
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE id = 42;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE id < 50;
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE a = 42;
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE a < 20 OR id < 20;
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE a < 50 AND b = 3;
EXPLAIN (COSTS OFF) SELECT * FROM t ORDER BY id LIMIT 5;
EXPLAIN (COSTS OFF) SELECT * FROM t x JOIN t y ON y.id = x.a WHERE x.b = 1;
EXPLAIN (COSTS OFF) SELECT * FROM t x WHERE EXISTS (SELECT FROM t y WHERE y.id = x.a AND y.b = 0) AND x.id < 10;
EXPLAIN (COSTS OFF) SELECT b, count(*) FROM t GROUP BY b;
EXPLAIN (COSTS OFF) SELECT max(id), min(a) FROM t;
EXPLAIN (COSTS OFF) UPDATE t SET pad = '' WHERE id = 1;
EXPLAIN (COSTS OFF) DELETE FROM t WHERE ctid = '(0,1)';
EXPLAIN (COSTS OFF) INSERT INTO t VALUES (1) ON CONFLICT (id) DO NOTHING;
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE ctid = ANY (ARRAY['(0,1)', '(1,2)']::tid[]);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE ctid >= '(3,0)' AND ctid < '(5,0)';
EXPLAIN (COSTS OFF) SELECT * FROM t TABLESAMPLE system (10) REPEATABLE (1);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE id = 1 FOR UPDATE;
EXPLAIN SELECT * FROM t WHERE b = 3;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT id FROM t WHERE id < 50;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT count(*) FROM t WHERE a < 50 AND b = 3;

-- By TID.
SELECT ctid, id FROM t WHERE ctid = '(0,1)';
SELECT ctid, id FROM t WHERE ctid = ANY (ARRAY['(2,2)', '(0,3)', '(99999,1)', '(0,0)']::tid[]) ORDER BY ctid;
SELECT count(*), min(id), max(id) FROM t WHERE ctid >= '(3,0)' AND ctid < '(5,0)';
SELECT count(*) FROM t WHERE ctid > '(4000000000,0)';
SELECT count(*) FROM t WHERE ctid < '(0,1)';
SELECT x.id, y.id FROM t x JOIN t y ON y.ctid = x.ctid WHERE x.id < 4 ORDER BY 1;
SELECT currtid2('t', '(0,1)') = '(0,1)';

-- Samples: the same seed, the same rows.
SELECT count(*), sum(id) FROM t TABLESAMPLE system (20) REPEATABLE (7);
SELECT count(*), sum(id) FROM t TABLESAMPLE bernoulli (20) REPEATABLE (7);
SELECT count(*), sum(id) FROM t TABLESAMPLE system (100);
SELECT count(*), sum(id) FROM t TABLESAMPLE bernoulli (0);
SELECT count(*), sum(id) FROM t TABLESAMPLE bernoulli (50.5) REPEATABLE (0.25) WHERE b = 3;
SELECT count(*) FROM t TABLESAMPLE system (101); -- error 2202H

-- Each path forced.
\set query 'SELECT count(*), sum(id), sum(a) FROM t WHERE a BETWEEN 100 AND 300 AND b IN (1, 2, 3)'
SET enable_seqscan = off; SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) :query;
:query;
SET enable_bitmapscan = on; SET enable_indexscan = off;
EXPLAIN (COSTS OFF) :query;
:query;
SET work_mem = '64kB';
SELECT count(*), sum(id) FROM t WHERE a >= 0;
SELECT count(*), sum(id) FROM t WHERE b = 1 OR a = 5 OR id = 9;
RESET ALL;
SELECT set_config('search_path', :'schema' || ', public', false) IS NOT NULL;

-- After changes: the visibility map no longer covers all pages.
UPDATE t SET pad = 'short' WHERE id % 50 = 0;
UPDATE t SET a = 2000 WHERE id % 70 = 0;
DELETE FROM t WHERE id % 90 = 0;
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT count(id), sum(id) FROM t WHERE id > 0;
SELECT count(*), sum(id) FROM t WHERE a = 2000;
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = on;
SELECT count(*), sum(id) FROM t WHERE a = 2000;
SELECT count(*), sum(id) FROM t WHERE b = 0 AND a < 500;
SET enable_bitmapscan = off; SET enable_seqscan = on;
SELECT count(*), sum(id) FROM t WHERE a = 2000;
SELECT count(*) FROM t WHERE ctid >= '(3,0)' AND ctid < '(5,0)' AND id % 50 <> 0 AND id % 70 <> 0;

-- In parallel.
SET enable_indexscan = on; SET enable_bitmapscan = on; SET enable_indexonlyscan = on;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0; SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off;
ALTER TABLE t SET (parallel_workers = 2);
EXPLAIN (COSTS OFF) SELECT count(*), sum(a) FROM t;
SELECT count(*), sum(a) FROM t;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT count(*), sum(id) FROM t WHERE a BETWEEN 10 AND 900;
SELECT count(*), sum(id) FROM t WHERE a BETWEEN 10 AND 900;
SET enable_bitmapscan = off;
SELECT count(*), sum(b) FROM t WHERE a BETWEEN 10 AND 900;
SELECT count(id) FROM t WHERE id < 4000;
RESET enable_seqscan;
SELECT x.b, count(*) FROM t x JOIN t y ON y.a = x.a GROUP BY x.b ORDER BY x.b;
SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off;
SELECT x.b, count(*) FROM t x JOIN t y ON y.id = x.a WHERE x.id < 500 GROUP BY x.b ORDER BY x.b;
CREATE TABLE made AS SELECT id, a FROM t WHERE b < 5;
SELECT count(*), sum(a) FROM made;
BEGIN;
DELETE FROM t WHERE b = 4;
SELECT count(*), sum(a) FROM t;
ROLLBACK;
SELECT count(*), sum(a) FROM t;

-- An index is not needed to find nothing; a scan meets rows of its own command at most once.
SELECT count(*) FROM t WHERE id = -1;
UPDATE t SET id = id + 100000 WHERE id > 0;
INSERT INTO t SELECT id + 1000000, a, b FROM t;
SELECT count(*), min(id), max(id) FROM t;
