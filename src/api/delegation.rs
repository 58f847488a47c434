//! Delegation: a sub-task.

use super::offer::{ANY, DELEGATIONS};
use super::send::{self, Receiver};
use super::update::{mutate, plainly, require_state};
use super::{agent, create, get, may_open, open, required, trajectory};
use crate::entity::delegation::column;
use crate::entity::{AGENT, DELEGATION, MESSAGE, TRAJECTORY, agent as agents};
use crate::json::{self, quoted};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, Json, SetDone, Text};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Access;
use caliber_am::table::lock::RowLock;
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::Given;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_delegation_create,
    caliber_delegation_get,
    caliber_delegation_accept,
    caliber_delegation_start,
    caliber_delegation_complete,
    caliber_delegation_fail,
    caliber_delegation_reject,
    caliber_delegation_list_pending,
);

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_delegation_create(
    _: &Call<'_>,
    delegator_agent_id: Option<Uuid>,
    task_description: Option<Text>,
    parent_trajectory_id: Option<Uuid>,
    delegatee_agent_id: Option<Uuid>,
    delegatee_agent_type: Option<Text>,
    shared_artifacts: Value<'_>,
    shared_notes: Value<'_>,
    additional_context: Value<'_>,
    constraints: Value<'_>,
    deadline: Value<'_>,
    metadata: Value<'_>,
    delegation_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    may_open(&[
        (DELEGATION, Access::INSERT),
        (TRAJECTORY, Access::LOCK),
        (AGENT, Access::READ),
        (MESSAGE, Access::INSERT),
    ])?;
    let table = open(DELEGATION, Access::INSERT)?;
    let task = task_description.map(|task| task.0);
    let uuid = |id: Option<Uuid>| id.map_or(Value::NULL, Value::uuid);
    let mut given = Given::new();
    let receiver = DELEGATIONS.receiver(&mut given, delegatee_agent_id, delegatee_agent_type)?;
    given
        .set(column::DELEGATOR_AGENT_ID, uuid(delegator_agent_id))
        .set(column::TASK_DESCRIPTION, task.as_deref().map_or(Ok(Value::NULL), Value::text)?)
        .set(column::PARENT_TRAJECTORY_ID, uuid(parent_trajectory_id))
        .set_unless_null(column::SHARED_ARTIFACTS, shared_artifacts)
        .set_unless_null(column::SHARED_NOTES, shared_notes)
        .set_unless_null(column::ADDITIONAL_CONTEXT, additional_context)
        .set_unless_null(column::CONSTRAINTS, constraints)
        .set_unless_null(column::DEADLINE, deadline)
        .set_unless_null(column::METADATA, metadata);
    let snapshot = ActiveSnapshot::for_write();
    if create::exists_alike(&table, delegation_id, &given, &snapshot)? {
        return Ok(delegation_id);
    }
    // Unknown and null ids are left to the constraints.
    if let Some(parent) = parent_trajectory_id {
        let table = open(TRAJECTORY, Access::LOCK)?;
        if let Some(row) = table.lock_by_id(parent, RowLock::Share, &snapshot)? {
            require_state(&row, parent, &["active"])?;
        }
    }
    if let Some(delegator) = delegator_agent_id {
        check_permission(delegator, &receiver)?;
    }
    let id = create::insert(&table, &create::with_id(given, delegation_id))?;
    if let Some(id) = id {
        let task = quoted(task.as_deref().unwrap_or_default());
        let about = [("task_description", task)];
        let about = json::payload(("delegation_id", id), &about);
        let place = (parent_trajectory_id, None);
        send::tell(delegator_agent_id, &receiver, "task_delegation", place, &about)?;
    }
    Ok(id)
}

