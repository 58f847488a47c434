//! The executor's state for writing one table, kept from call to call.
//!
//! Compiling defaults and constraints and copying trigger descriptions takes longer than writing a
//! row does, and gives the same until the catalogs change. So what a call made is kept for the next
//! call that writes the same columns of the same table as the same user. Nothing that is kept
//! refers to an open relation, a pinned buffer or a counted descriptor: those are taken anew.
//!
//! The state's memory hangs below the caller's while a call uses it, so that an error frees it with
//! the rest; only a statement that ended well moves it back to where it outlives the transaction.

use super::Table;
use super::event::Event;
use super::foreign_key::ForeignKeys;
use crate::model::ColumnSet;
use crate::pg::relation::Rel;
use crate::pg::slot::Slot;
use crate::pg::{current_user, invalidation, memory, ports, raw};
use pgrx_pg_sys as pg_sys;
use std::cell::RefCell;

/// What a state was made for. Another one is made for anything else.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Purpose {
    table: pg_sys::Oid,
    event: Event,
    /// The entity columns written.
    columns: ColumnSet,
    /// Expressions are compiled with the rights of their user.
    user: pg_sys::Oid,
    /// [`invalidation::seen`] when it was made.
    seen: u64,
}

/// What the executor needs to know for writing one table.
pub(super) struct Statement {
    purpose: Purpose,
    pub estate: *mut pg_sys::EState,
    pub target: *mut pg_sys::ResultRelInfo,
    /// Kept in place: the executor keeps pointers to it.
    pub epq: Box<pg_sys::EPQState>,
    pub slot: *mut pg_sys::TupleTableSlot,
    pub defaults: Vec<Default>,
    pub foreign_keys: ForeignKeys,
    /// The indexes, in the target's order, once they were opened.
    indexes: Vec<pg_sys::Oid>,
    /// Whether the table has no triggers but those of foreign keys, whose code is PostgreSQL's own.
    is_plain: bool,
}

/// A prepared column default.
pub(super) struct Default {
    pub index: usize,
    pub expression: *mut pg_sys::ExprState,
}

/// How many states are kept: more than there are functions that write.
const KEPT: usize = 32;

/// How much memory a kept state may have, in bytes; one that has grown is made anew.
const ROOM: usize = 256 * 1024;

thread_local! {
    /// The one used last at the end.
    static STATEMENTS: RefCell<Vec<Statement>> = const { RefCell::new(Vec::new()) };
}

impl Statement {
    /// A state for writing these entity columns of the table, kept or new.
    ///
    /// The caller holds an active snapshot until [`Statement::end`].
    pub fn begin(table: &Table, event: Event, columns: ColumnSet) -> Self {
        let purpose = Purpose {
            table: table.rel().oid(),
            event,
            columns,
            user: current_user(),
            seen: invalidation::seen(),
        };
        let mut statement = take(purpose).unwrap_or_else(|| Self::make(table, purpose));
        statement.resume(table.rel());
        statement
    }

    /// Makes a state below the caller's memory.
    fn make(table: &Table, purpose: Purpose) -> Self {
        let rel = table.rel();
        // SAFETY: a new state with a memory context of its own.
        let estate = unsafe { pg_sys::CreateExecutorState() };
        // SAFETY: the state was just made.
        let context = unsafe { (*estate).es_query_cxt };
        // SAFETY: the context lives as long as the state.
        let caller = unsafe { pg_sys::MemoryContextSwitchTo(context) };
        let is_update = purpose.event == Event::Update;
        let updated = if is_update { purpose.columns } else { ColumnSet::EMPTY };
        init_range_table(table, estate, updated);
        let slots = SlotFactory::of(rel);
        let target = init_target(rel, estate, &slots);
        let mut epq = Box::new(pg_sys::EPQState::default());
        let nothing = std::ptr::null_mut();
        // SAFETY: the box keeps the state in place; without a plan it only serves the triggers.
        unsafe {
            pg_sys::EvalPlanQualInit(
                &mut *epq,
                estate,
                std::ptr::null_mut(),
                nothing,
                -1,
                std::ptr::null_mut(),
            );
        }
        // SAFETY: the state has no such context yet.
        unsafe { pg_sys::MakePerTupleExprContext(estate) };
        let mut statement = Self {
            purpose,
            estate,
            target,
            epq,
            slot: slots.make(),
            defaults: Vec::new(),
            foreign_keys: ForeignKeys::of(rel, purpose.event),
            indexes: Vec::new(),
            is_plain: ForeignKeys::are_all_triggers(rel),
        };
        if purpose.event == Event::Insert {
            statement.prepare_defaults(table, purpose.columns);
        }
        // SAFETY: the context that was current before.
        unsafe { pg_sys::MemoryContextSwitchTo(caller) };
        statement
    }

