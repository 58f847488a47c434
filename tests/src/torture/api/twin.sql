-- What the functions do, as a careful user would write it in SQL on heap tables, and what the
-- access method keeps, as triggers. Written from docs/sql.md and the entities' specification, so
-- that it is a second opinion. It runs with the twin's schema first in the search_path.

-- Rules of change.

-- Version and updated_at. Arguments: the columns that change without them.
CREATE FUNCTION assign() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    o jsonb := to_jsonb(OLD);
    n jsonb := to_jsonb(NEW);
    light text[] := '{version,updated_at,content_hash}'::text[] || TG_ARGV;
BEGIN
    IF EXISTS (SELECT FROM jsonb_each(n) e
               WHERE e.value IS DISTINCT FROM o -> e.key AND e.key <> ALL (light)) THEN
        IF NEW.version IS NOT DISTINCT FROM OLD.version THEN
            NEW.version := OLD.version + 1;
        END IF;
        IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
            NEW.updated_at := transaction_timestamp();
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- Arguments: fixed columns, counters, and the final states.
CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    o jsonb := to_jsonb(OLD);
    n jsonb := to_jsonb(NEW);
    fixed text[] := '{created_at}'::text[] || TG_ARGV[0]::text[];
    counters text[] := TG_ARGV[1];
    final text[] := TG_ARGV[2];
    changed text[] := ARRAY(
        SELECT key FROM jsonb_each(n) e WHERE e.value IS DISTINCT FROM o -> e.key);
    state text := CASE TG_TABLE_NAME
        WHEN 'caliber_scope' THEN o ->> 'is_active' ELSE o ->> 'status' END;
    next text := CASE TG_TABLE_NAME
        WHEN 'caliber_scope' THEN n ->> 'is_active' ELSE n ->> 'status' END;
BEGIN
    IF changed && fixed THEN
        RAISE EXCEPTION 'a fixed column of %', TG_TABLE_NAME USING ERRCODE = '55000';
    END IF;
    IF 'version' = ANY (changed) AND NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'version' USING ERRCODE = '55000';
    END IF;
    IF state = ANY (final) AND EXISTS (
        SELECT FROM unnest(changed) c WHERE c NOT IN ('metadata', 'version', 'updated_at')
            -- What a foreign key does when the row that it refers to is gone.
            AND NOT (TG_TABLE_NAME = 'caliber_message' AND n -> c = 'null'
                AND c IN ('trajectory_id', 'scope_id', 'claimed_by'))) THEN
        RAISE EXCEPTION '% is final', state USING ERRCODE = '55000';
    END IF;
    IF state <> next AND NOT EXISTS (
        SELECT FROM arrow WHERE entity = TG_TABLE_NAME AND (a, b) = (state, next)) THEN
        RAISE EXCEPTION '% to %', state, next USING ERRCODE = '55000';
    END IF;
    IF EXISTS (SELECT FROM unnest(counters) c
               WHERE c <> 'fence' AND (n ->> c)::numeric < (o ->> c)::numeric) THEN
        RAISE EXCEPTION 'a counter falls' USING ERRCODE = '55000';
    END IF;
    IF 'fence' = ANY (counters) AND (n ->> 'fence')::bigint < (o ->> 'fence')::bigint THEN
        RAISE EXCEPTION 'the fence falls' USING ERRCODE = '55006';
    END IF;
    IF 'superseded_by' = ANY (changed) AND o ->> 'superseded_by' IS NOT NULL
        AND n ->> 'superseded_by' IS NOT NULL THEN
        RAISE EXCEPTION 'another successor' USING ERRCODE = '55000';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'turns are never updated' USING ERRCODE = '55000';
END $$;

CREATE TABLE arrow (entity text, a text, b text);
INSERT INTO arrow
SELECT 'caliber_' || entity, a, b
FROM (VALUES
    ('trajectory', 'active', '{suspended,completed,failed}'::text[]),
    ('trajectory', 'suspended', '{active,completed,failed}'),
    ('scope', 'true', '{false}'),
    ('message', 'pending', '{delivered,dead}'),
    ('message', 'delivered', '{pending,acknowledged,dead}'),
    ('message', 'dead', '{pending}'),
    ('delegation', 'pending', '{accepted,rejected,failed}'),
    ('delegation', 'accepted', '{in_progress,completed,failed}'),
    ('delegation', 'in_progress', '{completed,failed}'),
    ('handoff', 'initiated', '{accepted,rejected}'),
    ('handoff', 'accepted', '{completed}'),
    ('conflict', 'detected', '{resolving,resolved,escalated}'),
    ('conflict', 'resolving', '{resolved,escalated}'),
    ('conflict', 'escalated', '{resolving,resolved}')) AS known (entity, a, bs), unnest(bs) AS b;
INSERT INTO arrow
SELECT 'caliber_agent', a::text, b::text
FROM unnest(enum_range(NULL::caliber_agent_status)) a,
    unnest(enum_range(NULL::caliber_agent_status)) b;

-- The judgement comes behind the constraints of the row and before foreign keys, whose triggers'
-- names begin with RI.
CREATE TRIGGER assign BEFORE UPDATE ON caliber_trajectory
    FOR EACH ROW EXECUTE FUNCTION assign('fence');
CREATE TRIGGER "A" AFTER UPDATE ON caliber_trajectory FOR EACH ROW
    EXECUTE FUNCTION judge('{trajectory_id,parent_trajectory_id,root_trajectory_id}', '{fence}',
        '{completed,failed}');
CREATE TRIGGER assign BEFORE UPDATE ON caliber_scope
    FOR EACH ROW EXECUTE FUNCTION assign('tokens_used', 'turn_count', 'fence');
CREATE TRIGGER "A" AFTER UPDATE ON caliber_scope FOR EACH ROW
    EXECUTE FUNCTION judge('{scope_id,trajectory_id,parent_scope_id}',
        '{tokens_used,turn_count,fence}', '{false}');
CREATE TRIGGER "A" AFTER UPDATE ON caliber_turn
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER assign BEFORE UPDATE ON caliber_artifact
    FOR EACH ROW EXECUTE FUNCTION assign();
CREATE TRIGGER "A" AFTER UPDATE ON caliber_artifact FOR EACH ROW
    EXECUTE FUNCTION judge('{artifact_id,trajectory_id,scope_id}', '{}', '{}');
CREATE TRIGGER assign BEFORE UPDATE ON caliber_note
    FOR EACH ROW EXECUTE FUNCTION assign('accessed_at', 'access_count');
CREATE TRIGGER "A" AFTER UPDATE ON caliber_note FOR EACH ROW
    EXECUTE FUNCTION judge('{note_id}', '{}', '{}');
CREATE TRIGGER assign BEFORE UPDATE ON caliber_agent
    FOR EACH ROW EXECUTE FUNCTION assign('last_heartbeat');
CREATE TRIGGER "A" AFTER UPDATE ON caliber_agent FOR EACH ROW
    EXECUTE FUNCTION judge('{agent_id}', '{}', '{}');
CREATE TRIGGER assign BEFORE UPDATE ON caliber_lock
    FOR EACH ROW EXECUTE FUNCTION assign();
CREATE TRIGGER "A" AFTER UPDATE ON caliber_lock FOR EACH ROW
    EXECUTE FUNCTION judge('{lock_id,holder_agent_id,mode}', '{fence}', '{}');
CREATE TRIGGER assign BEFORE UPDATE ON caliber_message
    FOR EACH ROW EXECUTE FUNCTION assign();
CREATE TRIGGER "A" AFTER UPDATE ON caliber_message FOR EACH ROW
    EXECUTE FUNCTION judge(
        '{message_id,from_agent_id,to_agent_id,to_agent_type,message_type,payload,artifact_ids,broadcast_id}',
        '{}', '{acknowledged}');
CREATE TRIGGER assign BEFORE UPDATE ON caliber_delegation
    FOR EACH ROW EXECUTE FUNCTION assign();
CREATE TRIGGER "A" AFTER UPDATE ON caliber_delegation FOR EACH ROW
    EXECUTE FUNCTION judge(
        '{delegation_id,delegator_agent_id,delegatee_agent_type,task_description,parent_trajectory_id}',
        '{}', '{rejected,completed,failed}');
