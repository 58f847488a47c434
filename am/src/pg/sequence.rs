//! Sequences by their qualified name.

use pgrx_pg_sys as pg_sys;
use std::ffi::CStr;

/// The next value of a sequence; `None` when there is no such sequence. Raises 42501 without the
/// privilege.
pub fn next(schema: &CStr, name: &CStr) -> Option<i64> {
    // SAFETY: a syscache look-up; a missing schema is no error.
    let namespace = unsafe { pg_sys::get_namespace_oid(schema.as_ptr(), true) };
    // SAFETY: a syscache look-up.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), namespace) };
    // SAFETY: raises when the relation is no sequence, or the caller may not use it.
    (oid != pg_sys::InvalidOid).then(|| unsafe { pg_sys::nextval_internal(oid, true) })
}
