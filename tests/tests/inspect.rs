//! `caliber_verify` finds damage and `caliber_stat` counts, where PostgreSQL's tools for both refuse.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;

use caliber_tests::cluster::{Cluster, Installation, Kill};
use caliber_tests::{Db, Schema, Server, Tree, amcheck_in};

/// What `caliber_verify` says of a table: the damaged part and the message.
#[track_caller]
fn findings(db: &mut Db, table: &str) -> Vec<(String, String)> {
    let sql = format!("SELECT part::text, msg FROM caliber_verify('{table}')");
    db.query(&sql, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A role of its own, dropped with what it was granted.
struct Role(String);

impl Role {
    fn new(db: &mut Db, schema: &Schema) -> Self {
        let name = format!("looks_at_{}", schema.name());
        db.run(&format!(
            "CREATE ROLE {name}; GRANT USAGE ON SCHEMA {} TO {name}; GRANT SELECT ON t TO {name}",
            schema.name()
        ));
        Self(name)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let mut db = Server::get().connect();
        db.run(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.0));
    }
}

#[test]
fn nothing_is_damaged_in_tables_that_were_used() {
    let mut tree = Tree::new("verify");
    tree.append("'user', 'hello'");
    let db = &mut tree.db;
    if !amcheck_in(db) {
        let error = db.refused("SELECT caliber_verify('caliber_turn')", "42704");
        assert_eq!(error.hint(), Some("Install it with CREATE EXTENSION amcheck."));
        return;
    }
    // With values in the toast table, dead rows, an index that is not valid and one of each kind.
    db.run(
        "CREATE TABLE t (a int PRIMARY KEY, b text, c jsonb) USING caliber_am;
         INSERT INTO t SELECT n, string_agg(gen_random_uuid()::text, ''), jsonb_build_object('n', n)
             FROM generate_series(1, 100) n, generate_series(1, 300) GROUP BY n;
         CREATE INDEX ON t USING gin (c); CREATE INDEX ON t USING hash (a); CREATE INDEX ON t USING brin (a);
         UPDATE t SET a = -a WHERE a % 2 = 0; DELETE FROM t WHERE a % 3 = 0",
    );
    db.attempt("CREATE UNIQUE INDEX CONCURRENTLY ON t ((a > 0))").unwrap_err();
    let tables: Vec<String> = db.all(
        "SELECT oid::regclass::text FROM pg_class
         WHERE relnamespace = current_schema::regnamespace AND relkind = 'r'",
    );
    assert!(tables.len() > 11, "{tables:?}");
    for table in tables {
        assert_eq!(findings(db, &table), [], "{table}");
    }
}

#[test]
fn an_index_that_disagrees_is_named() {
    let schema = Schema::bare("verify");
    let mut db = schema.connect();
    if !amcheck_in(&mut db) {
        return;
    }
    db.run(
        "CREATE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a; END';
         CREATE TABLE t (a int PRIMARY KEY) USING caliber_am;
         INSERT INTO t SELECT generate_series(1, 100);
         CREATE INDEX t_f ON t (f(a));
         CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE
             AS 'BEGIN RETURN a + 1000; END'",
    );
    let found = findings(&mut db, "t");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "t_f");
    assert!(found[0].1.contains("lacks matching index tuple"), "{found:?}");
    // The finding ends no transaction, and takes nothing back.
    db.run("BEGIN; INSERT INTO t VALUES (101)");
    assert_eq!(findings(&mut db, "t").len(), 1);
    db.run("COMMIT");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM t"), 101);
    // What is no damage is an error as ever.
    db.run(
        "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE
             AS 'BEGIN RETURN a / 0; END'",
    );
    db.refused("SELECT caliber_verify('t')", "22012");
    db.run("REINDEX INDEX t_pkey; DROP INDEX t_f");
    assert_eq!(findings(&mut db, "t"), []);
}

#[test]
fn the_access_method_reads_as_heap_for_nobody_else() {
    let schema = Schema::bare("verify");
    let mut db = schema.connect();
    if !amcheck_in(&mut db) {
        return;
    }
    db.run("CREATE TABLE t (a int) USING caliber_am; INSERT INTO t VALUES (1)");
    for _ in 0..2 {
        assert_eq!(findings(&mut db, "t"), []);
        let error = db.refused("SELECT verify_heapam('t')", "0A000");
        assert_eq!(error.message(), "only heap AM is supported");
    }
}

