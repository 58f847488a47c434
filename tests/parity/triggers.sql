-- Triggers of every kind.

CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 0);
CREATE TABLE seen (n serial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (what) VALUES (concat_ws(' ', TG_NAME, TG_WHEN, TG_OP, TG_LEVEL,
        CASE WHEN TG_LEVEL = 'ROW' AND TG_OP <> 'INSERT' THEN OLD::text END,
        CASE WHEN TG_LEVEL = 'ROW' AND TG_OP <> 'DELETE' THEN NEW::text END));
    IF TG_WHEN = 'BEFORE' AND TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
\set seen 'WITH s AS (DELETE FROM seen RETURNING *) SELECT what FROM s ORDER BY n'
CREATE TRIGGER br BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER ar AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER bs BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON t EXECUTE FUNCTION note();
CREATE TRIGGER ast AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON t EXECUTE FUNCTION note();
CREATE TRIGGER col AFTER UPDATE OF n ON t FOR EACH ROW WHEN (OLD.n IS DISTINCT FROM NEW.n) EXECUTE FUNCTION note();
INSERT INTO t VALUES (1, 'a'), (2, 'b');
:seen;
UPDATE t SET v = v || '+';
:seen;
UPDATE t SET n = n + id WHERE id = 2;
:seen;
DELETE FROM t WHERE id = 1;
:seen;
INSERT INTO t VALUES (2, 'conflict') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
:seen;
INSERT INTO t VALUES (2, 'fails'); -- error 23505
:seen;
COPY t (id, v) FROM stdin;
3	copied
4	copied
\.
:seen;
TRUNCATE t;
:seen;
UPDATE t SET v = 'nothing there';
:seen;
DROP TRIGGER br ON t; DROP TRIGGER ar ON t; DROP TRIGGER bs ON t; DROP TRIGGER ast ON t; DROP TRIGGER col ON t;

-- Triggers that change, skip and refuse rows.
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.v = 'skip' THEN RETURN NULL; END IF;
    IF NEW.v = 'refuse' THEN RAISE EXCEPTION 'refused' USING ERRCODE = 'P0099'; END IF;
    NEW.v := upper(NEW.v);
    RETURN NEW;
END $$;
CREATE TRIGGER change BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION change();
INSERT INTO t VALUES (1, 'one'), (2, 'skip'), (3, 'three') RETURNING *;
INSERT INTO t VALUES (4, 'four'), (5, 'refuse'); -- error P0099
UPDATE t SET v = CASE id WHEN 1 THEN 'skip' ELSE 'changed' END RETURNING *;
MERGE INTO t USING (VALUES (1, 'm1'), (2, 'skip'), (9, 'm9')) d (id, v) ON t.id = d.id
WHEN MATCHED THEN UPDATE SET v = d.v
WHEN NOT MATCHED THEN INSERT VALUES (d.id, d.v);
SELECT * FROM t ORDER BY id;

-- A trigger that writes its own table, and the very row.
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE t SET n = n + 1 WHERE id = NEW.id;
    RETURN NEW;
END $$;
CREATE TRIGGER again BEFORE UPDATE OF v ON t FOR EACH ROW EXECUTE FUNCTION again();
UPDATE t SET v = 'self' WHERE id = 1; -- error 27000
DROP TRIGGER again ON t;
CREATE TRIGGER again AFTER UPDATE OF v ON t FOR EACH ROW EXECUTE FUNCTION again();
UPDATE t SET v = 'self' WHERE id = 1 RETURNING *;
SELECT * FROM t ORDER BY id;
DROP TRIGGER again ON t;

-- Transition tables.
CREATE FUNCTION summary() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    o text;
    w text;
BEGIN
    IF TG_OP <> 'INSERT' THEN SELECT string_agg(x::text, ' ' ORDER BY x.id) INTO o FROM gone x; END IF;
    IF TG_OP <> 'DELETE' THEN SELECT string_agg(x::text, ' ' ORDER BY x.id) INTO w FROM come x; END IF;
    INSERT INTO seen (what) VALUES (concat_ws(' ', TG_OP, o, '->', w));
    RETURN NULL;
END $$;
CREATE TRIGGER ti AFTER INSERT ON t REFERENCING NEW TABLE AS come EXECUTE FUNCTION summary();
CREATE TRIGGER tu AFTER UPDATE ON t REFERENCING OLD TABLE AS gone NEW TABLE AS come EXECUTE FUNCTION summary();
CREATE TRIGGER td AFTER DELETE ON t REFERENCING OLD TABLE AS gone EXECUTE FUNCTION summary();
INSERT INTO t SELECT g, 'tt', g FROM generate_series(20, 23) g;
UPDATE t SET n = n * 2 WHERE id >= 21;
DELETE FROM t WHERE id >= 22;
INSERT INTO t VALUES (20, 'up'), (30, 'in') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
COPY t (id, v) FROM stdin;
40	c
41	c
\.
:seen;
DROP TRIGGER ti ON t; DROP TRIGGER tu ON t; DROP TRIGGER td ON t;

-- Constraint triggers, deferred.
CREATE FUNCTION balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (what) VALUES (concat_ws(' ', TG_OP, NEW.id, (SELECT x.n FROM t x WHERE x.id = NEW.id)));
    IF (SELECT x.n FROM t x WHERE x.id = NEW.id) < 0 THEN
        RAISE EXCEPTION 'negative at the end' USING ERRCODE = '23514';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT OR UPDATE ON t DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION balanced();
BEGIN;
UPDATE t SET n = -1 WHERE id = 20;
UPDATE t SET n = 1 WHERE id = 20;
:seen;
COMMIT;
:seen;
BEGIN;
UPDATE t SET n = -1 WHERE id = 20;
COMMIT; -- error 23514
BEGIN;
UPDATE t SET n = -1 WHERE id = 20;
SET CONSTRAINTS balanced IMMEDIATE; -- error 23514
ROLLBACK;
SELECT * FROM t WHERE id = 20;
DROP TRIGGER balanced ON t;

-- INSTEAD OF, disabled triggers, replica.
CREATE VIEW w AS SELECT id, v FROM t;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN UPDATE t SET v = 'deleted' WHERE id = OLD.id; RETURN OLD; END IF;
    INSERT INTO t VALUES (NEW.id + 100, NEW.v) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
    RETURN NEW;
END $$;
CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE OR DELETE ON w FOR EACH ROW EXECUTE FUNCTION instead();
INSERT INTO w VALUES (1, 'via view') RETURNING *;
UPDATE w SET v = 'via update' WHERE id = 3 RETURNING *;
DELETE FROM w WHERE id = 9 RETURNING *;
SELECT * FROM t ORDER BY id;
ALTER TABLE t DISABLE TRIGGER change;
INSERT INTO t VALUES (200, 'lower');
ALTER TABLE t ENABLE REPLICA TRIGGER change;
INSERT INTO t VALUES (201, 'lower');
SET session_replication_role = replica;
INSERT INTO t VALUES (202, 'upper');
RESET session_replication_role;
ALTER TABLE t ENABLE ALWAYS TRIGGER change;
SELECT * FROM t WHERE id >= 200 ORDER BY id;
SELECT pg_trigger_depth();
