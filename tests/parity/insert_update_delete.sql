-- INSERT, UPDATE, DELETE and RETURNING, and the errors of column constraints.

CREATE TABLE item (
    id int PRIMARY KEY,
    name text NOT NULL DEFAULT 'unnamed',
    price numeric CHECK (price >= 0),
    code text UNIQUE
) WITH (autovacuum_enabled = off);

INSERT INTO item VALUES (1, 'one', 1.5, 'a') RETURNING *;
INSERT INTO item (id) VALUES (2), (3), (4) RETURNING id, name, price;
INSERT INTO item SELECT g, 'n' || g, g / 4.0, 'c' || g FROM generate_series(5, 2000) g;
INSERT INTO item DEFAULT VALUES; -- error 23502
INSERT INTO item VALUES (5); -- error 23505
INSERT INTO item VALUES (9001), (9002), (9001); -- error 23505
INSERT INTO item VALUES (9001, NULL); -- error 23502
INSERT INTO item VALUES (9001, 'x', -1); -- error 23514
INSERT INTO item VALUES (9001, 'x', 1, 'c5'); -- error 23505
SELECT count(*), sum(id), sum(price), min(name), max(code) FROM item;

UPDATE item SET price = price + 1 WHERE id BETWEEN 10 AND 14 RETURNING id, price;
UPDATE item SET id = id + 10000 WHERE id = 7 RETURNING *;
UPDATE item SET id = id + 1; -- error 23505
UPDATE item SET price = -1 WHERE id = 20; -- error 23514
UPDATE item SET name = NULL WHERE id = 20; -- error 23502
UPDATE item SET (name, price) = (SELECT 'from ' || max(id), 7 FROM item) WHERE id = 21 RETURNING *;
UPDATE item i SET name = j.name || '+' FROM item j WHERE j.id = i.id - 1 AND i.id IN (30, 31, 32)
    RETURNING i.id, i.name, j.id;
UPDATE item SET name = 'nobody' WHERE id = -1 RETURNING *;
SELECT * FROM item WHERE id BETWEEN 10 AND 32 ORDER BY id;

-- A row that joins twice is updated once.
UPDATE item i SET price = 100 FROM (VALUES (40), (40)) v (id) WHERE v.id = i.id RETURNING i.*;

DELETE FROM item WHERE id = 40 RETURNING *;
DELETE FROM item WHERE id = 40 RETURNING *;
DELETE FROM item i USING item j WHERE j.id = i.id + 1 AND i.id BETWEEN 50 AND 54
    RETURNING i.id, j.id;
DELETE FROM item WHERE id > 1000;
SELECT count(*), sum(id) FROM item;

-- Writable CTEs work on one snapshot.
WITH moved AS (DELETE FROM item WHERE id BETWEEN 60 AND 64 RETURNING *)
INSERT INTO item SELECT id + 5000, name, price, code || '!' FROM moved RETURNING *;
WITH changed AS (UPDATE item SET price = 0 WHERE id = 70 RETURNING id, price)
SELECT c.price AS new, i.price AS old FROM changed c JOIN item i USING (id);
WITH a AS (UPDATE item SET price = 1 WHERE id = 71 RETURNING id),
     b AS (UPDATE item SET price = 2 WHERE id = 71 RETURNING id)
SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b);

-- System columns of what this transaction wrote.
BEGIN;
INSERT INTO item VALUES (8000), (8001);
UPDATE item SET name = 'again' WHERE id = 8001;
SELECT id, xmin = pg_current_xact_id()::xid AS mine, cmin, tableoid = 'item'::regclass AS here
    FROM item WHERE id >= 8000 ORDER BY id;
INSERT INTO item VALUES (8002) RETURNING xmin = pg_current_xact_id()::xid, tableoid::regclass, cmin;
DELETE FROM item WHERE id = 8000 RETURNING xmax IS NOT NULL, tableoid::regclass;
ROLLBACK;

-- Arity of columns: none, very many, all null.
CREATE TABLE none ();
INSERT INTO none DEFAULT VALUES;
INSERT INTO none DEFAULT VALUES;
SELECT count(*) FROM none;
SELECT format('CREATE TABLE wide (%s)', string_agg(format('c%s int', g), ', ')) FROM generate_series(1, 800) g
\gexec
INSERT INTO wide (c1, c400, c800) VALUES (1, 2, 3), (NULL, NULL, NULL);
UPDATE wide SET c799 = 4 WHERE c800 = 3;
SELECT c1, c2, c400, c799, c800 FROM wide ORDER BY c1;

-- Rows after dropped and added columns.
ALTER TABLE item DROP COLUMN price;
ALTER TABLE item ADD COLUMN added int DEFAULT 42;
INSERT INTO item (id, code) VALUES (8500, 'new') RETURNING *;
UPDATE item SET added = added + 1 WHERE id IN (1, 8500) RETURNING *;
SELECT count(*), sum(added), max(code) FROM item;
SELECT t FROM item t WHERE id IN (1, 2, 8500) ORDER BY id;
