-- COPY in every format, both ways. The server can write to :file.

CREATE TABLE source (id int PRIMARY KEY, t text, b bytea, n numeric, a int[], j jsonb, d date);
INSERT INTO source
SELECT g, CASE WHEN g % 7 <> 0 THEN repeat('x', g % 50) || E'\t,"\\\n' || g END, decode(md5(g::text), 'hex'),
       g / 8.0, ARRAY[g, NULL, -g], jsonb_build_object('k', g), date '2024-01-01' + g
FROM generate_series(1, 3000) g;

CREATE TABLE target (LIKE source INCLUDING ALL) WITH (autovacuum_enabled = off);
ALTER TABLE target ALTER t SET DEFAULT 'by default';
\set copy_out 'COPY (SELECT * FROM source ORDER BY id) TO ' :'file'
\set copy_in 'COPY target FROM ' :'file'
\set compare 'SELECT count(*), (SELECT count(*) FROM (TABLE source EXCEPT TABLE target) x) AS missing FROM target'

:copy_out;
:copy_in;
:compare;
TRUNCATE target;
:copy_out (FORMAT csv, HEADER);
:copy_in (FORMAT csv, HEADER match);
:compare;
TRUNCATE target;
:copy_out (FORMAT csv, DELIMITER ';', QUOTE '''', NULL 'none', FORCE_QUOTE (t));
:copy_in (FORMAT csv, DELIMITER ';', QUOTE '''', NULL 'none');
:compare;
TRUNCATE target;
:copy_out (FORMAT binary);
:copy_in (FORMAT binary);
:compare;
:copy_in (FORMAT binary); -- error 23505
:compare;

-- FREEZE needs a table of this transaction; its rows are visible to older snapshots.
:copy_in (FORMAT binary, FREEZE); -- error 55000
BEGIN;
TRUNCATE target;
:copy_in (FORMAT binary, FREEZE);
:compare;
COMMIT;
:compare;
UPDATE target SET t = 'changed' WHERE id % 100 = 0;
DELETE FROM target WHERE id % 100 = 1;
SELECT count(*), count(*) FILTER (WHERE t = 'changed') FROM target;
BEGIN;
CREATE TABLE frozen (id int, t text);
COPY frozen FROM stdin (FREEZE);
1	one
2	two
\.
SELECT * FROM frozen ORDER BY id;
ROLLBACK;

-- COPY with a column list, defaults and WHERE.
COPY target (id, n) FROM stdin WHERE id % 2 = 0;
10001	1
10002	2
10004	4
\.
COPY target (id, n, t) FROM stdin (FORMAT csv, DEFAULT 'D');
10005,5,D
10006,6,six
\.
SELECT * FROM target WHERE id > 10000 ORDER BY id;
COPY target (id, n) FROM stdin (FORMAT csv);
10007,7
10007,8
\.
-- error 23505 above
COPY target (id, n) FROM stdin (FORMAT csv);
10008,8
10009,eight
\.
-- error 22P02 above
SELECT * FROM target WHERE id > 10006 ORDER BY id;
COPY (SELECT id, t, a, j FROM target WHERE id IN (1, 2, 7, 100) ORDER BY id) TO stdout;
COPY (SELECT id, t, a, j FROM target WHERE id IN (1, 2, 7, 100) ORDER BY id) TO stdout (FORMAT csv, HEADER);
COPY (DELETE FROM target WHERE id > 2997 RETURNING id, n) TO stdout;
COPY (UPDATE target SET n = 0 WHERE id = 2997 RETURNING id, n) TO stdout;

-- Many rows to several partitions, with row triggers: no batches.
CREATE TABLE part (id int, t text) PARTITION BY LIST (t);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_rest PARTITION OF part DEFAULT;
COPY part FROM stdin;
1	a
2	b
3	a
4	\N
\.
SELECT tableoid::regclass, * FROM part ORDER BY id;
CREATE FUNCTION double() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id := NEW.id * 2; RETURN NEW; END';
CREATE TRIGGER double BEFORE INSERT ON part_a FOR EACH ROW EXECUTE FUNCTION double();
COPY part FROM stdin;
11	a
12	b
13	a
\.
SELECT tableoid::regclass, * FROM part ORDER BY id;

-- Rows wider than a page's share, and a batch that ends inside a page.
CREATE TABLE long (id int, t text);
ALTER TABLE long ALTER t SET STORAGE EXTERNAL;
COPY (SELECT g, repeat(chr(65 + g % 26), g * 37 % 9000) FROM generate_series(1, 500) g) TO :'file';
COPY long FROM :'file';
SELECT count(*), sum(length(t)), md5(string_agg(t, '' ORDER BY id)) FROM long;
\set remove 'rm -f ' :file
COPY (SELECT WHERE false) TO PROGRAM :'remove';
