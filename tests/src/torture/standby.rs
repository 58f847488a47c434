//! A streaming standby under load: it answers what reads and refuses what writes; when the primary
//! is killed it is promoted, has all that was acknowledged, and the load goes on there.
//!
//! Commits wait until the standby has applied them, so that acknowledged means replicated. Each
//! change of a page is replayed under `wal_consistency_checking`, but those of hash indexes: with
//! these compared, PostgreSQL 16.14 and 18.6 were seen to write Hash records whose checksum is wrong on
//! the primary too, and the standby stops there.

use std::thread;

use fastrand::Rng;

use super::crash::{SETTINGS, add_amcheck, check, check_log};
use super::load::{DB, Load, set_up};
use super::{Plan, Report};
use crate::cluster::{Cluster, Installation, Kill};
use crate::db::Db;
use crate::ready::{Ready, ready_calls};

const CLIENTS: usize = 4;

/// The schema of the rows that each function is called with.
const CALLS: &str = "calls";
/// Works on it.
const HERE: &str = "SET caliber.schema = calls; SET search_path = calls, public";

const STREAMING: &[(&str, &str)] = &[
    ("wal_consistency_checking", "heap, heap2, btree, brin, gin, gist, spgist, sequence, generic"),
    ("synchronous_commit", "remote_apply"),
    ("hot_standby_feedback", "on"),
    ("max_standby_streaming_delay", "-1"),
];

/// Has every commit wait for a standby.
const WAITING: &[(&str, &str)] = &[("synchronous_standby_names", "*")];

/// Kills primaries and promotes their standbys until the budget is spent; a step is one of these.
///
/// # Panics
/// When something is lost, or damaged, or answered wrongly.
pub fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let mut rng = Rng::with_seed(plan.seed);
    let installation = Installation::copy();
    let settings = [SETTINGS, STREAMING].concat();
    let mut primary = Cluster::init(&installation, "a", &settings);
    primary.start();
    set_up(&mut primary.connect("postgres"), || primary.connect(DB));
    let mut db = primary.connect(DB);
    add_amcheck(&mut db);
    let calls = Calls::new(&mut db);
    let mut load = Load::new(&mut db, CLIENTS, &mut rng);
    drop(db);
    let mut standby = Cluster::standby_of(&primary, "b");
    let mut cycles = plan.budget.start();
    while cycles.next_step(&report) {
        standby.start();
        primary.set_own(WAITING);
        reload(&mut primary.connect(DB));
        let commits = rng.u64(50..300);
        let (enough, doing) = load.run(
            || primary.connect(DB),
            |progress| {
                thread::scope(|scope| {
                    let reads = scope.spawn(|| calls.check(&mut standby.connect(DB)));
                    let enough = progress.wait_for(commits);
                    let (answered, refused) = reads.join().expect("the standby answered wrongly");
                    report.count("reads answered by a standby", answered);
                    report.count("writes refused by a standby", refused);
                    let doing = progress.doing();
                    primary.kill(Kill::All);
                    (enough, doing)
                })
            },
        );
        assert!(enough, "nothing moved: {doing:?}");
        standby.promote();
        report.count("standbys promoted", 1);
        check(&mut standby.connect(DB), &mut load, &mut report);
        check_log(&primary);
        check_log(&standby);
        (primary, standby) = (standby, primary);
        if rng.bool() {
            standby.rewind(&primary);
            report.count("former primaries rewound", 1);
        } else {
            standby.base_backup(&primary);
            report.count("base backups", 1);
        }
    }
    report
}

fn reload(db: &mut Db) {
    db.run("SELECT pg_reload_conf()");
    db.wait_until("current_setting('synchronous_standby_names') = '*'");
    db.wait_until("EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')");
}

/// A call of each function that would succeed on a primary.
struct Calls {
    reads: Vec<String>,
    writes: Vec<String>,
}

impl Calls {
    fn new(db: &mut Db) -> Self {
        db.run(&format!("SELECT caliber_init('{CALLS}', 8); {HERE}"));
        let calls = ready_calls(db, CALLS);
        db.run("RESET caliber.schema; RESET search_path");
        let (writes, reads): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|call| call.function.writes);
        let sql = |calls: Vec<Ready>| calls.into_iter().map(|call| call.sql).collect::<Vec<_>>();
        let (reads, writes) = (sql(reads), sql(writes));
        assert!(reads.len() > 35 && writes.len() > 35, "all functions");
        Self { reads, writes }
    }

    /// Makes all calls on a standby: how many were answered and refused.
    fn check(&self, db: &mut Db) -> (u64, u64) {
        db.run(HERE);
        assert!(db.one::<bool>("SELECT pg_is_in_recovery()"));
        for read in &self.reads {
            db.run(read);
        }
        for write in &self.writes {
            db.refused(write, "25006");
        }
        (self.reads.len() as u64, self.writes.len() as u64)
    }
}
