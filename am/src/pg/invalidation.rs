//! Counts the invalidations that a backend processes, for what is remembered across calls.
//!
//! Something that was true when the count was N is still true while it is N: names, privileges
//! and definitions change in the catalogs, and each such change reaches every backend as an
//! invalidation before the backend gets its next new lock.

use pgrx_pg_sys as pg_sys;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

static SEEN: AtomicU64 = AtomicU64::new(1);

/// How many invalidations this backend has processed, counted from 1.
pub fn seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

/// Starts counting; called once, when the library is loaded.
pub fn watch() {
    let nothing = pg_sys::Datum::null();
    // SAFETY: the callback lives as long as the library; it can be registered at any time.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_relation), nothing) };
    // What the relcache does not tell: schemas, roles and their memberships, databases; and what
    // the expressions of defaults, constraints and indexes are made of.
    for cache in [
        pg_sys::SysCacheIdentifier::NAMESPACEOID,
        pg_sys::SysCacheIdentifier::AUTHOID,
        pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE,
        pg_sys::SysCacheIdentifier::DATABASEOID,
        pg_sys::SysCacheIdentifier::PROCOID,
        pg_sys::SysCacheIdentifier::OPEROID,
        pg_sys::SysCacheIdentifier::TYPEOID,
        pg_sys::SysCacheIdentifier::CONSTROID,
    ] {
        // SAFETY: as above.
        unsafe { pg_sys::CacheRegisterSyscacheCallback(cache as c_int, Some(on_row), nothing) };
    }
}

/// Called for each invalidation of a relation, also in the middle of an abort: it must not raise.
unsafe extern "C-unwind" fn on_relation(_argument: pg_sys::Datum, _relation: pg_sys::Oid) {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

/// Called for each invalidation of a catalog row, as [`on_relation`].
unsafe extern "C-unwind" fn on_row(_argument: pg_sys::Datum, _cache: c_int, _hash: u32) {
    SEEN.fetch_add(1, Ordering::Relaxed);
}
