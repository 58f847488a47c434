//! Foreign keys as the catalogs describe them.

use super::types;
use pgrx_pg_sys as pg_sys;

/// `INDEX_MAX_KEYS`: as many columns as a foreign key can have.
const MAX_KEYS: usize = pg_sys::INDEX_MAX_KEYS as usize;
/// `FKCONSTR_MATCH_SIMPLE`
const MATCH_SIMPLE: u8 = b's';

/// A foreign key.
pub struct ForeignKey {
    /// The table that it refers to.
    pub parent: pg_sys::Oid,
    /// Its columns in the table that refers, by attribute number.
    pub child_columns: Vec<i16>,
    /// The column of the parent for each of them.
    pub parent_columns: Vec<i16>,
    /// Whether a key with a null in it refers to nothing.
    pub is_match_simple: bool,
}

/// The foreign key with this OID; `None` when there is none.
pub fn foreign_key(oid: pg_sys::Oid) -> Option<ForeignKey> {
    types::syscache_tuple(pg_sys::SysCacheIdentifier::CONSTROID as i32, oid, |tuple| {
        // SAFETY: a row of pg_constraint, valid during the call.
        let row = unsafe { pg_sys::GETSTRUCT(tuple) };
        // SAFETY: the catalog's fixed part has the layout of its form struct.
        let form = unsafe { &*row.cast::<pg_sys::FormData_pg_constraint>() };
        if form.contype as u8 != pg_sys::CONSTRAINT_FOREIGN {
            return None;
        }
        let mut count = 0;
        let mut child = [0; MAX_KEYS];
        let mut parent = [0; MAX_KEYS];
        let mut operators = [pg_sys::InvalidOid; MAX_KEYS];
        let nothing = std::ptr::null_mut();
        // SAFETY: a foreign key's row, and arrays with room for all columns that it can have; the
        // operators between the parent's columns and between the child's are not asked for.
        unsafe {
            pg_sys::DeconstructFkConstraintRow(
                tuple,
                &mut count,
                child.as_mut_ptr(),
                parent.as_mut_ptr(),
                operators.as_mut_ptr(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                nothing,
            );
        }
        let count = count.max(0) as usize;
        Some(ForeignKey {
            parent: form.confrelid,
            child_columns: child[..count].to_vec(),
            parent_columns: parent[..count].to_vec(),
            is_match_simple: form.confmatchtype as u8 == MATCH_SIMPLE,
        })
    })
    .flatten()
}

/// Whether the owner of a table may do what the check of a foreign key to it does in the owner's
/// name: `SELECT ... FOR KEY SHARE`.
pub fn owner_may_refer_to(table: pg_sys::Oid) -> bool {
    let Some((owner, namespace)) = types::owner_and_schema(table) else { return false };
    let ok = pg_sys::AclResult::ACLCHECK_OK;
    let needed = [pg_sys::ACL_SELECT, pg_sys::ACL_UPDATE];
    // SAFETY: a syscache look-up.
    let may = |mode: u32| unsafe { pg_sys::pg_class_aclcheck(table, owner, mode.into()) } == ok;
    let catalog = pg_sys::NamespaceRelationId;
    let usage = u64::from(pg_sys::ACL_USAGE);
    // SAFETY: a syscache look-up.
    let in_schema = unsafe { pg_sys::object_aclcheck(catalog, namespace, owner, usage) } == ok;
    in_schema && needed.into_iter().all(may)
}
