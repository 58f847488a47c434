//! What the two index scans share: a heap scan that knows the root of every HOT chain.
//!
//! An index points at the root line pointer of a HOT chain, so a heap-only tuple is entered under
//! its root's address (README.HOT). Heap's own scans get their tuples from `heap_getnext`, which
//! refuses every access method but heap; `heap_getnextslot` asks nothing.

use crate::error::{CaliberError, CaliberResult};
use crate::pg::ports::{self, MAX_HEAP_TUPLES_PER_PAGE};
use crate::pg::relation::Rel;
use crate::pg::slot::{OwnedSlot, Slot};
use crate::pg::{memory, raw};
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;

/// The roots of the HOT chains of one page, by line pointer.
pub struct PageRoots {
    block: pg_sys::BlockNumber,
    roots: [pg_sys::OffsetNumber; MAX_HEAP_TUPLES_PER_PAGE],
}

impl PageRoots {
    /// Of no page yet.
    pub const fn none() -> Self {
        Self { block: pg_sys::InvalidBlockNumber, roots: [0; MAX_HEAP_TUPLES_PER_PAGE] }
    }

    /// Whether these are the roots of another block.
    pub fn is_stale(&self, block: pg_sys::BlockNumber) -> bool {
        self.block != block
    }

    /// Reads the roots of the page in the pinned buffer.
    pub fn load(&mut self, buffer: pg_sys::Buffer, block: pg_sys::BlockNumber) {
        let _locked = SharedLock::on(buffer);
        self.load_locked(buffer, block);
    }

    /// As [`PageRoots::load`], with the buffer's lock held already.
    fn load_locked(&mut self, buffer: pg_sys::Buffer, block: pg_sys::BlockNumber) {
        // SAFETY: pinned by the scan.
        let page = unsafe { pg_sys::BufferGetPage(buffer) };
        // SAFETY: locked; the array has room for every line pointer of a page.
        unsafe { pg_sys::heap_get_root_tuples(page, self.roots.as_mut_ptr()) };
        self.block = block;
    }

    /// The address under which an index enters the tuple.
    ///
    /// # Errors
    /// XX001 when a heap-only tuple has no root.
    pub fn index_address(
        &mut self,
        rel: Rel<'_>,
        tuple: &Found,
        buffer: pg_sys::Buffer,
    ) -> CaliberResult<pg_sys::ItemPointerData> {
        if let Some(address) = self.known_address(tuple) {
            return Ok(address);
        }
        // The chain grew after its page's roots were read: the page may have been updated and
        // pruned since, without the scan having left it.
        self.load(buffer, self.block);
        self.known_address(tuple).ok_or_else(|| CaliberError::BrokenHotChain {
            table: rel.name(),
            block: self.block,
            offset: tuple.tid.ip_posid,
        })
    }

    /// The address under which an index enters a tuple of this page; `None` for a heap-only one that
    /// had no root when the page was read.
    pub fn known_address(&self, tuple: &Found) -> Option<pg_sys::ItemPointerData> {
        let mut address = tuple.tid;
        if tuple.is_heap_only() {
            let index = usize::from(tuple.tid.ip_posid).wrapping_sub(1);
            address.ip_posid = self.roots.get(index).copied().filter(|&root| root != 0)?;
        }
        Some(address)
    }
}

/// A share lock on a buffer's content.
pub struct SharedLock(pg_sys::Buffer);

impl SharedLock {
    /// Locks the pinned buffer.
    pub fn on(buffer: pg_sys::Buffer) -> Self {
        // SAFETY: pinned by the scan.
        unsafe { pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32) };
        Self(buffer)
    }
}

impl Drop for SharedLock {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: locked by this guard.
            unsafe { pg_sys::LockBuffer(self.0, pg_sys::BUFFER_LOCK_UNLOCK as i32) };
        }
    }
}

/// The tuple that a scan stands on. Its bytes are in the scan's pinned buffer.
#[derive(Clone, Copy)]
pub struct Found {
    /// Its address.
    pub tid: pg_sys::ItemPointerData,
    /// The tuple in the buffer.
    pub tuple: pg_sys::HeapTuple,
}

impl Found {
    fn header(&self) -> *mut pg_sys::HeapTupleHeaderData {
        // SAFETY: the scan keeps the tuple while it stands on it.
        unsafe { (*self.tuple).t_data }
    }

    /// `HeapTupleIsHeapOnly`: in the middle of a HOT chain, so without index entries of its own.
    pub fn is_heap_only(&self) -> bool {
        // SAFETY: in the pinned buffer.
        unsafe { pg_sys::htup::HeapTupleHeaderIsHeapOnly(self.header()) }
    }

    /// `HeapTupleIsHotUpdated`: a newer version follows in the same HOT chain.
    pub fn is_hot_updated(&self) -> bool {
        // SAFETY: in the pinned buffer.
        unsafe { pg_sys::htup::HeapTupleHeaderIsHotUpdated(self.header()) }
    }

    /// The inserting transaction.
    pub fn xmin(&self) -> pg_sys::TransactionId {
        // SAFETY: in the pinned buffer.
        unsafe { pg_sys::htup::HeapTupleHeaderGetXmin(self.header()) }
    }

