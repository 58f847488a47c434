//! All functions of the catalog with random arguments, by several sessions at once: each call is
//! answered or refused as documented, the server lives, and its memory does not grow.

mod call;
mod json;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;

use fastrand::Rng;

use self::call::Calls;
use self::session::{Finding, HELPER, Session, code_of, is_expected};
use super::crash::{add_amcheck, assert_sound, check_log};
use super::{Plan, Report};
use crate::cluster::{Cluster, Installation};
use crate::db::{Db, show};

const DB: &str = "fuzz";
const SESSIONS: usize = 4;

const SERVER: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "128MB"),
    ("autovacuum_naptime", "1s"),
    ("deadlock_timeout", "20ms"),
    ("log_min_messages", "warning"),
    // What sessions are refused is told to them.
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
    ("max_connections", "30"),
];

/// What a session has, also after RESET ALL. A call that never ends is reported instead of waited
/// for.
const SETTINGS: &[&str] =
    &["search_path = caliber, public", "lock_timeout = '2s'", "statement_timeout = '120s'"];

/// After so many steps the rows are checked and deleted, so that reading all of them stays cheap.
const STEPS_TO_CHECK: u64 = 5;

/// After so many steps a session has nearly everything that it keeps.
const WARM: u64 = 2 * STEPS_TO_CHECK;

/// By how many kilobytes that are used in its memory contexts a session may grow from then on:
/// PostgreSQL's caches of catalogs, constraints and plans are not full yet.
const GROWTH: i64 = 2 * 1024;

/// And by how many for each step, which is four bytes a call: `caliber_init` makes objects again and
/// again, which those caches keep after its rollback.
const GROWTH_OF_STEP: i64 = 2;

/// The same for what it does not share: malloc keeps pieces that once were values of a megabyte.
const PRIVATE_GROWTH: i64 = 32 * 1024;

/// Calls until the budget is spent; a step is some 500 calls of each session.
///
/// # Panics
/// When a call is answered otherwise than documented, the connection is lost, memory grows, or a
/// rule of the entities is broken.
pub fn run(plan: &Plan) -> Report {
    let installation = Installation::copy();
    let cluster = Cluster::init(&installation, "fuzz", SERVER);
    cluster.start();
    let mut db = cluster.connect("postgres");
    db.run(&format!("CREATE DATABASE {DB}"));
    for setting in SETTINGS {
        db.run(&format!("ALTER DATABASE {DB} SET {setting}"));
    }
    let mut db = cluster.connect(DB);
    db.run("CREATE EXTENSION \"caliber-pg\" SCHEMA public CASCADE; SELECT caliber_init(embedding_dim => 8)");
    db.run(&HELPER.replace("fuzz_run", "public.fuzz_run"));
    add_amcheck(&mut db);
    let calls = Calls::read(&mut db);
    let mut rng = Rng::with_seed(plan.seed);
    let mut sessions: Vec<Session> =
        (0..SESSIONS).map(|_| Session::new(cluster.connect(DB), rng.fork())).collect();
    let mut running = plan.budget.start();
    let (mut steps, mut warm) = (0, Vec::new());
    let mut so_far = Report::default();
    while running.next_step(&so_far) {
        if steps % STEPS_TO_CHECK == 0 {
            assert_sound(&mut db);
            delete_all(&mut db);
            let now = Memory::of_all(&mut sessions);
            assert_flat(&warm, &now, steps);
            if steps == WARM {
                warm = now;
            }
            sessions.iter_mut().for_each(Session::begin_anew);
        }
        let found = thread::scope(|scope| {
            let all: Vec<_> =
                sessions.iter_mut().map(|session| scope.spawn(|| session.step(&calls))).collect();
            let all = all.into_iter().map(|one| one.join().expect("a session that ends"));
            all.filter_map(Result::err).collect::<Vec<_>>()
        });
        if !found.is_empty() {
            let found: Vec<_> =
                found.iter().map(|found| format!("{found}{}", alone(&cluster, found))).collect();
            panic!("{}\nrepeat it with --seed {}", found.join("\n"), plan.seed);
        }
        steps += 1;
        so_far.count("batches", SESSIONS as u64);
    }
    assert_sound(&mut db);
    delete_all(&mut db);
    let now = Memory::of_all(&mut sessions);
    assert_flat(&warm, &now, steps);
    check_log(&cluster);
    report(&calls, &sessions, &warm, &now)
}