    /// Binds the state to the table as it is open now, to this snapshot and this command.
    fn resume(&mut self, rel: Rel<'_>) {
        // SAFETY: the statement's own target; the table is open until the statement ends.
        unsafe { (*self.target).ri_RelationDesc = rel.as_ptr() };
        // SAFETY: raises in parallel mode; marks the command id as used.
        let cid = unsafe { pg_sys::GetCurrentCommandId(true) };
        // SAFETY: the statement's own state.
        let estate = unsafe { &mut *self.estate };
        estate.es_output_cid = cid;
        // SAFETY: the caller holds an active snapshot until the statement ends.
        estate.es_snapshot = unsafe { raw::GetActiveSnapshot() };
    }

    /// Prepares the defaults of the columns that the call leaves out.
    fn prepare_defaults(&mut self, table: &Table, given: ColumnSet) {
        let rel = table.rel();
        let given: Vec<usize> =
            given.iter().map(|position| table.attno(position) as usize - 1).collect();
        for (index, attribute) in rel.columns().live() {
            if given.contains(&index) || attribute.attgenerated != 0 {
                continue;
            }
            // SAFETY: a live attribute of an open relation; null without a default.
            let node = unsafe { pg_sys::build_column_default(rel.as_ptr(), index as i32 + 1) };
            if node.is_null() {
                continue;
            }
            // SAFETY: an expression without variables.
            let expression = unsafe { pg_sys::ExecPrepareExpr(node.cast(), self.estate) };
            self.defaults.push(Default { index, expression });
        }
    }

    /// Opens the table's indexes for writing, unless they are open already. An update that needs
    /// none never comes here.
    pub fn open_indexes(&mut self) {
        // SAFETY: the statement's own state.
        let context = unsafe { (*self.estate).es_query_cxt };
        // SAFETY: the statement's own target.
        let target = unsafe { &mut *self.target };
        if target.ri_NumIndices == 0 {
            // SAFETY: the context lives as long as the state.
            let caller = unsafe { pg_sys::MemoryContextSwitchTo(context) };
            // SAFETY: the target's relation is open and locked.
            unsafe { pg_sys::ExecOpenIndices(self.target, false) };
            // SAFETY: the context that was current before.
            unsafe { pg_sys::MemoryContextSwitchTo(caller) };
            self.indexes = open_indexes_of(target).iter().map(|index| oid_of(*index)).collect();
            return;
        }
        for (place, &oid) in open_indexes_of(target).iter_mut().zip(&self.indexes) {
            if place.is_null() {
                // SAFETY: an index that the table has had since the last invalidation.
                *place = unsafe { pg_sys::index_open(oid, pg_sys::RowExclusiveLock as i32) };
            }
        }
    }

    /// Whether the table has no triggers but those of foreign keys.
    pub const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Makes the memory of one row free for the next.
    pub fn reset_per_row(&self) {
        // SAFETY: made with the state.
        let context = unsafe { (*self.estate).es_per_tuple_exprcontext };
        // SAFETY: valid as long as the state.
        let memory = unsafe { (*context).ecxt_per_tuple_memory };
        // SAFETY: nothing of the previous row is used any more.
        unsafe { memory::reset(memory) };
    }

    /// Ends the statement: kept for the next one, or freed.
    pub fn end(self) {
        self.clear_slots();
        self.reset_per_row();
        if !self.can_be_kept() {
            self.forget_closed_indexes();
            // SAFETY: closes the indexes and the tables that triggers opened.
            unsafe { pg_sys::ExecCloseResultRelations(self.estate) };
            return self.free();
        }
        // SAFETY: the statement's own target.
        let target = unsafe { &mut *self.target };
        for place in open_indexes_of(target) {
            let index = std::mem::replace(place, std::ptr::null_mut());
            if !index.is_null() {
                // SAFETY: opened by open_indexes. The lock stays, as the table's does: without a
                // lock on the table nobody could use one on its index.
                unsafe { raw::relation_close(index, pg_sys::NoLock as i32) };
            }
        }
        keep(self);
    }

