//! Handoff: the whole task changes hands.

use super::fences::{may_take_fence, next_fence};
use super::offer::HANDOFFS;
use super::send::{self, Receiver};
use super::update::{mutate, plainly, require_state, unknown, write_and};
use super::{create, get, may_open, open, required};
use crate::entity::handoff::column;
use crate::entity::trajectory::column as trajectory;
use crate::entity::{AGENT, HANDOFF, MESSAGE, TRAJECTORY};
use crate::json::{self, quoted};
use caliber_am::error::CaliberResult;
use caliber_am::fmgr::{Call, SetDone, SetOf, Text};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Access;
use caliber_am::table::lock::RowLock;
use caliber_am::table::row::Composite;
use caliber_am::table::writer::Given;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_handoff_create,
    caliber_handoff_get,
    caliber_handoff_accept,
    caliber_handoff_complete,
    caliber_handoff_reject,
    caliber_handoff_list_pending,
);

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_handoff_create(
    _: &Call<'_>,
    from_agent_id: Option<Uuid>,
    trajectory_id: Option<Uuid>,
    scope_id: Option<Uuid>,
    reason: Value<'_>,
    to_agent_id: Option<Uuid>,
    to_agent_type: Option<Text>,
    handoff_notes: Value<'_>,
    next_steps: Value<'_>,
    blockers: Value<'_>,
    open_questions: Value<'_>,
    context_snapshot_id: Value<'_>,
    metadata: Value<'_>,
    handoff_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    may_open(&[(HANDOFF, Access::INSERT), (TRAJECTORY, Access::LOCK), (MESSAGE, Access::INSERT)])?;
    let table = open(HANDOFF, Access::INSERT)?;
    let uuid = |id: Option<Uuid>| id.map_or(Value::NULL, Value::uuid);
    let mut given = Given::new();
    let receiver = HANDOFFS.receiver(&mut given, to_agent_id, to_agent_type)?;
    given
        .set(column::FROM_AGENT_ID, uuid(from_agent_id))
        .set(column::TRAJECTORY_ID, uuid(trajectory_id))
        .set(column::SCOPE_ID, uuid(scope_id))
        .set(column::REASON, reason)
        .set_unless_null(column::HANDOFF_NOTES, handoff_notes)
        .set_unless_null(column::NEXT_STEPS, next_steps)
        .set_unless_null(column::BLOCKERS, blockers)
        .set_unless_null(column::OPEN_QUESTIONS, open_questions)
        .set_unless_null(column::CONTEXT_SNAPSHOT_ID, context_snapshot_id)
        .set_unless_null(column::METADATA, metadata);
    let snapshot = ActiveSnapshot::for_write();
    if create::exists_alike(&table, handoff_id, &given, &snapshot)? {
        return Ok(handoff_id);
    }
    // Unknown and null ids are left to the constraints.
    if let Some(id) = trajectory_id {
        let table = open(TRAJECTORY, Access::LOCK)?;
        if let Some(row) = table.lock_by_id(id, RowLock::Share, &snapshot)? {
            require_state(&row, id, &["active", "suspended"])?;
        }
    }
    let id = create::insert(&table, &create::with_id(given, handoff_id))?;
    if let Some(id) = id {
        let reason = quoted(&reason.as_enum_label().unwrap_or_default());
        let place = (trajectory_id, scope_id);
        let about = json::payload(("handoff_id", id), &[("reason", reason)]);
        send::tell(from_agent_id, &receiver, "handoff", place, &about)?;
    }
    Ok(id)
}

fn caliber_handoff_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(HANDOFF, id)
}

