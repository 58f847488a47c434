-- After long churn every index agrees with its table, by amcheck's judgement where it is installed.

SELECT count(*) = 1 AS amcheck FROM pg_extension WHERE extname = 'amcheck' \gset

CREATE TABLE t (id int PRIMARY KEY, a int, b text, big text, r int4range, hits int NOT NULL DEFAULT 0) WITH (fillfactor = 70);
CREATE INDEX t_a ON t (a, b);
CREATE UNIQUE INDEX t_b ON t (b) WHERE a > 0;
CREATE INDEX t_expr ON t (md5(b), (a % 10));
CREATE INDEX t_r ON t USING gist (r);
CREATE INDEX t_big ON t USING hash (big);
INSERT INTO t SELECT g, g, 'b' || g, repeat('big', g % 1500), int4range(g, g + 5) FROM generate_series(1, 2000) g;
DO $$
DECLARE
    seed bigint := 42;
    k int;
BEGIN
    FOR round IN 1..1500 LOOP
        seed := (seed * 1103515245 + 12345) % 2147483648;
        k := (seed / 65536) % 2200 + 1;
        BEGIN
            CASE round % 10
                WHEN 0 THEN DELETE FROM t WHERE id = k;
                WHEN 1 THEN INSERT INTO t VALUES (k, round, 'n' || round, NULL, int4range(k, k + 3));
                WHEN 2 THEN UPDATE t SET a = -a WHERE id BETWEEN k AND k + 5;
                WHEN 3 THEN UPDATE t SET b = b || round, r = int4range(k, k + round) WHERE id = k;
                WHEN 4 THEN UPDATE t SET id = id + 3000 WHERE id = k;
                WHEN 5 THEN INSERT INTO t VALUES (k, round, 'c' || round) ON CONFLICT (id) DO UPDATE SET a = t.a + 1, hits = t.hits + 1;
                WHEN 6 THEN UPDATE t SET big = repeat('x' || round, 700) WHERE id = k;
                WHEN 7 THEN
                    UPDATE t SET hits = hits + 1 WHERE id BETWEEN k AND k + 20;
                    IF round % 4 = 3 THEN RAISE EXCEPTION 'undo'; END IF;
                WHEN 8 THEN UPDATE t SET b = 'b7' WHERE id = k;
                ELSE
                    DELETE FROM t WHERE id BETWEEN k AND k + 2;
                    INSERT INTO t SELECT g, round, 'e' || round || g FROM generate_series(k, k + 2) g;
            END CASE;
        EXCEPTION WHEN unique_violation OR raise_exception THEN
            NULL;
        END;
    END LOOP;
END $$;
\set digest 'SELECT count(*), sum(id), sum(a), sum(hits), md5(string_agg(b || coalesce(big, \'\') || coalesce(r::text, \'\'), \'\' ORDER BY id)) AS texts FROM t'
:digest;
\if :amcheck
\set check 'SELECT c.relname, bt_index_check(c.oid, true) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = \'t\'::regclass AND m.amname = \'btree\' ORDER BY 1'
\set check_parent 'SELECT c.relname, bt_index_parent_check(c.oid, true, true) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = \'t\'::regclass AND m.amname = \'btree\' ORDER BY 1'
\set toast 'SELECT count(*) FROM pg_class c, verify_heapam(c.reltoastrelid) WHERE c.oid = \'t\'::regclass'
\else
\set check 'SELECT 1'
\set check_parent 'SELECT 1'
\set toast 'SELECT 1'
\endif
:check;
:check_parent;
SET enable_seqscan = off;
SELECT count(*) FROM t WHERE r && int4range(500, 600);
SELECT count(*) FROM t WHERE big = repeat('big', 77);
RESET enable_seqscan;
VACUUM t;
:check;
CREATE INDEX CONCURRENTLY t_hits ON t (hits, id);
REINDEX INDEX CONCURRENTLY t_a;
:check;
UPDATE t SET hits = hits + 1;
VACUUM (FREEZE) t;
:check_parent;
CLUSTER t USING t_a;
:check;
UPDATE t SET a = a + 1 WHERE id % 3 = 0;
ALTER TABLE t SET ACCESS METHOD heap;
:check;
ALTER TABLE t SET ACCESS METHOD :am;
:check_parent;
DELETE FROM t WHERE id % 2 = 0;
VACUUM t;
REINDEX TABLE t;
:check;
:digest;
:toast;
