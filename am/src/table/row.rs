//! Rows of an entity, and their form as a SQL composite value.

use super::Table;
use crate::error::{CaliberError, CaliberResult};
use crate::model::{Change, Entity};
use crate::pg::slot::{OwnedSlot, Slot};
use crate::pg::value::Value;
use crate::pg::{invalidation, types};
use pgrx_pg_sys as pg_sys;
use std::cell::RefCell;

/// A row in a slot of its own.
pub struct Row<'t> {
    table: &'t Table,
    slot: OwnedSlot,
}

impl<'t> Row<'t> {
    pub(super) fn new(table: &'t Table, slot: OwnedSlot) -> Self {
        Self { table, slot }
    }

    /// The entity's column at `position`. Whoever reads one column most often reads others, or
    /// writes the row, so all are extracted at once.
    pub fn get(&self, position: usize) -> Value<'_> {
        self.slot.slot().deform();
        self.slot.slot().get(self.table.attno(position))
    }

    /// The label of the state that the row is in; `None` where the entity has no states.
    pub fn state(&self) -> Option<&'static str> {
        let entity = self.entity();
        let position = entity.position_of(Change::State)?;
        let (datum, is_null) = self.get(position).to_raw();
        let state =
            (!is_null).then(|| self.table.shape().state_of(entity.columns[position].ty, datum));
        Some(entity.states[state.flatten()?].label)
    }

    /// The entity.
    pub fn entity(&self) -> &'static Entity {
        self.table.entity()
    }

    /// The slot.
    pub fn slot(&self) -> Slot<'_> {
        self.slot.slot()
    }

    /// The row as a value of the entity's row type.
    ///
    /// # Errors
    /// 42P16 when the row type is not the entity's any more.
    pub fn to_composite(&self) -> CaliberResult<Composite> {
        composite(self.table, self.slot())
    }
}

/// A SQL composite value, fully detoasted, in the memory context that was current when it was
/// made.
#[derive(Clone, Copy)]
pub struct Composite(pub(crate) pg_sys::Datum);

impl Composite {
    /// As a column of a result.
    pub fn to_value(self) -> Value<'static> {
        // SAFETY: allocated in a memory context that outlives the function's result.
        unsafe { Value::from_datum(self.0, false) }
    }
}

/// An entity's columns as PostgreSQL's arrays want them, in the order of its row type.
pub(crate) struct RawColumns {
    pub values: [pg_sys::Datum; Entity::MAX_COLUMNS],
    pub nulls: [bool; Entity::MAX_COLUMNS],
}

/// The columns of the row in the slot, valid as long as the slot holds it.
pub(crate) fn columns_of(table: &Table, slot: Slot<'_>) -> RawColumns {
    let (values, nulls) = slot.deform();
    let mut columns = RawColumns {
        values: [pg_sys::Datum::null(); Entity::MAX_COLUMNS],
        nulls: [true; Entity::MAX_COLUMNS],
    };
    for position in 0..table.entity().columns.len() {
        let index = table.attno(position) as usize - 1;
        columns.values[position] = values[index];
        columns.nulls[position] = nulls[index];
    }
    columns
}

/// The stored row in the slot, if it is laid out as a value of the row type and can be copied as it
/// is. Valid as long as the slot holds it.
pub(crate) fn tuple_in_order(table: &Table, slot: Slot<'_>) -> Option<pg_sys::HeapTuple> {
    if table.shape().is_in_order() { slot.whole_tuple() } else { None }
}

/// Forms a value of the entity's row type from a row of its table.
///
/// # Errors
/// 42P16 when the row type is not the entity's any more.
pub fn composite(table: &Table, slot: Slot<'_>) -> CaliberResult<Composite> {
    if let Some(tuple) = tuple_in_order(table, slot) {
        let ty = row_type_of(table)?;
        // The copy is only labelled with the type: none of its attributes is external.
        let mut label = pg_sys::TupleDescData { tdtypeid: ty, tdtypmod: -1, ..Default::default() };
        // SAFETY: the tuple has the attributes of the row type (row_type_of).
        return Ok(Composite(unsafe { pg_sys::heap_copy_tuple_as_datum(tuple, &mut label) }));
    }
    let row_type = RowType::look_up(row_type_of(table)?);
    let mut columns = columns_of(table, slot);
    // SAFETY: as many values as the descriptor has attributes, of their types (row_type_of).
    let tuple = unsafe {
        pg_sys::heap_form_tuple(
            row_type.desc,
            columns.values.as_mut_ptr(),
            columns.nulls.as_mut_ptr(),
        )
    };
    // SAFETY: the tuple was just formed.
    let header = unsafe { (*tuple).t_data };
    // SAFETY: flattens what is still toasted, as a composite value must be.
    Ok(Composite(unsafe { pg_sys::HeapTupleHeaderGetDatum(header) }))
}

/// The row type's descriptor, referenced while this lives.
struct RowType {
    desc: pg_sys::TupleDesc,
}

thread_local! {
    /// The row types that were looked at: the table's
    /// [`Shape::generation`](crate::storage::shape::Shape::generation), and when, by
    /// [`invalidation::seen`]. One for each table.
    static CHECKED: RefCell<Vec<(u64, u64)>> = const { RefCell::new(Vec::new()) };
}

/// The entity's row type, whose attributes are the entity's columns.
///
/// # Errors
/// 42P16 when they are not any more.
fn row_type_of(table: &Table) -> CaliberResult<pg_sys::Oid> {
    let entity = table.entity();
    let lost = |found: String| CaliberError::ColumnType {
        entity: entity.name,
        table: entity.row_type.to_owned(),
        column: entity.columns[0].name,
        wanted: "the entity's row type".to_owned(),
        found,
    };
    let oid = table.shape().row_type().ok_or_else(|| lost("nothing".to_owned()))?;
    let now = (table.shape().generation(), invalidation::seen());
    if CHECKED.with_borrow(|checked| checked.contains(&now)) {
        return Ok(oid);
    }
    if !RowType::look_up(oid).fits(table) {
        return Err(lost(types::format_type(oid)));
    }
    CHECKED.with_borrow_mut(|checked| {
        checked.retain(|&(generation, seen)| generation != now.0 && seen == now.1);
        checked.push(now);
    });
    Ok(oid)
}

impl RowType {
    fn look_up(oid: pg_sys::Oid) -> Self {
        // SAFETY: raises when the type is not a composite one.
        Self { desc: unsafe { pg_sys::lookup_rowtype_tupdesc(oid, -1) } }
    }

    /// Whether its attributes are the entity's columns.
    fn fits(&self, table: &Table) -> bool {
        // SAFETY: referenced by this guard.
        let columns = unsafe { crate::pg::relation::Columns::from_raw(self.desc) };
        // The key is a domain over uuid in the table and plain uuid in the row type.
        columns.len() == table.entity().columns.len()
            && (1..columns.len()).all(|i| {
                let own = table.rel().columns().get(table.attno(i) as usize - 1);
                columns.get(i).atttypid == own.atttypid
            })
    }
}

impl Drop for RowType {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: referenced by this guard.
        let counted = unsafe { (*self.desc).tdrefcount } >= 0;
        if counted {
            // SAFETY: a counted reference of this guard.
            unsafe { pg_sys::DecrTupleDescRefCount(self.desc) };
        }
    }
}
