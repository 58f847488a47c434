//! Writing rows with everything that a SQL statement would do around it.
//!
//! A [`Writer`] is one statement on one table: statement triggers at its begin and end, and for
//! each row defaults, BEFORE triggers, generated columns, NOT NULL / CHECK / partition
//! constraints, the access method's callback, all indexes, foreign keys and AFTER triggers. The
//! order is that of nodeModifyTable.c, so the same mistake raises the same SQLSTATE with the same
//! constraint name.

use super::event::Event;
use super::foreign_key::{ForeignKeys, LockedParent};
use super::statement::{self, Statement};
use super::{Table, row::Row};
use crate::error::{CaliberError, CaliberResult};
use crate::model::ColumnSet;
use crate::pg::slot::Slot;
use crate::pg::value::Value;
use crate::pg::{check_for_interrupts, ports};
use crate::storage::doors;
use pgrx_pg_sys as pg_sys;
use uuid::Uuid;

/// The entity columns that a write gives, by position; the others get their default (INSERT) or
/// stay as they are (UPDATE).
#[derive(Clone, Default)]
pub struct Given<'v>(Vec<(usize, Value<'v>)>);

impl<'v> Given<'v> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a column a value, null included.
    pub fn set(&mut self, position: usize, value: Value<'v>) -> &mut Self {
        self.0.retain(|(p, _)| *p != position);
        if self.0.capacity() == 0 {
            // Most often all that will be given.
            self.0.reserve(8);
        }
        self.0.push((position, value));
        self
    }

    /// Gives a column a value unless it is null: an argument that the caller left out.
    pub fn set_unless_null(&mut self, position: usize, value: Value<'v>) -> &mut Self {
        if value.is_null() { self } else { self.set(position, value) }
    }

    /// Gives what the other gives.
    pub fn extend(&mut self, other: &Self) {
        for (position, value) in other.iter() {
            self.set(position, value);
        }
    }

    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The columns given.
    pub fn columns(&self) -> ColumnSet {
        self.iter().fold(ColumnSet::EMPTY, |columns, (position, _)| columns.with(position))
    }

    /// The columns given and their values.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Value<'v>)> {
        self.0.iter().copied()
    }
}

/// One statement's writes to one table.
///
/// It must be ended with [`Writer::finish`]. When an error comes first, the (sub)transaction is
/// aborted, which releases everything that it holds.
pub struct Writer<'t> {
    table: &'t Table,
    event: Event,
    statement: Statement,
    estate: *mut pg_sys::EState,
    target: *mut pg_sys::ResultRelInfo,
    slot: Slot<'t>,
    transition: *mut pg_sys::TransitionCaptureState,
    /// Whether AFTER triggers can be queued.
    queues: bool,
    parent: Option<LockedParent>,
}

impl<'t> Writer<'t> {
    /// Begins the statement. `columns` are the entity columns that an INSERT
    /// gives, or that an UPDATE may change (`UPDATE OF` triggers look at them).
    ///
    /// The caller holds an active snapshot until [`Writer::finish`].
    pub fn begin(table: &'t Table, event: Event, columns: ColumnSet) -> Self {
        let statement = Statement::begin(table, event, columns);
        let is_plain = statement.is_plain();
        let mut writer = Self {
            table,
            event,
            estate: statement.estate,
            target: statement.target,
            // SAFETY: the statement owns the slot, and the writer the statement.
            slot: unsafe { Slot::from_raw(statement.slot) },
            statement,
            transition: std::ptr::null_mut(),
            queues: false,
            parent: None,
        };
        if !is_plain {
            writer.begin_queueing();
            writer.transition = capture_transition(table, event);
            writer.fire_before_statement();
        }
        writer
    }

    /// Says that the caller has locked this row, at least `FOR KEY SHARE`, and finds it still there
    /// when the statement has ended: foreign keys to it need no look-up of their own.
    pub fn rely_on(&mut self, parent: &Table, id: Uuid) {
        self.parent = Some(LockedParent { table: parent.rel().oid(), key: parent.attno(0), id });
    }

    /// Makes AFTER triggers wait for the end of the statement. Where foreign keys are all that there
    /// is to fire, most often there is nothing to wait for.
    fn begin_queueing(&mut self) {
        if !std::mem::replace(&mut self.queues, true) {
            // SAFETY: ended in `finish`, or by the abort.
            unsafe { pg_sys::AfterTriggerBeginQuery() };
        }
    }

    /// Ends the statement: AFTER triggers, foreign keys among them, and its command counter.
    pub fn finish(self) {
        self.fire_after_statement();
        if self.queues {
            // SAFETY: begun by this writer; fires the queued triggers.
            unsafe { pg_sys::AfterTriggerEndQuery(self.estate) };
        }
        self.statement.end();
        // SAFETY: not in parallel mode (checked when the table was opened).
        unsafe { pg_sys::CommandCounterIncrement() };
    }

