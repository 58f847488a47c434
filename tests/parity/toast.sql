-- Values that do not fit into their row.

CREATE TABLE t (id int PRIMARY KEY, plain text, ext text, main text, num numeric, arr int[], doc jsonb);
ALTER TABLE t ALTER ext SET STORAGE EXTERNAL, ALTER main SET STORAGE MAIN;
SELECT string_agg(md5(g::text), '' ORDER BY g) AS noise FROM generate_series(1, 1000) g \gset

INSERT INTO t (id, plain) VALUES (1, repeat('abc', 100000));
INSERT INTO t (id, ext) VALUES (2, repeat('abc', 100000));
INSERT INTO t (id, main) VALUES (3, repeat('abc', 100000));
INSERT INTO t (id, plain, ext, main) VALUES (4, :'noise', :'noise', :'noise');
INSERT INTO t (id, num) VALUES (5, (repeat('1234567890', 3000))::numeric);
INSERT INTO t (id, arr) SELECT 6, array_agg(g * 7919) FROM generate_series(1, 20000) g;
INSERT INTO t (id, doc) SELECT 7, jsonb_agg(jsonb_build_object('n', g, 'h', md5(g::text))) FROM generate_series(1, 2000) g;
INSERT INTO t SELECT 8, plain, ext, main, (SELECT num FROM t WHERE id = 5), (SELECT arr FROM t WHERE id = 6),
    (SELECT doc FROM t WHERE id = 7) FROM t WHERE id = 4;
\set show 'SELECT id, length(plain) AS p, md5(plain) AS pm, length(ext) AS e, md5(main) AS mm, length(num::text) AS n, cardinality(arr) AS a, md5(doc::text) AS d FROM t ORDER BY id'
\set sizes 'SELECT id, pg_column_size(plain) AS p, pg_column_size(ext) AS e, pg_column_size(main) AS m, pg_column_size(num) AS n, pg_column_size(arr) AS a, pg_column_size(doc) AS d FROM t ORDER BY id'
:show;
:sizes;
SELECT x.relkind, am.amname FROM pg_class t JOIN pg_class x ON x.oid = t.reltoastrelid JOIN pg_am am ON am.oid = x.relam
    WHERE t.oid = 't'::regclass;

-- An update of another column keeps the stored value; one of the value replaces it.
CREATE FUNCTION chunks() RETURNS TABLE (vals bigint, chunks bigint) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT count(DISTINCT chunk_id), count(*) FROM %s',
        (SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 't'::regclass));
END $$;
SELECT * FROM chunks();
UPDATE t SET id = id + 100 WHERE id IN (2, 4, 8);
SELECT * FROM chunks();
UPDATE t SET plain = plain || 'x' WHERE id = 1;
UPDATE t SET ext = 'short now' WHERE id = 102;
UPDATE t SET ext = ext WHERE id = 104;
UPDATE t SET arr[3] = -1 WHERE id = 6;
UPDATE t SET doc = doc || '{"n": 0}' WHERE id = 7 RETURNING jsonb_array_length(doc);
SELECT * FROM chunks();
:show;
:sizes;
DELETE FROM t WHERE id IN (3, 104) RETURNING id, md5(main);
SELECT * FROM chunks();

-- Slices of external values.
SELECT substr(ext, 150000, 10), substr(plain, 299999, 3) FROM t WHERE id IN (1, 108) ORDER BY id;
SELECT substring(ext FROM 31990 FOR 20) = right(:'noise', 11) FROM t WHERE id = 108;

-- Rollback forgets chunks; a savepoint too.
BEGIN;
UPDATE t SET ext = repeat('zyx', 50000) WHERE id = 108;
SAVEPOINT a;
UPDATE t SET ext = repeat('wvu', 50000) WHERE id = 108;
SELECT substr(ext, 1, 6) FROM t WHERE id = 108;
ROLLBACK TO a;
SELECT substr(ext, 1, 6) FROM t WHERE id = 108;
ROLLBACK;
SELECT md5(ext) = md5(:'noise') FROM t WHERE id = 108;

-- RETURNING, cursors and plpgsql variables outlive the row.
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id, ext FROM t WHERE ext IS NOT NULL ORDER BY id;
DELETE FROM t WHERE id = 108;
FETCH 1 FROM c;
COMMIT;
VACUUM t;
SELECT * FROM chunks();
FETCH 1 FROM c \gset
SELECT :id, md5(:'ext') = md5(:'noise');
CLOSE c;

-- Wide keys, and rows too wide for any page.
CREATE TABLE many (id int);
SELECT format('ALTER TABLE many %s', string_agg(format('ADD c%s text DEFAULT %L', g, repeat('v', 20)), ', '))
    FROM generate_series(1, 300) g
\gexec
INSERT INTO many VALUES (1);
SELECT id, length(c1) + length(c300) FROM many;
SELECT format('CREATE TABLE ids (%s)', string_agg(format('c%s bigint DEFAULT %s', g, g), ', ')) FROM generate_series(1, 1200) g
\gexec
INSERT INTO ids DEFAULT VALUES; -- error 54000
CREATE TABLE lz (id int, v text COMPRESSION pglz);
INSERT INTO lz VALUES (1, repeat('0123456789', 10000));
SELECT pg_column_compression(v), length(v), pg_column_size(v) < 5000 FROM lz;
CREATE TABLE one AS SELECT :'noise' AS plain;
CREATE INDEX ON one (plain); -- error 54000
