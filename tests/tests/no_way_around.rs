//! No way around: the rules of all entities hold on every path by which SQL can reach a row, and
//! what is not a user's change keeps rows byte for byte.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::io::{Read, Write};

use caliber_tests::{Db, Schema, Server, assert_sqlstate, lit, psql, show};

/// The tables that the tests fill, each after those that it refers to.
const TABLES: [&str; 11] = [
    "caliber_agent",
    "caliber_trajectory",
    "caliber_scope",
    "caliber_turn",
    "caliber_artifact",
    "caliber_note",
    "caliber_lock",
    "caliber_message",
    "caliber_delegation",
    "caliber_handoff",
    "caliber_conflict",
];

/// Rows with histories: versions, times, states and counters that no insert starts with.
const ROWS: &str = "
    INSERT INTO caliber_agent (agent_id, agent_type, capabilities, last_heartbeat, metadata, created_at, updated_at,
        version)
    SELECT v.id::uuid, v.type, '{a,b}', '2024-01-02', '{\"k\": 1}', '2024-01-01 00:00:00.123456+00',
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
           '{\"k\": 1}', '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
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
            repeat('long ', 5000), 3, '[]', '{}', '2024-01-01 00:00:00.123456+00', '{\"k\": 1}'),
           ('01900000-0000-7000-8000-000000000022', '01900000-0000-7000-8000-000000000011', 1, 'tool',
            'naïve ☃', 3, '[1]', '{\"r\": 1}', '2024-01-01 00:00:00.123457+00', '{\"k\": 2}');
    INSERT INTO caliber_artifact (artifact_id, trajectory_id, scope_id, artifact_type, name, content, embedding,
        source_turn, confidence, expires_at, superseded_by, metadata, created_at, updated_at, version)
    SELECT v.id::uuid, '01900000-0000-7000-8000-000000000001', '01900000-0000-7000-8000-000000000011', 'fact',
           v.name, v.name || ' ☃', '[1,2,3,4,5,6,7,8]', 1, 0.25, '2030-01-01', v.by::uuid, '{\"k\": 1}',
           '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
    FROM (VALUES
        ('01900000-0000-7000-8000-000000000031', 'new', NULL),
        ('01900000-0000-7000-8000-000000000032', 'old', '01900000-0000-7000-8000-000000000031'),
        ('01900000-0000-7000-8000-000000000033', 'other', NULL)
    ) v (id, name, by);
    INSERT INTO caliber_note (note_id, note_type, title, content, embedding, source_trajectory_ids, expires_at,
        superseded_by, accessed_at, access_count, metadata, created_at, updated_at, version)
    SELECT v.id::uuid, 'fact', v.name, v.name || ' ☃', '[1,2,3,4,5,6,7,8]',
           '{01900000-0000-7000-8000-000000000001}', '2030-01-01', v.by::uuid, '2024-01-02', 3, '{\"k\": 1}',
           '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
    FROM (VALUES
        ('01900000-0000-7000-8000-000000000041', 'new', NULL),
        ('01900000-0000-7000-8000-000000000042', 'old', '01900000-0000-7000-8000-000000000041'),
        ('01900000-0000-7000-8000-000000000043', 'other', NULL)
    ) v (id, name, by);
    INSERT INTO caliber_lock (lock_id, resource_type, resource_id, holder_agent_id, mode, fence, acquired_at,
        expires_at, metadata, created_at, updated_at, version)
    VALUES ('01900000-0000-7000-8000-000000000051', 'trajectory', '01900000-0000-7000-8000-000000000001',
            '01900000-0000-7000-8000-0000000000a1', 'exclusive', 7, '2024-01-02', '2030-01-01', '{\"k\": 1}',
            '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5);
    INSERT INTO caliber_message (message_id, from_agent_id, to_agent_id, to_agent_type, message_type, payload,
        trajectory_id, scope_id, artifact_ids, status, visible_at, delivery_count, claimed_by, broadcast_id,
        expires_at, delivered_at, acknowledged_at, metadata, created_at, updated_at, version)
    SELECT v.id::uuid, '01900000-0000-7000-8000-0000000000a1', v.agent::uuid, v.type, 'note', '{\"k\": 1}',
           '01900000-0000-7000-8000-000000000001', '01900000-0000-7000-8000-000000000011',
           '{01900000-0000-7000-8000-000000000031}', v.status::caliber_message_status, '2024-01-02', 3,
           '01900000-0000-7000-8000-0000000000a3', v.id::uuid, '2030-01-01', '2024-01-02', '2024-01-02',
           '{\"k\": 1}', '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
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
           '{01900000-0000-7000-8000-000000000041}', 'context', '{\"k\": 1}', '2030-01-01', status,
           '{\"k\": 1}', '2024-01-02', '2024-01-02', '{\"k\": 1}', '2024-01-01 00:00:00.123456+00',
           '2024-01-02 00:00:00.654321+00', 5
    FROM unnest(enum_range(NULL::caliber_delegation_status)) WITH ORDINALITY v (status, n);
    INSERT INTO caliber_handoff (handoff_id, from_agent_id, to_agent_id, to_agent_type, trajectory_id, scope_id,
        context_snapshot_id, handoff_notes, next_steps, blockers, open_questions, reason, status, initiated_at,
        accepted_at, completed_at, metadata, created_at, updated_at, version)
    SELECT ('01900000-0000-7000-8000-00000000008' || n)::uuid, '01900000-0000-7000-8000-0000000000a1',
           '01900000-0000-7000-8000-0000000000a2', 'tester', '01900000-0000-7000-8000-000000000001',
           '01900000-0000-7000-8000-000000000011', '01900000-0000-7000-8000-0000000000f1', 'notes', '{a}', '{b}',
           '{c}', 'escalation', status, '2024-01-02', '2024-01-02', '2024-01-02', '{\"k\": 1}',
           '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
    FROM unnest(enum_range(NULL::caliber_handoff_status)) WITH ORDINALITY v (status, n);
    INSERT INTO caliber_conflict (conflict_id, conflict_type, item_a_type, item_a_id, item_b_type, item_b_id,
        agent_a_id, agent_b_id, trajectory_id, status, resolution, detected_at, resolved_at, metadata, created_at,
        updated_at, version)
    SELECT ('01900000-0000-7000-8000-00000000009' || n)::uuid, 'goal_conflict', 'artifact',
           '01900000-0000-7000-8000-000000000031', 'note', '01900000-0000-7000-8000-000000000041',
           '01900000-0000-7000-8000-0000000000a1', '01900000-0000-7000-8000-0000000000a2',
           '01900000-0000-7000-8000-000000000001', status, '{\"k\": 1}', '2024-01-02', '2024-01-02',
           '{\"k\": 1}', '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
    FROM unnest(enum_range(NULL::caliber_conflict_status)) WITH ORDINALITY v (status, n);
";

/// What an update writes into one row: a column and a literal each.
struct Change {
    table: &'static str,
    /// The last digits of the row's key.
    row: &'static str,
    set: &'static [(&'static str, &'static str)],
}

/// A change that a rule refuses.
struct Forbidden {
    change: Change,
    sqlstate: &'static str,
    /// Part of the message.
    says: &'static str,
}

const fn forbidden(
    table: &'static str,
    row: &'static str,
    set: &'static [(&'static str, &'static str)],
    sqlstate: &'static str,
    says: &'static str,
) -> Forbidden {
    Forbidden { change: Change { table, row, set }, sqlstate, says }
}

const FIXED: &str = "is fixed";
const FINAL: &str = "is final in state";
const MOVES: &str = "cannot go from";
const STEP: &str = "rises by exactly one";
const FALLS: &str = "cannot fall";
const APPENDS: &str = "append-only";
const BENT: &str = "is superseded already";

/// A change that a rule refuses with 55000: column and literal, each for itself.
macro_rules! forbid {
    ($table:expr, $row:expr, $says:expr; $($column:ident = $value:expr),+ $(,)?) => {
        [$(forbidden($table, $row, &[(stringify!($column), $value)], "55000", $says)),+]
    };
}

/// Each rule of each entity, at least once.
const FORBIDDEN: &[Forbidden] = {
    const T: &str = "caliber_trajectory";
    const S: &str = "caliber_scope";
    const U: &str = "caliber_turn";
    const NEW_ID: &str = "'01900000-0000-7000-8000-0000000000ff'";
    const OTHER_TRAJECTORY: &str = "'01900000-0000-7000-8000-000000000002'";
    const OTHER_SCOPE: &str = "'01900000-0000-7000-8000-000000000012'";
    const PAST: &str = "'2001-01-01'";
    &[
        forbidden(T, "04", &[("trajectory_id", NEW_ID)], "55000", FIXED),
        forbidden(T, "04", &[("parent_trajectory_id", OTHER_TRAJECTORY)], "55000", FIXED),
        forbidden(T, "04", &[("root_trajectory_id", OTHER_TRAJECTORY)], "55000", FIXED),
        forbidden(T, "01", &[("created_at", PAST)], "55000", FIXED),
        forbidden(T, "01", &[("version", "7")], "55000", STEP),
        forbidden(T, "01", &[("version", "4")], "55000", STEP),
        forbidden(T, "01", &[("name", "'x'"), ("version", "7")], "55000", STEP),
        forbidden(T, "01", &[("name", "'x'"), ("version", "1")], "55000", STEP),
        forbidden(T, "01", &[("name", "'x'"), ("version", "9223372036854775807")], "55000", STEP),
        forbidden(T, "02", &[("status", "'active'"), ("completed_at", "NULL")], "55000", MOVES),
        forbidden(T, "02", &[("status", "'suspended'"), ("completed_at", "NULL")], "55000", MOVES),
        forbidden(T, "02", &[("status", "'failed'")], "55000", MOVES),
        forbidden(T, "03", &[("status", "'active'"), ("completed_at", "NULL")], "55000", MOVES),
        forbidden(T, "03", &[("status", "'completed'")], "55000", MOVES),
        forbidden(T, "02", &[("name", "'x'")], "55000", FINAL),
        forbidden(T, "02", &[("description", "'x'")], "55000", FINAL),
        forbidden(T, "03", &[("outcome", "'{}'")], "55000", FINAL),
        forbidden(T, "03", &[("completed_at", PAST)], "55000", FINAL),
        forbidden(
            T,
            "02",
            &[("agent_id", "'01900000-0000-7000-8000-0000000000a2'")],
            "55000",
            FINAL,
        ),
        forbidden(T, "02", &[("fence", "8")], "55000", FINAL),
        forbidden(T, "02", &[("metadata", "'{}'"), ("name", "'x'")], "55000", FINAL),
        forbidden(T, "02", &[("metadata", "'{}'"), ("version", "8")], "55000", STEP),
        forbidden(T, "01", &[("fence", "6")], "55006", FALLS),
        forbidden(T, "01", &[("fence", "-1"), ("name", "'x'")], "55006", FALLS),
        forbidden(S, "13", &[("scope_id", NEW_ID)], "55000", FIXED),
        forbidden(S, "11", &[("trajectory_id", OTHER_TRAJECTORY)], "55000", FIXED),
        forbidden(S, "13", &[("parent_scope_id", OTHER_SCOPE)], "55000", FIXED),
        forbidden(S, "13", &[("parent_scope_id", "NULL")], "55000", FIXED),
        forbidden(S, "11", &[("created_at", PAST)], "55000", FIXED),
        forbidden(S, "11", &[("version", "7")], "55000", STEP),
        forbidden(S, "11", &[("purpose", "NULL"), ("version", "4")], "55000", STEP),
        forbidden(S, "11", &[("tokens_used", "11"), ("version", "7")], "55000", STEP),
        forbidden(S, "12", &[("is_active", "true"), ("closed_at", "NULL")], "55000", MOVES),
        forbidden(S, "12", &[("name", "'x'")], "55000", FINAL),
        forbidden(S, "12", &[("purpose", "'x'")], "55000", FINAL),
        forbidden(S, "12", &[("token_budget", "1000")], "55000", FINAL),
        forbidden(S, "12", &[("checkpoint", "'{}'")], "55000", FINAL),
        forbidden(S, "12", &[("closed_at", PAST)], "55000", FINAL),
        forbidden(S, "12", &[("tokens_used", "11")], "55000", FINAL),
        forbidden(S, "12", &[("turn_count", "4")], "55000", FINAL),
        forbidden(S, "12", &[("fence", "8")], "55000", FINAL),
        forbidden(S, "11", &[("tokens_used", "9")], "55000", FALLS),
        forbidden(S, "11", &[("turn_count", "0")], "55000", FALLS),
        forbidden(S, "11", &[("fence", "6")], "55006", FALLS),
        forbidden(U, "21", &[("turn_id", NEW_ID)], "55000", APPENDS),
        forbidden(U, "21", &[("scope_id", OTHER_SCOPE)], "55000", APPENDS),
        forbidden(U, "21", &[("sequence", "9")], "55000", APPENDS),
        forbidden(U, "21", &[("role", "'system'")], "55000", APPENDS),
        forbidden(U, "21", &[("content", "'x'")], "55000", APPENDS),
        forbidden(U, "22", &[("content", "'naïve ☃'")], "55000", APPENDS),
        forbidden(U, "21", &[("token_count", "4")], "55000", APPENDS),
        forbidden(U, "21", &[("tool_calls", "NULL")], "55000", APPENDS),
        forbidden(U, "21", &[("tool_results", "NULL")], "55000", APPENDS),
        forbidden(U, "21", &[("created_at", PAST)], "55000", APPENDS),
        forbidden(U, "21", &[("metadata", "NULL")], "55000", APPENDS),
    ]
};

/// As [`FORBIDDEN`], for the entities whose every rule is refused with 55000; a lock's fence alone
/// is refused otherwise.
const FORBIDDEN_ELSEWHERE: &[&[Forbidden]] = {
    const A: &str = "caliber_artifact";
    const N: &str = "caliber_note";
    const G: &str = "caliber_agent";
    const L: &str = "caliber_lock";
    const M: &str = "caliber_message";
    const D: &str = "caliber_delegation";
    const H: &str = "caliber_handoff";
    const C: &str = "caliber_conflict";
    const NEW_ID: &str = "'01900000-0000-7000-8000-0000000000ff'";
    const NEW_IDS: &str = "'{01900000-0000-7000-8000-0000000000ff}'";
    const TRAJECTORY: &str = "'01900000-0000-7000-8000-000000000002'";
    const SCOPE: &str = "'01900000-0000-7000-8000-000000000012'";
    const AGENT: &str = "'01900000-0000-7000-8000-0000000000a2'";
    const ANOTHER: &str = "'01900000-0000-7000-8000-0000000000a3'";
    const PAST: &str = "'2001-01-01'";
    &[
        &forbid!(A, "31", FIXED; artifact_id = NEW_ID, trajectory_id = TRAJECTORY, scope_id = SCOPE,
            created_at = PAST),
        &forbid!(A, "31", STEP; version = "4", version = "7"),
        &forbid!(A, "32", BENT; superseded_by = "'01900000-0000-7000-8000-000000000033'"),
        &forbid!(N, "41", FIXED; note_id = NEW_ID, created_at = PAST),
        &forbid!(N, "41", STEP; version = "4", version = "7"),
        &forbid!(N, "42", BENT; superseded_by = "'01900000-0000-7000-8000-000000000043'"),
        &forbid!(G, "a1", FIXED; agent_id = NEW_ID, created_at = PAST),
        &forbid!(G, "a1", STEP; version = "4", version = "7"),
        &[forbidden(G, "a1", &[("last_heartbeat", PAST), ("version", "7")], "55000", STEP)],
        &forbid!(L, "51", FIXED; lock_id = NEW_ID, holder_agent_id = AGENT, mode = "'shared'",
            created_at = PAST),
        &forbid!(L, "51", STEP; version = "4", version = "7"),
        &[
            forbidden(L, "51", &[("fence", "6")], "55006", FALLS),
            forbidden(L, "51", &[("fence", "0"), ("expires_at", "'2031-01-01'")], "55006", FALLS),
        ],
        &forbid!(M, "61", FIXED; message_id = NEW_ID, from_agent_id = AGENT, to_agent_id = ANOTHER,
            to_agent_id = "NULL", message_type = "'x'", payload = "'{}'", artifact_ids = NEW_IDS,
            broadcast_id = NEW_ID, broadcast_id = "NULL", created_at = PAST),
        &forbid!(M, "62", FIXED; to_agent_type = "'x'", to_agent_type = "NULL"),
        &forbid!(M, "61", STEP; version = "4", version = "7"),
        &forbid!(M, "61", MOVES; status = "'acknowledged'"),
        &forbid!(M, "63", MOVES; status = "'pending'", status = "'delivered'", status = "'dead'"),
        &forbid!(M, "64", MOVES; status = "'delivered'", status = "'acknowledged'"),
        &forbid!(M, "63", FINAL; trajectory_id = TRAJECTORY, scope_id = SCOPE, priority = "'low'",
            visible_at = PAST, delivery_count = "4", max_deliveries = "9", claimed_by = AGENT,
            expires_at = PAST, expires_at = "NULL", delivered_at = PAST, acknowledged_at = PAST),
        &[forbidden(M, "63", &[("metadata", "'{}'"), ("priority", "'high'")], "55000", FINAL)],
        &forbid!(D, "71", FIXED; delegation_id = NEW_ID, delegator_agent_id = AGENT,
            delegatee_agent_type = "'x'", delegatee_agent_type = "NULL", task_description = "'x'",
            parent_trajectory_id = TRAJECTORY, created_at = PAST),
        &forbid!(D, "72", STEP; version = "4", version = "7"),
        &forbid!(D, "71", MOVES; status = "'in_progress'", status = "'completed'"),
        &forbid!(D, "72", MOVES; status = "'pending'", status = "'rejected'"),
        &forbid!(D, "73", MOVES; status = "'pending'", status = "'accepted'", status = "'rejected'"),
        &forbid!(D, "74", MOVES; status = "'pending'", status = "'accepted'", status = "'in_progress'",
            status = "'completed'", status = "'failed'"),
        &forbid!(D, "75", MOVES; status = "'pending'", status = "'accepted'", status = "'in_progress'",
            status = "'rejected'", status = "'failed'"),
        &forbid!(D, "76", MOVES; status = "'pending'", status = "'accepted'", status = "'in_progress'",
            status = "'rejected'", status = "'completed'"),
        &forbid!(D, "74", FINAL; delegatee_agent_id = ANOTHER, additional_context = "'x'"),
        &forbid!(D, "75", FINAL; child_trajectory_id = TRAJECTORY, shared_artifacts = NEW_IDS,
            shared_notes = NEW_IDS, constraints = "'{}'", deadline = PAST, result = "'{}'",
            accepted_at = PAST),
        &forbid!(D, "76", FINAL; result = "'{}'", completed_at = PAST),
        &forbid!(H, "81", FIXED; handoff_id = NEW_ID, from_agent_id = AGENT, to_agent_type = "'x'",
            to_agent_type = "NULL", trajectory_id = TRAJECTORY, scope_id = SCOPE, created_at = PAST),
        &forbid!(H, "82", STEP; version = "4", version = "7"),
        &forbid!(H, "81", MOVES; status = "'completed'"),
        &forbid!(H, "82", MOVES; status = "'initiated'", status = "'rejected'"),
        &forbid!(H, "83", MOVES; status = "'initiated'", status = "'accepted'", status = "'completed'"),
        &forbid!(H, "84", MOVES; status = "'initiated'", status = "'accepted'", status = "'rejected'"),
        &forbid!(H, "83", FINAL; to_agent_id = ANOTHER, context_snapshot_id = NEW_ID,
            handoff_notes = "'x'", next_steps = "'{}'", blockers = "'{}'"),
        &forbid!(H, "84", FINAL; open_questions = "'{}'", reason = "'failure'", initiated_at = PAST,
            accepted_at = PAST, completed_at = PAST),
        &forbid!(C, "91", FIXED; conflict_id = NEW_ID, item_a_type = "'x'", item_a_id = NEW_ID,
            item_b_type = "'x'", item_b_id = NEW_ID, created_at = PAST),
        &forbid!(C, "92", STEP; version = "4", version = "7"),
        &forbid!(C, "92", MOVES; status = "'detected'"),
        &forbid!(C, "93", MOVES; status = "'detected'", status = "'resolving'", status = "'escalated'"),
        &forbid!(C, "94", MOVES; status = "'detected'"),
        &forbid!(C, "93", FINAL; conflict_type = "'contradicting_fact'", agent_a_id = ANOTHER,
            agent_b_id = ANOTHER, trajectory_id = TRAJECTORY, resolution = "'{}'", detected_at = PAST,
            resolved_at = PAST),
    ]
};

/// All that is forbidden.
fn all_forbidden() -> impl Iterator<Item = &'static Forbidden> {
    FORBIDDEN.iter().chain(FORBIDDEN_ELSEWHERE.iter().copied().flatten())
}

