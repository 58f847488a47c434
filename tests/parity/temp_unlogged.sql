-- Temporary and unlogged tables.

CREATE TEMP TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, repeat('t', g * 10) FROM generate_series(1, 1000) g;
UPDATE t SET v = 'updated' WHERE id % 2 = 0;
DELETE FROM t WHERE id % 5 = 0;
SELECT count(*), sum(id), sum(length(v)) FROM t;
INSERT INTO t VALUES (1); -- error 23505
INSERT INTO t VALUES (1, 'conflict') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *;
CREATE INDEX ON t (v);
VACUUM t;
ANALYZE t;
CLUSTER t USING t_pkey;
VACUUM FULL t;
SELECT count(*), sum(id) FROM t;
TRUNCATE t;
SELECT count(*) FROM t;
DROP TABLE t;

BEGIN;
CREATE TEMP TABLE gone (id int) ON COMMIT DROP;
INSERT INTO gone VALUES (1);
SELECT * FROM gone;
COMMIT;
SELECT * FROM gone; -- error 42P01
CREATE TEMP TABLE empties (id int PRIMARY KEY, v text) ON COMMIT DELETE ROWS;
BEGIN;
INSERT INTO empties VALUES (1, 'a'), (2, repeat('long', 10000));
SELECT id, length(v) FROM empties ORDER BY id;
COMMIT;
SELECT * FROM empties;
INSERT INTO empties VALUES (1, 'a');
SELECT * FROM empties;
CREATE TEMP TABLE keeps (id int) ON COMMIT PRESERVE ROWS;
BEGIN;
INSERT INTO keeps VALUES (1);
COMMIT;
SELECT * FROM keeps;
BEGIN;
CREATE TEMP TABLE rolled_back (id int);
INSERT INTO rolled_back VALUES (1);
SAVEPOINT s;
ALTER TABLE rolled_back ADD v text DEFAULT 'v';
SELECT * FROM rolled_back;
ROLLBACK TO s;
SELECT * FROM rolled_back;
ROLLBACK;
SELECT * FROM rolled_back; -- error 42P01
BEGIN;
INSERT INTO keeps VALUES (2);
PREPARE TRANSACTION 'refused'; -- error 0A000
DISCARD TEMP;
SELECT * FROM keeps; -- error 42P01
CREATE TEMP TABLE made AS SELECT g AS id FROM generate_series(1, 10) g;
ALTER TABLE made ALTER id TYPE bigint;
SELECT sum(id) FROM made;

CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text, s serial);
INSERT INTO u SELECT g, 'v' || g FROM generate_series(1, 1000) g;
UPDATE u SET v = repeat('long', 5000) WHERE id = 500;
DELETE FROM u WHERE id > 900;
SELECT count(*), sum(id), sum(length(v)) FROM u;
CREATE INDEX ON u USING gin (to_tsvector('simple', v)) WHERE id < 100;
SELECT pg_relation_size('u', 'init') = 0;
ALTER TABLE u SET LOGGED;
SELECT relpersistence, pg_relation_size('u', 'init') FROM pg_class WHERE oid = 'u'::regclass;
SELECT count(*), sum(id), sum(length(v)), max(s) FROM u;
INSERT INTO u VALUES (1); -- error 23505
ALTER TABLE u SET UNLOGGED;
SELECT relpersistence FROM pg_class WHERE oid = 'u'::regclass;
INSERT INTO u VALUES (1001, 'last');
SELECT count(*), sum(id), max(s) FROM u;
BEGIN;
ALTER TABLE u SET LOGGED;
ROLLBACK;
SELECT relpersistence FROM pg_class WHERE oid = 'u'::regclass;
TRUNCATE u RESTART IDENTITY;
INSERT INTO u VALUES (1, 'x') RETURNING *;
