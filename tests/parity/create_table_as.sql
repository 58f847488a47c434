-- Tables made by queries: CREATE TABLE AS, SELECT INTO, materialized views.

CREATE TABLE source (id int PRIMARY KEY, a int, t text);
INSERT INTO source SELECT g, g % 7, repeat('s', g * 13 % 3000) FROM generate_series(1, 2000) g;

CREATE TABLE made AS SELECT * FROM source WHERE a < 3;
SELECT count(*), sum(id), sum(length(t)) FROM made;
CREATE TABLE named (x, y) AS VALUES (1, 'one'), (2, 'two');
SELECT * FROM named ORDER BY x;
CREATE TABLE bare AS SELECT * FROM source WITH NO DATA;
SELECT count(*) FROM bare;
CREATE TABLE IF NOT EXISTS made AS SELECT 1 AS other;
CREATE TABLE made AS SELECT 1 AS other; -- error 42P07
PREPARE pick (int) AS SELECT id, a FROM source WHERE id <= $1;
CREATE TABLE prepared AS EXECUTE pick (5);
SELECT * FROM prepared ORDER BY id;
SELECT id, t INTO into_table FROM source WHERE id % 500 = 0;
SELECT id, length(t) FROM into_table ORDER BY id;
CREATE TABLE filled WITH (fillfactor = 30) AS SELECT g AS id, repeat('f', 50) AS f FROM generate_series(1, 1000) g;
SELECT pg_relation_size('filled'), reloptions FROM pg_class WHERE oid = 'filled'::regclass;
CREATE TABLE broken AS SELECT 1 / (id - 1500) AS v FROM source; -- error 22012
SELECT to_regclass('broken');
BEGIN;
CREATE TABLE twice AS SELECT * FROM source;
UPDATE twice SET a = a + 1;
SAVEPOINT s;
TRUNCATE twice;
INSERT INTO twice VALUES (1);
ROLLBACK TO s;
COMMIT;
SELECT count(*), sum(a) FROM twice;
EXPLAIN (COSTS OFF) CREATE TABLE explained AS SELECT count(*) FROM source;
CREATE TABLE alike (LIKE source INCLUDING ALL);
INSERT INTO alike TABLE source;
INSERT INTO alike VALUES (1); -- error 23505
CREATE TABLE typed OF source; -- error 42809
CREATE TYPE kind AS (id int, v text);
CREATE TABLE typed OF kind (PRIMARY KEY (id));
INSERT INTO typed VALUES (1, 'typed');
UPDATE typed SET v = 'changed' RETURNING *;

CREATE MATERIALIZED VIEW m AS SELECT a, count(*) AS n, sum(id) AS total FROM source GROUP BY a;
SELECT * FROM m ORDER BY a;
DELETE FROM source WHERE a = 0;
INSERT INTO source VALUES (9000, 9, 'nine');
SELECT * FROM m ORDER BY a;
REFRESH MATERIALIZED VIEW CONCURRENTLY m; -- error 55000
REFRESH MATERIALIZED VIEW m;
SELECT * FROM m ORDER BY a;
CREATE UNIQUE INDEX ON m (a);
UPDATE source SET a = 10 WHERE id % 100 = 1;
DELETE FROM source WHERE a = 9;
REFRESH MATERIALIZED VIEW CONCURRENTLY m;
SELECT * FROM m ORDER BY a;
REFRESH MATERIALIZED VIEW CONCURRENTLY m;
ANALYZE m;
EXPLAIN (COSTS OFF) SELECT * FROM m WHERE a = 3;
REFRESH MATERIALIZED VIEW m WITH NO DATA;
SELECT * FROM m; -- error 55000
REFRESH MATERIALIZED VIEW m;
INSERT INTO m VALUES (1, 1, 1); -- error 42809
CREATE MATERIALIZED VIEW later AS SELECT id, t FROM source WITH NO DATA;
SELECT relispopulated FROM pg_class WHERE oid = 'later'::regclass;
REFRESH MATERIALIZED VIEW later;
SELECT count(*), sum(length(t)) FROM later;
CREATE INDEX ON later USING hash (t);
SELECT count(*) FROM later WHERE t = repeat('s', 13);
BEGIN;
DELETE FROM source WHERE id > 1000;
REFRESH MATERIALIZED VIEW later;
SELECT count(*) FROM later;
ROLLBACK;
SELECT count(*) FROM later;
CREATE MATERIALIZED VIEW over AS SELECT n FROM m WHERE n > 100;
REFRESH MATERIALIZED VIEW over;
SELECT count(*) FROM over;
VACUUM later;
ANALYZE later;
CLUSTER m USING m_a_idx;
VACUUM FULL later;
SELECT count(*), sum(length(t)) FROM later;
DROP TABLE source; -- error 2BP01
