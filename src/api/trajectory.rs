//! Trajectory: a task.

use super::fences::new_fence;
use super::update::{Locked, mutate, mutate_alone, parse_changes, unknown};
use super::{create, get, get_many, list, may_open, open, required};
use crate::entity::trajectory::{column, path};
use crate::entity::{SCOPE, TRAJECTORY, TURN};
use crate::entity::{scope, turn};
use crate::ids;
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, Json, SetDone};
use caliber_am::model::{ColumnSet, Path};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::event::Event;
use caliber_am::table::lock::RowLock;
use caliber_am::table::lookup::{Order, equal};
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::{Given, Writer};
use caliber_am::table::{Access, Table};
use std::collections::HashSet;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_trajectory_create,
    caliber_trajectory_get,
    caliber_trajectory_get_many,
    caliber_trajectory_update,
    caliber_trajectory_set_status,
    caliber_trajectory_list_by_status,
    caliber_trajectory_list_children,
    caliber_trajectory_delete,
);

const UPDATABLE: &[&str] = &["name", "description", "agent_id", "outcome", "metadata"];

fn caliber_trajectory_create(
    _: &Call<'_>,
    name: Value<'_>,
    description: Value<'_>,
    agent_id: Value<'_>,
    parent_trajectory_id: Option<Uuid>,
    metadata: Value<'_>,
    trajectory_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    let table = open(TRAJECTORY, Access::INSERT)?;
    let snapshot = ActiveSnapshot::for_write();
    let mut given = Given::new();
    given
        .set(column::NAME, name)
        .set_unless_null(column::DESCRIPTION, description)
        .set_unless_null(column::AGENT_ID, agent_id)
        .set_unless_null(column::METADATA, metadata);
    if let Some(parent) = parent_trajectory_id {
        given.set(column::PARENT_TRAJECTORY_ID, Value::uuid(parent));
    }
    if create::exists_alike(&table, trajectory_id, &given, &snapshot)? {
        return Ok(trajectory_id);
    }
    insert(&table, trajectory_id, parent_trajectory_id, given, &snapshot)
}

/// Inserts a trajectory at its place in the tree.
fn insert(
    table: &Table,
    id: Option<Uuid>,
    parent: Option<Uuid>,
    mut given: Given<'_>,
    snapshot: &ActiveSnapshot,
) -> CaliberResult<Option<Uuid>> {
    let id = id.unwrap_or_else(ids::new_id);
    if parent == Some(id) {
        let reason = "A trajectory cannot be its own parent.";
        return Err(CaliberError::argument("parent_trajectory_id", reason));
    }
    let root = root_for(table, id, parent, snapshot)?;
    given
        .set(column::TRAJECTORY_ID, Value::uuid(id))
        .set(column::ROOT_TRAJECTORY_ID, Value::uuid(root));
    create::insert(table, &given)
}

/// Creates a trajectory below another one, for an agent.
///
/// # Errors
/// Those of the insert.
pub fn create_child(name: &str, agent: Uuid, parent: Uuid) -> CaliberResult<Option<Uuid>> {
    let table = open(TRAJECTORY, Access::INSERT)?;
    let snapshot = ActiveSnapshot::for_write();
    let mut given = Given::new();
    given
        .set(column::NAME, Value::text(name)?)
        .set(column::AGENT_ID, Value::uuid(agent))
        .set(column::PARENT_TRAJECTORY_ID, Value::uuid(parent));
    insert(&table, None, Some(parent), given, &snapshot)
}

/// The root of a new trajectory: its parent's, or itself. An unknown parent is left to the
/// foreign key.
///
/// The foreign keys would lock the parent before the root; a deletion locks from the top down, so
/// the root is locked first here, as strongly as the keys will.
fn root_for(
    table: &Table,
    id: Uuid,
    parent: Option<Uuid>,
    snapshot: &ActiveSnapshot,
) -> CaliberResult<Uuid> {
    let Some(parent) = parent else { return Ok(id) };
    Ok(lock_root(table, parent, snapshot)?.unwrap_or(id))
}