/// Updates that raise the version.
const MAJOR: &[Change] = &[
    Change { table: "caliber_trajectory", row: "01", set: &[("name", "'renamed'")] },
    Change { table: "caliber_trajectory", row: "01", set: &[("status", "'suspended'")] },
    Change { table: "caliber_trajectory", row: "02", set: &[("metadata", "'{\"k\": 2}'")] },
    Change {
        table: "caliber_scope",
        row: "11",
        set: &[("token_budget", "1000"), ("tokens_used", "20")],
    },
    Change {
        table: "caliber_scope",
        row: "11",
        set: &[("is_active", "false"), ("closed_at", "'2024-02-02'")],
    },
    Change { table: "caliber_scope", row: "11", set: &[("purpose", "'x'"), ("version", "6")] },
    Change { table: "caliber_scope", row: "11", set: &[("checkpoint", "NULL")] },
    Change { table: "caliber_artifact", row: "31", set: &[("content", "'naïve ☃'")] },
    Change {
        table: "caliber_artifact",
        row: "31",
        set: &[("superseded_by", "'01900000-0000-7000-8000-000000000033'")],
    },
    Change { table: "caliber_artifact", row: "32", set: &[("superseded_by", "NULL")] },
    Change { table: "caliber_note", row: "41", set: &[("title", "'x'"), ("access_count", "4")] },
    Change { table: "caliber_note", row: "42", set: &[("superseded_by", "NULL")] },
    Change { table: "caliber_agent", row: "a1", set: &[("status", "'offline'")] },
    Change {
        table: "caliber_agent",
        row: "a2",
        set: &[("capabilities", "'{c}'"), ("last_heartbeat", "'2024-03-03'")],
    },
    Change {
        table: "caliber_lock",
        row: "51",
        set: &[("expires_at", "'2031-01-01'"), ("fence", "8")],
    },
    Change {
        table: "caliber_message",
        row: "61",
        set: &[("status", "'delivered'"), ("delivery_count", "4")],
    },
    Change { table: "caliber_message", row: "64", set: &[("status", "'pending'")] },
    Change { table: "caliber_message", row: "63", set: &[("metadata", "'[]'")] },
    Change { table: "caliber_message", row: "63", set: &[("trajectory_id", "NULL")] },
    Change {
        table: "caliber_message",
        row: "63",
        set: &[("claimed_by", "NULL"), ("scope_id", "NULL")],
    },
    Change {
        table: "caliber_delegation",
        row: "71",
        set: &[("status", "'failed'"), ("result", "'{}'")],
    },
    Change { table: "caliber_delegation", row: "75", set: &[("metadata", "'[]'")] },
    Change { table: "caliber_handoff", row: "82", set: &[("status", "'completed'")] },
    Change { table: "caliber_handoff", row: "83", set: &[("metadata", "'[]'")] },
    Change { table: "caliber_conflict", row: "94", set: &[("status", "'resolving'")] },
    Change { table: "caliber_conflict", row: "93", set: &[("metadata", "'[]'")] },
];

/// Updates that do not.
const QUIET: &[Change] = &[
    Change { table: "caliber_trajectory", row: "01", set: &[("fence", "8")] },
    Change { table: "caliber_scope", row: "11", set: &[("tokens_used", "11")] },
    Change {
        table: "caliber_scope",
        row: "11",
        set: &[("turn_count", "4"), ("fence", "9"), ("tokens_used", "10")],
    },
    Change { table: "caliber_scope", row: "11", set: &[("name", "'open'")] },
    Change { table: "caliber_agent", row: "a1", set: &[("last_heartbeat", "'2024-03-03'")] },
    Change {
        table: "caliber_note",
        row: "41",
        set: &[("accessed_at", "'2024-03-03'"), ("access_count", "4")],
    },
    Change { table: "caliber_lock", row: "51", set: &[("fence", "8")] },
    Change { table: "caliber_message", row: "63", set: &[("status", "'acknowledged'")] },
    Change {
        table: "caliber_conflict",
        row: "93",
        set: &[("agent_a_id", "'01900000-0000-7000-8000-0000000000a1'")],
    },
];

