//! CREATE INDEX: every row that some transaction may still need, given to the index.

use super::index_page::{PageVerdicts, Verdict};
use super::index_scan::{
    Found, HeapScan, IndexRow, PageRoots, SharedLock, is_own, report_progress, sees_one_version,
};
use crate::error::CaliberResult;
use crate::pg::relation::Rel;
use crate::pg::report::or_raise;
use crate::pg::slot::Slot;
use pgrx::pg_guard;
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;
use std::ffi::c_void;

/// The callback `index_build_range_scan`.
#[pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
pub unsafe extern "C-unwind" fn index_build_range_scan(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    allow_sync: bool,
    anyvisible: bool,
    progress: bool,
    start_block: pg_sys::BlockNumber,
    block_count: pg_sys::BlockNumber,
    callback: pg_sys::IndexBuildCallback,
    state: *mut c_void,
    scan: pg_sys::TableScanDesc,
) -> f64 {
    // SAFETY: PostgreSQL passes an open, locked table.
    let Some(rel) = (unsafe { Rel::from_raw(table) }) else {
        return 0.0;
    };
    // SAFETY: PostgreSQL passes a valid IndexInfo for the duration of the call.
    let how = unsafe { Build::of(rel, &*info, anyvisible) };
    let mut scan = if !scan.is_null() {
        // SAFETY: the scan of a parallel build over this table.
        unsafe { HeapScan::adopt(rel, scan) }
    } else if how.horizon.is_some() {
        HeapScan::start(rel, crate::pg::ports::snapshot_any(), allow_sync)
    } else {
        HeapScan::start_with_own_snapshot(rel, allow_sync)
    };
    if !allow_sync {
        scan.limit(start_block, block_count);
    }
    let sink = Sink { index, callback, state };
    // SAFETY: info is valid for the duration of the call.
    or_raise(unsafe { how.run(&mut scan, info, progress, &sink) })
}

/// What a row means for the index under construction.
enum Fate {
    /// Nobody can see it any more, or its HOT chain is entered under a newer version.
    Skip,
    /// It gets an entry. `alive`: it takes part in the uniqueness check.
    Enter { alive: bool },
    /// The answer depends on a transaction that still runs.
    WaitFor(pg_sys::TransactionId, pg_sys::XLTW_Oper::Type),
}

/// How this build treats rows.
struct Build<'r> {
    rel: Rel<'r>,
    /// The index rejects duplicates, so it must know which rows are alive.
    checks_uniqueness: bool,
    /// Rows of transactions in progress are simply entered (BRIN's own summaries).
    anyvisible: bool,
    /// Rows deleted before this transaction are dead to everybody. `None` for a concurrent build,
    /// which reads by a snapshot instead.
    horizon: Option<pg_sys::TransactionId>,
    /// Catalogs are written by transactions that keep no lock, so a row in progress is normal.
    is_catalog: bool,
}

/// Where index rows go.
struct Sink {
    index: pg_sys::Relation,
    callback: pg_sys::IndexBuildCallback,
    state: *mut c_void,
}

impl Sink {
    /// Forms the index row of the row in the slot and enters it.
    fn enter(&self, tid: pg_sys::ItemPointerData, row: &mut IndexRow, slot: Slot<'_>, alive: bool) {
        let enter = || self.enter_inside(tid, row, slot, alive);
        // SAFETY: nothing in the closure has a destructor.
        unsafe { pg_guard_ffi_boundary(enter) };
    }

