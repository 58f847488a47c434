//! The transaction under way, and which subtransaction of it: locks taken in one last as long as it
//! does, at least.

use super::raw;
use pgrx_pg_sys as pg_sys;
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

static ENDED: AtomicU64 = AtomicU64::new(0);

/// One subtransaction of one transaction of this backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubTransaction {
    /// How many transactions ended before.
    transaction: u64,
    id: pg_sys::SubTransactionId,
}

/// The one under way.
pub fn current() -> SubTransaction {
    // SAFETY: reads this backend's own state.
    let id = unsafe { raw::GetCurrentSubTransactionId() };
    SubTransaction { transaction: ENDED.load(Ordering::Relaxed), id }
}

/// The number of the command under way, within its transaction.
pub fn current_command() -> pg_sys::CommandId {
    // SAFETY: does not mark the command id as used.
    unsafe { raw::GetCurrentCommandId(false) }
}

/// Starts counting transactions; called once, when the library is loaded.
pub fn watch() {
    // SAFETY: the callback lives as long as the library.
    unsafe { pg_sys::RegisterXactCallback(Some(on_end), std::ptr::null_mut()) };
}

/// Called around the end of each transaction, also of one that failed: it must not raise. Counting
/// one end more than once does no harm.
unsafe extern "C-unwind" fn on_end(_event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    ENDED.fetch_add(1, Ordering::Relaxed);
}

/// Raises 25006 when it may not write, which is so for all on a standby; `command` is what it then
/// says it cannot execute.
pub fn prevent_if_read_only(command: &CStr) {
    // SAFETY: a plain bool that only this backend's main thread writes.
    if unsafe { pg_sys::XactReadOnly } {
        // SAFETY: a C string that outlives the call.
        unsafe { pg_sys::PreventCommandIfReadOnly(command.as_ptr()) };
    }
}

/// Whether parallel workers take part in it, or this is one.
pub fn is_parallel() -> bool {
    // SAFETY: reads this backend's own state.
    unsafe { raw::IsInParallelMode() }
}