    /// The deleting or updating transaction, lockers aside.
    pub fn update_xid(&self) -> pg_sys::TransactionId {
        // SAFETY: in the pinned buffer; only called for a tuple that is being deleted.
        unsafe { ports::heap_tuple_header_get_update_xid(self.header()) }
    }
}

/// A sequential scan over a heap-format table.
pub struct HeapScan {
    scan: pg_sys::TableScanDesc,
    slot: OwnedSlot,
    registered: Option<pg_sys::Snapshot>,
}

impl HeapScan {
    /// Starts a scan that sees what the snapshot sees; the snapshot must outlive it.
    pub fn start(rel: Rel<'_>, snapshot: pg_sys::Snapshot, allow_sync: bool) -> Self {
        let slot = OwnedSlot::for_table(rel);
        // SAFETY: an open, locked table and no scan keys.
        let scan = unsafe {
            pg_sys::table_beginscan_strat(
                rel.as_ptr(),
                snapshot,
                0,
                std::ptr::null_mut(),
                true,
                allow_sync,
            )
        };
        Self { scan, slot, registered: None }
    }

    /// Starts a scan with a snapshot of its own, for a build that others write beside.
    pub fn start_with_own_snapshot(rel: Rel<'_>, allow_sync: bool) -> Self {
        // SAFETY: inside a transaction.
        let snapshot = unsafe { pg_sys::GetTransactionSnapshot() };
        // SAFETY: just taken.
        let snapshot = unsafe { pg_sys::RegisterSnapshot(snapshot) };
        let mut scan = Self::start(rel, snapshot, allow_sync);
        scan.registered = Some(snapshot);
        scan
    }

    /// Takes a scan over that a parallel build has started; it ends with this guard.
    ///
    /// # Safety
    /// `scan` is a heap scan of `rel`.
    pub unsafe fn adopt(rel: Rel<'_>, scan: pg_sys::TableScanDesc) -> Self {
        Self { scan, slot: OwnedSlot::for_table(rel), registered: None }
    }

    /// Restricts the scan to a range of blocks, before its first row.
    pub fn limit(&mut self, start: pg_sys::BlockNumber, count: pg_sys::BlockNumber) {
        // SAFETY: the scan has not started.
        unsafe { pg_sys::heap_setscanlimits(self.scan, start, count) };
    }

    /// The snapshot that the scan uses.
    pub fn snapshot(&self) -> pg_sys::Snapshot {
        // SAFETY: open as long as this guard.
        unsafe { (*self.scan).rs_snapshot }
    }

    /// Heap's part of the scan.
    fn heap(&self) -> &pg_sys::HeapScanDescData {
        // SAFETY: scans of this access method are heap's, whose generic part comes first.
        unsafe { &*self.scan.cast::<pg_sys::HeapScanDescData>() }
    }

    /// The number of blocks that the scan (with all its workers) covers.
    pub fn blocks(&self) -> pg_sys::BlockNumber {
        let parallel = self.heap().rs_base.rs_parallel;
        if parallel.is_null() {
            return self.heap().rs_nblocks;
        }
        // SAFETY: the parallel part of a heap scan is the block-oriented one.
        unsafe { (*parallel.cast::<pg_sys::ParallelBlockTableScanDescData>()).phs_nblocks }
    }

    /// The block that the scan stands on, and how far that is from where it began.
    pub fn position(&self) -> (pg_sys::BlockNumber, pg_sys::BlockNumber) {
        let heap = self.heap();
        let parallel = heap.rs_base.rs_parallel;
        let start = if parallel.is_null() {
            heap.rs_startblock
        } else {
            // SAFETY: as in `blocks`.
            unsafe { (*parallel.cast::<pg_sys::ParallelBlockTableScanDescData>()).phs_startblock }
        };
        let (block, blocks) = (heap.rs_cblock, self.blocks().max(1));
        // A synchronised scan begins in the middle and wraps around.
        let done = if block >= start { block - start } else { blocks - start + block };
        (block, done)
    }

    /// The buffer that the scan stands on, pinned.
    pub fn buffer(&self) -> pg_sys::Buffer {
        self.heap().rs_cbuf
    }

    /// The row that the scan stands on.
    pub fn slot(&self) -> Slot<'_> {
        self.slot.slot()
    }

    /// Goes to the next tuple that `take` does not take, with one crossing into PostgreSQL for all
    /// until then. `take` gets the tuple, in the slot too, and its block.
    ///
    /// # Safety
    /// `take` is called inside of a boundary: it may call what raises, without a guard, and has
    /// nothing with a destructor.
    #[allow(ffi_unwind_calls)] // what the boundary is for
    pub unsafe fn next_but(
        &mut self,
        mut take: impl FnMut(&Found, Slot<'_>, pg_sys::BlockNumber) -> bool,
    ) -> Option<Found> {
        let (scan, slot) = (self.scan, self.slot.slot());
        // Not a reference: the tuple changes with every step.
        let heap = scan.cast::<pg_sys::HeapScanDescData>();
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        let tuples = || loop {
            // SAFETY: the slot is of the table's kind.
            if !unsafe { raw::heap_getnextslot(scan, forward, slot.as_ptr()) } {
                return None;
            }
            // SAFETY: scans of this access method are heap's, whose generic part comes first.
            let tuple = unsafe { &raw mut (*heap).rs_ctup };
            // SAFETY: the tuple that the scan stands on.
            let found = Found { tid: unsafe { (*tuple).t_self }, tuple };
            // SAFETY: as above.
            let block = unsafe { (*heap).rs_cblock };
            if !take(&found, slot, block) {
                return Some(found);
            }
        };
        // SAFETY: nothing in the closure has a destructor, as the caller vouches of `take`.
        unsafe { pg_guard_ffi_boundary(tuples) }
    }
}

