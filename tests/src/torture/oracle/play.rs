//! A program on the tables of one access method, and what its user sees.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use postgres::SimpleQueryMessage;
use tempfile::NamedTempFile;

use super::program::{SESSIONS, Step};
use crate::cluster::Cluster;
use crate::db::{Db, show};
use crate::indexes::{indexes, indexes_agree};
use crate::interleave::Stage;

const SET_UP: &str = include_str!("setup.sql");

/// What is compared at the end, where it is still there.
const TABLES: [&str; 8] = ["t", "u", "s", "p", "many", "log", "copied", "seen_then"];

/// The tables of one access method in a schema of its own, and the sessions that work on them.
pub struct Side {
    am: &'static str,
    watcher: Db,
    sessions: Vec<Db>,
    amcheck: bool,
}

impl Side {
    /// Connects.
    pub fn new(cluster: &Cluster<'_>, db: &str, am: &'static str) -> Self {
        let connect = || {
            let mut db = cluster.connect(db);
            db.run(&format!(
                "SET default_table_access_method = {am}; SET search_path = on_{am}, public"
            ));
            db
        };
        let sessions = (0..SESSIONS).map(|_| connect()).collect();
        let mut watcher = connect();
        let amcheck =
            watcher.one("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'amcheck')");
        Self { am, watcher, sessions, amcheck }
    }

    /// Runs the program on new tables; what its user sees.
    ///
    /// # Panics
    /// When a table or an index of ours is damaged at the end.
    pub fn play(&mut self, program: &[Step]) -> Vec<String> {
        let schema = format!("on_{}", self.am);
        self.watcher.run(&format!(
            "ROLLBACK; SET client_min_messages = error; DROP SCHEMA IF EXISTS {schema} CASCADE;
             CREATE SCHEMA {schema}; {SET_UP}"
        ));
        let Self { watcher, sessions, .. } = self;
        let mut told = thread::scope(|scope| {
            let mut stage = Stage::new(scope, watcher, sessions, tell);
            for (session, sql) in program {
                // Which one waits is the same on both sides, or is told as a difference.
                if !stage.waits(*session) {
                    stage.ask(*session, sql);
                }
            }
            // Whoever waits can go on when the others have ended, or is refused.
            let mut open: Vec<usize> = (1..=SESSIONS).collect();
            while !open.is_empty() {
                open.retain(|&session| {
                    if stage.waits(session) {
                        return true;
                    }
                    stage.ask(session, "COMMIT");
                    false
                });
                stage.look_again();
            }
            while (1..=SESSIONS).any(|session| stage.waits(session)) {
                stage.look_again();
            }
            for session in 1..=SESSIONS {
                stage.ask(session, "COMMIT");
                stage.ask(session, "DISCARD TEMP");
                stage.ask(session, "CLOSE ALL");
            }
            stage.told()
        });
        for table in TABLES {
            let columns = format!("SELECT '{table}', r.* FROM {table} r");
            told.push(tell(&mut self.watcher, &columns).unwrap_or_else(|refusal| refusal));
        }
        if self.am == "caliber_am" {
            self.assert_sound();
        }
        told
    }

    /// Nothing is damaged, and indexes find what is there.
    fn assert_sound(&mut self) {
        let db = &mut self.watcher;
        let tables: Vec<String> = db.all(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam
             WHERE a.amname = 'caliber_am' AND c.relkind IN ('r', 'm')
                AND c.relnamespace = current_schema::regnamespace ORDER BY 1",
        );
        assert!(tables.len() >= 4, "the tables are ours: {tables:?}");
        for table in tables.iter().filter(|_| self.amcheck) {
            let damage =
                db.all::<String>(&format!("SELECT v::text FROM caliber_verify('{table}') v"));
            assert!(damage.is_empty(), "{damage:?}");
        }
        let names: Vec<&str> = tables.iter().map(String::as_str).collect();
        let valid: Vec<String> = db
            .all("SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid AND indislive");
        let all = indexes(db, &names).into_iter();
        let all: Vec<_> = all.filter(|index| valid.contains(&index.name)).collect();
        db.run("BEGIN");
        indexes_agree(db, &all);
        db.run("ROLLBACK");
    }
}

/// A temporary file that the server can read.
fn file_with(data: &str) -> NamedTempFile {
    let readable = Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(readable).tempfile().unwrap();
    file.write_all(data.as_bytes()).unwrap();
    file
}

/// Runs a statement; the rows, in any order, and what was done, or the refusal.
fn tell(db: &mut Db, sql: &str) -> Result<String, String> {
    let refusal = |error: postgres::Error| {
        let server = error.as_db_error().unwrap_or_else(|| panic!("{}", show(&error, sql)));
        let constraint = server.constraint().unwrap_or_default();
        let text = format!("{} {} {constraint}", server.code().code(), server.message());
        text.replace("on_caliber_am", "here").replace("on_heap", "here")
    };
    // From a file: the client loses its place in the protocol when a COPY from STDIN is refused between
    // its Bind and its data, as it is when it had to wait for a lock and others have a deadlock.
    let copy = sql.split_once(" FROM STDIN\n").map(|(copy, data)| {
        let file = file_with(data);
        (format!("{copy} FROM '{}'", file.path().display()), file)
    });
    let sql = copy.as_ref().map_or(sql, |(sql, _)| sql);
    let mut rows = Vec::new();
    let mut told = String::new();
    for message in db.simple_query(sql).map_err(refusal)? {
        match message {
            SimpleQueryMessage::Row(row) => {
                let values: Vec<_> = (0..row.len()).map(|i| row.get(i).unwrap_or("null")).collect();
                rows.push(values.join("|"));
            }
            SimpleQueryMessage::CommandComplete(count) => {
                let _ = write!(told, "{count}");
            }
            _ => {}
        }
    }
    // The order in which a scan finds rows is nobody's promise; that of a plan's lines is.
    if !sql.starts_with("EXPLAIN") {
        rows.sort();
    }
    for row in rows {
        let _ = write!(told, " ({row})");
    }
    Ok(told)
}
