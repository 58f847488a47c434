//! Opening an entity's table by name, as far as the caller may.

use super::recent;
use crate::error::{CaliberError, CaliberResult};
use crate::model::{Change, ColumnType, Entity};
use crate::pg::relation::{OpenRel, Rel};
use crate::pg::report::raise;
use crate::pg::value::Value;
use crate::pg::{current_user, invalidation, transaction, types};
use crate::storage::shape::{self, Shape};
use pgrx::pg_guard;
use pgrx_pg_sys as pg_sys;
use std::ffi::{CStr, CString, c_void};

/// What a function is going to do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    privileges: u32,
    pub(super) lock: u32,
    /// The SQL command for the message that refuses it in a read-only transaction.
    command: Option<&'static CStr>,
}

impl Access {
    /// Read rows.
    pub const READ: Self =
        Self { privileges: pg_sys::ACL_SELECT, lock: pg_sys::AccessShareLock, command: None };
    /// Read rows and lock them, as `SELECT ... FOR SHARE`.
    pub const LOCK: Self = Self {
        privileges: pg_sys::ACL_SELECT | pg_sys::ACL_UPDATE,
        lock: pg_sys::RowShareLock,
        command: Some(c"SELECT FOR SHARE"),
    };
    /// Read rows and update them.
    pub const UPDATE: Self = Self {
        privileges: pg_sys::ACL_SELECT | pg_sys::ACL_UPDATE,
        lock: pg_sys::RowExclusiveLock,
        command: Some(c"UPDATE"),
    };
    /// Insert rows, and read them for the comparison of an idempotent create.
    pub const INSERT: Self = Self {
        privileges: pg_sys::ACL_SELECT | pg_sys::ACL_INSERT,
        lock: pg_sys::RowExclusiveLock,
        command: Some(c"INSERT"),
    };
    /// Read, insert, update and delete rows.
    pub const ALL: Self = Self {
        privileges: pg_sys::ACL_SELECT
            | pg_sys::ACL_INSERT
            | pg_sys::ACL_UPDATE
            | pg_sys::ACL_DELETE,
        lock: pg_sys::RowExclusiveLock,
        command: Some(c"INSERT"),
    };
    /// Read rows and delete them.
    pub const DELETE: Self = Self {
        privileges: pg_sys::ACL_SELECT | pg_sys::ACL_DELETE,
        lock: pg_sys::RowExclusiveLock,
        command: Some(c"DELETE"),
    };
}

impl Access {
    /// Raises 25006 for a write in a read-only transaction, and refuses it in parallel mode.
    pub(super) fn check_mode(self) {
        let Some(command) = self.command else { return };
        transaction::prevent_if_read_only(command);
        if transaction::is_parallel() {
            // SAFETY: a static C string.
            unsafe { pg_sys::PreventCommandIfParallelMode(command.as_ptr()) };
        }
    }
}

/// An entity's table, open and locked; the lock stays until the transaction ends.
pub struct Table {
    open: OpenRel,
    shape: Shape,
}

impl Table {
    /// Opens the table of the entity in the schema.
    ///
    /// # Errors
    /// 42501 without the privileges, before anything is locked or read; 0A000 when row-level
    /// security is active for the caller, the table is partitioned or has rewrite rules; 25006
    /// in a read-only transaction; 42P01 when there is no such table; 42P16 when it does not
    /// store the entity.
    pub fn open(schema: &CStr, entity: &'static Entity, access: Access) -> CaliberResult<Self> {
        let oid = find_and_lock(schema, entity, access)?;
        let open = OpenRel::locked_table(oid);
        let rel = open.rel();
        if rel.is_partitioned() {
            return Err(CaliberError::Partitioned { table: rel.name() });
        }
        let shape = match is_ours(rel).then(|| shape::of(rel)).transpose()?.flatten() {
            Some(shape) if std::ptr::eq(shape.entity(), entity) => shape,
            _ => {
                return Err(CaliberError::NotAnEntityTable {
                    schema: schema.to_string_lossy().into_owned(),
                    table: entity.table,
                    entity: entity.name,
                });
            }
        };
        if access.command.is_some() && rel.has_rules() {
            return Err(CaliberError::RewriteRules { table: rel.name() });
        }
        Ok(Self { open, shape })
    }

