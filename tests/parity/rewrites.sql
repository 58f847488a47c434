-- What rewrites a table or moves it: VACUUM FULL, CLUSTER, ALTER TABLE, tablespaces, TRUNCATE.

SET allow_in_place_tablespaces = on;
CREATE TABLE t (id int PRIMARY KEY, a int, t text, n numeric) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT g, g * 7919 % 1009, repeat('r', g * 31 % 4000), g FROM generate_series(1, 1500) g;
CREATE INDEX t_a ON t (a);
UPDATE t SET a = a + 1 WHERE id % 3 = 0;
DELETE FROM t WHERE id % 5 = 0;
\set digest 'SELECT count(*), sum(id), sum(a), sum(n), md5(string_agg(t, \'\' ORDER BY id)) AS texts FROM t'
:digest;
VACUUM t;
:digest;
VACUUM FULL t;
:digest;
SELECT count(*), sum(id) FROM t WHERE a BETWEEN 100 AND 200;
CLUSTER t USING t_a;
SELECT array_agg(a) = array_agg(a ORDER BY a) AS in_order FROM t;
:digest;
CLUSTER t USING t_pkey;
SELECT array_agg(id) = array_agg(id ORDER BY id) AS in_order FROM t;
SELECT indisclustered FROM pg_index WHERE indexrelid = 't_pkey'::regclass;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) t;
:digest;
CALL settle();
VACUUM (FULL, FREEZE, ANALYZE) t;
:digest;
SELECT reltuples FROM pg_class WHERE oid = 't'::regclass;
VACUUM (PARALLEL 2, INDEX_CLEANUP on, TRUNCATE off) t;
VACUUM (INDEX_CLEANUP off) t;

-- Inside of a transaction, over its own rows, rolled back and kept.
BEGIN;
DELETE FROM t WHERE id < 100;
UPDATE t SET a = -a WHERE id < 200;
CLUSTER t USING t_a;
:digest;
ROLLBACK;
:digest;
BEGIN;
INSERT INTO t VALUES (5000, 1, 'own', 1);
SAVEPOINT s;
DELETE FROM t WHERE id < 100;
ROLLBACK TO s;
ALTER TABLE t ALTER n TYPE bigint USING n * 2;
:digest;
COMMIT;
:digest;
VACUUM FULL t;
:digest;

-- ALTER TABLE that rewrites, or only checks, or only changes the catalog.
ALTER TABLE t ALTER id TYPE bigint;
ALTER TABLE t ADD COLUMN c1 int DEFAULT 5;
ALTER TABLE t ADD COLUMN c2 text DEFAULT md5(random()::text);
SELECT count(DISTINCT c2) = count(*) AS all_differ, sum(c1) FROM t;
ALTER TABLE t ADD COLUMN c3 serial;
ALTER TABLE t ADD COLUMN c4 int GENERATED ALWAYS AS (a * 2) STORED;
SELECT sum(c3), sum(c4) - 2 * sum(a) AS zero FROM t;
ALTER TABLE t ADD CHECK (a > 100); -- error 23514
ALTER TABLE t ADD CHECK (a > -2000);
ALTER TABLE t ADD CONSTRAINT later CHECK (c1 = 5) NOT VALID;
UPDATE t SET c1 = 6, c2 = '' WHERE id = 1; -- error 23514
ALTER TABLE t VALIDATE CONSTRAINT later;
ALTER TABLE t ALTER c1 SET NOT NULL;
ALTER TABLE t ALTER a TYPE smallint; -- error 0A000
ALTER TABLE t DROP COLUMN c4;
ALTER TABLE t ALTER a TYPE smallint;
ALTER TABLE t ALTER a TYPE boolean; -- error 42804
ALTER TABLE t DROP CONSTRAINT t_a_check;
ALTER TABLE t ALTER a TYPE text USING 'a' || a::int;
ALTER TABLE t ALTER n TYPE int USING 1 / (id - 1499); -- error 22012
SELECT a, n FROM t WHERE id IN (1, 1499) ORDER BY id;
ALTER TABLE t DROP COLUMN c1;
ALTER TABLE t SET WITHOUT OIDS;
ALTER TABLE t SET (fillfactor = 40);
VACUUM FULL t;
SELECT count(*), sum(id), sum(n), min(a) FROM t;
SELECT id FROM t WHERE a = 'a42' ORDER BY id;
ALTER TABLE t ALTER t SET STORAGE EXTERNAL, ALTER t SET COMPRESSION pglz;
UPDATE t SET t = t || 'x' WHERE id % 10 = 1;
VACUUM FULL t;
SELECT count(*), sum(length(t)) FROM t;
ALTER TABLE t ADD COLUMN d1 date DEFAULT '2024-01-01', ADD COLUMN d2 int;
UPDATE t SET d2 = 1 WHERE id = 1;
CLUSTER t USING t_pkey;
SELECT DISTINCT d1 FROM t;

