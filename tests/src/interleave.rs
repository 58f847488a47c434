//! Statements of several sessions in one given order, and what each session sees.

use std::fmt::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, Scope};
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

/// Sessions that run what they are asked at the same time, each in its own thread, and what they
/// told so far.
pub struct Stage<'w> {
    watcher: &'w mut Db,
    sessions: Vec<Session>,
    trace: Vec<String>,
}

impl<'w> Stage<'w> {
    /// Brings the sessions onto it; `tell` runs a statement and tells what came of it. What a session
    /// leaves open is rolled back when the stage goes away.
    pub fn new<'scope>(
        scope: &'scope Scope<'scope, '_>,
        watcher: &'w mut Db,
        sessions: &'scope mut [Db],
        tell: fn(&mut Db, &str) -> Result<String, String>,
    ) -> Self {
        let enter = |db: &'scope mut Db| {
            let pid = db.pid();
            let (statements, to_run) = channel::<String>();
            let (answer, answers) = channel();
            scope.spawn(move || {
                for sql in to_run {
                    let told = tell(db, &sql);
                    if told.is_err() {
                        // The error is sent before its transaction gives up what others wait for.
                        db.run("");
                    }
                    if answer.send(told).is_err() {
                        break;
                    }
                }
                db.run("ROLLBACK");
            });
            Session { pid, statements, answers, waiting: false, failed: false }
        };
        Self { watcher, sessions: sessions.iter_mut().map(enter).collect(), trace: Vec::new() }
    }

    /// Whether session `number`, from 1, waits for another one.
    pub fn waits(&self, number: usize) -> bool {
        self.sessions[number - 1].waiting
    }

    /// Whether session `number` was refused something.
    fn has_failed(&self, number: usize) -> bool {
        self.sessions[number - 1].failed
    }

    /// Has session `number` run a statement, and waits until every session has answered or waits for
    /// another.
    ///
    /// # Panics
    /// When the session waits.
    #[track_caller]
    pub fn ask(&mut self, number: usize, sql: &str) {
        let session = &mut self.sessions[number - 1];
        assert!(!session.waiting, "session {number} waits and cannot: {sql}");
        session.statements.send(sql.to_owned()).expect("the session's thread has ended");
        session.waiting = true;
        self.settle(Some(number));
    }

    /// Waits until every session has answered or waits for another, without asking for anything: one
    /// that was found in a deadlock is refused by itself.
    #[track_caller]
    pub fn look_again(&mut self) {
        self.settle(None);
    }

    /// What was told so far.
    pub fn told(self) -> Vec<String> {
        self.trace
    }

    /// `asked` has just been asked. Those that answer until nothing moves any more are told in the
    /// order of their numbers, `asked` first: who of them was faster is chance.
    #[track_caller]
    fn settle(&mut self, asked: Option<usize>) {
        let mut answers = Vec::new();
        let mut waits = false;
        loop {
            let before = answers.len();
            for number in 1..=self.sessions.len() {
                let is_blocked = self.await_answer(number, &mut answers);
                waits |= is_blocked && Some(number) == asked;
            }
            // What one did may let another go on.
            if answers.len() == before {
                break;
            }
        }
        answers.sort_by_key(|(number, _)| (Some(*number) != asked, *number));
        if let Some(number) = asked.filter(|_| waits) {
            self.trace.push(format!("{number} waits"));
        }
        self.trace.extend(answers.into_iter().map(|(number, told)| format!("{number} {told}")));
    }

    /// Waits until the session has answered or is blocked, which is returned.
    #[track_caller]
    fn await_answer(&mut self, number: usize, answers: &mut Vec<(usize, String)>) -> bool {
        let session = &mut self.sessions[number - 1];
        while session.waiting {
            match session.answers.recv_timeout(Duration::from_millis(1)) {
                Ok(answer) => {
                    session.waiting = false;
                    session.failed = answer.is_err();
                    answers.push((number, answer.unwrap_or_else(|refusal| refusal)));
                }
                Err(RecvTimeoutError::Timeout) => {
                    // VACUUM waits for the pins of scans, which are no locks.
                    let blocked = format!(
                        "SELECT cardinality(pg_blocking_pids({0})) > 0 OR EXISTS (
                             SELECT FROM pg_stat_activity WHERE pid = {0} AND wait_event_type = 'BufferPin')",
                        session.pid
                    );
                    if self.watcher.one(&blocked) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => panic!("session {number} has ended"),
            }
        }
        false
    }
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
    let count = sessions.len();
    thread::scope(|scope| {
        let mut stage = Stage::new(scope, watcher, sessions, run);
        for number in 1..=count {
            stage.ask(number, &format!("BEGIN ISOLATION LEVEL {level}"));
        }
        for (number, sql) in script {
            if !stage.has_failed(*number) {
                stage.ask(*number, sql);
            }
        }
        for number in 1..=count {
            assert!(!stage.waits(number), "session {number} waits at the end");
        }
        Trace(stage.told())
    })
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
