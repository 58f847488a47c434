//! `caliber_verify` and `caliber_stat`: for people who look after tables.

use caliber_am::error::CaliberResult;
use caliber_am::fmgr::{Call, SetDone, SetOf};
use caliber_am::inspect;
use caliber_am::pg::value::Value;
use pgrx::pg_sys;

caliber_am::sql_functions!(caliber_verify, caliber_stat);

fn caliber_verify(call: &Call<'_>, relation: Option<pg_sys::Oid>) -> CaliberResult<SetDone> {
    let mut answer = call.result_set(SetOf::Rows);
    let Some(relation) = relation else { return Ok(SetDone) };
    for finding in inspect::verify(relation)? {
        answer.put(&[
            Value::oid(finding.part),
            finding.block.map_or(Value::NULL, Value::int8),
            finding.offset.map_or(Value::NULL, Value::int4),
            finding.attribute.map_or(Value::NULL, Value::int4),
            Value::text(&finding.message)?,
        ]);
    }
    Ok(SetDone)
}

fn caliber_stat(call: &Call<'_>, relation: Option<pg_sys::Oid>) -> CaliberResult<SetDone> {
    let mut answer = call.result_set(SetOf::Rows);
    let Some(relation) = relation else { return Ok(SetDone) };
    let space = inspect::space(relation)?;
    let percent = |part: i64, whole: i64| {
        let share = 100.0 * part as f64 / whole as f64;
        if whole > 0 { Value::float8(share) } else { Value::NULL }
    };
    answer.put(&[
        Value::int8(space.table_len),
        Value::int8(space.tuple_count),
        Value::int8(space.tuple_len),
        percent(space.tuple_len, space.table_len),
        Value::int8(space.dead_tuple_count),
        Value::int8(space.dead_tuple_len),
        percent(space.dead_tuple_len, space.table_len),
        Value::int8(space.free_space),
        percent(space.free_space, space.table_len),
        Value::int8(space.updates),
        Value::int8(space.hot_updates),
        percent(space.hot_updates, space.updates),
    ]);
    Ok(SetDone)
}
