//! Agent: who works here.

use super::update::{mutate_alone, mutate_alone_and, parse_changes};
use super::{create, get, get_many, list, open, required};
use crate::entity::AGENT;
use crate::entity::agent::{column, path};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, Json, SetDone, Timestamptz};
use caliber_am::pg::clock::{self, Interval};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Access;
use caliber_am::table::lookup::equal;
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::Given;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_agent_register,
    caliber_agent_get,
    caliber_agent_get_many,
    caliber_agent_heartbeat,
    caliber_agent_set_status,
    caliber_agent_update,
    caliber_agent_list_by_type,
    caliber_agent_list_active,
);

const UPDATABLE: &[&str] = &[
    "agent_type",
    "capabilities",
    "memory_access",
    "can_delegate_to",
    "reports_to",
    "current_trajectory_id",
    "current_scope_id",
    "metadata",
];

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_agent_register(
    _: &Call<'_>,
    agent_type: Value<'_>,
    capabilities: Value<'_>,
    memory_access: Value<'_>,
    can_delegate_to: Value<'_>,
    reports_to: Value<'_>,
    metadata: Value<'_>,
    agent_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    let mut given = Given::new();
    given
        .set(column::AGENT_TYPE, agent_type)
        .set_unless_null(column::CAPABILITIES, capabilities)
        .set_unless_null(column::MEMORY_ACCESS, memory_access)
        .set_unless_null(column::CAN_DELEGATE_TO, can_delegate_to)
        .set_unless_null(column::REPORTS_TO, reports_to)
        .set_unless_null(column::METADATA, metadata);
    create::create(AGENT, agent_id, given)
}

fn caliber_agent_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(AGENT, id)
}

fn caliber_agent_get_many(call: &Call<'_>, ids: Value<'_>) -> CaliberResult<SetDone> {
    get_many(call, AGENT, ids)
}

fn caliber_agent_heartbeat(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Timestamptz>> {
    let table = open(AGENT, Access::UPDATE)?;
    // The clock is read again when another heartbeat was faster, so that they rise.
    let beat = |_: &Row<'_>, given: &mut Given<'_>| {
        given.set(column::LAST_HEARTBEAT, Value::int8(clock::now()));
        Ok(())
    };
    let beaten = mutate_alone_and(&table, id, None, beat, |slot| {
        Ok(slot.get(table.attno(column::LAST_HEARTBEAT)).as_i64())
    })?;
    Ok(beaten.flatten().map(Timestamptz))
}

fn caliber_agent_set_status(
    _: &Call<'_>,
    id: Option<Uuid>,
    status: Value<'_>,
    expected_version: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    let table = open(AGENT, Access::UPDATE)?;
    let wanted = required("status", status.as_oid())?;
    mutate_alone(&table, id, expected_version, |row, given| {
        if row.get(column::STATUS).as_oid() != Some(wanted) {
            given.set(column::STATUS, status);
        }
        Ok(())
    })
}

fn caliber_agent_update(
    _: &Call<'_>,
    id: Option<Uuid>,
    changes: Option<Json>,
    expected_version: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    let table = open(AGENT, Access::UPDATE)?;
    let changes = parse_changes(&table, UPDATABLE, changes)?;
    mutate_alone(&table, id, expected_version, |_, given| {
        given.extend(&changes);
        Ok(())
    })
}

fn caliber_agent_list_by_type(
    call: &Call<'_>,
    agent_type: Value<'_>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    list::by_path(call, AGENT, path::BY_TYPE, &[("agent_type", agent_type)], max_rows, after)
}

fn caliber_agent_list_active(
    call: &Call<'_>,
    max_age: Option<Interval>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let oldest = required("max_age", max_age)?.positive("max_age")?.before(clock::now());
    let limit = list::row_limit(max_rows)?;
    let table = open(AGENT, Access::READ)?;
    let mut look_ups = Vec::new();
    for status in ["idle", "active"] {
        let status = table.enum_value(column::STATUS, status)?;
        look_ups.push((path::BY_STATUS, vec![equal(status)]));
    }
    list::merged(call, &table, &look_ups, limit, after, |slot| {
        let heartbeat = slot.get(table.attno(column::LAST_HEARTBEAT)).as_i64();
        heartbeat.is_some_and(|heartbeat| heartbeat >= oldest)
    })
}

/// The type of an agent that the snapshot sees; `None` for an unknown one.
///
/// # Errors
/// Those of opening the table.
pub fn type_of(id: Uuid, snapshot: &ActiveSnapshot) -> CaliberResult<Option<String>> {
    let table = open(AGENT, Access::READ)?;
    let row = table.get(id, snapshot)?;
    Ok(row.and_then(|row| row.get(column::AGENT_TYPE).as_text()))
}

/// The type that an agent has now, who acts and so has to be known.
///
/// # Errors
/// P0002 for an unknown one.
pub fn known_type_of(id: Uuid) -> CaliberResult<String> {
    let missing = || CaliberError::NoSuchRow { entity: AGENT.name, id };
    type_of(id, &ActiveSnapshot::latest())?.ok_or_else(missing)
}
