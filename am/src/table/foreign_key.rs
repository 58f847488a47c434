//! Foreign keys without their triggers' SQL, where the answer is yes.
//!
//! PostgreSQL checks a foreign key by an AFTER trigger that runs a query. For the keys that entity
//! tables have, the parent row can be found and locked without one. Only a key that holds is settled
//! here: whatever is in doubt, a missing parent first of all, is left to PostgreSQL's own trigger,
//! which then decides, waits and raises as it always does.

use super::{Table, open};
use crate::error::CaliberResult;
use crate::pg::relation::{OpenRel, Rel};
use crate::pg::slot::Slot;
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::transaction::{self, SubTransaction};
use crate::pg::{constraints, triggers, types};
use crate::storage::shape;
use crate::table::event::Event;
use crate::table::lock::RowLock;
use pgrx_pg_sys as pg_sys;
use std::cell::RefCell;
use uuid::Uuid;

/// What the AFTER ROW triggers of one event on one table are for.
pub(super) struct ForeignKeys {
    /// Whether foreign keys are all that they are for, each of a kind that can be settled here.
    can_be_settled: bool,
    /// The keys of the table that refer to others.
    referring: Vec<Key>,
    /// The attributes (by index from 0) that others refer to.
    referred: Vec<usize>,
}

/// A row that the caller has locked and keeps locked, so that keys which refer to it hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockedParent {
    pub table: pg_sys::Oid,
    /// The attribute number of its key.
    pub key: i16,
    pub id: Uuid,
}

/// A foreign key of a table.
struct Key {
    parent: pg_sys::Oid,
    /// The attribute of the table (by index from 0) and that of its parent (by number from 1).
    columns: Vec<(usize, i16)>,
    last: RefCell<Option<Held>>,
}

/// A key that held, for the rows that this very command writes: its parent is locked, and had
/// anybody deleted it, that would have been another command.
#[derive(PartialEq, Eq)]
struct Held {
    during: SubTransaction,
    command: pg_sys::CommandId,
    ids: Vec<Uuid>,
}

impl ForeignKeys {
    /// Looks at the table's AFTER ROW triggers for an insert or an update.
    pub fn of(rel: Rel<'_>, event: Event) -> Self {
        let mut keys = Self { can_be_settled: true, referring: Vec::new(), referred: Vec::new() };
        for trigger in triggers::of(rel).filter(|t| t.is_after_row(event.trigger_type())) {
            keys.can_be_settled &= keys.note(rel, &trigger);
        }
        // The triggers on a deletion do more than to check.
        keys.can_be_settled &= event != Event::Delete;
        keys.referred.sort_unstable();
        keys.referred.dedup();
        keys
    }

    /// Whether the table has no triggers but those of foreign keys.
    pub fn are_all_triggers(rel: Rel<'_>) -> bool {
        triggers::of(rel).all(|trigger| trigger.side().is_some())
    }

    /// Notes what a trigger checks; false for one that cannot be settled here.
    fn note(&mut self, rel: Rel<'_>, trigger: &triggers::Trigger<'_>) -> bool {
        let Some(side) = trigger.side() else { return false };
        let Some(constraint) = constraints::foreign_key(trigger.constraint()) else { return false };
        match side {
            triggers::Side::Referred => {
                let indexes = constraint.parent_columns.iter().map(|&attno| attno as usize - 1);
                self.referred.extend(indexes);
                true
            }
            triggers::Side::Referring => {
                let child_columns = constraint.child_columns.iter();
                let columns: Vec<(usize, i16)> = child_columns
                    .map(|&attno| attno as usize - 1)
                    .zip(constraint.parent_columns.iter().copied())
                    .collect();
                let are_ids = columns.iter().all(|&(index, attno)| {
                    rel.columns().get(index).atttypid == pg_sys::UUIDOID
                        && types::base_type_of_column(constraint.parent, attno) == pg_sys::UUIDOID
                });
                let fits = constraint.is_match_simple && !trigger.is_deferrable() && are_ids;
                self.referring.push(Key {
                    parent: constraint.parent,
                    columns,
                    last: RefCell::default(),
                });
                fits && constraints::owner_may_refer_to(constraint.parent)
            }
        }
    }

    /// Whether all keys of an inserted row hold, so that no trigger has to check them.
    pub fn hold_for_inserted(
        &self,
        table: &Table,
        new: Slot<'_>,
        parent: Option<LockedParent>,
    ) -> bool {
        let refers = |key: &Key| parent.is_some_and(|parent| key.refers_to(new, parent));
        self.can_be_settled && self.referring.iter().all(|key| refers(key) || key.holds(table, new))
    }

