//! Finding rows through a B-tree, without a planner.

use super::{Table, row::Row};
use crate::error::CaliberResult;
use crate::model::Path;
use crate::pg::relation::{OpenRel, Rel};
use crate::pg::slot::{OwnedSlot, Slot};
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::value::Value;
use crate::pg::{check_for_interrupts, check_for_interrupts_inside, ports, raw};
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;
use uuid::Uuid;

/// One condition on a column of the path.
#[derive(Clone, Copy)]
pub struct Condition<'v> {
    /// How the column compares with it.
    pub comparison: Comparison,
    /// What the column is compared with; a null matches no row.
    pub value: Value<'v>,
}

/// The B-tree strategies that look-ups use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `column = value`
    Equal,
    /// `column < value`
    Less,
    /// `column > value`
    Greater,
    /// `column >= value`
    GreaterOrEqual,
    /// `column <= value`
    LessOrEqual,
}

impl Comparison {
    const fn strategy(self) -> pg_sys::StrategyNumber {
        (match self {
            Self::Equal => pg_sys::BTEqualStrategyNumber,
            Self::Less => pg_sys::BTLessStrategyNumber,
            Self::Greater => pg_sys::BTGreaterStrategyNumber,
            Self::GreaterOrEqual => pg_sys::BTGreaterEqualStrategyNumber,
            Self::LessOrEqual => pg_sys::BTLessEqualStrategyNumber,
        }) as pg_sys::StrategyNumber
    }
}

