//! The database's clock, which leases, visibility and heartbeats go by, and intervals.

use crate::error::{CaliberError, CaliberResult};
use crate::pg::raw;
use crate::pg::value::Value;
use pgrx_pg_sys as pg_sys;

/// The time now, not the transaction's: microseconds since 2000-01-01 UTC, as timestamptz counts.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { raw::GetCurrentTimestamp() }
}

/// The start of this transaction, counted as [`now`].
pub fn transaction_start() -> i64 {
    // SAFETY: inside a transaction.
    unsafe { raw::GetCurrentTransactionStartTimestamp() }
}

/// Sleeps, to be woken by a signal, which may raise (a cancel, for instance).
pub fn sleep(milliseconds: i64) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: a plain pointer that is set when the backend starts.
    let latch = unsafe { pg_sys::MyLatch };
    // SAFETY: this backend's own latch.
    unsafe {
        pg_sys::WaitLatch(latch, events as i32, milliseconds.max(1), pg_sys::PG_WAIT_EXTENSION)
    };
    // SAFETY: as above.
    unsafe { pg_sys::ResetLatch(latch) };
    crate::pg::check_for_interrupts();
}

/// An `interval` argument.
#[derive(Clone, Copy)]
pub struct Interval {
    interval: pg_sys::Interval,
}

impl Interval {
    /// The interval behind a value; `None` for null.
    pub fn from_value(value: Value<'_>) -> Option<Self> {
        let (datum, is_null) = value.to_raw();
        if is_null {
            return None;
        }
        let pointer = datum.cast_mut_ptr::<pg_sys::Interval>();
        // SAFETY: an interval datum points to an Interval.
        Some(Self { interval: unsafe { pointer.read_unaligned() } })
    }

    /// Whether it goes forward, as SQL compares it: a month counts 30 days, a day 24 hours.
    fn sign(&self) -> i128 {
        let days = i128::from(self.interval.month) * 30 + i128::from(self.interval.day);
        (days * 86_400_000_000 + i128::from(self.interval.time)).signum()
    }

    /// This interval, which must be longer than nothing.
    ///
    /// # Errors
    /// 22023
    pub fn positive(self, argument: &'static str) -> CaliberResult<Self> {
        if self.sign() > 0 {
            return Ok(self);
        }
        Err(CaliberError::argument(argument, "The interval must be longer than zero."))
    }

    /// This interval, which must not be negative.
    ///
    /// # Errors
    /// 22023
    pub fn not_negative(self, argument: &'static str) -> CaliberResult<Self> {
        if self.sign() >= 0 {
            return Ok(self);
        }
        Err(CaliberError::argument(argument, "The interval must not be negative."))
    }

    /// The time this long after `time`; PostgreSQL raises 22008 beyond the range of timestamptz.
    pub fn after(mut self, time: i64) -> i64 {
        self.call(pg_sys::timestamptz_pl_interval, time)
    }

    /// The time this long before `time`; raises as [`Interval::after`].
    pub fn before(mut self, time: i64) -> i64 {
        self.call(pg_sys::timestamptz_mi_interval, time)
    }

    fn call(
        &mut self,
        function: unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
        time: i64,
    ) -> i64 {
        let interval = pg_sys::Datum::from(&raw mut self.interval);
        let arguments = [Some(pg_sys::Datum::from(time)), Some(interval)];
        // SAFETY: takes a timestamptz and an interval, which outlives the call, and returns a
        // timestamptz.
        let result = unsafe { pgrx::direct_function_call_as_datum(function, &arguments) };
        result.map_or(time, |datum| datum.value() as i64)
    }
}