/// Locks the root of a trajectory's tree as its foreign keys do; `None` for an unknown trajectory.
fn lock_root(table: &Table, id: Uuid, snapshot: &ActiveSnapshot) -> CaliberResult<Option<Uuid>> {
    let row = table.get(id, snapshot)?;
    let root = row.and_then(|row| row.get(column::ROOT_TRAJECTORY_ID).as_uuid());
    if let Some(root) = root {
        table.lock_by_id(root, RowLock::KeyShare, snapshot)?;
    }
    Ok(root)
}

/// Locks a trajectory and the root above it as a child's foreign keys will, from the top down.
///
/// # Errors
/// Those of the locks.
pub fn lock_with_root(id: Uuid, snapshot: &ActiveSnapshot) -> CaliberResult<()> {
    let table = open(TRAJECTORY, Access::LOCK)?;
    lock_root(&table, id, snapshot)?;
    table.lock_by_id(id, RowLock::KeyShare, snapshot)?;
    Ok(())
}

/// A trajectory that must be a child of another one.
///
/// # Errors
/// P0002 for an unknown one, 55000 for one elsewhere in the tree.
pub fn require_child(id: Uuid, parent: Uuid) -> CaliberResult<Uuid> {
    let table = open(TRAJECTORY, Access::READ)?;
    let snapshot = ActiveSnapshot::latest();
    let row = table.get(id, &snapshot)?.ok_or_else(|| unknown(&table, id))?;
    if row.get(column::PARENT_TRAJECTORY_ID).as_uuid() == Some(parent) {
        return Ok(id);
    }
    Err(CaliberError::NotAChild { id, parent })
}

fn caliber_trajectory_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(TRAJECTORY, id)
}

fn caliber_trajectory_get_many(call: &Call<'_>, ids: Value<'_>) -> CaliberResult<SetDone> {
    get_many(call, TRAJECTORY, ids)
}

fn caliber_trajectory_update(
    _: &Call<'_>,
    id: Option<Uuid>,
    changes: Option<Json>,
    expected_version: Option<i64>,
    fence: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    let table = open(TRAJECTORY, Access::UPDATE)?;
    let changes = parse_changes(&table, UPDATABLE, changes)?;
    mutate_fenced(&table, id, expected_version, fence, |_, given| {
        given.extend(&changes);
        Ok(())
    })
}

fn caliber_trajectory_set_status(
    _: &Call<'_>,
    id: Option<Uuid>,
    status: Value<'_>,
    outcome: Value<'_>,
    expected_version: Option<i64>,
    fence: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    let table = open(TRAJECTORY, Access::UPDATE)?;
    let status_oid = required("status", status.as_oid())?;
    mutate_fenced(&table, id, expected_version, fence, |row, given| {
        given.set_unless_null(column::OUTCOME, outcome);
        if row.get(column::STATUS).as_oid() != Some(status_oid) {
            given.set(column::STATUS, status);
            let (state, _) = status.to_raw();
            let state = table.shape().state_of(TRAJECTORY.columns[column::STATUS].ty, state);
            let completes = state.is_some_and(|state| TRAJECTORY.states[state].is_final());
            let completed_at = if completes { Value::transaction_timestamp() } else { Value::NULL };
            given.set(column::COMPLETED_AT, completed_at);
        }
        Ok(())
    })
}

/// A mutation of a trajectory by a writer who gives this fence. Without one it depends on nothing
/// but the row; a new one has to be proved while the row is locked.
fn mutate_fenced<'v>(
    table: &Table,
    id: Option<Uuid>,
    expected_version: Option<i64>,
    fence: Option<i64>,
    change: impl Fn(&Row<'_>, &mut Given<'v>) -> CaliberResult<()>,
) -> CaliberResult<Option<Composite>> {
    if fence.is_some() {
        let lock = |id, snapshot: &_| lock(table, id, fence, snapshot);
        return mutate(table, id, expected_version, lock, change);
    }
    mutate_alone(table, id, expected_version, |row, given| {
        new_fence(row, row.get(0).as_uuid().unwrap_or_default(), None)?;
        change(row, given)
    })
}

/// Locks the trajectory and checks the fence; a new one is among the changes.
fn lock<'t>(
    table: &'t Table,
    id: Uuid,
    fence: Option<i64>,
    snapshot: &ActiveSnapshot,
) -> CaliberResult<Option<Locked<'t, 'static>>> {
    let Some(row) = table.lock_by_id(id, RowLock::NoKeyUpdate, snapshot)? else {
        return Ok(None);
    };
    let mut changes = Given::new();
    if let Some(fence) = new_fence(&row, id, fence)? {
        changes.set(column::FENCE, Value::int8(fence));
    }
    Ok(Some((row, changes)))
}

