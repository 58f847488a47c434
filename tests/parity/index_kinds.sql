-- Every kind of index, kept through inserts, updates, deletes and rollbacks.

CREATE TABLE t (
    id int PRIMARY KEY,
    a int,
    b text,
    tags text[],
    span int4range,
    place point,
    ts tsvector,
    extra text
) WITH (autovacuum_enabled = off);
INSERT INTO t
SELECT g, g % 100, 'b' || g % 37, ARRAY['t' || g % 5, 'u' || g % 11], int4range(g, g + 10),
       point(g % 40, g / 40), to_tsvector('simple', 'word' || g % 13 || ' all'), repeat('e', g % 20)
FROM generate_series(1, 2000) g;
CREATE INDEX t_a ON t (a DESC NULLS LAST, id);
CREATE INDEX t_b_hash ON t USING hash (b);
CREATE INDEX t_tags_gin ON t USING gin (tags);
CREATE INDEX t_ts_gin ON t USING gin (ts) WITH (fastupdate = off);
CREATE INDEX t_span_gist ON t USING gist (span);
CREATE INDEX t_place_gist ON t USING gist (place);
CREATE INDEX t_place_spgist ON t USING spgist (place);
CREATE INDEX t_b_spgist ON t USING spgist (b);
CREATE INDEX t_id_brin ON t USING brin (id) WITH (pages_per_range = 2);
CREATE INDEX t_a_minmax ON t USING brin (a int4_minmax_multi_ops);
CREATE INDEX t_b_bloom ON t USING brin (b text_bloom_ops);
CREATE INDEX t_partial ON t (b) WHERE a < 10;
CREATE INDEX t_expression ON t ((a * 2), upper(b));
CREATE UNIQUE INDEX t_include ON t (id) INCLUDE (b, extra);
CREATE INDEX t_collated ON t (b COLLATE "C" text_pattern_ops);

-- One query an index, by the index and without it.
CREATE TABLE query (n int, q text);
INSERT INTO query VALUES
    (1, 'a = 42'), (2, 'a BETWEEN 5 AND 7'), (3, 'b = ''b7'''), (4, 'tags @> ARRAY[''t3'', ''u4'']'),
    (5, 'ts @@ ''word5 & all'''::text), (6, 'span && int4range(100, 120)'), (7, 'span @> 500'),
    (8, 'place <@ box ''(3,3),(7,7)'''), (9, 'place ~= point(3, 3)'), (10, 'id BETWEEN 700 AND 720'),
    (11, 'a < 10 AND b = ''b3'''), (12, 'a * 2 = 84 AND upper(b) = ''B5'''), (13, 'b LIKE ''b1%'''),
    (14, 'a IS NULL'), (15, 'id = ANY (ARRAY[1, 99, 1999, 5000])'), (16, 'b ^@ ''b2''');
CREATE FUNCTION answers() RETURNS TABLE (n int, hits bigint, digest text, agree bool) LANGUAGE plpgsql AS $$
DECLARE
    q record;
    by_scan text;
BEGIN
    FOR q IN SELECT * FROM query ORDER BY query.n LOOP
        n := q.n;
        SET LOCAL enable_seqscan = off;
        EXECUTE format('SELECT count(*), md5(string_agg(id::text, '','' ORDER BY id)) FROM t WHERE %s', q.q) INTO hits, digest;
        SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexonlyscan = off;
        EXECUTE format('SELECT md5(string_agg(id::text, '','' ORDER BY id)) FROM t WHERE %s', q.q) INTO by_scan;
        SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_indexonlyscan = on;
        agree := digest IS NOT DISTINCT FROM by_scan;
        RETURN NEXT;
    END LOOP;
END $$;
SELECT * FROM answers();
INSERT INTO t SELECT g, NULL, 'b' || g % 37, ARRAY['t3', 'u4'], int4range(g % 1000, g % 1000 + 3), point(5, 5),
    'word5 all', NULL FROM generate_series(2001, 2300) g;
