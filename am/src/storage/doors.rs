//! The six write doors, and the door through which storage is created.
//!
//! Every row that is written passes one of them, whoever writes it. Each asks the [`pipeline`]
//! and then calls heap; what heap answers goes back untouched.

use super::pipeline::{self, OldVersion};
use super::{heap, shape};
use crate::error::{CaliberError, CaliberResult};
use crate::pg::relation::Rel;
use crate::pg::report::{or_raise, raise};
use crate::pg::slot::Slot;
use pgrx::pg_guard;
use pgrx_pg_sys as pg_sys;
use std::ffi::c_int;

/// The entity shape that a user's write to this relation must respect; `None` where nothing is
/// to be checked.
///
/// # Safety
/// `relation` is open and locked during the call.
unsafe fn users_shape(relation: pg_sys::Relation) -> Option<shape::Shape> {
    // SAFETY: the caller vouches for it.
    let rel = unsafe { Rel::from_raw(relation) }?;
    or_raise(pipeline::users_shape(rel))
}

/// INSERT of one row.
#[pg_guard]
pub unsafe extern "C-unwind" fn tuple_insert(
    rel: pg_sys::Relation,
    slot: *mut pg_sys::TupleTableSlot,
    cid: pg_sys::CommandId,
    options: c_int,
    bulk: *mut pg_sys::BulkInsertStateData,
) {
    // SAFETY: PostgreSQL passes an open relation.
    if let Some(shape) = unsafe { users_shape(rel) } {
        // SAFETY: PostgreSQL passes a filled slot.
        pipeline::form_inserted(&shape, unsafe { Slot::from_raw(slot) });
    }
    // SAFETY: the arguments are PostgreSQL's.
    unsafe { heap::tuple_insert(rel, slot, cid, options, bulk) }
}

/// INSERT ... ON CONFLICT, before it is known whether there is a conflict.
#[pg_guard]
pub unsafe extern "C-unwind" fn tuple_insert_speculative(
    rel: pg_sys::Relation,
    slot: *mut pg_sys::TupleTableSlot,
    cid: pg_sys::CommandId,
    options: c_int,
    bulk: *mut pg_sys::BulkInsertStateData,
    token: pg_sys::uint32,
) {
    // SAFETY: PostgreSQL passes an open relation.
    if let Some(shape) = unsafe { users_shape(rel) } {
        // SAFETY: PostgreSQL passes a filled slot.
        pipeline::form_inserted(&shape, unsafe { Slot::from_raw(slot) });
    }
    // SAFETY: the arguments are PostgreSQL's.
    unsafe { heap::tuple_insert_speculative(rel, slot, cid, options, bulk, token) }
}

/// The end of a speculative insertion. The row was checked when it came in, so nothing is left to
/// check here.
#[pg_guard]
pub unsafe extern "C-unwind" fn tuple_complete_speculative(
    rel: pg_sys::Relation,
    slot: *mut pg_sys::TupleTableSlot,
    token: pg_sys::uint32,
    succeeded: bool,
) {
    // SAFETY: the arguments are PostgreSQL's.
    unsafe { heap::tuple_complete_speculative(rel, slot, token, succeeded) }
}

/// COPY, and every other batch of rows.
#[pg_guard]
pub unsafe extern "C-unwind" fn multi_insert(
    rel: pg_sys::Relation,
    slots: *mut *mut pg_sys::TupleTableSlot,
    count: c_int,
    cid: pg_sys::CommandId,
    options: c_int,
    bulk: *mut pg_sys::BulkInsertStateData,
) {
    // SAFETY: PostgreSQL passes an open relation.
    if let Some(shape) = unsafe { users_shape(rel) } {
        // SAFETY: PostgreSQL passes an array of `count` slots.
        for &slot in unsafe { std::slice::from_raw_parts(slots, count.max(0) as usize) } {
            // SAFETY: each of them is filled.
            pipeline::form_inserted(&shape, unsafe { Slot::from_raw(slot) });
        }
    }
    // SAFETY: the arguments are PostgreSQL's.
    unsafe { heap::multi_insert(rel, slots, count, cid, options, bulk) }
}

