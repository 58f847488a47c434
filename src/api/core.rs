//! Functions that belong to no entity.

use crate::{ddl, ids, tokens};
use caliber_am::error::CaliberResult;
use caliber_am::fmgr::{Call, Name, SetDone, SetOf, Text};
use caliber_am::pg::planner::{PlannerAnswer, PlannerRequest};
use caliber_am::pg::relation::relation_exists;
use caliber_am::pg::value::Value;
use caliber_am::storage::routine;
use caliber_am::table::entity_of;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_am_handler,
    caliber_am_callbacks,
    caliber_version,
    caliber_new_id,
    caliber_entity,
    caliber_estimate_tokens,
    caliber_schema_exists,
    caliber_rows_support,
    caliber_content_hash,
);

/// The arguments that limit the rows of a set.
const LIMITS: &[&CStr] = &[c"max_rows", c"max_messages", c"k"];

fn caliber_am_handler(_: &Call<'_>) -> CaliberResult<&'static pg_sys::TableAmRoutine> {
    Ok(routine::routine())
}

fn caliber_am_callbacks(call: &Call<'_>) -> CaliberResult<SetDone> {
    let mut answer = call.result_set(SetOf::Rows);
    for (callback, is_heap) in routine::callbacks() {
        let provider = if is_heap { "heap" } else { "caliber_am" };
        answer.put(&[Value::text(callback)?, Value::text(provider)?]);
    }
    Ok(SetDone)
}

fn caliber_version(_: &Call<'_>) -> CaliberResult<&'static str> {
    Ok(env!("CARGO_PKG_VERSION"))
}

fn caliber_new_id(_: &Call<'_>) -> CaliberResult<Uuid> {
    Ok(ids::new_id())
}

fn caliber_entity(
    _: &Call<'_>,
    relation: Option<pg_sys::Oid>,
) -> CaliberResult<Option<&'static str>> {
    let Some(relation) = relation else {
        return Ok(None);
    };
    Ok(entity_of(relation)?.map(|entity| entity.name))
}

fn caliber_estimate_tokens(_: &Call<'_>, content: Option<Text>) -> CaliberResult<Option<i32>> {
    Ok(content.map(|content| tokens::estimate(&content.0)))
}

fn caliber_schema_exists(_: &Call<'_>, schema: Option<Name>) -> CaliberResult<Option<bool>> {
    let Some(schema) = schema else {
        return Ok(None);
    };
    let Ok(schema) = CString::new(schema.0) else {
        return Ok(Some(false));
    };
    Ok(Some(ddl::tables().all(|table| relation_exists(&schema, table))))
}

fn caliber_rows_support(_: &Call<'_>, request: PlannerRequest) -> CaliberResult<PlannerAnswer> {
    Ok(request.answer_by_limit(LIMITS))
}

fn caliber_content_hash(
    _: &Call<'_>,
    content: Option<Text>,
) -> CaliberResult<Option<Value<'static>>> {
    content.map(|content| Value::sha256(content.0.as_bytes())).transpose()
}
