//! What artifacts and notes share: they have an embedding to be found by, they expire, and they
//! are superseded by what replaces them.

use super::update::{Locked, mutate_alone, parse_changes, unknown, write};
use super::{list, open, required};
use crate::entity::{ARTIFACT, NOTE, artifact, note};
use caliber_am::error::{CaliberError, CaliberResult};
use caliber_am::fmgr::{Call, Json, SetDone, SetOf};
use caliber_am::model::{Entity, Path};
use caliber_am::pg::clock::{self, Interval};
use caliber_am::pg::slot::Slot;
use caliber_am::pg::snapshot::ActiveSnapshot;
use caliber_am::pg::value::Value;
use caliber_am::table::lock::RowLock;
use caliber_am::table::row::{Composite, Row};
use caliber_am::table::writer::Given;
use caliber_am::table::{Access, Table};
use std::collections::BTreeSet;
use uuid::Uuid;

/// An entity whose rows are knowledge: where its columns are.
pub struct Knowledge {
    /// The entity.
    pub entity: &'static Entity,
    /// `embedding`
    pub embedding: usize,
    /// `expires_at`
    pub expires_at: usize,
    /// `superseded_by`
    pub superseded_by: usize,
    /// The way to the rows nearest to an embedding.
    pub by_distance: Path,
    /// The columns that an update may change.
    pub updatable: &'static [&'static str],
}

/// Artifacts.
pub static ARTIFACTS: Knowledge = Knowledge {
    entity: ARTIFACT,
    embedding: artifact::column::EMBEDDING,
    expires_at: artifact::column::EXPIRES_AT,
    superseded_by: artifact::column::SUPERSEDED_BY,
    by_distance: artifact::path::BY_DISTANCE,
    updatable: &["content", "name", "confidence", "expires_at", "metadata"],
};

/// Notes.
pub static NOTES: Knowledge = Knowledge {
    entity: NOTE,
    embedding: note::column::EMBEDDING,
    expires_at: note::column::EXPIRES_AT,
    superseded_by: note::column::SUPERSEDED_BY,
    by_distance: note::path::BY_DISTANCE,
    updatable: &[
        "title",
        "content",
        "abstraction_level",
        "source_trajectory_ids",
        "source_artifact_ids",
        "source_note_ids",
        "expires_at",
        "metadata",
    ],
};

impl Knowledge {
    /// Gives the expiry of a new row that lives as long as `ttl`.
    ///
    /// # Errors
    /// 22023 for a `ttl` that is not positive.
    pub fn give_ttl(&self, given: &mut Given<'_>, ttl: Option<Interval>) -> CaliberResult<()> {
        if let Some(ttl) = ttl {
            let expires_at = ttl.positive("ttl")?.after(clock::transaction_start());
            given.set(self.expires_at, Value::int8(expires_at));
        }
        Ok(())
    }

    /// Whether the row is neither expired nor superseded.
    pub fn is_live(&self, table: &Table, slot: Slot<'_>) -> bool {
        let expires_at = slot.get(table.attno(self.expires_at)).as_i64();
        slot.get(table.attno(self.superseded_by)).is_null()
            && expires_at.is_none_or(|expires_at| expires_at > clock::transaction_start())
    }

    /// `caliber_<entity>_update`
    ///
    /// # Errors
    /// Those of every update.
    pub fn update(
        &self,
        id: Option<Uuid>,
        changes: Option<Json>,
        embedding: Value<'_>,
        expected_version: Option<i64>,
    ) -> CaliberResult<Option<Composite>> {
        let table = open(self.entity, Access::UPDATE)?;
        let changes = parse_changes(&table, self.updatable, changes)?;
        mutate_alone(&table, id, expected_version, |_, given| {
            given.extend(&changes);
            given.set_unless_null(self.embedding, embedding);
            Ok(())
        })
    }

    /// The rows of a list, without stale ones unless they are asked for.
    ///
    /// # Errors
    /// Those of every list; 22023 when `include_stale` is null.
    pub fn list(
        &self,
        call: &Call<'_>,
        path: Path,
        values: &[(&'static str, Value<'_>)],
        include_stale: Option<bool>,
        max_rows: Option<i32>,
        after: Option<Uuid>,
    ) -> CaliberResult<SetDone> {
        let all = required("include_stale", include_stale)?;
        list::filtered(call, self.entity, path, values, max_rows, after, |table, slot| {
            all || self.is_live(table, slot)
        })
    }

