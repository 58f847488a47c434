//! Note: knowledge across trajectories.

use super::knowledge::NOTES;
use super::update::mutate_alone;
use super::{create, get, get_many, list, open, required};
use crate::entity::NOTE;
use crate::entity::note::{column, path};
use caliber_am::error::CaliberResult;
use caliber_am::fmgr::{Call, Json, SetDone, SetOf};
use caliber_am::pg::clock::{self, Interval};
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::Access;
use caliber_am::table::row::Composite;
use caliber_am::table::writer::Given;
use uuid::Uuid;

caliber_am::sql_functions!(
    caliber_note_create,
    caliber_note_get,
    caliber_note_get_many,
    caliber_note_touch,
    caliber_note_query_by_trajectory,
    caliber_note_list_by_type,
    caliber_note_update,
    caliber_note_supersede,
    caliber_note_search,
);

#[allow(clippy::too_many_arguments)] // the SQL signature
fn caliber_note_create(
    _: &Call<'_>,
    note_type: Value<'_>,
    title: Value<'_>,
    content: Value<'_>,
    source_trajectory_ids: Value<'_>,
    source_artifact_ids: Value<'_>,
    source_note_ids: Value<'_>,
    abstraction_level: Value<'_>,
    embedding: Value<'_>,
    ttl: Option<Interval>,
    metadata: Value<'_>,
    note_id: Option<Uuid>,
) -> CaliberResult<Option<Uuid>> {
    let mut given = Given::new();
    given
        .set(column::NOTE_TYPE, note_type)
        .set(column::TITLE, title)
        .set(column::CONTENT, content)
        .set_unless_null(column::SOURCE_TRAJECTORY_IDS, source_trajectory_ids)
        .set_unless_null(column::SOURCE_ARTIFACT_IDS, source_artifact_ids)
        .set_unless_null(column::SOURCE_NOTE_IDS, source_note_ids)
        .set_unless_null(column::ABSTRACTION_LEVEL, abstraction_level)
        .set_unless_null(column::EMBEDDING, embedding)
        .set_unless_null(column::METADATA, metadata);
    NOTES.give_ttl(&mut given, ttl)?;
    create::create(NOTE, note_id, given)
}

fn caliber_note_get(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    get(NOTE, id)
}

fn caliber_note_get_many(call: &Call<'_>, ids: Value<'_>) -> CaliberResult<SetDone> {
    get_many(call, NOTE, ids)
}

fn caliber_note_touch(_: &Call<'_>, id: Option<Uuid>) -> CaliberResult<Option<Composite>> {
    let table = open(NOTE, Access::UPDATE)?;
    mutate_alone(&table, id, None, |row, given| {
        let count = row.get(column::ACCESS_COUNT).as_i64().unwrap_or(0);
        given
            .set(column::ACCESS_COUNT, Value::int8(count.saturating_add(1)))
            .set(column::ACCESSED_AT, Value::int8(clock::now()));
        Ok(())
    })
}

/// Through the GIN index, whose bitmap is in the order of the table: all matches are found and
/// sorted by their key before the page is cut.
fn caliber_note_query_by_trajectory(
    call: &Call<'_>,
    trajectory_id: Option<Uuid>,
    include_stale: Option<bool>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let trajectory_id = required("trajectory_id", trajectory_id)?;
    let all = required("include_stale", include_stale)?;
    let limit = list::row_limit(max_rows)?;
    let table = open(NOTE, Access::READ)?;
    let snapshot = ActiveSnapshot::of_statement();
    let mut found = Vec::new();
    table.for_each_containing(path::BY_SOURCE_TRAJECTORY, trajectory_id, &snapshot, |slot| {
        let id = slot.get(table.attno(column::NOTE_ID)).as_uuid();
        if after < id && (all || NOTES.is_live(&table, slot)) {
            found.extend(id);
        }
        Ok(())
    })?;
    found.sort_unstable();
    let mut answer = call.result_set(SetOf::Rows);
    for id in found.into_iter().take(limit) {
        if let Some(row) = table.get(id, &snapshot)? {
            answer.put_row(&table, row.slot());
        }
    }
    Ok(SetDone)
}

fn caliber_note_list_by_type(
    call: &Call<'_>,
    note_type: Value<'_>,
    include_stale: Option<bool>,
    max_rows: Option<i32>,
    after: Option<Uuid>,
) -> CaliberResult<SetDone> {
    let values = [("note_type", note_type)];
    NOTES.list(call, path::BY_TYPE, &values, include_stale, max_rows, after)
}

fn caliber_note_update(
    _: &Call<'_>,
    id: Option<Uuid>,
    changes: Option<Json>,
    embedding: Value<'_>,
    expected_version: Option<i64>,
) -> CaliberResult<Option<Composite>> {
    NOTES.update(id, changes, embedding, expected_version)
}

fn caliber_note_supersede(
    _: &Call<'_>,
    id: Option<Uuid>,
    by_id: Option<Uuid>,
) -> CaliberResult<Option<Composite>> {
    NOTES.supersede(id, by_id)
}

fn caliber_note_search(
    call: &Call<'_>,
    embedding: Value<'_>,
    k: Option<i32>,
    note_type: Value<'_>,
) -> CaliberResult<SetDone> {
    NOTES.search(call, embedding, k, (column::NOTE_TYPE, note_type))
}
