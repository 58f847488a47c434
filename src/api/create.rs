//! What every `caliber_<entity>_create` shares: an id that makes it idempotent, and the insert.

use super::open;
use crate::ids;
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::model::{Change, Entity};
use caliber_am::pg::slot::Slot;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::event::Event;
use caliber_am::table::row::{Composite, Row, composite};
use caliber_am::table::writer::{Given, Writer};
use caliber_am::table::{Access, Table};
use uuid::Uuid;

/// Whether the row with the id given exists already, as this create would make it.
///
/// # Errors
/// 22023 when the id is no UUIDv7; 23505 when the row exists and one of the arguments given that
/// name fixed columns differs.
pub fn exists_alike(
    table: &Table,
    id: Option<Uuid>,
    given: &Given<'_>,
    snapshot: &ActiveSnapshot,
) -> CaliberResult<bool> {
    let Some(id) = id else { return Ok(false) };
    let entity = table.entity();
    ids::require_v7(entity.key(), id)?;
    let Some(row) = table.get(id, snapshot)? else {
        return Ok(false);
    };
    compare(table, &row, id, given)?;
    Ok(true)
}

/// Whether a row that exists has what is given for its fixed columns.
///
/// # Errors
/// 23505 naming the first column that differs.
pub fn compare(table: &Table, row: &Row<'_>, id: Uuid, given: &Given<'_>) -> CaliberResult<()> {
    let entity = table.entity();
    for (position, value) in given.iter() {
        let column = &entity.columns[position];
        let fixed = column.change == Change::Fixed && !value.is_null();
        if fixed && !value.is_same(row.get(position), column.ty) {
            return Err(CaliberError::ExistsDifferently {
                entity: entity.name,
                id,
                column: column.name,
            });
        }
    }
    Ok(())
}

/// A whole create: the row as given, unless it exists alike already. Returns its id; `None` when a
/// BEFORE trigger left it out.
///
/// # Errors
/// Those of [`exists_alike`] and of the insert.
pub fn create(
    entity: &'static Entity,
    id: Option<Uuid>,
    given: Given<'_>,
) -> CaliberResult<Option<Uuid>> {
    let table = open(entity, Access::INSERT)?;
    let snapshot = ActiveSnapshot::for_write();
    if exists_alike(&table, id, &given, &snapshot)? {
        return Ok(id);
    }
    insert(&table, &with_id(given, id))
}

/// What is given, and the id that the caller chose.
pub fn with_id(mut given: Given<'_>, id: Option<Uuid>) -> Given<'_> {
    given.set_unless_null(0, id.map_or(Value::NULL, Value::uuid));
    given
}

/// Inserts one row and returns its id; `None` when a BEFORE trigger left it out.
///
/// # Errors
/// Those of the insert.
pub fn insert(table: &Table, given: &Given<'_>) -> CaliberResult<Option<Uuid>> {
    let id = insert_and(table, given, |slot| Ok(slot.get(table.attno(0)).as_uuid()))?;
    Ok(id.flatten())
}

/// Inserts one row and returns it; `None` when a BEFORE trigger left it out.
///
/// # Errors
/// Those of the insert.
pub fn insert_row(table: &Table, given: &Given<'_>) -> CaliberResult<Option<Composite>> {
    insert_and(table, given, |slot| composite(table, slot))
}

/// As [`insert`], below a row that the caller has locked and will look at again.
///
/// # Errors
/// Those of the insert.
pub fn insert_below(
    table: &Table,
    given: &Given<'_>,
    parent: &Table,
    parent_id: Uuid,
) -> CaliberResult<Option<Uuid>> {
    let mut writer = begin(table, given);
    writer.rely_on(parent, parent_id);
    let stored = writer.insert(given)?;
    let id = stored.and_then(|slot| slot.get(table.attno(0)).as_uuid());
    writer.finish();
    Ok(id)
}

/// Begins the insert of a row of these columns.
fn begin<'t>(table: &'t Table, given: &Given<'_>) -> Writer<'t> {
    Writer::begin(table, Event::Insert, given.columns())
}

fn insert_and<R>(
    table: &Table,
    given: &Given<'_>,
    read: impl FnOnce(Slot<'_>) -> CaliberResult<R>,
) -> CaliberResult<Option<R>> {
    let mut writer = begin(table, given);
    let result = writer.insert(given)?.map(read).transpose()?;
    writer.finish();
    Ok(result)
}