fn caliber_trajectory_list_by_status(
    call: &Call<'_>,
    status: Value<'_>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    list::by_path(call, TRAJECTORY, path::BY_STATUS, &[("status", status)], max_rows, after)
}

fn caliber_trajectory_list_children(
    call: &Call<'_>,
    id: Value<'_>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    list::by_path(call, TRAJECTORY, path::BY_PARENT, &[("id", id)], max_rows, after)
}

/// Deletes the trajectory and the tree below it, leaves first, so that each row is deleted once
/// and counted. What refers to these rows from other entities follows by its foreign keys.
///
/// All trajectories are locked before the first scope, from the top down, as every writer below
/// them locks; a locked row gets no new children, so what is found below it is all there is. Rows
/// that one INSERT makes each other's parents hang below each other; each is taken once.
fn caliber_trajectory_delete(
    _: &Call<'_>,
    id: Option<Uuid>,
    fence: Option<i64>,
) -> CaliberResult<i64> {
    may_open(&[(TRAJECTORY, Access::DELETE), (SCOPE, Access::DELETE), (TURN, Access::DELETE)])?;
    let trajectories = open(TRAJECTORY, Access::DELETE)?;
    let scopes = open(SCOPE, Access::DELETE)?;
    let turns = open(TURN, Access::DELETE)?;
    let id = required("id", id)?;
    let snapshot = ActiveSnapshot::for_write();
    let root = trajectories
        .lock_by_id(id, RowLock::Update, &snapshot)?
        .ok_or_else(|| unknown(&trajectories, id))?;
    new_fence(&root, id, fence)?;
    let mut tree = vec![id];
    let mut taken = HashSet::from([id]);
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        let below = lock_below(&trajectories, path::BY_PARENT, parent)?;
        tree.extend(below.into_iter().filter(|&child| taken.insert(child)));
        next += 1;
    }
    let mut scope_ids = Vec::new();
    for &trajectory in &tree {
        scope_ids.extend(lock_below(&scopes, scope::path::BY_TRAJECTORY, trajectory)?);
    }
    let mut turn_ids = Vec::new();
    for &scope in &scope_ids {
        turn_ids.extend(ids_below(&turns, turn::path::BY_SCOPE, scope)?);
    }
    tree.reverse();
    Ok(delete_all(&turns, &turn_ids)?
        + delete_all(&scopes, &scope_ids)?
        + delete_all(&trajectories, &tree)?)
}

/// The keys of the rows whose first path column is `parent`, as they are now.
fn ids_below(table: &Table, path: Path, parent: Uuid) -> CaliberResult<Vec<Uuid>> {
    let snapshot = ActiveSnapshot::for_write();
    let conditions = [equal(Value::uuid(parent))];
    let mut scan = table.scan(path, &conditions, Order::Ascending, &snapshot)?;
    let mut found = Vec::new();
    while let Some(slot) = scan.next() {
        found.extend(slot.get(table.attno(0)).as_uuid());
    }
    Ok(found)
}

/// As [`ids_below`], with the rows locked; those that are gone meanwhile are left out.
fn lock_below(table: &Table, path: Path, parent: Uuid) -> CaliberResult<Vec<Uuid>> {
    let mut locked = Vec::new();
    for id in ids_below(table, path, parent)? {
        let snapshot = ActiveSnapshot::for_write();
        if table.lock_by_id(id, RowLock::Update, &snapshot)?.is_some() {
            locked.push(id);
        }
    }
    Ok(locked)
}

/// Deletes these rows in one statement; those that are gone meanwhile do not count.
fn delete_all(table: &Table, ids: &[Uuid]) -> CaliberResult<i64> {
    let snapshot = ActiveSnapshot::for_write();
    let mut writer = Writer::begin(table, Event::Delete, ColumnSet::EMPTY);
    let mut deleted = 0;
    for &id in ids {
        if let Some(row) = table.lock_by_id(id, RowLock::Update, &snapshot)?
            && writer.delete(&row)?
        {
            deleted += 1;
        }
    }
    writer.finish();
    Ok(deleted)
}
