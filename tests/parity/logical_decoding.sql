-- Logical decoding: a subscriber sees the same changes.

\pset format unaligned
SELECT :'schema' || '_slot' AS slot \gset
CREATE TABLE t (id int PRIMARY KEY, v text, n int);
CREATE TABLE whole (id int, v text);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE by_index (id int, k int NOT NULL);
CREATE UNIQUE INDEX by_index_k ON by_index (k);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_k;
CREATE TABLE no_key (id int);
SELECT slot_name IS NOT NULL FROM pg_create_logical_replication_slot(:'slot', 'test_decoding');
SELECT format('SELECT replace(data, %L, ''schema'') AS data FROM pg_logical_slot_get_changes(%L, NULL, NULL, ''skip-empty-xacts'', ''1'',
    ''include-xids'', ''0'') WHERE starts_with(data, %L)', :'schema', :'slot', 'table ' || :'schema' || '.') AS changes \gset

INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2);
UPDATE t SET v = 'uno' WHERE id = 1;
UPDATE t SET id = 20 WHERE id = 2;
DELETE FROM t WHERE id = 1;
INSERT INTO whole VALUES (1, 'a');
UPDATE whole SET v = 'b';
DELETE FROM whole;
INSERT INTO by_index VALUES (1, 10);
UPDATE by_index SET k = 11;
DELETE FROM by_index;
INSERT INTO no_key VALUES (1);
UPDATE no_key SET id = 2;
DELETE FROM no_key;
SELECT * FROM (:changes) c;

-- One transaction, with what was rolled back left out.
BEGIN;
INSERT INTO t VALUES (3, 'three', 3);
SAVEPOINT s;
INSERT INTO t VALUES (4, 'lost', 4);
ROLLBACK TO s;
SAVEPOINT s2;
UPDATE t SET v = 'drei' WHERE id = 3;
RELEASE s2;
INSERT INTO t VALUES (3, 'x', 0) ON CONFLICT (id) DO UPDATE SET n = 33;
INSERT INTO t VALUES (5, 'five', 5) ON CONFLICT (id) DO UPDATE SET n = 55;
COMMIT;
BEGIN;
DELETE FROM t;
ROLLBACK;
SELECT * FROM (:changes) c;

-- Batches, COPY, TOAST, MERGE and TRUNCATE.
COPY t FROM stdin;
6	six	6
7	seven	7
\.
INSERT INTO t SELECT g, 'bulk', g FROM generate_series(100, 104) g;
INSERT INTO t VALUES (8, repeat('toast', 1000), 8);
UPDATE t SET n = 88 WHERE id = 8;
MERGE INTO t USING (VALUES (8), (9)) d (id) ON t.id = d.id
WHEN MATCHED THEN DELETE
WHEN NOT MATCHED THEN INSERT VALUES (d.id, 'merged', 9);
TRUNCATE t, whole;
SELECT left(data, 200), length(data) FROM (:changes) c;

-- Rewrites are not changes; the rows behind them decode by the new columns.
INSERT INTO t VALUES (1, 'before', 1);
ALTER TABLE t ADD COLUMN later int DEFAULT 7;
ALTER TABLE t ALTER n TYPE bigint;
UPDATE t SET v = 'after' WHERE id = 1;
VACUUM FULL t;
CLUSTER t USING t_pkey;
DELETE FROM t;
CREATE TABLE made AS SELECT 1 AS id;
CREATE TEMP TABLE hidden AS SELECT 1 AS id;
CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS id;
SELECT * FROM (:changes) c;
SELECT pg_drop_replication_slot(:'slot');