impl Change {
    fn key(&self) -> String {
        format!("{}_id", self.table.trim_start_matches("caliber_"))
    }

    fn id(&self) -> String {
        format!("'01900000-0000-7000-8000-0000000000{}'", self.row)
    }

    fn find(&self) -> String {
        format!("{} = {}", self.key(), self.id())
    }

    /// `a = 1, b = 2`
    fn assignments(&self) -> String {
        let list: Vec<_> = self.set.iter().map(|(c, v)| format!("{c} = {v}")).collect();
        list.join(", ")
    }

    fn update(&self) -> String {
        format!("UPDATE {} SET {} WHERE {}", self.table, self.assignments(), self.find())
    }
}

/// The columns of a table with a generated one, without it.
fn written_columns(table: &str) -> Option<&'static str> {
    match table {
        "caliber_artifact" => Some(
            "artifact_id, trajectory_id, scope_id, artifact_type, name, content, embedding, source_turn,
             extraction_method, confidence, expires_at, superseded_by, metadata, created_at, updated_at, version",
        ),
        "caliber_note" => Some(
            "note_id, note_type, title, content, embedding, abstraction_level, source_trajectory_ids,
             source_artifact_ids, source_note_ids, expires_at, superseded_by, accessed_at, access_count, metadata,
             created_at, updated_at, version",
        ),
        _ => None,
    }
}

/// `into` with the columns that can be written, for INSERT and COPY.
fn target(into: &str, table: &str) -> String {
    match written_columns(table) {
        Some(columns) => format!("{into} ({columns})"),
        None => into.to_owned(),
    }
}

/// Inserts the rows of `from` into `into`, which both have the columns of the table.
fn insert_from(into: &str, from: &str, table: &str) -> String {
    let columns = written_columns(table).unwrap_or("*");
    format!("INSERT INTO {} SELECT {columns} FROM {from}", target(into, table))
}

/// A query for all rows of all tables as text, to be read from.
fn all_rows() -> String {
    let rows = TABLES.map(|table| format!("SELECT '{table}' AS of, r::text AS row FROM {table} r"));
    format!("({})", rows.join(" UNION ALL "))
}

/// A way to carry out a change inside of a transaction; none where this way cannot.
type Path = fn(&Change) -> Option<String>;

macro_rules! paths {
    ($($name:ident: $path:expr;)*) => {
        /// All paths, by name.
        const PATHS: &[(&str, Path)] = &[$((stringify!($name), $path)),*];

        mod refused_by {
            $(#[test]
            fn $name() {
                super::every_rule_holds(super::path(stringify!($name)));
            })*
        }

        mod carried_out_by {
            $(#[test]
            fn $name() {
                super::allowed_changes_work(super::path(stringify!($name)));
            })*
        }
    };
}

paths! {
    update: |c| Some(c.update());
    update_from: |c| Some(format!(
        "UPDATE {} t SET {} FROM (VALUES ({}::uuid)) v (id) WHERE v.id = t.{}",
        c.table, c.assignments(), c.id(), c.key()
    ));
    on_conflict: |c| Some(format!(
        "{} WHERE {} ON CONFLICT ({}) DO UPDATE SET {}",
        insert_from(c.table, c.table, c.table), c.find(), c.key(), c.assignments()
    ));
    merge: |c| Some(format!(
        "MERGE INTO {} t USING (VALUES ({}::uuid)) v (id) ON t.{} = v.id
         WHEN MATCHED THEN UPDATE SET {}",
        c.table, c.id(), c.key(), c.assignments()
    ));
    view: |c| Some(format!(
        "CREATE VIEW w AS SELECT * FROM {} WITH CHECK OPTION; UPDATE w SET {} WHERE {}",
        c.table, c.assignments(), c.find()
    ));
    view_on_conflict: |c| Some(format!(
        "CREATE VIEW w AS SELECT * FROM {table};
         {} WHERE {} ON CONFLICT ({}) DO UPDATE SET {}",
        insert_from("w", c.table, c.table), c.find(), c.key(), c.assignments(), table = c.table
    ));
    instead_of_trigger: |c| Some(format!(
        "CREATE VIEW w AS SELECT 1 AS one;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {}; RETURN NEW; END $f$;
         CREATE TRIGGER f INSTEAD OF UPDATE ON w FOR EACH ROW EXECUTE FUNCTION f();
         UPDATE w SET one = 2",
        c.update()
    ));
    cursor: |c| Some(format!(
        "DECLARE c CURSOR FOR SELECT * FROM {table} WHERE {}; FETCH c;
         UPDATE {table} SET {} WHERE CURRENT OF c",
        c.find(), c.assignments(), table = c.table
    ));
    locking_cursor: |c| Some(format!(
        "DECLARE c CURSOR FOR SELECT * FROM {table} WHERE {} FOR UPDATE; FETCH c;
         UPDATE {table} SET {} WHERE CURRENT OF c",
        c.find(), c.assignments(), table = c.table
    ));
    row_address: |c| Some(format!(
        "UPDATE {table} SET {} WHERE ctid = (SELECT ctid FROM {table} WHERE {})",
        c.assignments(), c.find(), table = c.table
    ));
    trigger_of_another_table: |c| Some(format!(
        "CREATE TABLE other (id int);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {}; RETURN NEW; END $f$;
         CREATE TRIGGER f AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION f();
         INSERT INTO other VALUES (1)",
        c.update()
    ));
    before_trigger_of_the_table: |c| {
        let assign: Vec<_> = c.set.iter().map(|(c, v)| format!("NEW.{c} := {v};")).collect();
        Some(format!(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {} RETURN NEW; END $f$;
             CREATE TRIGGER f BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION f();
             UPDATE {table} SET {key} = {key} WHERE {}",
            assign.join(" "), c.find(), table = c.table, key = c.key()
        ))
    };
    rewrite_rule: |c| Some(format!(
        "CREATE TABLE other (id int);
         CREATE RULE r AS ON INSERT TO other DO INSTEAD {};
         INSERT INTO other VALUES (1)",
        c.update()
    ));
    cascade_of_an_update: |c| {
        // A key with a null in it refers to nothing and follows nothing.
        let is_null = [("11", "closed_at"), ("31", "superseded_by")];
        let old_is_null = c.set.iter().any(|(column, _)| is_null.contains(&(c.row, column)));
        let same_value = c.row == "22";
        if old_is_null || same_value {
            return None;
        }
        let key = c.key();
        let columns = c.set.iter().map(|(column, _)| *column).filter(|column| *column != key);
        let columns = std::iter::once(&*key).chain(columns).collect::<Vec<_>>().join(", ");
        Some(format!(
            "CREATE TABLE ref AS SELECT {columns} FROM {table};
             ALTER TABLE ref ADD UNIQUE ({columns});
             ALTER TABLE {table} ADD FOREIGN KEY ({columns}) REFERENCES ref ({columns}) ON UPDATE CASCADE;
             UPDATE ref SET {} WHERE {}",
            c.assignments(), c.find(), table = c.table
        ))
    };
    cascade_of_a_deletion: |c| {
        let [(column, "NULL")] = *c.set else { return None };
        Some(format!(
            "CREATE TABLE ref AS SELECT DISTINCT {column} AS v FROM {table} WHERE {column} IS NOT NULL;
             ALTER TABLE ref ADD PRIMARY KEY (v);
             ALTER TABLE {table} ADD FOREIGN KEY ({column}) REFERENCES ref ON DELETE SET NULL;
             DELETE FROM ref WHERE v = (SELECT {column} FROM {table} WHERE {})",
            c.find(), table = c.table
        ))
    };
    replica_role: |c| Some(format!("SET LOCAL session_replication_role = replica; {}", c.update()));
    disabled_triggers: |c| Some(format!(
        "ALTER TABLE {} DISABLE TRIGGER ALL; {}", c.table, c.update()
    ));
    writable_cte: |c| Some(format!(
        "WITH changed AS ({} RETURNING *) SELECT count(*) FROM changed", c.update()
    ));
    insert_from_an_update: |c| Some(format!(
        "CREATE TABLE other (id uuid);
         WITH changed AS ({} RETURNING {key}) INSERT INTO other SELECT {key} FROM changed",
        c.update(), key = c.key()
    ));
    plpgsql: |c| Some(format!("DO $do$ BEGIN {}; END $do$", c.update()));
    dynamic_sql: |c| Some(format!("DO $do$ BEGIN EXECUTE {}; END $do$", lit(&c.update())));
    sql_function: |c| Some(format!(
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $f$ {} $f$; SELECT f()", c.update()
    ));
    prepared: |c| Some(format!(
        "DEALLOCATE ALL; PREPARE p (uuid) AS UPDATE {} SET {} WHERE {} = $1; EXECUTE p ({})",
        c.table, c.assignments(), c.key(), c.id()
    ));
    copy_of_an_update: |c| Some(format!(
        "COPY ({} RETURNING {}) TO PROGRAM 'cat > /dev/null'", c.update(), c.key()
    ));
    savepoint: |c| Some(format!("SAVEPOINT a; {}; RELEASE a", c.update()));
    locked_row: |c| Some(format!(
        "SELECT FROM {} WHERE {} FOR UPDATE; {}", c.table, c.find(), c.update()
    ));
    // Generated columns would have to be generated by the parent, too.
    inheritance: |c| written_columns(c.table).is_none().then(|| format!(
        "CREATE TABLE parent AS SELECT * FROM {table} WITH NO DATA;
         SET LOCAL session_replication_role = replica;
         ALTER TABLE {table} INHERIT parent;
         UPDATE parent SET {} WHERE {}",
        c.assignments(), c.find(), table = c.table
    ));
    serializable: |c| Some(format!(
        "COMMIT; BEGIN ISOLATION LEVEL SERIALIZABLE; {}", c.update()
    ));
}

fn path(name: &str) -> Path {
    PATHS.iter().find(|(n, _)| *n == name).unwrap().1
}

/// The tables of `caliber_init` with [`ROWS`].
struct Filled {
    db: Db,
    schema: Schema,
}

impl Filled {
    fn new(name: &str) -> Self {
        let schema = Schema::new(name);
        let mut db = schema.connect();
        // The types' names without their schema, on whichever path the extension is.
        db.run(ROWS);
        Self { db, schema }
    }
}

fn every_rule_holds(path: Path) {
    let mut filled = Filled::new("no_way");
    let mut tried = 0;
    let everything = all_rows();
    for rule in all_forbidden() {
        let Some(sql) = path(&rule.change) else { continue };
        let sql = format!("BEGIN; {sql}; COMMIT");
        let error = filled.db.refused_unchanged(&sql, rule.sqlstate, &[&everything]);
        assert!(
            error.message().contains(rule.says),
            "{}: expected a message with {:?}: {sql}",
            error.message(),
            rule.says
        );
        assert!(error.detail().is_some(), "no DETAIL: {sql}");
        tried += 1;
    }
    assert!(tried > 0);
}

fn allowed_changes_work(path: Path) {
    let mut filled = Filled::new("a_way");
    let db = &mut filled.db;
    let mut tried = 0;
    for (change, version) in MAJOR.iter().map(|c| (c, 6)).chain(QUIET.iter().map(|c| (c, 5))) {
        let Some(sql) = path(change) else { continue };
        db.run("BEGIN");
        db.run(&sql);
        let updated_at = if version == 6 {
            "transaction_timestamp()"
        } else {
            "timestamptz '2024-01-02 00:00:00.654321+00'"
        };
        let set: Vec<_> =
            change.set.iter().map(|(c, v)| format!(" AND {c} IS NOT DISTINCT FROM {v}")).collect();
        let found: i64 = db.one(&format!(
            "SELECT count(*) FROM {} WHERE {} AND version = {version} AND updated_at = {updated_at}{}",
            change.table,
            change.find(),
            set.concat()
        ));
        let seen = db.rows_of(change.table);
        assert_eq!(
            found, 1,
            "{sql}\nversion should be {version}, updated_at {updated_at}: {seen:#?}"
        );
        db.run("ROLLBACK");
        tried += 1;
    }
    assert!(tried > 0);
}

