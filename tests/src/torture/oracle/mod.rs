//! Heap as the oracle: random programs of several sessions on tables of either access method, of
//! which the user must not see a difference.

mod play;
mod program;

use std::cell::RefCell;
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard};
use std::thread;

use crate::cluster::{Cluster, Installation};
use crate::gen_values::falsify;

use super::crash::{add_amcheck, check_log};
use super::{Plan, Report, Running};
use play::Side;
use program::{Step, program};

/// Nothing runs that is not of the program; who finds a deadlock is decided by who waited first.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("autovacuum", "off"),
    ("deadlock_timeout", "200ms"),
    ("log_min_messages", "warning"),
    // The server's log is searched for complaints, of which a refusal's DETAIL is none.
    ("log_error_verbosity", "terse"),
    ("max_connections", "100"),
];

/// For how many workers there are connections.
const MOST_WORKERS: usize = 8;

/// A backend keeps the plans of foreign keys for ever, also of tables that are gone, and looks through
/// all of them at each invalidation.
const PROGRAMS_OF_A_SESSION: u32 = 32;

/// How often a side has to tell the same before its difference from the other one counts.
const RUNS: usize = 12;

/// Runs programs until the budget is spent; a step is one of them. Each core has a database and
/// programs of its own.
///
/// # Panics
/// When heap and `caliber_am` differ each time: with the smallest program that still shows it.
pub fn run(plan: &Plan) -> Report {
    let installation = Installation::copy();
    let cluster = Cluster::init(&installation, "oracle", SETTINGS);
    cluster.start();
    let work = Mutex::new(Work {
        programs: plan.budget.start(),
        seed: plan.seed,
        report: Report::default(),
    });
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_WORKERS);
    thread::scope(|scope| {
        for number in 0..workers {
            let (cluster, work) = (&cluster, &work);
            scope.spawn(move || compare(cluster, &format!("oracle_{number}"), work));
        }
    });
    check_log(&cluster);
    work.into_inner().expect("nobody panics while they have it").report
}

/// What the workers have in common.
struct Work {
    programs: Running,
    /// That of the next program.
    seed: u64,
    report: Report,
}

/// Lets the other workers end when one has found something.
struct Finding<'w>(&'w Mutex<Work>);

impl Finding<'_> {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.0.lock().expect("nobody panics while they have it")
    }

    /// The next program's seed, if there is one.
    fn next_seed(&self) -> Option<u64> {
        let mut work = self.work();
        let Work { programs, seed, report } = &mut *work;
        let this = *seed;
        *seed = this.wrapping_add(1);
        programs.next_step(report).then_some(this)
    }
}

impl Drop for Finding<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.work().programs.stop();
        }
    }
}

/// Takes one program after the other, and plays it on both sides, in a database of this name.
///
/// # Panics
/// When they differ.
fn compare(cluster: &Cluster<'_>, db: &str, work: &Mutex<Work>) {
    let work = Finding(work);
    cluster.connect("postgres").run(&format!("CREATE DATABASE {db}"));
    let mut first = cluster.connect(db);
    first.run("CREATE EXTENSION \"caliber-pg\" CASCADE");
    add_amcheck(&mut first);
    drop(first);
    let sides = || ["heap", "caliber_am"].map(|am| RefCell::new(Side::new(cluster, db, am)));
    let [mut heap, mut ours] = sides();
    let mut played = 0;
    while let Some(seed) = work.next_seed() {
        if played == PROGRAMS_OF_A_SESSION {
            [heap, ours] = sides();
            played = 0;
        }
        played += 1;
        falsify(seed, 1, &format!("repeat it with --seed {seed}"), program(), |program| {
            let play = |side: &RefCell<Side>| side.borrow_mut().play(&program);
            let (first_heap, first_ours) = (play(&heap), play(&ours));
            // What depends on chance, as who is woken first, differs between two runs of one side, too.
            let differs = first_heap != first_ours;
            let is_steady = differs
                && (1..RUNS).all(|_| play(&heap) == first_heap && play(&ours) == first_ours);
            let difference = first_difference(&first_heap, &first_ours);
            assert!(!is_steady, "{difference:#?}\n{}", script(&program));
            let report = &mut work.work().report;
            report.count("programs", 1);
            report.count("programs that depend on chance", differs.into());
            report.count("statements on either side", program.len() as u64);
        });
    }
}

/// Where the two begin to differ, with what came before.
fn first_difference(heap: &[String], ours: &[String]) -> [Vec<String>; 2] {
    const LEAD: usize = 3;
    let same = heap.iter().zip(ours).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(LEAD);
    [heap, ours].map(|told| told.iter().skip(from).take(LEAD + 1).cloned().collect())
}

/// The program as one reads it.
fn script(program: &[Step]) -> String {
    program.iter().map(|(session, sql)| format!("{session}: {sql};\n")).collect()
}
