//! CREATE INDEX CONCURRENTLY, second scan: the rows that the index still lacks.
//!
//! PostgreSQL has collected and sorted the addresses that the index has. This walks the table in
//! the same order and inserts each row of the snapshot whose root is not among them.

use super::index_scan::{Found, HeapScan, IndexRow, PageRoots, report_progress};
use crate::error::CaliberResult;
use crate::pg::ports::MAX_HEAP_TUPLES_PER_PAGE;
use crate::pg::raw;
use crate::pg::relation::Rel;
use crate::pg::report::or_raise;
use crate::pg::slot::Slot;
use pgrx::pg_guard;
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;

/// The callback `index_validate_scan`.
#[pg_guard]
pub unsafe extern "C-unwind" fn index_validate_scan(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    snapshot: pg_sys::Snapshot,
    state: *mut pg_sys::ValidateIndexState,
) {
    // SAFETY: PostgreSQL passes an open, locked table.
    let Some(rel) = (unsafe { Rel::from_raw(table) }) else {
        return;
    };
    // The addresses are sorted by block, so the scan has to begin at the first one.
    let mut scan = HeapScan::start(rel, snapshot, false);
    // SAFETY: PostgreSQL passes a valid IndexInfo for the duration of the call.
    let row = unsafe { IndexRow::prepare(info, scan.slot()) };
    // SAFETY: PostgreSQL passes a valid state for the duration of the call.
    let state = unsafe { &mut *state };
    let entries = SortedEntries::of(state.tuplesort);
    let mut validation = Validation { rel, index, info, row, entries, page: PageEntries::none() };
    or_raise(validation.run(&mut scan, state));
}

struct Validation<'r> {
    rel: Rel<'r>,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    row: IndexRow,
    entries: SortedEntries,
    page: PageEntries,
}

impl Validation<'_> {
    fn run(
        &mut self,
        scan: &mut HeapScan,
        state: &mut pg_sys::ValidateIndexState,
    ) -> CaliberResult<()> {
        report_progress(pg_sys::PROGRESS_SCAN_BLOCKS_TOTAL, scan.blocks().into());
        let mut roots = PageRoots::none();
        loop {
            let page = &self.page;
            let entered = |found: &Found, _: Slot<'_>, block| {
                let address = roots.known_address(found).filter(|_| !roots.is_stale(block));
                let entered = address.is_some_and(|address| page.contains(address.ip_posid));
                state.htups += f64::from(u8::from(entered));
                entered
            };
            // SAFETY: nothing in the closure has a destructor.
            let Some(found) = (unsafe { scan.next_but(entered) }) else { break };
            pgrx::check_for_interrupts!();
            state.htups += 1.0;
            let (block, done) = scan.position();
            if roots.is_stale(block) {
                report_progress(pg_sys::PROGRESS_SCAN_BLOCKS_DONE, done.into());
                roots.load(scan.buffer(), block);
                self.page = self.entries.take_page(block);
            }
            let root = roots.index_address(self.rel, &found, scan.buffer())?;
            if !self.page.contains(root.ip_posid) && self.insert(scan, root) {
                state.tups_inserted += 1.0;
            }
        }
        Ok(())
    }

    /// Inserts the missing row, unless a partial index does not want it.
    fn insert(&mut self, scan: &HeapScan, mut root: pg_sys::ItemPointerData) -> bool {
        if !self.row.belongs() {
            return false;
        }
        let form = || self.row.form(scan.slot());
        // SAFETY: nothing in the closure has a destructor.
        unsafe { pg_guard_ffi_boundary(form) };
        // SAFETY: valid for the duration of the call.
        let unique = unsafe { (*self.info).ii_Unique };
        let check = if unique {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
        } else {
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
        };
        // SAFETY: the row was formed for this index. The root's address stands for the whole
        // chain in the uniqueness check too.
        unsafe {
            pg_sys::index_insert(
                self.index,
                self.row.values.as_mut_ptr(),
                self.row.nulls.as_mut_ptr(),
                &mut root,
                self.rel.as_ptr(),
                check,
                false,
                self.info,
            );
        }
        true
    }
}

/// Which line pointers of one page the index has.
struct PageEntries([bool; MAX_HEAP_TUPLES_PER_PAGE + 1]);

impl PageEntries {
    const fn none() -> Self {
        Self([false; MAX_HEAP_TUPLES_PER_PAGE + 1])
    }

    fn contains(&self, offset: pg_sys::OffsetNumber) -> bool {
        self.0.get(usize::from(offset)).copied().unwrap_or(false)
    }
}

/// The addresses that the index has, in the order of the table.
struct SortedEntries {
    sort: *mut pg_sys::Tuplesortstate,
    next: Option<(pg_sys::BlockNumber, pg_sys::OffsetNumber)>,
}

impl SortedEntries {
    fn of(sort: *mut pg_sys::Tuplesortstate) -> Self {
        let mut entries = Self { sort, next: None };
        let first = || entries.advance();
        // SAFETY: nothing in the closure has a destructor.
        unsafe { pg_guard_ffi_boundary(first) };
        entries
    }

    /// Goes to the next entry. To be called inside of a boundary.
    #[allow(ffi_unwind_calls)] // what the boundary is for
    fn advance(&mut self) {
        let mut datum = pg_sys::Datum::null();
        let mut is_null = false;
        // SAFETY: a finished sort of encoded addresses, passed by value; no abbreviated keys.
        let more = unsafe {
            raw::tuplesort_getdatum(
                self.sort,
                true,
                false,
                &mut datum,
                &mut is_null,
                std::ptr::null_mut(),
            )
        };
        // `itemptr_encode`: the block in the upper bits, the line pointer in the lower 16.
        self.next = more.then(|| {
            let encoded = datum.value() as u64;
            ((encoded >> 16) as pg_sys::BlockNumber, encoded as pg_sys::OffsetNumber)
        });
    }

    /// The entries of one page; those of earlier pages are passed over.
    fn take_page(&mut self, block: pg_sys::BlockNumber) -> PageEntries {
        let mut page = PageEntries::none();
        let take = || {
            while let Some((entry_block, offset)) = self.next {
                if entry_block > block {
                    break;
                }
                if entry_block == block
                    && let Some(has) = page.0.get_mut(usize::from(offset))
                {
                    *has = true;
                }
                self.advance();
            }
        };
        // SAFETY: nothing in the closure has a destructor.
        unsafe { pg_guard_ffi_boundary(take) };
        page
    }
}
