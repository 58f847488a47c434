//! Conflict: two items disagree.

use super::knowledge::{ARTIFACTS, Knowledge, NOTES};
use super::update::{mutate, require_state, unknown, write_and};
use super::{create, get, list, open, required};
use crate::entity::conflict::{column, path};
use crate::entity::{ARTIFACT, CONFLICT, NOTE, artifact};
use crate::json;
use crate::resolution::{self, Item, Outcome, Strategy};
use caliber_am::error::CaliberResult;
use caliber_am::fmgr::{Call, SetDone, Text};
use caliber_am::pg::clock;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::lock::RowLock;
use caliber_am::table::lookup::equal;
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::Given;
use caliber_am::table::{Access, Table};
use std::cell::OnceCell;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_conflict_create,
    caliber_conflict_get,
    caliber_conflict_resolve,
    caliber_conflict_list_pending,
);

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_conflict_create(
    _: &Call<'_>,
    conflict_type: Value<'_>,
    item_a_type: Value<'_>,
    item_a_id: Value<'_>,
    item_b_type: Value<'_>,
    item_b_id: Value<'_>,
    agent_a_id: Value<'_>,
    agent_b_id: Value<'_>,
    trajectory_id: Value<'_>,
    metadata: Value<'_>,
    conflict_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    let mut given = Given::new();
    given
        .set(column::CONFLICT_TYPE, conflict_type)
        .set(column::ITEM_A_TYPE, item_a_type)
        .set(column::ITEM_A_ID, item_a_id)
        .set(column::ITEM_B_TYPE, item_b_type)
        .set(column::ITEM_B_ID, item_b_id)
        .set_unless_null(column::AGENT_A_ID, agent_a_id)
        .set_unless_null(column::AGENT_B_ID, agent_b_id)
        .set_unless_null(column::TRAJECTORY_ID, trajectory_id)
        .set_unless_null(column::METADATA, metadata);
    create::create(CONFLICT, conflict_id, given)
}

fn caliber_conflict_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(CONFLICT, id)
}

/// The states in which a conflict can be resolved.
const UNRESOLVED: &[&str] = &["detected", "resolving", "escalated"];

/// The items are locked before the conflict's own row: a deletion of their trajectory reaches the
/// conflict after them as well.
fn caliber_conflict_resolve(
    _: &Call<'_>,
    id: Option<Uuid>,
    strategy: Value<'_>,
    winner: Option<Uuid>,
    reason: Option<Text>,
    resolved_by: Option<Uuid>,
    expected_version: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    let conflicts = open(CONFLICT, Access::UPDATE)?;
    let strategy = required("strategy", strategy.as_enum_label())?;
    let strategy = Strategy::from_label(&strategy)?;
    let items = OnceCell::new();
    let lock = |id, snapshot: &ActiveSnapshot| {
        let Some(seen) = conflicts.get(id, snapshot)? else { return Ok(None) };
        require_state(&seen, id, UNRESOLVED)?;
        // Nothing is done to them by handing the decision on, so they may be gone.
        let locked = match strategy {
            Strategy::Escalate => Items::named_by(&seen),
            _ => Items::locked(&seen)?,
        };
        items.get_or_init(|| locked);
        let row = conflicts.lock_row(seen, RowLock::NoKeyUpdate, snapshot)?;
        Ok(row.map(|row| (row, Given::new())))
    };
    mutate(&conflicts, id, expected_version, lock, |row, given| {
        let id = row.get(column::CONFLICT_ID).as_uuid().unwrap_or_default();
        require_state(row, id, UNRESOLVED)?;
        let Some(items) = items.get() else { unreachable!("locked before their conflict") };
        let outcome = resolution::decide(strategy, items.a, items.b, items.are_known(), winner)?;
        items.carry_out(&outcome)?;
        let resolution = resolution::to_json(
            strategy,
            &outcome,
            reason.as_ref().map(|reason| reason.0.as_str()),
            resolved_by,
        );
        given.set(column::RESOLUTION, Value::jsonb(&json::object_text(&resolution))?);
        let status = if outcome == Outcome::Escalated { "escalated" } else { "resolved" };
        if row.state() != Some(status) {
            given.set(column::STATUS, conflicts.enum_value(column::STATUS, status)?);
        }
        if outcome != Outcome::Escalated {
            given.set(column::RESOLVED_AT, Value::transaction_timestamp());
        }
        Ok(())
    })
}

