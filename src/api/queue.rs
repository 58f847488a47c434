//! The queue of an agent: the messages waiting for it or for its type, most urgent first.

use crate::entity::message::{column, path};
use caliber_am::error::CaliberResult;
use caliber_am::model::Path;
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
        let mut lanes = [
            Lane::to(self.messages, path::TO_AGENT, Value::uuid(self.agent))?,
            Lane::to(self.messages, path::TO_TYPE, Value::text(&self.agent_type)?)?,
        ];
        for priority in &PRIORITIES[first..] {
            let value = self.messages.enum_value(column::PRIORITY, priority)?;
            for lane in &mut lanes {
                lane.start(value, visible(priority), snapshot)?;
            }
            while let Some(next) = next_of(&mut lanes) {
                let Some(scan) = &next.scan else { break };
                if !see(scan)? {
                    return Ok(());
                }
                next.advance();
            }
        }
        Ok(())
    }
}

/// The lane whose next message comes first.
fn next_of<'l, 't>(lanes: &'l mut [Lane<'t>]) -> Option<&'l mut Lane<'t>> {
    let standing = lanes.iter_mut().filter(|lane| lane.place.is_some());
    standing.min_by_key(|lane| lane.place)
}

/// One receiver's messages, of one priority after the other.
struct Lane<'t> {
    messages: &'t Table,
    path: Path,
    receiver: Value<'t>,
    /// The states of a waiting message.
    waiting: [Value<'static>; 2],
    /// Begun with the first priority.
    scan: Option<IndexScan<'t>>,
    /// The waiting message that the scan stands on.
    place: Option<Place>,
}

impl<'t> Lane<'t> {
    fn to(messages: &'t Table, path: Path, receiver: Value<'t>) -> CaliberResult<Self> {
        let state = |label| messages.enum_value(column::STATUS, label);
        let waiting = [state("pending")?, state("delivered")?];
        Ok(Self { messages, path, receiver, waiting, scan: None, place: None })
    }

    /// Goes to the first waiting message of a priority.
    fn start(
        &mut self,
        priority: Value<'_>,
        visible: Option<Condition<'_>>,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<()> {
        let mut conditions = vec![equal(self.receiver), equal(priority)];
        conditions.extend(visible);
        match &mut self.scan {
            Some(scan) if scan.conditions() == conditions.len() => scan.restart(&conditions),
            scan => {
                let path = self.path;
                *scan = Some(self.messages.scan(path, &conditions, Order::Ascending, snapshot)?);
            }
        }
        self.advance();
        Ok(())
    }

    /// Goes to the next waiting message, if there is one. A full index serves the path too, so the
    /// state is looked at again.
    fn advance(&mut self) {
        self.place = None;
        let Some(scan) = &mut self.scan else { return };
        while let Some(slot) = scan.next() {
            let get = |position| slot.get(self.messages.attno(position));
            let status = get(column::STATUS).as_oid();
            if self.waiting.iter().any(|state| state.as_oid() == status) {
                self.place = Some((
                    get(column::VISIBLE_AT).as_i64().unwrap_or(0),
                    get(column::MESSAGE_ID).as_uuid().unwrap_or_default(),
                ));
                return;
            }
        }
    }
}
