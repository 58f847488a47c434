//! The SQL functions: parse, call, return. What they decide is in the pure modules; how they reach
//! their tables is in `caliber_am::table`.

mod agent;
mod artifact;
mod check;
mod conflict;
mod core;
mod create;
mod delegation;
mod fences;
mod handoff;
mod init;
mod inspect;
mod knowledge;
mod list;
mod lock;
mod message;
mod note;
mod offer;
mod queue;
mod schema;
mod scope;
mod send;
mod settings;
mod trajectory;
mod turn;
mod update;

use crate::rule::Rules;
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, SetDone, SetOf};
use caliber_am::model::Entity;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::row::Composite;
use caliber_am::table::{Access, Table};
use uuid::Uuid;

caliber_am::library!(load);

/// Runs once in every process that loads the library.
fn load() {
    caliber_am::storage::serve(&Rules);
    settings::define();
    caliber_am::table::hint::set_budget(settings::hint_cache_bytes);
}

/// Opens the entity's table in the schema that `caliber.schema` names.
fn open(entity: &'static Entity, access: Access) -> CaliberResult<Table> {
    Table::open(&settings::schema(), entity, access)
}

/// Refuses who may not open all of these tables so, before any of them is locked or read.
fn may_open(tables: &[(&'static Entity, Access)]) -> CaliberResult<()> {
    let schema = settings::schema();
    tables.iter().try_for_each(|&(entity, access)| Table::may_open(&schema, entity, access))
}

/// `caliber_<entity>_get`: the row with this id; null for an unknown one.
fn get(entity: &'static Entity, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    let Some(id) = id else { return Ok(None) };
    let table = open(entity, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    table.get(id, &snapshot)?.map(|row| row.to_composite()).transpose()
}

/// `caliber_<entity>_get_many`: the rows with these ids, in the order of the ids. Unknown ids and
/// nulls have no row.
fn get_many(call: &Call<'_>, entity: &'static Entity, ids: Value<'_>) -> CaliberResult<SetDone> {
    let mut answer = call.result_set(SetOf::Rows);
    let table = open(entity, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    let mut lookups = table.lookups(&snapshot);
    for id in ids.as_uuid_array() {
        if let Some(row) = lookups.get(id)? {
            answer.put_row(&table, row);
        }
    }
    drop(lookups);
    Ok(SetDone)
}

/// The argument, which must not be null.
fn required<T>(argument: &'static str, value: Option<T>) -> CaliberResult<T> {
    value.ok_or_else(|| CaliberError::argument(argument, "The argument must not be null."))
}
