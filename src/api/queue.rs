//! The queue of an agent: the messages waiting for it or for its type, most urgent first.

use crate::entity::message::{column, path};
use caliber_am::error::CaliberResult;
use caliber_am::model::Path;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Table;
use caliber_am::table::lookup::{IndexScan, Order, at_least, equal, less};
use uuid::Uuid;

/// The priorities, most urgent first.
const PRIORITIES: [&str; 4] = ["critical", "high", "normal", "low"];

/// One agent's queue.
pub struct Queue<'t> {
    messages: &'t Table,
    agent: Uuid,
    agent_type: String,
}

impl<'t> Queue<'t> {
    /// The queue of an agent of this type.
    pub const fn of(messages: &'t Table, agent: Uuid, agent_type: String) -> Self {
        Self { messages, agent, agent_type }
    }

    /// Shows the waiting messages by priority, `visible_at` and id until `see` has enough and
    /// returns false: from a priority and a `visible_at` of it on, as far as they are visible at the
    /// time `until`.
    ///
    /// # Errors
    /// Those of the look-ups and of `see`.
    pub fn for_each(
        &self,
        snapshot: &ActiveSnapshot,
        from: Option<(Value<'t>, i64)>,
        until: Option<i64>,
        mut see: impl FnMut(&IndexScan<'_>) -> CaliberResult<bool>,
    ) -> CaliberResult<()> {
        let lane =
            |path, receiver| Lane::begin(self.messages, path, receiver, snapshot, from, until);
        let mut lanes = [
            lane(path::TO_AGENT, Value::uuid(self.agent))?,
            lane(path::TO_TYPE, Value::text(&self.agent_type)?)?,
        ];
        while let Some(next) = first_of(self.messages, &mut lanes)? {
            if !see(&next.scan)? {
                return Ok(());
            }
            next.advance()?;
        }
        Ok(())
    }
}

/// The lane whose next message comes first.
fn first_of<'l, 't, 's>(
    messages: &Table,
    lanes: &'l mut [Lane<'t, 's>; 2],
) -> CaliberResult<Option<&'l mut Lane<'t, 's>>> {
    let [first, second] = lanes;
    Ok(match (&first.place, &second.place) {
        (None, None) => None,
        (Some(_), None) => Some(first),
        (Some(a), Some(b)) if a.is_before(b, messages)? => Some(first),
        _ => Some(second),
    })
}

/// Where a message stands in the order of the queue.
struct Place {
    priority: Value<'static>,
    visible_at: i64,
    id: Uuid,
}

impl Place {
    fn is_before(&self, other: &Self, messages: &Table) -> CaliberResult<bool> {
        if self.priority.as_oid() == other.priority.as_oid() {
            return Ok((self.visible_at, self.id) < (other.visible_at, other.id));
        }
        for label in PRIORITIES {
            let priority = messages.enum_value(column::PRIORITY, label)?.as_oid();
            if self.priority.as_oid() == priority {
                return Ok(true);
            }
            if other.priority.as_oid() == priority {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

/// One receiver's messages, in the order of the index. Most often all that wait have one priority, so
/// no look-up is made for each of them.
struct Lane<'t, 's> {
    messages: &'t Table,
    snapshot: &'s ActiveSnapshot,
    path: Path,
    receiver: Value<'t>,
    until: Option<i64>,
    /// The states of a waiting message.
    waiting: [Value<'static>; 2],
    scan: IndexScan<'t>,
    /// The only priority that the scan looks for; those below it come then.
    only: Option<Value<'t>>,
    /// The waiting message that the scan stands on.
    place: Option<Place>,
}

impl<'t, 's> Lane<'t, 's> {
    fn begin(
        messages: &'t Table,
        path: Path,
        receiver: Value<'t>,
        snapshot: &'s ActiveSnapshot,
        from: Option<(Value<'t>, i64)>,
        until: Option<i64>,
    ) -> CaliberResult<Self> {
        let state = |label| messages.enum_value(column::STATUS, label);
        let waiting = [state("pending")?, state("delivered")?];
        let mut conditions = vec![equal(receiver)];
        if let Some((priority, visible_at)) = from {
            conditions.extend([equal(priority), at_least(Value::int8(visible_at))]);
        }
        let scan = messages.scan(path, &conditions, Order::Ascending, snapshot)?;
        let only = from.map(|(priority, _)| priority);
        let mut lane =
            Self { messages, snapshot, path, receiver, until, waiting, scan, only, place: None };
        lane.advance()?;
        Ok(lane)
    }

    /// Goes to the next waiting message, if there is one. A full index serves the path too, so the
    /// state is looked at again.
    fn advance(&mut self) -> CaliberResult<()> {
        self.place = None;
        loop {
            let Some(slot) = self.scan.next() else {
                match self.only.take() {
                    Some(priority) => self.go_below(priority)?,
                    None => return Ok(()),
                }
                continue;
            };
            let get = |position| slot.get(self.messages.attno(position));
            let status = get(column::STATUS).as_oid();
            if !self.waiting.iter().any(|state| state.as_oid() == status) {
                continue;
            }
            let priority = Value::oid(get(column::PRIORITY).as_oid().unwrap_or_default());
            let visible_at = get(column::VISIBLE_AT).as_i64().unwrap_or(0);
            if self.until.is_some_and(|until| visible_at > until) {
                // Neither are the others of this priority.
                self.go_below(priority)?;
                continue;
            }
            let id = get(column::MESSAGE_ID).as_uuid().unwrap_or_default();
            self.place = Some(Place { priority, visible_at, id });
            return Ok(());
        }
    }

    /// Goes to before the first message that is less urgent than these.
    fn go_below(&mut self, priority: Value<'_>) -> CaliberResult<()> {
        let conditions = [equal(self.receiver), less(priority)];
        if self.scan.conditions() == conditions.len() {
            self.scan.restart(&conditions);
        } else {
            self.scan =
                self.messages.scan(self.path, &conditions, Order::Ascending, self.snapshot)?;
        }
        Ok(())
    }
}
