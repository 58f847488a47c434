//! Statements of several sessions in one given order, and what each session sees.

use std::fmt::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use postgres::SimpleQueryMessage;

use crate::db::{Db, show};

/// What the sessions saw, in the order of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace(Vec<String>);

impl Trace {
    /// What a reader of it asks for: the rows read, who waited, and who was refused with which
    /// SQLSTATE.
    pub fn summary(&self) -> String {
        let told: Vec<_> = self.0.iter().filter(|line| !line.ends_with(" ok")).cloned().collect();
        told.join(", ")
    }
}

struct Session {
    pid: i32,
    statements: Sender<String>,
    answers: Receiver<Result<String, String>>,
    waiting: bool,
    failed: bool,
}

/// Runs a script: each step is the number of a session, from 1, and a statement. Sessions begin at
/// this isolation level. One that has to wait is left waiting, and goes on when it can; one that
/// was refused takes no further part.
///
/// # Panics
/// When a session is asked to go on while it waits, or is waiting at the end.
#[track_caller]
pub fn interleave(
    watcher: &mut Db,
    sessions: &mut [Db],
    level: &str,
    script: &[(usize, String)],
) -> Trace {
    thread::scope(|scope| {
        let mut sessions: Vec<Session> = sessions
            .iter_mut()
            .map(|db| {
                // Before the transaction, whose snapshot the first statement takes.
                let pid = db.pid();
                db.run(&format!("BEGIN ISOLATION LEVEL {level}"));
                let (statements, to_run) = channel::<String>();
                let (answer, answers) = channel();
                scope.spawn(move || {
                    for sql in to_run {
                        if answer.send(run(db, &sql)).is_err() {
                            break;
                        }
                    }
                    db.run("ROLLBACK");
                });
                Session { pid, statements, answers, waiting: false, failed: false }
            })
            .collect();
        let mut trace = Vec::new();
        for (number, sql) in script {
            let session = &mut sessions[number - 1];
            assert!(!session.waiting, "session {number} waits and cannot: {sql}");
            if session.failed {
                continue;
            }
            session.statements.send(sql.clone()).expect("the session's thread has ended");
            session.waiting = true;
            settle(watcher, &mut sessions, *number, &mut trace);
        }
        for (number, session) in (1..).zip(&sessions) {
            assert!(!session.waiting, "session {number} waits at the end");
        }
        Trace(trace)
    })
}

/// Waits until every session has answered or waits for another; `asked` has just been asked.
#[track_caller]
fn settle(watcher: &mut Db, sessions: &mut [Session], asked: usize, trace: &mut Vec<String>) {
    // The one that was asked first: what it did may let others go on.
    let others = (1..=sessions.len()).filter(|number| *number != asked);
    for number in [asked].into_iter().chain(others) {
        let session = &mut sessions[number - 1];
        while session.waiting {
            match session.answers.recv_timeout(Duration::from_millis(1)) {
                Ok(answer) => {
                    session.waiting = false;
                    session.failed = answer.is_err();
                    let told = answer.unwrap_or_else(|sqlstate| sqlstate);
                    trace.push(format!("{number} {told}"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let pid = session.pid;
                    if watcher.one(&format!("SELECT cardinality(pg_blocking_pids({pid})) > 0")) {
                        if number == asked {
                            trace.push(format!("{number} waits"));
                        }
                        break;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => panic!("session {number} has ended"),
            }
        }
    }
}

/// The rows, or `ok`; the SQLSTATE of a refusal.
fn run(db: &mut Db, sql: &str) -> Result<String, String> {
    let messages = db.simple_query(sql).map_err(|error| {
        let server = error.as_db_error().unwrap_or_else(|| panic!("{}", show(&error, sql)));
        server.code().code().to_owned()
    })?;
    let mut told = String::new();
    let mut reads = false;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(_) => {
                reads = true;
                told.push_str("sees");
            }
            SimpleQueryMessage::Row(row) => {
                let values: Vec<_> = (0..row.len()).map(|i| row.get(i).unwrap_or("null")).collect();
                let _ = write!(told, " {}", values.join("="));
            }
            SimpleQueryMessage::CommandComplete(_) if reads && told == "sees" => {
                told.push_str(" nothing");
            }
            _ => {}
        }
    }
    Ok(if told.is_empty() { "ok".to_owned() } else { told })
}
