-- The tables that a program begins with, of whatever access method is the default.
CREATE TABLE t (
    id int PRIMARY KEY,
    a int CHECK (a < 1000),
    b text,
    c int GENERATED ALWAYS AS (a * 2) STORED,
    d int UNIQUE DEFERRABLE,
    j int[] DEFAULT '{}') WITH (fillfactor = 70);
CREATE INDEX t_a ON t (a);
CREATE INDEX t_b ON t (left(b, 20));
CREATE INDEX t_hash ON t USING hash (a);
CREATE INDEX t_gin ON t USING gin (j);
CREATE INDEX t_part ON t (d) WHERE a > 100;
CREATE TABLE u (
    id int PRIMARY KEY,
    t_id int REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE,
    v text);
CREATE TABLE s (
    id int PRIMARY KEY,
    t_id int REFERENCES t ON DELETE SET NULL,
    e int,
    EXCLUDE USING btree (e WITH =));
CREATE TABLE p (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 (k int NOT NULL, gone int, v text, id int NOT NULL);
ALTER TABLE p2 DROP gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2);
CREATE TABLE many (n int PRIMARY KEY, v text);
CREATE INDEX many_v ON many (left(v, 10));
CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY, what text);
CREATE VIEW seen AS SELECT id, a, b FROM t WHERE a >= 0 WITH CHECK OPTION;

CREATE FUNCTION before_t() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.b = 'leave out' THEN
        RETURN NULL;
    ELSIF NEW.b = 'refuse' THEN
        RAISE EXCEPTION 'refused' USING ERRCODE = 'P0042';
    ELSIF length(NEW.b) < 9 THEN
        NEW.b := NEW.b || '!';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER before_t BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION before_t();

CREATE FUNCTION after_t() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (what) VALUES (format('%s %s %s', TG_OP, OLD.id, NEW.id));
    IF TG_OP = 'UPDATE' AND NEW.a = 7 THEN
        UPDATE s SET e = e + 1 WHERE t_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER after_t AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION after_t();

CREATE FUNCTION after_u() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (what)
        SELECT 'u ' || string_agg(id || '=' || coalesce(v, ''), ' ' ORDER BY id) FROM changed;
    RETURN NULL;
END $$;
CREATE TRIGGER after_u AFTER UPDATE ON u REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION after_u();

INSERT INTO t (id, a, b, d, j)
    SELECT n, n * 40, 'row ' || n, n, ARRAY[n % 3] FROM generate_series(1, 8) n;
INSERT INTO u SELECT n, n, 'u' FROM generate_series(1, 6) n;
INSERT INTO s SELECT n, n, n * 10 FROM generate_series(1, 6) n;
INSERT INTO p SELECT n, n % 3, 'p' || n FROM generate_series(1, 9) n;
