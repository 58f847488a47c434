//! Dumps by pg_dump, restored in all ways: the same rows under the same rules.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::path::Path;

use caliber_tests::database::Database;
use caliber_tests::filled::{Filled, TABLES, rules_are_in_force};
use caliber_tests::{Db, Server, psql};
use tempfile::TempDir;

/// Dumps the schema by pg_dump, with these options and into this file or folder.
#[track_caller]
fn dump(filled: &Filled, options: &[&str], to: &Path) {
    let mut command = psql::program("pg_dump", &Server::get().db);
    psql::output(command.args(["-n", filled.schema.name(), "-f"]).arg(to).args(options));
}

/// pg_restore into the database, with these options.
#[track_caller]
fn restore(database: &Database, options: &[&str], from: &Path) {
    let mut command = psql::program("pg_restore", database.name());
    psql::output(command.arg("--exit-on-error").args(options).arg(from));
}

/// Feeds a dump in plain SQL to psql.
#[track_caller]
fn feed(database: &Database, from: &Path) {
    psql::feed(database.name(), &std::fs::read_to_string(from).unwrap());
}

/// The restored tables are entities, hold the same rows, and have their rules.
#[track_caller]
fn is_the_same(filled: &mut Filled, restored: &mut Db) {
    for table in TABLES {
        assert_eq!(filled.db.rows_of(table), restored.rows_of(table), "{table}");
    }
    let fence = "SELECT (last_value, is_called)::text FROM caliber_fence";
    assert_eq!(filled.db.one::<String>(fence), restored.one::<String>(fence));
    rules_are_in_force(restored);
    let problems: i64 = restored.one("SELECT count(*) FROM caliber_check(current_schema())");
    assert_eq!(problems, 0);
}

/// Dumps and restores the schema; `back` restores what is in the file or folder.
#[track_caller]
fn round_trip(name: &str, options: &[&str], back: fn(&Database, &Path)) {
    let mut filled = Filled::new(name);
    // A fence was given, and the next one must be higher after the restore.
    filled.db.run("SELECT setval('caliber_fence', 1234)");
    let database = Database::new(name);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("dump");
    dump(&filled, options, &file);
    back(&database, &file);
    let mut restored = database.connect_to_schema(filled.schema.name());
    is_the_same(&mut filled, &mut restored);
    assert_eq!(restored.one::<i64>("SELECT nextval('caliber_fence')"), 1235);
}

#[test]
fn a_dump_restores_the_same_rows_under_the_same_rules() {
    round_trip("dump_plain", &[], feed);
}

#[test]
fn a_dump_of_inserts_restores_the_same() {
    round_trip("dump_inserts", &["--rows-per-insert=2"], feed);
}

#[test]
fn a_dump_restored_in_two_parts_is_the_same() {
    round_trip("dump_custom", &["-Fc"], |database, file| {
        for part in ["--schema-only", "--data-only"] {
            restore(database, &["--disable-triggers", part], file);
        }
    });
}

#[test]
fn a_dump_restored_by_several_jobs_is_the_same() {
    round_trip("dump_jobs", &["-Fd", "-j2"], |database, folder| {
        restore(database, &["-j2"], folder);
    });
}

#[test]
fn a_dump_without_the_access_method_is_mended_by_set_access_method() {
    let mut filled = Filled::new("dump_heap");
    let database = Database::new("dump_heap");
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("dump");
    dump(&filled, &["-Fc"], &file);
    restore(&database, &["--no-table-access-method"], &file);
    let mut restored = database.connect_to_schema(filled.schema.name());
    let named: Vec<String> = restored.all(
        "SELECT DISTINCT relation::text FROM caliber_check(current_schema())
         WHERE problem LIKE '%access method%' ORDER BY 1",
    );
    let mut tables = TABLES;
    tables.sort_unstable();
    assert_eq!(named, tables);
    for table in TABLES {
        restored.run(&format!("ALTER TABLE {table} SET ACCESS METHOD caliber_am"));
    }
    is_the_same(&mut filled, &mut restored);
}