    /// Refuses who lacks the privileges, without locking or opening the table: for one that a
    /// function comes to only after it has locked others, or rows of theirs.
    ///
    /// # Errors
    /// Those of [`Table::open`] that concern the caller: 42501, 0A000, 25006; and 42P01.
    pub fn may_open(schema: &CStr, entity: &'static Entity, access: Access) -> CaliberResult<()> {
        if recent::was_found(schema, entity, access) {
            access.check_mode();
            return Ok(());
        }
        look_up(schema, entity, access, pg_sys::NoLock).map(drop)
    }

    /// A table that was opened and looked at already.
    pub(super) const fn of_shape(open: OpenRel, shape: Shape) -> Self {
        Self { open, shape }
    }

    /// The entity that it stores.
    pub fn entity(&self) -> &'static Entity {
        self.shape.entity()
    }

    /// The relation.
    pub fn rel(&self) -> Rel<'_> {
        self.open.rel()
    }

    /// Where the entity's columns are.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The attribute number of the entity's column at `position`.
    pub fn attno(&self, position: usize) -> i16 {
        self.shape.attno(position)
    }

    /// The type of the entity's column at `position`, and its type modifier.
    pub fn column_type(&self, position: usize) -> (pg_sys::Oid, i32) {
        let attribute = self.rel().columns().get(self.attno(position) as usize - 1);
        (attribute.atttypid, attribute.atttypmod)
    }

    /// The schema of the extension, in which its types are.
    pub fn extension_namespace(&self) -> pg_sys::Oid {
        shape::extension_namespace(self.rel())
    }

    /// The value with this label for the enum column at `position`.
    ///
    /// # Errors
    /// 42P16 when the extension's type lost the label.
    pub fn enum_value(
        &self,
        position: usize,
        label: &'static str,
    ) -> CaliberResult<Value<'static>> {
        let entity = self.entity();
        let column = &entity.columns[position];
        let ColumnType::Enum(name) = column.ty else {
            unreachable!("{} is an enum column", column.name)
        };
        if column.change == Change::State
            && let Some(state) = self.shape.state(label)
        {
            return Ok(Value::oid(state));
        }
        // The shape was built from columns of the extension's types.
        types::enum_label(self.column_type(position).0, label).map(Value::oid).ok_or_else(|| {
            CaliberError::StateType { entity: entity.name, name: name.to_owned(), label }
        })
    }
}

/// Whether the relation is stored by this access method.
pub(crate) fn is_ours(rel: Rel<'_>) -> bool {
    std::ptr::eq(rel.data().rd_tableam, crate::storage::routine::routine())
}

/// The entity that a relation of any kind stores, by name; `None` for everything else, and
/// where there is no such relation.
///
/// # Errors
/// 42P16 when it has an entity's key but not its columns.
pub fn entity_of(oid: pg_sys::Oid) -> CaliberResult<Option<&'static Entity>> {
    let Some(open) = OpenRel::existing(oid, pg_sys::AccessShareLock) else {
        return Ok(None);
    };
    let rel = open.rel();
    if !is_ours(rel) {
        return Ok(None);
    }
    Ok(shape::of(rel)?.map(|shape| shape.entity()))
}

/// Finds the table by its qualified name, as far as the caller may, and locks it.
fn find_and_lock(
    schema: &CStr,
    entity: &'static Entity,
    access: Access,
) -> CaliberResult<pg_sys::Oid> {
    if let Some(oid) = recent::find(schema, entity, access) {
        return Ok(oid);
    }
    let before = invalidation::seen();
    let oid = look_up(schema, entity, access, access.lock)?;
    recent::remember(schema, entity, access, oid, before);
    Ok(oid)
}

