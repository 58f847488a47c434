//! Finding rows through an index, without a planner.

use super::{Table, row::Row};
use crate::error::{CaliberError, CaliberResult};
use crate::pg::ports;
use crate::pg::relation::{OpenRel, Rel};
use crate::pg::slot::{OwnedSlot, Slot};
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::value::Value;
use pgrx::PgList;
use pgrx_pg_sys as pg_sys;
use uuid::Uuid;

/// A way into a table: an index on these columns, in this order, all ascending.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// Positions of the entity's columns that the index begins with.
    pub columns: &'static [usize],
    /// The rows that the index may be restricted to. The caller's conditions must imply it, and
    /// must be checked again on each row, since a full index serves as well.
    pub partial: Partial,
}

/// The predicate that an index may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partial {
    /// None.
    Full,
    /// `column IS NOT NULL`
    NotNull(usize),
    /// `column`, a boolean
    True(usize),
}

impl Path {
    /// The unique index on the key.
    pub const KEY: Self = Self { columns: &[0], partial: Partial::Full };
}

/// One condition on a column of the path.
#[derive(Clone, Copy)]
pub struct Condition<'v> {
    /// `=` or `>`
    pub comparison: Comparison,
    /// What the column is compared with; a null matches no row.
    pub value: Value<'v>,
}

/// The B-tree strategies that look-ups use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `column = value`
    Equal,
    /// `column > value`
    Greater,
}

impl Comparison {
    const fn strategy(self) -> pg_sys::StrategyNumber {
        (match self {
            Self::Equal => pg_sys::BTEqualStrategyNumber,
            Self::Greater => pg_sys::BTGreaterStrategyNumber,
        }) as pg_sys::StrategyNumber
    }
}

