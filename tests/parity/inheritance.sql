-- Inheritance.

CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (extra int) INHERITS (parent);
CREATE TABLE other (v text, own int, id int);
ALTER TABLE other ALTER id SET NOT NULL;
ALTER TABLE other INHERIT parent;
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child VALUES (2, 'c', 20), (1, 'same key', 10);
INSERT INTO other VALUES ('o', 30, 3);
SELECT tableoid::regclass, * FROM parent ORDER BY id, v;
SELECT * FROM ONLY parent;
UPDATE parent SET v = v || '!' RETURNING tableoid::regclass, *;
UPDATE ONLY parent SET v = 'only';
UPDATE parent SET id = id + 10 WHERE v LIKE 'c%' OR v LIKE 'o%';
DELETE FROM parent WHERE id = 1 RETURNING tableoid::regclass, *;
SELECT * FROM child ORDER BY id;
SELECT * FROM other ORDER BY id;
ALTER TABLE parent ADD COLUMN d int DEFAULT 7 CHECK (d > 0);
INSERT INTO child (id, d) VALUES (5, 0); -- error 23514
SELECT tableoid::regclass, * FROM parent ORDER BY id;
SELECT p.id FROM parent p WHERE p.id > 0 ORDER BY id FOR UPDATE;
ALTER TABLE other NO INHERIT parent;
UPDATE parent SET d = 8;
SELECT * FROM other;
SELECT tableoid::regclass, * FROM parent ORDER BY id;
CREATE TABLE grandchild () INHERITS (child);
INSERT INTO grandchild SELECT g, 'g', g FROM generate_series(100, 110) g;
MERGE INTO parent p USING (VALUES (100), (101), (500)) d (id) ON p.id = d.id
WHEN MATCHED AND d.id = 100 THEN DELETE
WHEN MATCHED THEN UPDATE SET v = 'merged'
WHEN NOT MATCHED THEN INSERT VALUES (d.id, 'new', 1);
SELECT tableoid::regclass, * FROM parent WHERE id >= 100 ORDER BY id;
TRUNCATE ONLY parent;
SELECT count(*) FROM parent;
TRUNCATE parent;
SELECT count(*) FROM parent;
DROP TABLE parent; -- error 2BP01
DROP TABLE parent CASCADE;
