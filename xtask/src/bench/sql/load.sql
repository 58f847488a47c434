-- The rows of the entity tables. bench.rows says how many turns, bench.others how many agents and
-- trajectories; every table has a few more for the warm-up, which touches no row that is measured.

SELECT count(*) FROM caliber_init();
CREATE SCHEMA bench;

CREATE FUNCTION bench.rows() RETURNS int LANGUAGE sql STABLE
RETURN current_setting('bench.rows')::int;

CREATE FUNCTION bench.others() RETURNS int LANGUAGE sql STABLE
RETURN current_setting('bench.others')::int;

-- Entities that only the warm-up uses.
CREATE FUNCTION bench.spare() RETURNS int LANGUAGE sql IMMUTABLE RETURN 120;
CREATE FUNCTION bench.scopes() RETURNS int LANGUAGE sql STABLE
RETURN greatest(bench.rows() / 10, 1) + bench.spare();
-- Scopes with 100 turns each, for the lists.
CREATE FUNCTION bench.lists() RETURNS int LANGUAGE sql STABLE
RETURN greatest(bench.rows() / 1000, 1) + bench.spare();

INSERT INTO caliber.caliber_trajectory (trajectory_id, name, root_trajectory_id)
SELECT id, 'task ' || n, id
FROM (SELECT n, caliber_new_id() AS id FROM generate_series(1, bench.others() + bench.spare()) n OFFSET 0) x;

CREATE TABLE bench.scope AS
SELECT n, caliber_new_id() AS id, n > bench.scopes() AS listed
FROM generate_series(1, bench.scopes() + bench.lists()) n;

INSERT INTO caliber.caliber_scope (scope_id, trajectory_id, name, token_budget, tokens_used, turn_count)
SELECT s.id, t.trajectory_id, 'scope ' || s.n, 1000000000, 1000, CASE WHEN listed THEN 100 ELSE 10 END
FROM bench.scope s
JOIN (SELECT trajectory_id, row_number() OVER () - 1 AS n FROM caliber.caliber_trajectory) t
    ON t.n = s.n % (bench.others() + bench.spare());

CREATE INDEX ON bench.scope (n);
ANALYZE bench.scope;

-- Conversations grow side by side: neighbours in the table belong to different scopes.
INSERT INTO caliber.caliber_turn (scope_id, sequence, role, content, token_count)
SELECT s.id, sequence, 'user', 'turn ' || sequence || ' of ' || s.n || repeat(' lorem ipsum', 8), 8
FROM generate_series(0, 9) sequence, bench.scope s
WHERE NOT s.listed
ORDER BY sequence, s.n;

INSERT INTO caliber.caliber_turn (scope_id, sequence, role, content, token_count)
SELECT s.id, sequence, 'user', 'turn ' || sequence || ' of ' || s.n || repeat(' lorem ipsum', 8), 8
FROM bench.scope s, generate_series(0, 99) sequence
WHERE s.listed
ORDER BY s.n, sequence;

INSERT INTO caliber.caliber_agent (agent_type, capabilities)
SELECT 'worker ' || n % 100, '{read,write}' FROM generate_series(1, bench.others() + bench.spare()) n;

-- The first agents are those that the lock and message cycles use; leases and messages of others
-- fill the tables.
CREATE TABLE bench.agent AS
SELECT agent_id::uuid AS id, row_number() OVER (ORDER BY agent_id) - 1 AS n FROM caliber.caliber_agent;
CREATE INDEX ON bench.agent (n);
ANALYZE bench.agent;

INSERT INTO caliber.caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
SELECT 'file', gen_random_uuid(), id, 'exclusive', now() + interval '1 year'
FROM bench.agent WHERE n >= 1000 AND n < 1000 + bench.rows() / 10;

INSERT INTO caliber.caliber_message (from_agent_id, to_agent_id, message_type, payload)
SELECT f.id, t.id, 'context_share', '{"text": "lorem ipsum"}'
FROM bench.agent f JOIN bench.agent t ON t.n = f.n - 1
WHERE t.n >= 1000 AND t.n < 1000 + bench.rows() / 10;

-- What is younger was written by the benchmarks.
CREATE TABLE bench.loaded AS SELECT clock_timestamp() AS at;