/// `column = value`
pub const fn equal(value: Value<'_>) -> Condition<'_> {
    Condition { comparison: Comparison::Equal, value }
}

/// `column > value`
pub const fn greater(value: Value<'_>) -> Condition<'_> {
    Condition { comparison: Comparison::Greater, value }
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
        let conditions = [equal(Value::uuid(id))];
        let mut scan = self.scan(Path::KEY, &conditions, Order::Ascending, snapshot)?;
        Ok(if scan.next().is_some() { Some(scan.into_row()) } else { None })
    }

    /// Reads the rows that meet the conditions (one for each leading column of the path) in the
    /// order of the path.
    ///
    /// # Errors
    /// 42P16 when no index serves the path: the whole table is never read silently.
    pub fn scan<'t>(
        &'t self,
        path: Path,
        conditions: &[Condition<'_>],
        order: Order,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<IndexScan<'t>> {
        let index = self.index_for(path)?;
        let mut keys = scan_keys(index.rel(), conditions);
        // SAFETY: both relations are open and locked; the caller keeps the snapshot active.
        let scan = unsafe {
            ports::index_beginscan(
                self.rel().as_ptr(),
                index.rel().as_ptr(),
                snapshot.as_ptr(),
                keys.len() as i32,
            )
        };
        // SAFETY: the scan copies the keys.
        unsafe {
            pg_sys::index_rescan(
                scan,
                keys.as_mut_ptr(),
                keys.len() as i32,
                std::ptr::null_mut(),
                0,
            );
        }
        let direction = match order {
            Order::Ascending => pg_sys::ScanDirection::ForwardScanDirection,
            Order::Descending => pg_sys::ScanDirection::BackwardScanDirection,
        };
        let slot = OwnedSlot::for_table(self.rel());
        Ok(IndexScan { table: self, scan: Scanning { scan }, _index: index, slot, direction })
    }

    /// Opens an index that serves the path.
    fn index_for(&self, path: Path) -> CaliberResult<OpenRel> {
        if path.columns == Path::KEY.columns {
            let primary = self.rel().data().rd_pkindex;
            if self.rel().data().rd_indexvalid && primary != pg_sys::InvalidOid {
                let index = OpenRel::index(primary, pg_sys::AccessShareLock);
                if self.serves(index.rel(), path) {
                    return Ok(index);
                }
            }
        }
        // SAFETY: an open relation; the list is a copy.
        let list = unsafe { pg_sys::RelationGetIndexList(self.rel().as_ptr()) };
        // SAFETY: a list of OIDs.
        let indexes = unsafe { PgList::<pg_sys::Oid>::from_pg(list) };
        for oid in indexes.iter_oid() {
            let index = OpenRel::index(oid, pg_sys::AccessShareLock);
            if self.serves(index.rel(), path) {
                return Ok(index);
            }
        }
        let names: Vec<_> = path.columns.iter().map(|&c| self.entity().columns[c].name).collect();
        Err(CaliberError::IndexMissing { table: self.rel().name(), columns: names.join(", ") })
    }

    /// Whether the index finds every row of the path, in the path's order.
    fn serves(&self, index: Rel<'_>, path: Path) -> bool {
        let form = index.data().rd_index;
        // SAFETY: an open index has its pg_index row.
        let form = unsafe { &*form };
        if !form.indisvalid
            || !form.indislive
            || index.class().relam != pg_sys::BTREE_AM_OID
            || (form.indnkeyatts as usize) < path.columns.len()
            || is_too_new(index, form)
        {
            return false;
        }
        // SAFETY: the vector has indnatts elements.
        let columns = unsafe { form.indkey.values.as_slice(form.indnatts as usize) };
        // SAFETY: the array has an element for each key column, of which there are enough.
        let options =
            unsafe { std::slice::from_raw_parts(index.data().rd_indoption, path.columns.len()) };
        let wanted = path.columns.iter().map(|&column| self.attno(column));
        let in_place = wanted.zip(columns).all(|(attno, &column)| attno == column);
        in_place
            && options.iter().all(|&option| option == 0)
            && self.predicate_matches(index, path.partial)
    }

    fn predicate_matches(&self, index: Rel<'_>, partial: Partial) -> bool {
        // SAFETY: an open index; an implicitly-ANDed list, null for a full index.
        let list = unsafe { pg_sys::RelationGetIndexPredicate(index.as_ptr()) };
        // SAFETY: a list of expressions.
        let clauses = unsafe { PgList::<pg_sys::Node>::from_pg(list) };
        let Some(clause) = clauses.head() else {
            return true;
        };
        if clauses.len() != 1 {
            return false;
        }
        match partial {
            Partial::Full => false,
            Partial::NotNull(column) => {
                // SAFETY: an expression of the list.
                let Some(test) = (unsafe { as_null_test(clause) }) else {
                    return false;
                };
                test.nulltesttype == pg_sys::NullTestType::IS_NOT_NULL
                    && self.is_column(test.arg.cast(), column)
            }
            Partial::True(column) => self.is_column(clause, column),
        }
    }

    fn is_column(&self, expression: *mut pg_sys::Node, column: usize) -> bool {
        // SAFETY: every node begins with its tag.
        let tag = unsafe { (*expression).type_ };
        if tag != pg_sys::NodeTag::T_Var {
            return false;
        }
        // SAFETY: the tag says that it is a Var.
        let attno = unsafe { (*expression.cast::<pg_sys::Var>()).varattno };
        attno == self.attno(column)
    }
}

/// # Safety
/// `node` is a valid expression.
unsafe fn as_null_test<'n>(node: *mut pg_sys::Node) -> Option<&'n pg_sys::NullTest> {
    // SAFETY: every node begins with its tag.
    let tag = unsafe { (*node).type_ };
    // SAFETY: the tag says that it is a NullTest.
    (tag == pg_sys::NodeTag::T_NullTest).then(|| unsafe { &*node.cast::<pg_sys::NullTest>() })
}

/// Whether the index may lack rows that this transaction's snapshot can see: it was built over
/// broken HOT chains and is younger than the oldest snapshot (`indcheckxmin`).
fn is_too_new(index: Rel<'_>, form: &pg_sys::FormData_pg_index) -> bool {
    if !form.indcheckxmin {
        return false;
    }
    let tuple = index.data().rd_indextuple;
    // SAFETY: an open index keeps its pg_index tuple.
    let header = unsafe { (*tuple).t_data };
    // SAFETY: as above.
    let xmin = unsafe { pg_sys::htup::HeapTupleHeaderGetXmin(header) };
    // SAFETY: a plain word that only this backend writes.
    let oldest = unsafe { pg_sys::TransactionXmin };
    // SAFETY: compares two numbers.
    !unsafe { pg_sys::TransactionIdPrecedes(xmin, oldest) }
}

/// The scan keys for conditions on the index's first columns.
fn scan_keys(index: Rel<'_>, conditions: &[Condition<'_>]) -> Vec<pg_sys::ScanKeyData> {
    let data = index.data();
    let count = conditions.len();
    // SAFETY: these arrays have an element for each key column, of which there are enough.
    let families = unsafe { std::slice::from_raw_parts(data.rd_opfamily, count) };
    // SAFETY: as above.
    let inputs = unsafe { std::slice::from_raw_parts(data.rd_opcintype, count) };
    // SAFETY: as above.
    let collations = unsafe { std::slice::from_raw_parts(data.rd_indcollation, count) };
    let mut keys = vec![pg_sys::ScanKeyData::default(); count];
    for (i, (key, condition)) in keys.iter_mut().zip(conditions).enumerate() {
        let (family, input, collation) = (families[i], inputs[i], collations[i]);
        let strategy = condition.comparison.strategy();
        let procedure = comparison_procedure(family, input, strategy);
        let (argument, is_null) = condition.value.to_raw();
        let flags = if is_null { pg_sys::SK_ISNULL as i32 } else { 0 };
        // SAFETY: the key is ours; the procedure compares values of the input type.
        unsafe {
            pg_sys::ScanKeyEntryInitialize(
                key,
                flags,
                i as pg_sys::AttrNumber + 1,
                strategy,
                pg_sys::InvalidOid,
                collation,
                procedure,
                argument,
            );
        }
    }
    keys
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
    _index: OpenRel,
    direction: pg_sys::ScanDirection::Type,
}

impl<'t> IndexScan<'t> {
    /// Goes to the next row. Entries of dead rows are passed over, not taken for the end.
    #[allow(clippy::should_implement_trait)] // the slot is lent, which Iterator cannot say
    pub fn next(&mut self) -> Option<Slot<'_>> {
        let slot = self.slot.slot();
        // SAFETY: the slot is of the table's kind.
        let more =
            unsafe { pg_sys::index_getnext_slot(self.scan.scan, self.direction, slot.as_ptr()) };
        more.then_some(slot)
    }

    /// The row that the scan stands on, kept after the scan's end.
    pub fn into_row(self) -> Row<'t> {
        Row::new(self.table, self.slot)
    }
}

/// Ends the scan.
struct Scanning {
    scan: pg_sys::IndexScanDesc,
}

impl Drop for Scanning {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun for this guard.
            unsafe { pg_sys::index_endscan(self.scan) };
        }
    }
}
