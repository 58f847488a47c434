-- Foreign keys with every action.

CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE, a int, b int, UNIQUE (a, b));
INSERT INTO p SELECT g, 'c' || g, g, g * 10 FROM generate_series(1, 10) g;
CREATE TABLE no_action (id int PRIMARY KEY, p_id int REFERENCES p);
CREATE TABLE restricted (id int PRIMARY KEY, p_id int REFERENCES p ON DELETE RESTRICT ON UPDATE RESTRICT);
CREATE TABLE cascades (id int PRIMARY KEY, p_id int REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE nulls (id int PRIMARY KEY, p_id int REFERENCES p ON DELETE SET NULL ON UPDATE SET NULL);
CREATE TABLE defaults (id int PRIMARY KEY, p_id int DEFAULT 1 REFERENCES p ON DELETE SET DEFAULT ON UPDATE SET DEFAULT);
CREATE TABLE codes (id int PRIMARY KEY, p_code text REFERENCES p (code) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE pairs (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p (a, b) MATCH FULL ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE simple_pairs (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p (a, b) ON DELETE SET NULL (b));

INSERT INTO no_action VALUES (1, 2), (2, NULL);
INSERT INTO no_action VALUES (3, 99); -- error 23503
UPDATE no_action SET p_id = 99 WHERE id = 1; -- error 23503
UPDATE no_action SET p_id = 3 WHERE id = 1;
DELETE FROM p WHERE id = 3; -- error 23503
UPDATE p SET id = 33 WHERE id = 3; -- error 23503
UPDATE p SET code = 'other' WHERE id = 3;
UPDATE p SET id = id WHERE id = 3;
INSERT INTO restricted VALUES (1, 4);
BEGIN;
DELETE FROM p WHERE id = 4; -- error 23001/23503
ROLLBACK;
UPDATE p SET id = 44 WHERE id = 4; -- error 23001/23503

INSERT INTO cascades VALUES (1, 5), (2, 5), (3, 6);
UPDATE p SET id = 55 WHERE id = 5;
SELECT * FROM cascades ORDER BY id;
DELETE FROM p WHERE id = 55;
SELECT * FROM cascades ORDER BY id;
INSERT INTO nulls VALUES (1, 7), (2, 8);
DELETE FROM p WHERE id = 7;
UPDATE p SET id = 88 WHERE id = 8;
SELECT * FROM nulls ORDER BY id;
INSERT INTO defaults VALUES (1, 9), (2, DEFAULT);
DELETE FROM p WHERE id = 9;
SELECT * FROM defaults ORDER BY id;
DELETE FROM p WHERE id = 1; -- error 23503

INSERT INTO pairs VALUES (1, 2, 20), (2, NULL, NULL);
INSERT INTO pairs VALUES (3, 2, NULL); -- error 23503
INSERT INTO pairs VALUES (3, 2, 21); -- error 23503
UPDATE p SET b = 21 WHERE id = 2;
INSERT INTO simple_pairs VALUES (1, 2, 21), (2, 2, NULL), (3, 99, NULL);
SELECT * FROM pairs ORDER BY id;
DELETE FROM p WHERE id = 2;
SELECT * FROM pairs ORDER BY id;
SELECT * FROM simple_pairs ORDER BY id;

-- Deferred.
BEGIN;
INSERT INTO codes VALUES (1, 'new'), (2, 'never');
INSERT INTO p VALUES (100, 'new', 100, 1);
UPDATE codes SET p_code = 'new' WHERE id = 2;
COMMIT;
BEGIN;
INSERT INTO codes VALUES (3, 'missing');
SET CONSTRAINTS ALL IMMEDIATE; -- error 23503
ROLLBACK;
BEGIN;
INSERT INTO codes VALUES (3, 'missing');
COMMIT; -- error 23503
UPDATE p SET code = 'renamed' WHERE id = 100;
SELECT * FROM codes ORDER BY id;
BEGIN;
DELETE FROM p WHERE id = 100;
INSERT INTO p VALUES (100, 'renamed', 100, 1);
COMMIT;
BEGIN;
DELETE FROM p WHERE id = 100;
SAVEPOINT s;
DELETE FROM codes;
ROLLBACK TO s;
COMMIT; -- error 23503
BEGIN;
INSERT INTO codes VALUES (4, 'missing');
DELETE FROM codes WHERE id = 4;
COMMIT;

-- Trees that refer to themselves.
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO tree SELECT g, NULLIF(g / 2, 0) FROM generate_series(1, 127) g;
INSERT INTO tree VALUES (200, 200);
DELETE FROM tree WHERE id = 2;
SELECT count(*), sum(id) FROM tree;
UPDATE tree SET id = 300 WHERE id = 3;
SELECT * FROM tree WHERE parent = 300 ORDER BY id;
DELETE FROM tree WHERE id = 200;
DELETE FROM tree WHERE parent IS NULL;
SELECT count(*) FROM tree;
INSERT INTO tree VALUES (1, 2), (2, 1);
INSERT INTO tree VALUES (3, 4); -- error 23503
SELECT * FROM tree ORDER BY id;

-- Constraints that come later.
CREATE TABLE late (id int, p_id int);
INSERT INTO late VALUES (1, 4), (2, 4242);
ALTER TABLE late ADD CONSTRAINT late_fk FOREIGN KEY (p_id) REFERENCES p; -- error 23503
ALTER TABLE late ADD CONSTRAINT late_fk FOREIGN KEY (p_id) REFERENCES p NOT VALID;
INSERT INTO late VALUES (3, 4243); -- error 23503
ALTER TABLE late VALIDATE CONSTRAINT late_fk; -- error 23503
DELETE FROM late WHERE id = 2;
ALTER TABLE late VALIDATE CONSTRAINT late_fk;
CREATE TABLE across (id int REFERENCES cascades ON DELETE CASCADE);
INSERT INTO across VALUES (3);
DELETE FROM p WHERE id = 6;
SELECT (SELECT count(*) FROM across), (SELECT count(*) FROM cascades);
SELECT * FROM p ORDER BY id;
COPY late FROM stdin;
7	4
8	4244
\.
-- error 23503 above
SELECT * FROM late ORDER BY id;
SET session_replication_role = replica;
INSERT INTO late VALUES (9, 4245);
RESET session_replication_role;
SELECT * FROM late ORDER BY id;
