//! Errors, timeouts, cancels and invalidations in the middle of an index build: the table is as it
//! was, and the index that is built in the end finds every row.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::indexes::{indexes, indexes_agree};
use caliber_tests::steps::{FUNCTIONS, How, Steps};
use caliber_tests::{Db, Schema, amcheck_in};

/// Rows in HOT chains, updated ones, deleted ones, and large ones.
const TABLE: &str = "
    CREATE TABLE t (n int PRIMARY KEY, word text, big text) USING caliber_am WITH (fillfactor = 50);
    ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
    INSERT INTO t SELECT n, 'word ' || n, repeat(n::text, 1500) FROM generate_series(1, 300) n;
    UPDATE t SET big = 'short' WHERE n % 3 = 0;
    UPDATE t SET big = 'shorter' WHERE n % 6 = 0;
    UPDATE t SET n = -n WHERE n % 10 = 1;
    DELETE FROM t WHERE n % 10 = 7";
/// Rows that a scan meets.
const ROWS: u32 = 270;

/// Each kind of build, with the statement that removes what it made or left behind.
const BUILDS: [(&str, &str, &str); 6] = [
    ("", "CREATE INDEX built ON t (step_of('build', word))", "DROP INDEX IF EXISTS built"),
    (
        "",
        "CREATE UNIQUE INDEX built ON t (step_of('build', word), n) WHERE step_check('predicate', n::text)",
        "DROP INDEX IF EXISTS built",
    ),
    (
        "",
        "CREATE INDEX CONCURRENTLY built ON t (step_of('build', word))",
        "DROP INDEX IF EXISTS built",
    ),
    ("CREATE INDEX built ON t (step_of('build', word))", "REINDEX INDEX built", "DROP INDEX built"),
    (
        "CREATE INDEX built ON t (step_of('build', word))",
        "REINDEX INDEX CONCURRENTLY built",
        "DROP INDEX IF EXISTS built, built_ccnew, built_ccold",
    ),
    (
        "CREATE INDEX built ON t (step_of('build', word))",
        "ALTER TABLE t ALTER word TYPE varchar(100), ALTER n TYPE bigint",
        "DROP INDEX built; ALTER TABLE t ALTER word TYPE text, ALTER n TYPE int",
    ),
];

/// Every valid index of the table finds every row.
#[track_caller]
fn is_sound(db: &mut Db) {
    db.run("BEGIN");
    let indexes: Vec<_> = indexes(db, &["t"]);
    assert!(!indexes.is_empty());
    let valid: Vec<String> = db.all(
        "SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
         WHERE x.indrelid = 't'::regclass AND x.indisvalid",
    );
    let valid: Vec<_> = indexes.into_iter().filter(|index| valid.contains(&index.name)).collect();
    indexes_agree(db, &valid);
    db.run("ROLLBACK");
    if amcheck_in(db) {
        let damage: Vec<String> = db.all("SELECT v::text FROM caliber_verify('t') v");
        assert_eq!(damage, [""; 0]);
    }
}

fn filled(schema: &Schema) -> (Db, Steps) {
    let mut db = schema.connect();
    db.run(FUNCTIONS);
    db.run(TABLE);
    (db, Steps::new(schema.connect()))
}

#[test]
fn each_build_may_fail_anywhere() {
    let schema = Schema::bare("builds");
    let (mut db, mut steps) = filled(&schema);
    let rows = db.rows_of("t");
    for (before, build, after) in BUILDS {
        // At the first rows, in the middle and at the last ones. What meets two steps a row is
        // in its middle there.
        let places = [1, 2, ROWS / 2, ROWS - 1, ROWS];
        for n in places {
            for how in How::ALL {
                db.run("SET test.steps = 0");
                db.run(before);
                steps.fails(&mut db, how, n, build, |db| db.attempt(build));
                db.run("SET test.steps = 0; RESET lock_timeout; RESET statement_timeout");
                assert_eq!(db.rows_of("t"), rows, "{build}: step {n} by {how:?}");
                is_sound(&mut db);
                // The table takes writes, whatever was left behind.
                db.run("INSERT INTO t VALUES (0, 'more'); DELETE FROM t WHERE n = 0");
                db.run(after);
            }
        }
        db.run(before);
        db.run(build);
        is_sound(&mut db);
        db.run(after);
    }
}

#[test]
fn invalidations_in_the_middle_of_a_build() {
    let schema = Schema::bare("builds_invalidated");
    let (mut db, mut steps) = filled(&schema);
    for (before, build, after) in &BUILDS[..5] {
        for n in [1, ROWS / 2, ROWS] {
            db.run(before);
            steps.meanwhile(&mut db, n, build, |other| {
                // Allowed whatever lock the build holds, and the table's relcache entry is built
                // anew; so many others are that whole caches are thrown away.
                other.run("GRANT SELECT ON t TO public; REVOKE SELECT ON t FROM public");
                other.run(
                    "DO $$ BEGIN FOR i IN 1..300 LOOP
                         EXECUTE 'CREATE TEMP TABLE many_' || i || ' (a int, b int, c int)';
                         EXECUTE 'DROP TABLE many_' || i;
                         COMMIT;
                     END LOOP; END $$",
                );
            });
            is_sound(&mut db);
            assert_eq!(db.one::<i64>("SELECT count(*) FROM t"), i64::from(ROWS));
            db.run(after);
        }
    }
}
