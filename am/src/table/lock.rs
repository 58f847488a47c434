//! Row locks: a mutation works on the latest version of a row and nobody changes it meanwhile.

use super::{Table, row::Row};
use crate::error::{CaliberError, CaliberResult};
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::{ports, transaction};
use pgrx_pg_sys as pg_sys;
use uuid::Uuid;

/// The strength of a row lock, as in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowLock {
    /// `FOR KEY SHARE`, what a foreign key takes on the row that it refers to.
    KeyShare,
    /// `FOR SHARE`
    Share,
    /// `FOR NO KEY UPDATE`, what an UPDATE takes that changes no key.
    NoKeyUpdate,
    /// `FOR UPDATE`, what a DELETE takes.
    Update,
}

impl RowLock {
    const fn mode(self) -> pg_sys::LockTupleMode::Type {
        match self {
            Self::KeyShare => pg_sys::LockTupleMode::LockTupleKeyShare,
            Self::Share => pg_sys::LockTupleMode::LockTupleShare,
            Self::NoKeyUpdate => pg_sys::LockTupleMode::LockTupleNoKeyExclusive,
            Self::Update => pg_sys::LockTupleMode::LockTupleExclusive,
        }
    }
}

impl Table {
    /// Finds the row, waits for its lock and returns its latest version; `None` when there is no
    /// such row, or it was deleted while this waited.
    ///
    /// # Errors
    /// 40001 in REPEATABLE READ and SERIALIZABLE when the row was changed after the transaction's
    /// snapshot; 42P16 when the table lost the index on its key.
    pub fn lock_by_id(
        &self,
        id: Uuid,
        lock: RowLock,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<Option<Row<'_>>> {
        let Some(row) = self.get(id, snapshot)? else {
            return Ok(None);
        };
        self.lock_row(row, lock, snapshot)
    }

    /// As [`Table::lock_by_id`], for a row that was found already.
    ///
    /// # Errors
    /// 40001, as [`Table::lock_by_id`].
    pub fn lock_row<'t>(
        &'t self,
        row: Row<'t>,
        lock: RowLock,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<Option<Row<'t>>> {
        self.lock_or(row, lock, pg_sys::LockWaitPolicy::LockWaitBlock, snapshot)
    }

    /// As [`Table::lock_row`], but `None` at once when somebody else holds the row, or has changed
    /// it since: what `FOR UPDATE SKIP LOCKED` is for.
    ///
    /// # Errors
    /// 40001, as [`Table::lock_by_id`].
    pub fn lock_row_or_skip<'t>(
        &'t self,
        row: Row<'t>,
        lock: RowLock,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<Option<Row<'t>>> {
        self.lock_or(row, lock, pg_sys::LockWaitPolicy::LockWaitSkip, snapshot)
    }

    fn lock_or<'t>(
        &'t self,
        row: Row<'t>,
        lock: RowLock,
        policy: pg_sys::LockWaitPolicy::Type,
        snapshot: &ActiveSnapshot,
    ) -> CaliberResult<Option<Row<'t>>> {
        let mut flags = pg_sys::TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
        let one_snapshot = ports::isolation_uses_xact_snapshot();
        if !one_snapshot && policy == pg_sys::LockWaitPolicy::LockWaitBlock {
            flags |= pg_sys::TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
        }
        let mut tid = row.slot().tid();
        let mut failure = pg_sys::TM_FailureData::default();
        // Locking writes no row version, so the command id is not marked as used.
        let cid = transaction::current_command();
        // SAFETY: an open table, a version that the snapshot sees, a slot of the table's kind.
        let result = unsafe {
            pg_sys::table_tuple_lock(
                self.rel().as_ptr(),
                &mut tid,
                snapshot.as_ptr(),
                row.slot().as_ptr(),
                cid,
                lock.mode(),
                policy,
                flags as u8,
                &mut failure,
            )
        };
        use pg_sys::TM_Result as T;
        match result {
            T::TM_Ok => Ok(Some(row)),
            T::TM_Updated | T::TM_Deleted if one_snapshot => Err(CaliberError::Serialization),
            // Held by somebody else, deleted meanwhile, or changed by this very command: as the executor sees it, the
            // row is not there to be changed (again).
            _ => Ok(None),
        }
    }
}
