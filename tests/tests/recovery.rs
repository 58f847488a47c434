//! Recovery from a crash while the extension's library is not there: the log is heap's, so nothing
//! of ours is needed to replay it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::fs;

use caliber_tests::cluster::{Cluster, Installation, Kill};
use caliber_tests::torture::crash;

#[test]
fn a_cluster_recovers_without_the_library() {
    let installation = Installation::copy();
    let cluster = Cluster::init(&installation, "moved", &[("fsync", "on")]);
    cluster.start();
    let mut db = cluster.connect("postgres");
    db.run(
        "CREATE EXTENSION \"caliber-pg\" CASCADE; SELECT caliber_init(embedding_dim => 8);
         CREATE TABLE plain (n int PRIMARY KEY) USING caliber_am;
         CREATE TABLE heap (n int PRIMARY KEY) USING heap; CHECKPOINT",
    );
    // Only in the log: the crash comes before another checkpoint.
    db.run(
        "INSERT INTO plain SELECT generate_series(1, 1000);
         INSERT INTO heap SELECT generate_series(1, 1000);
         UPDATE plain SET n = -n WHERE n % 2 = 0;
         SELECT caliber_agent_register('worker') FROM generate_series(1, 100);
         SELECT caliber_agent_heartbeat(agent_id) FROM caliber.caliber_agent",
    );
    let rows = |db: &mut caliber_tests::Db, table: &str| db.rows_of(table);
    let before = ["plain", "caliber.caliber_agent"].map(|table| rows(&mut db, table));
    drop(db);
    cluster.kill(Kill::All);

    let away = installation.library().with_extension("away");
    fs::rename(installation.library(), &away).unwrap();
    cluster.start();
    let mut db = cluster.connect("postgres");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM heap"), 1000);
    db.run("INSERT INTO heap VALUES (0)");
    for statement in [
        "SELECT * FROM plain",
        "INSERT INTO plain VALUES (0)",
        "SELECT caliber_agent_register('worker')",
    ] {
        // undefined_file: PostgreSQL says which file it does not find.
        let error = db.refused(statement, "58P01");
        assert!(error.message().contains("could not access file"), "{error}");
        assert!(error.message().contains("caliber-pg"), "{error}");
    }
    db.run("VACUUM heap");
    drop(db);
    cluster.kill(Kill::All);

    fs::rename(&away, installation.library()).unwrap();
    cluster.start();
    let mut db = cluster.connect("postgres");
    let after = ["plain", "caliber.caliber_agent"].map(|table| rows(&mut db, table));
    assert_eq!(after, before);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM heap"), 1001);
    db.run("INSERT INTO plain VALUES (0); SELECT caliber_agent_register('worker')");
    db.run("SET search_path = caliber, public");
    crash::assert_sound(&mut db);
}
