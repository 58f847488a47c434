-- Building indexes: over dead rows and HOT chains, concurrently, in parallel, with duplicates.

CREATE TABLE t (id int, a int, b text) WITH (fillfactor = 50, autovacuum_enabled = off);
INSERT INTO t SELECT g, g, 'v0' FROM generate_series(1, 3000) g;
-- HOT chains: no index yet, room on each page.
UPDATE t SET b = 'v1' WHERE id % 2 = 0;
UPDATE t SET b = 'v2' WHERE id % 4 = 0;
DELETE FROM t WHERE id % 10 = 0;
BEGIN;
UPDATE t SET b = 'aborted', a = -1 WHERE id % 3 = 0;
INSERT INTO t SELECT g, g, 'aborted' FROM generate_series(5000, 5500) g;
ROLLBACK;
CREATE UNIQUE INDEX t_id ON t (id);
CREATE INDEX t_b ON t (b);
CREATE INDEX t_hash ON t USING hash (a);
CREATE INDEX t_brin ON t USING brin (a) WITH (pages_per_range = 1);
SET enable_seqscan = off;
SELECT b, count(*), sum(id) FROM t WHERE b >= '' GROUP BY b ORDER BY b;
SELECT * FROM t WHERE id IN (1, 2, 3, 4, 8, 10, 20) ORDER BY id;
SELECT * FROM t WHERE a = 1204;
SELECT count(*) FROM t WHERE a BETWEEN 100 AND 300;
RESET enable_seqscan;

-- Inside of a transaction that has itself changed the rows.
BEGIN;
UPDATE t SET b = 'mine' WHERE id % 8 = 0;
DELETE FROM t WHERE id % 9 = 0;
INSERT INTO t SELECT g, g, 'new' FROM generate_series(6000, 6100) g;
SAVEPOINT s;
UPDATE t SET b = 'lost' WHERE id % 8 = 4;
ROLLBACK TO s;
CREATE INDEX t_mine ON t (a, b);
SET LOCAL enable_seqscan = off;
SELECT b, count(*) FROM t WHERE a > 0 GROUP BY b ORDER BY b;
COMMIT;
SELECT b, count(*) FROM t GROUP BY b ORDER BY b;

-- Duplicates are found at the build; old versions of a row are none.
CREATE TABLE dup (id int, v int) WITH (autovacuum_enabled = off);
INSERT INTO dup SELECT g, g FROM generate_series(1, 500) g;
UPDATE dup SET v = v + 1;
UPDATE dup SET v = v - 1;
CREATE UNIQUE INDEX dup_v ON dup (v);
INSERT INTO dup VALUES (250, 1000);
CREATE UNIQUE INDEX dup_id ON dup (id); -- error 23505
CREATE UNIQUE INDEX CONCURRENTLY dup_id ON dup (id); -- error 23505
SELECT indisvalid FROM pg_index WHERE indexrelid = 'dup_id'::regclass;
ALTER TABLE dup ADD PRIMARY KEY (id); -- error 23505
DELETE FROM dup WHERE id = 250 AND v = 1000;
REINDEX INDEX CONCURRENTLY dup_id;
SELECT indisvalid FROM pg_index WHERE indexrelid = 'dup_id'::regclass;
INSERT INTO dup VALUES (250, 2000); -- error 23505
ALTER TABLE dup ADD CONSTRAINT dup_excl EXCLUDE USING btree (v WITH =);
INSERT INTO dup VALUES (501, 250); -- error 23505
ALTER TABLE dup DROP CONSTRAINT dup_excl;
DROP INDEX dup_v;
INSERT INTO dup VALUES (501, 250);
ALTER TABLE dup ADD CONSTRAINT dup_excl EXCLUDE USING btree (v WITH =); -- error 23P01