#[test]
fn changes_of_the_catalog_do_not_disturb_the_check() {
    let schema = Schema::bare("verify");
    let mut db = schema.connect();
    if !amcheck_in(&mut db) {
        return;
    }
    db.run("CREATE TABLE t (a int PRIMARY KEY) USING caliber_am; INSERT INTO t VALUES (1)");
    thread::scope(|threads| {
        // Dropped at the end, also at that of an assertion that fails.
        let (stop, stopped) = mpsc::channel::<()>();
        let schema = &schema;
        threads.spawn(move || {
            let mut other = schema.connect();
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                other.run("GRANT SELECT ON t TO PUBLIC; REVOKE SELECT ON t FROM PUBLIC");
            }
        });
        for _ in 0..300 {
            // New in the session, amcheck's functions are looked up while the table is looked at.
            let mut db = schema.connect();
            assert_eq!(findings(&mut db, "t"), []);
        }
        drop(stop);
    });
}

#[test]
fn a_damaged_page_is_found() {
    let installation = Installation::copy();
    let cluster = Cluster::init(&installation, "damaged", &[("autovacuum", "off")]);
    cluster.start();
    let mut db = cluster.connect("postgres");
    if !Server::get().has_contrib("amcheck") {
        return;
    }
    db.run(
        "CREATE EXTENSION \"caliber-pg\" CASCADE; CREATE EXTENSION amcheck;
         CREATE TABLE t (a int, b text) USING caliber_am;
         INSERT INTO t SELECT n, string_agg(gen_random_uuid()::text, '')
             FROM generate_series(1, 3) n, generate_series(1, 300) GROUP BY n;
         CREATE TABLE sound (LIKE t) USING caliber_am; INSERT INTO sound SELECT * FROM t; CHECKPOINT",
    );
    let path: String =
        db.one("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('t')");
    let toast = "SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 't'";
    let toast_name: String = db.one(&format!("SELECT ({toast})::text"));
    let toast_path: String = db.one(&format!(
        "SELECT current_setting('data_directory') || '/' || pg_relation_filepath(({toast}))"
    ));
    drop(db);
    cluster.kill(Kill::All);
    // The first line pointer says where the first tuple is; its 23rd byte says where its data begins.
    let damage = |path: &str| {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut pointer = [0; 2];
        file.read_exact_at(&mut pointer, 24).unwrap();
        let tuple = u64::from(u16::from_le_bytes(pointer) & 0x7fff);
        file.write_all_at(&[200], tuple + 22).unwrap();
    };
    damage(&path);
    damage(&toast_path);
    cluster.start();
    let mut db = cluster.connect("postgres");
    assert_eq!(findings(&mut db, "sound"), []);

    // By its checksum alone.
    let found = findings(&mut db, "t");
    assert!(
        found.iter().any(|(part, msg)| part == "t" && msg.contains("invalid page")),
        "{found:?}"
    );
    assert!(found.iter().any(|(part, _)| *part == toast_name), "{found:?}");
    // That was an error inside of amcheck: the table reads as heap no longer.
    db.refused("SELECT verify_heapam('t')", "0A000");

    // By what is on the page.
    db.run("SET ignore_checksum_failure = on");
    let at = "SELECT blkno, offnum, attnum IS NULL, msg FROM caliber_verify('t') WHERE part = 't'::regclass";
    let rows = db.query(&format!("{at} ORDER BY blkno, offnum"), &[]).unwrap();
    let first: (i64, i32, bool, String) =
        (rows[0].get(0), rows[0].get(1), rows[0].get(2), rows[0].get(3));
    assert_eq!((first.0, first.1, first.2), (0, 1, true), "{first:?}");
    assert!(first.3.contains("beyond the tuple length"), "{first:?}");
    let found = findings(&mut db, "t");
    assert!(found.iter().any(|(part, _)| *part == toast_name), "{found:?}");
    db.run("INSERT INTO sound VALUES (4, 'x')");
    assert_eq!(findings(&mut db, "sound"), []);
}

#[test]
fn only_tables_of_this_access_method_are_looked_at() {
    let schema = Schema::bare("verify");
    let mut db = schema.connect();
    db.run(
        "CREATE TABLE t (a int PRIMARY KEY) USING caliber_am; CREATE TABLE h (a int) USING heap;
         CREATE VIEW v AS TABLE t; CREATE TABLE p (a int) PARTITION BY LIST (a)",
    );
    for function in ["caliber_verify", "caliber_stat"] {
        for other in ["h", "v", "p", "t_pkey"] {
            let error = db.refused(&format!("SELECT {function}('{other}')"), "42809");
            let said = format!("\"{other}\" is not a table of access method caliber_am");
            assert_eq!(error.message(), said);
        }
        let error = db.refused(&format!("SELECT {function}(4294967295)"), "42P01");
        assert_eq!(error.message(), "relation with OID 4294967295 does not exist");
        assert_eq!(db.one::<i64>(&format!("SELECT count(*) FROM {function}(NULL)")), 0);
        let mut other = schema.connect();
        other.run("CREATE TEMP TABLE mine (a int) USING caliber_am");
        let oid: u32 = other.one("SELECT 'mine'::regclass::oid");
        db.refused(&format!("SELECT {function}({oid})"), "0A000");
    }
}

