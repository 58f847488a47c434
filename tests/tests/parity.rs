//! Plain tables of the access method against heap: each script of `parity/` runs in psql on
//! either, and its user must not see a difference.
//!
//! A statement that must fail says so at the end of its last line: `-- error 23505`, and
//! `-- error 23505 above` after the data of a COPY. Any other error is the script's mistake.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use caliber_tests::{Schema, Server, lit, psql};

/// Contrib extensions that scripts use where they are installed.
const EXTENSIONS: [&str; 3] = ["amcheck", "pageinspect", "pg_visibility"];

macro_rules! scripts {
    ($($name:ident $(needs $library:literal)?;)*) => {
        $(#[test]
        fn $name() {
            $(if !Server::get().has_contrib($library) {
                return;
            })?
            compare(stringify!($name));
        })*

        #[test]
        fn every_script_is_run() {
            let mut files: Vec<_> = std::fs::read_dir(folder())
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            files.sort();
            assert_eq!(files, [$(stringify!($name)),*]);
        }
    };
}

scripts! {
    access_method;
    analyze;
    churn;
    columns;
    copy;
    create_table_as;
    cursors;
    foreign_keys;
    hot;
    index_build;
    index_kinds;
    inheritance;
    insert_update_delete;
    logical_decoding needs "test_decoding";
    merge;
    on_conflict;
    partitions;
    rewrites;
    row_locks;
    row_security;
    rules_views;
    scans;
    temp_unlogged;
    toast;
    transactions;
    triggers;
    visibility needs "pg_visibility";
}

#[test]
fn the_option_chooses_the_access_method() {
    for am in ["heap", "caliber_am"] {
        let schema = Schema::bare("parity_option");
        let mut psql = psql::program("psql", &Server::get().db);
        psql.env("PGOPTIONS", options(am, schema.name())).args(["-X", "-A", "-t", "-q", "-c"]).arg(
            "CREATE TABLE t (id int); CREATE TEMP TABLE tmp AS SELECT 1 AS id;
             SELECT string_agg(amname, ' ') FROM pg_class c JOIN pg_am a ON a.oid = c.relam
             WHERE c.oid IN ('t'::regclass, 'tmp'::regclass)",
        );
        assert_eq!(psql::output(&mut psql).trim(), format!("{am} {am}"));
    }
}

/// What scripts call before a VACUUM or an index build whose outcome they show: it waits for
/// every transaction that may still see the rows as they were before. Such a one, autovacuum's
/// for instance, would keep dead rows alive. It commits as it waits, because some of the others
/// wait for it.
const SETTLE: &str = "
    CREATE PROCEDURE settle() LANGUAGE plpgsql AS $$
    DECLARE
        next xid := pg_snapshot_xmax(pg_current_snapshot())::xid;
        waiting bool := true;
    BEGIN
        WHILE waiting LOOP
            COMMIT;
            waiting := EXISTS (
                SELECT FROM pg_stat_activity
                WHERE pid <> pg_backend_pid()
                  AND (age(backend_xmin) > age(next) OR age(backend_xid) > age(next))
                UNION ALL
                SELECT FROM pg_prepared_xacts WHERE age(transaction) > age(next));
        END LOOP;
    END $$";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity")
}

fn options(am: &str, schema: &str) -> String {
    format!("-c default_table_access_method={am} -c search_path={schema},public")
}

/// One script at a time: the transactions of another would keep rows alive, of which some scripts
/// show how many there are.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs the script on heap, then on the access method.
fn compare(script: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    create_extensions();
    let heap = run(script, "heap");
    check_errors(script, &heap);
    let ours = run(script, "caliber_am");
    assert!(
        heap == ours,
        "{script}.sql: heap (-) and caliber_am (+)\n{}",
        difference(&heap, &ours)
    );
}

