//! The functions against plain SQL: random programs of calls on tables of `caliber_am`, and the
//! same programs on a twin. The twin has the same DDL on heap, the rules of the access method as
//! triggers and a PL/pgSQL function for each call (`twin.sql`), all written from the documents and
//! not from the product. After each step both sides have given the same answer: the same value, or
//! the same SQLSTATE and the same names of table, column and constraint. At the end they hold the
//! same rows.
//!
//! Covered: all functions of the eleven entities that write, but `caliber_message_send_many`; plain
//! UPDATE and DELETE; blocks with savepoints. Not covered: functions that only read, and what only
//! a second session shows (waiting, `wait` of a lease, receivers that skip each other's rows).
//! Not compared: the ids that the server makes, beyond null or not; times, beyond their relation to
//! the row's creation in steps of ten minutes; fences, beyond their order; messages and details of
//! errors.

mod play;
mod program;

use std::cell::RefCell;

use self::play::Side;
use self::program::{Step, program};
use super::{Plan, Report};
use crate::database::Database;
use crate::gen_values::falsify;

/// Runs programs until the budget is spent; a step is one of them.
///
/// # Panics
/// When the two sides differ: with the smallest program that still shows it.
pub fn run(plan: &Plan) -> Report {
    let database = Database::new("api");
    let api = RefCell::new(Side::api(&database));
    let twin = RefCell::new(Side::twin(&database));
    let counts = RefCell::new(Report::default());
    let mut programs = plan.budget.start();
    let mut seed = plan.seed;
    while programs.next_step(&counts.borrow()) {
        falsify(seed, 1, &format!("repeat it with --seed {seed}"), program(), |program| {
            let ours = api.borrow_mut().play(&program);
            let theirs = twin.borrow_mut().play(&program);
            assert!(ours == theirs, "{}", difference(&program, &ours, &theirs));
            count(&mut counts.borrow_mut(), &program, &ours);
        });
        seed = seed.wrapping_add(1);
    }
    counts.into_inner()
}

/// Counts what was done and what was refused.
fn count(report: &mut Report, program: &[Step], answers: &[String]) {
    report.count("programs", 1);
    for (step, answer) in program.iter().zip(answers) {
        let name = step.split(['(', '\'']).next().unwrap_or_default();
        let name = name.split(" SET ").next().unwrap_or_default();
        let is_refused = answer
            .get(..5)
            .is_some_and(|code| code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
        report.count("steps on either side", 1);
        if is_refused {
            report.count("steps refused", 1);
        } else {
            report.count(&format!("{name} done"), 1);
        }
    }
}

/// The program with the answers of both sides where they differ.
fn difference(program: &[Step], ours: &[String], theirs: &[String]) -> String {
    let mut text = String::new();
    for (at, step) in program.iter().enumerate() {
        let (a, b) = (ours.get(at), theirs.get(at));
        if a == b {
            text += &format!("{step}\n    both: {}\n", short(a));
        } else {
            text += &format!("{step}\n    API:  {}\n    twin: {}\n", short(a), short(b));
        }
    }
    let rows = |told: &[String]| told.get(program.len()..).unwrap_or_default().to_vec();
    let (a, b) = (rows(ours), rows(theirs));
    for row in a.iter().filter(|row| !b.contains(row)) {
        text += &format!("API:  {row}\n");
    }
    for row in b.iter().filter(|row| !a.contains(row)) {
        text += &format!("twin: {row}\n");
    }
    text
}

/// As much of an answer as one reads.
fn short(answer: Option<&String>) -> String {
    answer.map(|answer| answer.chars().take(700).collect()).unwrap_or_default()
}
