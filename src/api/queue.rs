//! The queue of an agent: the messages waiting for it or for its type, most urgent first.

use crate::entity::message::{column, path};
use caliber_am::error::CaliberResult;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Table;
use caliber_am::table::lookup::{Condition, IndexScan, Order, equal};
use uuid::Uuid;

/// The priorities, most urgent first.
const PRIORITIES: [&str; 4] = ["critical", "high", "normal", "low"];

/// The order within one priority.
type Place = (i64, Uuid);

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
    /// returns false. `visible` restricts `visible_at`; `from` skips the more urgent priorities.
    ///
    /// # Errors
    /// Those of the look-ups and of `see`.
    pub fn for_each(
        &self,
        snapshot: &ActiveSnapshot,
        from: Option<&str>,
        visible: impl Fn(&str) -> Option<Condition<'t>>,
        mut see: impl FnMut(&IndexScan<'_>) -> CaliberResult<bool>,
    ) -> CaliberResult<()> {
        let first = from.and_then(|from| PRIORITIES.iter().position(|p| *p == from)).unwrap_or(0);
        for priority in &PRIORITIES[first..] {
            let value = self.messages.enum_value(column::PRIORITY, priority)?;
            let mut lanes = Vec::new();
            for (path, receiver) in [
                (path::TO_AGENT, Value::uuid(self.agent)),
                (path::TO_TYPE, Value::text(&self.agent_type)?),
            ] {
                let mut conditions = vec![equal(receiver), equal(value)];
                conditions.extend(visible(priority));
                let scan = self.messages.scan(path, &conditions, Order::Ascending, snapshot)?;
                lanes.extend(Lane::of(self.messages, scan));
            }
            while let Some(next) = (0..lanes.len()).min_by_key(|&i| lanes[i].place) {
                if !see(&lanes[next].scan)? {
                    return Ok(());
                }
                if !lanes[next].advance(self.messages) {
                    lanes.remove(next);
                }
            }
        }
        Ok(())
    }
}

/// One receiver's messages of one priority, standing on a waiting one.
struct Lane<'t> {
    scan: IndexScan<'t>,
    place: Place,
}

impl<'t> Lane<'t> {
    fn of(messages: &Table, scan: IndexScan<'t>) -> Option<Self> {
        let mut lane = Self { scan, place: (0, Uuid::nil()) };
        lane.advance(messages).then_some(lane)
    }

    /// Goes to the next waiting message; false when there is none. A full index serves the path
    /// too, so the state is looked at again.
    fn advance(&mut self, messages: &Table) -> bool {
        while let Some(slot) = self.scan.next() {
            let get = |position| slot.get(messages.attno(position));
            let status = get(column::STATUS).as_enum_label();
            if matches!(status.as_deref(), Some("pending" | "delivered")) {
                self.place = (
                    get(column::VISIBLE_AT).as_i64().unwrap_or(0),
                    get(column::MESSAGE_ID).as_uuid().unwrap_or_default(),
                );
                return true;
            }
        }
        false
    }
}