-- Concurrently: every kind.
CREATE INDEX CONCURRENTLY t_c1 ON t (a DESC);
CREATE INDEX CONCURRENTLY t_c2 ON t (lower(b)) WHERE a % 2 = 0;
CREATE INDEX CONCURRENTLY t_c3 ON t USING gin (to_tsvector('simple', b));
CREATE INDEX CONCURRENTLY t_c4 ON t USING gist (int4range(a, a + 5));
CREATE INDEX CONCURRENTLY t_c5 ON t USING spgist (b);
CREATE UNIQUE INDEX CONCURRENTLY t_c6 ON t (id) INCLUDE (a);
CREATE INDEX CONCURRENTLY t_c7 ON t ((1 / (a - 1204))); -- error 22012
DROP INDEX t_c7;
UPDATE t SET b = 'later', a = a + 1 WHERE id % 5 = 1;
REINDEX TABLE CONCURRENTLY t;
REINDEX TABLE t;
REINDEX INDEX t_c4;
DROP INDEX CONCURRENTLY t_hash;
SELECT indexrelid::regclass, indisvalid, indisready FROM pg_index WHERE indrelid = 't'::regclass ORDER BY indexrelid::regclass::text;
SET enable_seqscan = off;
SELECT count(*), sum(id) FROM t WHERE lower(b) = 'later' AND a % 2 = 0;
SELECT count(*), sum(id) FROM t WHERE to_tsvector('simple', b) @@ 'later';
SELECT count(*), sum(id) FROM t WHERE int4range(a, a + 5) @> 1000;
SELECT count(*), sum(id) FROM t WHERE b ^@ 'v';
SELECT id, a FROM t WHERE id BETWEEN 1200 AND 1206 ORDER BY id;
RESET enable_seqscan;

-- In parallel.
SET min_parallel_table_scan_size = 0;
SET max_parallel_maintenance_workers = 2;
CREATE TABLE par (id int, a int, b text) WITH (parallel_workers = 2, autovacuum_enabled = off);
INSERT INTO par SELECT g, g * 7919 % 10007, md5(g::text) FROM generate_series(1, 10000) g;
UPDATE par SET b = 'x' || b WHERE id % 3 = 0;
DELETE FROM par WHERE id % 7 = 0;
CREATE UNIQUE INDEX par_id ON par (id);
CREATE INDEX par_b ON par (b, a);
CREATE INDEX par_brin ON par USING brin (id);
CREATE INDEX CONCURRENTLY par_a ON par (a);
SET enable_seqscan = off;
SELECT count(*), sum(id), min(a) FROM par WHERE id > 0;
SELECT count(*), sum(id) FROM par WHERE b >= 'x';
SELECT count(*), sum(id) FROM par WHERE a < 5000;
RESET enable_seqscan;
INSERT INTO par VALUES (20000, -1, 'dup'), (20001, -1, 'dup');
CREATE UNIQUE INDEX par_dup ON par (a); -- error 23505
CALL settle();
REINDEX INDEX par_b;
SELECT count(*) FROM par WHERE b = 'dup';

-- On partitions, unlogged and temporary tables.
CREATE TABLE part (id int, v text) PARTITION BY HASH (id);
CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO part SELECT g, 'v' || g FROM generate_series(1, 200) g;
CREATE UNIQUE INDEX part_id ON part (id);
CREATE INDEX ON ONLY part (v);
CREATE INDEX CONCURRENTLY part_0_v ON part_0 (v);
ALTER INDEX part_v_idx ATTACH PARTITION part_0_v;
SELECT indexrelid::regclass, indisvalid FROM pg_index WHERE indrelid::regclass::text LIKE 'part%' ORDER BY indexrelid::regclass::text;
REINDEX TABLE CONCURRENTLY part;
INSERT INTO part VALUES (77, 'again'); -- error 23505
CREATE TEMP TABLE tmp AS SELECT g AS id FROM generate_series(1, 100) g;
CREATE UNIQUE INDEX CONCURRENTLY tmp_id ON tmp (id);
INSERT INTO tmp VALUES (50); -- error 23505
CREATE UNLOGGED TABLE unl AS SELECT g AS id FROM generate_series(1, 100) g;
CREATE UNIQUE INDEX unl_id ON unl (id);
INSERT INTO unl VALUES (50); -- error 23505

-- Statistics that a build leaves.
SELECT relname, relpages > 0, reltuples FROM pg_class WHERE oid IN ('par'::regclass, 'par_b'::regclass, 't_c2'::regclass) ORDER BY 1;
