-- The storage benchmarks' tables: plain ones of {rows} short rows, and trajectories with and
-- without rules. None has foreign keys, whose triggers would hide what the storage costs.

CREATE SCHEMA storage;

CREATE TABLE storage.plain_heap (a int, b uuid, c text) USING heap WITH (autovacuum_enabled = off);
CREATE TABLE storage.plain_caliber_am (LIKE storage.plain_heap) USING caliber_am
    WITH (autovacuum_enabled = off);
INSERT INTO storage.plain_heap
SELECT n, gen_random_uuid(), repeat('x', 50) FROM generate_series(1, {rows}) n;
INSERT INTO storage.plain_caliber_am SELECT * FROM storage.plain_heap ORDER BY a;
CREATE INDEX ON storage.plain_heap (a);
CREATE INDEX ON storage.plain_caliber_am (a);
CREATE TABLE storage.copied_plain_heap (LIKE storage.plain_heap) USING heap
    WITH (autovacuum_enabled = off);
CREATE TABLE storage.copied_plain_caliber_am (LIKE storage.plain_heap) USING caliber_am
    WITH (autovacuum_enabled = off);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{heap,heap_trigger,caliber_am}'::text[] LOOP
        EXECUTE format('CREATE TABLE storage.entity_%s (LIKE caliber.caliber_trajectory INCLUDING ALL)
            USING %s WITH (fillfactor = 80, autovacuum_enabled = off)',
            name, split_part(name, '_trigger', 1));
        IF name <> 'caliber_am' THEN
            EXECUTE format('ALTER TABLE storage.entity_%s ALTER trajectory_id DROP DEFAULT,
                ALTER trajectory_id TYPE uuid, ALTER trajectory_id SET DEFAULT uuidv7()', name);
        END IF;
        EXECUTE format('INSERT INTO storage.entity_%s SELECT * FROM caliber.caliber_trajectory
            ORDER BY trajectory_id LIMIT {rows}', name);
        EXECUTE format('CREATE TABLE storage.copied_entity_%s (LIKE storage.entity_%1$s INCLUDING ALL)
            USING %s WITH (fillfactor = 80, autovacuum_enabled = off)',
            name, split_part(name, '_trigger', 1));
    END LOOP;
END
$$;

-- The rules of a trajectory as a trigger would state them.
CREATE FUNCTION storage.rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.version IS NULL THEN
            NEW.version := 1;
        END IF;
        IF NEW.updated_at IS NULL THEN
            NEW.updated_at := now();
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.trajectory_id IS DISTINCT FROM OLD.trajectory_id
        OR NEW.parent_trajectory_id IS DISTINCT FROM OLD.parent_trajectory_id
        OR NEW.root_trajectory_id IS DISTINCT FROM OLD.root_trajectory_id
        OR NEW.created_at IS DISTINCT FROM OLD.created_at
    THEN
        RAISE EXCEPTION 'a fixed column changes';
    END IF;
    IF NEW.status <> OLD.status AND NOT (
        OLD.status = 'active' AND NEW.status IN ('suspended', 'completed', 'failed')
        OR OLD.status = 'suspended' AND NEW.status IN ('active', 'completed', 'failed'))
    THEN
        RAISE EXCEPTION 'the status does not follow';
    END IF;
    IF OLD.status IN ('completed', 'failed') AND
        ROW(NEW.name, NEW.description, NEW.status, NEW.agent_id, NEW.fence, NEW.outcome, NEW.completed_at)
        IS DISTINCT FROM
        ROW(OLD.name, OLD.description, OLD.status, OLD.agent_id, OLD.fence, OLD.outcome, OLD.completed_at)
    THEN
        RAISE EXCEPTION 'the trajectory is at its end';
    END IF;
    IF NEW.fence < OLD.fence THEN
        RAISE EXCEPTION 'the fence falls';
    END IF;
    IF NEW.version = OLD.version THEN
        NEW.version := OLD.version + 1;
    ELSIF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'the version does not go up by one';
    END IF;
    IF NEW.updated_at = OLD.updated_at THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER rules BEFORE INSERT OR UPDATE ON storage.entity_heap_trigger
    FOR EACH ROW EXECUTE FUNCTION storage.rules();
CREATE TRIGGER rules BEFORE INSERT OR UPDATE ON storage.copied_entity_heap_trigger
    FOR EACH ROW EXECUTE FUNCTION storage.rules();

COPY storage.plain_heap TO '{files}/bench_plain.copy';
COPY storage.entity_heap TO '{files}/bench_entity.copy';
