//! What every mutation of one row shares: lock, check what the caller knows, write, return.

use super::required;
use crate::changes::{self, Changed, JsonScalar};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::Json;
use caliber_am::model::Change;
use caliber_am::pg::slot::Slot;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Table;
use caliber_am::table::event::Event;
use caliber_am::table::lock::RowLock;
use caliber_am::table::row::{Composite, Row, composite};
use caliber_am::table::writer::{Given, Updated, Writer};
use uuid::Uuid;

/// A locked row, and the changes that its lock brings with it: a fence to be remembered.
pub type Locked<'t, 'v> = (Row<'t>, Given<'v>);

/// A mutation of one row: `lock` finds and locks it, `change` says what becomes of it. Returns the
/// new row; without changes, the row as it is. `None`: a BEFORE trigger left the update out.
///
/// # Errors
/// 22023 for a null id, P0002 for an unknown one, 55006 when the caller has seen another version,
/// and those of `lock`, `change` and the update.
pub fn mutate<'t, 'v>(
    table: &'t Table,
    id: Option<Uuid>,
    expected_version: Option<i64>,
    lock: impl FnOnce(Uuid, &ActiveSnapshot) -> CaliberResult<Option<Locked<'t, 'v>>>,
    change: impl FnOnce(&Row<'_>, &mut Given<'v>) -> CaliberResult<()>,
) -> CaliberResult<Option<Composite>> {
    let id = required("id", id)?;
    let snapshot = ActiveSnapshot::for_write();
    let (row, mut changes) = lock(id, &snapshot)?.ok_or_else(|| unknown(table, id))?;
    check_version(table, &row, id, expected_version)?;
    change(&row, &mut changes)?;
    write(table, &row, &changes)
}

/// A mutation of one row that depends on nothing but the row itself. Returns the new row; without
/// changes, the row as it is. `None`: a BEFORE trigger left the update out.
///
/// The row is written without being locked first, since most often nobody else wants it. When
/// somebody was faster, `change` is asked again, for the row as it is then, and locked.
///
/// # Errors
/// As [`mutate`].
pub fn mutate_alone<'v>(
    table: &Table,
    id: Option<Uuid>,
    expected_version: Option<i64>,
    change: impl Fn(&Row<'_>, &mut Given<'v>) -> CaliberResult<()>,
) -> CaliberResult<Option<Composite>> {
    mutate_alone_and(table, id, expected_version, change, |slot| composite(table, slot))
}

/// As [`mutate_alone`], and returns what is read from the new row.
///
/// # Errors
/// As [`mutate`], and those of the reading.
pub fn mutate_alone_and<'v, R>(
    table: &Table,
    id: Option<Uuid>,
    expected_version: Option<i64>,
    change: impl Fn(&Row<'_>, &mut Given<'v>) -> CaliberResult<()>,
    read: impl Fn(Slot<'_>) -> CaliberResult<R>,
) -> CaliberResult<Option<R>> {
    let id = required("id", id)?;
    let changes_of = |row: &Row<'_>| {
        let mut changes = Given::new();
        check_version(table, row, id, expected_version)?;
        change(row, &mut changes)?;
        Ok(changes)
    };
    if Writer::can_try_update(table) {
        let snapshot = ActiveSnapshot::for_write();
        let row = table.get(id, &snapshot)?.ok_or_else(|| unknown(table, id))?;
        let changes: Given<'_> = changes_of(&row)?;
        if changes.is_empty() {
            return read(row.slot()).map(Some);
        }
        let mut writer = begin(table, &changes);
        let result = match writer.update_version(&row, &changes)? {
            Updated::Stored(slot) => Some(read(slot)?),
            Updated::LeftOut | Updated::TooLate => None,
        };
        writer.finish();
        if result.is_some() {
            return Ok(result);
        }
    }
    let snapshot = ActiveSnapshot::for_write();
    let row = table.lock_by_id(id, RowLock::NoKeyUpdate, &snapshot)?;
    let row = row.ok_or_else(|| unknown(table, id))?;
    let changes = changes_of(&row)?;
    if changes.is_empty() {
        return read(row.slot()).map(Some);
    }
    write_and(table, &row, &changes, read)
}

/// Begins the update of a row by these changes.
fn begin<'t>(table: &'t Table, changes: &Given<'_>) -> Writer<'t> {
    Writer::begin(table, Event::Update, changes.columns())
}

