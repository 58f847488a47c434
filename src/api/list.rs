//! What every list shares: key order, `max_rows`, `after`, and an index that serves it.

use super::{open, required};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, SetDone, SetOf};
use caliber_am::model::Entity;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Access;
use caliber_am::table::lookup::{Order, Path, equal, greater};
use uuid::Uuid;

/// The rows with `value` in the path's first column, in the order of its second, the key.
pub fn by_column(
    call: &Call<'_>,
    entity: &'static Entity,
    path: Path,
    (argument, value): (&'static str, Value<'_>),
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let mut left = row_limit(max_rows)?;
    if value.is_null() {
        required::<()>(argument, None)?;
    }
    let mut conditions = vec![equal(value)];
    conditions.extend(after.map(|after| greater(Value::uuid(after))));
    let table = open(entity, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    let mut answer = call.result_set(SetOf::Rows);
    let mut scan = table.scan(path, &conditions, Order::Ascending, &snapshot)?;
    while left > 0
        && let Some(slot) = scan.next()
    {
        answer.put_row(&table, slot);
        left -= 1;
    }
    Ok(SetDone)
}

/// `max_rows` as a count.
///
/// # Errors
/// 22023 when it is null or less than 1.
pub fn row_limit(max_rows: Option<i32>) -> CaliberResult<u32> {
    let rows = required("max_rows", max_rows)?;
    u32::try_from(rows).ok().filter(|&rows| rows > 0).ok_or_else(|| {
        CaliberError::argument("max_rows", format!("The value is {rows}; it must be at least 1."))
    })
}
