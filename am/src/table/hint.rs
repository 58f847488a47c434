//! Hints where rows are: a bounded memory of this backend from ids to row addresses.
//!
//! A hint may be wrong at any time: the row was updated, deleted and its place given to another
//! row, the table was truncated. So it is never trusted. What stands at the address counts only if
//! the snapshot sees it and its key is the id asked for; everything else goes through the index.
//! A hint belongs to one generation of a relation's shape ([`Shape::generation`]), which ends with
//! every relcache invalidation of the relation.
//!
//! [`Shape::generation`]: crate::storage::shape::Shape::generation

use super::{Table, row::Row};
use crate::pg::slot::{OwnedSlot, Slot};
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::transaction::{self, SubTransaction};
use pgrx_pg_sys as pg_sys;
use std::cell::RefCell;
use uuid::Uuid;

/// One hint. A generation of 0 is none.
#[derive(Clone, Copy, Default)]
struct Hint {
    generation: u64,
    id: Uuid,
    block: u32,
    offset: u16,
}

/// The hints, at the place that their id's low bits say, and what is known of tables' lengths.
#[derive(Default)]
struct Hints {
    places: Vec<Hint>,
    length: Option<Length>,
}

/// A table's length in blocks. It cannot shrink while this subtransaction lasts, since the table is
/// locked by it.
#[derive(Clone, Copy)]
struct Length {
    generation: u64,
    during: SubTransaction,
    blocks: u32,
}

thread_local! {
    static HINTS: RefCell<Hints> = RefCell::default();
}

static BUDGET: std::sync::OnceLock<fn() -> usize> = std::sync::OnceLock::new();

/// Tells how many bytes of hints a backend may keep; called once, when the library is loaded.
pub fn set_budget(bytes: fn() -> usize) {
    BUDGET.get_or_init(|| bytes);
}

/// How many places there are: the largest power of two that fits the budget.
fn places() -> usize {
    let bytes = BUDGET.get().map_or(0, |bytes| bytes());
    let count = bytes / size_of::<Hint>();
    if count == 0 { 0 } else { 1 << count.ilog2() }
}

impl Hints {
    /// Follows a change of the setting.
    fn resize(&mut self) {
        let wanted = places();
        if self.places.len() != wanted {
            self.places = vec![Hint::default(); wanted];
        }
    }

    /// The place of an id. The low bits of a UUIDv7 are random; a generation shifts them, so that
    /// the same id in two tables need not share one.
    fn place(&self, generation: u64, id: Uuid) -> Option<usize> {
        let (_, low) = id.as_u64_pair();
        self.places.len().checked_sub(1).map(|mask| (low.wrapping_add(generation)) as usize & mask)
    }

    fn find(&mut self, generation: u64, id: Uuid) -> Option<pg_sys::ItemPointerData> {
        self.resize();
        let hint = self.places[self.place(generation, id)?];
        (hint.generation == generation && hint.id == id).then(|| {
            let ip_blkid = pg_sys::BlockIdData {
                bi_hi: (hint.block >> 16) as u16,
                bi_lo: (hint.block & 0xFFFF) as u16,
            };
            pg_sys::ItemPointerData { ip_blkid, ip_posid: hint.offset }
        })
    }
}

impl Table {
    /// The row with this key where a hint says that it is; `None`: ask the index.
    pub(super) fn get_by_hint(&self, id: Uuid, snapshot: &ActiveSnapshot) -> Option<Row<'_>> {
        let generation = self.shape().generation();
        let mut tid = HINTS.with_borrow_mut(|hints| hints.find(generation, id))?;
        let block = block_of(&tid);
        if block >= self.known_length(generation) && block >= self.length(generation) {
            return None;
        }
        let slot = OwnedSlot::for_table(self.rel());
        // SAFETY: an address within the table; a slot of its kind.
        let visible = unsafe {
            pg_sys::table_tuple_fetch_row_version(
                self.rel().as_ptr(),
                &mut tid,
                snapshot.as_ptr(),
                slot.slot().as_ptr(),
            )
        };
        let row = Row::new(self, slot);
        let key = self.attno(0);
        (visible && row.slot().get(key).as_uuid() == Some(id)).then_some(row)
    }

    /// Remembers where the row was found.
    pub(super) fn hint(&self, id: Uuid, row: Slot<'_>) {
        let tid = row.tid();
        let generation = self.shape().generation();
        HINTS.with_borrow_mut(|hints| {
            hints.resize();
            if let Some(place) = hints.place(generation, id) {
                let (block, offset) = (block_of(&tid), tid.ip_posid);
                hints.places[place] = Hint { generation, id, block, offset };
            }
        });
    }

    /// A length of the table in blocks that it still has: reading beyond the end would be an
    /// error. 0 when none is known.
    fn known_length(&self, generation: u64) -> u32 {
        let during = transaction::current();
        let known = HINTS.with_borrow(|hints| hints.length);
        let holds = |length: &Length| length.generation == generation && length.during == during;
        known.filter(holds).map_or(0, |length| length.blocks)
    }

    /// The length of the table in blocks.
    fn length(&self, generation: u64) -> u32 {
        let during = transaction::current();
        let rel = self.rel().as_ptr();
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        // SAFETY: an open table.
        let blocks = unsafe { pg_sys::RelationGetNumberOfBlocksInFork(rel, fork) };
        HINTS.with_borrow_mut(|hints| {
            hints.length = Some(Length { generation, during, blocks });
        });
        blocks
    }
}

const fn block_of(tid: &pg_sys::ItemPointerData) -> u32 {
    (tid.ip_blkid.bi_hi as u32) << 16 | tid.ip_blkid.bi_lo as u32
}
