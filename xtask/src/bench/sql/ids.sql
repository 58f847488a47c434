-- The ids that the operations are asked for, in random order and in batches of one size. The
-- batches below zero are for the warm-up: enough of them for PL/pgSQL to settle on a generic plan.

CREATE FUNCTION bench.make_ids(name text, source text, calls int, size int, again int DEFAULT 1)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE bench.%I (batch int NOT NULL, id uuid NOT NULL)', name);
    EXECUTE format(
        'INSERT INTO bench.%1$I
         SELECT CASE WHEN n < %2$s THEN n / %3$s + a * (%2$s / %3$s) ELSE n %% 12 - 12 END, id
         FROM (SELECT id, row_number() OVER (ORDER BY hashtext(id::text)) - 1 AS n FROM (%4$s) s) x,
              generate_series(0, %5$s - 1) a
         WHERE n < %2$s + 120 AND (n < %2$s OR a = 0)
         ORDER BY 1, hashtext(id::text || a)', name, calls, size, source, again);
    EXECUTE format('CREATE INDEX ON bench.%I (batch)', name);
    EXECUTE format('ANALYZE bench.%I', name);
END
$$;

-- Twenty messages of a conversation.
CREATE FUNCTION bench.messages() RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (SELECT jsonb_agg(jsonb_build_object(
            'role', (ARRAY['user', 'assistant'])[1 + n % 2],
            'content', 'message ' || n || ' of a conversation'))
        FROM generate_series(1, 20) n);
END
$$;
