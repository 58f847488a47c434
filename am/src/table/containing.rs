//! Finding the rows whose array has an element, through a GIN index's bitmap.

use super::Table;
use super::lookup::Scanning;
use crate::error::{CaliberError, CaliberResult};
use crate::model::Path;
use crate::pg::ports;
use crate::pg::relation::Rel;
use crate::pg::slot::{OwnedSlot, Slot};
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::value::Value;
use pgrx_pg_sys as pg_sys;
use uuid::Uuid;

/// The strategy of `array @> array` in GIN's array_ops (`GinContainsStrategy`, ginarrayproc.c).
const CONTAINS: pg_sys::StrategyNumber = 2;

impl Table {
    /// Shows each row whose `uuid[]` column of the path has the element, in no order.
    ///
    /// The bitmap can name too many rows; each is checked again here.
    ///
    /// # Errors
    /// 42P16 when no GIN index serves the path; those of `see`.
    pub fn for_each_containing(
        &self,
        path: Path,
        element: Uuid,
        snapshot: &ActiveSnapshot,
        mut see: impl FnMut(Slot<'_>) -> CaliberResult<()>,
    ) -> CaliberResult<()> {
        let index = self.index_for(path)?;
        let argument = Value::uuid_array(&[element]);
        let mut key = contains_key(index.rel(), argument)?;
        // SAFETY: an open, locked index; the caller keeps the snapshot active.
        let scan =
            unsafe { ports::index_beginscan_bitmap(index.rel().as_ptr(), snapshot.as_ptr(), 1) };
        let scanning = Scanning::new(scan);
        // SAFETY: the scan copies the key.
        unsafe { pg_sys::index_rescan(scanning.scan, &mut key, 1, std::ptr::null_mut(), 0) };
        let bitmap = Bitmap::new();
        // SAFETY: a scan that was begun for a bitmap, and a bitmap of ours.
        unsafe { pg_sys::index_getbitmap(scanning.scan, bitmap.bitmap) };
        drop(scanning);
        // SAFETY: the bitmap is complete and nobody else iterates over it.
        let pages = unsafe { ports::bitmap_pages(bitmap.bitmap) };
        drop(bitmap);
        let slot = OwnedSlot::for_table(self.rel());
        let fetching = Fetching::begin(self.rel());
        let column = self.attno(path.columns[0]);
        for (block, offsets) in pages {
            let all = || (1..=ports::MAX_HEAP_TUPLES_PER_PAGE as pg_sys::OffsetNumber).collect();
            for offset in offsets.unwrap_or_else(all) {
                if fetching.fetch(block, offset, snapshot, &slot)
                    && slot.slot().get(column).as_uuid_array().contains(&element)
                {
                    see(slot.slot())?;
                }
            }
        }
        Ok(())
    }
}

/// The scan key `column @> argument` for the index's first column.
fn contains_key(index: Rel<'_>, argument: Value<'_>) -> CaliberResult<pg_sys::ScanKeyData> {
    let data = index.data();
    // SAFETY: an open index has an element for each key column, of which there is one.
    let family = unsafe { *data.rd_opfamily };
    // SAFETY: as above.
    let input = unsafe { *data.rd_opcintype };
    // SAFETY: as above.
    let collation = unsafe { *data.rd_indcollation };
    // SAFETY: a syscache look-up.
    let operator = unsafe { pg_sys::get_opfamily_member(family, input, input, CONTAINS as i16) };
    // SAFETY: a syscache look-up.
    let procedure = unsafe { pg_sys::get_opcode(operator) };
    if procedure == pg_sys::InvalidOid {
        let reason = format!("index \"{}\" cannot look up array elements", index.name());
        return Err(CaliberError::Internal(reason));
    }
    let mut key = pg_sys::ScanKeyData::default();
    let (argument, _) = argument.to_raw();
    // SAFETY: the key is ours; the procedure compares two arrays.
    unsafe {
        pg_sys::ScanKeyEntryInitialize(
            &mut key,
            0,
            1,
            CONTAINS,
            pg_sys::InvalidOid,
            collation,
            procedure,
            argument,
        );
    }
    Ok(key)
}

/// A bitmap of row addresses, freed with this guard.
struct Bitmap {
    bitmap: *mut pg_sys::TIDBitmap,
}

impl Bitmap {
    /// An empty bitmap that may grow to work_mem before it forgets offsets.
    fn new() -> Self {
        // SAFETY: a plain int that only this backend's main thread writes; in kilobytes.
        let work_mem = unsafe { pg_sys::work_mem };
        Self { bitmap: ports::tbm_create(work_mem) }
    }
}

impl Drop for Bitmap {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by this guard.
            unsafe { pg_sys::tbm_free(self.bitmap) };
        }
    }
}

/// Fetching rows by the addresses that an index gave.
struct Fetching {
    fetch: *mut pg_sys::IndexFetchTableData,
}

impl Fetching {
    fn begin(rel: Rel<'_>) -> Self {
        // SAFETY: an open table.
        let fetch = unsafe { pg_sys::table_index_fetch_begin(rel.as_ptr()) };
        Self { fetch }
    }

    /// Puts the version at this address, or further down its HOT chain, that the snapshot sees
    /// into the slot; false when there is none.
    fn fetch(
        &self,
        block: pg_sys::BlockNumber,
        offset: pg_sys::OffsetNumber,
        snapshot: &ActiveSnapshot,
        slot: &OwnedSlot,
    ) -> bool {
        let ip_blkid =
            pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: (block & 0xFFFF) as u16 };
        let mut tid = pg_sys::ItemPointerData { ip_blkid, ip_posid: offset };
        let (mut again, mut all_dead) = (false, false);
        // SAFETY: an address in the table's range, a slot of the table's kind.
        unsafe {
            pg_sys::table_index_fetch_tuple(
                self.fetch,
                &mut tid,
                snapshot.as_ptr(),
                slot.slot().as_ptr(),
                &mut again,
                &mut all_dead,
            )
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun by this guard.
            unsafe { pg_sys::table_index_fetch_end(self.fetch) };
        }
    }
}
