-- ALTER TABLE ... SET ACCESS METHOD, to heap and back.

CREATE TABLE t (id int PRIMARY KEY, v text, d jsonb, g int GENERATED ALWAYS AS (length(v)) STORED) WITH (autovacuum_enabled = off);
ALTER TABLE t ADD COLUMN dropped int;
INSERT INTO t (id, v, d, dropped) SELECT g, repeat('m', g * 17 % 5000), jsonb_build_object('n', g), g FROM generate_series(1, 800) g;
ALTER TABLE t DROP COLUMN dropped;
CREATE INDEX t_d ON t USING gin (d);
UPDATE t SET v = 'short' WHERE id % 4 = 0;
DELETE FROM t WHERE id % 6 = 0;
\set digest 'SELECT count(*), sum(id), sum(g), md5(string_agg(v || d, \'\' ORDER BY id)) AS texts FROM t'
:digest;
ALTER TABLE t SET ACCESS METHOD heap;
:digest;
SELECT count(*) FROM t WHERE d @> '{"n": 77}';
INSERT INTO t (id) VALUES (1); -- error 23505
UPDATE t SET v = v || '!' WHERE id % 7 = 0;
ALTER TABLE t SET ACCESS METHOD :am;
:digest;
SELECT count(*) FROM t WHERE d @> '{"n": 77}';
INSERT INTO t (id) VALUES (1); -- error 23505
BEGIN;
DELETE FROM t WHERE id < 100;
ALTER TABLE t SET ACCESS METHOD heap;
:digest;
ROLLBACK;
:digest;
BEGIN;
CREATE TABLE fresh AS SELECT g AS id FROM generate_series(1, 50) g;
ALTER TABLE fresh SET ACCESS METHOD heap;
INSERT INTO fresh VALUES (51);
ALTER TABLE fresh SET ACCESS METHOD :am;
DELETE FROM fresh WHERE id < 10;
COMMIT;
SELECT count(*), sum(id) FROM fresh;
ALTER TABLE fresh SET ACCESS METHOD heap, ALTER id TYPE bigint, ADD v text DEFAULT 'v';
SELECT count(*), sum(id), max(v) FROM fresh;
ALTER TABLE fresh SET ACCESS METHOD none_such; -- error 42704
CREATE MATERIALIZED VIEW m AS SELECT * FROM fresh;
ALTER MATERIALIZED VIEW m SET ACCESS METHOD heap;
SELECT sum(id) FROM m;
ALTER MATERIALIZED VIEW m SET ACCESS METHOD :am;
REFRESH MATERIALIZED VIEW m;
SELECT sum(id) FROM m;

-- One table, partitions of both kinds.
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p_heap PARTITION OF p FOR VALUES FROM (0) TO (100) USING heap;
CREATE TABLE p_am PARTITION OF p FOR VALUES FROM (100) TO (200) USING :am;
INSERT INTO p SELECT g, 'v' FROM generate_series(0, 199) g;
UPDATE p SET id = 199 - id WHERE false;
UPDATE p SET id = 250 WHERE id = 5; -- error 23514
DELETE FROM p WHERE id IN (50, 150);
UPDATE p SET id = 150, v = 'moved' WHERE id = 49 RETURNING tableoid::regclass, *;
UPDATE p SET id = 50, v = 'moved' WHERE id = 149 RETURNING tableoid::regclass, *;
SELECT tableoid::regclass, count(*) FROM p GROUP BY tableoid ORDER BY tableoid::regclass::text;
COPY p FROM stdin;
49	copied
149	copied
\.
INSERT INTO p VALUES (49, 'x'), (149, 'y') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
SELECT * FROM p WHERE id IN (49, 50, 149, 150) ORDER BY id;
