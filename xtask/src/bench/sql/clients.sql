-- What the clients work on: agents, trajectories and scopes whose ids follow from their number, so
-- that a client needs no look-up to choose one, and a queue that all clients share.

CREATE FUNCTION bench.client_id(n int) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid;

DO $$
DECLARE
    place text;
BEGIN
    FOREACH place IN ARRAY '{caliber,peer}'::text[] LOOP
        EXECUTE format('INSERT INTO %I.caliber_agent (agent_id, agent_type)
            SELECT bench.client_id(n), ''client'' FROM generate_series(1, {ids}) n', place);
        EXECUTE format('INSERT INTO %I.caliber_trajectory (trajectory_id, name, root_trajectory_id)
            SELECT bench.client_id(n), ''client'', bench.client_id(n) FROM generate_series(1, {ids}) n', place);
        EXECUTE format('INSERT INTO %I.caliber_scope (scope_id, trajectory_id, name, token_budget)
            SELECT bench.client_id(n), bench.client_id(n), ''client'', 2000000000
            FROM generate_series(1, {ids}) n', place);
    END LOOP;
END
$$;

-- Fills the queue of the clients' type up to so many messages that wait.
CREATE FUNCTION bench.fill_queues(wanted int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    place text;
    waiting int;
BEGIN
    FOREACH place IN ARRAY '{caliber,peer}'::text[] LOOP
        EXECUTE format('DELETE FROM %I.caliber_message
            WHERE to_agent_type = ''client'' AND status <> ''pending''', place);
        EXECUTE format('SELECT count(*) FROM %I.caliber_message
            WHERE to_agent_type = ''client''', place) INTO waiting;
        EXECUTE format('INSERT INTO %I.caliber_message (from_agent_id, to_agent_type, message_type, payload)
            SELECT bench.client_id(1), ''client'', ''context_share'', ''{"text": "lorem ipsum"}''
            FROM generate_series(1, $1 - $2)', place) USING wanted, waiting;
    END LOOP;
END
$$;
