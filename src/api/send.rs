//! Sending messages, and telling their receivers.

use super::{create, list, may_open, open, settings};
use crate::entity::message::{column, path};
use crate::entity::{AGENT, MESSAGE, agent};
use crate::{channel, ids};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, SetDone, SetOf, Text};
use caliber_am::model::Path;
use caliber_am::pg::clock::{self, Interval};
use caliber_am::pg::notify::notify;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::event::Event;
use caliber_am::table::lookup::{Order, equal};
use caliber_am::table::writer::{Given, Writer};
use caliber_am::table::{Access, Table};
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_channel_of_agent,
    caliber_channel_of_type,
    caliber_message_send,
    caliber_message_send_many,
);

fn caliber_channel_of_agent(_: &Call<'_>, agent_id: Option<Uuid>) -> CaliberResult<Option<String>> {
    Ok(agent_id.map(channel::of_agent))
}

fn caliber_channel_of_type(
    _: &Call<'_>,
    agent_type: Option<Text>,
) -> CaliberResult<Option<String>> {
    Ok(agent_type.map(|agent_type| channel::of_type(&agent_type.0)))
}

/// Who a message goes to.
#[derive(Clone, Debug)]
pub enum Receiver {
    /// This agent.
    Agent(Uuid),
    /// One agent of this type.
    Type(String),
    /// Each registered agent but the sender.
    Everybody,
}

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_message_send(
    _: &Call<'_>,
    from_agent_id: Option<Uuid>,
    message_type: Value<'_>,
    payload: Value<'_>,
    to_agent_id: Option<Uuid>,
    to_agent_type: Option<Text>,
    priority: Value<'_>,
    trajectory_id: Value<'_>,
    scope_id: Value<'_>,
    artifact_ids: Value<'_>,
    ttl: Option<Interval>,
    delay: Option<Interval>,
    max_deliveries: Option<i32>,
    message_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    let mut given = Envelope { ttl, delay, max_deliveries }.to_given()?;
    given
        .set(column::MESSAGE_TYPE, message_type)
        .set(column::PAYLOAD, payload)
        .set_unless_null(column::PRIORITY, priority)
        .set_unless_null(column::TRAJECTORY_ID, trajectory_id)
        .set_unless_null(column::SCOPE_ID, scope_id)
        .set_unless_null(column::ARTIFACT_IDS, artifact_ids);
    let receiver = Receiver::from_arguments(to_agent_id, to_agent_type)?;
    send(from_agent_id, &receiver, given, message_id)
}

/// How long a message lives, and how often it is delivered.
struct Envelope {
    ttl: Option<Interval>,
    delay: Option<Interval>,
    max_deliveries: Option<i32>,
}

impl Envelope {
    /// As columns of a message that is sent now.
    fn to_given<'v>(&self) -> CaliberResult<Given<'v>> {
        let now = clock::now();
        let mut given = Given::new();
        if let Some(ttl) = self.ttl {
            given.set(column::EXPIRES_AT, Value::int8(ttl.positive("ttl")?.after(now)));
        }
        if let Some(delay) = self.delay {
            given.set(column::VISIBLE_AT, Value::int8(delay.not_negative("delay")?.after(now)));
        }
        if let Some(deliveries) = self.max_deliveries {
            list::count("max_deliveries", self.max_deliveries)?;
            given.set(column::MAX_DELIVERIES, Value::int4(deliveries));
        }
        Ok(given)
    }
}

impl Receiver {
    /// An agent, a type, or neither: everybody.
    fn from_arguments(agent: Option<Uuid>, agent_type: Option<Text>) -> CaliberResult<Self> {
        match (agent, agent_type) {
            (Some(_), Some(_)) => {
                let reason = "Give to_agent_id or to_agent_type, not both.";
                Err(CaliberError::argument("to_agent_type", reason))
            }
            (Some(agent), None) => Ok(Self::Agent(agent)),
            (None, Some(agent_type)) => Ok(Self::Type(agent_type.0)),
            (None, None) => Ok(Self::Everybody),
        }
    }

    /// Addresses the message; the channel of who is to be told, if it is one.
    fn address(&self, given: &mut Given<'_>) -> CaliberResult<Option<String>> {
        Ok(match self {
            Self::Agent(agent) => {
                given.set(column::TO_AGENT_ID, Value::uuid(*agent));
                Some(channel::of_agent(*agent))
            }
            Self::Type(agent_type) => {
                given.set(column::TO_AGENT_TYPE, Value::text(agent_type)?);
                Some(channel::of_type(agent_type))
            }
            Self::Everybody => None,
        })
    }
}

