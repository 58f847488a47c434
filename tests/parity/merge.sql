-- MERGE in every arm.

SELECT current_setting('server_version_num')::int >= 170000 AS since_17 \gset
CREATE TABLE stock (id int PRIMARY KEY, qty int NOT NULL CHECK (qty >= 0), note text);
CREATE TABLE delivery (id int, qty int);
INSERT INTO stock SELECT g, g, 'old' FROM generate_series(1, 10) g;
INSERT INTO delivery VALUES (1, 5), (2, -2), (3, -3), (11, 7), (12, 0), (4, NULL);

MERGE INTO stock s USING delivery d ON s.id = d.id
WHEN MATCHED AND d.qty IS NULL THEN DO NOTHING
WHEN MATCHED AND s.qty + d.qty = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET qty = s.qty + d.qty, note = 'merged'
WHEN NOT MATCHED AND d.qty = 0 THEN DO NOTHING
WHEN NOT MATCHED THEN INSERT VALUES (d.id, d.qty, 'inserted');
SELECT * FROM stock ORDER BY id;

MERGE INTO stock s USING (VALUES (1), (1)) d (id) ON s.id = d.id
WHEN MATCHED THEN UPDATE SET note = 'twice'; -- error 21000
MERGE INTO stock s USING (VALUES (5)) d (id) ON s.id = d.id
WHEN MATCHED THEN UPDATE SET qty = -1; -- error 23514
MERGE INTO stock s USING (VALUES (5)) d (id) ON s.id = d.id
WHEN MATCHED THEN UPDATE SET id = 6; -- error 23505
MERGE INTO stock s USING (VALUES (6)) d (id) ON s.id = d.id AND s.qty < 0
WHEN NOT MATCHED THEN INSERT VALUES (d.id, 1); -- error 23505
SELECT * FROM stock ORDER BY id;

\if :since_17
MERGE INTO stock s USING (VALUES (1, 1), (50, 50)) d (id, qty) ON s.id = d.id
WHEN MATCHED THEN UPDATE SET qty = d.qty
WHEN NOT MATCHED THEN INSERT VALUES (d.id, d.qty, 'ret')
WHEN NOT MATCHED BY SOURCE AND s.id > 9 THEN DELETE
WHEN NOT MATCHED BY SOURCE THEN UPDATE SET note = 'unseen'
RETURNING merge_action(), s.*;
\endif
SELECT * FROM stock ORDER BY id;

-- Across partitions.
CREATE TABLE part (id int, region text, n int) PARTITION BY LIST (region);
CREATE TABLE part_n PARTITION OF part FOR VALUES IN ('n');
CREATE TABLE part_s PARTITION OF part FOR VALUES IN ('s');
INSERT INTO part VALUES (1, 'n', 1), (2, 's', 2), (3, 'n', 3);
MERGE INTO part p USING (VALUES (1, 's'), (3, 'n'), (4, 's')) d (id, region) ON p.id = d.id
WHEN MATCHED THEN UPDATE SET region = d.region, n = n + 10
WHEN NOT MATCHED THEN INSERT VALUES (d.id, d.region, 0);
SELECT tableoid::regclass, * FROM part ORDER BY id;
MERGE INTO part p USING (VALUES (1, 'w')) d (id, region) ON p.id = d.id
WHEN MATCHED THEN UPDATE SET region = d.region; -- error 23514

-- Triggers fire for the actions taken.
CREATE TABLE seen (n serial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (what) VALUES (concat_ws(' ', TG_WHEN, TG_OP, TG_LEVEL, COALESCE(NEW.id, OLD.id)));
    RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON stock FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON stock FOR EACH ROW EXECUTE FUNCTION note();
MERGE INTO stock s USING (VALUES (5), (6), (99)) d (id) ON s.id = d.id
WHEN MATCHED AND d.id = 5 THEN DELETE
WHEN MATCHED THEN UPDATE SET note = 'triggered'
WHEN NOT MATCHED THEN INSERT VALUES (d.id, 0, 'triggered');
SELECT what FROM seen ORDER BY split_part(what, ' ', 4)::int, n;
SELECT * FROM stock ORDER BY id;

-- A large merge, half of each.
CREATE TABLE big AS SELECT g AS id, 0 AS n FROM generate_series(1, 3000) g;
CREATE UNIQUE INDEX ON big (id);
MERGE INTO big b USING generate_series(1501, 4500) d (id) ON b.id = d.id
WHEN MATCHED AND d.id % 3 = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET n = n + 1
WHEN NOT MATCHED THEN INSERT VALUES (d.id, 2);
SELECT n, count(*), sum(id) FROM big GROUP BY n ORDER BY n;
