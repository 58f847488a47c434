//! Name look-ups and access checks that were made before, and still hold.
//!
//! A function is often called for each of many rows. Looking its table up by name and checking
//! privileges and policies costs as much as the index look-up itself, and gives the same until the
//! catalogs change, which the count of invalidations tells.

use super::Access;
use crate::model::Entity;
use crate::pg::{current_user, invalidation};
use pgrx_pg_sys as pg_sys;
use std::cell::RefCell;
use std::ffi::{CStr, CString};

/// A table that was found, for whom, and when.
struct Known {
    entity: &'static Entity,
    access: Access,
    schema: CString,
    user: pg_sys::Oid,
    row_security: bool,
    /// [`invalidation::seen`] before the look-up.
    seen: u64,
    oid: pg_sys::Oid,
}

thread_local! {
    /// One for each entity and access: bounded by the number of functions.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// The table, locked, if it was found before and nothing has changed since.
///
/// The lock comes first: getting it processes the invalidations that are due.
pub fn find(schema: &CStr, entity: &'static Entity, access: Access) -> Option<pg_sys::Oid> {
    let (oid, seen) = known(schema, entity, access)?;
    access.check_mode();
    // SAFETY: a table that existed when the last invalidation was processed.
    unsafe { pg_sys::LockRelationOid(oid, access.lock as pg_sys::LOCKMODE) };
    if invalidation::seen() == seen {
        return Some(oid);
    }
    // SAFETY: locked above; the ordinary look-up decides anew.
    unsafe { pg_sys::UnlockRelationOid(oid, access.lock as pg_sys::LOCKMODE) };
    None
}

/// Whether the table was found before, for this access, and no invalidation has arrived since. One
/// that has not arrived yet is met by who locks the table.
pub fn was_found(schema: &CStr, entity: &'static Entity, access: Access) -> bool {
    known(schema, entity, access).is_some()
}

/// The table as it was found before, and when.
fn known(schema: &CStr, entity: &'static Entity, access: Access) -> Option<(pg_sys::Oid, u64)> {
    KNOWN.with_borrow(|known| {
        known
            .iter()
            .find(|k| std::ptr::eq(k.entity, entity) && k.access == access)
            .filter(|k| {
                k.seen == invalidation::seen()
                    && k.schema.as_c_str() == schema
                    && k.user == current_user()
                    && k.row_security == row_security()
            })
            .map(|k| (k.oid, k.seen))
    })
}

/// Remembers a look-up that began when [`invalidation::seen`] gave `before`.
pub fn remember(
    schema: &CStr,
    entity: &'static Entity,
    access: Access,
    oid: pg_sys::Oid,
    before: u64,
) {
    if invalidation::seen() != before {
        return;
    }
    let new = Known {
        entity,
        access,
        schema: schema.to_owned(),
        user: current_user(),
        row_security: row_security(),
        seen: before,
        oid,
    };
    KNOWN.with_borrow_mut(|known| {
        known.retain(|k| !(std::ptr::eq(k.entity, entity) && k.access == access));
        known.push(new);
    });
}

/// The setting `row_security`, on which the check for policies depends.
fn row_security() -> bool {
    // SAFETY: a plain bool that only this backend's main thread writes.
    unsafe { pg_sys::row_security }
}