/// A refusal that the transaction survives leaves the row and its indexes as they were.
#[test]
fn a_caught_refusal_changes_nothing() {
    let mut filled = Filled::new("caught");
    let db = &mut filled.db;
    let before: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    for rule in all_forbidden() {
        let caught = rule.change.update();
        db.run(&format!(
            "DO $do$ BEGIN
                 BEGIN
                     {caught};
                     RAISE 'nothing was refused';
                 EXCEPTION WHEN SQLSTATE '{}' THEN
                     NULL;
                 END;
             END $do$",
            rule.sqlstate
        ));
    }
    let after: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    assert_eq!(before, after);
    for rule in all_forbidden() {
        let c = &rule.change;
        db.run("BEGIN; SET LOCAL enable_seqscan = off");
        let found: i64 = db.one(&format!("SELECT count(*) FROM {} WHERE {}", c.table, c.find()));
        db.run("ROLLBACK");
        assert_eq!(found, 1, "{}", c.find());
    }
}

/// One bad row among many refuses the whole statement.
#[test]
fn a_statement_is_refused_as_a_whole() {
    let mut filled = Filled::new("whole");
    for (sql, sqlstate) in [
        ("UPDATE caliber_trajectory SET name = name || '!'", "55000"),
        ("UPDATE caliber_scope SET token_budget = token_budget * 2", "55000"),
        (
            "UPDATE caliber_scope SET tokens_used = CASE scope_id
              WHEN '01900000-0000-7000-8000-000000000013' THEN 5 ELSE tokens_used END",
            "55000",
        ),
        (
            "UPDATE caliber_trajectory SET fence = CASE name WHEN 'active' THEN 8 WHEN 'child' THEN 0 ELSE fence END",
            "55006",
        ),
        (
            "MERGE INTO caliber_scope s USING caliber_scope v ON s.scope_id = v.scope_id
          WHEN MATCHED AND v.is_active THEN DELETE
          WHEN MATCHED THEN UPDATE SET name = 'x'",
            "55000",
        ),
        (
            "WITH gone AS (DELETE FROM caliber_turn WHERE sequence = 0)
          UPDATE caliber_turn SET token_count = 0 WHERE sequence = 1",
            "55000",
        ),
    ] {
        filled.db.refused_unchanged(sql, sqlstate, &TABLES);
    }
}

#[test]
fn a_transition_names_the_states() {
    let mut filled = Filled::new("states");
    let error = filled.db.refused(
        "UPDATE caliber_trajectory SET status = 'active', completed_at = NULL WHERE name = 'completed'",
        "55000",
    );
    assert_eq!(error.message(), "trajectory cannot go from \"completed\" to \"active\"");
    let detail = error.detail().unwrap();
    assert!(detail.contains("\"completed\"") && detail.contains("\"active\""), "{detail}");
    let error =
        filled.db.refused("UPDATE caliber_scope SET fence = 3 WHERE name = 'open'", "55006");
    let detail = error.detail().unwrap();
    assert!(detail.contains('7') && detail.contains('3'), "{detail}");
}

#[test]
fn every_arrow_can_be_followed() {
    let mut filled = Filled::new("arrows");
    let db = &mut filled.db;
    for (from, to) in [
        ("active", "suspended"),
        ("active", "completed"),
        ("active", "failed"),
        ("suspended", "active"),
        ("suspended", "completed"),
        ("suspended", "failed"),
    ] {
        let row = if from == "active" { "active" } else { "child" };
        let completed = if ["completed", "failed"].contains(&to) { "now()" } else { "NULL" };
        db.run("BEGIN");
        let version: i64 = db.one(&format!(
            "UPDATE caliber_trajectory SET status = '{to}', completed_at = {completed}
             WHERE name = '{row}' AND status = '{from}' RETURNING version"
        ));
        assert_eq!(version, 6, "{from} -> {to}");
        db.run("ROLLBACK");
    }
    // From state to state, each one a version.
    db.run(
        "UPDATE caliber_trajectory SET status = 'suspended' WHERE name = 'active';
         UPDATE caliber_trajectory SET status = 'active' WHERE name = 'active';
         UPDATE caliber_trajectory SET status = 'failed', completed_at = now() WHERE name = 'active';
         UPDATE caliber_trajectory SET metadata = NULL WHERE name = 'active'",
    );
    let version: i64 = db.one("SELECT version FROM caliber_trajectory WHERE name = 'active'");
    assert_eq!(version, 9);
}

/// The arrows of the other entities.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("message", "pending", &["delivered", "dead"]),
    ("message", "delivered", &["pending", "acknowledged", "dead"]),
    ("message", "dead", &["pending"]),
    ("delegation", "pending", &["accepted", "rejected", "failed"]),
    ("delegation", "accepted", &["in_progress", "completed", "failed"]),
    ("delegation", "in_progress", &["completed", "failed"]),
    ("handoff", "initiated", &["accepted", "rejected"]),
    ("handoff", "accepted", &["completed"]),
    ("conflict", "detected", &["resolving", "resolved", "escalated"]),
    ("conflict", "resolving", &["resolved", "escalated"]),
    ("conflict", "escalated", &["resolving", "resolved"]),
];

#[test]
fn the_arrows_of_all_entities_can_be_followed_and_no_others() {
    let mut filled = Filled::new("all_arrows");
    let db = &mut filled.db;
    for entity in ["message", "delegation", "handoff", "conflict"] {
        let states: Vec<String> =
            db.all(&format!("SELECT unnest(enum_range(NULL::caliber_{entity}_status))::text"));
        for (from, to) in states.iter().flat_map(|from| states.iter().map(move |to| (from, to))) {
            let update = format!(
                "UPDATE caliber_{entity} SET status = '{to}' WHERE status = '{from}' RETURNING version"
            );
            let allowed =
                ARROWS.iter().any(|(e, f, t)| *e == entity && f == from && t.contains(&&**to));
            if allowed || from == to {
                db.run("BEGIN");
                let version = if allowed { 6 } else { 5 };
                assert_eq!(db.one::<i64>(&update), version, "{entity}: {from} -> {to}");
                db.run("ROLLBACK");
            } else {
                let error = db.refused(&update, "55000");
                let detail = error.detail().unwrap();
                assert!(detail.contains(&**from) && detail.contains(&**to), "{detail}");
            }
        }
    }
    for (from, to) in ["idle", "active", "blocked", "failed", "offline"]
        .iter()
        .flat_map(|from| ["idle", "active", "blocked", "failed", "offline"].map(|to| (from, to)))
    {
        db.run(&format!(
            "BEGIN; UPDATE caliber_agent SET status = '{from}'; UPDATE caliber_agent SET status = '{to}'; ROLLBACK"
        ));
    }
}

/// A final row outlives what it refers to.
#[test]
fn a_final_message_survives_the_deletion_of_what_it_is_about() {
    let mut filled = Filled::new("outlives");
    let db = &mut filled.db;
    let before: Vec<String> = db.all(
        "SELECT concat_ws(' ', status, payload, metadata) FROM caliber_message ORDER BY message_id",
    );
    db.run("DELETE FROM caliber_trajectory WHERE name = 'active'");
    let rows: Vec<String> = db.all(
        "SELECT concat_ws(' ', status, payload, metadata) FROM caliber_message
         WHERE trajectory_id IS NULL AND scope_id IS NULL ORDER BY message_id",
    );
    assert_eq!(rows, before);
    let left: i64 = db.one(
        "SELECT (SELECT count(*) FROM caliber_artifact) + (SELECT count(*) FROM caliber_delegation)
              + (SELECT count(*) FROM caliber_handoff) + (SELECT count(*) FROM caliber_conflict)",
    );
    assert_eq!(left, 0, "what belongs to the trajectory goes with it");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_note"), 3, "knowledge stays");
    // The agent of the last delivery.
    db.run("DELETE FROM caliber_agent WHERE agent_type = 'helper'");
    let claimed: i64 = db.one("SELECT count(*) FROM caliber_message WHERE claimed_by IS NOT NULL");
    assert_eq!(claimed, 0);
    db.refused_unchanged(
        "UPDATE caliber_message SET priority = 'low' WHERE status = 'acknowledged'",
        "55000",
        &["caliber_message"],
    );
}

/// Who a message, a delegation or a handoff is from cannot be deleted; a lease goes with its holder.
#[test]
fn deleting_an_agent_spares_what_it_did() {
    let mut filled = Filled::new("agents");
    let db = &mut filled.db;
    for agent in ["a1", "a2"] {
        let sql = format!(
            "DELETE FROM caliber_agent WHERE agent_id = '01900000-0000-7000-8000-0000000000{agent}'"
        );
        db.refused_unchanged(&sql, "23503", &[&all_rows()]);
    }
    db.run(
        "INSERT INTO caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
         SELECT 'file', agent_id, agent_id, 'shared', 'infinity' FROM caliber_agent WHERE agent_type = 'helper';
         DELETE FROM caliber_agent WHERE agent_type = 'helper'",
    );
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_lock"), 1);
}

#[test]
fn superseding_can_be_taken_back_but_not_bent() {
    let mut filled = Filled::new("superseded");
    let db = &mut filled.db;
    for (table, key, digit) in
        [("caliber_artifact", "artifact_id", 3), ("caliber_note", "note_id", 4)]
    {
        let id = |n: i32| format!("'01900000-0000-7000-8000-0000000000{digit}{n}'");
        let set = |of: i32, by: &str| {
            format!("UPDATE {table} SET superseded_by = {by} WHERE {key} = {}", id(of))
        };
        db.refused_unchanged(&set(2, &id(3)), "55000", &[table]);
        let error = db.refused_unchanged(&set(1, &id(1)), "23514", &[table]);
        assert_eq!(error.constraint(), Some(&*format!("{table}_superseded_by_check")));
        db.refused_unchanged(&set(1, "'01900000-0000-7000-8000-00000000dead'"), "23503", &[table]);
        // The same value again is no change.
        db.run(&format!("{}; {}; {}", set(2, &id(1)), set(2, "NULL"), set(2, &id(3))));
        let version: i64 = db.one(&format!("SELECT version FROM {table} WHERE {key} = {}", id(2)));
        assert_eq!(version, 7);
        // What replaces it is deleted: it counts again.
        db.run(&format!("DELETE FROM {table} WHERE {key} = {}", id(3)));
        let free: bool =
            db.one(&format!("SELECT superseded_by IS NULL FROM {table} WHERE {key} = {}", id(2)));
        assert!(free);
    }
}

#[test]
fn returning_shows_what_was_assigned() {
    let mut filled = Filled::new("returning");
    let since_17 = Server::get().major() >= 17;
    let db = &mut filled.db;
    let find = "trajectory_id = '01900000-0000-7000-8000-000000000001'";
    let mut returning = vec![
        format!("UPDATE caliber_trajectory SET name = 'n' WHERE {find} RETURNING"),
        format!(
            "INSERT INTO caliber_trajectory SELECT * FROM caliber_trajectory WHERE {find}
             ON CONFLICT (trajectory_id) DO UPDATE SET name = 'n' RETURNING"
        ),
        format!("UPDATE w SET name = 'n' WHERE {find} RETURNING"),
        format!(
            "WITH u AS (UPDATE caliber_trajectory SET name = 'n' WHERE {find}
                        RETURNING version, updated_at) SELECT version, updated_at FROM u --"
        ),
    ];
    if since_17 {
        returning.push(format!(
            "MERGE INTO caliber_trajectory t USING (VALUES (1)) v ON {find}
             WHEN MATCHED THEN UPDATE SET name = 'n' RETURNING"
        ));
    }
    db.run("CREATE VIEW w AS SELECT * FROM caliber_trajectory");
    for sql in returning {
        db.run("BEGIN");
        let sql = format!("{sql} version, updated_at");
        let row = db.query_one(&sql, &[]).unwrap_or_else(|e| panic!("{}", show(&e, &sql)));
        assert_eq!(row.get::<_, i64>(0), 6, "{sql}");
        let now: std::time::SystemTime = db.one("SELECT transaction_timestamp()");
        assert_eq!(row.get::<_, std::time::SystemTime>(1), now, "{sql}");
        db.run("ROLLBACK");
    }
}