/// Refuses a delegation to a type that the delegator may not use.
fn check_permission(delegator: Uuid, receiver: &Receiver) -> CaliberResult<()> {
    let agent_type = match receiver {
        Receiver::Type(agent_type) => agent_type.clone(),
        Receiver::Everybody => ANY.to_owned(),
        Receiver::Agent(agent) => match agent::type_of(*agent, &ActiveSnapshot::latest())? {
            Some(agent_type) => agent_type,
            None => return Ok(()),
        },
    };
    let table = open(AGENT, Access::READ)?;
    let snapshot = ActiveSnapshot::latest();
    let Some(row) = table.get(delegator, &snapshot)? else { return Ok(()) };
    let allowed = row.get(agents::column::CAN_DELEGATE_TO).as_text_array();
    if allowed.iter().any(|allowed| *allowed == agent_type || allowed == ANY) {
        return Ok(());
    }
    Err(CaliberError::MayNotDelegate { agent: delegator, agent_type, allowed })
}

fn caliber_delegation_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(DELEGATION, id)
}

/// The parent trajectory is locked before the delegation, as a deletion of the tree locks them.
fn caliber_delegation_accept(
    _: &Call<'_>,
    id: Option<Uuid>,
    agent_id: Option<Uuid>,
    child_trajectory_id: Option<Uuid>,
) -> CaliberResult<Option<Composite>> {
    let adopts = child_trajectory_id.is_some();
    may_open(&[
        (DELEGATION, Access::UPDATE),
        (TRAJECTORY, Access::LOCK),
        (TRAJECTORY, if adopts { Access::READ } else { Access::INSERT }),
        (AGENT, Access::READ),
    ])?;
    let table = open(DELEGATION, Access::UPDATE)?;
    let agent = required("agent_id", agent_id)?;
    let lock = |id, snapshot: &ActiveSnapshot| {
        let Some(seen) = table.get(id, snapshot)? else { return Ok(None) };
        if let Some(parent) = seen.get(column::PARENT_TRAJECTORY_ID).as_uuid() {
            trajectory::lock_with_root(parent, snapshot)?;
        }
        let row = table.lock_row(seen, RowLock::NoKeyUpdate, snapshot)?;
        Ok(row.map(|row| (row, Given::new())))
    };
    mutate(&table, id, None, lock, |row, given| {
        let id = row.get(column::DELEGATION_ID).as_uuid().unwrap_or_default();
        require_state(row, id, &[DELEGATIONS.open])?;
        DELEGATIONS.check_addressed(row, id, agent)?;
        let parent = row.get(column::PARENT_TRAJECTORY_ID).as_uuid().unwrap_or_default();
        let child = match child_trajectory_id {
            Some(child) => Some(trajectory::require_child(child, parent)?),
            None => {
                let task = row.get(column::TASK_DESCRIPTION).as_text().unwrap_or_default();
                let name = if task.is_empty() { "delegated task" } else { &task };
                trajectory::create_child(name, agent, parent)?
            }
        };
        given
            .set(column::STATUS, table.enum_value(column::STATUS, "accepted")?)
            .set(column::DELEGATEE_AGENT_ID, Value::uuid(agent))
            .set(column::CHILD_TRAJECTORY_ID, child.map_or(Value::NULL, Value::uuid))
            .set(column::ACCEPTED_AT, Value::transaction_timestamp());
        Ok(())
    })
}

fn caliber_delegation_start(
    _: &Call<'_>,
    id: Option<Uuid>,
    agent_id: Option<Uuid>,
) -> CaliberResult<Option<Composite>> {
    let table = open(DELEGATION, Access::UPDATE)?;
    let agent = required("agent_id", agent_id)?;
    mutate(&table, id, None, plainly(&table), |row, given| {
        let id = row.get(column::DELEGATION_ID).as_uuid().unwrap_or_default();
        require_state(row, id, &["accepted"])?;
        DELEGATIONS.check_taken_by(row, id, agent)?;
        given.set(column::STATUS, table.enum_value(column::STATUS, "in_progress")?);
        Ok(())
    })
}

/// How a delegation ends.
struct End<'a> {
    status: &'static str,
    /// The states in which it can end so.
    from: &'static [&'static str],
    /// The agent that ends it.
    agent: Uuid,
    /// What the result says, as JSON, and under which name it is told.
    result: Option<(&'static str, &'a str)>,
}

