-- Which updates are heap-only: the same ones, counted the same.

CREATE TABLE t (id int PRIMARY KEY, a int, b int, c text, j jsonb) WITH (fillfactor = 10, autovacuum_enabled = off);
CREATE INDEX t_a ON t (a);
CREATE INDEX t_part ON t (b) WHERE b > 100;
CREATE INDEX t_expr ON t ((j ->> 'k'));
CREATE INDEX t_brin ON t USING brin (c);
INSERT INTO t SELECT g, g, g, 'c' || g, jsonb_build_object('k', g, 'other', 0) FROM generate_series(1, 100) g;
-- Each transaction counts from zero once those before it have been reported.
\set flush 'SELECT pg_stat_force_next_flush()'
\set count 'SELECT pg_stat_get_xact_tuples_inserted(\'t\'::regclass) AS ins, pg_stat_get_xact_tuples_updated(\'t\'::regclass) AS upd, pg_stat_get_xact_tuples_hot_updated(\'t\'::regclass) AS hot, pg_stat_get_xact_tuples_deleted(\'t\'::regclass) AS del'

:flush; BEGIN; UPDATE t SET a = a WHERE id <= 10; :count; COMMIT;
:flush; BEGIN; UPDATE t SET a = a + 1 WHERE id <= 10; :count; COMMIT;
:flush; BEGIN; UPDATE t SET b = b + 1 WHERE id <= 10; :count; COMMIT;
:flush; BEGIN; UPDATE t SET c = c || '!' WHERE id <= 10; :count; COMMIT;
:flush; BEGIN; UPDATE t SET j = j || '{"other": 1}' WHERE id BETWEEN 11 AND 20; :count; COMMIT;
:flush; BEGIN; UPDATE t SET j = j || '{"k": 1}' WHERE id BETWEEN 11 AND 20; :count; COMMIT;
:flush; BEGIN; INSERT INTO t (id, c) VALUES (21, 'up') ON CONFLICT (id) DO UPDATE SET c = excluded.c; :count; COMMIT;
:flush; BEGIN; UPDATE t SET c = 'cursor' WHERE id = 22; DELETE FROM t WHERE id = 23; INSERT INTO t VALUES (500); :count; ROLLBACK;
:flush;
BEGIN;
MERGE INTO t USING (VALUES (24), (25), (501)) d (id) ON t.id = d.id
WHEN MATCHED AND d.id = 24 THEN DELETE
WHEN MATCHED THEN UPDATE SET c = 'merged'
WHEN NOT MATCHED THEN INSERT VALUES (d.id);
:count;
COMMIT;
:flush; BEGIN; UPDATE t SET c = repeat('wide', 1000) || id WHERE id BETWEEN 60 AND 63; :count; COMMIT;
:flush;
BEGIN;
UPDATE t SET c = 'chain 1' WHERE id = 70;
UPDATE t SET c = 'chain 2' WHERE id = 70;
UPDATE t SET c = 'chain 3' WHERE id = 70;
:count;
COMMIT;
DROP INDEX t_a;
:flush; BEGIN; UPDATE t SET a = a + 1 WHERE id BETWEEN 80 AND 90; :count; COMMIT;
SET enable_seqscan = off;
SELECT id, c FROM t WHERE id IN (1, 21, 25, 70) ORDER BY id;
SELECT id, a FROM t WHERE id BETWEEN 79 AND 82 ORDER BY id;
RESET enable_seqscan;

-- The place of each row, while nothing is pruned.
CREATE TABLE place (id int PRIMARY KEY, v text) WITH (fillfactor = 50, autovacuum_enabled = off);
BEGIN;
INSERT INTO place SELECT g, repeat('p', 100) FROM generate_series(1, 60) g;
SELECT id, ctid FROM place WHERE id % 10 = 0 ORDER BY id;
UPDATE place SET v = v || 'x' WHERE id % 20 = 0;
SELECT id, ctid FROM place WHERE id % 10 = 0 ORDER BY id;
DELETE FROM place WHERE id < 5;
INSERT INTO place VALUES (100, 'new') RETURNING ctid;
COMMIT;
SELECT count(*), pg_relation_size('place') FROM place;
-- Size and free space of equal work.
CREATE TABLE size WITH (autovacuum_enabled = off) AS SELECT g AS id, repeat('s', g % 300) AS v FROM generate_series(1, 5000) g;
SELECT pg_relation_size('size'), pg_table_size('size') > pg_relation_size('size');
COPY (SELECT g, repeat('s', g % 300) FROM generate_series(1, 5000) g) TO :'file';
CREATE TABLE copied (LIKE size) WITH (autovacuum_enabled = off);
COPY copied FROM :'file';
SELECT pg_relation_size('copied') = pg_relation_size('size'), pg_relation_size('copied');
\set remove 'rm -f ' :file
COPY (SELECT WHERE false) TO PROGRAM :'remove';