/// What the callback of the name look-up needs.
struct Request {
    access: Access,
}

/// Looks the table up by its qualified name and locks it, if that is asked for. Privileges are
/// checked before the lock is taken, and again when the name came to mean another table meanwhile.
fn look_up(
    schema: &CStr,
    entity: &'static Entity,
    access: Access,
    lock: u32,
) -> CaliberResult<pg_sys::Oid> {
    let missing = || CaliberError::TableMissing {
        schema: schema.to_string_lossy().into_owned(),
        table: entity.table,
    };
    let table = CString::new(entity.table).map_err(|_| missing())?;
    // SAFETY: makeRangeVar keeps the pointers, which outlive the look-up.
    let name =
        unsafe { pg_sys::makeRangeVar(schema.as_ptr().cast_mut(), table.as_ptr().cast_mut(), -1) };
    let request = Request { access };
    // SAFETY: the callback gets `request`, which outlives the look-up.
    let oid = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            name,
            lock as pg_sys::LOCKMODE,
            pg_sys::RVROption::RVR_MISSING_OK,
            Some(check_access),
            (&raw const request).cast_mut().cast(),
        )
    };
    // SAFETY: allocated by makeRangeVar and not used any more.
    unsafe { pg_sys::pfree(name.cast()) };
    if oid == pg_sys::InvalidOid { Err(missing()) } else { Ok(oid) }
}

/// Privileges, row-level security, read-only and parallel mode, in the executor's order.
#[pg_guard]
unsafe extern "C-unwind" fn check_access(
    _name: *const pg_sys::RangeVar,
    oid: pg_sys::Oid,
    old_oid: pg_sys::Oid,
    request: *mut c_void,
) {
    if oid == pg_sys::InvalidOid || oid == old_oid {
        return;
    }
    // SAFETY: find_and_lock passes a Request that outlives the look-up.
    let Request { access } = unsafe { &*request.cast::<Request>() };
    check_privileges(oid, access.privileges);
    // SAFETY: checks for the current user and raises nothing for true.
    let rls = unsafe { pg_sys::check_enable_rls(oid, pg_sys::InvalidOid, true) };
    if rls == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
        raise(&CaliberError::RowSecurity { table: name_of(oid) });
    }
    access.check_mode();
}

/// Each privilege on the table, or on all of its columns, as SQL would need it.
fn check_privileges(oid: pg_sys::Oid, privileges: u32) {
    let user = current_user();
    let column_privileges = pg_sys::ACL_SELECT | pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE;
    for bit in (0..u32::BITS).map(|i| 1 << i).filter(|bit| privileges & bit != 0) {
        let mode = pg_sys::AclMode::from(bit);
        // SAFETY: a syscache look-up.
        let mut result = unsafe { pg_sys::pg_class_aclcheck(oid, user, mode) };
        if result != pg_sys::AclResult::ACLCHECK_OK && column_privileges & bit != 0 {
            // SAFETY: a syscache look-up.
            result = unsafe {
                pg_sys::pg_attribute_aclcheck_all(oid, user, mode, pg_sys::AclMaskHow::ACLMASK_ALL)
            };
        }
        if result != pg_sys::AclResult::ACLCHECK_OK {
            // SAFETY: a palloc'd copy; null would only leave the name out of the message.
            let name = unsafe { pg_sys::get_rel_name(oid) };
            // SAFETY: raises 42501 with the relation's name.
            unsafe { pg_sys::aclcheck_error(result, pg_sys::ObjectType::OBJECT_TABLE, name) };
        }
    }
}

fn name_of(oid: pg_sys::Oid) -> String {
    types::relation_name(oid).unwrap_or_else(|| oid.to_u32().to_string())
}
