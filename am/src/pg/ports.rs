//! C macros that the bindings cannot carry, and every difference between PostgreSQL versions.
//!
//! Macros keep their C names in lower case. Version differences have positive names
//! (`since_pg18`) and stand nowhere else.

use pgrx_pg_sys as pg_sys;

/// The most line pointers that fit on one heap page: `MaxHeapTuplesPerPage`, which is
/// `(BLCKSZ - SizeOfPageHeaderData) / (MAXALIGN(SizeofHeapTupleHeader) + sizeof(ItemIdData))`.
pub const MAX_HEAP_TUPLES_PER_PAGE: usize =
    (pg_sys::BLCKSZ as usize - PAGE_HEADER_SIZE) / (HEAP_TUPLE_HEADER_SIZE + ITEM_ID_SIZE);

/// `SizeOfPageHeaderData`: the page header without its line pointers.
const PAGE_HEADER_SIZE: usize = memoffset::offset_of!(pg_sys::PageHeaderData, pd_linp);
/// `MAXALIGN(SizeofHeapTupleHeader)`: 23 bytes, rounded up to 8.
const HEAP_TUPLE_HEADER_SIZE: usize =
    memoffset::offset_of!(pg_sys::HeapTupleHeaderData, t_bits).next_multiple_of(8);
/// `sizeof(ItemIdData)`
const ITEM_ID_SIZE: usize = size_of::<pg_sys::ItemIdData>();

/// The lowest OID of objects that users and extensions create: `FirstNormalObjectId`.
pub const FIRST_NORMAL_OBJECT_ID: u32 = 16384;

/// Whether this transaction reads by one snapshot from start to end (REPEATABLE READ and
/// SERIALIZABLE): `IsolationUsesXactSnapshot()`.
pub fn isolation_uses_xact_snapshot() -> bool {
    // SAFETY: a plain int that only this backend's main thread writes.
    let level = unsafe { pg_sys::XactIsoLevel };
    level >= pg_sys::XACT_REPEATABLE_READ as i32
}

/// Whether the snapshot is an MVCC one, not a special one such as SnapshotAny.
///
/// # Safety
/// `snapshot` points to a valid snapshot.
pub unsafe fn is_mvcc_snapshot(snapshot: pg_sys::Snapshot) -> bool {
    // SAFETY: the caller vouches for the pointer.
    let kind = unsafe { (*snapshot).snapshot_type };
    kind == pg_sys::SnapshotType::SNAPSHOT_MVCC
        || kind == pg_sys::SnapshotType::SNAPSHOT_HISTORIC_MVCC
}

/// `SnapshotAny`: every tuple version is visible.
pub fn snapshot_any() -> pg_sys::Snapshot {
    &raw mut pg_sys::SnapshotAnyData
}

/// Whether amcheck's `bt_index_check` can look for duplicates in unique indexes.
pub const AMCHECK_KNOWS_UNIQUE: bool = cfg!(not(feature = "pg16"));
/// Whether amcheck can check GIN indexes.
pub const AMCHECK_KNOWS_GIN: bool = cfg!(feature = "pg18");

/// Whether the user has the privilege MAINTAIN on the table, which there is since 17.
pub fn may_maintain(table: pg_sys::Oid, user: pg_sys::Oid) -> bool {
    #[cfg(not(feature = "pg16"))]
    {
        let mode = pg_sys::AclMode::from(pg_sys::ACL_MAINTAIN);
        // SAFETY: a syscache look-up.
        let result = unsafe { pg_sys::pg_class_aclcheck(table, user, mode) };
        result == pg_sys::AclResult::ACLCHECK_OK
    }
    #[cfg(feature = "pg16")]
    {
        let _ = (table, user);
        false
    }
}

/// Starts an index scan.
///
/// # Safety
/// As `index_beginscan`: open, locked relations and a snapshot that outlives the scan.
pub unsafe fn index_beginscan(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
    order_bys: i32,
) -> pg_sys::IndexScanDesc {
    #[cfg(feature = "pg18")]
    // SAFETY: passed on; since 18 a null pointer means that nothing is counted for EXPLAIN.
    unsafe {
        pg_sys::index_beginscan(heap, index, snapshot, std::ptr::null_mut(), keys, order_bys)
    }
    #[cfg(not(feature = "pg18"))]
    // SAFETY: passed on.
    unsafe {
        pg_sys::index_beginscan(heap, index, snapshot, keys, order_bys)
    }
}

/// As [`index_beginscan`], for the closure of a boundary (see `raw`).
///
/// # Safety
/// As [`index_beginscan`], inside of a boundary.
#[allow(ffi_unwind_calls)] // what the boundary is for
pub unsafe fn index_beginscan_inside(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    unsafe extern "C-unwind" {
        fn index_beginscan(
            heap: pg_sys::Relation,
            index: pg_sys::Relation,
            snapshot: pg_sys::Snapshot,
            #[cfg(feature = "pg18")] instrument: *mut pg_sys::IndexScanInstrumentation,
            keys: i32,
            order_bys: i32,
        ) -> pg_sys::IndexScanDesc;
    }
    #[cfg(feature = "pg18")]
    // SAFETY: passed on, as in index_beginscan.
    unsafe {
        index_beginscan(heap, index, snapshot, std::ptr::null_mut(), keys, 0)
    }
    #[cfg(not(feature = "pg18"))]
    // SAFETY: passed on.
    unsafe {
        index_beginscan(heap, index, snapshot, keys, 0)
    }
}

