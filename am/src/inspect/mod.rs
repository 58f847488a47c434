//! For people who look after tables: what is damaged ([`verify`](mod@verify)), and how the space is
//! used ([`space`](mod@space)). PostgreSQL's own tools for both refuse every access method but heap.

mod space;
mod verify;

pub use space::{Space, space};
pub use verify::{Finding, verify};

use crate::error::{CaliberError, CaliberResult};
use crate::pg::relation::OpenRel;
use crate::pg::{current_user, ports, types};
use crate::table::is_ours;
use pgrx_pg_sys as pg_sys;
use std::ffi::CString;

/// Who may look, besides the owner and, from PostgreSQL 17, who may maintain the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Also {
    Nobody,
    /// Members of the predefined role `pg_stat_scan_tables`.
    StatScanTables,
}

/// Opens a table of this access method for looking at its pages.
///
/// # Errors
/// 42501 for who may not, before anything is locked; 42P01 when there is no such relation, 42809 when
/// it is not a table of this access method, 0A000 when its pages are another session's.
fn open(oid: pg_sys::Oid, also: Also) -> CaliberResult<OpenRel> {
    let missing = || CaliberError::NoSuchRelation { oid: oid.to_u32() };
    let name = types::relation_name(oid).ok_or_else(missing)?;
    if !may_look(oid, also) {
        let name = CString::new(name).map_err(|_| missing())?;
        let result = pg_sys::AclResult::ACLCHECK_NOT_OWNER;
        // SAFETY: raises 42501 with the relation's name.
        unsafe { pg_sys::aclcheck_error(result, pg_sys::ObjectType::OBJECT_TABLE, name.as_ptr()) };
        return Err(missing());
    }
    let open = OpenRel::existing(oid, pg_sys::AccessShareLock).ok_or_else(missing)?;
    let rel = open.rel();
    if !is_ours(rel) {
        return Err(CaliberError::NotOurs { relation: name });
    }
    if rel.is_of_another_session() {
        return Err(CaliberError::OtherSession);
    }
    Ok(open)
}

fn may_look(oid: pg_sys::Oid, also: Also) -> bool {
    let user = current_user();
    // SAFETY: a catalog look-up.
    if unsafe { pg_sys::object_ownercheck(pg_sys::RelationRelationId, oid, user) } {
        return true;
    }
    if ports::may_maintain(oid, user) {
        return true;
    }
    let role = pg_sys::Oid::from(pg_sys::ROLE_PG_STAT_SCAN_TABLES);
    // SAFETY: a catalog look-up.
    also == Also::StatScanTables && unsafe { pg_sys::has_privs_of_role(user, role) }
}
