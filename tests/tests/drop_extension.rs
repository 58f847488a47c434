//! DROP EXTENSION: refused while it would lose what agents remember.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::database::Database;

#[test]
fn it_is_refused_while_there_are_entity_tables() {
    let database = Database::new("drop");
    let mut db = database.connect();
    db.run("SELECT caliber_init('caliber', 8); SELECT caliber_agent_register('worker')");
    let error =
        db.refused_unchanged("DROP EXTENSION \"caliber-pg\"", "2BP01", &["caliber.caliber_agent"]);
    let detail = error.detail().unwrap();
    assert!(detail.contains("table caliber.caliber_agent depends on"), "{detail}");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_check()"), 0);
}

#[test]
fn it_is_refused_while_a_plain_table_is_stored_by_it() {
    let database = Database::new("drop");
    let mut db = database.connect();
    db.run("CREATE TABLE plain (n int) USING caliber_am; INSERT INTO plain VALUES (1)");
    for object in ["EXTENSION \"caliber-pg\"", "ACCESS METHOD caliber_am"] {
        let error = db.refused_unchanged(&format!("DROP {object}"), "2BP01", &["plain"]);
        if object.starts_with("EXTENSION") {
            let detail = error.detail().unwrap();
            assert!(detail.contains("table plain depends on access method caliber_am"), "{detail}");
        }
    }
}

#[test]
fn without_tables_it_goes_and_comes_back() {
    let database = Database::new("drop");
    let mut db = database.connect();
    for _ in 0..2 {
        db.run("SELECT caliber_init('caliber', 8); SELECT caliber_agent_register('worker')");
        db.run("DROP SCHEMA caliber CASCADE; DROP EXTENSION \"caliber-pg\"");
        let left: i64 = db.one("SELECT count(*) FROM pg_proc WHERE proname LIKE 'caliber%'");
        assert_eq!(left, 0);
        db.run("CREATE EXTENSION \"caliber-pg\"");
    }
}

/// Who says CASCADE is told what goes, and it goes.
#[test]
fn cascade_drops_the_tables() {
    let database = Database::new("drop");
    let mut db = database.connect();
    db.run(
        "SELECT caliber_init('caliber', 8); CREATE TABLE plain (n int) USING caliber_am;
         CREATE TABLE heap (n int); DROP EXTENSION \"caliber-pg\" CASCADE",
    );
    let left: Vec<String> = db.all(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'
         AND (relname LIKE 'caliber%' OR relname IN ('plain', 'heap'))",
    );
    assert_eq!(left, ["heap"]);
}