    /// Whether an update leaves all keys as they are, those of the rows that refer to it too, so
    /// that there is nothing to check.
    ///
    /// A row version that this very transaction wrote is checked again even where the key is the
    /// same: the check of the version before may not have come yet.
    pub fn stand(&self, table: &Table, old: Slot<'_>, new: Slot<'_>) -> bool {
        self.can_be_settled
            && self.nobody_refers_to_what_changes(table, old, new)
            && self.referring.iter().all(|key| key.is_same(old, new))
            && (self.referring.is_empty() || !old.is_of_this_transaction())
    }

    /// Whether all keys of an updated row hold.
    pub fn hold_for_updated(&self, table: &Table, old: Slot<'_>, new: Slot<'_>) -> bool {
        self.can_be_settled
            && self.nobody_refers_to_what_changes(table, old, new)
            && self.referring.iter().all(|key| key.holds(table, new))
    }

    fn nobody_refers_to_what_changes(&self, table: &Table, old: Slot<'_>, new: Slot<'_>) -> bool {
        let columns = table.rel().columns();
        self.referred.iter().all(|&index| {
            let attno = index as i16 + 1;
            old.get(attno).is_same_image(new.get(attno), columns.get(index))
        })
    }
}

impl Key {
    /// Whether both rows refer to the same, or to nothing.
    fn is_same(&self, old: Slot<'_>, new: Slot<'_>) -> bool {
        let id = |row: Slot<'_>, index: usize| row.get(index as i16 + 1).as_uuid();
        self.columns.iter().all(|&(index, _)| id(old, index) == id(new, index))
    }

    /// Whether the parent is there, and locked `FOR KEY SHARE` now. In doubt it is not.
    fn holds(&self, child: &Table, row: Slot<'_>) -> bool {
        let value = |index: usize| row.get(index as i16 + 1);
        // MATCH SIMPLE: a key with a null in it refers to nothing.
        if self.columns.iter().any(|&(index, _)| value(index).is_null()) {
            return true;
        }
        if self.parent == child.rel().oid() && self.is_of(row, row) {
            return true;
        }
        let ids = self.columns.iter().filter_map(|&(index, _)| value(index).as_uuid()).collect();
        let (during, command) = (transaction::current(), transaction::current_command());
        let held = Held { during, command, ids };
        if self.last.borrow().as_ref() == Some(&held) {
            return true;
        }
        let holds = matches!(self.lock_parent(row), Ok(true));
        *self.last.borrow_mut() = holds.then_some(held);
        holds
    }

    /// Whether the row refers to a row that is locked, by its key alone.
    fn refers_to(&self, row: Slot<'_>, parent: LockedParent) -> bool {
        let [(index, attno)] = *self.columns else { return false };
        self.parent == parent.table
            && attno == parent.key
            && row.get(index as i16 + 1).as_uuid() == Some(parent.id)
    }

    /// Whether the row refers to this parent.
    fn is_of(&self, row: Slot<'_>, parent: Slot<'_>) -> bool {
        self.columns.iter().all(|&(index, attno)| {
            let (own, its) = (row.get(index as i16 + 1).as_uuid(), parent.get(attno).as_uuid());
            own.is_some() && own == its
        })
    }

    /// Finds the parent by what the calling statement sees and what its transaction wrote, and
    /// locks its latest version.
    ///
    /// # Errors
    /// Those of the look-up and of the lock, which the trigger will meet, too.
    fn lock_parent(&self, row: Slot<'_>) -> CaliberResult<bool> {
        let open = OpenRel::relation(self.parent, pg_sys::RowShareLock);
        if !open::is_ours(open.rel()) {
            return Ok(false);
        }
        let Some(shape) = shape::of(open.rel())? else { return Ok(false) };
        let parents = Table::of_shape(open, shape);
        let key = parents.attno(0);
        let id = self.columns.iter().find(|(_, attno)| *attno == key);
        let Some(id) = id.and_then(|&(index, _)| row.get(index as i16 + 1).as_uuid()) else {
            return Ok(false);
        };
        let snapshot = ActiveSnapshot::of_statement();
        let Some(parent) = parents.get(id, &snapshot)? else { return Ok(false) };
        let parent = parents.lock_row(parent, RowLock::KeyShare, &snapshot)?;
        Ok(parent.is_some_and(|parent| self.is_of(row, parent.slot())))
    }
}
