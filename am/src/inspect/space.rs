//! How the space of a table is used.

use super::{Also, open};
use crate::error::CaliberResult;
use crate::pg::page::{line_pointers, tuple_at};
use crate::pg::relation::Rel;
use crate::pg::{check_for_interrupts, raw};
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;

/// How the pages of a table are used, and its updates since its statistics were last reset. Bytes are
/// those of tuples with their headers; its indexes and its toast table are not counted.
#[derive(Debug, Default)]
pub struct Space {
    /// Bytes of all pages.
    pub table_len: i64,
    /// Tuples that are there now, also for transactions that are under way.
    pub tuple_count: i64,
    /// Their bytes.
    pub tuple_len: i64,
    /// Tuples that were deleted or replaced and still take space.
    pub dead_tuple_count: i64,
    /// Their bytes.
    pub dead_tuple_len: i64,
    /// Bytes that are free.
    pub free_space: i64,
    /// Updates.
    pub updates: i64,
    /// Those among them that stayed on their page and needed no index entry.
    pub hot_updates: i64,
}

/// Reads all pages of the table.
///
/// # Errors
/// As `open`.
pub fn space(oid: pg_sys::Oid) -> CaliberResult<Space> {
    let table = open(oid, Also::StatScanTables)?;
    let rel = table.rel();
    let mut space = Space::default();
    // SAFETY: an open table.
    let blocks = unsafe { pg_sys::RelationGetNumberOfBlocksInFork(rel.as_ptr(), MAIN) };
    space.table_len = i64::from(blocks) * i64::from(pg_sys::BLCKSZ);
    // A ring of few buffers, so that the pages of others stay in memory.
    // SAFETY: made in the current memory context.
    let strategy =
        unsafe { pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_BULKREAD) };
    for block in 0..blocks {
        check_for_interrupts();
        space.add_page(rel, block, strategy);
    }
    // SAFETY: made above.
    unsafe { pg_sys::FreeAccessStrategy(strategy) };
    space.add_updates(oid);
    Ok(space)
}

const MAIN: pg_sys::ForkNumber::Type = pg_sys::ForkNumber::MAIN_FORKNUM;

impl Space {
    fn add_page(
        &mut self,
        rel: Rel<'_>,
        block: pg_sys::BlockNumber,
        strategy: pg_sys::BufferAccessStrategy,
    ) {
        let mode = pg_sys::ReadBufferMode::RBM_NORMAL;
        // SAFETY: a block of an open table.
        let buffer =
            unsafe { pg_sys::ReadBufferExtended(rel.as_ptr(), MAIN, block, mode, strategy) };
        self.add_tuples(rel, buffer);
        // SAFETY: pinned above; after an error the transaction's abort lets go of it.
        unsafe { raw::ReleaseBuffer(buffer) };
    }

    #[allow(ffi_unwind_calls)] // what the boundary is for
    fn add_tuples(&mut self, rel: Rel<'_>, buffer: pg_sys::Buffer) {
        // SAFETY: pinned by the caller.
        let page = unsafe { pg_sys::BufferGetPage(buffer) };
        let table = rel.oid();
        // What is committed, and what is under way.
        let mut snapshot = pg_sys::SnapshotData {
            snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY,
            ..Default::default()
        };
        let count = || {
            let (share, unlock) = (pg_sys::BUFFER_LOCK_SHARE, pg_sys::BUFFER_LOCK_UNLOCK);
            // SAFETY: pinned; an error's abort releases the lock.
            unsafe { raw::LockBuffer(buffer, share as i32) };
            for item in line_pointers(page) {
                let Some(mut tuple) = tuple_at(page, *item) else { continue };
                tuple.t_tableOid = table;
                // SAFETY: the buffer is pinned and locked, the tuple is in it.
                let is_there =
                    unsafe { raw::HeapTupleSatisfiesVisibility(&mut tuple, &mut snapshot, buffer) };
                let (count, len) = if is_there {
                    (&mut self.tuple_count, &mut self.tuple_len)
                } else {
                    (&mut self.dead_tuple_count, &mut self.dead_tuple_len)
                };
                *count += 1;
                *len += i64::from(tuple.t_len);
            }
            // SAFETY: a page in a locked buffer.
            let free = unsafe { raw::PageGetExactFreeSpace(page) };
            // SAFETY: locked above.
            unsafe { raw::LockBuffer(buffer, unlock as i32) };
            free
        };
        // SAFETY: nothing in the closure has a destructor.
        self.free_space += unsafe { pg_guard_ffi_boundary(count) } as i64;
    }

    /// What the cumulative statistics know of the table.
    fn add_updates(&mut self, oid: pg_sys::Oid) {
        // SAFETY: a copy in the session's memory; null when nothing is known.
        let entry = unsafe { pg_sys::pgstat_fetch_stat_tabentry(oid) };
        // SAFETY: valid until the transaction ends.
        if let Some(entry) = unsafe { entry.as_ref() } {
            self.updates = entry.tuples_updated;
            self.hot_updates = entry.tuples_hot_updated;
        }
    }
}