#[test]
fn after_triggers_and_transition_tables_see_what_was_assigned() {
    let mut filled = Filled::new("after_triggers");
    let db = &mut filled.db;
    db.run(
        "CREATE TABLE seen (who text, version bigint, at timestamptz);
         CREATE FUNCTION each() RETURNS trigger LANGUAGE plpgsql AS $f$
             BEGIN INSERT INTO seen VALUES ('row', NEW.version, NEW.updated_at); RETURN NULL; END $f$;
         CREATE FUNCTION every() RETURNS trigger LANGUAGE plpgsql AS $f$
             BEGIN INSERT INTO seen SELECT 'table', version, updated_at FROM come; RETURN NULL; END $f$;
         CREATE TRIGGER a AFTER UPDATE ON caliber_scope FOR EACH ROW EXECUTE FUNCTION each();
         CREATE TRIGGER b AFTER UPDATE ON caliber_scope REFERENCING NEW TABLE AS come EXECUTE FUNCTION every();
         UPDATE caliber_scope SET purpose = 'new' WHERE name = 'open'",
    );
    let seen: Vec<String> = db.all(
        "SELECT concat_ws(' ', who, s.version, s.at = c.updated_at)
         FROM seen s, caliber_scope c WHERE c.name = 'open' ORDER BY 1",
    );
    assert_eq!(seen, ["row 6 t", "table 6 t"]);
}

/// Indexes and view checks work on what was assigned, not on what was written.
#[test]
fn indexes_and_views_follow_what_was_assigned() {
    let mut filled = Filled::new("assigned_indexes");
    let db = &mut filled.db;
    db.run(
        "CREATE INDEX by_version ON caliber_scope (version);
         CREATE UNIQUE INDEX by_both ON caliber_scope (scope_id, version) WHERE version > 5;
         CREATE INDEX by_time ON caliber_scope ((date_part('year', updated_at AT TIME ZONE 'UTC')));
         CREATE VIEW young AS SELECT * FROM caliber_scope WHERE version < 7 WITH CHECK OPTION;
         UPDATE young SET purpose = 'x' WHERE name = 'open';
         UPDATE caliber_scope SET tokens_used = 20 WHERE name = 'inner';
         SET enable_seqscan = off",
    );
    let by = |db: &mut Db, condition: &str| -> Vec<String> {
        db.all(&format!("SELECT name FROM caliber_scope WHERE {condition} ORDER BY name"))
    };
    assert_eq!(by(db, "version = 5"), ["closed", "inner"]);
    assert_eq!(by(db, "version = 6"), ["open"]);
    assert_eq!(
        by(db, "version > 5 AND scope_id = '01900000-0000-7000-8000-000000000011'"),
        ["open"]
    );
    assert_eq!(
        by(db, "date_part('year', updated_at AT TIME ZONE 'UTC') = 2024"),
        ["closed", "inner"]
    );
    db.refused_unchanged("UPDATE young SET purpose = 'y' WHERE name = 'open'", "44000", &TABLES);
}

#[test]
fn the_writer_may_set_the_next_version_and_the_time() {
    let mut filled = Filled::new("writer");
    let db = &mut filled.db;
    let mut after = |set: &str| -> String {
        db.run("BEGIN");
        let row = db.one(&format!(
            "UPDATE caliber_scope SET {set} WHERE name = 'open'
             RETURNING version || CASE updated_at
                 WHEN transaction_timestamp() THEN ' now'
                 WHEN '2024-01-02 00:00:00.654321+00' THEN ' as before'
                 ELSE ' ' || (updated_at AT TIME ZONE 'UTC')::date END"
        ));
        db.run("ROLLBACK");
        row
    };
    assert_eq!(after("purpose = 'x'"), "6 now");
    assert_eq!(after("purpose = 'x', version = version + 1"), "6 now");
    assert_eq!(after("version = version + 1"), "6 now");
    assert_eq!(after("purpose = 'x', updated_at = '2020-05-05 12:00+00'"), "6 2020-05-05");
    assert_eq!(after("version = 6, updated_at = '2020-05-05 12:00+00'"), "6 2020-05-05");
    assert_eq!(after("updated_at = '2020-05-05 12:00+00'"), "6 2020-05-05");
    assert_eq!(after("purpose = purpose"), "5 as before");
    assert_eq!(
        after("purpose = purpose || '', version = version, updated_at = updated_at"),
        "5 as before"
    );
    assert_eq!(after("tokens_used = tokens_used + 1, fence = fence + 1"), "5 as before");
    assert_eq!(after("tokens_used = tokens_used + 1, version = 6"), "6 now");
    assert_eq!(after("checkpoint = '{\"of\":   \"open\"}'"), "5 as before");
}

#[test]
fn each_update_of_one_transaction_is_a_version() {
    let mut filled = Filled::new("one_transaction");
    let db = &mut filled.db;
    db.run(
        "BEGIN;
         UPDATE caliber_scope SET name = 'a' WHERE token_budget = 100;
         UPDATE caliber_scope SET name = 'b' WHERE token_budget = 100;
         SAVEPOINT s;
         UPDATE caliber_scope SET name = 'c' WHERE token_budget = 100;
         ROLLBACK TO s;
         UPDATE caliber_scope SET tokens_used = 11 WHERE token_budget = 100;
         UPDATE caliber_scope SET name = 'd' WHERE token_budget = 100;
         COMMIT",
    );
    let row: String = db.one("SELECT name || version FROM caliber_scope WHERE token_budget = 100");
    assert_eq!(row, "d8");
}

#[test]
fn counters_stay_heap_only() {
    let mut filled = Filled::new("counters");
    let db = &mut filled.db;
    db.run(
        "BEGIN;
         UPDATE caliber_scope SET tokens_used = tokens_used + 1, turn_count = turn_count + 1, fence = fence + 1
         WHERE name = 'open';
         UPDATE caliber_trajectory SET fence = fence + 1 WHERE name = 'active';
         UPDATE caliber_lock SET fence = fence + 1;
         UPDATE caliber_note SET access_count = access_count + 1, accessed_at = now() WHERE title = 'new';
         UPDATE caliber_agent SET last_heartbeat = now() WHERE agent_type = 'coder'",
    );
    for table in
        ["caliber_scope", "caliber_trajectory", "caliber_lock", "caliber_note", "caliber_agent"]
    {
        let hot: i64 =
            db.one(&format!("SELECT pg_stat_get_xact_tuples_hot_updated('{table}'::regclass)"));
        assert_eq!(hot, 1, "{table}");
    }
    db.run("COMMIT");
}

#[test]
fn deleting_is_allowed() {
    let mut filled = Filled::new("deleting");
    let db = &mut filled.db;
    db.run("DELETE FROM caliber_turn WHERE sequence = 0; DELETE FROM caliber_scope WHERE name = 'closed'");
    db.run("DELETE FROM caliber_trajectory WHERE name = 'completed'");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_turn"), 1);
    // The tree below goes with it.
    db.run("DELETE FROM caliber_trajectory WHERE name = 'active'");
    let left: i64 = db.one(
        "SELECT (SELECT count(*) FROM caliber_turn) + (SELECT count(*) FROM caliber_scope)
              + (SELECT count(*) FROM caliber_trajectory)",
    );
    assert_eq!(left, 1);
}

/// A table that an INSERT refers to, and the row that it would insert: each case changes columns.
struct BadRow {
    table: &'static str,
    set: &'static str,
    sqlstate: &'static str,
    /// The constraint, or the column of a 23502.
    names: &'static str,
}

const fn bad(
    table: &'static str,
    set: &'static str,
    sqlstate: &'static str,
    names: &'static str,
) -> BadRow {
    BadRow { table, set, sqlstate, names }
}

