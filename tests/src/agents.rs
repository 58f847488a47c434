//! Agents, what they are refused, and many of them at once.

use std::sync::Barrier;
use std::thread;

use serde_json::Value;
use uuid::Uuid;

use crate::db::{Db, lit, show};

/// An id that is not of version 7.
pub const V4: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

/// A new agent of this type.
#[track_caller]
pub fn agent(db: &mut Db, agent_type: &str) -> Uuid {
    db.one(&format!("SELECT caliber_agent_register({})", lit(agent_type)))
}

/// A new agent of this type that may delegate to these types.
#[track_caller]
pub fn delegator(db: &mut Db, agent_type: &str, may: &str) -> Uuid {
    db.one(&format!(
        "SELECT caliber_agent_register({}, can_delegate_to => {})",
        lit(agent_type),
        lit(may)
    ))
}

/// `caliber_lock_acquire`; JSON null when the resource is busy.
#[track_caller]
pub fn acquire(db: &mut Db, agent: Uuid, resource: &str, rest: &str) -> Value {
    db.json(&format!("caliber_lock_acquire('{agent}', {resource}, {rest})"))
}

/// What `caliber_message_receive` returns.
#[track_caller]
pub fn receive(db: &mut Db, agent: Uuid, rest: &str) -> Vec<Value> {
    db.all(&format!("SELECT to_jsonb(m) FROM caliber_message_receive('{agent}', {rest}) m"))
}

/// The one column of rows as JSON, as a list.
///
/// # Panics
/// When a row has none.
#[track_caller]
pub fn texts<'v>(rows: &'v [Value], column: &str) -> Vec<&'v str> {
    rows.iter().map(|row| row[column].as_str().expect(column)).collect()
}

/// A time of the server as microseconds since 1970.
pub fn micros(expression: &str) -> String {
    format!("(extract(epoch FROM {expression}) * 1000000)::int8")
}

/// Asserts that the error names a column or constraint, or has a word in its message, detail or
/// hint.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn names(error: &crate::DbError, word: &str) {
    let texts =
        [error.column(), error.constraint(), Some(error.message()), error.detail(), error.hint()];
    assert!(texts.iter().flatten().any(|text| text.contains(word)), "{word}: {error:?}");
}

/// The SQLSTATE of a failure that concurrency may bring about.
///
/// # Panics
/// When it is a failure of the extension itself.
#[track_caller]
pub fn sqlstate(error: &postgres::Error, sql: &str) -> String {
    let db = error.as_db_error().unwrap_or_else(|| panic!("{}", show(error, sql)));
    assert!(!db.message().contains("tuple concurrently"), "{}", show(error, sql));
    assert_ne!(db.code().code(), "XX000", "{}", show(error, sql));
    db.code().code().to_owned()
}

/// Runs `job` on all connections at once, all begun together; what they return.
///
/// # Panics
/// When one of them does.
pub fn at_once<R: Send>(
    connections: &mut [Db],
    job: impl Fn(usize, &mut Db) -> R + Sync,
) -> Vec<R> {
    let barrier = Barrier::new(connections.len());
    thread::scope(|scope| {
        let threads: Vec<_> = connections
            .iter_mut()
            .enumerate()
            .map(|(number, db)| {
                let (job, barrier) = (&job, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    job(number, db)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
