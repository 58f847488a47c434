//! ALTER EXTENSION UPDATE: ends where a fresh install begins, and keeps what agents remember.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use caliber_tests::database::Database;
use caliber_tests::filled::{TABLES, rules_are_in_force};
use caliber_tests::{Db, Server};

const ROWS: &str = include_str!("../src/filled.sql");

/// The versions that users have.
fn released() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/released");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = files.map(|name| name.into_string().unwrap());
    let versions: Vec<String> = names
        .map(|name| {
            let version = name.strip_prefix("caliber-pg--").and_then(|n| n.strip_suffix(".sql"));
            version.expect("caliber-pg--VERSION.sql").to_owned()
        })
        .collect();
    assert!(versions.contains(&"0.1.0".to_owned()), "{versions:?}");
    versions
}

/// Everything that belongs to the extension, with its definition and comment.
#[track_caller]
fn members(db: &mut Db) -> Vec<String> {
    db.all(
        "SELECT concat_ws(E'\\n', pg_describe_object(d.classid, d.objid, 0),
             obj_description(d.objid, d.classid::regclass::name),
             (SELECT concat_ws(' ', pg_get_functiondef(p.oid), p.proacl) FROM pg_proc p
              WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid),
             (SELECT concat_ws(' ', t.typtype, format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typnotnull,
                  (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum
                   WHERE enumtypid = t.oid),
                  (SELECT string_agg(pg_get_constraintdef(c.oid), ',' ORDER BY conname)
                   FROM pg_constraint c WHERE c.contypid = t.oid))
              FROM pg_type t WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid),
             (SELECT string_agg(format('%s %s', attname, format_type(atttypid, atttypmod)), ',' ORDER BY attnum)
              FROM pg_attribute WHERE d.classid = 'pg_class'::regclass AND attrelid = d.objid))
         FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'caliber-pg'
         WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' ORDER BY 1",
    )
}

#[test]
fn every_released_version_can_be_updated() {
    let mut db = Server::get().connect();
    for version in released() {
        let path: Option<String> = db.one(&format!(
            "SELECT path FROM pg_extension_update_paths('caliber-pg') p
             JOIN pg_available_extensions e ON e.name = 'caliber-pg' AND p.target = e.default_version
             WHERE p.source = '{version}'"
        ));
        assert!(path.is_some(), "no way from {version}");
    }
}

#[test]
fn an_update_ends_where_a_fresh_install_begins() {
    let fresh = Database::new("fresh");
    let wanted = members(&mut fresh.connect());
    assert!(wanted.len() > 100, "{wanted:?}");
    for version in released() {
        let database = Database::empty("updated");
        let mut db = database.connect();
        db.run(&format!(
            "CREATE EXTENSION vector; CREATE EXTENSION \"caliber-pg\" VERSION '{version}'"
        ));
        assert_ne!(members(&mut db), wanted, "an update from {version} has nothing to do");
        // The library is already the new one.
        db.run("SELECT caliber_init('caliber', 8)");
        let mut old = database.connect_to_schema("caliber");
        old.run(ROWS);
        let agent: String = old.one("SELECT caliber_agent_register('worker')::text");
        let rows: Vec<_> = TABLES.map(|table| old.rows_of(table)).into();
        db.run("ALTER EXTENSION \"caliber-pg\" UPDATE");
        assert_eq!(members(&mut db), wanted, "from {version}");
        // Both for the session that began before, and for a new one.
        let mut new = database.connect_to_schema("caliber");
        for session in [&mut old, &mut new] {
            assert_eq!(Vec::from(TABLES.map(|table| session.rows_of(table))), rows);
            rules_are_in_force(session);
            session.run(&format!("BEGIN; SELECT caliber_agent_heartbeat('{agent}'); ROLLBACK"));
            session.run("SELECT * FROM caliber_stat('caliber_agent')");
        }
        assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_check()"), 0);
    }
}