/// The trajectory is locked before the handoff, as a deletion of the tree locks them.
fn caliber_handoff_accept(
    call: &Call<'_>,
    id: Option<Uuid>,
    agent_id: Option<Uuid>,
) -> CaliberResult<SetDone> {
    may_open(&[(HANDOFF, Access::UPDATE), (TRAJECTORY, Access::UPDATE), (AGENT, Access::READ)])?;
    may_take_fence()?;
    let handoffs = open(HANDOFF, Access::UPDATE)?;
    let trajectories = open(TRAJECTORY, Access::UPDATE)?;
    let agent = required("agent_id", agent_id)?;
    let mut answer = call.result_set(SetOf::Rows);
    let mut task = None;
    let lock = |id, snapshot: &ActiveSnapshot| {
        let Some(seen) = handoffs.get(id, snapshot)? else { return Ok(None) };
        if let Some(id) = seen.get(column::TRAJECTORY_ID).as_uuid() {
            let row = trajectories.lock_by_id(id, RowLock::NoKeyUpdate, snapshot)?;
            task = Some(row.ok_or_else(|| unknown(&trajectories, id))?);
        }
        let row = handoffs.lock_row(seen, RowLock::NoKeyUpdate, snapshot)?;
        Ok(row.map(|row| (row, Given::new())))
    };
    let accepted = mutate(&handoffs, id, None, lock, |row, given| {
        let id = row.get(column::HANDOFF_ID).as_uuid().unwrap_or_default();
        require_state(row, id, &[HANDOFFS.open])?;
        HANDOFFS.check_addressed(row, id, agent)?;
        given
            .set(column::STATUS, handoffs.enum_value(column::STATUS, "accepted")?)
            .set(column::TO_AGENT_ID, Value::uuid(agent))
            .set(column::ACCEPTED_AT, Value::transaction_timestamp());
        Ok(())
    })?;
    if let (Some(accepted), Some(task)) = (accepted, task) {
        let fence = next_fence()?;
        let mut changes = Given::new();
        changes
            .set(trajectory::AGENT_ID, Value::uuid(agent))
            .set(trajectory::FENCE, Value::int8(fence));
        write_and(&trajectories, &task, &changes, |_| Ok(()))?;
        answer.put(&[accepted.to_value(), Value::int8(fence)]);
    }
    Ok(SetDone)
}

fn caliber_handoff_complete(
    _: &Call<'_>,
    id: Option<Uuid>,
    agent_id: Option<Uuid>,
) -> CaliberResult<Option<Composite>> {
    let table = open(HANDOFF, Access::UPDATE)?;
    let agent = required("agent_id", agent_id)?;
    mutate(&table, id, None, plainly(&table), |row, given| {
        let id = row.get(column::HANDOFF_ID).as_uuid().unwrap_or_default();
        require_state(row, id, &["accepted"])?;
        HANDOFFS.check_taken_by(row, id, agent)?;
        given
            .set(column::STATUS, table.enum_value(column::STATUS, "completed")?)
            .set(column::COMPLETED_AT, Value::transaction_timestamp());
        Ok(())
    })
}

fn caliber_handoff_reject(
    _: &Call<'_>,
    id: Option<Uuid>,
    agent_id: Option<Uuid>,
    reason: Option<Text>,
) -> CaliberResult<Option<Composite>> {
    may_open(&[(HANDOFF, Access::UPDATE), (AGENT, Access::READ), (MESSAGE, Access::INSERT)])?;
    let table = open(HANDOFF, Access::UPDATE)?;
    let agent = required("agent_id", agent_id)?;
    let (mut from, mut place) = (None, (None, None));
    let rejected = mutate(&table, id, None, plainly(&table), |row, given| {
        let id = row.get(column::HANDOFF_ID).as_uuid().unwrap_or_default();
        require_state(row, id, &[HANDOFFS.open])?;
        HANDOFFS.check_addressed(row, id, agent)?;
        from = row.get(column::FROM_AGENT_ID).as_uuid();
        place = (row.get(column::TRAJECTORY_ID).as_uuid(), row.get(column::SCOPE_ID).as_uuid());
        given.set(column::STATUS, table.enum_value(column::STATUS, "rejected")?);
        Ok(())
    })?;
    if let (Some(from), Some(id), Some(_)) = (from, id, &rejected) {
        let mut about = vec![("status", quoted("rejected"))];
        about.extend(reason.map(|reason| ("reason", quoted(&reason.0))));
        let about = json::payload(("handoff_id", id), &about);
        send::tell(Some(agent), &Receiver::Agent(from), "handoff", place, &about)?;
    }
    Ok(rejected)
}

fn caliber_handoff_list_pending(
    call: &Call<'_>,
    agent_id: Option<Uuid>,
    agent_type: Option<Text>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    HANDOFFS.list_pending(call, agent_id, agent_type, max_rows, after)
}
