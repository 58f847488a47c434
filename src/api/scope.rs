//! Scope: a context window with a token budget.

use super::fences::{FencedTrajectory, ScopeTables, open_trajectories, trajectory_access};
use super::update::{mutate, parse_changes, require_state};
use super::{create, get, get_many, list, may_open, open};
use crate::entity::scope::{column, path};
use crate::entity::{SCOPE, TRAJECTORY};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, Json, SetDone};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Access;
use caliber_am::table::lookup::{Order, equal};
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::Given;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_scope_create,
    caliber_scope_get,
    caliber_scope_get_many,
    caliber_scope_get_current,
    caliber_scope_list_by_trajectory,
    caliber_scope_update_tokens,
    caliber_scope_update,
    caliber_scope_close,
);

const UPDATABLE: &[&str] = &["name", "purpose", "token_budget", "checkpoint", "metadata"];

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_scope_create(
    _: &Call<'_>,
    trajectory_id: Option<Uuid>,
    name: Value<'_>,
    token_budget: Value<'_>,
    purpose: Value<'_>,
    parent_scope_id: Value<'_>,
    metadata: Value<'_>,
    fence: Option<i64>,
    scope_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    may_open(&[(SCOPE, Access::INSERT), (TRAJECTORY, trajectory_access(fence))])?;
    let trajectories = open_trajectories(fence)?;
    let scopes = open(SCOPE, Access::INSERT)?;
    let snapshot = ActiveSnapshot::for_write();
    let mut given = Given::new();
    given
        .set(column::TRAJECTORY_ID, trajectory_id.map_or(Value::NULL, Value::uuid))
        .set(column::NAME, name)
        .set(column::TOKEN_BUDGET, token_budget)
        .set_unless_null(column::PURPOSE, purpose)
        .set_unless_null(column::PARENT_SCOPE_ID, parent_scope_id)
        .set_unless_null(column::METADATA, metadata);
    if create::exists_alike(&scopes, scope_id, &given, &snapshot)? {
        return Ok(scope_id);
    }
    if let Some(id) = scope_id {
        if parent_scope_id.as_uuid() == Some(id) {
            let reason = "A scope cannot be its own parent.";
            return Err(CaliberError::argument("parent_scope_id", reason));
        }
        given.set(column::SCOPE_ID, Value::uuid(id));
    }
    // An unknown or null trajectory is left to the constraints.
    if let Some(id) = trajectory_id
        && let Some(row) = FencedTrajectory::lock_and_check(&trajectories, id, fence, &snapshot)?
    {
        require_state(&row, id, &["active"])?;
    }
    create::insert(&scopes, &given)
}

fn caliber_scope_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(SCOPE, id)
}

fn caliber_scope_get_many(call: &Call<'_>, ids: Value<'_>) -> CaliberResult<SetDone> {
    get_many(call, SCOPE, ids)
}

fn caliber_scope_get_current(
    _: &Call<'_>,
    trajectory_id: Option<Uuid>,
) -> CaliberResult<Option<Composite>> {
    let Some(trajectory_id) = trajectory_id else {
        return Ok(None);
    };
    let table = open(SCOPE, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    let conditions = [equal(Value::uuid(trajectory_id))];
    let mut scan =
        table.scan(path::ACTIVE_BY_TRAJECTORY, &conditions, Order::Descending, &snapshot)?;
    while let Some(slot) = scan.next() {
        if slot.get(table.attno(column::IS_ACTIVE)).as_bool() == Some(true) {
            return scan.into_row().to_composite().map(Some);
        }
    }
    Ok(None)
}

fn caliber_scope_list_by_trajectory(
    call: &Call<'_>,
    trajectory_id: Value<'_>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let value = [("trajectory_id", trajectory_id)];
    list::by_path(call, SCOPE, path::BY_TRAJECTORY, &value, max_rows, after)
}

fn caliber_scope_update_tokens(
    _: &Call<'_>,
    id: Option<Uuid>,
    tokens_used: Value<'_>,
    fence: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    let tables = ScopeTables::open(fence)?;
    let lock = |id, snapshot: &_| tables.lock_scope(id, fence, snapshot);
    mutate(&tables.scopes, id, None, lock, |_, given| {
        given.set(column::TOKENS_USED, tokens_used);
        Ok(())
    })
}

fn caliber_scope_update(
    _: &Call<'_>,
    id: Option<Uuid>,
    changes: Option<Json>,
    expected_version: Option<i64>,
    fence: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    let tables = ScopeTables::open(fence)?;
    let changes = parse_changes(&tables.scopes, UPDATABLE, changes)?;
    let lock = |id, snapshot: &_| tables.lock_scope(id, fence, snapshot);
    mutate(&tables.scopes, id, expected_version, lock, |_, given| {
        given.extend(&changes);
        Ok(())
    })
}

fn caliber_scope_close(
    _: &Call<'_>,
    id: Option<Uuid>,
    expected_version: Option<i64>,
    fence: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    let tables = ScopeTables::open(fence)?;
    let lock = |id, snapshot: &_| tables.lock_scope(id, fence, snapshot);
    mutate(&tables.scopes, id, expected_version, lock, |row, given| {
        require_active(row)?;
        given
            .set(column::IS_ACTIVE, Value::bool(false))
            .set(column::CLOSED_AT, Value::transaction_timestamp());
        Ok(())
    })
}

/// Refuses a closed scope.
///
/// # Errors
/// 55000
pub fn require_active(row: &Row<'_>) -> CaliberResult<()> {
    if row.get(column::IS_ACTIVE).as_bool() == Some(true) {
        return Ok(());
    }
    Err(CaliberError::WrongState {
        entity: SCOPE.name,
        id: row.get(column::SCOPE_ID).as_uuid().unwrap_or_default(),
        state: "closed",
        needed: "active".to_owned(),
    })
}