    /// Hides from the executor the indexes that an earlier statement had open, and this one did not
    /// need: it would close them again.
    fn forget_closed_indexes(&self) {
        // SAFETY: the statement's own target.
        let target = unsafe { &mut *self.target };
        if open_indexes_of(target).iter().any(|index| index.is_null()) {
            target.ri_NumIndices = 0;
        }
    }

    /// Whether nothing in the state belongs to this transaction or may be somebody else's code.
    fn can_be_kept(&self) -> bool {
        // SAFETY: the statement's own state.
        let estate = unsafe { &*self.estate };
        let no_more_slots = estate.es_tupleTable.is_null() && self.epq.tuple_table.is_null();
        self.is_plain
            && no_more_slots
            && estate.es_trig_target_relations.is_null()
            && self.epq.recheckestate.is_null()
            && !self.an_index_keeps_something()
            && self.memory() <= ROOM
    }

    /// How much memory the state has, in bytes.
    fn memory(&self) -> usize {
        // SAFETY: the statement's own state.
        let context = unsafe { (*self.estate).es_query_cxt };
        // SAFETY: the context lives as long as the state.
        unsafe { memory::allocated(context) }
    }

    /// Makes the state's memory live as long as another context.
    fn move_below(&self, parent: pg_sys::MemoryContext) {
        // SAFETY: the statement's own state.
        let context = unsafe { (*self.estate).es_query_cxt };
        // SAFETY: the context has nothing below it but what the executor put there.
        unsafe { memory::move_below(context, parent) };
    }

    /// Whether an index's access method keeps something for its next insertion.
    fn an_index_keeps_something(&self) -> bool {
        // SAFETY: the statement's own target.
        let target = unsafe { &*self.target };
        if target.ri_NumIndices == 0 {
            return false;
        }
        let (infos, count) = (target.ri_IndexRelationInfo, target.ri_NumIndices as usize);
        // SAFETY: an element for each index.
        let infos = unsafe { std::slice::from_raw_parts(infos, count) };
        // SAFETY: the executor's own, valid as long as the state.
        infos.iter().any(|&info| !unsafe { (*info).ii_AmCache }.is_null())
    }

    /// Lets go of the buffers that the slots hold.
    fn clear_slots(&self) {
        // SAFETY: the statement's own target.
        let target = unsafe { &*self.target };
        for slot in [self.slot, target.ri_TrigOldSlot, target.ri_TrigNewSlot] {
            // SAFETY: a slot of this state.
            unsafe { Slot::from_raw(slot) }.clear();
        }
    }

    /// Frees a state whose slots hold no buffer, as [`Statement::end`] leaves it.
    fn free(self) {
        // SAFETY: the statement's own state.
        let slots = unsafe { (*self.estate).es_tupleTable };
        // SAFETY: the state's own slots; their memory goes with the state.
        unsafe { pg_sys::ExecResetTupleTable(slots, false) };
        // SAFETY: not used any more.
        unsafe { pg_sys::FreeExecutorState(self.estate) };
    }
}

/// Takes a state that was kept for this purpose, into the caller's memory. Those that an
/// invalidation has ended are freed.
fn take(purpose: Purpose) -> Option<Statement> {
    let (taken, ended) = STATEMENTS.with_borrow_mut(|kept| {
        let ended: Vec<_> = kept.extract_if(.., |s| s.purpose.seen != purpose.seen).collect();
        let place = kept.iter().rposition(|s| s.purpose == purpose);
        (place.map(|place| kept.remove(place)), ended)
    });
    let taken = taken.inspect(|statement| statement.move_below(memory::current()));
    ended.into_iter().for_each(Statement::free);
    taken
}

/// Keeps a state beyond this transaction; the one that was not used for longest makes room.
fn keep(statement: Statement) {
    statement.move_below(memory::of_the_backend());
    let oldest = STATEMENTS.with_borrow_mut(|kept| {
        kept.push(statement);
        (kept.len() > KEPT).then(|| kept.remove(0))
    });
    if let Some(oldest) = oldest {
        oldest.free();
    }
}

