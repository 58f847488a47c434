//! Guard types and views over what PostgreSQL hands out.
//!
//! A guard is named by what it holds and releases it when dropped. While a PostgreSQL error
//! unwinds, guards release nothing: the transaction's abort frees buffers, locks, snapshots and
//! relation references by itself, and in the right order.

pub mod clock;
pub mod invalidation;
pub mod layout;
pub mod ports;
mod raw;
pub mod relation;
pub mod report;
pub mod slot;
pub mod snapshot;
pub mod types;
pub mod value;

/// The current user of this backend.
pub fn current_user() -> pgrx_pg_sys::Oid {
    // SAFETY: reads this backend's own state.
    unsafe { raw::GetUserId() }
}