CREATE TRIGGER assign BEFORE UPDATE ON caliber_handoff
    FOR EACH ROW EXECUTE FUNCTION assign();
CREATE TRIGGER "A" AFTER UPDATE ON caliber_handoff FOR EACH ROW
    EXECUTE FUNCTION judge('{handoff_id,from_agent_id,to_agent_type,trajectory_id,scope_id}',
        '{}', '{rejected,completed}');
CREATE TRIGGER assign BEFORE UPDATE ON caliber_conflict
    FOR EACH ROW EXECUTE FUNCTION assign();
CREATE TRIGGER "A" AFTER UPDATE ON caliber_conflict FOR EACH ROW
    EXECUTE FUNCTION judge('{conflict_id,item_a_type,item_a_id,item_b_type,item_b_id}',
        '{}', '{resolved}');

-- What the functions share.

CREATE FUNCTION refuse(state text, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', what USING ERRCODE = state;
END $$;

-- A bad argument unless this holds.
CREATE FUNCTION need(holds boolean, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF holds IS NOT TRUE THEN
        PERFORM refuse('22023', what);
    END IF;
END $$;

CREATE FUNCTION check_id(id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF id IS NOT NULL THEN
        PERFORM need(substr(id::text, 15, 1) = '7' AND substr(id::text, 20, 1) IN ('8', '9', 'a', 'b'), 'id');
    END IF;
END $$;

-- A row with the id exists: what is given of its fixed columns must be what it has.
CREATE FUNCTION check_same(there jsonb, given jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM jsonb_each(given) g
               WHERE g.value <> 'null' AND g.value IS DISTINCT FROM there -> g.key) THEN
        PERFORM refuse('23505', 'the id has other columns');
    END IF;
END $$;

CREATE FUNCTION check_version(current bigint, expected bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF expected <> current THEN
        PERFORM refuse('55006', 'version');
    END IF;
END $$;

-- Whether a JSON value may be stored in a column of this type.
CREATE FUNCTION fits(value jsonb, ty text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    kind text := jsonb_typeof(value);
BEGIN
    IF ty = 'jsonb' OR kind = 'null' THEN
        RETURN true;
    ELSIF ty LIKE '%[]' THEN
        IF kind <> 'array' THEN
            RETURN false;
        END IF;
        -- What is null in an array, is so in the column.
        RETURN (SELECT coalesce(bool_and(fits(e, left(ty, -2))), true)
                FROM jsonb_array_elements(value) e);
    ELSIF ty IN ('int', 'real') THEN
        IF kind <> 'number' THEN
            RETURN false;
        END IF;
    ELSIF kind <> 'string' THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT %L::%s', value #>> '{}', ty);
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END $$;

CREATE FUNCTION check_changes(changes jsonb, columns jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need(jsonb_typeof(changes) = 'object', 'changes');
    PERFORM need(columns ? e.key AND fits(e.value, columns ->> e.key), e.key)
    FROM jsonb_each(changes) e;
END $$;

-- The fence that is in force after a write: the one remembered, or a higher one that belongs to a
-- live lease on this very row.
CREATE FUNCTION next_fence(kind text, id uuid, remembered bigint, own bigint, given bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM need(coalesce(given, 1) >= 1, 'fence');
    IF given IS NULL THEN
        IF remembered > 0 THEN
            PERFORM refuse('55006', 'no fence');
        END IF;
        RETURN own;
    ELSIF given < remembered THEN
        PERFORM refuse('55006', 'lower fence');
    ELSIF given > remembered THEN
        IF NOT EXISTS (SELECT FROM caliber_lock WHERE resource_type = kind AND resource_id = id
                       AND fence = given AND expires_at > clock_timestamp()) THEN
            PERFORM refuse('55006', 'no live lease');
        END IF;
        RETURN given;
    END IF;
    RETURN own;
END $$;

-- Trajectories.

CREATE FUNCTION twin_trajectory_create(
    a_name text, a_description text, a_agent uuid, a_parent uuid, a_metadata jsonb, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
    t caliber_trajectory;
    root uuid := new_id;
BEGIN
    PERFORM check_id(a_id);
    SELECT * INTO t FROM caliber_trajectory WHERE trajectory_id = a_id;
    IF FOUND THEN
        PERFORM check_same(to_jsonb(t), jsonb_build_object('parent_trajectory_id', a_parent));
        RETURN a_id;
    END IF;
    IF a_parent IS NOT NULL THEN
        PERFORM need(a_parent <> new_id, 'below itself');
        SELECT root_trajectory_id INTO root FROM caliber_trajectory WHERE trajectory_id = a_parent;
        root := coalesce(root, a_parent);
    END IF;
    INSERT INTO caliber_trajectory (trajectory_id, name, description, agent_id,
        parent_trajectory_id, root_trajectory_id, metadata)
    VALUES (new_id, a_name, a_description, a_agent, a_parent, root, a_metadata);
    RETURN new_id;
END $$;

CREATE FUNCTION lock_trajectory(a_id uuid) RETURNS caliber_trajectory LANGUAGE plpgsql AS $$
DECLARE
    t caliber_trajectory;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    SELECT * INTO t FROM caliber_trajectory WHERE trajectory_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'trajectory');
    END IF;
    RETURN t;
END $$;

CREATE FUNCTION twin_trajectory_update(
    a_id uuid, a_changes jsonb, a_version bigint, a_fence bigint)
RETURNS caliber_trajectory LANGUAGE plpgsql AS $$
DECLARE
    t caliber_trajectory;
    f bigint;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM check_changes(a_changes, '{"name": "text", "description": "text", "agent_id": "uuid",
        "outcome": "jsonb", "metadata": "jsonb"}');
    t := lock_trajectory(a_id);
    f := next_fence('trajectory', a_id, t.fence, t.fence, a_fence);
    PERFORM check_version(t.version, a_version);
    t := jsonb_populate_record(t, a_changes);
    UPDATE caliber_trajectory SET name = t.name, description = t.description,
        agent_id = t.agent_id, outcome = t.outcome, metadata = t.metadata, fence = f
    WHERE trajectory_id = a_id RETURNING * INTO t;
    RETURN t;
END $$;

CREATE FUNCTION twin_trajectory_set_status(
    a_id uuid, a_status caliber_trajectory_status, a_outcome jsonb, a_version bigint, a_fence bigint)
RETURNS caliber_trajectory LANGUAGE plpgsql AS $$
DECLARE
    t caliber_trajectory;
    f bigint;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM need(a_status IS NOT NULL, 'status');
    t := lock_trajectory(a_id);
    f := next_fence('trajectory', a_id, t.fence, t.fence, a_fence);
    PERFORM check_version(t.version, a_version);
    UPDATE caliber_trajectory SET status = a_status, outcome = coalesce(a_outcome, outcome),
        completed_at = CASE WHEN a_status IN ('completed', 'failed')
            THEN coalesce(completed_at, transaction_timestamp()) END, fence = f
    WHERE trajectory_id = a_id RETURNING * INTO t;
    RETURN t;
END $$;

CREATE FUNCTION twin_trajectory_delete(a_id uuid, a_fence bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    t caliber_trajectory;
    below uuid[];
    rows bigint;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    t := lock_trajectory(a_id);
    PERFORM next_fence('trajectory', a_id, t.fence, t.fence, a_fence);
    WITH RECURSIVE tree AS (
        SELECT a_id AS id
        UNION SELECT c.trajectory_id FROM caliber_trajectory c JOIN tree ON tree.id = c.parent_trajectory_id)
    SELECT array_agg(id) INTO below FROM tree;
    SELECT cardinality(below)
        + (SELECT count(*) FROM caliber_scope WHERE trajectory_id = ANY (below))
        + (SELECT count(*) FROM caliber_turn JOIN caliber_scope USING (scope_id)
           WHERE trajectory_id = ANY (below))
    INTO rows;
    DELETE FROM caliber_trajectory WHERE trajectory_id = a_id;
    RETURN rows;
END $$;

-- Scopes.

CREATE FUNCTION twin_scope_create(
    a_trajectory uuid, a_name text, a_budget int, a_purpose text, a_parent uuid, a_metadata jsonb,
    a_fence bigint, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
    s caliber_scope;
    t caliber_trajectory;
    f bigint;
BEGIN
    PERFORM check_id(a_id);
    SELECT * INTO s FROM caliber_scope WHERE scope_id = a_id;
    IF FOUND THEN
        PERFORM check_same(to_jsonb(s), jsonb_build_object(
            'trajectory_id', a_trajectory, 'parent_scope_id', a_parent));
        RETURN a_id;
    END IF;
    PERFORM need(a_parent IS DISTINCT FROM new_id, 'below itself');
    SELECT * INTO t FROM caliber_trajectory WHERE trajectory_id = a_trajectory FOR UPDATE;
    IF FOUND THEN
        f := next_fence('trajectory', a_trajectory, t.fence, t.fence, a_fence);
        IF t.status <> 'active' THEN
            PERFORM refuse('55000', 'not active');
        END IF;
        UPDATE caliber_trajectory SET fence = f WHERE trajectory_id = a_trajectory AND fence <> f;
    END IF;
    INSERT INTO caliber_scope (scope_id, trajectory_id, name, token_budget, purpose,
        parent_scope_id, metadata)
    VALUES (new_id, a_trajectory, a_name, a_budget, a_purpose, a_parent, a_metadata);
    RETURN new_id;
END $$;

CREATE FUNCTION lock_scope(a_id uuid) RETURNS caliber_scope LANGUAGE plpgsql AS $$
DECLARE
    s caliber_scope;
BEGIN
    SELECT * INTO s FROM caliber_scope WHERE scope_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'scope');
    END IF;
    RETURN s;
END $$;

-- The scope's fence after a write. A lease on the trajectory covers its scopes: the trajectory
-- remembers its fence.
CREATE FUNCTION scope_fence(s caliber_scope, given bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    above bigint := (
        SELECT fence FROM caliber_trajectory WHERE trajectory_id = s.trajectory_id FOR SHARE);
BEGIN
    IF given > greatest(s.fence, above)
        AND EXISTS (SELECT FROM caliber_lock WHERE resource_type = 'trajectory'
                    AND resource_id = s.trajectory_id AND fence = given
                    AND expires_at > clock_timestamp()) THEN
        UPDATE caliber_trajectory SET fence = given WHERE trajectory_id = s.trajectory_id;
        RETURN s.fence;
    END IF;
    RETURN next_fence('scope', s.scope_id, greatest(s.fence, above), s.fence, given);
END $$;

CREATE FUNCTION twin_scope_update_tokens(a_id uuid, a_tokens int, a_fence bigint)
RETURNS caliber_scope LANGUAGE plpgsql AS $$
DECLARE
    s caliber_scope;
    f bigint;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    s := lock_scope(a_id);
    f := scope_fence(s, a_fence);
    UPDATE caliber_scope SET tokens_used = a_tokens, fence = f
    WHERE scope_id = a_id RETURNING * INTO s;
    RETURN s;
END $$;

CREATE FUNCTION twin_scope_update(a_id uuid, a_changes jsonb, a_version bigint, a_fence bigint)
RETURNS caliber_scope LANGUAGE plpgsql AS $$
DECLARE
    s caliber_scope;
    f bigint;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM check_changes(a_changes, '{"name": "text", "purpose": "text", "token_budget": "int",
        "checkpoint": "jsonb", "metadata": "jsonb"}');
    s := lock_scope(a_id);
    f := scope_fence(s, a_fence);
    PERFORM check_version(s.version, a_version);
    s := jsonb_populate_record(s, a_changes);
    UPDATE caliber_scope SET name = s.name, purpose = s.purpose, token_budget = s.token_budget,
        checkpoint = s.checkpoint, metadata = s.metadata, fence = f
    WHERE scope_id = a_id RETURNING * INTO s;
    RETURN s;
END $$;

CREATE FUNCTION twin_scope_close(a_id uuid, a_version bigint, a_fence bigint)
RETURNS caliber_scope LANGUAGE plpgsql AS $$
DECLARE
    s caliber_scope;
    f bigint;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    s := lock_scope(a_id);
    f := scope_fence(s, a_fence);
    PERFORM check_version(s.version, a_version);
    IF NOT s.is_active THEN
        PERFORM refuse('55000', 'closed');
    END IF;
    UPDATE caliber_scope SET is_active = false, closed_at = transaction_timestamp(), fence = f
    WHERE scope_id = a_id RETURNING * INTO s;
    RETURN s;
END $$;

-- Turns.

-- Appends to a scope that is there, locked and active.
CREATE FUNCTION append(
    s caliber_scope, a_id uuid, a_role caliber_turn_role, a_content text, a_tokens int,
    a_calls jsonb, a_results jsonb, a_metadata jsonb, a_sequence int)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    next int := greatest((SELECT turn_count FROM caliber_scope WHERE scope_id = s.scope_id),
        (SELECT max(sequence) + 1 FROM caliber_turn WHERE scope_id = s.scope_id));
    tokens int := coalesce(a_tokens, caliber_estimate_tokens(a_content));
    used int;
BEGIN
    SELECT tokens_used INTO used FROM caliber_scope WHERE scope_id = s.scope_id;
    IF used::bigint + tokens > s.token_budget THEN
        PERFORM refuse('54000', 'budget');
    END IF;
    IF a_sequence > next THEN
        PERFORM refuse('55006', 'sequence');
    END IF;
    INSERT INTO caliber_turn (turn_id, scope_id, sequence, role, content, token_count, tool_calls,
        tool_results, metadata)
    VALUES (a_id, s.scope_id, coalesce(a_sequence, next), a_role, a_content, tokens, a_calls,
        a_results, a_metadata);
    UPDATE caliber_scope SET tokens_used = used + tokens,
        turn_count = greatest(turn_count, next, coalesce(a_sequence, next) + 1)
    WHERE scope_id = s.scope_id;
    RETURN a_id;
END $$;

CREATE FUNCTION twin_turn_create(
    a_scope uuid, a_role caliber_turn_role, a_content text, a_tokens int, a_calls jsonb,
    a_results jsonb, a_metadata jsonb, a_sequence int, a_fence bigint, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
    u caliber_turn;
    s caliber_scope;
    f bigint;
BEGIN
    PERFORM check_id(a_id);
    SELECT * INTO u FROM caliber_turn WHERE turn_id = a_id;
    IF FOUND THEN
        PERFORM check_same(to_jsonb(u), jsonb_build_object(
            'scope_id', a_scope, 'role', a_role, 'content', a_content, 'token_count', a_tokens,
            'sequence', a_sequence) || jsonb_strip_nulls(jsonb_build_object(
            'tool_calls', a_calls, 'tool_results', a_results, 'metadata', a_metadata)));
        RETURN a_id;
    END IF;
    SELECT * INTO s FROM caliber_scope WHERE scope_id = a_scope FOR UPDATE;
    IF NOT FOUND THEN
        -- Refused by the table's constraints.
        INSERT INTO caliber_turn (turn_id, scope_id, sequence, role, content, token_count)
        VALUES (new_id, a_scope, coalesce(a_sequence, 0), a_role, a_content,
            coalesce(a_tokens, 0));
    END IF;
    f := scope_fence(s, a_fence);
    IF NOT s.is_active THEN
        PERFORM refuse('55000', 'closed');
    END IF;
    UPDATE caliber_scope SET fence = f WHERE scope_id = a_scope AND fence <> f;
    RETURN append(s, new_id, a_role, a_content, a_tokens, a_calls, a_results, a_metadata,
        a_sequence);
END $$;

CREATE FUNCTION check_message(m jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    content jsonb := m -> 'content';
    part jsonb;
BEGIN
    PERFORM need(jsonb_typeof(m) = 'object', 'message');
    PERFORM need(jsonb_typeof(m -> 'role') = 'string'
        AND m ->> 'role' IN ('developer', 'system', 'user', 'assistant', 'tool'), 'role');
    PERFORM need(coalesce(jsonb_typeof(content), 'null') IN ('null', 'string', 'array'), 'content');
    IF jsonb_typeof(content) = 'array' THEN
        FOR part IN SELECT * FROM jsonb_array_elements(content) LOOP
            PERFORM need(jsonb_typeof(part) = 'object' AND jsonb_typeof(part -> 'type') = 'string'
                AND (part ->> 'type' <> 'text' OR jsonb_typeof(part -> 'text') = 'string'), 'part');
        END LOOP;
    END IF;
    PERFORM need(coalesce(jsonb_typeof(m -> 'tool_calls'), 'null') IN ('null', 'array'), 'calls');
    PERFORM need(coalesce(jsonb_typeof(m -> 'tool_call_id'), 'null') IN ('null', 'string'), 'id');
    PERFORM need(coalesce(jsonb_typeof(m -> 'name'), 'null') IN ('null', 'string'), 'name');
END $$;

CREATE FUNCTION twin_turn_append_many(a_scope uuid, a_messages jsonb, a_fence bigint)
RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    s caliber_scope;
    f bigint;
    m jsonb;
    results jsonb;
BEGIN
    PERFORM need(a_scope IS NOT NULL, 'scope_id');
    PERFORM need(jsonb_typeof(a_messages) = 'array', 'messages');
    PERFORM check_message(e) FROM jsonb_array_elements(a_messages) e;
    SELECT * INTO s FROM caliber_scope WHERE scope_id = a_scope FOR UPDATE;
    IF NOT FOUND THEN
        IF a_messages = '[]' THEN
            PERFORM refuse('P0002', 'scope');
        END IF;
        INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
        VALUES (a_scope, 0, 'user', '', 0);
    END IF;
    f := scope_fence(s, a_fence);
    IF NOT s.is_active THEN
        PERFORM refuse('55000', 'closed');
    END IF;
    UPDATE caliber_scope SET fence = f WHERE scope_id = a_scope AND fence <> f;
    FOR m IN SELECT * FROM jsonb_array_elements(a_messages) LOOP
        results := jsonb_strip_nulls(jsonb_build_object(
            'tool_call_id', m -> 'tool_call_id', 'name', m -> 'name'));
        RETURN NEXT append(s, caliber_new_id(),
            CASE m ->> 'role' WHEN 'developer' THEN 'system' ELSE m ->> 'role' END::caliber_turn_role,
            CASE jsonb_typeof(m -> 'content')
                WHEN 'array' THEN coalesce((
                    SELECT string_agg(p ->> 'text', E'\n' ORDER BY n)
                    FROM jsonb_array_elements(m -> 'content') WITH ORDINALITY parts (p, n)
                    WHERE p ->> 'type' = 'text'), '')
                ELSE coalesce(m ->> 'content', '') END,
            NULL, nullif(m -> 'tool_calls', 'null'), nullif(results, '{}'),
            CASE jsonb_typeof(m -> 'content')
                WHEN 'array' THEN jsonb_build_object('content', m -> 'content') END,
            NULL);
    END LOOP;
END $$;

-- Artifacts and notes.

CREATE FUNCTION twin_artifact_create(
    a_trajectory uuid, a_scope uuid, a_type text, a_name text, a_content text, a_embedding vector,
    a_turn int, a_method caliber_artifact_extraction_method, a_confidence real, a_ttl interval,
    a_metadata jsonb, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
    r caliber_artifact;
BEGIN
    PERFORM check_id(a_id);
    PERFORM need(coalesce(a_ttl, '1 s') > '0', 'ttl');
    SELECT * INTO r FROM caliber_artifact WHERE artifact_id = a_id;
    IF FOUND THEN
        PERFORM check_same(to_jsonb(r), jsonb_build_object(
            'trajectory_id', a_trajectory, 'scope_id', a_scope));
        RETURN a_id;
    END IF;
    INSERT INTO caliber_artifact (artifact_id, trajectory_id, scope_id, artifact_type, name,
        content, embedding, source_turn, extraction_method, confidence, expires_at, metadata)
    VALUES (new_id, a_trajectory, a_scope, a_type, a_name, a_content, a_embedding, a_turn,
        coalesce(a_method, 'explicit'), a_confidence, transaction_timestamp() + a_ttl, a_metadata);
    RETURN new_id;
END $$;

CREATE FUNCTION twin_artifact_update(
    a_id uuid, a_changes jsonb, a_embedding vector, a_version bigint)
RETURNS caliber_artifact LANGUAGE plpgsql AS $$
DECLARE
    r caliber_artifact;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM check_changes(a_changes, '{"content": "text", "name": "text", "confidence": "real",
        "expires_at": "timestamptz", "metadata": "jsonb"}');
    SELECT * INTO r FROM caliber_artifact WHERE artifact_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'artifact');
    END IF;
    PERFORM check_version(r.version, a_version);
    r := jsonb_populate_record(r, a_changes);
    UPDATE caliber_artifact SET content = r.content, name = r.name, confidence = r.confidence,
        expires_at = r.expires_at, metadata = r.metadata,
        embedding = coalesce(a_embedding, r.embedding)
    WHERE artifact_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_artifact_supersede(a_id uuid, a_by uuid)
RETURNS caliber_artifact LANGUAGE plpgsql AS $$
DECLARE
    r caliber_artifact;
    step uuid := a_by;
BEGIN
    PERFORM need(a_id IS NOT NULL AND a_by IS NOT NULL, 'id');
    PERFORM FROM caliber_artifact WHERE artifact_id IN (a_id, a_by) ORDER BY artifact_id FOR UPDATE;
    IF NOT EXISTS (SELECT FROM caliber_artifact WHERE artifact_id = a_by) THEN
        PERFORM refuse('P0002', 'by_id');
    END IF;
    SELECT * INTO r FROM caliber_artifact WHERE artifact_id = a_id;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'id');
    END IF;
    WHILE step IS NOT NULL AND a_id <> a_by LOOP
        SELECT superseded_by INTO step FROM caliber_artifact WHERE artifact_id = step;
        IF step = a_id THEN
            PERFORM refuse('55000', 'cycle');
        END IF;
    END LOOP;
    UPDATE caliber_artifact SET superseded_by = a_by WHERE artifact_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_note_create(
    a_type text, a_title text, a_content text, a_trajectories uuid[], a_artifacts uuid[],
    a_notes uuid[], a_level caliber_note_abstraction_level, a_embedding vector, a_ttl interval,
    a_metadata jsonb, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
BEGIN
    PERFORM check_id(a_id);
    PERFORM need(coalesce(a_ttl, '1 s') > '0', 'ttl');
    IF EXISTS (SELECT FROM caliber_note WHERE note_id = a_id) THEN
        RETURN a_id;
    END IF;
    INSERT INTO caliber_note (note_id, note_type, title, content, source_trajectory_ids,
        source_artifact_ids, source_note_ids, abstraction_level, embedding, expires_at, metadata)
    VALUES (new_id, a_type, a_title, a_content, coalesce(a_trajectories, '{}'),
        coalesce(a_artifacts, '{}'), coalesce(a_notes, '{}'), coalesce(a_level, 'raw'),
        a_embedding, transaction_timestamp() + a_ttl, a_metadata);
    RETURN new_id;
END $$;

CREATE FUNCTION lock_note(a_id uuid) RETURNS caliber_note LANGUAGE plpgsql AS $$
DECLARE
    r caliber_note;
BEGIN
    SELECT * INTO r FROM caliber_note WHERE note_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'note');
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION twin_note_touch(a_id uuid) RETURNS caliber_note LANGUAGE plpgsql AS $$
DECLARE
    r caliber_note;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    r := lock_note(a_id);
    UPDATE caliber_note SET access_count = access_count + 1, accessed_at = clock_timestamp()
    WHERE note_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_note_update(a_id uuid, a_changes jsonb, a_embedding vector, a_version bigint)
RETURNS caliber_note LANGUAGE plpgsql AS $$
DECLARE
    r caliber_note;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM check_changes(a_changes, '{"title": "text", "content": "text",
        "abstraction_level": "caliber_note_abstraction_level", "source_trajectory_ids": "uuid[]",
        "source_artifact_ids": "uuid[]", "source_note_ids": "uuid[]",
        "expires_at": "timestamptz", "metadata": "jsonb"}');
    r := lock_note(a_id);
    PERFORM check_version(r.version, a_version);
    r := jsonb_populate_record(r, a_changes);
    UPDATE caliber_note SET title = r.title, content = r.content,
        abstraction_level = r.abstraction_level, source_trajectory_ids = r.source_trajectory_ids,
        source_artifact_ids = r.source_artifact_ids, source_note_ids = r.source_note_ids,
        expires_at = r.expires_at, metadata = r.metadata,
        embedding = coalesce(a_embedding, r.embedding)
    WHERE note_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_note_supersede(a_id uuid, a_by uuid)
RETURNS caliber_note LANGUAGE plpgsql AS $$
DECLARE
    r caliber_note;
    step uuid := a_by;
BEGIN
    PERFORM need(a_id IS NOT NULL AND a_by IS NOT NULL, 'id');
    PERFORM FROM caliber_note WHERE note_id IN (a_id, a_by) ORDER BY note_id FOR UPDATE;
    PERFORM lock_note(a_by);
    r := lock_note(a_id);
    WHILE step IS NOT NULL AND a_id <> a_by LOOP
        SELECT superseded_by INTO step FROM caliber_note WHERE note_id = step;
        IF step = a_id THEN
            PERFORM refuse('55000', 'cycle');
        END IF;
    END LOOP;
    UPDATE caliber_note SET superseded_by = a_by WHERE note_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

-- Agents.

CREATE FUNCTION twin_agent_register(
    a_type text, a_capabilities text[], a_access jsonb, a_delegate text[], a_reports uuid,
    a_metadata jsonb, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
BEGIN
    PERFORM check_id(a_id);
    IF EXISTS (SELECT FROM caliber_agent WHERE agent_id = a_id) THEN
        RETURN a_id;
    END IF;
    INSERT INTO caliber_agent (agent_id, agent_type, capabilities, memory_access, can_delegate_to,
        reports_to, metadata)
    VALUES (new_id, a_type, coalesce(a_capabilities, '{}'), coalesce(a_access, '{}'),
        coalesce(a_delegate, '{}'), a_reports, a_metadata);
    RETURN new_id;
END $$;

CREATE FUNCTION lock_agent(a_id uuid) RETURNS caliber_agent LANGUAGE plpgsql AS $$
DECLARE
    r caliber_agent;
BEGIN
    SELECT * INTO r FROM caliber_agent WHERE agent_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'agent');
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION twin_agent_heartbeat(a_id uuid) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM lock_agent(a_id);
    UPDATE caliber_agent SET last_heartbeat = clock_timestamp()
    WHERE agent_id = a_id RETURNING last_heartbeat INTO t;
    RETURN t;
END $$;

CREATE FUNCTION twin_agent_set_status(a_id uuid, a_status caliber_agent_status, a_version bigint)
RETURNS caliber_agent LANGUAGE plpgsql AS $$
DECLARE
    r caliber_agent;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM need(a_status IS NOT NULL, 'status');
    r := lock_agent(a_id);
    PERFORM check_version(r.version, a_version);
    UPDATE caliber_agent SET status = a_status WHERE agent_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_agent_update(a_id uuid, a_changes jsonb, a_version bigint)
RETURNS caliber_agent LANGUAGE plpgsql AS $$
DECLARE
    r caliber_agent;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM check_changes(a_changes, '{"agent_type": "text", "capabilities": "text[]",
        "memory_access": "jsonb", "can_delegate_to": "text[]", "reports_to": "uuid",
        "current_trajectory_id": "uuid", "current_scope_id": "uuid", "metadata": "jsonb"}');
    r := lock_agent(a_id);
    PERFORM check_version(r.version, a_version);
    r := jsonb_populate_record(r, a_changes);
    UPDATE caliber_agent SET agent_type = r.agent_type, capabilities = r.capabilities,
        memory_access = r.memory_access, can_delegate_to = r.can_delegate_to,
        reports_to = r.reports_to, current_trajectory_id = r.current_trajectory_id,
        current_scope_id = r.current_scope_id, metadata = r.metadata
    WHERE agent_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

-- Locks. There is one session, so that nobody waits.

CREATE FUNCTION twin_lock_acquire(
    a_agent uuid, a_type text, a_id uuid, a_ttl interval, a_mode caliber_lock_mode,
    a_wait interval)
RETURNS caliber_lock LANGUAGE plpgsql AS $$
DECLARE
    r caliber_lock;
BEGIN
    PERFORM need(num_nulls(a_agent, a_type, a_id, a_ttl, a_mode, a_wait) = 0, 'null');
    PERFORM need(a_ttl > '0' AND a_wait >= '0', 'interval');
    IF EXISTS (SELECT FROM caliber_lock
               WHERE resource_type = a_type AND resource_id = a_id AND holder_agent_id <> a_agent
                   AND expires_at > clock_timestamp() AND 'exclusive' IN (mode, a_mode)) THEN
        RETURN NULL;
    END IF;
    DELETE FROM caliber_lock WHERE resource_type = a_type AND resource_id = a_id
        AND holder_agent_id = a_agent AND mode <> a_mode;
    UPDATE caliber_lock SET fence = nextval('caliber_fence'), acquired_at = clock_timestamp(),
        expires_at = clock_timestamp() + a_ttl
    WHERE resource_type = a_type AND resource_id = a_id AND holder_agent_id = a_agent
        AND mode = a_mode
    RETURNING * INTO r;
    IF NOT FOUND THEN
        INSERT INTO caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
        VALUES (a_type, a_id, a_agent, a_mode, clock_timestamp() + a_ttl) RETURNING * INTO r;
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION twin_lock_extend(a_id uuid, a_fence bigint, a_ttl interval)
RETURNS caliber_lock LANGUAGE plpgsql AS $$
DECLARE
    r caliber_lock;
BEGIN
    PERFORM need(num_nulls(a_id, a_fence, a_ttl) = 0, 'null');
    PERFORM need(a_ttl > '0', 'ttl');
    SELECT * INTO r FROM caliber_lock WHERE lock_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'lock');
    END IF;
    IF r.fence <> a_fence OR r.expires_at <= clock_timestamp() THEN
        PERFORM refuse('55006', 'stale');
    END IF;
    UPDATE caliber_lock SET expires_at = clock_timestamp() + a_ttl
    WHERE lock_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_lock_release(a_id uuid, a_fence bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    r caliber_lock;
BEGIN
    PERFORM need(num_nulls(a_id, a_fence) = 0, 'null');
    SELECT * INTO r FROM caliber_lock WHERE lock_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF r.fence <> a_fence THEN
        PERFORM refuse('55006', 'stale');
    END IF;
    DELETE FROM caliber_lock WHERE lock_id = a_id;
    RETURN true;
END $$;

CREATE FUNCTION twin_lock_reap() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    DELETE FROM caliber_lock WHERE expires_at <= clock_timestamp();
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;

-- Messages.

CREATE FUNCTION twin_message_send(
    a_from uuid, a_type text, a_payload jsonb, a_to uuid, a_to_type text,
    a_priority caliber_message_priority, a_trajectory uuid, a_scope uuid, a_artifacts uuid[],
    a_ttl interval, a_delay interval, a_max int, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
    everybody boolean := a_to IS NULL AND a_to_type IS NULL;
    r caliber_message;
BEGIN
    PERFORM check_id(a_id);
    PERFORM need(a_to IS NULL OR a_to_type IS NULL, 'both');
    PERFORM need(coalesce(a_ttl, '1 s') > '0' AND coalesce(a_delay, '0') >= '0', 'interval');
    PERFORM need(coalesce(a_max, 1) >= 1, 'max_deliveries');
    SELECT * INTO r FROM caliber_message
    WHERE a_id = CASE WHEN everybody THEN broadcast_id ELSE message_id END LIMIT 1;
    IF FOUND THEN
        PERFORM check_same(to_jsonb(r), jsonb_build_object(
            'from_agent_id', a_from, 'message_type', a_type, 'payload', a_payload,
            'to_agent_id', a_to, 'to_agent_type', a_to_type, 'artifact_ids', a_artifacts));
        RETURN a_id;
    END IF;
    INSERT INTO caliber_message (message_id, broadcast_id, from_agent_id, message_type, payload,
        to_agent_id, to_agent_type, priority, trajectory_id, scope_id, artifact_ids, expires_at,
        visible_at, max_deliveries)
    SELECT CASE WHEN everybody THEN caliber_new_id() ELSE new_id END,
        CASE WHEN everybody THEN new_id END, a_from, a_type, a_payload, receiver, a_to_type,
        coalesce(a_priority, 'normal'), a_trajectory, a_scope, coalesce(a_artifacts, '{}'),
        clock_timestamp() + a_ttl, clock_timestamp() + coalesce(a_delay, '0'), coalesce(a_max, 5)
    FROM (SELECT a_to AS receiver WHERE NOT everybody
          UNION ALL
          SELECT agent_id FROM caliber_agent WHERE everybody AND agent_id IS DISTINCT FROM a_from)
        AS receivers
    ORDER BY receiver;
    RETURN new_id;
END $$;

CREATE FUNCTION twin_message_receive(a_agent uuid, a_max int, a_visibility interval)
RETURNS SETOF caliber_message LANGUAGE plpgsql AS $$
DECLARE
    kind text;
    taken int := 0;
    -- One for the call: what it claims is visible again at the same time.
    moment timestamptz := clock_timestamp();
    m caliber_message;
BEGIN
    PERFORM need(a_agent IS NOT NULL, 'agent_id');
    PERFORM need(a_max >= 1, 'max_messages');
    PERFORM need(a_visibility > '0', 'visibility');
    SELECT agent_type INTO kind FROM caliber_agent WHERE agent_id = a_agent;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'agent');
    END IF;
    FOR m IN SELECT * FROM caliber_message
        WHERE status IN ('pending', 'delivered') AND visible_at <= moment
            AND (to_agent_id = a_agent OR to_agent_type = kind)
        ORDER BY priority DESC, visible_at, message_id FOR UPDATE SKIP LOCKED
    LOOP
        EXIT WHEN taken = a_max;
        IF m.expires_at <= moment OR m.delivery_count >= m.max_deliveries THEN
            UPDATE caliber_message SET status = 'dead', claimed_by = NULL
            WHERE message_id = m.message_id;
        ELSE
            taken := taken + 1;
            RETURN QUERY UPDATE caliber_message SET status = 'delivered',
                delivery_count = delivery_count + 1, claimed_by = a_agent,
                delivered_at = moment, visible_at = moment + a_visibility
            WHERE message_id = m.message_id RETURNING *;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION lock_message(a_id uuid) RETURNS caliber_message LANGUAGE plpgsql AS $$
DECLARE
    r caliber_message;
BEGIN
    SELECT * INTO r FROM caliber_message WHERE message_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'message');
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION twin_message_acknowledge(a_id uuid, a_agent uuid, a_receipt int)
RETURNS caliber_message LANGUAGE plpgsql AS $$
DECLARE
    r caliber_message;
BEGIN
    PERFORM need(num_nulls(a_id, a_agent, a_receipt) = 0, 'null');
    r := lock_message(a_id);
    IF r.claimed_by IS DISTINCT FROM a_agent OR r.delivery_count <> a_receipt
        OR r.status NOT IN ('delivered', 'acknowledged') THEN
        PERFORM refuse('55006', 'receipt');
    END IF;
    IF r.status = 'delivered' THEN
        UPDATE caliber_message SET status = 'acknowledged', acknowledged_at = clock_timestamp()
        WHERE message_id = a_id RETURNING * INTO r;
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION twin_message_release(a_id uuid, a_agent uuid, a_receipt int, a_delay interval)
RETURNS caliber_message LANGUAGE plpgsql AS $$
DECLARE
    r caliber_message;
BEGIN
    PERFORM need(num_nulls(a_id, a_agent, a_receipt, a_delay) = 0, 'null');
    PERFORM need(a_delay >= '0', 'delay');
    r := lock_message(a_id);
    IF r.claimed_by IS DISTINCT FROM a_agent OR r.delivery_count <> a_receipt
        OR r.status <> 'delivered' THEN
        PERFORM refuse('55006', 'receipt');
    END IF;
    UPDATE caliber_message SET status = 'pending', claimed_by = NULL,
        visible_at = clock_timestamp() + a_delay
    WHERE message_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_message_redrive(a_id uuid, a_deliveries int)
RETURNS caliber_message LANGUAGE plpgsql AS $$
DECLARE
    r caliber_message;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM need(a_deliveries >= 1, 'deliveries');
    r := lock_message(a_id);
    IF r.status <> 'dead' THEN
        PERFORM refuse('55000', 'not dead');
    END IF;
    UPDATE caliber_message SET status = 'pending', claimed_by = NULL,
        visible_at = clock_timestamp(), max_deliveries = delivery_count + a_deliveries,
        expires_at = CASE WHEN expires_at > clock_timestamp() THEN expires_at END
    WHERE message_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

-- What is said about a delegation or a handoff.
CREATE FUNCTION tell(
    a_from uuid, a_type text, a_payload jsonb, a_to uuid, a_to_type text, a_trajectory uuid,
    a_scope uuid)
RETURNS void LANGUAGE sql AS $$
    SELECT twin_message_send(a_from, a_type, jsonb_strip_nulls(a_payload), a_to, a_to_type, NULL,
        a_trajectory, a_scope, NULL, NULL, NULL, NULL, NULL)
$$;

-- Delegations.

CREATE FUNCTION twin_delegation_create(
    a_delegator uuid, a_task text, a_parent uuid, a_delegatee uuid, a_type text, a_artifacts uuid[],
    a_notes uuid[], a_context text, a_constraints jsonb, a_deadline timestamptz, a_metadata jsonb,
    a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
    r caliber_delegation;
    may text[];
    kind text;
BEGIN
    PERFORM check_id(a_id);
    PERFORM need(num_nulls(a_delegatee, a_type) = 1, 'receiver');
    SELECT * INTO r FROM caliber_delegation WHERE delegation_id = a_id;
    IF FOUND THEN
        PERFORM check_same(to_jsonb(r), jsonb_build_object(
            'delegator_agent_id', a_delegator, 'delegatee_agent_type', a_type,
            'task_description', a_task, 'parent_trajectory_id', a_parent));
        RETURN a_id;
    END IF;
    IF (SELECT status FROM caliber_trajectory WHERE trajectory_id = a_parent FOR SHARE) <> 'active' THEN
        PERFORM refuse('55000', 'parent');
    END IF;
    SELECT can_delegate_to, coalesce(a_type, (
        SELECT agent_type FROM caliber_agent WHERE agent_id = a_delegatee))
    INTO may, kind FROM caliber_agent WHERE agent_id = a_delegator;
    IF kind IS NOT NULL AND ('*' = ANY (may) OR kind = ANY (may)) IS NOT TRUE THEN
        PERFORM refuse('55000', 'may not');
    END IF;
    INSERT INTO caliber_delegation (delegation_id, delegator_agent_id, task_description,
        parent_trajectory_id, delegatee_agent_id, delegatee_agent_type, shared_artifacts,
        shared_notes, additional_context, constraints, deadline, metadata)
    VALUES (new_id, a_delegator, a_task, a_parent, a_delegatee, a_type,
        coalesce(a_artifacts, '{}'), coalesce(a_notes, '{}'), a_context,
        coalesce(a_constraints, '{}'), a_deadline, a_metadata);
    PERFORM tell(a_delegator, 'task_delegation',
        jsonb_build_object('delegation_id', new_id, 'task_description', a_task),
        a_delegatee, nullif(a_type, '*'), a_parent, NULL);
    RETURN new_id;
END $$;

CREATE FUNCTION lock_delegation(a_id uuid, a_agent uuid) RETURNS caliber_delegation
LANGUAGE plpgsql AS $$
DECLARE
    r caliber_delegation;
BEGIN
    PERFORM need(num_nulls(a_id, a_agent) = 0, 'null');
    SELECT * INTO r FROM caliber_delegation WHERE delegation_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'delegation');
    END IF;
    RETURN r;
END $$;

-- The agent must be there, and be the receiver or of its type.
CREATE FUNCTION check_addressed(a_agent uuid, a_to uuid, a_type text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    kind text;
BEGIN
    SELECT agent_type INTO kind FROM caliber_agent WHERE agent_id = a_agent;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'agent');
    END IF;
    IF (CASE WHEN a_to IS NULL THEN a_type IN (kind, '*') ELSE a_to = a_agent END) IS NOT TRUE THEN
        PERFORM refuse('55000', 'not addressed');
    END IF;
END $$;

CREATE FUNCTION twin_delegation_accept(a_id uuid, a_agent uuid, a_child uuid)
RETURNS caliber_delegation LANGUAGE plpgsql AS $$
DECLARE
    r caliber_delegation := lock_delegation(a_id, a_agent);
    child uuid := a_child;
BEGIN
    IF r.status <> 'pending' THEN
        PERFORM refuse('55000', 'not pending');
    END IF;
    PERFORM check_addressed(a_agent, r.delegatee_agent_id, r.delegatee_agent_type);
    IF child IS NULL THEN
        child := twin_trajectory_create(
            coalesce(nullif(r.task_description, ''), 'delegated task'), NULL, a_agent, r.parent_trajectory_id,
            NULL, NULL);
    ELSIF NOT EXISTS (SELECT FROM caliber_trajectory WHERE trajectory_id = child) THEN
        PERFORM refuse('P0002', 'child');
    ELSIF NOT EXISTS (SELECT FROM caliber_trajectory WHERE trajectory_id = child
                      AND parent_trajectory_id = r.parent_trajectory_id) THEN
        PERFORM refuse('55000', 'no child');
    END IF;
    UPDATE caliber_delegation SET status = 'accepted', delegatee_agent_id = a_agent,
        child_trajectory_id = child, accepted_at = transaction_timestamp()
    WHERE delegation_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_delegation_start(a_id uuid, a_agent uuid)
RETURNS caliber_delegation LANGUAGE plpgsql AS $$
DECLARE
    r caliber_delegation := lock_delegation(a_id, a_agent);
BEGIN
    IF r.delegatee_agent_id IS DISTINCT FROM a_agent OR r.status <> 'accepted' THEN
        PERFORM refuse('55000', 'start');
    END IF;
    UPDATE caliber_delegation SET status = 'in_progress'
    WHERE delegation_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_delegation_complete(a_id uuid, a_agent uuid, a_result jsonb)
RETURNS caliber_delegation LANGUAGE plpgsql AS $$
DECLARE
    r caliber_delegation := lock_delegation(a_id, a_agent);
BEGIN
    IF r.delegatee_agent_id IS DISTINCT FROM a_agent
        OR r.status NOT IN ('accepted', 'in_progress') THEN
        PERFORM refuse('55000', 'complete');
    END IF;
    UPDATE caliber_delegation SET status = 'completed', result = coalesce(a_result, result),
        completed_at = transaction_timestamp()
    WHERE delegation_id = a_id RETURNING * INTO r;
    -- Who is its own delegator knows.
    IF a_agent <> r.delegator_agent_id THEN
        PERFORM tell(a_agent, 'task_result', jsonb_build_object(
                'delegation_id', a_id, 'status', 'completed', 'result', a_result),
            r.delegator_agent_id, NULL, r.parent_trajectory_id, NULL);
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION twin_delegation_fail(a_id uuid, a_agent uuid, a_reason text)
RETURNS caliber_delegation LANGUAGE plpgsql AS $$
DECLARE
    r caliber_delegation := lock_delegation(a_id, a_agent);
BEGIN
    IF (a_agent IN (r.delegatee_agent_id, r.delegator_agent_id)) IS NOT TRUE
        OR r.status IN ('completed', 'failed', 'rejected') THEN
        PERFORM refuse('55000', 'fail');
    END IF;
    UPDATE caliber_delegation SET status = 'failed',
        result = coalesce(
            nullif(jsonb_strip_nulls(jsonb_build_object('reason', a_reason)), '{}'), result),
        completed_at = transaction_timestamp()
    WHERE delegation_id = a_id RETURNING * INTO r;
    IF a_agent <> r.delegator_agent_id THEN
        PERFORM tell(a_agent, 'task_result', jsonb_build_object(
                'delegation_id', a_id, 'status', 'failed', 'reason', a_reason),
            r.delegator_agent_id, NULL, r.parent_trajectory_id, NULL);
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION twin_delegation_reject(a_id uuid, a_agent uuid, a_reason text)
RETURNS caliber_delegation LANGUAGE plpgsql AS $$
DECLARE
    r caliber_delegation := lock_delegation(a_id, a_agent);
BEGIN
    IF r.status <> 'pending' THEN
        PERFORM refuse('55000', 'not pending');
    END IF;
    PERFORM check_addressed(a_agent, r.delegatee_agent_id, r.delegatee_agent_type);
    UPDATE caliber_delegation SET status = 'rejected',
        result = coalesce(
            nullif(jsonb_strip_nulls(jsonb_build_object('reason', a_reason)), '{}'), result),
        completed_at = transaction_timestamp()
    WHERE delegation_id = a_id RETURNING * INTO r;
    -- Who is its own delegator knows.
    IF a_agent <> r.delegator_agent_id THEN
        PERFORM tell(a_agent, 'task_result', jsonb_build_object(
                'delegation_id', a_id, 'status', 'rejected', 'reason', a_reason),
            r.delegator_agent_id, NULL, r.parent_trajectory_id, NULL);
    END IF;
    RETURN r;
END $$;

-- Handoffs.

CREATE FUNCTION twin_handoff_create(
    a_from uuid, a_trajectory uuid, a_scope uuid, a_reason caliber_handoff_reason, a_to uuid,
    a_type text, a_handoff_notes text, a_steps text[], a_blockers text[], a_questions text[],
    a_snapshot uuid, a_metadata jsonb, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
    r caliber_handoff;
BEGIN
    PERFORM check_id(a_id);
    PERFORM need(num_nulls(a_to, a_type) = 1, 'receiver');
    SELECT * INTO r FROM caliber_handoff WHERE handoff_id = a_id;
    IF FOUND THEN
        PERFORM check_same(to_jsonb(r), jsonb_build_object('from_agent_id', a_from,
            'to_agent_type', a_type, 'trajectory_id', a_trajectory, 'scope_id', a_scope));
        RETURN a_id;
    END IF;
    IF (SELECT status FROM caliber_trajectory WHERE trajectory_id = a_trajectory FOR SHARE)
        IN ('completed', 'failed') THEN
        PERFORM refuse('55000', 'trajectory');
    END IF;
    INSERT INTO caliber_handoff (handoff_id, from_agent_id, trajectory_id, scope_id, reason,
        to_agent_id, to_agent_type, handoff_notes, next_steps, blockers, open_questions,
        context_snapshot_id, metadata)
    VALUES (new_id, a_from, a_trajectory, a_scope, a_reason, a_to, a_type,
        coalesce(a_handoff_notes, ''), coalesce(a_steps, '{}'), coalesce(a_blockers, '{}'),
        coalesce(a_questions, '{}'), a_snapshot, a_metadata);
    PERFORM tell(a_from, 'handoff', jsonb_build_object('handoff_id', new_id, 'reason', a_reason),
        a_to, a_type, a_trajectory, a_scope);
    RETURN new_id;
END $$;

CREATE FUNCTION lock_handoff(a_id uuid, a_agent uuid) RETURNS caliber_handoff
LANGUAGE plpgsql AS $$
DECLARE
    r caliber_handoff;
BEGIN
    PERFORM need(num_nulls(a_id, a_agent) = 0, 'null');
    SELECT * INTO r FROM caliber_handoff WHERE handoff_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'handoff');
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION twin_handoff_accept(a_id uuid, a_agent uuid)
RETURNS TABLE (handoff caliber_handoff, fence bigint) LANGUAGE plpgsql AS $$
DECLARE
    r caliber_handoff := lock_handoff(a_id, a_agent);
    f bigint;
BEGIN
    IF r.status <> 'initiated' THEN
        PERFORM refuse('55000', 'not initiated');
    END IF;
    PERFORM check_addressed(a_agent, r.to_agent_id, nullif(r.to_agent_type, '*'));
    IF (SELECT status FROM caliber_trajectory WHERE trajectory_id = r.trajectory_id FOR UPDATE)
        IN ('completed', 'failed') THEN
        PERFORM refuse('55000', 'trajectory');
    END IF;
    f := nextval('caliber_fence');
    UPDATE caliber_trajectory t SET agent_id = a_agent, fence = f
    WHERE trajectory_id = r.trajectory_id;
    UPDATE caliber_handoff SET status = 'accepted', to_agent_id = a_agent,
        accepted_at = transaction_timestamp()
    WHERE handoff_id = a_id RETURNING * INTO r;
    RETURN QUERY SELECT r, f;
END $$;

CREATE FUNCTION twin_handoff_complete(a_id uuid, a_agent uuid)
RETURNS caliber_handoff LANGUAGE plpgsql AS $$
DECLARE
    r caliber_handoff := lock_handoff(a_id, a_agent);
BEGIN
    IF r.to_agent_id IS DISTINCT FROM a_agent OR r.status <> 'accepted' THEN
        PERFORM refuse('55000', 'complete');
    END IF;
    UPDATE caliber_handoff SET status = 'completed', completed_at = transaction_timestamp()
    WHERE handoff_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;

CREATE FUNCTION twin_handoff_reject(a_id uuid, a_agent uuid, a_reason text)
RETURNS caliber_handoff LANGUAGE plpgsql AS $$
DECLARE
    r caliber_handoff := lock_handoff(a_id, a_agent);
BEGIN
    IF r.status <> 'initiated' THEN
        PERFORM refuse('55000', 'not initiated');
    END IF;
    PERFORM check_addressed(a_agent, r.to_agent_id, nullif(r.to_agent_type, '*'));
    UPDATE caliber_handoff SET status = 'rejected'
    WHERE handoff_id = a_id RETURNING * INTO r;
    PERFORM tell(a_agent, 'handoff', jsonb_build_object(
            'handoff_id', a_id, 'status', 'rejected', 'reason', a_reason),
        r.from_agent_id, NULL, r.trajectory_id, r.scope_id);
    RETURN r;
END $$;

-- Conflicts.

CREATE FUNCTION twin_conflict_create(
    a_type caliber_conflict_conflict_type, a_a_type text, a_a uuid, a_b_type text, a_b uuid,
    a_agent_a uuid, a_agent_b uuid, a_trajectory uuid, a_metadata jsonb, a_id uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid := coalesce(a_id, caliber_new_id());
    r caliber_conflict;
BEGIN
    PERFORM check_id(a_id);
    SELECT * INTO r FROM caliber_conflict WHERE conflict_id = a_id;
    IF FOUND THEN
        PERFORM check_same(to_jsonb(r), jsonb_build_object('item_a_type', a_a_type,
            'item_a_id', a_a, 'item_b_type', a_b_type, 'item_b_id', a_b));
        RETURN a_id;
    END IF;
    INSERT INTO caliber_conflict (conflict_id, conflict_type, item_a_type, item_a_id, item_b_type,
        item_b_id, agent_a_id, agent_b_id, trajectory_id, metadata)
    VALUES (new_id, a_type, a_a_type, a_a, a_b_type, a_b, a_agent_a, a_agent_b, a_trajectory,
        a_metadata);
    RETURN new_id;
END $$;

CREATE FUNCTION twin_conflict_resolve(
    a_id uuid, a_strategy caliber_conflict_strategy, a_winner uuid, a_reason text, a_by uuid,
    a_version bigint)
RETURNS caliber_conflict LANGUAGE plpgsql AS $$
DECLARE
    r caliber_conflict;
    kind text;
    won uuid := a_winner;
    lost uuid;
    items jsonb := '{}';
    one jsonb;
    two jsonb;
BEGIN
    PERFORM need(a_id IS NOT NULL, 'id');
    PERFORM need(a_strategy IS NOT NULL, 'strategy');
    SELECT * INTO r FROM caliber_conflict WHERE conflict_id = a_id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('P0002', 'conflict');
    END IF;
    IF r.status = 'resolved' THEN
        PERFORM refuse('55000', 'resolved');
    END IF;
    IF r.item_a_type = r.item_b_type AND r.item_a_type IN ('artifact', 'note')
        AND a_strategy <> 'escalate'
    THEN
        kind := r.item_a_type;
    END IF;
    IF kind IS NOT NULL THEN
        EXECUTE format('SELECT to_jsonb(t) FROM caliber_%1$s t WHERE %1$s_id = $1 FOR UPDATE', kind)
        INTO one USING r.item_a_id;
        EXECUTE format('SELECT to_jsonb(t) FROM caliber_%1$s t WHERE %1$s_id = $1 FOR UPDATE', kind)
        INTO two USING r.item_b_id;
        IF one IS NULL OR two IS NULL THEN
            PERFORM refuse('P0002', 'item');
        END IF;
    END IF;
    PERFORM check_version(r.version, a_version);
    PERFORM need(a_winner IS NULL OR a_strategy NOT IN ('reject_both', 'escalate'), 'winner');
    IF a_strategy NOT IN ('reject_both', 'escalate') THEN
        PERFORM need(won IS NOT NULL OR kind IS NOT NULL AND a_strategy <> 'merge'
            AND (kind = 'artifact' OR a_strategy <> 'highest_confidence'), 'winner');
        PERFORM need(won IS NULL OR won IN (r.item_a_id, r.item_b_id)
            OR a_strategy = 'merge', 'winner');
    END IF;
    IF kind IS NOT NULL THEN
        IF won IS NULL AND a_strategy NOT IN ('reject_both', 'escalate') THEN
            SELECT id INTO won
            FROM (VALUES (r.item_a_id, one), (r.item_b_id, two)) AS item (id, i)
            ORDER BY
                CASE a_strategy WHEN 'last_write_wins' THEN i ->> 'updated_at' END::timestamptz
                    DESC NULLS LAST,
                CASE a_strategy WHEN 'first_write_wins' THEN i ->> 'created_at' END::timestamptz,
                CASE a_strategy WHEN 'highest_confidence' THEN i ->> 'confidence' END::real
                    DESC NULLS LAST,
                id DESC
            LIMIT 1;
        END IF;
    END IF;
    IF a_strategy NOT IN ('reject_both', 'escalate') THEN
        lost := CASE won WHEN r.item_a_id THEN r.item_b_id WHEN r.item_b_id THEN r.item_a_id END;
        IF kind IS NOT NULL THEN
            IF won IS DISTINCT FROM r.item_a_id THEN
                EXECUTE format('SELECT twin_%s_supersede($1, $2)', kind) USING r.item_a_id, won;
            END IF;
            IF won IS DISTINCT FROM r.item_b_id THEN
                EXECUTE format('SELECT twin_%s_supersede($1, $2)', kind) USING r.item_b_id, won;
            END IF;
        END IF;
    ELSIF a_strategy = 'reject_both' AND kind IS NOT NULL THEN
        EXECUTE format(
            'UPDATE caliber_%1$s SET expires_at = least(transaction_timestamp(), expires_at)
             WHERE %1$s_id IN ($1, $2)', kind) USING r.item_a_id, r.item_b_id;
    END IF;
    UPDATE caliber_conflict SET
        status = CASE a_strategy WHEN 'escalate' THEN 'escalated' ELSE 'resolved' END::caliber_conflict_status,
        resolved_at = CASE a_strategy WHEN 'escalate' THEN NULL ELSE transaction_timestamp() END,
        resolution = jsonb_strip_nulls(jsonb_build_object('strategy', a_strategy, 'winner', won,
            'loser', lost, 'reason', a_reason, 'resolved_by', a_by))
    WHERE conflict_id = a_id RETURNING * INTO r;
    RETURN r;
END $$;
