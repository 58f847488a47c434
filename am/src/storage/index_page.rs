//! What an index build knows of all tuples of one page, found out under one lock.
//!
//! Most tuples are plainly alive or plainly dead, and stay so while the build has the table locked
//! against writers. Judging them together takes one lock and one crossing into PostgreSQL for a
//! page, not several for each tuple. What may still change is left open.

use crate::pg::page::{line_pointers, tuple_at};
use crate::pg::ports::MAX_HEAP_TUPLES_PER_PAGE;
use crate::pg::raw;
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;

/// The verdict on one tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Alive for everybody who can see the table.
    Live,
    /// Dead to everybody.
    Dead,
    /// To be looked at when the build comes to it.
    Open,
}

/// The verdicts on the tuples of one page, by line pointer.
pub struct PageVerdicts {
    block: pg_sys::BlockNumber,
    verdicts: [Verdict; MAX_HEAP_TUPLES_PER_PAGE],
}

impl PageVerdicts {
    /// On no page yet.
    pub const fn none() -> Self {
        let verdicts = [Verdict::Open; MAX_HEAP_TUPLES_PER_PAGE];
        Self { block: pg_sys::InvalidBlockNumber, verdicts }
    }

    /// The verdict on a tuple of the page in the pinned buffer.
    pub fn of(
        &mut self,
        tid: pg_sys::ItemPointerData,
        block: pg_sys::BlockNumber,
        buffer: pg_sys::Buffer,
        horizon: pg_sys::TransactionId,
    ) -> Verdict {
        if self.block != block {
            self.judge(buffer, horizon);
            self.block = block;
        }
        self.known(tid, block).unwrap_or(Verdict::Open)
    }

    /// The verdict on a tuple of the page that was judged last; `None` for any other.
    pub fn known(
        &self,
        tid: pg_sys::ItemPointerData,
        block: pg_sys::BlockNumber,
    ) -> Option<Verdict> {
        let index = usize::from(tid.ip_posid).wrapping_sub(1);
        self.verdicts.get(index).copied().filter(|_| self.block == block)
    }

    #[allow(ffi_unwind_calls)] // what the boundary is for
    fn judge(&mut self, buffer: pg_sys::Buffer, horizon: pg_sys::TransactionId) {
        self.verdicts.fill(Verdict::Open);
        // SAFETY: pinned by the scan.
        let page = unsafe { pg_sys::BufferGetPage(buffer) };
        let verdicts = self.verdicts.as_mut_slice();
        let judge = || {
            let (share, unlock) = (pg_sys::BUFFER_LOCK_SHARE, pg_sys::BUFFER_LOCK_UNLOCK);
            // SAFETY: pinned by the scan; an error's abort releases the lock.
            unsafe { raw::LockBuffer(buffer, share as i32) };
            for (verdict, item) in verdicts.iter_mut().zip(line_pointers(page)) {
                *verdict = verdict_on(page, *item, buffer, horizon);
            }
            // SAFETY: locked above.
            unsafe { raw::LockBuffer(buffer, unlock as i32) };
        };
        // SAFETY: nothing in the closure has a destructor.
        unsafe { pg_guard_ffi_boundary(judge) }
    }
}

/// Judges what a line pointer of the locked page points to. To be called inside of a boundary.
#[allow(ffi_unwind_calls)] // what the boundary is for
fn verdict_on(
    page: pg_sys::Page,
    item: pg_sys::ItemIdData,
    buffer: pg_sys::Buffer,
    horizon: pg_sys::TransactionId,
) -> Verdict {
    let Some(mut tuple) = tuple_at(page, item) else { return Verdict::Open };
    use pg_sys::HTSV_Result as H;
    // SAFETY: the buffer is pinned and locked, the tuple is in it.
    match unsafe { raw::HeapTupleSatisfiesVacuum(&mut tuple, horizon, buffer) } {
        H::HEAPTUPLE_LIVE => Verdict::Live,
        H::HEAPTUPLE_DEAD => Verdict::Dead,
        _ => Verdict::Open,
    }
}
