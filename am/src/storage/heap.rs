//! Heap's own callbacks, called with a guard.
//!
//! They are function pointers, which the bindings do not guard: without the boundary an error in
//! heap would jump over the Rust frames above it.

use crate::pg::raw;
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;
use std::ffi::c_int;

/// Heap's routine, a constant of the server.
pub fn routine() -> &'static pg_sys::TableAmRoutine {
    // SAFETY: returns the address of a constant.
    let routine = unsafe { raw::GetHeapamTableAmRoutine() };
    // SAFETY: it lives as long as the server.
    unsafe { &*routine }
}

/// Defines a guarded call of one of heap's callbacks, which all are set in heap's routine.
macro_rules! guarded {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As the callback of this name in `TableAmRoutine`.
        #[allow(clippy::too_many_arguments)] // PostgreSQL's signature
        #[allow(ffi_unwind_calls)] // what the boundary is for
        pub unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            let Some(callback) = routine().$name else {
                unreachable!(concat!("heap sets ", stringify!($name)))
            };
            // SAFETY: the caller vouches for the arguments.
            let call = || unsafe { callback($($arg),*) };
            // SAFETY: nothing in the closure has a destructor.
            unsafe { pg_guard_ffi_boundary(call) }
        }
    };
}

guarded! {
    /// Stores one row.
    tuple_insert(
        rel: pg_sys::Relation,
        slot: *mut pg_sys::TupleTableSlot,
        cid: pg_sys::CommandId,
        options: c_int,
        bulk: *mut pg_sys::BulkInsertStateData,
    )
}
guarded! {
    /// Stores one row that may be taken back when a conflict shows up.
    tuple_insert_speculative(
        rel: pg_sys::Relation,
        slot: *mut pg_sys::TupleTableSlot,
        cid: pg_sys::CommandId,
        options: c_int,
        bulk: *mut pg_sys::BulkInsertStateData,
        token: pg_sys::uint32,
    )
}
guarded! {
    /// Confirms or takes back a speculative row.
    tuple_complete_speculative(
        rel: pg_sys::Relation,
        slot: *mut pg_sys::TupleTableSlot,
        token: pg_sys::uint32,
        succeeded: bool,
    )
}
guarded! {
    /// Stores a batch of rows.
    multi_insert(
        rel: pg_sys::Relation,
        slots: *mut *mut pg_sys::TupleTableSlot,
        count: c_int,
        cid: pg_sys::CommandId,
        options: c_int,
        bulk: *mut pg_sys::BulkInsertStateData,
    )
}
guarded! {
    /// Deletes one row.
    tuple_delete(
        rel: pg_sys::Relation,
        tid: pg_sys::ItemPointer,
        cid: pg_sys::CommandId,
        snapshot: pg_sys::Snapshot,
        crosscheck: pg_sys::Snapshot,
        wait: bool,
        failure: *mut pg_sys::TM_FailureData,
        changing_partition: bool,
    ) -> pg_sys::TM_Result::Type
}
guarded! {
    /// Replaces one row by a new version.
    tuple_update(
        rel: pg_sys::Relation,
        old: pg_sys::ItemPointer,
        slot: *mut pg_sys::TupleTableSlot,
        cid: pg_sys::CommandId,
        snapshot: pg_sys::Snapshot,
        crosscheck: pg_sys::Snapshot,
        wait: bool,
        failure: *mut pg_sys::TM_FailureData,
        lock_mode: *mut pg_sys::LockTupleMode::Type,
        update_indexes: *mut pg_sys::TU_UpdateIndexes::Type,
    ) -> pg_sys::TM_Result::Type
}
guarded! {
    /// Creates the storage of a relation.
    relation_set_new_filelocator(
        rel: pg_sys::Relation,
        locator: *const pg_sys::RelFileLocator,
        persistence: std::ffi::c_char,
        freeze_xid: *mut pg_sys::TransactionId,
        min_multi: *mut pg_sys::MultiXactId,
    )
}
