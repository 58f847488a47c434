//! Turn: one message of a conversation, append-only.

use super::fences::{ScopeTables, trajectory_access};
use super::scope::require_active;
use super::update::{unknown, write_and};
use super::{create, get, get_many, list, may_open, open, required};
use crate::chat::{self, Role};
use crate::entity::scope::column as scope;
use crate::entity::turn::{column, path};
use crate::entity::{SCOPE, TRAJECTORY, TURN};
use crate::tokens;
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, Json, SetDone, SetOf};
use caliber_am::model::ColumnSet;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::event::Event;
use caliber_am::table::lock::RowLock;
use caliber_am::table::lookup::{Order, at_least, equal, greater};
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::{Given, Writer};
use caliber_am::table::{Access, Table};
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_turn_create,
    caliber_turn_append_many,
    caliber_turn_get,
    caliber_turn_get_many,
    caliber_turn_get_by_scope,
    caliber_turn_tail,
);

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_turn_create(
    _: &Call<'_>,
    scope_id: Option<Uuid>,
    role: Value<'_>,
    content: Value<'_>,
    token_count: Option<i32>,
    tool_calls: Value<'_>,
    tool_results: Value<'_>,
    metadata: Value<'_>,
    sequence: Option<i32>,
    fence: Option<i64>,
    turn_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    may_open(&[
        (TURN, Access::INSERT),
        (SCOPE, Access::UPDATE),
        (TRAJECTORY, trajectory_access(fence)),
    ])?;
    let tables = ScopeTables::open(fence)?;
    let turns = open(TURN, Access::INSERT)?;
    let mut given = Given::new();
    given
        .set(column::SCOPE_ID, scope_id.map_or(Value::NULL, Value::uuid))
        .set(column::ROLE, role)
        .set(column::CONTENT, content)
        .set_unless_null(column::TOKEN_COUNT, token_count.map_or(Value::NULL, Value::int4))
        .set_unless_null(column::TOOL_CALLS, tool_calls)
        .set_unless_null(column::TOOL_RESULTS, tool_results)
        .set_unless_null(column::METADATA, metadata)
        .set_unless_null(column::SEQUENCE, sequence.map_or(Value::NULL, Value::int4));
    let snapshot = ActiveSnapshot::for_write();
    if create::exists_alike(&turns, turn_id, &given, &snapshot)? {
        return Ok(turn_id);
    }
    let mut append = Append::begin(&tables, &turns, scope_id, fence, &snapshot)?;
    // Whoever held the scope before may have been the same call, repeated.
    let snapshot = ActiveSnapshot::for_write();
    if create::exists_alike(&turns, turn_id, &given, &snapshot)? {
        return Ok(turn_id);
    }
    if let Some(id) = turn_id {
        given.set(column::TURN_ID, Value::uuid(id));
    }
    let asked = match token_count {
        Some(count) => count,
        None => content.as_text().map_or(0, |content| tokens::estimate(&content)),
    };
    append.check_budget(asked)?;
    let next = append.sequence(sequence)?;
    given.set(column::SEQUENCE, Value::int4(next)).set(column::TOKEN_COUNT, Value::int4(asked));
    let id = match append.locked_scope() {
        Some(scope) => create::insert_below(&turns, &given, &tables.scopes, scope)?,
        None => create::insert(&turns, &given)?,
    };
    if id.is_some() {
        append.stored(next, asked);
    }
    append.finish()?;
    Ok(id)
}

