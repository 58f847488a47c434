//! The database's clock, which leases go by.

use pgrx_pg_sys as pg_sys;

/// The time now, not the transaction's: microseconds since 2000-01-01 UTC, as timestamptz counts.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
