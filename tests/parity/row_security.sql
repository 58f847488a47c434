-- Row-level security, column privileges and views.

SELECT :'schema' || '_user' AS u \gset
CREATE ROLE :"u";
GRANT USAGE ON SCHEMA :"schema" TO :"u";
CREATE TABLE t (id int PRIMARY KEY, owner text, v text, secret text DEFAULT 's');
INSERT INTO t VALUES (1, 'me', 'a'), (2, 'you', 'b'), (3, 'me', 'c'), (4, 'all', 'd');
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
GRANT SELECT (id, owner, v), INSERT (id, owner, v), UPDATE (owner, v), DELETE ON t TO :"u";

SET ROLE :"u";
SELECT id, v FROM t ORDER BY id;
SELECT secret FROM t; -- error 42501
INSERT INTO t (id, owner) VALUES (5, 'me'); -- error 42501
RESET ROLE;
CREATE POLICY sees ON t FOR SELECT USING (owner IN ('me', 'all'));
CREATE POLICY writes ON t FOR UPDATE USING (owner = 'me') WITH CHECK (owner IN ('me', 'all'));
CREATE POLICY adds ON t FOR INSERT WITH CHECK (owner = 'me');
CREATE POLICY removes ON t FOR DELETE USING (owner = 'me' AND id > 1);
SET ROLE :"u";
SELECT id, owner, v FROM t ORDER BY id;
INSERT INTO t (id, owner, v) VALUES (5, 'me', 'e') RETURNING id, v;
INSERT INTO t (id, owner, v) VALUES (6, 'you', 'e'); -- error 42501
INSERT INTO t (id, owner, v) VALUES (2, 'me', 'e'); -- error 23505
INSERT INTO t (id, owner, v) VALUES (2, 'me', 'e') ON CONFLICT (id) DO NOTHING;
INSERT INTO t (id, owner, v) VALUES (2, 'me', 'e') ON CONFLICT (id) DO UPDATE SET v = 'taken'; -- error 42501
INSERT INTO t (id, owner, v) VALUES (1, 'me', 'e') ON CONFLICT (id) DO UPDATE SET v = 'upserted' RETURNING id, v;
UPDATE t SET v = v || '!' RETURNING id, v;
UPDATE t SET owner = 'you' WHERE id = 1; -- error 42501
UPDATE t SET secret = 'x' WHERE id = 1; -- error 42501
UPDATE t SET owner = 'all' WHERE id = 3;
DELETE FROM t RETURNING id;
MERGE INTO t USING (VALUES (1), (2), (7)) d (id) ON t.id = d.id
WHEN MATCHED THEN UPDATE SET v = 'merged'
WHEN NOT MATCHED AND d.id = 7 THEN INSERT (id, owner, v) VALUES (d.id, 'me', 'merged');
COPY t (id, owner, v) TO stdout;
SELECT id FROM t WHERE id = 1 FOR UPDATE;
RESET ROLE;
SELECT * FROM t ORDER BY id;

-- Restrictive and self-referring policies; the owner under force.
CREATE POLICY narrow ON t AS RESTRICTIVE USING (id <> 4);
SET ROLE :"u";
SELECT id FROM t ORDER BY id;
RESET ROLE;
ALTER TABLE t OWNER TO :"u";
SET ROLE :"u";
SELECT count(*) FROM t;
ALTER TABLE t FORCE ROW LEVEL SECURITY;
SELECT count(*) FROM t;
SET row_security = off;
SELECT count(*) FROM t; -- error 42501
RESET row_security;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE id = 1;
EXPLAIN (COSTS OFF) UPDATE t SET v = 'x' WHERE id = 1;
RESET ROLE;
CREATE VIEW barrier WITH (security_barrier) AS SELECT id, v FROM t WHERE id < 100;
EXPLAIN (COSTS OFF) SELECT * FROM barrier WHERE id = 1;
UPDATE barrier SET v = 'through the view' WHERE id = 1 RETURNING *;
DROP OWNED BY :"u" CASCADE;
DROP ROLE :"u";