/// The target's places for open indexes; none before they were opened first.
fn open_indexes_of(target: &mut pg_sys::ResultRelInfo) -> &mut [pg_sys::Relation] {
    if target.ri_NumIndices == 0 {
        return &mut [];
    }
    let (places, count) = (target.ri_IndexRelationDescs, target.ri_NumIndices as usize);
    // SAFETY: an element for each index.
    unsafe { std::slice::from_raw_parts_mut(places, count) }
}

fn oid_of(relation: pg_sys::Relation) -> pg_sys::Oid {
    // SAFETY: an open relation.
    unsafe { (*relation).rd_id }
}

/// Makes slots for a table with a descriptor of their own, which nobody counts references to.
struct SlotFactory {
    desc: pg_sys::TupleDesc,
    operations: *const pg_sys::TupleTableSlotOps,
}

impl SlotFactory {
    fn of(rel: Rel<'_>) -> Self {
        // SAFETY: a valid descriptor; the copy lives in the current memory context.
        let desc = unsafe { pg_sys::CreateTupleDescCopyConstr(rel.columns().as_ptr()) };
        // SAFETY: an open table.
        let operations = unsafe { pg_sys::table_slot_callbacks(rel.as_ptr()) };
        Self { desc, operations }
    }

    fn make(&self) -> *mut pg_sys::TupleTableSlot {
        // SAFETY: the descriptor lives in the current memory context, as the slot does.
        unsafe { pg_sys::MakeSingleTupleTableSlot(self.desc, self.operations) }
    }
}

/// One range table entry for the table, so that error messages, `UPDATE OF` triggers and index
/// hints find which columns are written.
fn init_range_table(table: &Table, estate: *mut pg_sys::EState, updated: ColumnSet) {
    let rel = table.rel();
    // SAFETY: the tag is that of the struct.
    let mut entry = unsafe {
        pgrx::PgBox::<pg_sys::RangeTblEntry>::alloc_node(pg_sys::NodeTag::T_RangeTblEntry)
    };
    entry.rtekind = pg_sys::RTEKind::RTE_RELATION;
    entry.relid = rel.oid();
    entry.relkind = rel.class().relkind;
    entry.rellockmode = pg_sys::RowExclusiveLock as i32;
    let entry = entry.into_pg();
    let mut permissions = std::ptr::null_mut();
    // SAFETY: makes a permission entry for the range table entry and numbers it.
    let permission = unsafe { pg_sys::addRTEPermissionInfo(&mut permissions, entry) };
    let mut columns = std::ptr::null_mut();
    for position in updated.iter() {
        let number = i32::from(table.attno(position)) - pg_sys::FirstLowInvalidHeapAttributeNumber;
        // SAFETY: a set, or null for the empty one.
        columns = unsafe { pg_sys::bms_add_member(columns, number) };
    }
    // SAFETY: the permission entry was just made.
    unsafe { (*permission).updatedCols = columns };
    // SAFETY: a list of one entry in the state's memory.
    let entries = unsafe { pg_sys::lappend(std::ptr::null_mut(), entry.cast()) };
    // SAFETY: both lists live in the state's memory.
    unsafe { ports::exec_init_range_table(estate, entries, permissions) };
}

/// The table as the executor's result relation, known to the state so that AFTER triggers find it.
fn init_target(
    rel: Rel<'_>,
    estate: *mut pg_sys::EState,
    slots: &SlotFactory,
) -> *mut pg_sys::ResultRelInfo {
    // SAFETY: the tag is that of the struct.
    let target = unsafe {
        pgrx::PgBox::<pg_sys::ResultRelInfo>::alloc_node(pg_sys::NodeTag::T_ResultRelInfo)
    }
    .into_pg();
    // SAFETY: an open table, the first entry of the range table.
    unsafe {
        pg_sys::InitResultRelInfo(target, rel.as_ptr(), 1, std::ptr::null_mut(), 0);
    }
    let (old, new) = (slots.make(), slots.make());
    // SAFETY: just made; the executor makes slots only where there are none, with a counted
    // reference to the table's own descriptor.
    unsafe { (*target).ri_TrigOldSlot = old };
    // SAFETY: as above.
    unsafe { (*target).ri_TrigNewSlot = new };
    // SAFETY: the state was just made.
    let state = unsafe { &mut *estate };
    // SAFETY: the list lives in the state's memory.
    state.es_opened_result_relations =
        unsafe { pg_sys::lappend(state.es_opened_result_relations, target.cast()) };
    target
}
