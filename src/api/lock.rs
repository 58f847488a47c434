//! Lock: a lease with a fencing token.
//!
//! A lease holds while its `expires_at` is in the future by the database's clock, whatever becomes
//! of the connection that took it. Who takes or extends a lease on a resource holds the advisory
//! lock of that resource until the transaction ends, so two of them never decide at once; live
//! leases are read as they are now, at every isolation level.

use super::fences::{may_take_fence, next_fence};
use super::update::{unknown, write};
use super::{create, get, open, required};
use crate::entity::LOCK;
use crate::entity::lock::{column, path};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, SetDone, SetOf, Text};
use caliber_am::model::ColumnSet;
use caliber_am::pg::advisory::Advisory;
use caliber_am::pg::clock::{self, Interval};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::event::Event;
use caliber_am::table::lock::RowLock;
use caliber_am::table::lookup::{Order, at_most, equal};
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::{Given, Writer};
use caliber_am::table::{Access, Table};
use pgrx::pg_sys;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_lock_acquire,
    caliber_lock_extend,
    caliber_lock_release,
    caliber_lock_get,
    caliber_lock_check,
    caliber_lock_list_by_resource,
    caliber_lock_reap,
);

/// How many expired leases a resource keeps for its former holders to look at; acquiring removes
/// the older ones, so that a resource stays cheap that nobody reaps.
const KEPT_EXPIRED: usize = 8;

/// The first and the longest pause between two looks at a busy resource, in milliseconds.
const PAUSES: (i64, i64) = (2, 100);

/// What a lease is on.
#[derive(Clone)]
struct Resource {
    kind: String,
    id: Uuid,
}

impl Resource {
    fn from_arguments(kind: Option<Text>, id: Option<Uuid>) -> CaliberResult<Self> {
        Ok(Self { kind: required("resource_type", kind)?.0, id: required("resource_id", id)? })
    }

    fn of(row: &Row<'_>) -> Self {
        Self {
            kind: row.get(column::RESOURCE_TYPE).as_text().unwrap_or_default(),
            id: row.get(column::RESOURCE_ID).as_uuid().unwrap_or_default(),
        }
    }

    /// The advisory lock of this resource in this table.
    fn advisory(&self, locks: &Table) -> Advisory {
        let mut name = locks.rel().oid().to_u32().to_ne_bytes().to_vec();
        name.extend(self.id.as_bytes());
        name.extend(self.kind.as_bytes());
        Advisory::of(&name)
    }

    /// The leases on it that the snapshot sees, expired ones too, by rising fence.
    fn leases(&self, locks: &Table, snapshot: &ActiveSnapshot) -> CaliberResult<Vec<Lease>> {
        let conditions = [equal(Value::text(&self.kind)?), equal(Value::uuid(self.id))];
        let mut scan = locks.scan(path::BY_RESOURCE, &conditions, Order::Ascending, snapshot)?;
        let mut leases = Vec::new();
        while let Some(slot) = scan.next() {
            let get = |position| slot.get(locks.attno(position));
            leases.push(Lease {
                id: get(column::LOCK_ID).as_uuid().unwrap_or_default(),
                holder: get(column::HOLDER_AGENT_ID).as_uuid().unwrap_or_default(),
                mode: get(column::MODE).as_oid(),
                fence: get(column::FENCE).as_i64().unwrap_or(0),
                expires_at: get(column::EXPIRES_AT).as_i64().unwrap_or(i64::MIN),
            });
        }
        leases.sort_by_key(|lease| lease.fence);
        Ok(leases)
    }
}

/// One lease, as it was read.
struct Lease {
    id: Uuid,
    holder: Uuid,
    mode: Option<pg_sys::Oid>,
    fence: i64,
    expires_at: i64,
}

/// A wish for a lease.
struct Request<'v> {
    agent: Uuid,
    resource: Resource,
    ttl: Interval,
    mode: Value<'v>,
}

/// What became of one attempt.
enum Attempt {
    /// The lease is taken; `None` when a BEFORE trigger left it out.
    Taken(Option<Composite>),
    /// Others hold the resource, until this time at the earliest.
    Busy { until: i64 },
}