    /// `caliber_<entity>_search`: the `k` live rows nearest to the embedding that have `value` in
    /// the column at `filter`, unless it is null.
    ///
    /// # Errors
    /// 22023 for an embedding without direction; pgvector's own for one of another dimension.
    pub fn search(
        &self,
        call: &Call<'_>,
        embedding: Value<'_>,
        k: Option<i32>,
        (filter, value): (usize, Value<'_>),
    ) -> CaliberResult<SetDone> {
        if embedding.is_null() {
            required::<()>("embedding", None)?;
        }
        let k = list::count("k", k)?;
        let table = open(self.entity, Access::READ)?;
        let search = table.search(self.by_distance, embedding)?;
        if !search.has_direction() {
            let reason = "A vector without direction is at no distance from any other.";
            return Err(CaliberError::argument("embedding", reason));
        }
        let ty = self.entity.columns[filter].ty;
        let snapshot = ActiveSnapshot::of_statement();
        let found = search.nearest(k, &snapshot, |slot| {
            self.is_live(&table, slot)
                && (value.is_null() || value.is_same(slot.get(table.attno(filter)), ty))
        })?;
        let mut answer = call.result_set(SetOf::Rows);
        for (distance, id) in found {
            if let Some(row) = table.get(id, &snapshot)? {
                let row = row.to_composite()?;
                answer.put(&[row.to_value(), Value::float8(distance)]);
            }
        }
        Ok(SetDone)
    }

    /// `caliber_<entity>_supersede`
    ///
    /// # Errors
    /// 22023 for null ids, those of [`Knowledge::supersede_by`].
    pub fn supersede(
        &self,
        id: Option<Uuid>,
        by: Option<Uuid>,
    ) -> CaliberResult<Option<Composite>> {
        let table = open(self.entity, Access::UPDATE)?;
        self.supersede_by(&table, required("id", id)?, required("by_id", by)?)
    }

    /// Lets a row be superseded by another, which stays in force.
    ///
    /// Both rows and all that the other one is superseded by are locked in id order, so that of
    /// two calls that together would make a circle the later one sees what the first did.
    ///
    /// # Errors
    /// P0002 for an unknown id; 55000 for a cycle, and when it is superseded by another already.
    pub fn supersede_by(
        &self,
        table: &Table,
        id: Uuid,
        by: Uuid,
    ) -> CaliberResult<Option<Composite>> {
        let mut locked = BTreeSet::new();
        let mut wanted = BTreeSet::from([id, by]);
        loop {
            for &next in wanted.difference(&locked) {
                self.lock(table, next)?;
            }
            locked.clone_from(&wanted);
            let chain = self.chain(table, by)?;
            if id != by && chain.contains(&id) {
                return Err(CaliberError::SupersedeCycle { entity: self.entity.name, id, by });
            }
            wanted.extend(chain);
            if wanted == locked {
                break;
            }
        }
        let (row, mut changes) = self.lock(table, id)?;
        if row.get(self.superseded_by).as_uuid() == Some(by) {
            return row.to_composite().map(Some);
        }
        changes.set(self.superseded_by, Value::uuid(by));
        write(table, &row, &changes)
    }

    /// Locks a row of this table as it is now.
    ///
    /// # Errors
    /// P0002
    pub fn lock<'t>(&self, table: &'t Table, id: Uuid) -> CaliberResult<Locked<'t, 'static>> {
        let snapshot = ActiveSnapshot::for_write();
        let row = table.lock_by_id(id, RowLock::NoKeyUpdate, &snapshot)?;
        Ok((row.ok_or_else(|| unknown(table, id))?, Given::new()))
    }

    /// What the row is superseded by, and that in turn; without the row itself.
    fn chain(&self, table: &Table, id: Uuid) -> CaliberResult<Vec<Uuid>> {
        let snapshot = ActiveSnapshot::for_write();
        let next = |id| -> CaliberResult<Option<Uuid>> {
            let row = table.get(id, &snapshot)?;
            Ok(row.and_then(|row: Row<'_>| row.get(self.superseded_by).as_uuid()))
        };
        let mut chain = Vec::new();
        let mut last = id;
        while let Some(by) = next(last)?
            && !chain.contains(&by)
        {
            chain.push(by);
            last = by;
        }
        Ok(chain)
    }
}