const BAD_ROWS: &[BadRow] = {
    const T: &str = "caliber_trajectory";
    const S: &str = "caliber_scope";
    const U: &str = "caliber_turn";
    const F: &str = "caliber_artifact";
    const N: &str = "caliber_note";
    const A: &str = "caliber_agent";
    const L: &str = "caliber_lock";
    const M: &str = "caliber_message";
    const D: &str = "caliber_delegation";
    const H: &str = "caliber_handoff";
    const C: &str = "caliber_conflict";
    &[
        bad(T, "trajectory_id = NULL", "23502", "trajectory_id"),
        bad(T, "name = NULL", "23502", "name"),
        bad(T, "status = NULL", "23502", "status"),
        bad(T, "root_trajectory_id = NULL", "23502", "root_trajectory_id"),
        bad(T, "fence = NULL", "23502", "fence"),
        bad(T, "created_at = NULL", "23502", "created_at"),
        bad(T, "updated_at = NULL", "23502", "updated_at"),
        bad(T, "version = NULL", "23502", "version"),
        bad(T, "name = ''", "23514", "caliber_trajectory_name_check"),
        bad(T, "parent_trajectory_id = NULL", "23514", "caliber_trajectory_root_check"),
        bad(T, "completed_at = now()", "23514", "caliber_trajectory_completed_at_check"),
        bad(T, "status = 'completed'", "23514", "caliber_trajectory_completed_at_check"),
        bad(
            T,
            "trajectory_id = '01900000-0000-7000-8000-000000000001'",
            "23505",
            "caliber_trajectory_pkey",
        ),
        bad(
            T,
            "agent_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_trajectory_agent_id_fkey",
        ),
        bad(
            T,
            "parent_trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_trajectory_parent_trajectory_id_fkey",
        ),
        bad(
            T,
            "root_trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_trajectory_root_trajectory_id_fkey",
        ),
        bad(S, "scope_id = NULL", "23502", "scope_id"),
        bad(S, "trajectory_id = NULL", "23502", "trajectory_id"),
        bad(S, "name = NULL", "23502", "name"),
        bad(S, "is_active = NULL", "23502", "is_active"),
        bad(S, "token_budget = NULL", "23502", "token_budget"),
        bad(S, "tokens_used = NULL", "23502", "tokens_used"),
        bad(S, "turn_count = NULL", "23502", "turn_count"),
        bad(S, "token_budget = 0, tokens_used = 0", "23514", "caliber_scope_token_budget_check"),
        bad(S, "tokens_used = 301", "23514", "caliber_scope_tokens_used_check"),
        bad(S, "tokens_used = -1", "23514", "caliber_scope_tokens_used_check"),
        bad(S, "closed_at = now()", "23514", "caliber_scope_closed_at_check"),
        bad(S, "is_active = false", "23514", "caliber_scope_closed_at_check"),
        bad(S, "scope_id = '01900000-0000-7000-8000-000000000011'", "23505", "caliber_scope_pkey"),
        bad(
            S,
            "trajectory_id = '01900000-0000-7000-8000-00000000dead', parent_scope_id = NULL",
            "23503",
            "caliber_scope_trajectory_id_fkey",
        ),
        // A parent of another trajectory.
        bad(
            S,
            "trajectory_id = '01900000-0000-7000-8000-000000000002'",
            "23503",
            "caliber_scope_parent_scope_id_fkey",
        ),
        bad(U, "turn_id = NULL", "23502", "turn_id"),
        bad(U, "scope_id = NULL", "23502", "scope_id"),
        bad(U, "sequence = NULL", "23502", "sequence"),
        bad(U, "role = NULL", "23502", "role"),
        bad(U, "content = NULL", "23502", "content"),
        bad(U, "token_count = NULL", "23502", "token_count"),
        bad(U, "created_at = NULL", "23502", "created_at"),
        bad(U, "sequence = -1", "23514", "caliber_turn_sequence_check"),
        bad(U, "token_count = -1", "23514", "caliber_turn_token_count_check"),
        bad(U, "sequence = 0", "23505", "caliber_turn_scope_sequence_key"),
        bad(U, "turn_id = '01900000-0000-7000-8000-000000000021'", "23505", "caliber_turn_pkey"),
        bad(
            U,
            "scope_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_turn_scope_id_fkey",
        ),
        bad(F, "artifact_id = NULL", "23502", "artifact_id"),
        bad(F, "trajectory_id = NULL", "23502", "trajectory_id"),
        bad(F, "scope_id = NULL", "23502", "scope_id"),
        bad(F, "artifact_type = NULL", "23502", "artifact_type"),
        bad(F, "name = NULL", "23502", "name"),
        bad(F, "content = NULL", "23502", "content"),
        bad(F, "extraction_method = NULL", "23502", "extraction_method"),
        bad(F, "created_at = NULL", "23502", "created_at"),
        bad(F, "updated_at = NULL", "23502", "updated_at"),
        bad(F, "version = NULL", "23502", "version"),
        bad(F, "confidence = 1.5", "23514", "caliber_artifact_confidence_check"),
        bad(F, "confidence = -0.25", "23514", "caliber_artifact_confidence_check"),
        bad(F, "confidence = 'NaN'", "23514", "caliber_artifact_confidence_check"),
        bad(F, "superseded_by = artifact_id", "23514", "caliber_artifact_superseded_by_check"),
        bad(
            F,
            "artifact_id = '01900000-0000-7000-8000-000000000031'",
            "23505",
            "caliber_artifact_pkey",
        ),
        bad(
            F,
            "trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_artifact_trajectory_id_fkey",
        ),
        // The scope is that of another trajectory.
        bad(
            F,
            "trajectory_id = '01900000-0000-7000-8000-000000000002'",
            "23503",
            "caliber_artifact_scope_id_fkey",
        ),
        bad(
            F,
            "scope_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_artifact_scope_id_fkey",
        ),
        bad(
            F,
            "superseded_by = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_artifact_superseded_by_fkey",
        ),
        bad(N, "note_id = NULL", "23502", "note_id"),
        bad(N, "note_type = NULL", "23502", "note_type"),
        bad(N, "title = NULL", "23502", "title"),
        bad(N, "content = NULL", "23502", "content"),
        bad(N, "abstraction_level = NULL", "23502", "abstraction_level"),
        bad(N, "source_trajectory_ids = NULL", "23502", "source_trajectory_ids"),
        bad(N, "source_artifact_ids = NULL", "23502", "source_artifact_ids"),
        bad(N, "source_note_ids = NULL", "23502", "source_note_ids"),
        bad(N, "accessed_at = NULL", "23502", "accessed_at"),
        bad(N, "access_count = NULL", "23502", "access_count"),
        bad(N, "created_at = NULL", "23502", "created_at"),
        bad(N, "updated_at = NULL", "23502", "updated_at"),
        bad(N, "version = NULL", "23502", "version"),
        bad(N, "superseded_by = note_id", "23514", "caliber_note_superseded_by_check"),
        bad(N, "note_id = '01900000-0000-7000-8000-000000000041'", "23505", "caliber_note_pkey"),
        bad(
            N,
            "superseded_by = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_note_superseded_by_fkey",
        ),
        bad(A, "created_at = NULL", "23502", "created_at"),
        bad(A, "updated_at = NULL", "23502", "updated_at"),
        bad(C, "created_at = NULL", "23502", "created_at"),
        bad(C, "updated_at = NULL", "23502", "updated_at"),
        bad(C, "version = NULL", "23502", "version"),
        bad(D, "created_at = NULL", "23502", "created_at"),
        bad(D, "updated_at = NULL", "23502", "updated_at"),
        bad(D, "version = NULL", "23502", "version"),
        bad(H, "created_at = NULL", "23502", "created_at"),
        bad(H, "updated_at = NULL", "23502", "updated_at"),
        bad(H, "version = NULL", "23502", "version"),
        bad(L, "created_at = NULL", "23502", "created_at"),
        bad(L, "updated_at = NULL", "23502", "updated_at"),
        bad(L, "version = NULL", "23502", "version"),
        bad(M, "created_at = NULL", "23502", "created_at"),
        bad(M, "updated_at = NULL", "23502", "updated_at"),
        bad(M, "version = NULL", "23502", "version"),
        bad(S, "created_at = NULL", "23502", "created_at"),
        bad(S, "updated_at = NULL", "23502", "updated_at"),
        bad(S, "version = NULL", "23502", "version"),
        bad(S, "fence = NULL", "23502", "fence"),
        bad(
            C,
            "conflict_id = '01900000-0000-7000-8000-000000000091'",
            "23505",
            "caliber_conflict_pkey",
        ),
        bad(
            D,
            "delegation_id = '01900000-0000-7000-8000-000000000071'",
            "23505",
            "caliber_delegation_pkey",
        ),
        bad(
            H,
            "handoff_id = '01900000-0000-7000-8000-000000000081'",
            "23505",
            "caliber_handoff_pkey",
        ),
        bad(
            M,
            "message_id = '01900000-0000-7000-8000-000000000061'",
            "23505",
            "caliber_message_pkey",
        ),
        bad(
            H,
            "trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_handoff_trajectory_id_fkey",
        ),
        bad(A, "agent_id = NULL", "23502", "agent_id"),
        bad(A, "agent_type = NULL", "23502", "agent_type"),
        bad(A, "capabilities = NULL", "23502", "capabilities"),
        bad(A, "memory_access = NULL", "23502", "memory_access"),
        bad(A, "status = NULL", "23502", "status"),
        bad(A, "can_delegate_to = NULL", "23502", "can_delegate_to"),
        bad(A, "last_heartbeat = NULL", "23502", "last_heartbeat"),
        bad(A, "version = NULL", "23502", "version"),
        bad(
            A,
            "current_trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_agent_current_trajectory_id_fkey",
        ),
        bad(
            A,
            "current_scope_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_agent_current_scope_id_fkey",
        ),
        bad(
            A,
            "reports_to = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_agent_reports_to_fkey",
        ),
        bad(L, "lock_id = NULL", "23502", "lock_id"),
        bad(L, "resource_type = NULL", "23502", "resource_type"),
        bad(L, "resource_id = NULL", "23502", "resource_id"),
        bad(L, "holder_agent_id = NULL", "23502", "holder_agent_id"),
        bad(L, "mode = NULL", "23502", "mode"),
        bad(L, "fence = NULL", "23502", "fence"),
        bad(L, "acquired_at = NULL", "23502", "acquired_at"),
        bad(L, "expires_at = NULL", "23502", "expires_at"),
        bad(
            L,
            "holder_agent_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_lock_holder_agent_id_fkey",
        ),
        bad(M, "message_id = NULL", "23502", "message_id"),
        bad(M, "from_agent_id = NULL", "23502", "from_agent_id"),
        bad(M, "message_type = NULL", "23502", "message_type"),
        bad(M, "payload = NULL", "23502", "payload"),
        bad(M, "artifact_ids = NULL", "23502", "artifact_ids"),
        bad(M, "priority = NULL", "23502", "priority"),
        bad(M, "status = NULL", "23502", "status"),
        bad(M, "visible_at = NULL", "23502", "visible_at"),
        bad(M, "delivery_count = NULL", "23502", "delivery_count"),
        bad(M, "max_deliveries = NULL", "23502", "max_deliveries"),
        bad(
            M,
            "from_agent_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_message_from_agent_id_fkey",
        ),
        bad(
            M,
            "to_agent_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_message_to_agent_id_fkey",
        ),
        bad(
            M,
            "trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_message_trajectory_id_fkey",
        ),
        bad(
            M,
            "scope_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_message_scope_id_fkey",
        ),
        bad(
            M,
            "claimed_by = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_message_claimed_by_fkey",
        ),
        bad(D, "delegation_id = NULL", "23502", "delegation_id"),
        bad(D, "delegator_agent_id = NULL", "23502", "delegator_agent_id"),
        bad(D, "task_description = NULL", "23502", "task_description"),
        bad(D, "parent_trajectory_id = NULL", "23502", "parent_trajectory_id"),
        bad(D, "shared_artifacts = NULL", "23502", "shared_artifacts"),
        bad(D, "shared_notes = NULL", "23502", "shared_notes"),
        bad(D, "constraints = NULL", "23502", "constraints"),
        bad(D, "status = NULL", "23502", "status"),
        bad(
            D,
            "delegator_agent_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_delegation_delegator_agent_id_fkey",
        ),
        bad(
            D,
            "delegatee_agent_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_delegation_delegatee_agent_id_fkey",
        ),
        bad(
            D,
            "parent_trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_delegation_parent_trajectory_id_fkey",
        ),
        bad(
            D,
            "child_trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_delegation_child_trajectory_id_fkey",
        ),
        bad(H, "handoff_id = NULL", "23502", "handoff_id"),
        bad(H, "from_agent_id = NULL", "23502", "from_agent_id"),
        bad(H, "trajectory_id = NULL", "23502", "trajectory_id"),
        bad(H, "scope_id = NULL", "23502", "scope_id"),
        bad(H, "handoff_notes = NULL", "23502", "handoff_notes"),
        bad(H, "next_steps = NULL", "23502", "next_steps"),
        bad(H, "blockers = NULL", "23502", "blockers"),
        bad(H, "open_questions = NULL", "23502", "open_questions"),
        bad(H, "reason = NULL", "23502", "reason"),
        bad(H, "status = NULL", "23502", "status"),
        bad(H, "initiated_at = NULL", "23502", "initiated_at"),
        bad(
            H,
            "from_agent_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_handoff_from_agent_id_fkey",
        ),
        bad(
            H,
            "to_agent_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_handoff_to_agent_id_fkey",
        ),
        bad(C, "conflict_id = NULL", "23502", "conflict_id"),
        bad(C, "conflict_type = NULL", "23502", "conflict_type"),
        bad(C, "item_a_type = NULL", "23502", "item_a_type"),
        bad(C, "item_a_id = NULL", "23502", "item_a_id"),
        bad(C, "item_b_type = NULL", "23502", "item_b_type"),
        bad(C, "item_b_id = NULL", "23502", "item_b_id"),
        bad(C, "status = NULL", "23502", "status"),
        bad(C, "detected_at = NULL", "23502", "detected_at"),
        bad(
            C,
            "agent_a_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_conflict_agent_a_id_fkey",
        ),
        bad(
            C,
            "agent_b_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_conflict_agent_b_id_fkey",
        ),
        bad(
            C,
            "trajectory_id = '01900000-0000-7000-8000-00000000dead'",
            "23503",
            "caliber_conflict_trajectory_id_fkey",
        ),
        // The scope is that of another trajectory.
        bad(
            H,
            "trajectory_id = '01900000-0000-7000-8000-000000000002'",
            "23503",
            "caliber_handoff_scope_id_fkey",
        ),
        bad(A, "agent_id = '01900000-0000-7000-8000-0000000000a1'", "23505", "caliber_agent_pkey"),
        bad(L, "lock_id = '01900000-0000-7000-8000-000000000051'", "23505", "caliber_lock_pkey"),
        // The same broadcast, to the same agent.
        bad(
            M,
            "broadcast_id = '01900000-0000-7000-8000-000000000061'",
            "23505",
            "caliber_message_broadcast_key",
        ),
        bad(
            C,
            "item_b_type = item_a_type, item_b_id = item_a_id",
            "23514",
            "caliber_conflict_items_check",
        ),
    ]
};

