//! A subtransaction around calls whose error is an answer.

use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::PgTryBuilder;
use pgrx_pg_sys::errcodes::PgSqlErrorCode;
use pgrx_pg_sys::panic::CaughtError;
use std::panic::AssertUnwindSafe;

/// The error that ended a subtransaction.
#[derive(Debug)]
pub struct Failure {
    /// Its message.
    pub message: String,
    /// Its DETAIL.
    pub detail: Option<String>,
}

/// Runs `body` in a subtransaction of its own. An error whose code is `expected` rolls it back and is
/// returned; every other one goes on after that. Not for parallel mode.
pub fn attempt<R>(
    expected: impl Fn(PgSqlErrorCode) -> bool,
    body: impl FnOnce() -> R,
) -> Result<R, Failure> {
    let subtransaction = AssertUnwindSafe(Started::begin());
    let expected = AssertUnwindSafe(expected);
    let (started, is_expected) = (&subtransaction, &expected);
    let body = AssertUnwindSafe(|| {
        let result = body();
        started.release();
        Ok(result)
    });
    PgTryBuilder::new(body)
        .catch_others(|error| {
            started.roll_back();
            match &error {
                CaughtError::PostgresError(report) if is_expected(report.sql_error_code()) => {
                    Err(Failure {
                        message: report.message().to_owned(),
                        detail: report.detail().map(str::to_owned),
                    })
                }
                // PostgreSQL still has the error, too: it is flushed only when this returns.
                _ => error.rethrow(),
            }
        })
        .execute()
}

/// A subtransaction that was begun, and what its end does not restore by itself.
struct Started {
    context: pg_sys::MemoryContext,
    owner: pg_sys::ResourceOwner,
}

impl Started {
    fn begin() -> Self {
        // SAFETY: a pointer that only this backend's main thread changes.
        let context = unsafe { pg_sys::CurrentMemoryContext };
        // SAFETY: likewise.
        let owner = unsafe { pg_sys::CurrentResourceOwner };
        // SAFETY: inside a transaction; a subtransaction needs no name.
        unsafe { pg_sys::BeginInternalSubTransaction(std::ptr::null()) };
        let started = Self { context, owner };
        started.restore_context();
        started
    }

    /// What is made in it is to outlive it.
    fn restore_context(&self) {
        // SAFETY: the context of the caller, which waits for this call.
        unsafe { pg_sys::CurrentMemoryContext = self.context };
    }

    fn restore(&self) {
        self.restore_context();
        // SAFETY: the owner of the caller's resources, who waits for this call.
        unsafe { pg_sys::CurrentResourceOwner = self.owner };
    }

    fn release(&self) {
        // SAFETY: begun by this guard, and whatever began inside of it has ended.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        self.restore();
    }

    fn roll_back(&self) {
        // SAFETY: begun by this guard; whatever began inside of it ends with it.
        unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
        self.restore();
    }
}
