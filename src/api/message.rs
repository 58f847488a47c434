//! Message: from agent to agent, delivered at least once. How it is received; `send` has the rest.

use super::agent::{known_type_of, type_of};
use super::queue::Queue;
use super::update::{mutate_alone, require_state};
use super::{get, get_many, list, may_open, open, required};
use crate::entity::message::{column, path};
use crate::entity::{AGENT, MESSAGE};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, SetDone, SetOf, Timestamptz};
use caliber_am::model::ColumnSet;
use caliber_am::pg::clock::{self, Interval};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Access;
use caliber_am::table::event::Event;
use caliber_am::table::lock::RowLock;
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::{Given, Writer};
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_message_get,
    caliber_message_get_many,
    caliber_message_list_for_agent,
    caliber_message_receive,
    caliber_message_acknowledge,
    caliber_message_release,
    caliber_message_redrive,
    caliber_message_list_dead,
);

fn caliber_message_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(MESSAGE, id)
}

fn caliber_message_get_many(call: &Call<'_>, ids: Value<'_>) -> CaliberResult<SetDone> {
    get_many(call, MESSAGE, ids)
}

fn caliber_message_list_for_agent(
    call: &Call<'_>,
    agent_id: Option<Uuid>,
    max_rows: Option<i32>,
    after_priority: Value<'_>,
    after_visible_at: Option<Timestamptz>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let agent = required("agent_id", agent_id)?;
    let limit = list::row_limit(max_rows)?;
    let after = match (after_priority.as_oid(), after_visible_at, after) {
        (Some(_), Some(visible_at), Some(id)) => Some((after_priority, visible_at.0, id)),
        (None, None, None) => None,
        _ => {
            let reason = "Give after_priority, after_visible_at and after together.";
            return Err(CaliberError::argument("after", reason));
        }
    };
    may_open(&[(MESSAGE, Access::READ), (AGENT, Access::READ)])?;
    let messages = open(MESSAGE, Access::READ)?;
    let mut answer = call.result_set(SetOf::Rows);
    let snapshot = ActiveSnapshot::of_statement();
    let Some(agent_type) = type_of(agent, &snapshot)? else { return Ok(SetDone) };
    let queue = Queue::of(&messages, agent, agent_type);
    let mut left = limit;
    let from = after.map(|(priority, visible_at, _)| (priority, visible_at));
    queue.for_each(&snapshot, from, None, |scan| {
        let slot = scan.slot();
        let get = |position| slot.get(messages.attno(position));
        let seen_before = after.is_some_and(|(priority, visible_at, id)| {
            get(column::PRIORITY).as_oid() == priority.as_oid()
                && (get(column::VISIBLE_AT).as_i64(), get(column::MESSAGE_ID).as_uuid())
                    <= (Some(visible_at), Some(id))
        });
        if !seen_before {
            answer.put_row(&messages, slot);
            left -= 1;
        }
        Ok(left > 0)
    })?;
    Ok(SetDone)
}

/// Claims what is visible now, most urgent first; what others hold is passed over, so that two
/// receivers never share a delivery. What expired, or was delivered often enough, dies here.
fn caliber_message_receive(
    call: &Call<'_>,
    agent_id: Option<Uuid>,
    max_messages: Option<i32>,
    visibility: Option<Interval>,
) -> CaliberResult<SetDone> {
    may_open(&[(MESSAGE, Access::UPDATE), (AGENT, Access::READ)])?;
    let messages = open(MESSAGE, Access::UPDATE)?;
    let agent = required("agent_id", agent_id)?;
    let mut left = list::count("max_messages", max_messages)?;
    let visibility = required("visibility", visibility)?.positive("visibility")?;
    let queue = Queue::of(&messages, agent, known_type_of(agent)?);
    let mut answer = call.result_set(SetOf::Rows);
    let snapshot = ActiveSnapshot::for_write();
    let now = clock::now();
    let delivery = Delivery {
        agent,
        delivered: messages.enum_value(column::STATUS, "delivered")?,
        dead: messages.enum_value(column::STATUS, "dead")?,
        now,
        visible_at: visibility.after(now),
    };
    const COLUMNS: ColumnSet = ColumnSet::of(&[
        column::STATUS,
        column::VISIBLE_AT,
        column::DELIVERY_COUNT,
        column::CLAIMED_BY,
        column::DELIVERED_AT,
    ]);
    let mut writer = Writer::begin(&messages, Event::Update, COLUMNS);
    queue.for_each(&snapshot, None, Some(now), |scan| {
        let row = messages.copy_of(scan.slot());
        if let Some(row) = messages.lock_row_or_skip(row, RowLock::NoKeyUpdate, &snapshot)? {
            let (changes, taken) = delivery.of(&row);
            if let Some(slot) = writer.update(&row, &changes)?
                && taken
            {
                answer.put_row(&messages, slot);
                left -= 1;
            }
        }
        Ok(left > 0)
    })?;
    writer.finish();
    Ok(SetDone)
}

/// What receiving makes of a message.
struct Delivery {
    agent: Uuid,
    delivered: Value<'static>,
    dead: Value<'static>,
    now: i64,
    visible_at: i64,
}

