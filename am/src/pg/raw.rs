//! Functions of PostgreSQL that raise nothing, linked without the guard that every other binding
//! has: a guard costs about as much as each of them does.

use pgrx_pg_sys as pg_sys;
use std::ffi::c_int;

// "C" rather than "C-unwind": nothing unwinds out of them. Each only reads what exists, or fills or
// relinks it.
unsafe extern "C" {
    /// The snapshot on top of the stack; there is one while a function is called.
    pub fn GetActiveSnapshot() -> pg_sys::Snapshot;
    /// The command counter. It raises in parallel mode only when asked to mark the id as used.
    pub fn GetCurrentCommandId(used: bool) -> pg_sys::CommandId;
    /// The number of the current subtransaction, 1 being the transaction itself.
    pub fn GetCurrentSubTransactionId() -> pg_sys::SubTransactionId;
    /// The current user.
    pub fn GetUserId() -> pg_sys::Oid;
    /// Heap's routine, a constant of the server.
    pub fn GetHeapamTableAmRoutine() -> *const pg_sys::TableAmRoutine;
    /// Whether this process is a worker of logical replication.
    pub fn IsLogicalWorker() -> bool;
    /// Whether parallel workers are at work, or this is one.
    pub fn IsInParallelMode() -> bool;
    /// Whether the transaction or subtransaction belongs to the one under way.
    pub fn TransactionIdIsCurrentTransactionId(xid: pg_sys::TransactionId) -> bool;
    /// Links a memory context below another one.
    pub fn MemoryContextSetParent(context: pg_sys::MemoryContext, parent: pg_sys::MemoryContext);
    /// Adds up the blocks of a memory context, and of those below it.
    pub fn MemoryContextMemAllocated(context: pg_sys::MemoryContext, recurse: bool) -> usize;
    /// The wall clock.
    pub fn GetCurrentTimestamp() -> pg_sys::TimestampTz;
    /// When the transaction began.
    pub fn GetCurrentTransactionStartTimestamp() -> pg_sys::TimestampTz;
    /// Extracts a stored row's attributes up to a number, which must be one that the row can have.
    pub fn slot_getsomeattrs_int(slot: *mut pg_sys::TupleTableSlot, attnum: c_int);
    /// Marks a slot, whose arrays were filled, as full.
    pub fn ExecStoreVirtualTuple(slot: *mut pg_sys::TupleTableSlot) -> *mut pg_sys::TupleTableSlot;
    /// Extracts all attributes of a tuple.
    pub fn heap_deform_tuple(
        tuple: pg_sys::HeapTuple,
        desc: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );
}

// These complain only of what their caller does not own. A guard that has it gives it back.
unsafe extern "C" {
    /// Gives a buffer's pin back.
    pub fn ReleaseBuffer(buffer: pg_sys::Buffer);
    /// Gives a relation's reference back, and its lock unless that is `NoLock`.
    pub fn relation_close(relation: pg_sys::Relation, lock: pg_sys::LOCKMODE);
    /// Frees what was allocated in a memory context.
    pub fn MemoryContextReset(context: pg_sys::MemoryContext);
    /// Takes the snapshot on top of the stack away.
    pub fn PopActiveSnapshot();
    /// Frees a slot with what it holds.
    pub fn ExecDropSingleTupleTableSlot(slot: *mut pg_sys::TupleTableSlot);
}

// These raise, and so may be called only in the closure of a boundary (`pg_guard_ffi_boundary`) that
// makes several calls with one guard. Nothing on the way to the boundary may have a destructor.
unsafe extern "C-unwind" {
    /// Does what a signal has asked for: a cancel, a termination, an invalidation.
    pub fn ProcessInterrupts();
    /// Looks a function up, into memory of the current context.
    pub fn fmgr_info(function: pg_sys::Oid, info: *mut pg_sys::FmgrInfo);
    /// A slot of the kind that the table's access method stores into.
    pub fn table_slot_create(
        table: pg_sys::Relation,
        list: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::TupleTableSlot;
    /// Begins an index scan anew, with these keys.
    pub fn index_rescan(
        scan: pg_sys::IndexScanDesc,
        keys: pg_sys::ScanKey,
        key_count: c_int,
        order_bys: pg_sys::ScanKey,
        order_by_count: c_int,
    );
    /// Goes to the next row of an index scan.
    pub fn index_getnext_slot(
        scan: pg_sys::IndexScanDesc,
        direction: pg_sys::ScanDirection::Type,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> bool;
    /// Goes to the next tuple of a sequential scan.
    pub fn heap_getnextslot(
        scan: pg_sys::TableScanDesc,
        direction: pg_sys::ScanDirection::Type,
        slot: *mut pg_sys::TupleTableSlot,
    ) -> bool;
    /// The next datum of a finished sort.
    pub fn tuplesort_getdatum(
        sort: *mut pg_sys::Tuplesortstate,
        forward: bool,
        copy: bool,
        value: *mut pg_sys::Datum,
        is_null: *mut bool,
        abbreviated: *mut pg_sys::Datum,
    ) -> bool;
    /// Adds a copy of a tuple to a store.
    pub fn tuplestore_puttuple(store: *mut pg_sys::Tuplestorestate, tuple: pg_sys::HeapTuple);
    /// Locks a pinned buffer's content, or unlocks it.
    pub fn LockBuffer(buffer: pg_sys::Buffer, mode: c_int);
    /// Whom a tuple in a locked buffer is dead to.
    pub fn HeapTupleSatisfiesVacuum(
        tuple: pg_sys::HeapTuple,
        horizon: pg_sys::TransactionId,
        buffer: pg_sys::Buffer,
    ) -> pg_sys::HTSV_Result::Type;
    /// Whether the snapshot sees a tuple in a locked buffer.
    pub fn HeapTupleSatisfiesVisibility(
        tuple: pg_sys::HeapTuple,
        snapshot: pg_sys::Snapshot,
        buffer: pg_sys::Buffer,
    ) -> bool;
    /// How many bytes are free on a page in a locked buffer.
    pub fn PageGetExactFreeSpace(page: pg_sys::Page) -> usize;
    /// Evaluates an index's columns and expressions for the row in a slot.
    pub fn FormIndexDatum(
        info: *mut pg_sys::IndexInfo,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    );
}
