-- Partitioned tables: routing, moves, attach and detach.

CREATE TABLE l (id int, region text, n int DEFAULT 0) PARTITION BY LIST (region);
CREATE TABLE l_n PARTITION OF l FOR VALUES IN ('n', 'N');
CREATE TABLE l_s PARTITION OF l FOR VALUES IN ('s');
CREATE TABLE l_null PARTITION OF l FOR VALUES IN (NULL);
INSERT INTO l VALUES (1, 'n'), (2, 's'), (3, NULL), (4, 'N') RETURNING tableoid::regclass, *;
INSERT INTO l VALUES (5, 'w'); -- error 23514
INSERT INTO l_n VALUES (5, 's'); -- error 23514
CREATE TABLE l_rest PARTITION OF l DEFAULT;
INSERT INTO l VALUES (5, 'w');
UPDATE l SET region = 's' WHERE id IN (1, 3) RETURNING tableoid::regclass, *;
UPDATE l SET region = 'N', n = 1 WHERE id = 5 RETURNING tableoid::regclass, *;
UPDATE l_n SET region = 's' WHERE id = 4; -- error 23514
SELECT tableoid::regclass, * FROM l ORDER BY id;
CREATE TABLE l_w PARTITION OF l FOR VALUES IN ('w');
INSERT INTO l VALUES (6, 'x');
CREATE TABLE l_x PARTITION OF l FOR VALUES IN ('x'); -- error 23514

CREATE TABLE r (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE r_1 PARTITION OF r FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE r_2 PARTITION OF r FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (id);
CREATE TABLE r_2a PARTITION OF r_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE r_2b PARTITION OF r_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE r_3 (v text, extra int, id int NOT NULL, at date NOT NULL);
ALTER TABLE r_3 DROP COLUMN extra;
INSERT INTO r_3 VALUES ('early', 1, '2023-01-01');
ALTER TABLE r ATTACH PARTITION r_3 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); -- error 23514
UPDATE r_3 SET at = '2025-05-05';
ALTER TABLE r ATTACH PARTITION r_3 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO r SELECT g, date '2023-06-01' + g * 10, 'v' || g FROM generate_series(1, 90) g;
SELECT tableoid::regclass, count(*), min(at), max(at) FROM r GROUP BY 1 ORDER BY tableoid::regclass::text;
INSERT INTO r VALUES (1, '2023-06-11'); -- error 23505
UPDATE r SET at = at + 365 WHERE id <= 3 AND at < '2024-01-01' RETURNING tableoid::regclass, *;
UPDATE r SET id = id + 1000, v = v || '!' WHERE id BETWEEN 30 AND 33;
SELECT tableoid::regclass, * FROM r WHERE id >= 1000 ORDER BY id;
ANALYZE r;
EXPLAIN (COSTS OFF) SELECT * FROM r WHERE at < '2023-12-01' AND id = 3;
EXPLAIN (COSTS OFF) UPDATE r SET v = '' WHERE at = '2025-05-05';
EXPLAIN (COSTS OFF) SELECT * FROM r WHERE at = '2024-05-05' AND id = 3;

-- A move deletes here and inserts there: triggers see both.
CREATE TABLE seen (n serial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (what) VALUES (concat_ws(' ', TG_TABLE_NAME, TG_WHEN, TG_OP, COALESCE(NEW.id, OLD.id)));
    RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER b BEFORE INSERT OR UPDATE OR DELETE ON l FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON l FOR EACH ROW EXECUTE FUNCTION note();
UPDATE l SET region = 'n' WHERE id = 2;
UPDATE l SET n = 5 WHERE id = 2;
SELECT what FROM seen ORDER BY n;

-- Detach, change alone, attach again.
ALTER TABLE l DETACH PARTITION l_s;
INSERT INTO l VALUES (7, 's') RETURNING tableoid::regclass;
UPDATE l_s SET region = 'elsewhere';
ALTER TABLE l ATTACH PARTITION l_s FOR VALUES IN ('s'); -- error 23514
DELETE FROM l WHERE region = 's';
UPDATE l_s SET region = 's';
ALTER TABLE l ATTACH PARTITION l_s FOR VALUES IN ('s');
ALTER TABLE r DETACH PARTITION r_1 CONCURRENTLY;
INSERT INTO r VALUES (1, '2020-01-01'); -- error 23514
SELECT count(*) FROM r_1;
SELECT tableoid::regclass, * FROM l ORDER BY id;

-- Foreign keys to and from partitions.
CREATE TABLE child (id int PRIMARY KEY, r_id int, r_at date, FOREIGN KEY (r_id, r_at) REFERENCES r ON UPDATE CASCADE ON DELETE SET NULL);
INSERT INTO child SELECT id, id, at FROM r WHERE id BETWEEN 40 AND 44;
INSERT INTO child VALUES (1, 1, '1999-01-01'); -- error 23503
UPDATE r SET at = '2025-12-31' WHERE id = 40;
DELETE FROM r WHERE id = 41;
SELECT * FROM child ORDER BY id;
TRUNCATE r; -- error 0A000
DROP TABLE child;
TRUNCATE r;
SELECT count(*) FROM r;

-- Expression keys, many partitions, partition-wise joins.
CREATE TABLE h (id int, v text) PARTITION BY HASH (id);
SELECT format('CREATE TABLE h_%s PARTITION OF h FOR VALUES WITH (MODULUS 8, REMAINDER %s)', g, g) FROM generate_series(0, 7) g
\gexec
INSERT INTO h SELECT g, md5(g::text) FROM generate_series(1, 2000) g;
SELECT tableoid::regclass, count(*) FROM h GROUP BY 1 ORDER BY tableoid::regclass::text;
UPDATE h SET id = id + 1;
SELECT count(*), count(DISTINCT id), sum(id) FROM h;
ANALYZE h;
SET enable_partitionwise_join = on; SET enable_partitionwise_aggregate = on;
EXPLAIN (COSTS OFF) SELECT count(*) FROM h x JOIN h y USING (id) WHERE x.id IN (1, 2);
SELECT count(*) FROM h x JOIN h y USING (id);
CREATE TABLE e (v text) PARTITION BY LIST (left(lower(v), 1));
CREATE TABLE e_a PARTITION OF e FOR VALUES IN ('a');
INSERT INTO e VALUES ('Apple'), ('avocado');
INSERT INTO e VALUES ('Banana'); -- error 23514
SELECT tableoid::regclass, v FROM e ORDER BY v;
