-- What a user would write in PL/pgSQL instead of calling the API: static SQL on the heap tables.

CREATE FUNCTION peer.turn_get(p_id uuid) RETURNS peer.caliber_turn
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found_row peer.caliber_turn;
BEGIN
    SELECT * INTO found_row FROM peer.caliber_turn WHERE turn_id = p_id;
    RETURN found_row;
END
$$;

CREATE FUNCTION peer.turn_list(p_scope_id uuid) RETURNS SETOF peer.caliber_turn
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
        SELECT * FROM peer.caliber_turn
        WHERE scope_id = p_scope_id AND sequence > -1
        ORDER BY sequence LIMIT 100;
END
$$;

-- Budget, state and sequence in the one UPDATE that locks the scope.
CREATE FUNCTION peer.turn_create(p_scope_id uuid, p_role caliber_turn_role, p_content text, p_tokens int)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    next_sequence int;
    new_id uuid;
BEGIN
    UPDATE peer.caliber_scope
    SET tokens_used = tokens_used + p_tokens, turn_count = turn_count + 1
    WHERE scope_id = p_scope_id AND is_active AND tokens_used + p_tokens <= token_budget
    RETURNING turn_count - 1 INTO next_sequence;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'scope % is unknown, closed or full', p_scope_id;
    END IF;
    INSERT INTO peer.caliber_turn (scope_id, sequence, role, content, token_count)
    VALUES (p_scope_id, next_sequence, p_role, p_content, p_tokens)
    RETURNING turn_id INTO new_id;
    RETURN new_id;
END
$$;

CREATE FUNCTION peer.turn_append_many(p_scope_id uuid, p_messages jsonb)
RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    messages int := jsonb_array_length(p_messages);
    tokens int;
    next_sequence int;
BEGIN
    SELECT sum((octet_length(m ->> 'content') + 3) / 4) INTO tokens
    FROM jsonb_array_elements(p_messages) m;
    UPDATE peer.caliber_scope
    SET tokens_used = tokens_used + tokens, turn_count = turn_count + messages
    WHERE scope_id = p_scope_id AND is_active AND tokens_used + tokens <= token_budget
    RETURNING turn_count - messages INTO next_sequence;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'scope % is unknown, closed or full', p_scope_id;
    END IF;
    RETURN QUERY
        INSERT INTO peer.caliber_turn (scope_id, sequence, role, content, token_count, metadata)
        SELECT p_scope_id, next_sequence + (n - 1)::int, (m ->> 'role')::caliber_turn_role,
               m ->> 'content', (octet_length(m ->> 'content') + 3) / 4,
               nullif(m - 'role' - 'content', '{}')
        FROM jsonb_array_elements(p_messages) WITH ORDINALITY AS x (m, n)
        RETURNING turn_id;
END
$$;

CREATE FUNCTION peer.set_status(p_id uuid, p_status caliber_trajectory_status)
RETURNS peer.caliber_trajectory LANGUAGE plpgsql AS $$
DECLARE
    new_row peer.caliber_trajectory;
BEGIN
    UPDATE peer.caliber_trajectory
    SET status = p_status,
        completed_at = CASE WHEN p_status IN ('completed', 'failed') THEN now() END,
        updated_at = now(), version = version + 1
    WHERE trajectory_id = p_id AND status IN ('active', 'suspended')
    RETURNING * INTO new_row;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'trajectory % is unknown or at its end', p_id;
    END IF;
    RETURN new_row;
END
$$;

CREATE FUNCTION peer.heartbeat(p_id uuid) RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    beat timestamptz;
BEGIN
    UPDATE peer.caliber_agent SET last_heartbeat = clock_timestamp() WHERE agent_id = p_id
    RETURNING last_heartbeat INTO beat;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'agent % is unknown', p_id;
    END IF;
    RETURN beat;
END
$$;

