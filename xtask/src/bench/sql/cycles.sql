-- Runs {operation} as {peer}: batches of cycles, each call in a transaction of its own; the
-- nanoseconds of each batch. The commits count, and do not wait for the disk.
CREATE PROCEDURE bench.{operation}_{peer}(batches int, size int, INOUT times float8[])
LANGUAGE plpgsql AS $$
DECLARE
    agents uuid[] := (SELECT array_agg(id ORDER BY n) FROM bench.agent WHERE n < 1000);
    many int := cardinality(agents);
    self uuid;
    other uuid;
    new_id uuid;
    lease {schema}.{lock};
    message {schema}.{message};
    done boolean;
    started timestamptz;
BEGIN
    COMMIT;
    times := '{}';
    FOR b IN 0 .. batches - 1 LOOP
        started := clock_timestamp();
        FOR i IN 1 .. size LOOP
            self := agents[1 + (b * size + i) % many];
            other := agents[1 + (b * size + i + 1) % many];
            {statement}
            IF {failed} THEN
                RAISE EXCEPTION 'the cycle % of % failed', i, self;
            END IF;
        END LOOP;
        times := times || extract(epoch FROM clock_timestamp() - started)::float8 * 1e9;
    END LOOP;
END
$$;