    /// As [`Sink::enter`], inside of a boundary.
    #[allow(ffi_unwind_calls)] // what the boundary is for
    fn enter_inside(
        &self,
        mut tid: pg_sys::ItemPointerData,
        row: &mut IndexRow,
        slot: Slot<'_>,
        alive: bool,
    ) {
        let Some(callback) = self.callback else {
            return;
        };
        row.form(slot);
        let (values, nulls) = (row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
        // SAFETY: the index's own callback with its own state.
        unsafe { callback(self.index, &mut tid, values, nulls, alive, self.state) }
    }
}

impl<'r> Build<'r> {
    fn of(rel: Rel<'r>, info: &pg_sys::IndexInfo, anyvisible: bool) -> Self {
        // SAFETY: a flag that is set once at start.
        let bootstrapping = unsafe { pg_sys::Mode } == pg_sys::ProcessingMode::BootstrapProcessing;
        let horizon = (!bootstrapping && !info.ii_Concurrent)
            // SAFETY: an open relation.
            .then(|| unsafe { pg_sys::GetOldestNonRemovableTransactionId(rel.as_ptr()) });
        Self {
            rel,
            checks_uniqueness: info.ii_Unique || !info.ii_ExclusionOps.is_null(),
            anyvisible,
            horizon,
            // SAFETY: an open relation.
            is_catalog: unsafe { pg_sys::IsSystemRelation(rel.as_ptr()) },
        }
    }

    /// Scans the table and returns how many live rows it met.
    ///
    /// # Safety
    /// `info` is valid for the duration of the call.
    unsafe fn run(
        &self,
        scan: &mut HeapScan,
        info: *mut pg_sys::IndexInfo,
        progress: bool,
        sink: &Sink,
    ) -> CaliberResult<f64> {
        // SAFETY: the caller vouches for info.
        let mut row = unsafe { IndexRow::prepare(info, scan.slot()) };
        let one_version = sees_one_version(scan.snapshot());
        let blocks = scan.blocks();
        if progress {
            report_progress(pg_sys::PROGRESS_SCAN_BLOCKS_TOTAL, blocks.into());
        }
        let mut roots = PageRoots::none();
        let mut verdicts = PageVerdicts::none();
        let mut last_block = pg_sys::InvalidBlockNumber;
        let mut live = 0.0;
        loop {
            // Most tuples of a page need no second look.
            let plain = |found: &Found, slot: Slot<'_>, block| {
                if roots.is_stale(block) || row.is_partial() {
                    return false;
                }
                if !one_version && verdicts.known(found.tid, block) != Some(Verdict::Live) {
                    return false;
                }
                let Some(address) = roots.known_address(found) else { return false };
                row.begin();
                sink.enter_inside(address, &mut row, slot, true);
                live += 1.0;
                true
            };
            // SAFETY: nothing in the closure has a destructor.
            let Some(found) = (unsafe { scan.next_but(plain) }) else { break };
            check_for_interrupts();
            let (block, done) = scan.position();
            if progress && block != last_block {
                report_progress(pg_sys::PROGRESS_SCAN_BLOCKS_DONE, done.into());
                last_block = block;
            }
            if roots.is_stale(block) {
                roots.load(scan.buffer(), block);
            }
            let verdict = match one_version {
                true => Verdict::Live,
                false => verdicts.of(found.tid, block, scan.buffer(), self.horizon()),
            };
            let alive = match verdict {
                Verdict::Live => {
                    live += 1.0;
                    true
                }
                Verdict::Dead => continue,
                // SAFETY: as the caller vouches.
                Verdict::Open => match unsafe { self.decide(scan, &found, info, &mut live) } {
                    Some(alive) => alive,
                    None => continue,
                },
            };
            if row.belongs() {
                let address = roots.index_address(self.rel, &found, scan.buffer())?;
                sink.enter(address, &mut row, scan.slot(), alive);
            }
        }
        if progress {
            report_progress(pg_sys::PROGRESS_SCAN_BLOCKS_DONE, scan.blocks().into());
        }
        Ok(live)
    }

    fn horizon(&self) -> pg_sys::TransactionId {
        self.horizon.unwrap_or(pg_sys::InvalidTransactionId)
    }