SELECT * FROM answers();
UPDATE t SET a = a + 1, b = 'b' || (a + 1) % 37 WHERE id % 3 = 0;
UPDATE t SET tags = tags || 'u4'::text, ts = ts || 'word5' WHERE id % 7 = 0;
UPDATE t SET span = int4range(lower(span) + 50, upper(span) + 60), place = point(place[1], place[0]) WHERE id % 5 = 0;
UPDATE t SET extra = 'hot' WHERE id % 11 = 0;
SELECT * FROM answers();
DELETE FROM t WHERE id % 4 = 0;
SELECT * FROM answers();
BEGIN;
DELETE FROM t WHERE id % 2 = 1;
INSERT INTO t SELECT g, 42, 'b7', '{t3,u4}', '[100,120)', point(3, 3), 'word5 all' FROM generate_series(3000, 3100) g;
SELECT * FROM answers();
ROLLBACK;
SELECT * FROM answers();
-- Twice: a commit that is not flushed yet hides from the first one that a row is all-visible.
CALL settle();
VACUUM (FREEZE) t;
VACUUM t;
SELECT brin_summarize_new_values('t_id_brin') >= 0, gin_clean_pending_list('t_tags_gin') >= 0;
SELECT * FROM answers();

-- Nearest neighbours and ordered scans.
SET enable_seqscan = off;
SELECT id, place <-> point(10.2, 10.1) AS d FROM t WHERE id < 2000 ORDER BY d, id LIMIT 5;
SELECT a, id FROM t WHERE a > 95 ORDER BY a DESC NULLS LAST, id LIMIT 5;
SELECT a, id FROM t ORDER BY a NULLS FIRST, id DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id, b FROM t WHERE id = 5;
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE b = 'b7';
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE tags @> ARRAY['t3'];
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE span && int4range(100, 120);
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE a < 10 AND b = 'b3';
EXPLAIN (COSTS OFF) SELECT * FROM t WHERE a * 2 = 84 AND upper(b) = 'B5';
EXPLAIN (COSTS OFF) SELECT * FROM t ORDER BY place <-> point(1, 1) LIMIT 3;
RESET enable_seqscan;

-- Uniqueness: nulls, deferral, exclusion.
CREATE TABLE u (a int, b int, c int4range, d int, UNIQUE NULLS NOT DISTINCT (a, b),
    CONSTRAINT u_c EXCLUDE USING gist (c WITH &&) WHERE (d > 0),
    CONSTRAINT u_d UNIQUE (d) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO u VALUES (1, NULL, '[1,5)', 1);
INSERT INTO u VALUES (1, NULL, '[6,7)', 2); -- error 23505
INSERT INTO u VALUES (2, NULL, '[3,9)', 2); -- error 23P01
INSERT INTO u VALUES (2, NULL, '[3,9)', 0), (3, NULL, '[5,9)', 3);
UPDATE u SET d = 4 WHERE d = 0; -- error 23P01
BEGIN;
UPDATE u SET d = 5, c = NULL;
SELECT count(*), count(DISTINCT d) FROM u;
SET CONSTRAINTS u_d IMMEDIATE; -- error 23505
ROLLBACK;
BEGIN;
UPDATE u SET d = CASE d WHEN 1 THEN 3 WHEN 3 THEN 1 ELSE d END;
COMMIT;
BEGIN;
INSERT INTO u VALUES (9, 9, NULL, 3);
DELETE FROM u WHERE a = 9;
INSERT INTO u VALUES (9, 9, NULL, 3);
COMMIT; -- error 23505
SELECT * FROM u ORDER BY a, b;
CREATE TABLE x (id int UNIQUE DEFERRABLE INITIALLY IMMEDIATE);
INSERT INTO x SELECT generate_series(1, 100);
UPDATE x SET id = id + 1;
UPDATE x SET id = 5 WHERE id < 10; -- error 23505
SELECT min(id), max(id), count(*) FROM x;
CREATE TABLE many (a int, b int, c int, d int, UNIQUE (a), UNIQUE (b), UNIQUE (c), UNIQUE (d));
INSERT INTO many SELECT g, g, g, g FROM generate_series(1, 300) g;
INSERT INTO many VALUES (400, 400, 300, 300); -- error 23505
UPDATE many SET a = -a, b = -b, c = -c, d = -d;
SELECT count(*) FROM many WHERE a = b AND c = d AND a < 0;
