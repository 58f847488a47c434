//! The server is killed at random moments under load. After each recovery all that was acknowledged
//! is there, and nothing that was not attempted; tables and indexes are sound; the rules hold.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::load::{DB, Load, Progress, set_up};
use super::rules::broken;
use super::sound::{damaged, lost_by_hnsw};
use super::{Plan, Report};
use crate::cluster::{Cluster, Installation, Kill};
use crate::db::Db;

const CLIENTS: usize = 6;

/// What is counted of each kill.
const CHECKED: &str = "recoveries checked";

/// All rows are looked at after each kill, which takes the longer the more there are.
const KILLS_OF_A_DATABASE: u64 = 20;

/// Little memory and frequent checkpoints, so that much is under way at any moment.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("shared_buffers", "16MB"),
    ("max_wal_size", "64MB"),
    ("checkpoint_timeout", "30s"),
    ("autovacuum_naptime", "1s"),
    ("max_connections", "50"),
    ("log_min_messages", "warning"),
    ("wal_log_hints", "on"),
    ("wal_keep_size", "512MB"),
];

/// Kills until the budget is spent; a step is a kill with its recovery.
///
/// # Panics
/// When something is lost, or damaged.
pub fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let mut rng = Rng::with_seed(plan.seed);
    let installation = Installation::copy();
    let cluster = Cluster::init(&installation, "crash", SETTINGS);
    cluster.start();
    let mut load = begin(&cluster, &mut rng);
    let mut cycles = plan.budget.start();
    while cycles.next_step(&report) {
        if report.get(CHECKED).is_multiple_of(KILLS_OF_A_DATABASE) && report.get(CHECKED) > 0 {
            cluster.connect("postgres").run(&format!("DROP DATABASE {DB} WITH (FORCE)"));
            load = begin(&cluster, &mut rng);
        }
        let (commits, pause) = (rng.u64(20..400), Duration::from_millis(rng.u64(0..40)));
        let how = rng.choice([Some(Kill::All), Some(Kill::Postmaster), None]).flatten();
        let (enough, doing) = load.run(
            || cluster.connect(DB),
            |progress| {
                let enough = progress.wait_for(commits);
                // Not always just after a commit.
                thread::sleep(pause);
                let doing = progress.doing();
                match how {
                    Some(how) => cluster.kill(how),
                    None => kill_a_child(&cluster, progress, &mut rng),
                }
                (enough, doing)
            },
        );
        assert!(enough, "nothing moved: {doing:?}");
        for what in doing {
            report.count(&format!("killed during {what}"), 1);
        }
        report.count(how.map_or("kills of a child", Kill::name), 1);
        if how.is_some() {
            cluster.start();
        }
        check(&mut cluster.connect(DB), &mut load, &mut report);
        check_log(&cluster);
    }
    report
}

/// A new database and its load.
fn begin(cluster: &Cluster<'_>, rng: &mut Rng) -> Load {
    set_up(&mut cluster.connect("postgres"), || cluster.connect(DB));
    let mut db = cluster.connect(DB);
    add_amcheck(&mut db);
    Load::new(&mut db, CLIENTS, rng)
}

/// Adds amcheck where it is at hand.
pub(super) fn add_amcheck(db: &mut Db) {
    let there = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'amcheck')";
    if db.one(there) {
        db.run("CREATE EXTENSION amcheck");
    }
}

/// Kills a backend or a background process, so that all end.
fn kill_a_child(cluster: &Cluster<'_>, progress: &Progress, rng: &mut Rng) {
    loop {
        if let Some(child) = rng.choice(cluster.children()) {
            cluster.kill_child(child);
        }
        // It may have ended by itself just before.
        if progress.somebody_ends() {
            return;
        }
    }
}

/// Looks at everything after a recovery.
///
/// # Panics
/// When something is lost, or damaged.
#[track_caller]
pub(super) fn check(db: &mut Db, load: &mut Load, report: &mut Report) {
    let mut found = load.settle(db);
    // What a user does after a killed CREATE INDEX CONCURRENTLY.
    let invalid: Vec<String> = db.all(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid OR NOT indisready",
    );
    for index in &invalid {
        db.run(&format!("DROP INDEX IF EXISTS {index}"));
    }
    report.count("invalid indexes dropped", invalid.len() as u64);
    found.extend(damaged(db));
    found.extend(lost_by_hnsw(db));
    found.extend(broken(db));
    found.truncate(20);
    assert!(found.is_empty(), "{}\n{report:#?}", found.join("\n"));
    report.count(CHECKED, 1);
}

/// Fails when a table or index of the current schema is damaged, or a rule is broken.
///
/// # Panics
/// When one is.
#[track_caller]
pub fn assert_sound(db: &mut Db) {
    let found = [damaged(db), broken(db)].concat();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The server complains of nothing but of having been killed.
///
/// # Panics
/// When it does.
#[track_caller]
pub(super) fn check_log(cluster: &Cluster<'_>) {
    for line in cluster.log().lines() {
        let bad =
            ["PANIC:", "leak", "was not closed", "still referenced", "XX000", "inconsistent page"];
        let killed = line.contains("was terminated by signal") && !line.contains("signal 9");
        assert!(!killed && !bad.iter().any(|bad| line.contains(bad)), "{line}");
    }
}
