-- Views for people. Each shows what its reader may see: privileges and policies are the reader's.

CREATE VIEW @schema@.caliber_v_active_trajectories
WITH (security_invoker = true) AS
SELECT t.trajectory_id, t.name, t.status, t.agent_id, a.agent_type, t.parent_trajectory_id,
    pg_catalog.now() - t.created_at AS age,
    s.active_scopes, s.tokens_used, s.token_budget, s.turns
FROM @schema@.caliber_trajectory t
LEFT JOIN @schema@.caliber_agent a ON a.agent_id = t.agent_id
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) FILTER (WHERE c.is_active) AS active_scopes,
        COALESCE(pg_catalog.sum(c.tokens_used), 0) AS tokens_used,
        COALESCE(pg_catalog.sum(c.token_budget), 0) AS token_budget,
        COALESCE(pg_catalog.sum(c.turn_count), 0) AS turns
    FROM @schema@.caliber_scope c
    WHERE c.trajectory_id = t.trajectory_id) s
WHERE t.status IN (
    'active'::@extschema@.caliber_trajectory_status,
    'suspended'::@extschema@.caliber_trajectory_status);

COMMENT ON VIEW @schema@.caliber_v_active_trajectories IS
'Trajectories that are not finished, with what their scopes have used.';

CREATE VIEW @schema@.caliber_v_agent_status
WITH (security_invoker = true) AS
SELECT a.agent_id, a.agent_type, a.status,
    pg_catalog.clock_timestamp() - a.last_heartbeat AS heartbeat_age,
    a.current_trajectory_id,
    (SELECT pg_catalog.count(*) FROM @schema@.caliber_lock l
        WHERE l.holder_agent_id = a.agent_id
            AND l.expires_at > pg_catalog.clock_timestamp()) AS leases,
    (SELECT pg_catalog.count(*) FROM @schema@.caliber_message m
        WHERE m.to_agent_id = a.agent_id
            AND m.status IN (
                'pending'::@extschema@.caliber_message_status,
                'delivered'::@extschema@.caliber_message_status)) AS waiting_messages
FROM @schema@.caliber_agent a;

COMMENT ON VIEW @schema@.caliber_v_agent_status IS
'Agents with the age of their heartbeat, their live leases and the messages waiting for them.';

CREATE VIEW @schema@.caliber_v_pending_work
WITH (security_invoker = true) AS
SELECT 'delegation'::text AS kind, d.delegation_id::uuid AS id, d.status::text AS status,
    d.delegator_agent_id AS from_agent_id, d.delegatee_agent_id AS to_agent_id,
    d.delegatee_agent_type AS to_agent_type, d.parent_trajectory_id AS trajectory_id,
    d.task_description AS summary, d.created_at
FROM @schema@.caliber_delegation d
WHERE d.status = 'pending'::@extschema@.caliber_delegation_status
UNION ALL
SELECT 'handoff', h.handoff_id, h.status::text, h.from_agent_id, h.to_agent_id, h.to_agent_type,
    h.trajectory_id, h.handoff_notes, h.created_at
FROM @schema@.caliber_handoff h
WHERE h.status = 'initiated'::@extschema@.caliber_handoff_status
UNION ALL
SELECT 'message', m.message_id, m.status::text, m.from_agent_id, m.to_agent_id, m.to_agent_type,
    m.trajectory_id, m.message_type, m.created_at
FROM @schema@.caliber_message m
WHERE m.status IN (
    'pending'::@extschema@.caliber_message_status,
    'delivered'::@extschema@.caliber_message_status);

COMMENT ON VIEW @schema@.caliber_v_pending_work IS
'Delegations and handoffs that nobody took yet, and messages not acknowledged yet.';

CREATE VIEW @schema@.caliber_v_unresolved_conflicts
WITH (security_invoker = true) AS
SELECT c.conflict_id, c.conflict_type, c.status, c.item_a_type, c.item_a_id, c.item_b_type,
    c.item_b_id, c.agent_a_id, c.agent_b_id, c.trajectory_id,
    pg_catalog.now() - c.detected_at AS age
FROM @schema@.caliber_conflict c
WHERE c.status <> 'resolved'::@extschema@.caliber_conflict_status;

COMMENT ON VIEW @schema@.caliber_v_unresolved_conflicts IS
'Conflicts that are not resolved, escalated ones too.';