fn caliber_delegation_complete(
    _: &Call<'_>,
    id: Option<Uuid>,
    agent_id: Option<Uuid>,
    result: Option<Json>,
) -> CaliberResult<Option<Composite>> {
    let end = End {
        status: "completed",
        from: &["accepted", "in_progress"],
        agent: required("agent_id", agent_id)?,
        result: result.as_ref().map(|result| ("result", result.0.as_str())),
    };
    end.carry_out(id, |row, id, agent| DELEGATIONS.check_taken_by(row, id, agent))
}

fn caliber_delegation_fail(
    _: &Call<'_>,
    id: Option<Uuid>,
    agent_id: Option<Uuid>,
    reason: Option<Text>,
) -> CaliberResult<Option<Composite>> {
    let reason = reason.map(|reason| quoted(&reason.0));
    let end = End {
        status: "failed",
        from: &["pending", "accepted", "in_progress"],
        agent: required("agent_id", agent_id)?,
        result: reason.as_deref().map(|reason| ("reason", reason)),
    };
    end.carry_out(id, |row, id, agent| {
        if row.get(column::DELEGATOR_AGENT_ID).as_uuid() == Some(agent) {
            return Ok(());
        }
        DELEGATIONS.check_taken_by(row, id, agent)
    })
}

fn caliber_delegation_reject(
    _: &Call<'_>,
    id: Option<Uuid>,
    agent_id: Option<Uuid>,
    reason: Option<Text>,
) -> CaliberResult<Option<Composite>> {
    let reason = reason.map(|reason| quoted(&reason.0));
    let end = End {
        status: "rejected",
        from: &["pending"],
        agent: required("agent_id", agent_id)?,
        result: reason.as_deref().map(|reason| ("reason", reason)),
    };
    may_open(&[(DELEGATION, Access::UPDATE), (AGENT, Access::READ)])?;
    end.carry_out(id, |row, id, agent| DELEGATIONS.check_addressed(row, id, agent))
}

impl End<'_> {
    /// Ends the delegation and tells the delegator, unless it was the one.
    fn carry_out(
        &self,
        id: Option<Uuid>,
        may: impl FnOnce(&Row<'_>, Uuid, Uuid) -> CaliberResult<()>,
    ) -> CaliberResult<Option<Composite>> {
        may_open(&[(DELEGATION, Access::UPDATE), (MESSAGE, Access::INSERT)])?;
        let table = open(DELEGATION, Access::UPDATE)?;
        let mut delegator = None;
        let mut parent = None;
        let ended = mutate(&table, id, None, plainly(&table), |row, given| {
            let id = row.get(column::DELEGATION_ID).as_uuid().unwrap_or_default();
            require_state(row, id, self.from)?;
            may(row, id, self.agent)?;
            delegator = row.get(column::DELEGATOR_AGENT_ID).as_uuid();
            parent = row.get(column::PARENT_TRAJECTORY_ID).as_uuid();
            let result = match self.result {
                Some(("result", result)) => Value::jsonb(result)?,
                Some((name, reason)) => Value::jsonb(&format!("{{{}:{reason}}}", quoted(name)))?,
                None => Value::NULL,
            };
            given
                .set(column::STATUS, table.enum_value(column::STATUS, self.status)?)
                .set_unless_null(column::RESULT, result)
                .set(column::COMPLETED_AT, Value::transaction_timestamp());
            Ok(())
        })?;
        if let (Some(delegator), Some(id), Some(_)) = (delegator, id, &ended)
            && delegator != self.agent
        {
            let mut about = vec![("status", quoted(self.status))];
            about.extend(self.result.map(|(name, json)| (name, json.to_owned())));
            let about = json::payload(("delegation_id", id), &about);
            let receiver = Receiver::Agent(delegator);
            send::tell(Some(self.agent), &receiver, "task_result", (parent, None), &about)?;
        }
        Ok(ended)
    }
}

fn caliber_delegation_list_pending(
    call: &Call<'_>,
    agent_id: Option<Uuid>,
    agent_type: Option<Text>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    DELEGATIONS.list_pending(call, agent_id, agent_type, max_rows, after)
}