    /// Inserts one row; the slot holds it as it was stored. `None`: a BEFORE trigger left it out.
    pub fn insert(&mut self, given: &Given<'_>) -> CaliberResult<Option<Slot<'_>>> {
        debug_assert_eq!(self.event, Event::Insert);
        check_for_interrupts();
        self.statement.reset_per_row();
        let width = self.table.rel().columns().len();
        let mut values = vec![pg_sys::Datum::null(); width];
        let mut nulls = vec![true; width];
        for default in &self.statement.defaults {
            (values[default.index], nulls[default.index]) = self.evaluate(default);
        }
        self.place(given, &mut values, &mut nulls);
        self.slot.store(&values, &nulls);
        self.name_slot();
        if self.has_trigger(|t| t.trig_insert_before_row) {
            // SAFETY: the slot holds the new row.
            let keep = unsafe {
                pg_sys::ExecBRInsertTriggers(self.estate, self.target, self.slot.as_ptr())
            };
            if !keep {
                return Ok(None);
            }
        }
        self.complete_and_check();
        let cid = self.output_cid();
        // SAFETY: the row is complete; goes through the access method's own door.
        unsafe {
            pg_sys::table_tuple_insert(
                self.table.rel().as_ptr(),
                self.slot.as_ptr(),
                cid,
                0,
                std::ptr::null_mut(),
            );
        }
        let recheck = self.insert_index_entries(false, false);
        if !self.keys_hold(|keys| keys.hold_for_inserted(self.table, self.slot, self.parent)) {
            self.begin_queueing();
            // SAFETY: queues the AFTER triggers for the stored row.
            unsafe {
                pg_sys::ExecARInsertTriggers(
                    self.estate,
                    self.target,
                    self.slot.as_ptr(),
                    recheck,
                    self.transition,
                );
            }
        }
        Ok(Some(self.slot))
    }

    /// Updates a row that the caller has locked; the slot holds the new version. `None`: a BEFORE
    /// trigger left it out.
    ///
    /// # Errors
    /// 40001 in REPEATABLE READ and SERIALIZABLE when somebody else was faster.
    pub fn update(&mut self, old: &Row<'_>, given: &Given<'_>) -> CaliberResult<Option<Slot<'_>>> {
        match self.update_version(old, given)? {
            Updated::Stored(slot) => Ok(Some(slot)),
            Updated::LeftOut => Ok(None),
            Updated::TooLate => Err(CaliberError::Serialization),
        }
    }

    /// Whether an update may be tried by [`Writer::update_version`] and, when it comes too late, made
    /// again: the table has no triggers that would have fired.
    pub fn can_try_update(table: &Table) -> bool {
        let triggers = table.rel().data().trigdesc;
        // SAFETY: null, or valid as long as the relcache entry is.
        let triggers = unsafe { triggers.as_ref() };
        !triggers
            .is_some_and(|t| t.trig_update_before_row || Event::Update.has_statement_triggers(t))
    }

