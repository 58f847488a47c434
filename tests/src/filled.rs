//! Tables full of rows that nobody could have just inserted, and whether their rules are in force.

use crate::db::Db;
use crate::schema::Schema;

/// The tables that the tests fill, each after those that it refers to.
pub const TABLES: [&str; 11] = [
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
const ROWS: &str = include_str!("filled.sql");

/// A query for all rows of all tables as text, to be read from.
pub fn all_rows() -> String {
    let rows = TABLES.map(|table| format!("SELECT '{table}' AS of, r::text AS row FROM {table} r"));
    format!("({})", rows.join(" UNION ALL "))
}

/// The tables of `caliber_init` with rows that have histories.
pub struct Filled {
    /// A connection that works on the schema.
    pub db: Db,
    /// The schema.
    pub schema: Schema,
}

impl Filled {
    /// A fresh schema with them.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let schema = Schema::new(name);
        let mut db = schema.connect();
        // The types' names without their schema, on whichever path the extension is.
        db.run(ROWS);
        // What all that is compared with these rows rests on: they were stored as they were given.
        let given =
            "SELECT concat_ws(' ', version, updated_at AT TIME ZONE 'UTC') FROM caliber_scope
                     WHERE name = 'open'";
        assert_eq!(db.one::<String>(given), "5 2024-01-02 00:00:00.654321");
        Self { db, schema }
    }
}

/// An update of several kinds: refused as everywhere, and allowed with the next version.
///
/// # Panics
/// When a rule is not in force.
#[track_caller]
pub fn rules_are_in_force(db: &mut Db) {
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

/// The columns of a table with a generated one, without it.
pub fn written_columns(table: &str) -> Option<&'static str> {
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
pub fn target(into: &str, table: &str) -> String {
    match written_columns(table) {
        Some(columns) => format!("{into} ({columns})"),
        None => into.to_owned(),
    }
}

/// Inserts the rows of `from` into `into`, which both have the columns of the table.
pub fn insert_from(into: &str, from: &str, table: &str) -> String {
    let columns = written_columns(table).unwrap_or("*");
    format!("INSERT INTO {} SELECT {columns} FROM {from}", target(into, table))
}
