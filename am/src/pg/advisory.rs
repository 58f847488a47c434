//! Advisory locks on things that are no rows, in a key space of this extension's own.

use pgrx_pg_sys as pg_sys;

/// `locktag_field4` of PostgreSQL's own advisory locks is 1 (one bigint key) or 2 (two integers).
const KEY_SPACE: u16 = 0xCA11;

/// An advisory lock that this transaction may hold.
#[derive(Clone, Copy)]
pub struct Advisory {
    tag: pg_sys::LOCKTAG,
}

impl Advisory {
    /// The lock for what these bytes name. Two names may share a lock, at a chance of 2^-64.
    pub fn of(name: &[u8]) -> Self {
        // SAFETY: reads as many bytes as there are.
        let key = unsafe { pg_sys::hash_bytes_extended(name.as_ptr(), name.len() as i32, 0) };
        // SAFETY: a plain OID that is set when the backend starts.
        let database = unsafe { pg_sys::MyDatabaseId };
        Self {
            tag: pg_sys::LOCKTAG {
                locktag_field1: database.to_u32(),
                locktag_field2: (key >> 32) as u32,
                locktag_field3: key as u32,
                locktag_field4: KEY_SPACE,
                locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
                locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
            },
        }
    }

    /// Takes it until the transaction ends, if it is free; false when somebody else has it.
    pub fn try_lock(&self) -> bool {
        let result = self.acquire(true);
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }

    /// Takes it until the transaction ends, and waits for whoever has it.
    pub fn lock(&self) {
        self.acquire(false);
    }

    fn acquire(&self, dont_wait: bool) -> pg_sys::LockAcquireResult::Type {
        let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: a tag of ours; raises for a deadlock, a timeout or a cancel.
        unsafe { pg_sys::LockAcquire(&self.tag, mode, false, dont_wait) }
    }

    /// Gives it back before the transaction ends.
    pub fn unlock(&self) {
        let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: taken by this transaction.
        unsafe { pg_sys::LockRelease(&self.tag, mode, false) };
    }
}