-- Rows that no longer fit, with indexes that depend on the type.
CREATE TABLE k (id int, v text);
INSERT INTO k VALUES (1, '1'), (2, '01');
CREATE UNIQUE INDEX k_v ON k (v);
ALTER TABLE k ALTER v TYPE int USING v::int; -- error 23505
ALTER TABLE k ALTER v TYPE varchar(1); -- error 22001
ALTER TABLE k ALTER v TYPE varchar(20);
ALTER TABLE k ALTER v TYPE "char" USING 'x'; -- error 23505
DELETE FROM k WHERE id = 1;
ALTER TABLE k ALTER v TYPE int USING v::int;
SELECT * FROM k;

-- Tablespaces.
SELECT format('CREATE TABLESPACE %I LOCATION %L', :'schema' || '_ts', '') AS create_ts, format('DROP TABLESPACE %I', :'schema' || '_ts') AS drop_ts,
    format('%I', :'schema' || '_ts') AS ts \gset
:create_ts;
ALTER TABLE t SET TABLESPACE :ts;
SELECT count(*), sum(id), sum(length(t)) FROM t;
INSERT INTO t (id, a) VALUES (7000, 'moved');
ALTER INDEX t_pkey SET TABLESPACE :ts;
SELECT a FROM t WHERE id = 7000;
REINDEX (TABLESPACE pg_default) INDEX t_pkey;
BEGIN;
ALTER TABLE t SET TABLESPACE pg_default;
DELETE FROM t;
ROLLBACK;
SELECT count(*) FROM t;
CREATE TABLE there (id int) TABLESPACE :ts;
INSERT INTO there SELECT generate_series(1, 100);
CREATE MATERIALIZED VIEW mv_there TABLESPACE :ts AS SELECT * FROM there;
SELECT sum(id) FROM mv_there;
ALTER TABLE t SET TABLESPACE pg_default;
DROP TABLE there CASCADE;
SELECT count(*), sum(id), sum(length(t)) FROM t;
:drop_ts;

-- TRUNCATE.
CREATE TABLE tr (id int PRIMARY KEY, s serial, t text);
INSERT INTO tr SELECT g, g, repeat('t', 5000) FROM generate_series(1, 100) g;
BEGIN;
TRUNCATE tr;
INSERT INTO tr VALUES (1), (2);
SELECT count(*) FROM tr;
SAVEPOINT s;
TRUNCATE tr RESTART IDENTITY;
INSERT INTO tr (id) VALUES (9) RETURNING s;
ROLLBACK TO s;
SELECT count(*) FROM tr;
ROLLBACK;
SELECT count(*), sum(length(t)) FROM tr;
TRUNCATE tr RESTART IDENTITY;
SELECT count(*), pg_relation_size('tr') FROM tr;
INSERT INTO tr (id) VALUES (1) RETURNING s;
BEGIN;
CREATE TABLE fresh (id int UNIQUE);
INSERT INTO fresh VALUES (1);
TRUNCATE fresh;
INSERT INTO fresh VALUES (1), (2);
SAVEPOINT s;
TRUNCATE fresh;
RELEASE s;
INSERT INTO fresh VALUES (3);
COMMIT;
SELECT * FROM fresh;
CREATE TABLE ref (id int REFERENCES tr);
TRUNCATE tr; -- error 0A000
TRUNCATE tr CASCADE;
BEGIN;
DROP TABLE t;
ROLLBACK;
SELECT count(*) FROM t;
