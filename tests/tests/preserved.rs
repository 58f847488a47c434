//! What is not a user's change keeps rows byte for byte, and the rules are in force afterwards:
//! rewrites, another access method and back, copies.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::io::Read;

use caliber_tests::filled::{Filled, TABLES, insert_from, rules_are_in_force};
use caliber_tests::{Schema, show};

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

/// What heap let in has no version where the table allows that; a rewrite is no write of a user's.
#[test]
fn a_rewrite_fills_nothing_in() {
    let schema = Schema::new("rewrite_null");
    let mut db = schema.connect();
    db.run(
        "CREATE TABLE mine (LIKE caliber_note INCLUDING DEFAULTS INCLUDING GENERATED) USING heap;
         ALTER TABLE mine ALTER version DROP NOT NULL, ALTER updated_at DROP NOT NULL;
         INSERT INTO mine (note_type, title, content, version, updated_at)
         VALUES ('fact', 't', 'c', NULL, NULL)",
    );
    let before = db.rows_of("mine");
    for rewrite in
        ["SET ACCESS METHOD caliber_am", "ALTER metadata TYPE jsonb USING metadata #> '{}'"]
    {
        db.run(&format!("ALTER TABLE mine {rewrite}"));
        assert_eq!(db.rows_of("mine"), before, "{rewrite}");
    }
    let is_null: bool = db.one("SELECT version IS NULL AND updated_at IS NULL FROM mine");
    assert!(is_null);
    assert_eq!(db.one::<String>("SELECT caliber_entity('mine')"), "note");
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
            to.copy_bytes(&sql, &bytes).unwrap_or_else(|e| panic!("{}", show(&e, &sql)));
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
    db.copy_bytes("COPY caliber_turn FROM STDIN (FREEZE)", &bytes).unwrap();
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
