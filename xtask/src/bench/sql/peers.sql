-- The heap tables that somebody without the extension would have: the same columns, constraints,
-- indexes, fill factors and foreign keys, with plain uuid keys and PostgreSQL's own uuidv7().

CREATE SCHEMA peer;
CREATE SEQUENCE peer.caliber_fence;

DO $$
DECLARE
    source record;
    item record;
BEGIN
    FOR source IN
        SELECT c.oid, c.relname, coalesce(c.reloptions, '{}') || '{autovacuum_enabled=off}' AS options,
               a.attname AS key
        FROM pg_class c
        JOIN pg_constraint p ON p.conrelid = c.oid AND p.contype = 'p'
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.conkey[1]
        WHERE c.relnamespace = 'caliber'::regnamespace AND c.relkind = 'r'
          AND c.relname IN ('caliber_trajectory', 'caliber_scope', 'caliber_turn',
                            'caliber_agent', 'caliber_lock', 'caliber_message')
    LOOP
        EXECUTE format('ALTER TABLE caliber.%I SET (autovacuum_enabled = off)', source.relname);
        EXECUTE format('CREATE TABLE peer.%I (LIKE caliber.%1$I INCLUDING ALL) USING heap WITH (%s)',
                       source.relname, array_to_string(source.options, ', '));
        EXECUTE format('ALTER TABLE peer.%I ALTER %I DROP DEFAULT, ALTER %2$I TYPE uuid,
                        ALTER %2$I SET DEFAULT uuidv7()', source.relname, source.key);
        EXECUTE format('INSERT INTO peer.%I SELECT * FROM caliber.%1$I', source.relname);
    END LOOP;
    FOR item IN
        SELECT t.relname, c.conname,
               replace(pg_get_constraintdef(c.oid), 'REFERENCES caliber.', 'REFERENCES peer.') AS definition
        FROM pg_constraint c
        JOIN pg_class t ON t.oid = c.conrelid
        WHERE c.contype = 'f' AND to_regclass('peer.' || quote_ident(t.relname)) IS NOT NULL
          AND t.relnamespace = 'caliber'::regnamespace
    LOOP
        EXECUTE format('ALTER TABLE peer.%I ADD CONSTRAINT %I %s',
                       item.relname, item.conname, item.definition);
    END LOOP;
END
$$;

ALTER TABLE peer.caliber_lock ALTER fence SET DEFAULT nextval('peer.caliber_fence');
