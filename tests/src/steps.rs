//! Functions for defaults, constraints, indexes and triggers that raise an error, or wait, at the
//! n-th time that any of them is called: errors in the middle of what PostgreSQL is doing.

use std::thread;

use crate::db::{Db, show};

/// What a step raises.
const RAISED: &str = "ZZ001";

/// More steps than there are.
const MANY: i32 = 1_000_000;

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By an error of its own.
    Error,
    /// By waiting for a lock longer than `lock_timeout` allows.
    LockTimeout,
    /// By a statement that takes longer than `statement_timeout` allows.
    StatementTimeout,
    /// By being cancelled.
    Cancel,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Error, Self::LockTimeout, Self::StatementTimeout, Self::Cancel];

    /// The SQLSTATE of the failure.
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::Error => RAISED,
            Self::LockTimeout => "55P03",
            Self::StatementTimeout | Self::Cancel => "57014",
        }
    }

    /// The settings with which step `n` fails, by waiting for this advisory lock.
    fn settings(self, n: u32, lock: i32) -> String {
        let (how, timeout) = match self {
            Self::Error => ("error", ""),
            Self::LockTimeout => ("wait", "SET lock_timeout = '1ms'"),
            Self::StatementTimeout => ("wait", "SET statement_timeout = '20ms'"),
            Self::Cancel => ("wait", ""),
        };
        format!("SET test.how = {how}; SET test.lock = {lock}; SET test.steps = {n}; {timeout}")
    }
}

/// The functions, in the connection's current schema:
///
/// - `step_check(label text, value text) returns boolean`, true and declared immutable, for CHECKs
///   and predicates;
/// - `step_of(label text, value text) returns text`, its value and declared immutable, for
///   generated columns and indexes;
/// - `step_default() returns text`, for defaults;
/// - `step_trigger() returns trigger`.
pub const FUNCTIONS: &str = "
    CREATE FUNCTION step(label text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
    DECLARE
        left_over int := coalesce(nullif(current_setting('test.steps', true), ''), '0')::int;
    BEGIN
        IF left_over > 0 THEN
            PERFORM set_config('test.steps', (left_over - 1)::text, false);
            PERFORM set_config('test.met', concat_ws(',', nullif(current_setting('test.met', true), ''), label), false);
        END IF;
        IF left_over = 1 THEN
            IF current_setting('test.how') = 'error' THEN
                RAISE EXCEPTION 'step of %', label USING ERRCODE = 'ZZ001';
            END IF;
            PERFORM pg_advisory_lock(current_setting('test.lock')::bigint);
            PERFORM pg_advisory_unlock(current_setting('test.lock')::bigint);
        END IF;
    END $$;
    DO $$ BEGIN EXECUTE format($body$
        CREATE FUNCTION step_check(label text, value text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            'BEGIN PERFORM %1$I.step(label); RETURN true; END';
        CREATE FUNCTION step_of(label text, value text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
            'BEGIN PERFORM %1$I.step(label); RETURN value; END';
        CREATE FUNCTION step_default() RETURNS text LANGUAGE plpgsql VOLATILE AS
            'BEGIN PERFORM %1$I.step(''default''); RETURN ''made''; END';
        CREATE FUNCTION step_trigger() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM %1$I.step(concat_ws('' '', tg_when, tg_level, tg_op));
             RETURN CASE tg_op WHEN ''DELETE'' THEN old ELSE new END; END'
    $body$, current_schema()); END $$";

/// A session whose steps fail, and another that holds the lock they wait for.
pub struct Steps {
    holder: Db,
    /// The key of the advisory lock: the holder's process id, which no other test's is.
    lock: i32,
}

impl Steps {
    /// Takes the lock, on a connection of its own.
    pub fn new(mut holder: Db) -> Self {
        let lock = holder.pid();
        holder.run(&format!("SELECT pg_advisory_lock({lock})"));
        Self { holder, lock }
    }

    /// Does it without a failure; the labels of the steps that it meets.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn met(
        db: &mut Db,
        what: &str,
        act: impl FnOnce(&mut Db) -> Result<(), postgres::Error>,
    ) -> Vec<String> {
        db.run(&format!("SET test.steps = {MANY}; SET test.met = ''"));
        act(db).unwrap_or_else(|error| panic!("{}", show(&error, what)));
        let met: String = db.one("SELECT current_setting('test.met')");
        db.run("SET test.steps = 0");
        met.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect()
    }

    /// Does it with the n-th step failing. The failure must be the one that was asked for.
    ///
    /// # Panics
    /// When it does not fail, or otherwise.
    #[track_caller]
    pub fn fails(
        &mut self,
        db: &mut Db,
        how: How,
        n: u32,
        what: &str,
        act: impl FnOnce(&mut Db) -> Result<(), postgres::Error>,
    ) {
        db.run(&how.settings(n, self.lock));
        let result = if how == How::Cancel { self.cancelled(db, act) } else { act(db) };
        let error = result.expect_err(what);
        let failed = error.as_db_error().is_some_and(|e| e.code().code() == how.sqlstate());
        assert!(failed, "step {n}: {}", show(&error, what));
    }

    /// Does it and cancels it where it waits.
    fn cancelled(
        &mut self,
        db: &mut Db,
        act: impl FnOnce(&mut Db) -> Result<(), postgres::Error>,
    ) -> Result<(), postgres::Error> {
        let pid = db.pid();
        thread::scope(|scope| {
            scope.spawn(|| {
                self.holder.wait_until_blocked(pid);
                self.holder.run(&format!("SELECT pg_cancel_backend({pid})"));
            });
            act(db)
        })
    }

    /// Does it, and `meanwhile` while it waits at the n-th step; then lets it go on.
    ///
    /// # Panics
    /// When there is no such step, or when it fails.
    #[track_caller]
    pub fn meanwhile(
        &mut self,
        db: &mut Db,
        n: u32,
        sql: &str,
        meanwhile: impl FnOnce(&mut Db) + Send,
    ) {
        let lock = self.lock;
        db.run(&format!("SET test.how = wait; SET test.lock = {lock}; SET test.steps = {n}"));
        let pid = db.pid();
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                self.holder.wait_until_blocked(pid);
                meanwhile(&mut self.holder);
                self.holder.run(&format!("SELECT pg_advisory_unlock({lock})"));
            });
            db.run(sql);
            other.join().expect("what is done meanwhile");
        });
        self.holder.run(&format!("SELECT pg_advisory_lock({lock})"));
        db.run("SET test.steps = 0");
    }
}
