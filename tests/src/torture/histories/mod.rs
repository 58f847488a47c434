//! Many clients fight for the same rows, and each records what it did and was told. Afterwards the
//! recorded history is checked against what a sequential execution could have told them.
//!
//! The checks know no server and are tested with wrong histories made by hand.

mod accepts;
mod client;
mod event;
mod leases;
mod queue;
mod turns;
mod versions;
mod world;

use std::sync::atomic::AtomicI32;
use std::thread;

use fastrand::Rng;

use self::client::{Client, Logs};
use self::event::Ticks;
use self::world::World;
use super::{Plan, Report};

const CLIENTS: usize = 16;
const OFFERS: usize = 24;
/// What each client does in one round.
const TRANSACTIONS: usize = 120;

/// Runs rounds, each with rows of its own, until the budget is spent; a step is a round.
///
/// # Panics
/// When a history cannot be explained.
pub fn run(plan: &Plan) -> Report {
    let mut report = Report::default();
    let mut seeds = Rng::with_seed(plan.seed);
    let mut rounds = plan.budget.start();
    while rounds.next_step(&report) {
        let seed = seeds.u64(..);
        let logs = round(seed);
        let events = [
            ("events of versions", logs.versions.len()),
            ("events of leases", logs.leases.len()),
            ("events of messages", logs.queue.len()),
            ("events of turns", logs.turns.len()),
            ("events of accepts", logs.accepts.len()),
        ];
        for (what, count) in events {
            report.count(what, count as u64);
        }
        for (fate, count) in ["committed", "aborted", "unknown"].into_iter().zip(logs.fates) {
            report.count(fate, count as u64);
        }
        report.count("rounds", 1);
    }
    report
}

fn round(seed: u64) -> Logs {
    let world = World::new(CLIENTS, OFFERS);
    let ticks = Ticks::default();
    let pids = [const { AtomicI32::new(0) }; CLIENTS];
    let mut rng = Rng::with_seed(seed);
    let logs = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let client = Client::new(number, &world, &ticks, &pids, rng.u64(..));
                scope.spawn(move || client.work(TRANSACTIONS))
            })
            .collect();
        let logs = clients.into_iter().map(|client| client.join().expect("a client failed"));
        logs.reduce(Logs::merge).unwrap_or_default()
    });
    let logs = logs.merge(Client::new(CLIENTS, &world, &ticks, &pids, rng.u64(..)).drain());
    let found = world.check(&logs);
    assert!(
        found.is_empty(),
        "round with seed {seed}:\n{}\n{:#?}\n{}",
        found.join("\n"),
        logs.leases,
        logs.refusals.join("\n")
    );
    logs
}