/// `column = value`
pub const fn equal(value: Value<'_>) -> Condition<'_> {
    Condition { comparison: Comparison::Equal, value }
}

/// `column < value`
pub const fn less(value: Value<'_>) -> Condition<'_> {
    Condition { comparison: Comparison::Less, value }
}

/// `column > value`
pub const fn greater(value: Value<'_>) -> Condition<'_> {
    Condition { comparison: Comparison::Greater, value }
}

/// `column >= value`
pub const fn at_least(value: Value<'_>) -> Condition<'_> {
    Condition { comparison: Comparison::GreaterOrEqual, value }
}

/// `column <= value`
pub const fn at_most(value: Value<'_>) -> Condition<'_> {
    Condition { comparison: Comparison::LessOrEqual, value }
}

/// The order in which an index is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Rising.
    Ascending,
    /// Falling.
    Descending,
}

impl Table {
    /// The row with this key that the snapshot sees.
    ///
    /// # Errors
    /// 42P16 when the table lost the index on its key.
    pub fn get(&self, id: Uuid, snapshot: &ActiveSnapshot) -> CaliberResult<Option<Row<'_>>> {
        if let Some(row) = self.get_by_hint(id, snapshot) {
            return Ok(Some(row));
        }
        let conditions = [equal(Value::uuid_in(&id))];
        let mut scan = self.scan(Path::KEY, &conditions, Order::Ascending, snapshot)?;
        if scan.next().is_none() {
            return Ok(None);
        }
        let row = scan.into_row();
        self.hint(id, row.slot());
        Ok(Some(row))
    }

    /// For looking many rows up by their keys.
    pub fn lookups<'t>(&'t self, snapshot: &'t ActiveSnapshot) -> Lookups<'t> {
        Lookups { table: self, snapshot, scan: None, hinted: None }
    }

    /// A copy of the row in a slot of this table.
    pub fn copy_of(&self, slot: Slot<'_>) -> Row<'_> {
        let copy = OwnedSlot::for_table(self.rel());
        copy.slot().copy_from(slot);
        Row::new(self, copy)
    }

    /// Reads the rows that meet the conditions (one for each leading column of the path, which is
    /// that of a B-tree) in the order of the path.
    ///
    /// # Errors
    /// 42P16 when no index serves the path: the whole table is never read silently.
    #[allow(ffi_unwind_calls)] // what the boundary is for
    pub fn scan<'t>(
        &'t self,
        path: Path,
        conditions: &[Condition<'_>],
        order: Order,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<IndexScan<'t>> {
        let index = self.index_for(path)?;
        let mut keys = ScanKeys::of(index.rel(), conditions);
        let keys = keys.as_mut_slice();
        let (table, snapshot) = (self.rel().as_ptr(), snapshot.as_ptr());
        let index_rel = index.rel().as_ptr();
        let begin = || {
            let count = keys.len() as i32;
            // SAFETY: both relations are open and locked; the caller keeps the snapshot active.
            let scan = unsafe { ports::index_beginscan_inside(table, index_rel, snapshot, count) };
            // SAFETY: an open relation; the slot keeps a reference to its descriptor.
            let slot = unsafe { raw::table_slot_create(table, std::ptr::null_mut()) };
            // SAFETY: the scan was begun for so many keys.
            unsafe { start(scan, keys) };
            (scan, slot)
        };
        // SAFETY: nothing in the closure has a destructor; the abort frees what it has made.
        let (scan, slot) = unsafe { pg_guard_ffi_boundary(begin) };
        let direction = match order {
            Order::Ascending => pg_sys::ScanDirection::ForwardScanDirection,
            Order::Descending => pg_sys::ScanDirection::BackwardScanDirection,
        };
        // SAFETY: made above.
        let slot = unsafe { OwnedSlot::from_raw(slot) };
        Ok(IndexScan { table: self, scan: Scanning::new(scan), index, slot, direction })
    }
}

/// Gives a scan its keys.
///
/// # Safety
/// Inside of a boundary; the scan was begun for so many keys.
#[allow(ffi_unwind_calls)] // what the boundary is for
unsafe fn start(scan: pg_sys::IndexScanDesc, keys: &mut [pg_sys::ScanKeyData]) {
    for key in keys.iter_mut() {
        // SAFETY: compares values of the column's type; raises when it was dropped.
        unsafe { raw::fmgr_info(key.sk_func.fn_oid, &mut key.sk_func) };
    }
    let (count, none) = (keys.len() as i32, std::ptr::null_mut());
    // SAFETY: the caller vouches for the number; the scan copies the keys.
    unsafe { raw::index_rescan(scan, keys.as_mut_ptr(), count, none, 0) };
}

/// The most conditions that a look-up has.
const MOST_CONDITIONS: usize = 4;

/// The scan keys for conditions on an index's first columns. Their functions are named, and still
/// to be looked up.
struct ScanKeys {
    keys: [pg_sys::ScanKeyData; MOST_CONDITIONS],
    count: usize,
}

impl ScanKeys {
    fn of(index: Rel<'_>, conditions: &[Condition<'_>]) -> Self {
        let mut keys = [pg_sys::ScanKeyData::default(); MOST_CONDITIONS];
        let count = conditions.len();
        fill_scan_keys(&mut keys[..count], index, conditions);
        Self { keys, count }
    }

    fn as_mut_slice(&mut self) -> &mut [pg_sys::ScanKeyData] {
        &mut self.keys[..self.count]
    }
}

fn fill_scan_keys(keys: &mut [pg_sys::ScanKeyData], index: Rel<'_>, conditions: &[Condition<'_>]) {
    let data = index.data();
    let count = conditions.len();
    // SAFETY: these arrays have an element for each key column, of which there are enough.
    let families = unsafe { std::slice::from_raw_parts(data.rd_opfamily, count) };
    // SAFETY: as above.
    let inputs = unsafe { std::slice::from_raw_parts(data.rd_opcintype, count) };
    // SAFETY: as above.
    let collations = unsafe { std::slice::from_raw_parts(data.rd_indcollation, count) };
    for (i, (key, condition)) in keys.iter_mut().zip(conditions).enumerate() {
        let (family, input, collation) = (families[i], inputs[i], collations[i]);
        let strategy = condition.comparison.strategy();
        let (argument, is_null) = condition.value.to_raw();
        key.sk_flags = if is_null { pg_sys::SK_ISNULL as i32 } else { 0 };
        key.sk_attno = i as pg_sys::AttrNumber + 1;
        key.sk_strategy = strategy;
        key.sk_subtype = pg_sys::InvalidOid;
        key.sk_collation = collation;
        key.sk_func.fn_oid = comparison_procedure(family, input, strategy);
        key.sk_argument = argument;
    }
}

/// The function behind the operator of this strategy.
fn comparison_procedure(
    family: pg_sys::Oid,
    input: pg_sys::Oid,
    strategy: pg_sys::StrategyNumber,
) -> pg_sys::Oid {
    // Most look-ups are for one id: its operator family and function have fixed OIDs
    // (pg_opfamily.dat, pg_proc.dat).
    const UUID_OPS: u32 = 2968;
    const UUID_EQ: u32 = 2956;
    if family.to_u32() == UUID_OPS && strategy == Comparison::Equal.strategy() {
        return pg_sys::Oid::from(UUID_EQ);
    }
    // SAFETY: a syscache look-up; a B-tree family has the operator for its input type.
    let operator = unsafe { pg_sys::get_opfamily_member(family, input, input, strategy as i16) };
    // SAFETY: a syscache look-up.
    unsafe { pg_sys::get_opcode(operator) }
}

/// An index scan under way.
pub struct IndexScan<'t> {
    table: &'t Table,
    // Fields drop in this order: the scan ends before its index closes.
    scan: Scanning,
    slot: OwnedSlot,
    index: OpenRel,
    direction: pg_sys::ScanDirection::Type,
}

impl<'t> IndexScan<'t> {
    /// Goes to the next row. Entries of dead rows are passed over, not taken for the end.
    #[allow(clippy::should_implement_trait)] // the slot is lent, which Iterator cannot say
    pub fn next(&mut self) -> Option<Slot<'_>> {
        check_for_interrupts();
        let slot = self.slot.slot();
        // SAFETY: the slot is of the table's kind.
        let more =
            unsafe { pg_sys::index_getnext_slot(self.scan.scan, self.direction, slot.as_ptr()) };
        more.then_some(slot)
    }

    /// Hands the next rows, `most` at most, to `take`, with one crossing into PostgreSQL for all of
    /// them, until it takes one not. How many it took, and whether the scan stands on one that it did
    /// not.
    ///
    /// # Safety
    /// `take` is called inside of a boundary: it may call what raises, without a guard, and has
    /// nothing with a destructor.
    #[allow(ffi_unwind_calls)] // what the boundary is for
    pub(crate) unsafe fn hand_over(
        &mut self,
        most: usize,
        mut take: impl FnMut(Slot<'_>) -> bool,
    ) -> (usize, bool) {
        let (scan, direction, slot) = (self.scan.scan, self.direction, self.slot.slot());
        let mut taken = 0;
        let rows = || {
            while taken < most {
                // SAFETY: inside of the boundary.
                unsafe { check_for_interrupts_inside() };
                // SAFETY: the slot is of the table's kind.
                if !unsafe { raw::index_getnext_slot(scan, direction, slot.as_ptr()) } {
                    return false;
                }
                if !take(slot) {
                    return true;
                }
                taken += 1;
            }
            false
        };
        // SAFETY: nothing in the closure has a destructor, as the caller vouches of `take`.
        let stands = unsafe { pg_guard_ffi_boundary(rows) };
        (taken, stands)
    }

    /// How many conditions the scan was begun with.
    pub fn conditions(&self) -> usize {
        // SAFETY: a scan under way.
        let keys = unsafe { (*self.scan.scan).numberOfKeys };
        keys.max(0) as usize
    }

    /// Starts again, for other values of as many conditions.
    #[allow(ffi_unwind_calls)] // what the boundary is for
    pub fn restart(&mut self, conditions: &[Condition<'_>]) {
        let mut keys = ScanKeys::of(self.index.rel(), conditions);
        let (scan, keys) = (self.scan.scan, keys.as_mut_slice());
        // SAFETY: inside of the boundary; the scan was begun for this many keys.
        let restart = || unsafe { start(scan, keys) };
        // SAFETY: nothing in the closure has a destructor.
        unsafe { pg_guard_ffi_boundary(restart) };
    }

    /// The row that the scan stands on, once [`IndexScan::next`] has found one.
    pub fn slot(&self) -> Slot<'_> {
        self.slot.slot()
    }

    /// The row that the scan stands on, kept after the scan's end.
    pub fn into_row(self) -> Row<'t> {
        Row::new(self.table, self.slot)
    }
}

