-- Runs {operation} as {peer}, batch by batch, and answers with the nanoseconds of each batch.
-- The SQL is static, so that it is planned once.
CREATE FUNCTION bench.{operation}_{peer}(first_batch int, last_batch int) RETURNS float8[]
LANGUAGE plpgsql
-- A batch is a small part of the ids: an index scan for each, never a hash of the whole table.
SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    wanted caliber_trajectory_status := CASE (
            SELECT status FROM {schema}.caliber_trajectory
            WHERE trajectory_id = (SELECT id FROM bench.trajectory_ids WHERE batch = first_batch LIMIT 1))
        WHEN 'active' THEN 'suspended' ELSE 'active' END;
    times float8[] := '{}';
    started timestamptz;
    done bigint;
    expected bigint;
BEGIN
    FOR b IN first_batch .. last_batch LOOP
        started := clock_timestamp();
        {statement};
        times := times || extract(epoch FROM clock_timestamp() - started)::float8 * 1e9;
        SELECT count(*) * {returns} INTO expected FROM bench.{ids} WHERE batch = b;
        IF done IS DISTINCT FROM expected THEN
            RAISE EXCEPTION '% instead of % rows', done, expected;
        END IF;
    END LOOP;
    RETURN times;
END
$$;