/// UPDATE of one row.
#[pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
pub unsafe extern "C-unwind" fn tuple_update(
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
) -> pg_sys::TM_Result::Type {
    // SAFETY: PostgreSQL passes an open relation.
    let verdict = match unsafe { users_shape(rel) } {
        Some(shape) => {
            // SAFETY: PostgreSQL passes a filled slot.
            let new = unsafe { Slot::from_raw(slot) };
            // SAFETY: PostgreSQL passes the address of a version.
            let tid = unsafe { *old };
            // SAFETY: PostgreSQL passes an open relation.
            let rel = unsafe { Rel::from_raw(rel) };
            rel.map_or(Ok(()), |rel| {
                let old = OldVersion::fetch(rel, tid)?;
                pipeline::form_updated(rel, &shape, old.image(), new)
            })
        }
        None => Ok(()),
    };
    // SAFETY: the arguments are PostgreSQL's.
    let result = unsafe {
        heap::tuple_update(
            rel,
            old,
            slot,
            cid,
            snapshot,
            crosscheck,
            wait,
            failure,
            lock_mode,
            update_indexes,
        )
    };
    or_raise(judged(result, verdict))
}

/// UPDATE of one row whose old version the caller holds in a slot, by the same door.
///
/// # Errors
/// The rule that the update breaks.
///
/// # Safety
/// `rel` is open and locked for writing, the snapshot valid, and `old` a stored version of a row.
pub unsafe fn tuple_update_from(
    rel: Rel<'_>,
    old: Slot<'_>,
    new: Slot<'_>,
    cid: pg_sys::CommandId,
    snapshot: pg_sys::Snapshot,
    update_indexes: &mut pg_sys::TU_UpdateIndexes::Type,
) -> CaliberResult<pg_sys::TM_Result::Type> {
    let verdict = match pipeline::users_shape(rel)? {
        Some(shape) => pipeline::form_updated(rel, &shape, old.deform(), new),
        None => Ok(()),
    };
    let mut tid = old.tid();
    let mut failure = pg_sys::TM_FailureData::default();
    let mut lock_mode = pg_sys::LockTupleMode::LockTupleExclusive;
    // SAFETY: the caller vouches for what it passes; the rest is at hand.
    let result = unsafe {
        heap::tuple_update(
            rel.as_ptr(),
            &mut tid,
            new.as_ptr(),
            cid,
            snapshot,
            std::ptr::null_mut(),
            true,
            &mut failure,
            &mut lock_mode,
            update_indexes,
        )
    };
    judged(result, verdict)
}

/// A broken rule counts only after heap said that the row was there to be updated, so that
/// EvalPlanQual and serialization failures come first, as they do on heap.
fn judged(
    result: pg_sys::TM_Result::Type,
    verdict: CaliberResult<()>,
) -> CaliberResult<pg_sys::TM_Result::Type> {
    match verdict {
        Err(error) if result == pg_sys::TM_Result::TM_Ok => Err(error),
        _ => Ok(result),
    }
}

/// DELETE of one row, also as the first half of a move to another partition, which is refused
/// for an entity: as a delete and an insert it would escape every rule on how a row may change.
#[pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
pub unsafe extern "C-unwind" fn tuple_delete(
    rel: pg_sys::Relation,
    tid: pg_sys::ItemPointer,
    cid: pg_sys::CommandId,
    snapshot: pg_sys::Snapshot,
    crosscheck: pg_sys::Snapshot,
    wait: bool,
    failure: *mut pg_sys::TM_FailureData,
    changing_partition: bool,
) -> pg_sys::TM_Result::Type {
    // SAFETY: PostgreSQL passes an open relation.
    let shape = unsafe { users_shape(rel) };
    // SAFETY: the arguments are PostgreSQL's.
    let result = unsafe {
        heap::tuple_delete(rel, tid, cid, snapshot, crosscheck, wait, failure, changing_partition)
    };
    if let Some(shape) = shape
        && changing_partition
        && result == pg_sys::TM_Result::TM_Ok
    {
        raise(&CaliberError::PartitionMove { entity: shape.entity().name });
    }
    result
}

/// CREATE TABLE, TRUNCATE and rewrites: new storage.
///
/// A table that is being created and has an entity's key must have the entity's columns. Its
/// constraints do not exist yet; they are looked at before the first write.
#[pg_guard]
pub unsafe extern "C-unwind" fn relation_set_new_filelocator(
    relation: pg_sys::Relation,
    locator: *const pg_sys::RelFileLocator,
    persistence: std::ffi::c_char,
    freeze_xid: *mut pg_sys::TransactionId,
    min_multi: *mut pg_sys::MultiXactId,
) {
    // SAFETY: PostgreSQL passes an open relation.
    if let Some(rel) = unsafe { Rel::from_raw(relation) } {
        or_raise(shape::check_created(rel));
    }
    // SAFETY: the arguments are PostgreSQL's.
    unsafe {
        heap::relation_set_new_filelocator(relation, locator, persistence, freeze_xid, min_multi)
    }
}
