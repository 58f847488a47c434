//! Artifact: a typed output.

use super::knowledge::ARTIFACTS;
use super::{create, get, get_many};
use crate::entity::ARTIFACT;
use crate::entity::artifact::{column, path};
use caliber_am::error::CaliberResult;
use caliber_am::fmgr::{Call, Json, SetDone};
use caliber_am::pg::clock::Interval;
use caliber_am::pg::value::Value;
use caliber_am::table::row::Composite;
use caliber_am::table::writer::Given;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_artifact_create,
    caliber_artifact_get,
    caliber_artifact_get_many,
    caliber_artifact_query_by_type,
    caliber_artifact_query_by_scope,
    caliber_artifact_update,
    caliber_artifact_supersede,
    caliber_artifact_search,
);

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_artifact_create(
    _: &Call<'_>,
    trajectory_id: Value<'_>,
    scope_id: Value<'_>,
    artifact_type: Value<'_>,
    name: Value<'_>,
    content: Value<'_>,
    embedding: Value<'_>,
    source_turn: Value<'_>,
    extraction_method: Value<'_>,
    confidence: Value<'_>,
    ttl: Option<Interval>,
    metadata: Value<'_>,
    artifact_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    let mut given = Given::new();
    given
        .set(column::TRAJECTORY_ID, trajectory_id)
        .set(column::SCOPE_ID, scope_id)
        .set(column::ARTIFACT_TYPE, artifact_type)
        .set(column::NAME, name)
        .set(column::CONTENT, content)
        .set_unless_null(column::EMBEDDING, embedding)
        .set_unless_null(column::SOURCE_TURN, source_turn)
        .set_unless_null(column::EXTRACTION_METHOD, extraction_method)
        .set_unless_null(column::CONFIDENCE, confidence)
        .set_unless_null(column::METADATA, metadata);
    ARTIFACTS.give_ttl(&mut given, ttl)?;
    create::create(ARTIFACT, artifact_id, given)
}

fn caliber_artifact_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(ARTIFACT, id)
}

fn caliber_artifact_get_many(call: &Call<'_>, ids: Value<'_>) -> CaliberResult<SetDone> {
    get_many(call, ARTIFACT, ids)
}

fn caliber_artifact_query_by_type(
    call: &Call<'_>,
    trajectory_id: Value<'_>,
    artifact_type: Value<'_>,
    include_stale: Option<bool>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let values = [("trajectory_id", trajectory_id), ("artifact_type", artifact_type)];
    ARTIFACTS.list(call, path::BY_TYPE, &values, include_stale, max_rows, after)
}

fn caliber_artifact_query_by_scope(
    call: &Call<'_>,
    scope_id: Value<'_>,
    include_stale: Option<bool>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let values = [("scope_id", scope_id)];
    ARTIFACTS.list(call, path::BY_SCOPE, &values, include_stale, max_rows, after)
}

fn caliber_artifact_update(
    _: &Call<'_>,
    id: Option<Uuid>,
    changes: Option<Json>,
    embedding: Value<'_>,
    expected_version: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    ARTIFACTS.update(id, changes, embedding, expected_version)
}

fn caliber_artifact_supersede(
    _: &Call<'_>,
    id: Option<Uuid>,
    by_id: Option<Uuid>,
) -> CaliberResult<Option<Composite>> {
    ARTIFACTS.supersede(id, by_id)
}

fn caliber_artifact_search(
    call: &Call<'_>,
    embedding: Value<'_>,
    k: Option<i32>,
    trajectory_id: Value<'_>,
) -> CaliberResult<SetDone> {
    ARTIFACTS.search(call, embedding, k, (column::TRAJECTORY_ID, trajectory_id))
}