impl Drop for HeapScan {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: started or adopted by this guard.
        unsafe { pg_sys::table_endscan(self.scan) };
        if let Some(snapshot) = self.registered {
            // SAFETY: registered by this guard.
            unsafe { pg_sys::UnregisterSnapshot(snapshot) };
        }
    }
}

/// Evaluates an index's predicate and expressions for the rows of a scan.
pub struct IndexRow {
    estate: *mut pg_sys::EState,
    context: *mut pg_sys::ExprContext,
    predicate: *mut pg_sys::ExprState,
    info: *mut pg_sys::IndexInfo,
    /// The key and included values of the current row.
    pub values: [pg_sys::Datum; pg_sys::INDEX_MAX_KEYS as usize],
    /// Which of them are null.
    pub nulls: [bool; pg_sys::INDEX_MAX_KEYS as usize],
}

impl IndexRow {
    /// For rows in this slot.
    ///
    /// # Safety
    /// `info` is valid as long as this guard.
    pub unsafe fn prepare(info: *mut pg_sys::IndexInfo, slot: Slot<'_>) -> Self {
        // SAFETY: a new state with a context of its own.
        let estate = unsafe { pg_sys::CreateExecutorState() };
        // SAFETY: the state was just made.
        let context = unsafe { pg_sys::MakePerTupleExprContext(estate) };
        // SAFETY: the context was just made; the slot stays where it is during the scan.
        unsafe { (*context).ecxt_scantuple = slot.as_ptr() };
        // SAFETY: the caller vouches for info.
        let clauses = unsafe { (*info).ii_Predicate };
        // SAFETY: an implicitly-ANDed list, as ExecPrepareQual asks; null gives null.
        let predicate = unsafe { pg_sys::ExecPrepareQual(clauses, estate) };
        Self {
            estate,
            context,
            predicate,
            info,
            values: [pg_sys::Datum::null(); pg_sys::INDEX_MAX_KEYS as usize],
            nulls: [true; pg_sys::INDEX_MAX_KEYS as usize],
        }
    }

    /// Whether only some rows belong into the index.
    pub fn is_partial(&self) -> bool {
        !self.predicate.is_null()
    }

    /// Begins a new row.
    pub fn begin(&self) {
        // SAFETY: valid as long as this guard.
        let per_tuple = unsafe { (*self.context).ecxt_per_tuple_memory };
        // SAFETY: nothing of the previous row is used any more.
        unsafe { memory::reset(per_tuple) };
    }

    /// Whether the row in the slot belongs into the index, which may be partial. Begins a new row.
    pub fn belongs(&self) -> bool {
        self.begin();
        // SAFETY: prepared for this context.
        self.predicate.is_null() || unsafe { pg_sys::ExecQual(self.predicate, self.context) }
    }

    /// Forms the index row of the row in the slot. To be called inside of a boundary.
    #[allow(ffi_unwind_calls)] // what the boundary is for
    pub fn form(&mut self, slot: Slot<'_>) {
        // SAFETY: the arrays have room for the most keys that an index can have.
        unsafe {
            raw::FormIndexDatum(
                self.info,
                slot.as_ptr(),
                self.estate,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            );
        }
    }
}

impl Drop for IndexRow {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: made by this guard.
        unsafe { pg_sys::FreeExecutorState(self.estate) };
        // SAFETY: valid as long as this guard. What FormIndexDatum cached in it pointed into the
        // executor state.
        let info = unsafe { &mut *self.info };
        info.ii_ExpressionsState = std::ptr::null_mut();
        info.ii_PredicateState = std::ptr::null_mut();
    }
}

/// Reports progress, as pg_stat_progress_create_index shows it.
pub fn report_progress(parameter: u32, value: i64) {
    // SAFETY: writes to this backend's own entry.
    unsafe { pg_sys::pgstat_progress_update_param(parameter as i32, value) };
}

/// Whether the row was written by this very transaction.
pub fn is_own(xid: pg_sys::TransactionId) -> bool {
    // SAFETY: a look at this backend's own state.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(xid) }
}

/// Whether the snapshot sees one version of each row rather than all versions.
pub fn sees_one_version(snapshot: pg_sys::Snapshot) -> bool {
    // SAFETY: the scan's snapshot.
    unsafe { ports::is_mvcc_snapshot(snapshot) }
}
