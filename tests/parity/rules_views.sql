-- Rewrite rules and updatable views.

CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'd', n int);
CREATE TABLE log (n serial, what text, id int);
INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 6) g;

CREATE VIEW w AS SELECT id, v FROM t WHERE n < 5 WITH LOCAL CHECK OPTION;
CREATE VIEW ww AS SELECT id, upper(v) AS shout, v FROM w WHERE id > 1 WITH CASCADED CHECK OPTION;
INSERT INTO w VALUES (10, 'x'); -- error 44000
ALTER TABLE t ALTER n SET DEFAULT 1;
INSERT INTO w VALUES (10, 'x') RETURNING *;
INSERT INTO ww (id, v) VALUES (0, 'low'); -- error 44000
INSERT INTO ww (id, shout) VALUES (11, 'X'); -- error 0A000
UPDATE w SET v = 'w' || id WHERE id IN (1, 6, 10) RETURNING *;
UPDATE ww SET v = 'ww' WHERE id = 2 RETURNING *;
UPDATE ww SET id = 0 WHERE id = 2; -- error 44000
DELETE FROM ww WHERE id = 1;
DELETE FROM ww WHERE id = 3 RETURNING *;
INSERT INTO w VALUES (10, 'again') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *;
SELECT * FROM t ORDER BY id;
MERGE INTO log l USING w ON l.id = w.id WHEN NOT MATCHED THEN INSERT (what, id) VALUES ('from view', w.id);
SELECT count(*) FROM log;
TRUNCATE log RESTART IDENTITY;

CREATE RULE logs AS ON UPDATE TO t DO ALSO INSERT INTO log (what, id) VALUES ('updated to ' || NEW.v, OLD.id);
CREATE RULE keeps AS ON DELETE TO t WHERE OLD.id < 5 DO INSTEAD UPDATE t SET v = 'deleted' WHERE id = OLD.id;
CREATE RULE drops AS ON INSERT TO t WHERE NEW.id < 0 DO INSTEAD NOTHING;
UPDATE t SET v = 'rule' WHERE id IN (4, 5);
DELETE FROM t WHERE id IN (4, 5);
INSERT INTO t VALUES (-1), (20);
INSERT INTO t SELECT g FROM generate_series(-3, 22) g WHERE g NOT BETWEEN 0 AND 20;
SELECT what, id FROM log ORDER BY n;
SELECT * FROM t ORDER BY id;
COPY t (id) FROM stdin;
-7
\.
SELECT id FROM t WHERE id < 0;
CREATE VIEW joined AS SELECT t.id, l.what FROM t LEFT JOIN log l USING (id);
CREATE RULE up AS ON UPDATE TO joined DO INSTEAD UPDATE t SET v = NEW.what WHERE id = OLD.id RETURNING t.id, t.v;
UPDATE joined SET what = 'by rule' WHERE id = 20 RETURNING *;
UPDATE joined SET what = 'by rule' WHERE id = 4;
DELETE FROM joined; -- error 55000
SELECT * FROM t ORDER BY id;
SELECT pg_get_viewdef('w') LIKE '%n < 5%', pg_relation_is_updatable('ww', false);
CREATE RULE nothing AS ON UPDATE TO log DO INSTEAD NOTHING;
UPDATE log SET what = 'unchanged';
SELECT count(*) FROM log WHERE what = 'unchanged';
SELECT * FROM t WHERE id = 5 FOR UPDATE;