/// Sends a message for each payload, all or none, in one statement.
#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_message_send_many(
    call: &Call<'_>,
    from_agent_id: Option<Uuid>,
    message_type: Value<'_>,
    payloads: Value<'_>,
    to_agent_id: Option<Uuid>,
    to_agent_type: Option<Text>,
    priority: Value<'_>,
    trajectory_id: Value<'_>,
    scope_id: Value<'_>,
    ttl: Option<Interval>,
    delay: Option<Interval>,
    max_deliveries: Option<i32>,
) -> CaliberResult<SetDone> {
    let messages = open(MESSAGE, Access::INSERT)?;
    if payloads.is_null() {
        return Err(CaliberError::argument("payloads", "The argument must not be null."));
    }
    let mut given = Envelope { ttl, delay, max_deliveries }.to_given()?;
    given
        .set(column::FROM_AGENT_ID, from_agent_id.map_or(Value::NULL, Value::uuid))
        .set(column::MESSAGE_TYPE, message_type)
        .set_unless_null(column::PRIORITY, priority)
        .set_unless_null(column::TRAJECTORY_ID, trajectory_id)
        .set_unless_null(column::SCOPE_ID, scope_id);
    let receiver = Receiver::from_arguments(to_agent_id, to_agent_type)?;
    let Some(listener) = receiver.address(&mut given)? else {
        let reason = "Give to_agent_id or to_agent_type.";
        return Err(CaliberError::argument("to_agent_id", reason));
    };
    let columns = given.columns().with(column::PAYLOAD);
    let mut answer = call.result_set(SetOf::Values);
    let snapshot = ActiveSnapshot::for_write();
    let mut writer = Writer::begin(&messages, Event::Insert, columns);
    for payload in payloads.as_jsonb_array() {
        given.set(column::PAYLOAD, payload);
        let stored = writer.insert(&given)?;
        if let Some(id) = stored.and_then(|slot| slot.get(messages.attno(0)).as_uuid()) {
            answer.put(&[Value::uuid(id)]);
            announce(&listener, id);
        }
    }
    writer.finish();
    drop(snapshot);
    Ok(SetDone)
}

/// Sends a message with what is given and notifies its receivers. Returns its id, that of a message
/// to everybody being the `broadcast_id`; `None` when a BEFORE trigger left it out.
///
/// # Errors
/// Those of the insert; 23505 when a message with the id chosen exists and differs.
pub fn send(
    from: Option<Uuid>,
    receiver: &Receiver,
    mut given: Given<'_>,
    id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    if let Receiver::Everybody = receiver {
        may_open(&[(MESSAGE, Access::INSERT), (AGENT, Access::READ)])?;
    }
    let messages = open(MESSAGE, Access::INSERT)?;
    given.set(column::FROM_AGENT_ID, from.map_or(Value::NULL, Value::uuid));
    let Some(listener) = receiver.address(&mut given)? else {
        return broadcast(&messages, from, given, id);
    };
    let snapshot = ActiveSnapshot::for_write();
    if create::exists_alike(&messages, id, &given, &snapshot)? {
        return Ok(id);
    }
    let id = create::insert(&messages, &create::with_id(given, id))?;
    if let Some(id) = id {
        announce(&listener, id);
    }
    Ok(id)
}

/// Sends a message about work that changes hands, in this transaction: its type, the trajectory and
/// the scope that it is about, and its payload as JSON text.
///
/// # Errors
/// Those of [`send`].
pub fn tell(
    from: Option<Uuid>,
    receiver: &Receiver,
    message_type: &str,
    (trajectory_id, scope_id): (Option<Uuid>, Option<Uuid>),
    payload: &str,
) -> CaliberResult<()> {
    let uuid = |id: Option<Uuid>| id.map_or(Value::NULL, Value::uuid);
    let mut given = Given::new();
    given
        .set(column::MESSAGE_TYPE, Value::text(message_type)?)
        .set(column::PAYLOAD, Value::jsonb(payload)?)
        .set_unless_null(column::TRAJECTORY_ID, uuid(trajectory_id))
        .set_unless_null(column::SCOPE_ID, uuid(scope_id));
    send(from, receiver, given, None).map(drop)
}

/// Notifies the listener of a message, on commit.
fn announce(listener: &str, message: Uuid) {
    if settings::notify() {
        notify(listener, &message.to_string());
    }
}

/// One row for each registered agent but the sender, all under one id.
fn broadcast(
    messages: &Table,
    from: Option<Uuid>,
    mut given: Given<'_>,
    id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    let agents = open(AGENT, Access::READ)?;
    let snapshot = ActiveSnapshot::for_write();
    if let Some(id) = id {
        ids::require_v7("message_id", id)?;
        let conditions = [equal(Value::uuid(id))];
        let mut scan =
            messages.scan(path::BY_BROADCAST, &conditions, Order::Ascending, &snapshot)?;
        if scan.next().is_some() {
            create::compare(messages, &scan.into_row(), id, &given)?;
            return Ok(Some(id));
        }
    }
    let id = id.unwrap_or_else(ids::new_id);
    given.set(column::BROADCAST_ID, Value::uuid(id));
    let mut scan = agents.scan(Path::KEY, &[], Order::Ascending, &snapshot)?;
    let mut receivers = Vec::new();
    while let Some(slot) = scan.next() {
        receivers.extend(slot.get(agents.attno(agent::column::AGENT_ID)).as_uuid());
    }
    drop(scan);
    let columns = given.columns().with(column::TO_AGENT_ID);
    let mut writer = Writer::begin(messages, Event::Insert, columns);
    for receiver in receivers.into_iter().filter(|&receiver| Some(receiver) != from) {
        given.set(column::TO_AGENT_ID, Value::uuid(receiver));
        let stored = writer.insert(&given)?;
        if let Some(message) = stored.and_then(|slot| slot.get(messages.attno(0)).as_uuid()) {
            announce(&channel::of_agent(receiver), message);
        }
    }
    writer.finish();
    Ok(Some(id))
}