/// The two items of a conflict, and their table if it is one of ours.
struct Items {
    a: Item,
    b: Item,
    table: Option<(&'static Knowledge, Table)>,
}

impl Items {
    /// The items by their ids alone.
    fn named_by(conflict: &Row<'_>) -> Self {
        let item = |position| Item {
            id: conflict.get(position).as_uuid().unwrap_or_default(),
            ..Item::default()
        };
        Self { a: item(column::ITEM_A_ID), b: item(column::ITEM_B_ID), table: None }
    }

    /// Locks the items and reads them as they are now.
    fn locked(conflict: &Row<'_>) -> CaliberResult<Self> {
        let mut items = Self::named_by(conflict);
        let kind = conflict.get(column::ITEM_A_TYPE).as_text();
        if kind != conflict.get(column::ITEM_B_TYPE).as_text() {
            return Ok(items);
        }
        let knowledge = match kind.as_deref() {
            Some(kind) if kind == ARTIFACT.name => &ARTIFACTS,
            Some(kind) if kind == NOTE.name => &NOTES,
            _ => return Ok(items),
        };
        let table = open(knowledge.entity, Access::UPDATE)?;
        // Locked in id order, as a supersession locks them.
        let mut ids = [items.a.id, items.b.id];
        ids.sort_unstable();
        for id in ids {
            knowledge.lock(&table, id)?;
        }
        let snapshot = ActiveSnapshot::for_write();
        for item in [&mut items.a, &mut items.b] {
            let id = item.id;
            let row = table.get(id, &snapshot)?.ok_or_else(|| unknown(&table, id))?;
            let time = |name| {
                let position = knowledge.entity.column(name);
                position.and_then(|position| row.get(position).as_i64())
            };
            item.created_at = time("created_at");
            item.updated_at = time("updated_at");
            if std::ptr::eq(knowledge.entity, ARTIFACT) {
                item.confidence = row.get(artifact::column::CONFIDENCE).as_f32();
            }
        }
        items.table = Some((knowledge, table));
        Ok(items)
    }

    /// Whether the items are rows that can be compared and superseded.
    const fn are_known(&self) -> bool {
        self.table.is_some()
    }

    /// Does to the items what was decided.
    fn carry_out(&self, outcome: &Outcome) -> CaliberResult<()> {
        let Some((knowledge, table)) = &self.table else { return Ok(()) };
        match *outcome {
            Outcome::Escalated => Ok(()),
            Outcome::Won { winner, loser } => {
                knowledge.supersede_by(table, loser, winner).map(drop)
            }
            Outcome::Merged { into } => {
                for loser in [self.a.id, self.b.id] {
                    knowledge.supersede_by(table, loser, into)?;
                }
                Ok(())
            }
            Outcome::Rejected => {
                for id in [self.a.id, self.b.id] {
                    let (row, mut changes) = knowledge.lock(table, id)?;
                    let now = clock::transaction_start();
                    let expires_at = row.get(knowledge.expires_at).as_i64();
                    if expires_at.is_none_or(|expires_at| expires_at > now) {
                        changes.set(knowledge.expires_at, Value::int8(now));
                        write_and(table, &row, &changes, |_| Ok(()))?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn caliber_conflict_list_pending(
    call: &Call<'_>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let limit = list::row_limit(max_rows)?;
    let table = open(CONFLICT, Access::READ)?;
    let mut look_ups = Vec::new();
    for status in ["detected", "resolving"] {
        let status = table.enum_value(column::STATUS, status)?;
        look_ups.push((path::BY_STATUS, vec![equal(status)]));
    }
    list::merged(call, &table, &look_ups, limit, after, |_| true)
}
