//! A session that makes random calls, and what it finds.

use std::collections::BTreeMap;
use std::fmt;

use fastrand::Rng;
use postgres::Statement;

use super::call::{ALWAYS_UNDONE, Call, Calls, Rows, pick};
use crate::calls::DOCUMENTED;
use crate::db::{Db, show};

/// What PostgreSQL itself says of statements that get in each other's way, are interrupted, write
/// where they may only read, or nest too deep.
const OF_POSTGRES: &[&str] = &["40001", "40P01", "55P03", "57014", "25006", "54001"];

/// What says that a call went well: it is rolled back with this.
const UNDONE: &str = "UNDO0";

/// Makes the calls one by one, each in a subtransaction, and tells those that were refused.
pub(super) const HELPER: &str = "
    CREATE FUNCTION fuzz_run(statements text[], undo boolean[])
    RETURNS TABLE (n int, code text, message text) LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1..cardinality(statements) LOOP
            BEGIN
                EXECUTE statements[i];
                IF undo[i] THEN
                    RAISE EXCEPTION USING ERRCODE = 'UNDO0';
                END IF;
            EXCEPTION WHEN OTHERS THEN
                n := i;
                GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
                RETURN NEXT;
            END;
        END LOOP;
    END $$";

/// Settings that a session may have, some of them not at all.
const SETTINGS: &[&str] = &[
    "caliber.schema = caliber",
    "caliber.schema = elsewhere",
    "caliber.schema = ''",
    "caliber.schema = pg_catalog",
    "caliber.schema = 'such a long name that it cannot be the one of a schema, nor of any table'",
    "caliber.hint_cache_size = 0",
    "caliber.hint_cache_size = 1",
    "caliber.hint_cache_size = '1MB'",
    "caliber.hint_cache_size = -1",
    "caliber.notify = off",
    "caliber.notify = perhaps",
    "search_path = public",
    "work_mem = '64kB'",
    "enable_indexscan = off",
    "default_transaction_read_only = on",
    "hnsw.ef_search = 1",
    "hnsw.iterative_scan = relaxed_order",
];

/// How many calls a session makes in a step.
const CALLS: usize = 500;

/// What must not happen.
#[derive(Debug)]
pub(super) struct Finding {
    /// What the session was told.
    pub told: String,
    /// The settings that it had.
    pub settings: Vec<String>,
    /// What it had asked in this transaction; the last one is the one that was answered so, if any
    /// answer came.
    pub script: Vec<String>,
    /// Whether it is any of the calls, for there was no answer.
    pub is_any: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nwith {:?}, after", self.told, self.settings)?;
        for statement in &self.script {
            writeln!(f, "{statement};")?;
        }
        Ok(())
    }
}

/// How often each function answered with each SQLSTATE; `00000` if it did what it was asked.
pub(super) type Answers = BTreeMap<(String, String), u64>;

/// A session.
pub(super) struct Session {
    pub db: Db,
    rng: Rng,
    rows: Rows,
    run: Statement,
    /// Whether the statements of this transaction are interrupted soon.
    in_a_hurry: bool,
    pub answers: Answers,
    pub batches: u64,
    pub transactions: u64,
}

impl Session {
    /// Begins with rows of its own.
    pub fn new(mut db: Db, rng: Rng) -> Self {
        let run = db.prepare("SELECT n, code, message FROM public.fuzz_run($1, $2)").unwrap();
        let rows = Rows::default();
        Self {
            db,
            rng,
            rows,
            run,
            in_a_hurry: false,
            answers: Answers::new(),
            batches: 0,
            transactions: 0,
        }
    }

    /// Makes new rows after all others are gone.
    pub fn begin_anew(&mut self) {
        self.rows = Rows::create(&mut self.db);
    }

    /// Makes some hundreds of calls.
    pub fn step(&mut self, calls: &Calls) -> Result<(), Box<Finding>> {
        self.rows.look(&mut self.db);
        let mut made = 0;
        while made < CALLS {
            made += match self.rng.u8(0..4) {
                0 => self.transaction(calls)?,
                _ => self.batch(calls)?,
            };
        }
        Ok(())
    }

    fn count(&mut self, function: &str, code: &str) {
        *self.answers.entry((function.to_owned(), code.to_owned())).or_default() += 1;
    }