/// Starts an index scan that fills a bitmap.
///
/// # Safety
/// As `index_beginscan_bitmap`: an open, locked index and a snapshot that outlives the scan.
pub unsafe fn index_beginscan_bitmap(
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    #[cfg(feature = "pg18")]
    // SAFETY: passed on; since 18 a null pointer means that nothing is counted for EXPLAIN.
    unsafe {
        pg_sys::index_beginscan_bitmap(index, snapshot, std::ptr::null_mut(), keys)
    }
    #[cfg(not(feature = "pg18"))]
    // SAFETY: passed on.
    unsafe {
        pg_sys::index_beginscan_bitmap(index, snapshot, keys)
    }
}

/// An empty bitmap that may grow to so many kilobytes before it forgets offsets.
pub fn tbm_create(kilobytes: i32) -> *mut pg_sys::TIDBitmap {
    // The size is a Size since 18 and a long before: both are as wide.
    let bytes = i64::from(kilobytes.max(64)) * 1024;
    // SAFETY: raises when out of memory.
    unsafe { pg_sys::tbm_create(bytes as _, std::ptr::null_mut()) }
}

/// One page of a bitmap: its block, and the offsets in it, or `None` when the bitmap lost them.
pub type BitmapPage = (pg_sys::BlockNumber, Option<Vec<pg_sys::OffsetNumber>>);

/// The pages of a bitmap, in block order.
///
/// # Safety
/// `bitmap` is valid and nobody iterates over it.
#[cfg(feature = "pg18")]
pub unsafe fn bitmap_pages(bitmap: *mut pg_sys::TIDBitmap) -> Vec<BitmapPage> {
    let mut pages = Vec::new();
    // SAFETY: the caller vouches for the bitmap.
    let iterator = unsafe { pg_sys::tbm_begin_private_iterate(bitmap) };
    let mut page = pg_sys::TBMIterateResult::default();
    // SAFETY: the iterator was just begun.
    while unsafe { pg_sys::tbm_private_iterate(iterator, &mut page) } {
        let offsets = (!page.lossy).then(|| {
            let mut offsets = vec![0; MAX_HEAP_TUPLES_PER_PAGE];
            let room = offsets.len() as u32;
            // SAFETY: an exact page of the iterator, and room for all that a page can have.
            let count =
                unsafe { pg_sys::tbm_extract_page_tuple(&mut page, offsets.as_mut_ptr(), room) };
            offsets.truncate(count.max(0) as usize);
            offsets
        });
        pages.push((page.blockno, offsets));
    }
    // SAFETY: begun above.
    unsafe { pg_sys::tbm_end_private_iterate(iterator) };
    pages
}

/// The pages of a bitmap, in block order.
///
/// # Safety
/// `bitmap` is valid and nobody iterates over it.
#[cfg(not(feature = "pg18"))]
pub unsafe fn bitmap_pages(bitmap: *mut pg_sys::TIDBitmap) -> Vec<BitmapPage> {
    let mut pages = Vec::new();
    // SAFETY: the caller vouches for the bitmap.
    let iterator = unsafe { pg_sys::tbm_begin_iterate(bitmap) };
    loop {
        // SAFETY: the iterator was just begun.
        let page = unsafe { pg_sys::tbm_iterate(iterator) };
        // SAFETY: null at the end, else valid until the next call.
        let Some(page) = (unsafe { page.as_ref() }) else { break };
        // A page without its offsets says so by a negative count.
        let offsets = usize::try_from(page.ntuples).ok().map(|count| {
            // SAFETY: the page has that many offsets.
            unsafe { page.offsets.as_slice(count) }.to_vec()
        });
        pages.push((page.blockno, offsets));
    }
    // SAFETY: begun above.
    unsafe { pg_sys::tbm_end_iterate(iterator) };
    pages
}

/// Gives the executor state its range table, here of one entry.
///
/// # Safety
/// As `ExecInitRangeTable`: lists in memory that outlives the state.
pub unsafe fn exec_init_range_table(
    estate: *mut pg_sys::EState,
    range_table: *mut pg_sys::List,
    permissions: *mut pg_sys::List,
) {
    #[cfg(feature = "pg18")]
    {
        // SAFETY: allocates one word in the current context.
        let unpruned = unsafe { pg_sys::bms_make_singleton(1) };
        // SAFETY: passed on; since 18 the entries that were not pruned are named.
        unsafe { pg_sys::ExecInitRangeTable(estate, range_table, permissions, unpruned) }
    }
    #[cfg(not(feature = "pg18"))]
    // SAFETY: passed on.
    unsafe {
        pg_sys::ExecInitRangeTable(estate, range_table, permissions)
    }
}

