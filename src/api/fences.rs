//! Fenced writes: a worker that lost its lease cannot write, whatever it believes.
//!
//! What counts is the larger of the scope's and its trajectory's remembered fence. The
//! trajectory's row is locked before the scope's, always, so that two writers never wait for each
//! other.

use super::update::{Locked, unknown};
use super::{may_open, open, settings};
use crate::entity::{self, LOCK, SCOPE, TRAJECTORY};
use crate::fence::{self, Decision};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::model::{ColumnSet, Entity};
use caliber_am::pg::clock;
use caliber_am::pg::sequence;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::event::Event;
use caliber_am::table::lock::RowLock;
use caliber_am::table::lookup::{Order, equal};
use caliber_am::table::row::Row;
use caliber_am::table::writer::{Given, Writer};
use caliber_am::table::{Access, Table};
use std::ffi::CStr;
use uuid::Uuid;

/// The tables behind a write to a scope: its own and its trajectory's.
pub struct ScopeTables {
    /// caliber_scope
    pub scopes: Table,
    /// caliber_trajectory
    pub trajectories: Table,
}

impl ScopeTables {
    /// Opens both for a write that changes a scope row, with the fence that the writer gives.
    ///
    /// # Errors
    /// Those of [`Table::open`].
    pub fn open(fence: Option<i64>) -> CaliberResult<Self> {
        may_open(&[(TRAJECTORY, trajectory_access(fence)), (SCOPE, Access::UPDATE)])?;
        Ok(Self { trajectories: open_trajectories(fence)?, scopes: open(SCOPE, Access::UPDATE)? })
    }

    /// Locks the scope for an update, its trajectory first, and checks the fence. The scope's own
    /// new fence, where there is one, is among the changes that the caller writes. `None`: there
    /// is no such scope.
    ///
    /// # Errors
    /// 55006 when the fence is missing, stale or unknown.
    pub fn lock_scope(
        &self,
        id: Uuid,
        fence: Option<i64>,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<Option<Locked<'_, 'static>>> {
        use entity::scope::column as scope;
        let Some(seen) = self.scopes.get(id, snapshot)? else {
            return Ok(None);
        };
        let Some(trajectory_id) = seen.get(scope::TRAJECTORY_ID).as_uuid() else {
            return Ok(None);
        };
        let seen_fence = seen.get(scope::FENCE).as_i64().unwrap_or(0);
        let trajectory =
            FencedTrajectory::lock(&self.trajectories, trajectory_id, fence, seen_fence, snapshot)?;
        let Some(mut row) = self.scopes.lock_row(seen, RowLock::NoKeyUpdate, snapshot)? else {
            return Ok(None);
        };
        let own = row.get(scope::FENCE).as_i64().unwrap_or(0);
        let mut changes = Given::new();
        match fence::check(fence, Some(own), trajectory.remembered())? {
            Decision::Pass => {}
            Decision::Missing { current } => {
                return Err(CaliberError::FenceMissing { entity: "scope", id, current });
            }
            Decision::Stale { current } => {
                return Err(stale(SCOPE, id, fence, current));
            }
            Decision::Prove { current } => {
                if is_live_lease("scope", id, fence)? {
                    changes.set(scope::FENCE, fence.map_or(Value::NULL, Value::int8));
                } else if is_live_lease("trajectory", trajectory_id, fence)? {
                    trajectory.remember(fence)?;
                    // A trigger on the trajectories may have written the scope.
                    let snapshot = ActiveSnapshot::for_write();
                    let now = self.scopes.lock_by_id(id, RowLock::NoKeyUpdate, &snapshot)?;
                    row = now.ok_or_else(|| unknown(&self.scopes, id))?;
                } else {
                    return Err(unproved(SCOPE, id, fence, current));
                }
            }
        }
        Ok(Some((row, changes)))
    }
}

/// Opens the trajectories for a write below them: their rows are locked, and changed where they
/// remember the fence given.
///
/// # Errors
/// Those of [`Table::open`].
pub fn open_trajectories(fence: Option<i64>) -> CaliberResult<Table> {
    open(TRAJECTORY, trajectory_access(fence))
}

/// How they are opened.
pub const fn trajectory_access(fence: Option<i64>) -> Access {
    if fence.is_some() { Access::UPDATE } else { Access::LOCK }
}

/// A trajectory's row, locked against other fences while something below it is written.
pub struct FencedTrajectory<'t> {
    table: &'t Table,
    row: Option<Row<'t>>,
}