/// What psql shows of the script, without what differs between any two runs.
fn run(script: &str, am: &str) -> String {
    let server = Server::get();
    let schema = Schema::bare(&format!("parity_{script}"));
    let name = schema.name();
    schema.connect().run(SETTLE);
    let file = server.data_dir.join(format!("{name}.copy"));
    let text = psql::transcript(
        &folder().join(format!("{script}.sql")),
        &options(am, name),
        &[("schema", name), ("am", am), ("file", file.to_str().unwrap())],
    );
    clean_up(name);
    let mut shown = String::new();
    for line in text.lines().filter(|line| !is_incidental(line)) {
        let line = line.replace(name, "schema").replace("caliber_am", "heap");
        let _ = writeln!(shown, "{line}");
    }
    shown
}

/// The place in PostgreSQL's source code, and the number of a session's temporary schema.
fn is_incidental(line: &str) -> bool {
    line.starts_with("LOCATION:  ") || line.starts_with("SCHEMA NAME:  pg_temp_")
}

/// What a broken script can leave behind outside of its schema. It would block other tests.
fn clean_up(schema: &str) {
    let mut db = Server::get().connect();
    let mine = format!("LIKE {}", lit(&format!("{schema}%")));
    for gid in db.all::<String>(&format!("SELECT gid FROM pg_prepared_xacts WHERE gid {mine}")) {
        db.run(&format!("ROLLBACK PREPARED {}", lit(&gid)));
    }
    db.run(&format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
         WHERE slot_name {mine} AND NOT active"
    ));
    for role in
        db.all::<String>(&format!("SELECT rolname::text FROM pg_roles WHERE rolname {mine}"))
    {
        db.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
    }
}

/// Creates those of the extensions that are installed, once for all tests.
fn create_extensions() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let mut db = Server::get().connect();
        for name in EXTENSIONS.into_iter().filter(|name| Server::get().has_contrib(name)) {
            db.run(&format!("CREATE EXTENSION IF NOT EXISTS {name}"));
        }
    });
}

/// The script's errors are those that it announces, and all of them.
fn check_errors(script: &str, transcript: &str) {
    let file = folder().join(format!("{script}.sql"));
    let source = std::fs::read_to_string(&file).unwrap();
    let announced: Vec<(usize, &str)> = (1..)
        .zip(source.lines())
        .filter_map(|(number, line)| {
            let marker = line.rsplit_once("-- error ")?.1;
            Some(match marker.strip_suffix(" above") {
                Some(marker) => (number - 1, marker),
                None => (number, marker),
            })
        })
        .collect();
    // psql:FILE:LINE: ERROR:  SQLSTATE: message
    let prefix = format!("psql:{}:", file.display());
    let raised: Vec<(usize, &str)> = transcript
        .lines()
        .filter_map(|line| {
            let (number, message) = line.strip_prefix(&prefix)?.split_once(": ")?;
            let sqlstate = message.strip_prefix("ERROR:  ")?.get(..5)?;
            Some((number.parse().unwrap(), sqlstate))
        })
        .collect();
    let matches = |(number, sqlstate): &(usize, &str), (wanted, marker): &(usize, &str)| {
        number == wanted && marker.split('/').any(|m| m == *sqlstate)
    };
    let unexpected: Vec<_> =
        raised.iter().filter(|r| !announced.iter().any(|a| matches(r, a))).collect();
    let missing: Vec<_> =
        announced.iter().filter(|a| !raised.iter().any(|r| matches(r, a))).collect();
    assert!(
        unexpected.is_empty() && missing.is_empty(),
        "{script}.sql on heap: errors not announced {unexpected:?}, not raised {missing:?}\n{transcript}"
    );
}

/// The lines from the first to the last that differ, with some that lead there.
fn difference(a: &str, b: &str) -> String {
    const LEAD: usize = 6;
    const SHOWN: usize = 60;
    let (a, b): (Vec<_>, Vec<_>) = (a.lines().collect(), b.lines().collect());
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let end =
        a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let lead = a[start.saturating_sub(LEAD)..start].iter().map(|line| format!(" {line}"));
    let gone = a[start..a.len() - end].iter().take(SHOWN).map(|line| format!("-{line}"));
    let come = b[start..b.len() - end].iter().take(SHOWN).map(|line| format!("+{line}"));
    lead.chain(gone).chain(come).collect::<Vec<_>>().join("\n")
}