/// No constraint of any table is left out of [`BAD_ROWS`].
#[test]
fn each_constraint_has_a_bad_row() {
    let schema = Schema::new("constraints");
    let mut db = schema.connect();
    let missing: Vec<(String, String)> = db
        .query(
            "SELECT table_name, name
             FROM (SELECT conrelid::regclass::text AS table_name, conname::text AS name
                   FROM pg_constraint WHERE contype <> 'n'
                   UNION
                   SELECT indrelid::regclass::text, indexrelid::regclass::text FROM pg_index WHERE indisunique
                   UNION
                   SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnotnull AND attnum > 0) c
             WHERE table_name = ANY ($1)
             ORDER BY 1, 2",
            &[&TABLES.as_slice()],
        )
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .filter(|(table, name): &(String, String)| {
            // Another scope of the same id is refused by the primary key first.
            name != "caliber_scope_scope_trajectory_key"
                && !BAD_ROWS.iter().any(|bad| bad.table == table && bad.names == name)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The tables of [`BAD_ROWS`].
const STAGED: [&str; 11] = [
    "caliber_trajectory",
    "caliber_scope",
    "caliber_turn",
    "caliber_artifact",
    "caliber_note",
    "caliber_agent",
    "caliber_lock",
    "caliber_message",
    "caliber_delegation",
    "caliber_handoff",
    "caliber_conflict",
];

/// Makes heap tables without constraints, `good_` and `bad_` and the entity table's name, with the
/// columns that can be written and a new row each.
fn stage(db: &mut Db) {
    for (table, key, row) in [
        ("caliber_trajectory", "trajectory_id", "name = 'child'"),
        ("caliber_scope", "scope_id", "name = 'inner'"),
        ("caliber_turn", "turn_id", "sequence = 1"),
        ("caliber_artifact", "artifact_id", "name = 'other'"),
        ("caliber_note", "note_id", "title = 'other'"),
        ("caliber_agent", "agent_id", "agent_id = '01900000-0000-7000-8000-0000000000a1'"),
        ("caliber_lock", "lock_id", "true"),
        ("caliber_message", "message_id", "status = 'pending'"),
        ("caliber_delegation", "delegation_id", "status = 'pending'"),
        ("caliber_handoff", "handoff_id", "status = 'initiated'"),
        ("caliber_conflict", "conflict_id", "status = 'detected'"),
    ] {
        let columns = written_columns(table).unwrap_or("*");
        for (kind, digits) in [("good", "e1"), ("bad", "e2")] {
            db.run(&format!(
                "CREATE TABLE {kind}_{table} USING heap AS SELECT {columns} FROM {table} WHERE {row};
                 UPDATE {kind}_{table} SET {key} = '01900000-0000-7000-8000-0000000000{digits}'"
            ));
        }
    }
    db.run("UPDATE good_caliber_turn SET sequence = 7; UPDATE bad_caliber_turn SET sequence = 8");
    db.run("UPDATE good_caliber_message SET broadcast_id = NULL");
    db.run("UPDATE bad_caliber_message SET broadcast_id = NULL");
}

fn refuse_bad_rows(write: fn(&mut Db, &str) -> Result<(), postgres::Error>) {
    let mut filled = Filled::new("bad_rows");
    let db = &mut filled.db;
    stage(db);
    let before: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    for case in BAD_ROWS {
        let BadRow { table, set, sqlstate, names } = case;
        let context = format!("{table}: {set}");
        db.run(&format!("CREATE TABLE kept AS TABLE bad_{table}; UPDATE bad_{table} SET {set}"));
        let error = assert_sqlstate(write(db, table), sqlstate, &context);
        let named = if *sqlstate == "23502" { error.column() } else { error.constraint() };
        assert_eq!(named, Some(*names), "{context}");
        assert_eq!(error.table(), Some(*table), "{context}");
        let after: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
        assert_eq!(before, after, "{context}");
        db.run(&format!(
            "TRUNCATE bad_{table}; INSERT INTO bad_{table} TABLE kept; DROP TABLE kept"
        ));
    }
    // Without a change both rows are good.
    for table in STAGED {
        write(db, table).unwrap_or_else(|e| panic!("{}", show(&e, table)));
    }
}

/// The row of a staged table as a literal of its type.
fn row_literal(db: &mut Db, kind: &str, table: &str) -> String {
    let text: String = db.one(&format!("SELECT r::text FROM {kind}_{table} r"));
    format!("{}::{kind}_{table}", lit(&text))
}

/// Copies the good and the bad row into the table through this connection, as a client does.
fn copy_both(db: &mut Db, table: &str, format: &str) -> Result<(), postgres::Error> {
    let mut bytes = Vec::new();
    let from = format!(
        "COPY (TABLE good_{table} UNION ALL TABLE bad_{table}) TO STDOUT (FORMAT {format})"
    );
    db.copy_out(&from)?.read_to_end(&mut bytes).unwrap();
    copy_in(db, &format!("COPY {} FROM STDIN (FORMAT {format})", target(table, table)), &bytes)
}

fn copy_in(db: &mut Db, sql: &str, bytes: &[u8]) -> Result<(), postgres::Error> {
    let mut writer = db.copy_in(sql)?;
    writer.write_all(bytes).unwrap();
    writer.finish().map(drop)
}

mod bad_rows_by {
    use super::{copy_both, refuse_bad_rows, row_literal, target};

    #[test]
    fn insert() {
        refuse_bad_rows(|db, table| {
            let row = row_literal(db, "bad", table);
            db.attempt(&format!("INSERT INTO {} VALUES (({row}).*)", target(table, table)))
        });
    }

    #[test]
    fn insert_of_several_rows() {
        refuse_bad_rows(|db, table| {
            let (good, bad) = (row_literal(db, "good", table), row_literal(db, "bad", table));
            let target = target(table, table);
            db.attempt(&format!("INSERT INTO {target} VALUES (({good}).*), (({bad}).*)"))
        });
    }

    #[test]
    fn insert_select() {
        refuse_bad_rows(|db, table| {
            db.attempt(&format!(
                "INSERT INTO {} TABLE good_{table} UNION ALL TABLE bad_{table}",
                target(table, table)
            ))
        });
    }

    #[test]
    fn merge() {
        refuse_bad_rows(|db, table| {
            db.attempt(&format!(
                "MERGE INTO {table} USING (TABLE good_{table} UNION ALL TABLE bad_{table}) b ON false
                 WHEN NOT MATCHED THEN INSERT {} VALUES (b.*)",
                target("", table)
            ))
        });
    }

    #[test]
    fn view() {
        refuse_bad_rows(|db, table| {
            db.attempt(&format!(
                "BEGIN; CREATE VIEW w AS SELECT * FROM {table};
                 INSERT INTO {} TABLE good_{table} UNION ALL TABLE bad_{table}; ROLLBACK",
                target("w", table)
            ))
            .or_else(|e| db.attempt("ROLLBACK").and(Err(e)))
        });
    }

    #[test]
    fn copy_text() {
        refuse_bad_rows(|db, table| copy_both(db, table, "text"));
    }

    #[test]
    fn copy_csv() {
        refuse_bad_rows(|db, table| copy_both(db, table, "csv"));
    }

    #[test]
    fn copy_binary() {
        refuse_bad_rows(|db, table| copy_both(db, table, "binary"));
    }
}

/// An update of several kinds: refused as everywhere, and allowed with the next version.
#[track_caller]
fn rules_are_in_force(db: &mut Db) {
    for (sql, sqlstate) in [
        ("UPDATE caliber_trajectory SET name = 'x' WHERE name = 'completed'", "55000"),
        ("UPDATE caliber_scope SET fence = 0 WHERE name = 'open'", "55006"),
        ("UPDATE caliber_turn SET content = 'x' WHERE sequence = 1", "55000"),
        (
            "UPDATE caliber_artifact SET scope_id = scope_id, created_at = now() WHERE name = 'new'",
            "55000",
        ),
        (
            "UPDATE caliber_note SET superseded_by = '01900000-0000-7000-8000-000000000043' WHERE title = 'old'",
            "55000",
        ),
        ("UPDATE caliber_lock SET fence = 1", "55006"),
        ("UPDATE caliber_message SET payload = '0' WHERE status = 'pending'", "55000"),
        ("UPDATE caliber_delegation SET status = 'pending' WHERE status = 'accepted'", "55000"),
        ("UPDATE caliber_handoff SET handoff_notes = 'x' WHERE status = 'completed'", "55000"),
        ("UPDATE caliber_conflict SET status = 'detected' WHERE status = 'resolved'", "55000"),
    ] {
        db.refused_unchanged(sql, sqlstate, &[&all_rows()]);
    }
    db.run("BEGIN");
    let assigned: bool = db.one(
        "WITH old AS (SELECT version FROM caliber_scope WHERE name = 'open')
         UPDATE caliber_scope s SET purpose = 'still alive' FROM old WHERE s.name = 'open'
         RETURNING s.version = old.version + 1 AND s.updated_at = transaction_timestamp()",
    );
    assert!(assigned);
    db.run("ROLLBACK");
}

/// What is done to the tables is no user's change of a row.
#[track_caller]
fn preserves(name: &str, rewrite: &[&str]) {
    let mut filled = Filled::new(name);
    let db = &mut filled.db;
    db.run("UPDATE caliber_scope SET purpose = purpose || '!' WHERE name = 'open'");
    let before: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    for table in &TABLES[1..] {
        for sql in rewrite {
            let file = format!("SELECT pg_relation_filenode('{table}')::int8");
            let node: i64 = db.one(&file);
            db.run(&sql.replace('@', table));
            assert_ne!(db.one::<i64>(&file), node, "not rewritten: {sql}");
        }
    }
    let after: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    assert_eq!(before, after);
    rules_are_in_force(db);
}

mod preserved_by {
    use super::preserves;

    #[test]
    fn vacuum_full() {
        preserves("vacuum_full", &["VACUUM FULL @", "VACUUM (FULL, FREEZE) @"]);
    }

    #[test]
    fn cluster() {
        preserves("cluster", &["CLUSTER @ USING @_pkey"]);
    }

    #[test]
    fn a_type_change() {
        preserves(
            "type_change",
            &["ALTER TABLE @ ALTER metadata TYPE jsonb USING metadata #> '{}'"],
        );
    }

    #[test]
    fn another_access_method_and_back() {
        preserves(
            "set_am",
            &["ALTER TABLE @ SET ACCESS METHOD heap", "ALTER TABLE @ SET ACCESS METHOD caliber_am"],
        );
    }

    #[test]
    fn another_tablespace_and_back() {
        let mut db = caliber_tests::Server::get().connect();
        let ts = format!("ts_no_way_{}", std::process::id());
        db.run("SET allow_in_place_tablespaces = on");
        db.run(&format!("CREATE TABLESPACE {ts} LOCATION ''"));
        preserves(
            "tablespace",
            &[
                &format!("ALTER TABLE @ SET TABLESPACE {ts}"),
                "ALTER TABLE @ SET TABLESPACE pg_default",
            ],
        );
        db.run(&format!("DROP TABLESPACE {ts}"));
    }
}

/// A table with one more column, filled by the rewrite; the others stay.
#[test]
fn adding_a_column_is_no_update() {
    let mut filled = Filled::new("add_column");
    let db = &mut filled.db;
    let before: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    for table in &TABLES[1..] {
        db.run(&format!(
            "ALTER TABLE {table} ADD extra uuid DEFAULT gen_random_uuid();
             ALTER TABLE {table} ADD computed text GENERATED ALWAYS AS (metadata::text) STORED;
             ALTER TABLE {table} DROP extra, DROP computed"
        ));
    }
    let after: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    assert_eq!(before, after);
    rules_are_in_force(db);
}

/// Rows that come from elsewhere keep the versions and times that they bring.
#[test]
fn copied_rows_are_the_same() {
    for format in ["text", "csv", "binary"] {
        let mut filled = Filled::new("copy_from");
        let other = Schema::new("copy_to");
        let (from, mut to) = (&mut filled.db, other.connect());
        for table in TABLES {
            let mut bytes = Vec::new();
            let sql = format!("COPY {table} TO STDOUT (FORMAT {format})");
            from.copy_out(&sql).unwrap().read_to_end(&mut bytes).unwrap();
            let sql = format!("COPY {table} FROM STDIN (FORMAT {format})");
            copy_in(&mut to, &sql, &bytes).unwrap_or_else(|e| panic!("{}", show(&e, &sql)));
            assert_eq!(from.rows_of(table), to.rows_of(table), "{table}, {format}");
        }
        rules_are_in_force(&mut to);
    }
}

#[test]
fn frozen_rows_are_the_same_and_still_ruled() {
    let mut filled = Filled::new("freeze");
    let db = &mut filled.db;
    let before = db.rows_of("caliber_turn");
    let mut bytes = Vec::new();
    db.copy_out("COPY caliber_turn TO STDOUT").unwrap().read_to_end(&mut bytes).unwrap();
    db.run("BEGIN; TRUNCATE caliber_turn");
    copy_in(db, "COPY caliber_turn FROM STDIN (FREEZE)", &bytes).unwrap();
    db.run("COMMIT");
    assert_eq!(db.rows_of("caliber_turn"), before);
    rules_are_in_force(db);
}

#[test]
fn inserted_rows_keep_what_they_bring() {
    let mut filled = Filled::new("insert_from");
    let other = Schema::new("insert_to");
    let mut to = other.connect();
    for table in TABLES {
        let from = format!("{}.{table}", filled.schema.name());
        to.run(&insert_from(table, &from, table));
        assert_eq!(filled.db.rows_of(table), to.rows_of(table), "{table}");
    }
    rules_are_in_force(&mut to);
    // Only defaults fill what is left out.
    to.run("BEGIN");
    let row: String = to.one(
        "WITH id AS (SELECT caliber_new_id() AS id)
         INSERT INTO caliber_trajectory (trajectory_id, name, root_trajectory_id) SELECT id, 'new', id FROM id
         RETURNING concat_ws(' ', version, updated_at = transaction_timestamp(), created_at = updated_at)",
    );
    assert_eq!(row, "1 t t");
    to.run("ROLLBACK");
}

/// A database of its own with the extension, dropped at the end.
struct Database(String);

impl Database {
    fn new(name: &str) -> Self {
        let name = format!("caliber_{name}_{}", std::process::id());
        let server = Server::get();
        server.connect().run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        server.connect().run(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        let database = Self(name);
        database.connect().run("CREATE EXTENSION vector; CREATE EXTENSION \"caliber-pg\"");
        database
    }

    fn connect(&self) -> Db {
        Server::get().connect_to(&self.0)
    }

    fn connect_to_schema(&self, schema: &str) -> Db {
        let mut db = self.connect();
        db.run(&format!("SET search_path = {schema}, public; SET caliber.schema = {schema}"));
        db
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.0);
        if let Err(e) = Server::get().connect().attempt(&drop) {
            eprintln!("database {} stays: {e}", self.0);
        }
    }
}

/// Dumps the schema by `pg_dump` with these options and gives the dump to `restore`.
#[track_caller]
fn dump_and_restore(name: &str, options: &[&str], restore: fn(&Database, &[u8])) {
    let mut filled = Filled::new(name);
    let database = Database::new(name);
    let schema = filled.schema.name();
    let mut command = psql::program("pg_dump", &Server::get().db);
    let dump = command.args(["-n", schema]).args(options).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    restore(&database, &dump.stdout);
    let mut restored = database.connect_to_schema(schema);
    for table in TABLES {
        assert_eq!(filled.db.rows_of(table), restored.rows_of(table), "{table}");
    }
    rules_are_in_force(&mut restored);
    let entities: Vec<Option<String>> = restored
        .all("SELECT caliber_entity(c) FROM unnest('{caliber_scope,caliber_turn}'::regclass[]) c");
    assert_eq!(entities, [Some("scope".to_owned()), Some("turn".to_owned())]);
    drop(restored);
}

fn feed(database: &Database, dump: &[u8]) {
    psql::feed(&database.0, std::str::from_utf8(dump).unwrap());
}

#[test]
fn a_dump_restores_the_same_rows_under_the_same_rules() {
    dump_and_restore("dump_plain", &[], feed);
}

#[test]
fn a_dump_of_inserts_restores_the_same() {
    dump_and_restore("dump_inserts", &["--rows-per-insert=2"], feed);
}

#[test]
fn a_dump_restored_in_two_parts_is_the_same() {
    dump_and_restore("dump_custom", &["-Fc"], |database, dump| {
        let file = std::env::temp_dir().join(format!("{}.dump", database.0));
        std::fs::write(&file, dump).unwrap();
        for part in ["--schema-only", "--data-only"] {
            let mut restore = psql::program("pg_restore", &database.0);
            restore.args(["--exit-on-error", "--disable-triggers", part]).arg(&file);
            psql::output(&mut restore);
        }
        std::fs::remove_file(&file).unwrap();
    });
}

/// A publication, its slot, and the subscription in another database, all dropped at the end.
struct Replication {
    name: String,
    subscriber: Database,
}

impl Replication {
    /// Publishes the tables of the schema and subscribes to them from a new database where the
    /// same schema has just been initialised.
    fn new(filled: &mut Filled) -> Self {
        let schema = filled.schema.name();
        let name = format!("{schema}_repl");
        let replication = Self { name: name.clone(), subscriber: Database::new("subscriber") };
        let mut there = replication.subscriber.connect();
        there.run(&format!("CREATE SCHEMA {schema}"));
        there.run(&format!("SELECT caliber_init('{schema}', 8)"));
        filled.db.run(&format!("CREATE PUBLICATION {name} FOR TABLE {}", TABLES.join(", ")));
        filled.db.run(&format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"));
        let server = Server::get();
        let connection = format!(
            "host={} port={} user={} dbname={}",
            server.socket.display(),
            server.port,
            server.user,
            server.db
        );
        there.run(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION {} PUBLICATION {name}
             WITH (create_slot = false, slot_name = {name}, copy_data = true)",
            lit(&connection)
        ));
        // Nothing may touch the subscription before: on one server, the slots of the initial copy
        // wait for all transactions, that of a DROP SUBSCRIPTION included.
        there.wait_until(&format!(
            "(SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r') = {}",
            TABLES.len()
        ));
        replication
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        let name = &self.name;
        let mut there = self.subscriber.connect();
        for sql in [
            "SET statement_timeout = '20s'".to_owned(),
            format!("ALTER SUBSCRIPTION {name} DISABLE"),
            format!("DROP SUBSCRIPTION {name}"),
        ] {
            if let Err(e) = there.attempt(&sql) {
                eprintln!("{sql}: {e}");
            }
        }
        let publisher = format!("DROP PUBLICATION {name}");
        if let Err(e) = Server::get().connect().attempt(&publisher) {
            eprintln!("{publisher}: {e}");
        }
    }
}

#[test]
fn replicated_rows_are_the_same_and_local_writes_still_ruled() {
    let mut filled = Filled::new("replicated");
    let replication = Replication::new(&mut filled);
    let mut there = replication.subscriber.connect_to_schema(filled.schema.name());
    let mut same = |here: &mut Db| {
        for table in TABLES {
            let digest = format!(
                "(SELECT coalesce(md5(string_agg(md5(t::text), '' ORDER BY t::text)), '') FROM {table} t)"
            );
            let wanted: String = here.one(&format!("SELECT {digest}"));
            there.wait_until(&format!("{digest} = '{wanted}'"));
            assert_eq!(here.rows_of(table), there.rows_of(table));
        }
        rules_are_in_force(&mut there);
    };
    // The initial copy.
    same(&mut filled.db);
    // Every kind of change, applied as it was made.
    filled.db.run(
        "UPDATE caliber_trajectory SET description = 'changed' WHERE name = 'active';
         UPDATE caliber_scope SET tokens_used = tokens_used + 5, fence = fence + 1 WHERE name = 'open';
         UPDATE caliber_scope SET token_budget = 5000 WHERE name = 'open';
         UPDATE caliber_trajectory SET status = 'active' WHERE name = 'child';
         UPDATE caliber_scope SET purpose = repeat('big', 5000), version = version + 1,
             updated_at = '2023-03-03 03:03:03+00' WHERE name = 'inner';
         DELETE FROM caliber_turn WHERE sequence = 0;
         INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
         SELECT scope_id, 5, 'system', 'new', 0 FROM caliber_scope WHERE name = 'open'",
    );
    same(&mut filled.db);
}

/// The publisher decides: what it sends is stored even where the subscriber's own row went on.
#[test]
fn a_replicated_change_overrides_a_local_one() {
    let mut filled = Filled::new("overridden");
    let replication = Replication::new(&mut filled);
    let mut there = replication.subscriber.connect_to_schema(filled.schema.name());
    there.wait_until("(SELECT count(*) FROM caliber_scope) = 3");
    there.run(
        "UPDATE caliber_scope SET name = 'local 1', fence = 100 WHERE token_budget = 100;
         UPDATE caliber_scope SET name = 'local 2' WHERE token_budget = 100;
         UPDATE caliber_scope SET is_active = false, closed_at = now() WHERE token_budget = 100",
    );
    assert_eq!(there.one::<i64>("SELECT version FROM caliber_scope WHERE token_budget = 100"), 8);
    filled.db.run(
        "UPDATE caliber_scope SET checkpoint = '{\"from\": \"publisher\"}' WHERE name = 'open'",
    );
    there.wait_until(
        "EXISTS (SELECT FROM caliber_scope WHERE checkpoint = '{\"from\": \"publisher\"}')",
    );
    assert_eq!(filled.db.rows_of("caliber_scope"), there.rows_of("caliber_scope"));
}

/// A user's own scope table, partitioned by a column that may change.
fn partitioned_scopes(name: &str) -> Filled {
    let mut filled = Filled::new(name);
    filled.db.run(
        "CREATE TABLE mine (LIKE caliber_scope INCLUDING DEFAULTS) PARTITION BY LIST (name);
         CREATE TABLE mine_open PARTITION OF mine FOR VALUES IN ('open', 'reopened') USING caliber_am;
         CREATE TABLE mine_rest PARTITION OF mine DEFAULT USING caliber_am;
         INSERT INTO mine TABLE caliber_scope",
    );
    filled
}

#[test]
fn a_row_does_not_move_to_another_partition() {
    let mut filled = partitioned_scopes("moves");
    let db = &mut filled.db;
    for sql in [
        "UPDATE mine SET name = 'inner' WHERE name = 'open'",
        "UPDATE mine SET name = 'open' WHERE name = 'inner'",
        "UPDATE mine SET name = 'open', purpose = 'x', version = version + 1 WHERE name = 'inner'",
        "UPDATE mine m SET name = 'open' FROM (VALUES (1)) v WHERE m.name = 'inner'",
        "MERGE INTO mine USING (VALUES ('inner')) v (name) ON mine.name = v.name
         WHEN MATCHED THEN UPDATE SET name = 'open'",
        "WITH moved AS (UPDATE mine SET name = 'elsewhere' WHERE name = 'open' RETURNING *) SELECT * FROM moved",
        "CREATE VIEW w AS SELECT * FROM mine; UPDATE w SET name = 'inner' WHERE name = 'open'",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM mine WHERE name = 'open' FOR UPDATE; FETCH c;
         UPDATE mine SET name = 'inner' WHERE CURRENT OF c",
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE mine SET name = 'inner' WHERE name = 'open'",
        "DO $$ BEGIN UPDATE mine SET name = 'inner' WHERE name = 'open'; END $$",
    ] {
        let error = db.refused_unchanged(sql, "55000", &["mine", "mine_open", "mine_rest"]);
        assert!(
            error.message().contains("cannot move to another partition"),
            "{}: {sql}",
            error.message()
        );
    }
}

#[test]
fn partitions_keep_the_rules() {
    let mut filled = partitioned_scopes("partitions");
    let db = &mut filled.db;
    let tables = ["mine", "mine_open", "mine_rest"];
    for (sql, sqlstate) in [
        ("UPDATE mine SET created_at = now() WHERE name = 'open'", "55000"),
        ("UPDATE mine SET fence = 1 WHERE name = 'inner'", "55006"),
        ("UPDATE mine SET purpose = 'x' WHERE name = 'closed'", "55000"),
        ("UPDATE mine_open SET tokens_used = 0", "55000"),
        ("UPDATE mine SET name = 'reopened', version = 9 WHERE name = 'open'", "55000"),
    ] {
        db.refused_unchanged(sql, sqlstate, &tables);
    }
    // Within its partition the row may change, in what its partition is chosen by, too.
    let version: i64 =
        db.one("UPDATE mine SET name = 'reopened' WHERE name = 'open' RETURNING version");
    assert_eq!(version, 6);
    db.run("INSERT INTO mine SELECT * FROM caliber_scope WHERE name = 'open'; DELETE FROM mine WHERE name = 'open'");
    db.run("ALTER TABLE mine DETACH PARTITION mine_rest");
    db.refused_unchanged(
        "UPDATE mine_rest SET purpose = 'x' WHERE name = 'closed'",
        "55000",
        &["mine_rest"],
    );
    let version: i64 =
        db.one("UPDATE mine_rest SET name = 'free' WHERE name = 'inner' RETURNING version");
    assert_eq!(version, 6);
}

#[test]
fn partitioned_by_a_fixed_column_all_changes_work() {
    let mut filled = Filled::new("fixed_partitions");
    let db = &mut filled.db;
    db.run(
        "CREATE TABLE mine (LIKE caliber_scope INCLUDING DEFAULTS, PRIMARY KEY (scope_id)) PARTITION BY HASH (scope_id);
         CREATE TABLE mine_0 PARTITION OF mine FOR VALUES WITH (MODULUS 2, REMAINDER 0) USING caliber_am;
         CREATE TABLE mine_1 PARTITION OF mine FOR VALUES WITH (MODULUS 2, REMAINDER 1) USING caliber_am;
         INSERT INTO mine TABLE caliber_scope",
    );
    assert_eq!(db.rows_of("mine"), db.rows_of("caliber_scope"));
    db.run("UPDATE mine SET token_budget = 1000 WHERE is_active");
    db.run(
        "INSERT INTO mine SELECT * FROM caliber_scope WHERE name = 'open'
            ON CONFLICT (scope_id) DO UPDATE SET token_budget = mine.token_budget + 1",
    );
    let versions: Vec<String> =
        db.all("SELECT name || ' ' || version || ' ' || token_budget FROM mine ORDER BY name");
    assert_eq!(versions, ["closed 5 200", "inner 6 1000", "open 7 1001"]);
    for id in ["'01900000-0000-7000-8000-000000000019'", "'01900000-0000-7000-8000-00000000001a'"] {
        // To the other partition or within its own.
        db.refused_unchanged(
            &format!("UPDATE mine SET scope_id = {id} WHERE name = 'open'"),
            "55000",
            &["mine"],
        );
    }
}
