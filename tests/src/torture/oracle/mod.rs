//! Heap as the oracle: random programs of several sessions on tables of either access method, of
//! which the user must not see a difference.

mod play;
mod program;

use std::cell::{Cell, RefCell};

use crate::cluster::{Cluster, Installation};
use crate::gen_values::falsify;

use super::crash::{add_amcheck, check_log};
use super::{Plan, Report};
use play::{DB, Side};
use program::{Step, program};

/// Nothing runs that is not of the program; who finds a deadlock is decided by who waited first.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("autovacuum", "off"),
    ("deadlock_timeout", "200ms"),
    ("log_min_messages", "warning"),
    // The server's log is searched for complaints, of which a refusal's DETAIL is none.
    ("log_error_verbosity", "terse"),
    ("max_connections", "30"),
];

/// How often a side has to tell the same before its difference from the other one counts.
const RUNS: usize = 12;

/// Runs programs until the budget is spent; a step is one of them.
///
/// # Panics
/// When heap and `caliber_am` differ each time: with the smallest program that still shows it.
pub fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let installation = Installation::copy();
    let cluster = Cluster::init(&installation, "oracle", SETTINGS);
    cluster.start();
    cluster.connect("postgres").run(&format!("CREATE DATABASE {DB}"));
    let mut db = cluster.connect(DB);
    db.run("CREATE EXTENSION \"caliber-pg\" CASCADE");
    add_amcheck(&mut db);
    let heap = RefCell::new(Side::new(&cluster, "heap"));
    let ours = RefCell::new(Side::new(&cluster, "caliber_am"));
    let (statements, unsteady) = (Cell::new(0), Cell::new(0));
    let mut programs = plan.budget.start();
    let mut seed = plan.seed;
    while programs.next_step() {
        falsify(seed, 1, &format!("repeat it with --seed {seed}"), program(), |program| {
            statements.set(statements.get() + program.len() as u64);
            let play = |side: &RefCell<Side>| side.borrow_mut().play(&program);
            let (first_heap, first_ours) = (play(&heap), play(&ours));
            if first_heap == first_ours {
                return;
            }
            // What depends on chance, as who is woken first, differs between two runs of one side, too.
            let is_steady =
                (1..RUNS).all(|_| play(&heap) == first_heap && play(&ours) == first_ours);
            let difference = first_difference(&first_heap, &first_ours);
            assert!(!is_steady, "{difference:#?}\n{}", script(&program));
            unsteady.set(unsteady.get() + 1);
        });
        report.count("programs", 1);
        seed = seed.wrapping_add(1);
    }
    report.count("statements on either side", statements.get());
    report.count("programs that depend on chance", unsteady.get());
    check_log(&cluster);
    report
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
