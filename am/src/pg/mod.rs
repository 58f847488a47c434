//! Guard types and views over what PostgreSQL hands out.
//!
//! A guard is named by what it holds and releases it when dropped. While a PostgreSQL error
//! unwinds, guards release nothing: the transaction's abort frees buffers, locks, snapshots and
//! relation references by itself, and in the right order.

pub mod advisory;
pub mod clock;
pub mod constraints;
pub mod encoding;
pub mod function;
pub mod invalidation;
pub mod layout;
pub mod memory;
pub mod notify;
pub(crate) mod page;
pub mod planner;
pub mod ports;
pub(crate) mod raw;
pub mod relation;
pub mod report;
pub mod sequence;
pub mod setting;
pub mod slot;
pub mod snapshot;
pub mod subtransaction;
pub mod transaction;
pub mod triggers;
pub mod types;
pub mod value;

/// The current user of this backend.
pub fn current_user() -> pgrx_pg_sys::Oid {
    // SAFETY: reads this backend's own state.
    unsafe { raw::GetUserId() }
}

/// Lets a cancel, a timeout or a shutdown end a loop that calls nothing else that would.
pub fn check_for_interrupts() {
    if an_interrupt_is_pending() {
        // SAFETY: raises when something is to be done about it.
        unsafe { pgrx_pg_sys::ProcessInterrupts() };
    }
}

/// As [`check_for_interrupts`], inside of a boundary.
///
/// # Safety
/// Nothing on the way to the boundary has a destructor.
#[allow(ffi_unwind_calls)] // what the boundary is for
pub(crate) unsafe fn check_for_interrupts_inside() {
    if an_interrupt_is_pending() {
        // SAFETY: the caller vouches for it.
        unsafe { raw::ProcessInterrupts() };
    }
}

fn an_interrupt_is_pending() -> bool {
    let pending = &raw const pgrx_pg_sys::InterruptPending;
    // SAFETY: a plain flag that a signal handler sets.
    unsafe { pending.read_volatile() != 0 }
}

/// Whether this process is a worker of logical replication.
pub fn is_logical_worker() -> bool {
    // SAFETY: reads this backend's own state.
    unsafe { raw::IsLogicalWorker() }
}
