//! Sequences by their qualified name.

use pgrx_pg_sys as pg_sys;
use std::ffi::CStr;

fn find(schema: &CStr, name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a syscache look-up; a missing schema is no error.
    let namespace = unsafe { pg_sys::get_namespace_oid(schema.as_ptr(), true) };
    // SAFETY: a syscache look-up.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), namespace) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Raises 42501 unless the caller may take values of the sequence; `None` when there is none.
pub fn may_take(schema: &CStr, name: &CStr) -> Option<()> {
    let oid = find(schema, name)?;
    let user = super::current_user();
    let either = pg_sys::AclMode::from(pg_sys::ACL_USAGE | pg_sys::ACL_UPDATE);
    // SAFETY: a syscache look-up.
    let result = unsafe { pg_sys::pg_class_aclcheck(oid, user, either) };
    if result != pg_sys::AclResult::ACLCHECK_OK {
        // SAFETY: raises 42501 with the sequence's name.
        unsafe {
            pg_sys::aclcheck_error(result, pg_sys::ObjectType::OBJECT_SEQUENCE, name.as_ptr())
        };
    }
    Some(())
}

/// The next value of a sequence; `None` when there is no such sequence. Raises 42501 without the
/// privilege.
pub fn next(schema: &CStr, name: &CStr) -> Option<i64> {
    // SAFETY: raises when the relation is no sequence, or the caller may not use it.
    find(schema, name).map(|oid| unsafe { pg_sys::nextval_internal(oid, true) })
}