/// Refuses when the caller has seen another version of the row: 55006, with the current one.
fn check_version(
    table: &Table,
    row: &Row<'_>,
    id: Uuid,
    expected: Option<i64>,
) -> CaliberResult<()> {
    let entity = table.entity();
    let (Some(expected), Some(position)) = (expected, entity.position_of(Change::Version)) else {
        return Ok(());
    };
    let current = row.get(position).as_i64().unwrap_or(0);
    if current == expected {
        return Ok(());
    }
    Err(CaliberError::StaleVersion { entity: entity.name, id, expected, current })
}

/// How [`mutate`] locks a row that stands for itself: for an update, with nothing to remember.
pub fn plainly<'t, 'v>(
    table: &'t Table,
) -> impl FnOnce(Uuid, &ActiveSnapshot) -> CaliberResult<Option<Locked<'t, 'v>>> {
    |id, snapshot| {
        let row = table.lock_by_id(id, RowLock::NoKeyUpdate, snapshot)?;
        Ok(row.map(|row| (row, Given::new())))
    }
}

/// Refuses a row that is in none of these states.
///
/// # Errors
/// 55000
pub fn require_state(row: &Row<'_>, id: Uuid, needed: &[&str]) -> CaliberResult<()> {
    let state = row.state().unwrap_or_default();
    if needed.contains(&state) {
        return Ok(());
    }
    let needed = needed.join("\" or \"");
    Err(CaliberError::WrongState { entity: row.entity().name, id, state, needed })
}

/// The error for an id that no row has.
pub fn unknown(table: &Table, id: Uuid) -> CaliberError {
    CaliberError::NoSuchRow { entity: table.entity().name, id }
}

/// Writes the changes to a locked row and returns the new row; without changes, the row as it is.
/// `None`: a BEFORE trigger left the update out.
///
/// # Errors
/// Those of the update.
pub fn write(
    table: &Table,
    row: &Row<'_>,
    changes: &Given<'_>,
) -> CaliberResult<Option<Composite>> {
    if changes.is_empty() {
        return row.to_composite().map(Some);
    }
    write_and(table, row, changes, |slot| composite(table, slot))
}

/// Writes the changes, of which there are some, to a locked row and reads something from the new
/// row. `None`: a BEFORE trigger left the update out.
///
/// # Errors
/// Those of the update and of the reading.
pub fn write_and<R>(
    table: &Table,
    row: &Row<'_>,
    changes: &Given<'_>,
    read: impl FnOnce(Slot<'_>) -> CaliberResult<R>,
) -> CaliberResult<Option<R>> {
    let mut writer = begin(table, changes);
    let result = writer.update(row, changes)?.map(read).transpose()?;
    writer.finish();
    Ok(result)
}

/// Reads a `changes` argument into column values.
///
/// # Errors
/// 22023 for anything but an object of updatable columns with values of the right JSON type.
pub fn parse_changes<'v>(
    table: &Table,
    updatable: &[&str],
    changes: Option<Json>,
) -> CaliberResult<Given<'v>> {
    let changes = required("changes", changes)?;
    let mut given = Given::new();
    let changes = changes::parse_changes(table.entity(), updatable, &changes.0)?;
    for Changed { position, value } in changes {
        given.set(position, to_value(table, position, value)?);
    }
    Ok(given)
}

fn to_value<'v>(table: &Table, position: usize, value: JsonScalar) -> CaliberResult<Value<'v>> {
    Ok(match value {
        JsonScalar::Input(text) => {
            let (ty, typmod) = table.column_type(position);
            Value::input(&text, ty, typmod)?
        }
        JsonScalar::Float4(bits) => Value::float4(f32::from_bits(bits)),
        JsonScalar::TextArray(texts) => Value::text_array(&texts)?,
        JsonScalar::UuidArray(ids) => Value::uuid_array(&ids),
        JsonScalar::Null => Value::NULL,
        JsonScalar::Bool(value) => Value::bool(value),
        JsonScalar::Int4(value) => Value::int4(value),
        JsonScalar::Int8(value) => Value::int8(value),
        JsonScalar::Uuid(value) => Value::uuid(value),
        JsonScalar::Text(value) => Value::text(&value)?,
        JsonScalar::Jsonb(value) => Value::jsonb(&value)?,
    })
}