impl<'t> FencedTrajectory<'t> {
    /// Locks the row `FOR SHARE`, or for an update where the fence given will be remembered by it.
    /// A trajectory that does not exist is left to the foreign keys.
    ///
    /// # Errors
    /// Those of [`Table::lock_by_id`].
    fn lock(
        table: &'t Table,
        id: Uuid,
        fence: Option<i64>,
        scope_fence: i64,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<Self> {
        let Some(seen) = table.get(id, snapshot)? else {
            return Ok(Self { table, row: None });
        };
        let current = seen.get(entity::trajectory::column::FENCE).as_i64().unwrap_or(0);
        let will_remember = match fence {
            Some(given) if given > current.max(scope_fence) => {
                is_live_lease("trajectory", id, fence)?
            }
            _ => false,
        };
        let lock = if will_remember { RowLock::NoKeyUpdate } else { RowLock::Share };
        Ok(Self { table, row: table.lock_row(seen, lock, snapshot)? })
    }

    /// As [`FencedTrajectory::lock`], and checks the fence against the trajectory's own.
    ///
    /// # Errors
    /// 55006 when the fence is missing, stale or unknown.
    pub fn lock_and_check(
        table: &'t Table,
        id: Uuid,
        fence: Option<i64>,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<Option<Row<'t>>> {
        let trajectory = Self::lock(table, id, fence, 0, snapshot)?;
        let Some(row) = &trajectory.row else {
            return Ok(None);
        };
        if new_fence(row, id, fence)?.is_some() {
            trajectory.remember(fence)?;
            // The row was just changed by this very transaction: read it as it is now.
            let snapshot = ActiveSnapshot::for_write();
            return table.lock_by_id(id, RowLock::Share, &snapshot);
        }
        Ok(trajectory.row)
    }

    fn remembered(&self) -> i64 {
        let fence = |row: &Row<'_>| row.get(entity::trajectory::column::FENCE).as_i64();
        self.row.as_ref().and_then(fence).unwrap_or(0)
    }

    /// Remembers a higher fence in the trajectory's row.
    fn remember(&self, fence: Option<i64>) -> CaliberResult<()> {
        let (Some(row), Some(fence)) = (&self.row, fence) else {
            return Ok(());
        };
        let id = row.get(0).as_uuid().unwrap_or_default();
        let snapshot = ActiveSnapshot::for_write();
        let locked = self.table.lock_by_id(id, RowLock::NoKeyUpdate, &snapshot)?;
        let row = locked.ok_or_else(|| unknown(self.table, id))?;
        let mut changes = Given::new();
        changes.set(entity::trajectory::column::FENCE, Value::int8(fence));
        let mut writer = Writer::begin(
            self.table,
            Event::Update,
            ColumnSet::of(&[entity::trajectory::column::FENCE]),
        );
        writer.update(&row, &changes)?;
        writer.finish();
        Ok(())
    }
}

/// The fence that a locked trajectory has to remember for a write to itself; `None` when the one
/// given is the current one, or none was ever used.
///
/// # Errors
/// 55006 when the fence is missing, stale or unknown.
pub fn new_fence(row: &Row<'_>, id: Uuid, fence: Option<i64>) -> CaliberResult<Option<i64>> {
    let entity = TRAJECTORY.name;
    let own = row.get(entity::trajectory::column::FENCE).as_i64().unwrap_or(0);
    match fence::check(fence, None, own)? {
        Decision::Pass => Ok(None),
        Decision::Missing { current } => Err(CaliberError::FenceMissing { entity, id, current }),
        Decision::Stale { current } => Err(stale(TRAJECTORY, id, fence, current)),
        Decision::Prove { current } => {
            if is_live_lease(entity, id, fence)? {
                Ok(fence)
            } else {
                Err(unproved(TRAJECTORY, id, fence, current))
            }
        }
    }
}

fn stale(entity: &Entity, id: Uuid, fence: Option<i64>, current: i64) -> CaliberError {
    CaliberError::FenceStale { entity: entity.name, id, fence: fence.unwrap_or(0), current }
}

fn unproved(entity: &Entity, id: Uuid, fence: Option<i64>, current: i64) -> CaliberError {
    CaliberError::FenceUnknown { entity: entity.name, id, fence: fence.unwrap_or(0), current }
}

/// Whether the fence is that of a lease on the resource which holds now, by the database's clock.
fn is_live_lease(
    resource_type: &str,
    resource_id: Uuid,
    fence: Option<i64>,
) -> CaliberResult<bool> {
    use entity::lock::column as lock;
    let locks = Table::open(&settings::schema(), LOCK, Access::READ)?;
    let snapshot = ActiveSnapshot::latest();
    let conditions = [equal(Value::text(resource_type)?), equal(Value::uuid(resource_id))];
    let mut scan =
        locks.scan(entity::lock::path::BY_RESOURCE, &conditions, Order::Ascending, &snapshot)?;
    let now = clock::now();
    while let Some(slot) = scan.next() {
        let column = |position| slot.get(locks.attno(position)).as_i64();
        if column(lock::FENCE) == fence
            && column(lock::EXPIRES_AT).is_some_and(|expires_at| expires_at > now)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The sequence that fences come from, beside the lock table.
const SEQUENCE: (&CStr, &str) = (c"caliber_fence", "caliber_fence");

fn no_sequence(schema: &CStr) -> CaliberError {
    CaliberError::TableMissing { schema: schema.to_string_lossy().into_owned(), table: SEQUENCE.1 }
}

/// Refuses who may not take a new fence, before anything is locked.
///
/// # Errors
/// 42501; 42P01 when the sequence is missing.
pub fn may_take_fence() -> CaliberResult<()> {
    let schema = settings::schema();
    sequence::may_take(&schema, SEQUENCE.0).ok_or_else(|| no_sequence(&schema))
}

/// A new fence, higher than every one before.
///
/// # Errors
/// 42501; 42P01 when the sequence is missing.
pub fn next_fence() -> CaliberResult<i64> {
    let schema = settings::schema();
    sequence::next(&schema, SEQUENCE.0).ok_or_else(|| no_sequence(&schema))
}
