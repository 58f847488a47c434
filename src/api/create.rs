//! What every `caliber_<entity>_create` shares: an id that makes it idempotent, and the insert.

use crate::ids;
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::model::Change;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::table::Table;
use caliber_am::table::writer::{Event, Given, Writer};
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
    Ok(true)
}

/// Inserts one row and returns its id; `None` when a BEFORE trigger left it out.
///
/// # Errors
/// Those of the insert.
pub fn insert(table: &Table, given: &Given<'_>) -> CaliberResult<Option<Uuid>> {
    let columns: Vec<usize> = given.iter().map(|(position, _)| position).collect();
    let mut writer = Writer::begin(table, Event::Insert, &columns);
    let stored = writer.insert(given)?;
    let id = stored.and_then(|slot| slot.get(table.attno(0)).as_uuid());
    writer.finish();
    Ok(id)
}
