//! The one pipeline behind all write doors: form the row, check the rule.

use super::shape::{self, Shape};
use super::{model, readers};
use crate::error::{CaliberError, CaliberResult};
use crate::model::{Change, ColumnType, RowChange};
use crate::pg::relation::Rel;
use crate::pg::slot::Slot;
use crate::pg::value::Value;
use crate::pg::{self, clock, invalidation, ports, raw};
use pgrx_pg_sys as pg_sys;

/// The shape that a write to this relation must respect; `None` for a plain table and for writes
/// that are not a user's: rewrites and logical replication.
///
/// Before the first write after each invalidation, nothing in the table may read the columns that
/// the access method assigns.
///
/// # Errors
/// 42P16: the table is not, or no longer, the shape of its entity, or something in it reads
/// `version` or `updated_at`.
pub fn users_shape(rel: Rel<'_>) -> CaliberResult<Option<Shape>> {
    if rel.is_rewrite_target() || pg::is_logical_worker() {
        return Ok(None);
    }
    let Some(shape) = shape::of(rel)? else {
        return Ok(None);
    };
    if !shape.is_writable(rel) {
        let now = invalidation::seen();
        readers::check(rel, &shape)?;
        shape::mark_writable(rel, shape, now);
    }
    Ok(Some(shape))
}

/// Completes an inserted row: a null `version` is 1, a null `updated_at` the transaction's start.
///
/// Any value that is there stays, so that a restore is exact. (Entity tables of `caliber_init`
/// refuse the nulls before this; a user's own table may allow them.)
pub fn form_inserted(shape: &Shape, slot: Slot<'_>) {
    let version = shape.index_of(Change::Version);
    let updated_at = shape.index_of(Change::UpdatedAt);
    let (Some(version), Some(updated_at)) = (version, updated_at) else {
        return;
    };
    let (_, nulls) = slot.deform();
    let mut assign = Vec::new();
    if nulls[version] {
        assign.push((version, pg_sys::Datum::from(1_i64)));
    }
    if nulls[updated_at] {
        assign.push((updated_at, transaction_start()));
    }
    if !assign.is_empty() {
        slot.assign(&assign);
    }
}

/// Judges an update and, if it is allowed, assigns `version` and `updated_at` in the slot.
///
/// Called again with the next version of the row after EvalPlanQual, so it has no effect but on
/// the slot.
///
/// # Errors
/// The rule that the update breaks.
pub fn form_updated(
    rel: Rel<'_>,
    shape: &Shape,
    old: Image<'_>,
    slot: Slot<'_>,
) -> CaliberResult<()> {
    let Some(model) = model() else { return Ok(()) };
    let change = compare(rel, shape, old, slot.deform());
    let assign = model.judge_update(shape.entity(), &change)?;
    let mut new = [(0, pg_sys::Datum::null()); 2];
    let mut count = 0;
    let mut put = |index, datum| {
        new[count] = (index, datum);
        count += 1;
    };
    if let Some(version) = assign.version
        && let Some(index) = shape.index_of(Change::Version)
    {
        put(index, pg_sys::Datum::from(version));
    }
    if assign.updated_at
        && let Some(index) = shape.index_of(Change::UpdatedAt)
    {
        put(index, transaction_start());
    }
    if count > 0 {
        slot.assign(&new[..count]);
    }
    Ok(())
}

fn transaction_start() -> pg_sys::Datum {
    pg_sys::Datum::from(clock::transaction_start())
}

/// All attributes of a row, and which of them are null.
pub type Image<'r> = (&'r [pg_sys::Datum], &'r [bool]);

/// What differs between the old version of a row and the new one.
fn compare(rel: Rel<'_>, shape: &Shape, old: Image<'_>, new: Image<'_>) -> RowChange {
    let columns = rel.columns();
    let differs = |index: usize| {
        let attribute = columns.get(index);
        // A generated column only follows the columns that it is computed from.
        attribute.attgenerated == 0
            && !{
                // SAFETY: the caller holds both rows.
                let [before, after] = [old, new].map(|(values, nulls)| unsafe {
                    Value::from_datum(values[index], nulls[index])
                });
                before.is_same_image(after, attribute)
            }
    };
    let mut change = RowChange::default();
    let datum = |(values, nulls): Image<'_>, i: usize| (!nulls[i]).then(|| values[i]);
    for (position, column) in shape.entity().columns.iter().enumerate() {
        let index = shape.attno(position) as usize - 1;
        let (before, after) = (datum(old, index), datum(new, index));
        if differs(index) {
            change.changed = change.changed.with(position);
            if before.is_none() {
                change.was_null = change.was_null.with(position);
            }
            if after.is_none() {
                change.is_null = change.is_null.with(position);
            }
        }
        match column.change {
            Change::State => {
                let state = |d: Option<_>| d.and_then(|d| shape.state_of(column.ty, d));
                change.state = (state(before), state(after));
            }
            Change::Version => {
                change.version = (integer(column.ty, before), integer(column.ty, after));
            }
            Change::Counter | Change::Fence => {
                let (before, after) = (integer(column.ty, before), integer(column.ty, after));
                if let Some(before) = before
                    && after.is_none_or(|after| after < before)
                    && change.fallen.is_none()
                {
                    change.fallen = Some((position, before, after));
                }
            }
            _ => {}
        }
    }
    change.others_changed = shape.has_others(columns.len())
        && columns.live().any(|(index, _)| !shape.has(index) && differs(index));
    change
}

fn integer(ty: ColumnType, datum: Option<pg_sys::Datum>) -> Option<i64> {
    datum.map(
        |d| {
            if ty == ColumnType::Int4 { i64::from(d.value() as i32) } else { d.value() as i64 }
        },
    )
}

/// The version of a row that an update replaces, with its buffer pinned.
///
/// It is fetched whatever the snapshot: the version's user data never changes, and when somebody
/// else was faster heap says so and the executor comes again with the next version.
pub struct OldVersion {
    buffer: pg_sys::Buffer,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl OldVersion {
    /// The version at this address.
    ///
    /// # Errors
    /// XX001 when there is none.
    pub fn fetch(rel: Rel<'_>, tid: pg_sys::ItemPointerData) -> CaliberResult<Self> {
        let columns = rel.columns();
        let mut tuple = pg_sys::HeapTupleData { t_self: tid, ..Default::default() };
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        // SAFETY: heap stores the row; on success the buffer is left pinned.
        let found = unsafe {
            pg_sys::heap_fetch(rel.as_ptr(), ports::snapshot_any(), &mut tuple, &mut buffer, false)
        };
        if !found {
            let (block, offset) = (tid.ip_blkid, tid.ip_posid);
            return Err(CaliberError::BrokenHotChain {
                table: rel.name(),
                block: u32::from(block.bi_hi) << 16 | u32::from(block.bi_lo),
                offset,
            });
        }
        let mut old = Self {
            buffer,
            values: vec![pg_sys::Datum::null(); columns.len()],
            nulls: vec![true; columns.len()],
        };
        let (values, nulls) = (old.values.as_mut_ptr(), old.nulls.as_mut_ptr());
        // SAFETY: the tuple is in the pinned buffer and the arrays are as long as the descriptor.
        unsafe { raw::heap_deform_tuple(&mut tuple, columns.as_ptr(), values, nulls) };
        Ok(old)
    }

    /// Its attributes.
    pub fn image(&self) -> Image<'_> {
        (&self.values, &self.nulls)
    }
}

impl Drop for OldVersion {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pinned by heap_fetch.
            unsafe { raw::ReleaseBuffer(self.buffer) };
        }
    }
}