    /// Many calls in one statement.
    fn batch(&mut self, calls: &Calls) -> Result<usize, Box<Finding>> {
        let n = self.rng.usize(10..90);
        let batch: Vec<Call> =
            (0..n).map(|_| calls.random(&mut self.rng, &self.rows, false)).collect();
        let statements: Vec<&str> = batch.iter().map(|call| call.sql.as_str()).collect();
        let undo: Vec<bool> = batch.iter().map(|call| call.undo).collect();
        let level = match self.rng.u8(0..8) {
            0 => "REPEATABLE READ",
            1 => "SERIALIZABLE",
            _ => "READ COMMITTED",
        };
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        let finding = |told: String, script: &[&str], is_any| {
            let settings = vec![format!("default_transaction_isolation = '{level}'")];
            let script = script.iter().map(|sql| (*sql).to_owned()).collect();
            Err(Box::new(Finding { told, settings, script, is_any }))
        };
        if let Err(error) = self.db.attempt(&begin) {
            return finding(show(&error, &begin), &statements, true);
        }
        let answers = match self.db.query(&self.run, &[&statements, &undo]) {
            Ok(answers) => answers,
            Err(error) => return finding(show(&error, "fuzz_run"), &statements, true),
        };
        let mut codes = vec!["00000".to_owned(); n];
        for row in &answers {
            let (number, code, message): (i32, String, String) =
                (row.get(0), row.get(1), row.get(2));
            let index = usize::try_from(number).unwrap_or_default().saturating_sub(1);
            if code == UNDONE {
                continue;
            }
            if !is_expected(&code) {
                return finding(format!("{code}: {message}"), &statements[..=index], false);
            }
            codes[index] = code;
        }
        for (call, code) in batch.iter().zip(codes) {
            self.count(&call.function, &code);
        }
        if let Err(error) = self.db.attempt("COMMIT")
            && !code_of(&error).is_some_and(|code| is_expected(&code))
        {
            return finding(show(&error, "COMMIT"), &statements, true);
        }
        self.batches += 1;
        Ok(n)
    }

    /// A few calls, each a statement, with savepoints, timeouts and settings.
    fn transaction(&mut self, calls: &Calls) -> Result<usize, Box<Finding>> {
        let mut finding = Finding {
            told: String::new(),
            settings: Vec::new(),
            script: Vec::new(),
            is_any: false,
        };
        for _ in 0..self.rng.usize(0..3) {
            let set = format!("SET {}", pick(&mut self.rng, SETTINGS));
            if self.ask(&set, &mut finding)?.is_none() {
                finding.settings.push(set.replacen("SET ", "", 1));
            }
        }
        finding.script.clear();
        let levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
        let read_only = if self.rng.u8(0..8) == 0 { "READ ONLY" } else { "READ WRITE" };
        let begin = format!("BEGIN ISOLATION LEVEL {} {read_only}", pick(&mut self.rng, &levels));
        self.ask(&begin, &mut finding)?;
        // Calls that wait for long are made where they are interrupted.
        let timeout = match self.rng.u8(0..6) {
            0 => Some(1),
            1 => Some(10),
            _ => None,
        };
        self.in_a_hurry = timeout.is_some();
        if let Some(timeout) = timeout {
            self.ask(&format!("SET LOCAL statement_timeout = {timeout}"), &mut finding)?;
        }
        let n = self.rng.usize(1..10);
        let (mut made, mut commits) = (0, self.rng.u8(0..3) > 0);
        while made < n {
            let savepoint = self.rng.bool();
            if savepoint && self.ask("SAVEPOINT s", &mut finding)?.is_some() {
                break;
            }
            let call = calls.random(&mut self.rng, &self.rows, timeout.is_some());
            commits &= !ALWAYS_UNDONE.contains(&call.function.as_str());
            let refused = self.ask(&call.sql, &mut finding)?;
            self.count(&call.function, refused.as_deref().unwrap_or("00000"));
            made += 1;
            let back = match (refused, savepoint) {
                (None, true) if call.undo => "ROLLBACK TO s",
                (None, true) => "RELEASE s",
                (None, false) => continue,
                (Some(_), true) => "ROLLBACK TO s",
                (Some(_), false) => break,
            };
            if self.ask(back, &mut finding)?.is_some() {
                break;
            }
        }
        let refused = commits && self.ask("COMMIT", &mut finding)?.is_some();
        if refused || !commits {
            while self.ask("ROLLBACK", &mut finding)?.is_some() {}
        }
        self.in_a_hurry = false;
        self.ask("RESET ALL", &mut finding)?;
        self.transactions += 1;
        Ok(made)
    }

    /// Runs a statement; the SQLSTATE of a refusal.
    fn ask(&mut self, sql: &str, finding: &mut Finding) -> Result<Option<String>, Box<Finding>> {
        finding.script.push(sql.to_owned());
        // The protocol decides in which form values are sent.
        let is_call = sql.starts_with("SELECT");
        let told = match is_call && self.rng.bool() {
            true => self.db.query(sql, &[]).map(drop),
            false => self.db.simple_query(sql).map(drop),
        };
        let Err(error) = told else { return Ok(None) };
        match code_of(&error) {
            // One that nobody meant to interrupt would have gone on for ever.
            Some(code) if is_expected(&code) && (self.in_a_hurry || code != "57014") => {
                Ok(Some(code))
            }
            code => {
                let script = std::mem::take(&mut finding.script);
                let settings = std::mem::take(&mut finding.settings);
                let is_any = code.is_none();
                Err(Box::new(Finding { told: show(&error, sql), settings, script, is_any }))
            }
        }
    }
}

/// The server's SQLSTATE; none if the connection is lost.
pub(super) fn code_of(error: &postgres::Error) -> Option<String> {
    error.as_db_error().map(|error| error.code().code().to_owned())
}

/// Whether it is documented, or PostgreSQL's own.
pub(super) fn is_expected(code: &str) -> bool {
    DOCUMENTED.contains(&code) || OF_POSTGRES.contains(&code)
}