fn caliber_lock_acquire(
    _: &Call<'_>,
    agent_id: Option<Uuid>,
    resource_type: Option<Text>,
    resource_id: Option<Uuid>,
    ttl: Option<Interval>,
    mode: Value<'_>,
    wait: Option<Interval>,
) -> CaliberResult<Option<Composite>> {
    may_take_fence()?;
    let locks = open(LOCK, Access::ALL)?;
    required("mode", mode.as_oid())?;
    let request = Request {
        agent: required("agent_id", agent_id)?,
        resource: Resource::from_arguments(resource_type, resource_id)?,
        ttl: required("ttl", ttl)?.positive("ttl")?,
        mode,
    };
    let deadline = required("wait", wait)?.not_negative("wait")?.after(clock::now());
    let advisory = request.resource.advisory(&locks);
    let mut pause = PAUSES.0;
    loop {
        let mut until = deadline;
        if advisory.try_lock() {
            match request.attempt(&locks)? {
                Attempt::Taken(lease) => return Ok(lease),
                Attempt::Busy { until: free_at } => {
                    advisory.unlock();
                    until = until.min(free_at);
                }
            }
        }
        let now = clock::now();
        if now >= deadline {
            return Ok(None);
        }
        let milliseconds = until.saturating_sub(now) / 1000 + 1;
        clock::sleep(milliseconds.clamp(1, pause));
        pause = (pause * 2).min(PAUSES.1);
    }
}

impl Request<'_> {
    /// Takes the lease unless others hold the resource. The caller has the advisory lock.
    fn attempt(&self, locks: &Table) -> CaliberResult<Attempt> {
        let exclusive = locks.enum_value(column::MODE, "exclusive")?.as_oid();
        let mode = self.mode.as_oid();
        let snapshot = ActiveSnapshot::latest();
        let leases = self.resource.leases(locks, &snapshot)?;
        // The clock is read after the leases: one that another transaction extended before it
        // gave the advisory lock back is seen with its new end.
        let now = clock::now();
        let in_the_way = leases.iter().filter(|lease| {
            lease.holder != self.agent
                && lease.expires_at > now
                && (mode == exclusive || lease.mode == exclusive)
        });
        if let Some(until) = in_the_way.map(|lease| lease.expires_at).min() {
            return Ok(Attempt::Busy { until });
        }
        let expired: Vec<Uuid> = leases
            .iter()
            .filter(|lease| lease.expires_at <= now && lease.holder != self.agent)
            .map(|lease| lease.id)
            .collect();
        let superfluous = expired.len().saturating_sub(KEPT_EXPIRED);
        delete_expired(locks, &expired[..superfluous])?;
        let (own, of_other_mode): (Vec<_>, Vec<_>) = leases
            .iter()
            .filter(|lease| lease.holder == self.agent)
            .partition(|lease| lease.mode == mode);
        for lease in of_other_mode {
            delete(locks, lease.id)?;
        }
        let mut given = Given::new();
        given
            .set(column::FENCE, Value::int8(next_fence()?))
            .set(column::ACQUIRED_AT, Value::int8(now))
            .set(column::EXPIRES_AT, Value::int8(self.ttl.after(now)));
        let snapshot = ActiveSnapshot::latest();
        let own = match own.last() {
            Some(lease) => locks.lock_by_id(lease.id, RowLock::NoKeyUpdate, &snapshot)?,
            None => None,
        };
        if let Some(row) = own {
            return Ok(Attempt::Taken(write(locks, &row, &given)?));
        }
        given
            .set(column::RESOURCE_TYPE, Value::text(&self.resource.kind)?)
            .set(column::RESOURCE_ID, Value::uuid(self.resource.id))
            .set(column::HOLDER_AGENT_ID, Value::uuid(self.agent))
            .set(column::MODE, self.mode);
        Ok(Attempt::Taken(create::insert_row(locks, &given)?))
    }
}

/// Deletes a lease that this transaction may delete; false when it is gone.
fn delete(locks: &Table, id: Uuid) -> CaliberResult<bool> {
    let snapshot = ActiveSnapshot::latest();
    let Some(row) = locks.lock_by_id(id, RowLock::Update, &snapshot)? else {
        return Ok(false);
    };
    let mut writer = Writer::begin(locks, Event::Delete, ColumnSet::EMPTY);
    let deleted = writer.delete(&row)?;
    writer.finish();
    Ok(deleted)
}

/// Deletes those of the leases that are still expired; how many. What somebody else is just
/// working on is left to him.
fn delete_expired(locks: &Table, ids: &[Uuid]) -> CaliberResult<i64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let snapshot = ActiveSnapshot::latest();
    let mut writer = Writer::begin(locks, Event::Delete, ColumnSet::EMPTY);
    let mut deleted = 0;
    for &id in ids {
        let Some(row) = locks.get(id, &snapshot)? else { continue };
        let Some(row) = locks.lock_row_or_skip(row, RowLock::Update, &snapshot)? else {
            continue;
        };
        if is_over(&row) && writer.delete(&row)? {
            deleted += 1;
        }
    }
    writer.finish();
    Ok(deleted)
}