/// Look-ups of rows by their keys, with one index scan for all.
pub struct Lookups<'t> {
    table: &'t Table,
    snapshot: &'t ActiveSnapshot,
    /// Begun with the first key that no hint finds.
    scan: Option<IndexScan<'t>>,
    hinted: Option<Row<'t>>,
}

impl Lookups<'_> {
    /// The row with this key that the snapshot sees, until the next look-up.
    ///
    /// # Errors
    /// 42P16 when the table lost the index on its key.
    pub fn get(&mut self, id: Uuid) -> CaliberResult<Option<Slot<'_>>> {
        check_for_interrupts();
        self.hinted = self.table.get_by_hint(id, self.snapshot);
        if let Some(row) = &self.hinted {
            return Ok(Some(row.slot()));
        }
        let conditions = [equal(Value::uuid_in(&id))];
        let scan = match &mut self.scan {
            Some(scan) => {
                scan.restart(&conditions);
                scan
            }
            none => {
                let scan =
                    self.table.scan(Path::KEY, &conditions, Order::Ascending, self.snapshot)?;
                none.insert(scan)
            }
        };
        let found = scan.next();
        if let Some(row) = found {
            self.table.hint(id, row);
        }
        Ok(found)
    }
}

/// Ends the scan.
pub(super) struct Scanning {
    pub(super) scan: pg_sys::IndexScanDesc,
}

impl Scanning {
    /// Takes over a scan that was begun.
    pub(super) const fn new(scan: pg_sys::IndexScanDesc) -> Self {
        Self { scan }
    }
}

impl Drop for Scanning {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun for this guard.
            unsafe { pg_sys::index_endscan(self.scan) };
        }
    }
}