#[test]
fn who_may_look() {
    let schema = Schema::bare("verify");
    let mut db = schema.connect();
    db.run("CREATE TABLE t (a int) USING caliber_am; INSERT INTO t VALUES (1)");
    let role = Role::new(&mut db, &schema);
    let there = amcheck_in(&mut db);
    let mut locker = schema.connect();
    let mut user = schema.connect();
    user.run(&format!("SET ROLE {}", role.0));
    // Refused before a lock is waited for.
    locker.run("BEGIN; LOCK TABLE t");
    for function in ["caliber_verify", "caliber_stat"] {
        let error = user.refused(&format!("SELECT {function}('t')"), "42501");
        assert_eq!(error.message(), "must be owner of table t");
    }
    locker.run("ROLLBACK");
    let stat = "SELECT tuple_count FROM caliber_stat('t')";
    db.run(&format!("GRANT pg_stat_scan_tables TO {}", role.0));
    assert_eq!(user.one::<i64>(stat), 1);
    user.refused("SELECT caliber_verify('t')", "42501");
    db.run(&format!("REVOKE pg_stat_scan_tables FROM {}", role.0));
    if Server::get().major() >= 17 {
        db.run(&format!("GRANT MAINTAIN ON t TO {}", role.0));
        assert_eq!(user.one::<i64>(stat), 1);
        assert_eq!(findings(&mut user, "t"), []);
        db.run(&format!("REVOKE MAINTAIN ON t FROM {}", role.0));
    }
    user.refused(stat, "42501");
    db.run(&format!("ALTER TABLE t OWNER TO {}", role.0));
    assert_eq!(user.one::<i64>(stat), 1);
    if there {
        // amcheck's functions are not for everybody; the owner of the table does not need them.
        user.refused("SELECT bt_index_check('t')", "42501");
        assert_eq!(findings(&mut user, "t"), []);
    }
}

/// Rows, some of which are deleted and replaced, in one transaction so that none of them is pruned.
const USE: &str = "BEGIN;
    INSERT INTO {t} SELECT n, 0, repeat('x', n % 100) FROM generate_series(1, 1000) n; COMMIT; BEGIN;
    DELETE FROM {t} WHERE a <= 100; UPDATE {t} SET b = 1 WHERE a % 5 = 0; COMMIT";

#[test]
fn tuples_and_space_are_counted() {
    let schema = Schema::bare("stat");
    let mut db = schema.connect();
    for (table, method) in [("t", "caliber_am"), ("h", "heap")] {
        db.run(&format!(
            "CREATE TABLE {table} (a int PRIMARY KEY, b int, c text) USING {method}
             WITH (autovacuum_enabled = off, fillfactor = 60)"
        ));
        db.run(&USE.replace("{t}", table));
    }
    db.run("SELECT pg_stat_force_next_flush()");
    let counts = "SELECT ARRAY[tuple_count, dead_tuple_count, updates] FROM caliber_stat('t')";
    assert_eq!(db.one::<Vec<i64>>(counts), [900, 280, 180]);
    assert!(db.one::<bool>("SELECT hot_percent > 90 AND hot_updates > 160 FROM caliber_stat('t')"));
    assert!(db.one::<bool>(
        "SELECT hot_updates = pg_stat_get_tuples_hot_updated('t'::regclass) FROM caliber_stat('t')"
    ));
    let size = "SELECT table_len = pg_relation_size('t') FROM caliber_stat('t')";
    assert!(db.one::<bool>(size));
    if Server::get().has_contrib("pgstattuple") {
        db.run(&format!("CREATE EXTENSION pgstattuple SCHEMA {}", schema.name()));
        let columns = "table_len, tuple_count, tuple_len, tuple_percent::int, dead_tuple_count,
            dead_tuple_len, dead_tuple_percent::int, free_space, free_percent::int";
        let ours: String = db.one(&format!("SELECT ROW({columns})::text FROM caliber_stat('t')"));
        let theirs: String = db.one(&format!("SELECT ROW({columns})::text FROM pgstattuple('h')"));
        assert_eq!(ours, theirs);
        db.refused("SELECT pgstattuple('t')", "0A000");
    }
    // What another transaction is about to insert or delete is there until it has.
    let mut other = schema.connect();
    other.run("BEGIN; DELETE FROM t WHERE a = 200; INSERT INTO t VALUES (2000)");
    let [there, dead, _] = db.one::<Vec<i64>>(counts)[..] else { panic!("three counts") };
    assert_eq!(there, 901);
    other.run("ROLLBACK");
    assert_eq!(db.one::<Vec<i64>>(counts), [900, dead + 1, 180]);
    db.run("TRUNCATE t");
    let empty = "SELECT table_len = 0 AND tuple_percent IS NULL FROM caliber_stat('t')";
    assert!(db.one::<bool>(empty));
}