    /// Whether the row gets an entry, and whether it is alive; waits for other transactions where
    /// the answer hangs on them.
    ///
    /// # Safety
    /// `info` is valid for the duration of the call.
    unsafe fn decide(
        &self,
        scan: &HeapScan,
        found: &Found,
        info: *mut pg_sys::IndexInfo,
        live: &mut f64,
    ) -> Option<bool> {
        loop {
            let mut broken_chain = false;
            let fate = {
                let _locked = SharedLock::on(scan.buffer());
                self.fate(scan, found, live, &mut broken_chain)
            };
            if broken_chain {
                // SAFETY: the caller vouches for info. Older snapshots must not use this index:
                // they would need the entry of a version whose chain it skips.
                unsafe { (*info).ii_BrokenHotChain = true };
            }
            match fate {
                Fate::Skip => return None,
                Fate::Enter { alive } => return Some(alive),
                Fate::WaitFor(xid, why) => {
                    let mut tid = found.tid;
                    // SAFETY: no buffer lock is held while waiting, only the scan's pin.
                    unsafe {
                        pg_sys::XactLockTableWait(xid, self.rel.as_ptr(), &mut tid, why);
                    }
                    check_for_interrupts();
                }
            }
        }
    }

    /// Judges a tuple by its visibility, with its buffer locked.
    fn fate(
        &self,
        scan: &HeapScan,
        found: &Found,
        live: &mut f64,
        broken_chain: &mut bool,
    ) -> Fate {
        use pg_sys::HTSV_Result as H;
        let horizon = self.horizon();
        // SAFETY: the buffer is pinned and locked, the tuple is in it.
        let visibility =
            unsafe { pg_sys::HeapTupleSatisfiesVacuum(found.tuple, horizon, scan.buffer()) };
        match visibility {
            H::HEAPTUPLE_LIVE => {
                *live += 1.0;
                Fate::Enter { alive: true }
            }
            H::HEAPTUPLE_RECENTLY_DEAD => self.enter_dead(found, broken_chain),
            H::HEAPTUPLE_INSERT_IN_PROGRESS if self.anyvisible => {
                *live += 1.0;
                Fate::Enter { alive: true }
            }
            H::HEAPTUPLE_INSERT_IN_PROGRESS => {
                let xid = found.xmin();
                if is_own(xid) {
                    *live += 1.0;
                } else {
                    self.warn("insert");
                    if self.checks_uniqueness {
                        return Fate::WaitFor(xid, pg_sys::XLTW_Oper::XLTW_InsertIndexUnique);
                    }
                }
                Fate::Enter { alive: true }
            }
            H::HEAPTUPLE_DELETE_IN_PROGRESS if self.anyvisible => {
                *live += 1.0;
                Fate::Enter { alive: false }
            }
            H::HEAPTUPLE_DELETE_IN_PROGRESS => {
                let xid = found.update_xid();
                if is_own(xid) {
                    return self.enter_dead(found, broken_chain);
                }
                self.warn("delete");
                // An abort would bring the row back to life; with a HOT successor, it decides
                // which of the two versions stands for the chain.
                if self.checks_uniqueness || found.is_hot_updated() {
                    return Fate::WaitFor(xid, pg_sys::XLTW_Oper::XLTW_InsertIndexUnique);
                }
                // Others count it as live until the delete commits.
                *live += 1.0;
                Fate::Enter { alive: false }
            }
            _ => Fate::Skip,
        }
    }

    /// A version that is gone for this transaction, but not for every other.
    fn enter_dead(&self, found: &Found, broken_chain: &mut bool) -> Fate {
        if found.is_hot_updated() {
            // Its successor is entered under the same root. A snapshot that still sees this
            // version would find it under the successor's key.
            *broken_chain = true;
            Fate::Skip
        } else {
            Fate::Enter { alive: false }
        }
    }

    /// The table is locked against writers, so a row in progress is a surprise.
    fn warn(&self, what: &str) {
        if !self.is_catalog {
            pgrx::warning!("concurrent {what} in progress within table \"{}\"", self.rel.name());
        }
    }
}

/// Lets a cancel or a termination through.
fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}
