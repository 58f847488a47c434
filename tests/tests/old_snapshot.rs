//! An index that is built while an older snapshot is in use misses nothing that the snapshot sees.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::Schema;

#[test]
fn a_new_index_finds_what_an_older_snapshot_sees() {
    for change in ["DELETE FROM t WHERE id = 1", "UPDATE t SET x = 9 WHERE id = 1"] {
        let schema = Schema::bare("old_snapshot");
        let (mut db, mut old) = (schema.connect(), schema.connect());
        db.run(
            "CREATE TABLE t (id int PRIMARY KEY, x int) USING caliber_am WITH (fillfactor = 50);
             INSERT INTO t SELECT n, n FROM generate_series(1, 5) n",
        );
        old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current_snapshot()");
        db.run(change);
        db.run("CREATE INDEX t_x ON t (x)");
        old.run("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off");
        let found: Vec<i32> = old.all("SELECT id FROM t WHERE x = 1");
        assert_eq!(found, [1], "{change}");
        old.run("COMMIT");
    }
}