fn caliber_turn_append_many(
    call: &Call<'_>,
    scope_id: Option<Uuid>,
    messages: Option<Json>,
    fence: Option<i64>,
) -> CaliberResult<SetDone> {
    may_open(&[
        (TURN, Access::INSERT),
        (SCOPE, Access::UPDATE),
        (TRAJECTORY, trajectory_access(fence)),
    ])?;
    let tables = ScopeTables::open(fence)?;
    let turns = open(TURN, Access::INSERT)?;
    let scope_id = required("scope_id", scope_id)?;
    let messages = chat::parse_messages(&required("messages", messages)?.0)?;
    let mut answer = call.result_set(SetOf::Values);
    let snapshot = ActiveSnapshot::for_write();
    let mut append = Append::begin(&tables, &turns, Some(scope_id), fence, &snapshot)?;
    let snapshot = ActiveSnapshot::for_write();
    const COLUMNS: ColumnSet = ColumnSet::of(&[
        column::SCOPE_ID,
        column::SEQUENCE,
        column::ROLE,
        column::CONTENT,
        column::TOKEN_COUNT,
        column::TOOL_CALLS,
        column::TOOL_RESULTS,
        column::METADATA,
    ]);
    let mut writer = Writer::begin(&turns, Event::Insert, COLUMNS);
    if let Some(scope) = append.locked_scope() {
        writer.rely_on(&tables.scopes, scope);
    }
    let mut roles: Vec<(Role, Value<'static>)> = Vec::new();
    for message in messages {
        let role = match roles.iter().find(|(role, _)| *role == message.role) {
            Some(&(_, value)) => value,
            None => {
                let value = turns.enum_value(column::ROLE, message.role.label())?;
                roles.push((message.role, value));
                value
            }
        };
        let asked = tokens::estimate(&message.content);
        append.check_budget(asked)?;
        let next = append.sequence(None)?;
        let json = |json: &Option<String>| match json {
            Some(json) => Value::jsonb(json),
            None => Ok(Value::NULL),
        };
        let mut given = Given::new();
        given
            .set(column::SCOPE_ID, Value::uuid(scope_id))
            .set(column::SEQUENCE, Value::int4(next))
            .set(column::ROLE, role)
            .set(column::CONTENT, Value::text(&message.content)?)
            .set(column::TOKEN_COUNT, Value::int4(asked))
            .set(column::TOOL_CALLS, json(&message.tool_calls)?)
            .set(column::TOOL_RESULTS, json(&message.tool_results)?)
            .set(column::METADATA, json(&message.metadata)?);
        let stored = writer.insert(&given)?;
        let id = stored.and_then(|slot| slot.get(turns.attno(column::TURN_ID)).as_uuid());
        if let Some(id) = id {
            answer.put(&[Value::uuid(id)]);
            append.stored(next, asked);
        }
    }
    writer.finish();
    drop(snapshot);
    append.finish()?;
    Ok(SetDone)
}

/// Appending to one scope: its row is locked, so sequences have no gap and the budget holds.
struct Append<'t> {
    scopes: &'t Table,
    scope_id: Option<Uuid>,
    /// What the lock brought with it. `None`: there is no such scope, and the foreign key will
    /// say so.
    changes: Option<Given<'static>>,
    /// The sequence number of the next turn: one past the highest ever given.
    next: i64,
    /// The tokens used before, and those of the turns that were stored.
    used: i64,
    charged: i64,
    budget: i64,
}

impl<'t> Append<'t> {
    /// Locks the scope and looks up where it stands.
    ///
    /// # Errors
    /// 55006 for a fence, 55000 for a closed scope.
    fn begin(
        tables: &'t ScopeTables,
        turns: &Table,
        scope_id: Option<Uuid>,
        fence: Option<i64>,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<Self> {
        let mut append = Self {
            scopes: &tables.scopes,
            scope_id,
            changes: None,
            next: 0,
            used: 0,
            charged: 0,
            budget: i64::from(i32::MAX),
        };
        let Some(id) = scope_id else { return Ok(append) };
        let Some((row, changes)) = tables.lock_scope(id, fence, snapshot)? else {
            return Ok(append);
        };
        require_active(&row)?;
        append.used = counter(&row, scope::TOKENS_USED);
        append.budget = counter(&row, scope::TOKEN_BUDGET);
        let counted = row.get(scope::TURN_COUNT).as_i32().unwrap_or(0);
        append.next = next_sequence(turns, id, counted)?;
        append.changes = Some(changes);
        Ok(append)
    }

    /// The scope, if it is there. It is locked, and [`Append::finish`] finds it again.
    fn locked_scope(&self) -> Option<Uuid> {
        self.changes.as_ref().and(self.scope_id)
    }

    /// Whether the budget allows this many more tokens. A negative count is left to the column's
    /// constraint.
    ///
    /// # Errors
    /// 54000
    fn check_budget(&self, asked: i32) -> CaliberResult<()> {
        let (asked, used) = (i64::from(asked), self.used + self.charged);
        if asked <= 0 || used + asked <= self.budget {
            return Ok(());
        }
        let id = self.scope_id.unwrap_or_default();
        Err(CaliberError::Budget { id, budget: self.budget, used, asked })
    }

    /// The sequence number of the next turn, or the one given, which must not be beyond it.
    ///
    /// # Errors
    /// 55006 for a number beyond the next, 54000 when there is none left. A negative one, one that is
    /// taken, and any in an unknown scope are left to the table's constraints.
    fn sequence(&self, given: Option<i32>) -> CaliberResult<i32> {
        let id = self.scope_id.unwrap_or_default();
        match given {
            Some(given) if self.locked_scope().is_some() && i64::from(given) > self.next => {
                Err(CaliberError::StaleSequence { id, given, next: self.next })
            }
            Some(given) => Ok(given),
            None => i32::try_from(self.next).map_err(|_| CaliberError::SequenceExhausted { id }),
        }
    }

    /// Counts and charges a turn that was stored.
    fn stored(&mut self, sequence: i32, tokens: i32) {
        self.next = self.next.max(i64::from(sequence) + 1);
        self.charged += i64::from(tokens);
    }

    /// Writes the scope's counters, once. Triggers on the turns may have written the scope
    /// meanwhile, so what was stored is added to the row as it is now.
    ///
    /// # Errors
    /// P0002 when there is no such scope and no foreign key said so; 54000 when a trigger has used
    /// the budget up.
    fn finish(mut self) -> CaliberResult<()> {
        let id = self.scope_id.unwrap_or_default();
        let missing = || unknown(self.scopes, id);
        let mut changes = self.changes.take().ok_or_else(missing)?;
        let snapshot = ActiveSnapshot::for_write();
        let row = self.scopes.lock_by_id(id, RowLock::NoKeyUpdate, &snapshot)?;
        let row = row.ok_or_else(missing)?;
        let (budget, used) =
            (counter(&row, scope::TOKEN_BUDGET), counter(&row, scope::TOKENS_USED));
        let total = used + self.charged;
        if self.charged > 0 && total > budget {
            return Err(CaliberError::Budget { id, budget, used, asked: self.charged });
        }
        let count = counter(&row, scope::TURN_COUNT).max(self.next);
        // Both fit: the budget is an integer, and the count goes one past the highest number.
        let integer = |value: i64| Value::int4(i32::try_from(value).unwrap_or(i32::MAX));
        changes.set(scope::TOKENS_USED, integer(total)).set(scope::TURN_COUNT, integer(count));
        write_and(self.scopes, &row, &changes, |_| Ok(()))?;
        Ok(())
    }
}

/// A counter of the scope.
fn counter(row: &Row<'_>, position: usize) -> i64 {
    row.get(position).as_i32().unwrap_or(0).into()
}

/// The sequence number of the scope's next turn: the one that it counts, or one past the highest that
/// is stored, by whatever way. Only numbers that the scope has not counted are looked for: an index scan
/// reads all that it finds on a page.
fn next_sequence(turns: &Table, scope_id: Uuid, counted: i32) -> CaliberResult<i64> {
    let snapshot = ActiveSnapshot::latest();
    let conditions = [equal(Value::uuid(scope_id)), at_least(Value::int4(counted))];
    let mut scan = turns.scan(path::BY_SCOPE, &conditions, Order::Descending, &snapshot)?;
    let highest = scan.next().and_then(|slot| slot.get(turns.attno(column::SEQUENCE)).as_i32());
    Ok(highest.map_or(i64::from(counted), |highest| i64::from(highest) + 1))
}

fn caliber_turn_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(TURN, id)
}

