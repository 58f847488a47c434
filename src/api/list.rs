//! What every list shares: key order, `max_rows`, `after`, and an index that serves it.

use super::{open, required};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, SetDone, SetOf};
use caliber_am::model::{Entity, Path};
use caliber_am::pg::slot::Slot;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::lookup::{Condition, IndexScan, Order, equal, greater};
use caliber_am::table::{Access, Table};
use uuid::Uuid;

/// The rows with these values (with their arguments' names) in the path's first columns, in the
/// order of its next one, the key.
///
/// # Errors
/// 22023 for a null value and a bad `max_rows`.
pub fn by_path(
    call: &Call<'_>,
    entity: &'static Entity,
    path: Path,
    values: &[(&'static str, Value<'_>)],
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let limit = row_limit(max_rows)?;
    let mut conditions = prefix(values)?;
    conditions.extend(after.map(|after| greater(Value::uuid(after))));
    let table = open(entity, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    let mut answer = call.result_set(SetOf::Rows);
    let mut scan = table.scan(path, &conditions, Order::Ascending, &snapshot)?;
    answer.put_rows(&table, &mut scan, limit);
    Ok(SetDone)
}

/// The conditions that the path's first columns have these values (with their arguments' names).
///
/// # Errors
/// 22023 for a null value.
fn prefix<'v>(values: &[(&'static str, Value<'v>)]) -> CaliberResult<Vec<Condition<'v>>> {
    let mut prefix = Vec::new();
    for &(argument, value) in values {
        if value.is_null() {
            required::<()>(argument, None)?;
        }
        prefix.push(equal(value));
    }
    Ok(prefix)
}

/// As [`by_path`], without the rows that `keep` drops.
///
/// # Errors
/// As [`by_path`].
pub fn filtered(
    call: &Call<'_>,
    entity: &'static Entity,
    path: Path,
    values: &[(&'static str, Value<'_>)],
    max_rows: Option<i32>,
    after: Option<Uuid>,
    keep: impl Fn(&Table, Slot<'_>) -> bool,
) -> CaliberResult<SetDone> {
    let limit = row_limit(max_rows)?;
    let prefix = prefix(values)?;
    let table = open(entity, Access::READ)?;
    merged(call, &table, &[(path, prefix)], limit, after, |slot| keep(&table, slot))
}

/// The rows of several look-ups, each in key order, in the key order of all.
///
/// # Errors
/// Those of the look-ups.
pub fn merged(
    call: &Call<'_>,
    table: &Table,
    look_ups: &[(Path, Vec<Condition<'_>>)],
    limit: usize,
    after: Option<Uuid>,
    keep: impl Fn(Slot<'_>) -> bool,
) -> CaliberResult<SetDone> {
    let snapshot = ActiveSnapshot::of_statement();
    let mut answer = call.result_set(SetOf::Rows);
    let mut scans = Vec::new();
    for (path, prefix) in look_ups {
        let mut conditions = prefix.clone();
        conditions.extend(after.map(|after| greater(Value::uuid(after))));
        let scan = table.scan(*path, &conditions, Order::Ascending, &snapshot)?;
        scans.extend(Head::of(table, scan, &keep));
    }
    for _ in 0..limit {
        let Some(first) = (0..scans.len()).min_by_key(|&i| scans[i].key) else { break };
        answer.put_row(table, scans[first].scan.slot());
        if !scans[first].advance(table, &keep) {
            scans.remove(first);
        }
    }
    Ok(SetDone)
}

/// A look-up that stands on a row.
struct Head<'t> {
    scan: IndexScan<'t>,
    key: Uuid,
}

impl<'t> Head<'t> {
    fn of(table: &Table, scan: IndexScan<'t>, keep: &impl Fn(Slot<'_>) -> bool) -> Option<Self> {
        let mut head = Self { scan, key: Uuid::nil() };
        head.advance(table, keep).then_some(head)
    }

    /// Goes to the next row to keep; false when there is none.
    fn advance(&mut self, table: &Table, keep: &impl Fn(Slot<'_>) -> bool) -> bool {
        while let Some(slot) = self.scan.next() {
            if keep(slot) {
                self.key = slot.get(table.attno(0)).as_uuid().unwrap_or_default();
                return true;
            }
        }
        false
    }
}

/// `max_rows` as a count.
///
/// # Errors
/// 22023 when it is null or less than 1.
pub fn row_limit(max_rows: Option<i32>) -> CaliberResult<usize> {
    count("max_rows", max_rows)
}

/// An argument that counts something, from 1.
///
/// # Errors
/// 22023 when it is null or less than 1.
pub fn count(argument: &'static str, value: Option<i32>) -> CaliberResult<usize> {
    let value = required(argument, value)?;
    usize::try_from(value).ok().filter(|&count| count > 0).ok_or_else(|| {
        CaliberError::argument(argument, format!("The value is {value}; it must be at least 1."))
    })
}