/// The memory of no session grew since they were warm, if they were.
///
/// # Panics
/// When one's did.
#[track_caller]
fn assert_flat(warm: &[Memory], now: &[Memory], steps: u64) {
    let steps = i64::try_from(steps).expect("a number of steps");
    for (warm, now) in warm.iter().zip(now) {
        let in_contexts = now.in_contexts() - warm.in_contexts();
        let private = now.private - warm.private;
        assert!(
            in_contexts <= GROWTH + GROWTH_OF_STEP * steps && private <= PRIVATE_GROWTH,
            "a session grew by {in_contexts} kB in contexts, and by {private} kB that are not \
             shared: {:#?}",
            now.growth(warm)
        );
    }
}

/// Deletes all rows, in a way that no function has.
fn delete_all(db: &mut Db) {
    let tables: Vec<String> = db.all(
        "SELECT oid::regclass::text FROM pg_class
         WHERE relnamespace = 'caliber'::regnamespace AND relkind = 'r'",
    );
    db.run(&format!("TRUNCATE {}", tables.join(", ")));
}

/// What the statements of a finding are told on new connections, one by one, until one is told
/// what must not be.
fn alone(cluster: &Cluster<'_>, finding: &Finding) -> String {
    let last = finding.script.len().saturating_sub(1);
    let suspects = if finding.is_any { &finding.script[..] } else { &finding.script[last..] };
    for sql in suspects.iter().filter(|sql| sql.starts_with("SELECT")) {
        let mut db = cluster.connect(DB);
        for setting in &finding.settings {
            db.run(&format!("SET {setting}"));
        }
        db.run("BEGIN");
        if let Err(error) = db.attempt(sql)
            && !code_of(&error).is_some_and(|code| is_expected(&code))
        {
            return format!("alone on a new connection: {}", show(&error, sql));
        }
    }
    "alone on a new connection nothing is wrong".to_owned()
}

/// What a session has in memory, in kilobytes.
#[derive(Debug)]
struct Memory {
    /// What is used in memory contexts, by their names.
    contexts: BTreeMap<String, i64>,
    /// What its process does not share, which also tells of what is in no context.
    private: i64,
}

impl Memory {
    fn of_all(sessions: &mut [Session]) -> Vec<Self> {
        sessions.iter_mut().map(|session| Self::of(&mut session.db)).collect()
    }

    fn of(db: &mut Db) -> Self {
        let rows = db
            .query(
                "SELECT name, (sum(used_bytes) / 1024)::bigint FROM pg_backend_memory_contexts
                 GROUP BY 1",
                &[],
            )
            .unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", db.pid())).unwrap();
        let private = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let private = private.and_then(|kb| kb.trim().split(' ').next()?.parse().ok());
        Self {
            contexts: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
            private: private.expect("the kernel tells RssAnon"),
        }
    }

    fn in_contexts(&self) -> i64 {
        self.contexts.values().sum()
    }

    /// The contexts that grew.
    fn growth(&self, before: &Self) -> BTreeMap<&str, i64> {
        let all = self.contexts.iter().map(|(name, now)| {
            (name.as_str(), now - before.contexts.get(name).copied().unwrap_or_default())
        });
        all.filter(|(_, growth)| *growth > 0).collect()
    }
}

fn report(calls: &Calls, sessions: &[Session], warm: &[Memory], now: &[Memory]) -> Report {
    let mut report = Report::default();
    let (mut kinds, mut succeeded) = (BTreeSet::new(), BTreeSet::new());
    for session in sessions {
        report.count("batches", session.batches);
        report.count("transactions", session.transactions);
        for ((function, code), n) in &session.answers {
            report.count("calls", *n);
            report.count(&format!("calls answered {code}"), *n);
            kinds.insert((function, code));
            if code == "00000" {
                succeeded.insert(function.as_str());
            }
        }
    }
    report.count("kinds of answers of a function", kinds.len() as u64);
    for function in calls.names() {
        report.count("functions", 1);
        if !succeeded.contains(function) {
            report.count(&format!("functions always refused: {function}"), 1);
        }
    }
    let growth = |of: fn(&Memory) -> i64| {
        let all = warm.iter().zip(now).map(|(warm, now)| of(now) - of(warm));
        all.max().unwrap_or_default().max(0).unsigned_abs()
    };
    report.count("kB in contexts, largest growth of a session", growth(Memory::in_contexts));
    report.count("kB not shared, largest growth of a session", growth(|memory| memory.private));
    report
}