fn caliber_turn_get_many(call: &Call<'_>, ids: Value<'_>) -> CaliberResult<SetDone> {
    get_many(call, TURN, ids)
}

fn caliber_turn_get_by_scope(
    call: &Call<'_>,
    scope_id: Option<Uuid>,
    after_sequence: Option<i32>,
    max_rows: Option<i32>,
) -> CaliberResult<SetDone> {
    let scope_id = required("scope_id", scope_id)?;
    let after = required("after_sequence", after_sequence)?;
    let limit = list::row_limit(max_rows)?;
    let table = open(TURN, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    put_turns(call, &table, scope_id, after, limit, &snapshot)
}

fn caliber_turn_tail(
    call: &Call<'_>,
    scope_id: Option<Uuid>,
    max_rows: Option<i32>,
) -> CaliberResult<SetDone> {
    let scope_id = required("scope_id", scope_id)?;
    let limit = list::row_limit(max_rows)?;
    let table = open(TURN, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    // Backwards to where the tail begins, then forwards from there.
    let conditions = [equal(Value::uuid(scope_id))];
    let mut scan = table.scan(path::BY_SCOPE, &conditions, Order::Descending, &snapshot)?;
    let mut first = None;
    for _ in 0..limit {
        let Some(slot) = scan.next() else { break };
        first = slot.get(table.attno(column::SEQUENCE)).as_i32();
    }
    drop(scan);
    let after = first.map_or(i32::MAX, |first| first.saturating_sub(1));
    put_turns(call, &table, scope_id, after, limit, &snapshot)
}

/// Answers with the scope's turns after a sequence number, in order.
fn put_turns(
    call: &Call<'_>,
    table: &Table,
    scope_id: Uuid,
    after: i32,
    limit: usize,
    snapshot: &ActiveSnapshot,
) -> CaliberResult<SetDone> {
    let mut answer = call.result_set(SetOf::Rows);
    let conditions = [equal(Value::uuid(scope_id)), greater(Value::int4(after))];
    let mut scan = table.scan(path::BY_SCOPE, &conditions, Order::Ascending, snapshot)?;
    answer.put_rows(table, &mut scan, limit);
    Ok(SetDone)
}