-- An advisory lock decides between two who want the resource at once.
CREATE FUNCTION peer.lock_acquire(p_agent uuid, p_type text, p_resource uuid, p_ttl interval)
RETURNS peer.caliber_lock LANGUAGE plpgsql AS $$
DECLARE
    lease peer.caliber_lock;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended(p_type || p_resource::text, 0)) THEN
        RETURN NULL;
    END IF;
    IF EXISTS (
        SELECT FROM peer.caliber_lock
        WHERE resource_type = p_type AND resource_id = p_resource
          AND holder_agent_id <> p_agent AND expires_at > clock_timestamp())
    THEN
        RETURN NULL;
    END IF;
    UPDATE peer.caliber_lock
    SET fence = nextval('peer.caliber_fence'), acquired_at = clock_timestamp(),
        expires_at = clock_timestamp() + p_ttl, updated_at = now(), version = version + 1
    WHERE resource_type = p_type AND resource_id = p_resource AND holder_agent_id = p_agent
    RETURNING * INTO lease;
    IF NOT FOUND THEN
        INSERT INTO peer.caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
        VALUES (p_type, p_resource, p_agent, 'exclusive', clock_timestamp() + p_ttl)
        RETURNING * INTO lease;
    END IF;
    RETURN lease;
END
$$;

CREATE FUNCTION peer.lock_release(p_id uuid, p_fence bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM peer.caliber_lock WHERE lock_id = p_id AND fence = p_fence;
    RETURN FOUND;
END
$$;

CREATE FUNCTION peer.message_send(p_from uuid, p_type text, p_payload jsonb, p_to uuid)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    new_id uuid;
BEGIN
    INSERT INTO peer.caliber_message (from_agent_id, to_agent_id, message_type, payload)
    VALUES (p_from, p_to, p_type, p_payload)
    RETURNING message_id INTO new_id;
    PERFORM pg_notify('peer_agent_' || p_to, new_id::text);
    RETURN new_id;
END
$$;

-- One index for each way a message finds its receiver; what others hold is passed over.
CREATE FUNCTION peer.message_receive(p_agent uuid, p_most int, p_visibility interval)
RETURNS SETOF peer.caliber_message LANGUAGE plpgsql AS $$
DECLARE
    kind text;
    right_now timestamptz := clock_timestamp();
BEGIN
    SELECT agent_type INTO kind FROM peer.caliber_agent WHERE agent_id = p_agent;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'agent % is unknown', p_agent;
    END IF;
    RETURN QUERY
        UPDATE peer.caliber_message m
        SET status = 'delivered', visible_at = right_now + p_visibility,
            delivery_count = m.delivery_count + 1, claimed_by = p_agent, delivered_at = right_now,
            updated_at = now(), version = m.version + 1
        FROM (
            SELECT * FROM (
                SELECT message_id, priority, visible_at FROM peer.caliber_message
                WHERE to_agent_id = p_agent AND status IN ('pending', 'delivered')
                  AND visible_at <= right_now AND delivery_count < max_deliveries
                  AND (expires_at IS NULL OR expires_at > right_now)
                ORDER BY priority DESC, visible_at, message_id LIMIT p_most
                FOR NO KEY UPDATE SKIP LOCKED) to_agent
            UNION ALL
            SELECT * FROM (
                SELECT message_id, priority, visible_at FROM peer.caliber_message
                WHERE to_agent_type = kind AND status IN ('pending', 'delivered')
                  AND visible_at <= right_now AND delivery_count < max_deliveries
                  AND (expires_at IS NULL OR expires_at > right_now)
                ORDER BY priority DESC, visible_at, message_id LIMIT p_most
                FOR NO KEY UPDATE SKIP LOCKED) to_type
            ORDER BY priority DESC, visible_at, message_id LIMIT p_most) claimed
        WHERE m.message_id = claimed.message_id
        RETURNING m.*;
END
$$;

CREATE FUNCTION peer.message_acknowledge(p_id uuid, p_agent uuid, p_receipt int)
RETURNS peer.caliber_message LANGUAGE plpgsql AS $$
DECLARE
    new_row peer.caliber_message;
BEGIN
    UPDATE peer.caliber_message
    SET status = 'acknowledged', acknowledged_at = clock_timestamp(),
        updated_at = now(), version = version + 1
    WHERE message_id = p_id AND status = 'delivered' AND claimed_by = p_agent
      AND delivery_count = p_receipt
    RETURNING * INTO new_row;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'message % is not in this delivery', p_id;
    END IF;
    RETURN new_row;
END
$$;
