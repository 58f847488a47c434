-- Savepoints, rollback, prepared transactions, and the isolation levels of one session.

\set gid :schema _two_phase
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE INDEX t_v ON t (v);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 10) g;

BEGIN;
INSERT INTO t VALUES (11, 'kept');
SAVEPOINT a;
UPDATE t SET v = 'a' WHERE id = 1;
SAVEPOINT b;
DELETE FROM t WHERE id = 1;
INSERT INTO t VALUES (1, 'reborn');
SELECT * FROM t WHERE id = 1;
ROLLBACK TO b;
SELECT * FROM t WHERE id = 1;
INSERT INTO t VALUES (1, 'x'); -- error 23505
SELECT 1; -- error 25P02
ROLLBACK TO a;
SELECT * FROM t WHERE id = 1;
RELEASE a;
UPDATE t SET v = v || '!' WHERE id = 11;
COMMIT;
SELECT * FROM t ORDER BY id;

BEGIN;
DELETE FROM t;
INSERT INTO t VALUES (99, 'lost');
ROLLBACK;
SELECT count(*), min(v), max(v) FROM t;

-- Many subtransactions, every second rolled back.
DO $$
BEGIN
    FOR i IN 1..200 LOOP
        BEGIN
            INSERT INTO t VALUES (1000 + i, 'sub');
            UPDATE t SET v = 'sub ' || i WHERE id = 1000 + i - 1;
            IF i % 2 = 0 THEN
                RAISE EXCEPTION 'undo';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT count(*), count(DISTINCT v), min(id), max(id) FROM t WHERE id > 1000;
BEGIN;
SAVEPOINT s;
UPDATE t SET v = 'deep' WHERE id > 1000;
SAVEPOINT s;
DELETE FROM t WHERE id > 1100;
SAVEPOINT s;
INSERT INTO t SELECT g, 'deepest' FROM generate_series(1101, 1105) g;
ROLLBACK TO s;
RELEASE s;
SELECT v, count(*) FROM t WHERE id > 1000 GROUP BY v;
ROLLBACK TO s;
SELECT v, count(*) FROM t WHERE id > 1000 GROUP BY v;
RELEASE s;
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM t WHERE v = 'deep';
DELETE FROM t WHERE id > 1000;

-- A row changed again and again by its own transaction.
BEGIN;
INSERT INTO t VALUES (50, 'first');
UPDATE t SET v = 'second' WHERE id = 50;
UPDATE t SET id = 51 WHERE id = 50;
DELETE FROM t WHERE id = 51;
INSERT INTO t VALUES (51, 'third') ON CONFLICT (id) DO UPDATE SET v = 'fourth';
INSERT INTO t VALUES (51, 'third') ON CONFLICT (id) DO UPDATE SET v = 'fourth' RETURNING *;
SELECT id, cmin, v FROM t WHERE id >= 50;
COMMIT;
SELECT * FROM t WHERE id >= 50;

-- Prepared transactions.
BEGIN;
INSERT INTO t VALUES (60, repeat('toasted', 5000));
UPDATE t SET v = 'prepared' WHERE id = 2;
DELETE FROM t WHERE id = 3;
SAVEPOINT s;
DELETE FROM t WHERE id = 4;
ROLLBACK TO s;
CREATE TABLE made (id int PRIMARY KEY);
INSERT INTO made VALUES (1);
PREPARE TRANSACTION :'gid';
SELECT * FROM t WHERE id IN (2, 3, 4, 60) ORDER BY id;
SELECT * FROM made; -- error 42P01
SET lock_timeout = '50ms';
INSERT INTO t VALUES (60, 'waits'); -- error 55P03
UPDATE t SET v = 'waits' WHERE id = 2; -- error 55P03
ALTER TABLE t ADD waits int; -- error 55P03
INSERT INTO t VALUES (3, 'x') ON CONFLICT DO NOTHING; -- error 55P03
RESET lock_timeout;
COMMIT PREPARED :'gid';
SELECT id, left(v, 8), length(v) FROM t WHERE id IN (2, 3, 4, 60) ORDER BY id;
SELECT * FROM made;
INSERT INTO t VALUES (60, 'dup'); -- error 23505
BEGIN;
TRUNCATE t;
INSERT INTO t VALUES (1, 'alone');
PREPARE TRANSACTION :'gid';
ROLLBACK PREPARED :'gid';
SELECT count(*) FROM t;

-- One snapshot a transaction.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM t;
UPDATE t SET v = 'rr' WHERE id = 5 RETURNING *;
SAVEPOINT s;
UPDATE t SET v = 'rr2' WHERE id = 5 RETURNING *;
ROLLBACK TO s;
SELECT * FROM t WHERE id = 5;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
UPDATE t SET v = 'ser' WHERE v = 'rr' RETURNING *;
INSERT INTO t SELECT 70, max(v) FROM t;
COMMIT;
BEGIN READ ONLY;
SELECT count(*) FROM t;
INSERT INTO t VALUES (80); -- error 25006
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;
SELECT count(*) FROM t;
COMMIT;

-- An exported snapshot sees what was.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_export_snapshot() AS snapshot \gset
SELECT * FROM t WHERE id = 70;
COMMIT;
SELECT * FROM t ORDER BY id LIMIT 5;

-- DDL rolls back with its rows.
BEGIN;
ALTER TABLE t ADD n int DEFAULT 3;
UPDATE t SET n = 4 WHERE id < 5;
CREATE UNIQUE INDEX t_n ON t (n) WHERE n > 4;
ROLLBACK;
SELECT * FROM t ORDER BY id LIMIT 2;
INSERT INTO t VALUES (90, 'end') RETURNING *;
