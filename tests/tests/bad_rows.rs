//! Rows that break a constraint of the entity tables are refused on every path by which rows come.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::io::Read;

use caliber_tests::filled::{Filled, TABLES, target, written_columns};
use caliber_tests::{Db, Schema, assert_sqlstate, lit, show};

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
    db.copy_bytes(&format!("COPY {} FROM STDIN (FORMAT {format})", target(table, table)), &bytes)
}

mod refused_by {
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
