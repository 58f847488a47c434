-- Rows with histories: versions, times, states and counters that no insert starts with.
INSERT INTO caliber_agent (agent_id, agent_type, capabilities, last_heartbeat, metadata, created_at, updated_at,
    version)
SELECT v.id::uuid, v.type, '{a,b}', '2024-01-02', '{"k": 1}', '2024-01-01 00:00:00.123456+00',
       '2024-01-02 00:00:00.654321+00', 5
FROM (VALUES
    ('01900000-0000-7000-8000-0000000000a1', 'coder'),
    ('01900000-0000-7000-8000-0000000000a2', 'tester'),
    ('01900000-0000-7000-8000-0000000000a3', 'helper')
) v (id, type);
INSERT INTO caliber_trajectory (trajectory_id, name, description, status, parent_trajectory_id,
    root_trajectory_id, agent_id, fence, outcome, completed_at, metadata, created_at, updated_at, version)
SELECT v.id::uuid, v.name, 'about ' || v.name, v.status::caliber_trajectory_status, v.parent::uuid, v.root::uuid,
       '01900000-0000-7000-8000-0000000000a1', 7, jsonb_build_object('of', v.name), v.completed::timestamptz,
       '{"k": 1}', '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
FROM (VALUES
    ('01900000-0000-7000-8000-000000000001', 'active', 'active', NULL,
     '01900000-0000-7000-8000-000000000001', NULL),
    ('01900000-0000-7000-8000-000000000002', 'completed', 'completed', NULL,
     '01900000-0000-7000-8000-000000000002', '2024-01-02'),
    ('01900000-0000-7000-8000-000000000003', 'failed', 'failed', NULL,
     '01900000-0000-7000-8000-000000000003', '2024-01-03'),
    ('01900000-0000-7000-8000-000000000004', 'child', 'suspended',
     '01900000-0000-7000-8000-000000000001', '01900000-0000-7000-8000-000000000001', NULL)
) v (id, name, status, parent, root, completed);
INSERT INTO caliber_scope (scope_id, trajectory_id, parent_scope_id, name, purpose, is_active, token_budget,
    tokens_used, turn_count, fence, checkpoint, closed_at, metadata, created_at, updated_at, version)
SELECT v.id::uuid, '01900000-0000-7000-8000-000000000001', v.parent::uuid, v.name, repeat(v.name, 3000),
       v.closed IS NULL, v.budget, 10, 3, 7, jsonb_build_object('of', v.name), v.closed::timestamptz, NULL,
       '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
FROM (VALUES
    ('01900000-0000-7000-8000-000000000011', 'open', NULL, NULL, 100),
    ('01900000-0000-7000-8000-000000000012', 'closed', NULL, '2024-01-03', 200),
    ('01900000-0000-7000-8000-000000000013', 'inner', '01900000-0000-7000-8000-000000000011', NULL, 300)
) v (id, name, parent, closed, budget);
INSERT INTO caliber_turn (turn_id, scope_id, sequence, role, content, token_count, tool_calls, tool_results,
    created_at, metadata)
VALUES ('01900000-0000-7000-8000-000000000021', '01900000-0000-7000-8000-000000000011', 0, 'user',
        repeat('long ', 5000), 3, '[]', '{}', '2024-01-01 00:00:00.123456+00', '{"k": 1}'),
       ('01900000-0000-7000-8000-000000000022', '01900000-0000-7000-8000-000000000011', 1, 'tool',
        'naïve ☃', 3, '[1]', '{"r": 1}', '2024-01-01 00:00:00.123457+00', '{"k": 2}');
INSERT INTO caliber_artifact (artifact_id, trajectory_id, scope_id, artifact_type, name, content, embedding,
    source_turn, confidence, expires_at, superseded_by, metadata, created_at, updated_at, version)
SELECT v.id::uuid, '01900000-0000-7000-8000-000000000001', '01900000-0000-7000-8000-000000000011', 'fact',
       v.name, v.name || ' ☃', '[1,2,3,4,5,6,7,8]', 1, 0.25, '2030-01-01', v.by::uuid, '{"k": 1}',
       '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
FROM (VALUES
    ('01900000-0000-7000-8000-000000000031', 'new', NULL),
    ('01900000-0000-7000-8000-000000000032', 'old', '01900000-0000-7000-8000-000000000031'),
    ('01900000-0000-7000-8000-000000000033', 'other', NULL)
) v (id, name, by);
INSERT INTO caliber_note (note_id, note_type, title, content, embedding, source_trajectory_ids, expires_at,
    superseded_by, accessed_at, access_count, metadata, created_at, updated_at, version)
SELECT v.id::uuid, 'fact', v.name, v.name || ' ☃', '[1,2,3,4,5,6,7,8]',
       '{01900000-0000-7000-8000-000000000001}', '2030-01-01', v.by::uuid, '2024-01-02', 3, '{"k": 1}',
       '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