fn is_over(row: &Row<'_>) -> bool {
    row.get(column::EXPIRES_AT).as_i64().is_none_or(|expires_at| expires_at <= clock::now())
}

/// Refuses a fence that is not the lease's current one.
fn check_fence(row: &Row<'_>, id: Uuid, fence: i64) -> CaliberResult<()> {
    let current = row.get(column::FENCE).as_i64().unwrap_or(0);
    if fence == current {
        return Ok(());
    }
    Err(CaliberError::FenceStale { entity: LOCK.name, id, fence, current })
}

/// The resource's advisory lock comes first: while the lease is being extended nobody may find it
/// expired and take the resource.
fn caliber_lock_extend(
    _: &Call<'_>,
    lock_id: Option<Uuid>,
    fence: Option<i64>,
    ttl: Option<Interval>,
) -> CaliberResult<Option<Composite>> {
    let locks = open(LOCK, Access::UPDATE)?;
    let id = required("lock_id", lock_id)?;
    let fence = required("fence", fence)?;
    let ttl = required("ttl", ttl)?.positive("ttl")?;
    let snapshot = ActiveSnapshot::latest();
    let seen = locks.get(id, &snapshot)?.ok_or_else(|| unknown(&locks, id))?;
    Resource::of(&seen).advisory(&locks).lock();
    let snapshot = ActiveSnapshot::latest();
    let row = locks
        .lock_by_id(id, RowLock::NoKeyUpdate, &snapshot)?
        .ok_or_else(|| unknown(&locks, id))?;
    check_fence(&row, id, fence)?;
    if is_over(&row) {
        return Err(CaliberError::LeaseOver { entity: LOCK.name, id, fence });
    }
    let mut changes = Given::new();
    changes.set(column::EXPIRES_AT, Value::int8(ttl.after(clock::now())));
    write(&locks, &row, &changes)
}

fn caliber_lock_release(
    _: &Call<'_>,
    lock_id: Option<Uuid>,
    fence: Option<i64>,
) -> CaliberResult<bool> {
    let locks = open(LOCK, Access::DELETE)?;
    let id = required("lock_id", lock_id)?;
    let fence = required("fence", fence)?;
    let snapshot = ActiveSnapshot::latest();
    let Some(row) = locks.lock_by_id(id, RowLock::Update, &snapshot)? else {
        return Ok(false);
    };
    check_fence(&row, id, fence)?;
    let mut writer = Writer::begin(&locks, Event::Delete, ColumnSet::EMPTY);
    let deleted = writer.delete(&row)?;
    writer.finish();
    Ok(deleted)
}

fn caliber_lock_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(LOCK, id)
}

fn caliber_lock_check(
    call: &Call<'_>,
    resource_type: Option<Text>,
    resource_id: Option<Uuid>,
) -> CaliberResult<SetDone> {
    put_leases(call, resource_type, resource_id, |lease| lease.expires_at > clock::now())
}

fn caliber_lock_list_by_resource(
    call: &Call<'_>,
    resource_type: Option<Text>,
    resource_id: Option<Uuid>,
) -> CaliberResult<SetDone> {
    put_leases(call, resource_type, resource_id, |_| true)
}

/// Answers with the leases on a resource, by rising fence.
fn put_leases(
    call: &Call<'_>,
    resource_type: Option<Text>,
    resource_id: Option<Uuid>,
    keep: impl Fn(&Lease) -> bool,
) -> CaliberResult<SetDone> {
    let resource = Resource::from_arguments(resource_type, resource_id)?;
    let locks = open(LOCK, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    let mut answer = call.result_set(SetOf::Rows);
    for lease in resource.leases(&locks, &snapshot)?.iter().filter(|lease| keep(lease)) {
        if let Some(row) = locks.get(lease.id, &snapshot)? {
            answer.put_row(&locks, row.slot());
        }
    }
    Ok(SetDone)
}

fn caliber_lock_reap(_: &Call<'_>) -> CaliberResult<i64> {
    let locks = open(LOCK, Access::DELETE)?;
    let snapshot = ActiveSnapshot::latest();
    let conditions = [at_most(Value::int8(clock::now()))];
    let mut scan = locks.scan(path::BY_EXPIRY, &conditions, Order::Ascending, &snapshot)?;
    let mut expired = Vec::new();
    while let Some(slot) = scan.next() {
        expired.extend(slot.get(locks.attno(column::LOCK_ID)).as_uuid());
    }
    drop(scan);
    delete_expired(&locks, &expired)
}