/// Fires the BEFORE ROW UPDATE triggers; false: a trigger left the row out.
///
/// # Safety
/// As `ExecBRUpdateTriggers`.
pub unsafe fn exec_br_update_triggers(
    estate: *mut pg_sys::EState,
    epq: *mut pg_sys::EPQState,
    target: *mut pg_sys::ResultRelInfo,
    tid: pg_sys::ItemPointer,
    new: *mut pg_sys::TupleTableSlot,
    result: *mut pg_sys::TM_Result::Type,
    failure: *mut pg_sys::TM_FailureData,
) -> bool {
    let none = std::ptr::null_mut();
    #[cfg(feature = "pg18")]
    // SAFETY: passed on; since 18 the last argument says whether a MERGE is under way.
    unsafe {
        pg_sys::ExecBRUpdateTriggers(estate, epq, target, tid, none, new, result, failure, false)
    }
    #[cfg(not(feature = "pg18"))]
    // SAFETY: passed on.
    unsafe {
        pg_sys::ExecBRUpdateTriggers(estate, epq, target, tid, none, new, result, failure)
    }
}

/// Fires the BEFORE ROW DELETE triggers; false: a trigger left the row out.
///
/// # Safety
/// As `ExecBRDeleteTriggers`.
pub unsafe fn exec_br_delete_triggers(
    estate: *mut pg_sys::EState,
    epq: *mut pg_sys::EPQState,
    target: *mut pg_sys::ResultRelInfo,
    tid: pg_sys::ItemPointer,
    result: *mut pg_sys::TM_Result::Type,
    failure: *mut pg_sys::TM_FailureData,
) -> bool {
    let none = std::ptr::null_mut();
    let no_slot = std::ptr::null_mut();
    #[cfg(feature = "pg18")]
    // SAFETY: passed on; since 18 the last argument says whether a MERGE is under way.
    unsafe {
        pg_sys::ExecBRDeleteTriggers(
            estate, epq, target, tid, none, no_slot, result, failure, false,
        )
    }
    #[cfg(not(feature = "pg18"))]
    // SAFETY: passed on.
    unsafe {
        pg_sys::ExecBRDeleteTriggers(estate, epq, target, tid, none, no_slot, result, failure)
    }
}

/// One attribute of a tuple descriptor: `TupleDescAttr`.
///
/// # Safety
/// `index` (from 0) is less than the descriptor's `natts`.
pub unsafe fn tuple_desc_attr(
    desc: pg_sys::TupleDesc,
    index: usize,
) -> *mut pg_sys::FormData_pg_attribute {
    #[cfg(feature = "pg18")]
    {
        // SAFETY: the caller vouches for the descriptor.
        let natts = unsafe { (*desc).natts } as usize;
        // Since 18 the attributes follow the compact ones, of which there are as many.
        let offset = memoffset::offset_of!(pg_sys::TupleDescData, compact_attrs)
            + natts * size_of::<pg_sys::CompactAttribute>()
            + index * size_of::<pg_sys::FormData_pg_attribute>();
        // SAFETY: the caller vouches for the index.
        unsafe { desc.byte_add(offset) }.cast()
    }
    #[cfg(not(feature = "pg18"))]
    {
        let offset = memoffset::offset_of!(pg_sys::TupleDescData, attrs)
            + index * size_of::<pg_sys::FormData_pg_attribute>();
        // SAFETY: before 18 the attributes are an array at the end of the descriptor; the caller
        // vouches for the index.
        unsafe { desc.byte_add(offset) }.cast()
    }
}

/// Whether rows store the attribute: it is not a generated column that is computed when it is read.
pub fn is_stored_attribute(attribute: &pg_sys::FormData_pg_attribute) -> bool {
    #[cfg(feature = "pg18")]
    {
        attribute.attgenerated as u8 != pg_sys::ATTRIBUTE_GENERATED_VIRTUAL
    }
    #[cfg(not(feature = "pg18"))]
    {
        let _ = attribute;
        true
    }
}

/// The transaction that deleted or updated the tuple, lockers aside.
///
/// # Safety
/// `header` points to a tuple that somebody deletes or updates.
pub unsafe fn heap_tuple_header_get_update_xid(
    header: *mut pg_sys::HeapTupleHeaderData,
) -> pg_sys::TransactionId {
    #[cfg(feature = "pg18")]
    // SAFETY: passed on.
    unsafe {
        pg_sys::HeapTupleHeaderGetUpdateXid(header)
    }
    // A macro before 18.
    #[cfg(not(feature = "pg18"))]
    {
        // SAFETY: the caller vouches for the pointer.
        let infomask = u32::from(unsafe { (*header).t_infomask });
        let is_multi = infomask & pg_sys::HEAP_XMAX_IS_MULTI != 0;
        let is_settled = infomask & (pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY) != 0;
        if is_multi && !is_settled {
            // SAFETY: the tuple's xmax is a multixact with an updater.
            unsafe { pg_sys::HeapTupleGetUpdateXid(header) }
        } else {
            // SAFETY: the caller vouches for the pointer.
            unsafe { (*header).t_choice.t_heap.t_xmax }
        }
    }
}