FROM (VALUES
    ('01900000-0000-7000-8000-000000000041', 'new', NULL),
    ('01900000-0000-7000-8000-000000000042', 'old', '01900000-0000-7000-8000-000000000041'),
    ('01900000-0000-7000-8000-000000000043', 'other', NULL)
) v (id, name, by);
INSERT INTO caliber_lock (lock_id, resource_type, resource_id, holder_agent_id, mode, fence, acquired_at,
    expires_at, metadata, created_at, updated_at, version)
VALUES ('01900000-0000-7000-8000-000000000051', 'trajectory', '01900000-0000-7000-8000-000000000001',
        '01900000-0000-7000-8000-0000000000a1', 'exclusive', 7, '2024-01-02', '2030-01-01', '{"k": 1}',
        '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5);
INSERT INTO caliber_message (message_id, from_agent_id, to_agent_id, to_agent_type, message_type, payload,
    trajectory_id, scope_id, artifact_ids, status, visible_at, delivery_count, claimed_by, broadcast_id,
    expires_at, delivered_at, acknowledged_at, metadata, created_at, updated_at, version)
SELECT v.id::uuid, '01900000-0000-7000-8000-0000000000a1', v.agent::uuid, v.type, 'note', '{"k": 1}',
       '01900000-0000-7000-8000-000000000001', '01900000-0000-7000-8000-000000000011',
       '{01900000-0000-7000-8000-000000000031}', v.status::caliber_message_status, '2024-01-02', 3,
       '01900000-0000-7000-8000-0000000000a3', v.id::uuid, '2030-01-01', '2024-01-02', '2024-01-02',
       '{"k": 1}', '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
FROM (VALUES
    ('01900000-0000-7000-8000-000000000061', '01900000-0000-7000-8000-0000000000a2', NULL, 'pending'),
    ('01900000-0000-7000-8000-000000000062', NULL, 'coder', 'delivered'),
    ('01900000-0000-7000-8000-000000000063', NULL, 'coder', 'acknowledged'),
    ('01900000-0000-7000-8000-000000000064', '01900000-0000-7000-8000-0000000000a2', NULL, 'dead')
) v (id, agent, type, status);
INSERT INTO caliber_delegation (delegation_id, delegator_agent_id, delegatee_agent_id, delegatee_agent_type,
    task_description, parent_trajectory_id, child_trajectory_id, shared_artifacts, shared_notes,
    additional_context, constraints, deadline, status, result, accepted_at, completed_at, metadata, created_at,
    updated_at, version)
SELECT ('01900000-0000-7000-8000-00000000007' || n)::uuid, '01900000-0000-7000-8000-0000000000a1',
       '01900000-0000-7000-8000-0000000000a2', 'tester', 'task', '01900000-0000-7000-8000-000000000001',
       '01900000-0000-7000-8000-000000000004', '{01900000-0000-7000-8000-000000000031}',
       '{01900000-0000-7000-8000-000000000041}', 'context', '{"k": 1}', '2030-01-01', status,
       '{"k": 1}', '2024-01-02', '2024-01-02', '{"k": 1}', '2024-01-01 00:00:00.123456+00',
       '2024-01-02 00:00:00.654321+00', 5
FROM unnest(enum_range(NULL::caliber_delegation_status)) WITH ORDINALITY v (status, n);
INSERT INTO caliber_handoff (handoff_id, from_agent_id, to_agent_id, to_agent_type, trajectory_id, scope_id,
    context_snapshot_id, handoff_notes, next_steps, blockers, open_questions, reason, status, initiated_at,
    accepted_at, completed_at, metadata, created_at, updated_at, version)
SELECT ('01900000-0000-7000-8000-00000000008' || n)::uuid, '01900000-0000-7000-8000-0000000000a1',
       '01900000-0000-7000-8000-0000000000a2', 'tester', '01900000-0000-7000-8000-000000000001',
       '01900000-0000-7000-8000-000000000011', '01900000-0000-7000-8000-0000000000f1', 'notes', '{a}', '{b}',
       '{c}', 'escalation', status, '2024-01-02', '2024-01-02', '2024-01-02', '{"k": 1}',
       '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
FROM unnest(enum_range(NULL::caliber_handoff_status)) WITH ORDINALITY v (status, n);
INSERT INTO caliber_conflict (conflict_id, conflict_type, item_a_type, item_a_id, item_b_type, item_b_id,
    agent_a_id, agent_b_id, trajectory_id, status, resolution, detected_at, resolved_at, metadata, created_at,
    updated_at, version)
SELECT ('01900000-0000-7000-8000-00000000009' || n)::uuid, 'goal_conflict', 'artifact',
       '01900000-0000-7000-8000-000000000031', 'note', '01900000-0000-7000-8000-000000000041',
       '01900000-0000-7000-8000-0000000000a1', '01900000-0000-7000-8000-0000000000a2',
       '01900000-0000-7000-8000-000000000001', status, '{"k": 1}', '2024-01-02', '2024-01-02',
       '{"k": 1}', '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
FROM unnest(enum_range(NULL::caliber_conflict_status)) WITH ORDINALITY v (status, n);