/// The rows of tables that `caliber_init` has just made, and the sequence.
#[test]
fn a_dump_of_the_rows_alone_fills_new_tables() {
    let mut filled = Filled::new("dump_data");
    filled.db.run("SELECT setval('caliber_fence', 1234)");
    let database = Database::new("dump_data");
    let schema = filled.schema.name().to_owned();
    database.connect().run(&format!("CREATE SCHEMA {schema}; SELECT caliber_init('{schema}', 8)"));
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("dump");
    dump(&filled, &["--data-only", "--disable-triggers"], &file);
    feed(&database, &file);
    is_the_same(&mut filled, &mut database.connect_to_schema(&schema));
}

/// The tables refer to each other in a circle, so no order of them fits the foreign keys.
#[test]
fn a_dump_of_the_rows_alone_needs_disable_triggers() {
    let filled = Filled::new("dump_circle");
    let database = Database::new("dump_circle");
    let schema = filled.schema.name();
    let mut db = database.connect();
    db.run(&format!("CREATE SCHEMA {schema}; SELECT caliber_init('{schema}', 8)"));
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("dump");
    dump(&filled, &["--data-only", "--inserts"], &file);
    let sql = std::fs::read_to_string(&file).unwrap();
    // But for the commands to psql that newer versions of pg_dump write.
    let sql: Vec<_> = sql.lines().filter(|line| !line.starts_with('\\')).collect();
    db.refused(&sql.join("\n"), "23503");
}

/// The whole database, with two schemas of memory and the extension itself.
#[test]
fn a_dump_of_a_database_brings_the_extension_and_all_schemas() {
    let from = Database::new("dump_whole");
    let rows = include_str!("../src/filled.sql");
    let mut db = from.connect();
    for schema in ["caliber", "memory"] {
        db.run(&format!(
            "SELECT caliber_init('{schema}', 8); SET search_path = {schema}, public; {rows}"
        ));
    }
    db.run("UPDATE memory.caliber_scope SET purpose = 'of the second' WHERE is_active; RESET search_path");
    let to = Database::empty("dump_whole");
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("dump");
    let mut command = psql::program("pg_dump", from.name());
    psql::output(command.args(["-Fc", "-f"]).arg(&file));
    restore(&to, &[], &file);
    for schema in ["caliber", "memory"] {
        let (mut db, mut restored) = (from.connect_to_schema(schema), to.connect_to_schema(schema));
        for table in TABLES {
            assert_eq!(db.rows_of(table), restored.rows_of(table), "{schema}.{table}");
        }
        rules_are_in_force(&mut restored);
        let problems: i64 = restored.one("SELECT count(*) FROM caliber_check(current_schema())");
        assert_eq!(problems, 0);
        let fresh: bool = restored.one("SELECT caliber_agent_register('worker') IS NOT NULL");
        assert!(fresh);
    }
}

/// psql goes on after the errors of what needs the extension, as it does unless told to stop.
#[test]
fn a_dump_restored_without_the_extension_leaves_no_entities_and_is_found() {
    let from = Database::new("dump_without");
    from.connect().run(
        "SELECT caliber_init('caliber', 8); CREATE TABLE plain (n int) USING caliber_am;
         INSERT INTO plain VALUES (1)",
    );
    let dump = psql::output(&mut psql::program("pg_dump", from.name()));
    // What a server says on which the extension is not installed.
    let line = "CREATE EXTENSION IF NOT EXISTS \"caliber-pg\"";
    assert!(dump.contains(line), "{dump}");
    let dump = dump.replace(line, "CREATE EXTENSION \"caliber-that-is-missing\"");
    let to = Database::empty("dump_without");
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("dump.sql");
    std::fs::write(&file, dump).unwrap();
    psql::output(psql::program("psql", to.name()).args(["-X", "-q", "-f"]).arg(&file));
    let mut restored = to.connect();
    let tables: Vec<String> = restored.all(
        "SELECT format('%s %s', c.oid::regclass, a.amname) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
         WHERE c.relkind = 'r' AND (c.relname LIKE 'caliber%' OR c.relname = 'plain')",
    );
    assert_eq!(tables, ["plain heap"]);
    assert_eq!(restored.one::<i32>("SELECT n FROM plain"), 1);
    restored.run("CREATE EXTENSION \"caliber-pg\"");
    let missing: i64 =
        restored.one("SELECT count(*) FROM caliber_check() WHERE problem LIKE '%is missing'");
    assert_eq!(missing, 11);
}