impl Delivery {
    /// The changes to a visible message, and whether it is delivered by them.
    fn of(&self, row: &Row<'_>) -> (Given<'static>, bool) {
        let count = row.get(column::DELIVERY_COUNT).as_i32().unwrap_or(0);
        let allowed = row.get(column::MAX_DELIVERIES).as_i32().unwrap_or(0);
        let expires_at = row.get(column::EXPIRES_AT).as_i64();
        let mut changes = Given::new();
        if count >= allowed || expires_at.is_some_and(|expires_at| expires_at <= self.now) {
            changes.set(column::STATUS, self.dead).set(column::CLAIMED_BY, Value::NULL);
            return (changes, false);
        }
        changes
            .set(column::STATUS, self.delivered)
            .set(column::DELIVERY_COUNT, Value::int4(count + 1))
            .set(column::CLAIMED_BY, Value::uuid(self.agent))
            .set(column::DELIVERED_AT, Value::int8(self.now))
            .set(column::VISIBLE_AT, Value::int8(self.visible_at));
        (changes, true)
    }
}

/// The delivery that an agent speaks of when it ends it.
struct Receipt {
    agent: Uuid,
    number: i32,
}

impl Receipt {
    fn from_arguments(agent: Option<Uuid>, number: Option<i32>) -> CaliberResult<Self> {
        Ok(Self { agent: required("agent_id", agent)?, number: required("receipt", number)? })
    }

    /// Whether the row is in this state of this very delivery.
    fn is_of(&self, row: &Row<'_>, state: &str) -> bool {
        row.state() == Some(state)
            && row.get(column::CLAIMED_BY).as_uuid() == Some(self.agent)
            && row.get(column::DELIVERY_COUNT).as_i32() == Some(self.number)
    }

    /// Refuses when it is not the current delivery: 55006.
    fn check(&self, row: &Row<'_>) -> CaliberResult<()> {
        if self.is_of(row, "delivered") {
            return Ok(());
        }
        Err(CaliberError::StaleReceipt {
            id: row.get(column::MESSAGE_ID).as_uuid().unwrap_or_default(),
            receipt: self.number,
            current: row.get(column::DELIVERY_COUNT).as_i32().unwrap_or(0),
            state: row.state().unwrap_or_default(),
            holder: row.get(column::CLAIMED_BY).as_uuid(),
        })
    }
}

fn caliber_message_acknowledge(
    _: &Call<'_>,
    message_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    receipt: Option<i32>,
) -> CaliberResult<Option<Composite>> {
    let table = open(MESSAGE, Access::UPDATE)?;
    let receipt = Receipt::from_arguments(agent_id, receipt)?;
    mutate_alone(&table, message_id, None, |row, given| {
        // A repeated call whose first answer got lost.
        if receipt.is_of(row, "acknowledged") {
            return Ok(());
        }
        receipt.check(row)?;
        given
            .set(column::STATUS, table.enum_value(column::STATUS, "acknowledged")?)
            .set(column::ACKNOWLEDGED_AT, Value::int8(clock::now()));
        Ok(())
    })
}

fn caliber_message_release(
    _: &Call<'_>,
    message_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    receipt: Option<i32>,
    delay: Option<Interval>,
) -> CaliberResult<Option<Composite>> {
    let table = open(MESSAGE, Access::UPDATE)?;
    let receipt = Receipt::from_arguments(agent_id, receipt)?;
    let delay = required("delay", delay)?.not_negative("delay")?;
    mutate_alone(&table, message_id, None, |row, given| {
        receipt.check(row)?;
        given
            .set(column::STATUS, table.enum_value(column::STATUS, "pending")?)
            .set(column::CLAIMED_BY, Value::NULL)
            .set(column::VISIBLE_AT, Value::int8(delay.after(clock::now())));
        Ok(())
    })
}

/// The deliveries go on counting, so that a receipt from before never fits again.
fn caliber_message_redrive(
    _: &Call<'_>,
    message_id: Option<Uuid>,
    deliveries: Option<i32>,
) -> CaliberResult<Option<Composite>> {
    let table = open(MESSAGE, Access::UPDATE)?;
    list::count("deliveries", deliveries)?;
    let further = deliveries.unwrap_or(0);
    mutate_alone(&table, message_id, None, |row, given| {
        let id = row.get(column::MESSAGE_ID).as_uuid().unwrap_or_default();
        require_state(row, id, &["dead"])?;
        let now = clock::now();
        let count = row.get(column::DELIVERY_COUNT).as_i32().unwrap_or(0);
        given
            .set(column::STATUS, table.enum_value(column::STATUS, "pending")?)
            .set(column::CLAIMED_BY, Value::NULL)
            .set(column::VISIBLE_AT, Value::int8(now))
            .set(column::MAX_DELIVERIES, Value::int4(count.saturating_add(further)));
        if row.get(column::EXPIRES_AT).as_i64().is_some_and(|expires_at| expires_at <= now) {
            given.set(column::EXPIRES_AT, Value::NULL);
        }
        Ok(())
    })
}

fn caliber_message_list_dead(
    call: &Call<'_>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    list::filtered(call, MESSAGE, path::DEAD, &[], max_rows, after, |table, slot| {
        let status = slot.get(table.attno(column::STATUS)).as_enum_label();
        status.as_deref() == Some("dead")
    })
}
