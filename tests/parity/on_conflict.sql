-- ON CONFLICT with every kind of arbiter.

CREATE TABLE t (id int PRIMARY KEY, grp int, name text, hits int NOT NULL DEFAULT 0 CHECK (hits < 100));
CREATE UNIQUE INDEX t_partial ON t (grp) WHERE name = 'main';
CREATE UNIQUE INDEX t_expression ON t (lower(name), grp);

INSERT INTO t VALUES (1, 1, 'main'), (2, 1, 'Other'), (3, 2, 'x');
INSERT INTO t VALUES (1, 9, 'dup') ON CONFLICT DO NOTHING RETURNING *;
INSERT INTO t VALUES (1, 9, 'dup'), (4, 4, 'new') ON CONFLICT DO NOTHING RETURNING *;
INSERT INTO t VALUES (5, 1, 'main') ON CONFLICT DO NOTHING RETURNING *;
INSERT INTO t VALUES (5, 1, 'main') ON CONFLICT (id) DO NOTHING; -- error 23505
INSERT INTO t VALUES (1, 7, 'seven') ON CONFLICT (id) DO UPDATE SET hits = t.hits + 1, name = excluded.name
    RETURNING *, xmax <> 0 AS updated;
INSERT INTO t VALUES (6, 6, 'six') ON CONFLICT (id) DO UPDATE SET hits = t.hits + 1
    RETURNING *, xmax <> 0 AS updated;
INSERT INTO t VALUES (1, 0, 'one'), (1, 0, 'uno') ON CONFLICT (id) DO UPDATE SET name = excluded.name; -- error 21000
INSERT INTO t VALUES (7, 1, 'main') ON CONFLICT (grp) WHERE name = 'main' DO UPDATE SET hits = t.hits + 10
    RETURNING *;
INSERT INTO t VALUES (8, 1, 'main') ON CONFLICT (grp) WHERE name = 'main' DO UPDATE SET hits = t.hits + 10
    RETURNING *;
INSERT INTO t VALUES (9, 1, 'OTHER') ON CONFLICT (lower(name), grp) DO UPDATE SET hits = excluded.hits + 5
    RETURNING *;
INSERT INTO t VALUES (9, 1, 'OTHER') ON CONFLICT (name) DO NOTHING; -- error 42P10
INSERT INTO t VALUES (2, 1, 'z') ON CONFLICT ON CONSTRAINT t_pkey DO UPDATE SET hits = 50 WHERE t.grp = 0
    RETURNING *;
INSERT INTO t VALUES (2, 1, 'z') ON CONFLICT ON CONSTRAINT t_pkey DO UPDATE SET hits = 50 WHERE t.grp = 1
    RETURNING *;
INSERT INTO t VALUES (2, 1, 'z') ON CONFLICT (id) DO UPDATE SET hits = 100; -- error 23514
INSERT INTO t VALUES (2, 1, 'z') ON CONFLICT (id) DO UPDATE SET id = 3; -- error 23505
SELECT * FROM t ORDER BY id;

-- Rows that the same command inserted.
INSERT INTO t SELECT g % 50 + 1000, g, 'bulk' || g FROM generate_series(1, 500) g ON CONFLICT (id) DO NOTHING;
INSERT INTO t SELECT g + 1000, g, 'more' || g FROM generate_series(0, 99) g
    ON CONFLICT (id) DO UPDATE SET hits = t.hits + 1;
SELECT count(*), sum(hits), sum(grp) FROM t WHERE id >= 1000;

-- No arbiter can be deferrable; an exclusion constraint only arbitrates DO NOTHING.
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
INSERT INTO deferred VALUES (1);
INSERT INTO deferred VALUES (1) ON CONFLICT DO NOTHING; -- error 55000
INSERT INTO deferred VALUES (1) ON CONFLICT (id) DO NOTHING; -- error 55000
CREATE TABLE d (id int, r int4range, EXCLUDE USING gist (r WITH &&));
INSERT INTO d VALUES (1, '[1,5)');
INSERT INTO d VALUES (2, '[3,9)') ON CONFLICT ON CONSTRAINT d_r_excl DO NOTHING RETURNING *;
INSERT INTO d VALUES (2, '[3,9)') ON CONFLICT ON CONSTRAINT d_r_excl DO UPDATE SET id = 3; -- error 42809
INSERT INTO d VALUES (2, '[5,9)') ON CONFLICT DO NOTHING RETURNING *;
INSERT INTO d VALUES (3, '[8,9)') ON CONFLICT DO NOTHING RETURNING *;
SELECT * FROM d ORDER BY id;

-- Partitions, and a key that would move the row.
CREATE TABLE p (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
INSERT INTO p VALUES (1, 'a'), (11, 'b');
INSERT INTO p VALUES (1, 'c'), (12, 'd') ON CONFLICT (id) DO UPDATE SET v = p.v || excluded.v
    RETURNING tableoid::regclass, *;
INSERT INTO p VALUES (1, 'c') ON CONFLICT (id) DO UPDATE SET id = 15; -- error 0A000
SELECT tableoid::regclass, * FROM p ORDER BY id;

-- Triggers see the speculative insertion as an insert, then an update.
CREATE TABLE seen (n serial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (what) VALUES (concat_ws(' ', TG_WHEN, TG_OP, TG_LEVEL));
    RETURN NEW;
END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER b AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER c AFTER INSERT OR UPDATE ON t EXECUTE FUNCTION note();
INSERT INTO t VALUES (1, 1, 'q'), (2000, 2000, 'r') ON CONFLICT (id) DO UPDATE SET hits = 1;
INSERT INTO t VALUES (1, 1, 'q') ON CONFLICT (id) DO NOTHING;
SELECT * FROM seen ORDER BY n;