    /// As [`Writer::update`], for a version of the row that was found and not locked.
    ///
    /// # Errors
    /// 40001, as [`Writer::update`]; 27000 when a trigger has changed the row.
    pub fn update_version(
        &mut self,
        old: &Row<'_>,
        given: &Given<'_>,
    ) -> CaliberResult<Updated<'_>> {
        debug_assert_eq!(self.event, Event::Update);
        check_for_interrupts();
        self.statement.reset_per_row();
        let (values, nulls) = old.slot().deform();
        let (mut values, mut nulls) = (values.to_vec(), nulls.to_vec());
        self.place(given, &mut values, &mut nulls);
        self.slot.store(&values, &nulls);
        self.name_slot();
        let mut tid = old.slot().tid();
        if self.has_trigger(|t| t.trig_update_before_row) {
            // The values still point into the old row's page; a trigger may well change that row.
            // SAFETY: copies them into the slot's own memory.
            unsafe { pg_sys::ExecMaterializeSlot(self.slot.as_ptr()) };
            let mut failure = pg_sys::TM_FailureData::default();
            let mut result = pg_sys::TM_Result::TM_Ok;
            // SAFETY: the slot holds the new row, the address is the locked version's.
            let keep = unsafe {
                ports::exec_br_update_triggers(
                    self.estate,
                    &mut *self.statement.epq,
                    self.target,
                    &mut tid,
                    self.slot.as_ptr(),
                    &mut result,
                    &mut failure,
                )
            };
            if !keep {
                judge_result(result)?;
                return Ok(Updated::LeftOut);
            }
        }
        self.complete_and_check();
        let keys_stand = self.keys_hold(|keys| keys.stand(self.table, old.slot(), self.slot));
        let mut update_indexes = pg_sys::TU_UpdateIndexes::TU_None;
        let (cid, snapshot) = (self.output_cid(), self.snapshot());
        // SAFETY: the row is complete, and the table open for writing.
        let result = unsafe {
            doors::tuple_update_from(
                self.table.rel(),
                old.slot(),
                self.slot,
                cid,
                snapshot,
                &mut update_indexes,
            )
        }?;
        if !ports::isolation_uses_xact_snapshot() && is_too_late(result) {
            return Ok(Updated::TooLate);
        }
        judge_result(result)?;
        let recheck = match update_indexes {
            pg_sys::TU_UpdateIndexes::TU_None => std::ptr::null_mut(),
            which => {
                self.insert_index_entries(true, which == pg_sys::TU_UpdateIndexes::TU_Summarizing)
            }
        };
        let hold = |keys: &ForeignKeys| keys.hold_for_updated(self.table, old.slot(), self.slot);
        if !keys_stand && !self.keys_hold(hold) {
            self.begin_queueing();
            // SAFETY: queues the AFTER triggers for the old and the new version.
            unsafe {
                pg_sys::ExecARUpdateTriggers(
                    self.estate,
                    self.target,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    &mut tid,
                    std::ptr::null_mut(),
                    self.slot.as_ptr(),
                    recheck,
                    self.transition,
                    false,
                );
            }
        }
        Ok(Updated::Stored(self.slot))
    }

    /// Deletes a row that the caller has locked; false: a BEFORE trigger left it out.
    ///
    /// # Errors
    /// 40001 in REPEATABLE READ and SERIALIZABLE when somebody else was faster.
    pub fn delete(&mut self, old: &Row<'_>) -> CaliberResult<bool> {
        debug_assert_eq!(self.event, Event::Delete);
        check_for_interrupts();
        self.statement.reset_per_row();
        let mut tid = old.slot().tid();
        let mut failure = pg_sys::TM_FailureData::default();
        if self.has_trigger(|t| t.trig_delete_before_row) {
            let mut result = pg_sys::TM_Result::TM_Ok;
            // SAFETY: the address is the locked version's.
            let keep = unsafe {
                ports::exec_br_delete_triggers(
                    self.estate,
                    &mut *self.statement.epq,
                    self.target,
                    &mut tid,
                    &mut result,
                    &mut failure,
                )
            };
            if !keep {
                judge_result(result)?;
                return Ok(false);
            }
        }
        let (cid, snapshot) = (self.output_cid(), self.snapshot());
        // SAFETY: goes through the access method's own door.
        let result = unsafe {
            pg_sys::table_tuple_delete(
                self.table.rel().as_ptr(),
                &mut tid,
                cid,
                snapshot,
                std::ptr::null_mut(),
                true,
                &mut failure,
                false,
            )
        };
        judge_result(result)?;
        self.begin_queueing();
        // SAFETY: queues the AFTER triggers for the deleted version.
        unsafe {
            pg_sys::ExecARDeleteTriggers(
                self.estate,
                self.target,
                &mut tid,
                std::ptr::null_mut(),
                self.transition,
                false,
            );
        }
        Ok(true)
    }

    fn evaluate(&self, default: &statement::Default) -> (pg_sys::Datum, bool) {
        let mut is_null = true;
        // SAFETY: made with the state.
        let context = unsafe { (*self.estate).es_per_tuple_exprcontext };
        // SAFETY: the result lives in the per-tuple memory until the next row.
        let datum =
            unsafe { pg_sys::ExecEvalExprSwitchContext(default.expression, context, &mut is_null) };
        (datum, is_null)
    }

    /// Puts the values given at their attributes, as assignment in SQL does: a column's type
    /// modifier, the dimension of a vector for instance, is enforced.
    fn place(&self, given: &Given<'_>, values: &mut [pg_sys::Datum], nulls: &mut [bool]) {
        let columns = self.table.rel().columns();
        for (position, value) in given.iter() {
            let index = self.table.attno(position) as usize - 1;
            let attribute = columns.get(index);
            let value = value.coerced(attribute.atttypid, attribute.atttypmod);
            (values[index], nulls[index]) = value.to_raw();
        }
    }

    fn name_slot(&self) {
        let slot = self.slot.as_ptr();
        // SAFETY: the writer's own slot; triggers and generated columns read its table.
        unsafe { (*slot).tts_tableOid = self.table.rel().oid() };
    }

    /// Generated columns, then NOT NULL and CHECK, then the partition constraint.
    fn complete_and_check(&mut self) {
        let rel = self.table.rel();
        let Some(constr) = rel.columns().constraints() else {
            return self.check_partition();
        };
        if constr.has_generated_stored {
            // SAFETY: the slot holds the row, triggers' changes included.
            unsafe {
                pg_sys::ExecComputeStoredGenerated(
                    self.target,
                    self.estate,
                    self.slot.as_ptr(),
                    self.event.command(),
                );
            }
        }
        // SAFETY: raises 23502 and 23514 as the executor does.
        unsafe { pg_sys::ExecConstraints(self.target, self.slot.as_ptr(), self.estate) };
        self.check_partition();
    }

    fn check_partition(&mut self) {
        if self.table.rel().class().relispartition {
            // SAFETY: raises 23514 as the executor does.
            unsafe {
                pg_sys::ExecPartitionCheck(self.target, self.slot.as_ptr(), self.estate, true);
            }
        }
    }

    /// Enters the stored row into the indexes; the constraints to be checked again later.
    fn insert_index_entries(&mut self, update: bool, only_summarizing: bool) -> *mut pg_sys::List {
        self.statement.open_indexes();
        // SAFETY: the writer's own target.
        let indexes = unsafe { (*self.target).ri_NumIndices };
        if indexes == 0 {
            return std::ptr::null_mut();
        }
        // SAFETY: the slot holds the stored row and its address.
        unsafe {
            pg_sys::ExecInsertIndexTuples(
                self.target,
                self.slot.as_ptr(),
                self.estate,
                update,
                false,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                only_summarizing,
            )
        }
    }

    /// Whether the AFTER ROW triggers would find all foreign keys to hold, and have nothing else to
    /// do.
    fn keys_hold(&self, hold: impl FnOnce(&ForeignKeys) -> bool) -> bool {
        self.transition.is_null() && hold(&self.statement.foreign_keys)
    }

    fn has_trigger(&self, which: impl FnOnce(&pg_sys::TriggerDesc) -> bool) -> bool {
        // SAFETY: the writer's own target.
        let triggers = unsafe { (*self.target).ri_TrigDesc };
        // SAFETY: null, or a copy that lives as long as the target.
        unsafe { triggers.as_ref() }.is_some_and(which)
    }

    fn output_cid(&self) -> pg_sys::CommandId {
        // SAFETY: the writer's own state.
        unsafe { (*self.estate).es_output_cid }
    }

    fn snapshot(&self) -> pg_sys::Snapshot {
        // SAFETY: the writer's own state.
        unsafe { (*self.estate).es_snapshot }
    }

    fn fire_before_statement(&self) {
        if !self.has_trigger(|t| self.event.has_statement_triggers(t)) {
            return;
        }
        let (estate, target) = (self.estate, self.target);
        match self.event {
            // SAFETY: the writer's own state and target.
            Event::Insert => unsafe { pg_sys::ExecBSInsertTriggers(estate, target) },
            // SAFETY: as above.
            Event::Update => unsafe { pg_sys::ExecBSUpdateTriggers(estate, target) },
            // SAFETY: as above.
            Event::Delete => unsafe { pg_sys::ExecBSDeleteTriggers(estate, target) },
        }
    }

    fn fire_after_statement(&self) {
        if !self.has_trigger(|t| self.event.has_statement_triggers(t)) {
            return;
        }
        let (estate, target, transition) = (self.estate, self.target, self.transition);
        match self.event {
            // SAFETY: the writer's own state and target.
            Event::Insert => unsafe { pg_sys::ExecASInsertTriggers(estate, target, transition) },
            // SAFETY: as above.
            Event::Update => unsafe { pg_sys::ExecASUpdateTriggers(estate, target, transition) },
            // SAFETY: as above.
            Event::Delete => unsafe { pg_sys::ExecASDeleteTriggers(estate, target, transition) },
        }
    }
}

/// What transition tables need to see of the rows; null when there are none.
fn capture_transition(table: &Table, event: Event) -> *mut pg_sys::TransitionCaptureState {
    let rel = table.rel();
    let triggers = rel.data().trigdesc;
    // SAFETY: an open relation; null triggers give null.
    unsafe { pg_sys::MakeTransitionCaptureState(triggers, rel.oid(), event.command()) }
}

/// What became of an update.
pub enum Updated<'s> {
    /// The slot holds the new version.
    Stored(Slot<'s>),
    /// A BEFORE trigger left it out.
    LeftOut,
    /// Somebody else has changed or deleted the row: nothing was done.
    TooLate,
}

/// Whether somebody else was faster.
fn is_too_late(result: pg_sys::TM_Result::Type) -> bool {
    use pg_sys::TM_Result as T;
    matches!(result, T::TM_Updated | T::TM_Deleted)
}

/// What heap says of a version that this transaction was to write.
fn judge_result(result: pg_sys::TM_Result::Type) -> CaliberResult<()> {
    use pg_sys::TM_Result as T;
    match result {
        T::TM_Ok => Ok(()),
        T::TM_SelfModified => Err(CaliberError::ModifiedByTrigger),
        _ => Err(CaliberError::Serialization),
    }
}
