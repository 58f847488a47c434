-- Freezing and the visibility map, seen through pg_visibility and pageinspect.

CREATE TABLE t (id int, v text) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT g, repeat('v', 100) FROM generate_series(1, 1000) g;
-- Twice: a commit that is not flushed yet hides from the first one that a row is all-visible.
CALL settle();
VACUUM (FREEZE) t;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) t;
SELECT all_visible > 0, all_frozen > 0 FROM pg_visibility_map_summary('t');
UPDATE t SET v = 'changed' WHERE id = 1;
SELECT blkno, all_visible, all_frozen, pd_all_visible FROM pg_visibility('t') WHERE blkno < 3 ORDER BY blkno;
CREATE TABLE target (LIKE t);
BEGIN;
TRUNCATE target;
COPY target FROM stdin (FREEZE);
1	frozen
2	frozen
\.
COMMIT;
SELECT * FROM pg_visibility_map_summary('target');
SELECT raw_flags @> ARRAY['HEAP_XMIN_COMMITTED', 'HEAP_XMIN_INVALID'] AS frozen, count(*)
    FROM heap_page_items(get_raw_page('target', 0)), LATERAL heap_tuple_infomask_flags(t_infomask, t_infomask2) GROUP BY 1;
SELECT count(*) FROM pg_check_frozen('t');
SELECT count(*) FROM pg_check_visible('t');

-- The bytes of the rows on the page.
CREATE TABLE bytes (id int, a text, b numeric, c bool, d jsonb, e timestamptz);
INSERT INTO bytes VALUES (1, 'a', 1.5, true, '{"k": [1, null]}', '2024-01-01 00:00:00+00'), (2, NULL, NULL, NULL, NULL, NULL);
ALTER TABLE bytes ADD f int DEFAULT 5;
INSERT INTO bytes (id) VALUES (3);
UPDATE bytes SET c = false WHERE id = 2;
SELECT lp, lp_off, lp_flags, lp_len, t_ctid, t_hoff, t_bits, t_data, t_infomask2 FROM heap_page_items(get_raw_page('bytes', 0));
