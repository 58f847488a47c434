//! Snapshots for reads and for mutations (architecture, decision 9).

use super::{ports, raw};
use pgrx_pg_sys as pg_sys;

/// A snapshot that is the active one for as long as this guard lives.
pub struct ActiveSnapshot {
    pushed: bool,
}

impl ActiveSnapshot {
    /// For a read: the calling statement's snapshot and everything that its own transaction wrote
    /// before.
    pub fn of_statement() -> Self {
        // SAFETY: a function is always called under an active snapshot.
        let active = unsafe { raw::GetActiveSnapshot() };
        // SAFETY: does not mark the command id as used.
        let current = unsafe { raw::GetCurrentCommandId(false) };
        // SAFETY: the active snapshot is valid while it is on the stack.
        let seen = unsafe { (*active).curcid };
        if seen >= current {
            return Self { pushed: false };
        }
        // SAFETY: copies the snapshot onto the stack.
        unsafe { pg_sys::PushCopiedSnapshot(active) };
        // SAFETY: the copy is referenced by the stack alone, as the function asks.
        unsafe { pg_sys::UpdateActiveSnapshotCommandId() };
        Self { pushed: true }
    }

    /// For a mutation: in READ COMMITTED the latest state of the database, otherwise the
    /// transaction's snapshot.
    pub fn for_write() -> Self {
        let snapshot = if ports::isolation_uses_xact_snapshot() {
            // SAFETY: inside a transaction.
            unsafe { pg_sys::GetTransactionSnapshot() }
        } else {
            // SAFETY: inside a transaction, not in parallel mode (checked when the table opened).
            unsafe { pg_sys::GetLatestSnapshot() }
        };
        // SAFETY: just taken; pushing copies it.
        unsafe { pg_sys::PushActiveSnapshot(snapshot) };
        Self { pushed: true }
    }

    /// The state of the database at this moment, at every isolation level.
    pub fn latest() -> Self {
        // SAFETY: inside a transaction, not in parallel mode (checked when the table opened).
        let snapshot = unsafe { pg_sys::GetLatestSnapshot() };
        // SAFETY: just taken; pushing copies it.
        unsafe { pg_sys::PushActiveSnapshot(snapshot) };
        Self { pushed: true }
    }

    /// The snapshot itself, valid as long as this guard.
    pub fn as_ptr(&self) -> pg_sys::Snapshot {
        // SAFETY: this guard keeps it on the stack, or the calling statement does.
        unsafe { raw::GetActiveSnapshot() }
    }
}

impl Drop for ActiveSnapshot {
    fn drop(&mut self) {
        if self.pushed && !std::thread::panicking() {
            // SAFETY: pushed by this guard; guards end in the reverse order of their start.
            unsafe { raw::PopActiveSnapshot() };
        }
    }
}
