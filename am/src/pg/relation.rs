//! Open relations and their tuple descriptors.

use super::{ports, raw};
use pgrx::PgList;
use pgrx_pg_sys as pg_sys;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// An open, locked relation for as long as `'r`.
///
/// The relcache may rebuild an entry in place whenever PostgreSQL processes invalidations, so
/// nothing here hands out a pointer into it that outlives the statement it is used in; what is
/// needed longer is copied.
#[derive(Clone, Copy)]
pub struct Rel<'r> {
    pointer: NonNull<pg_sys::RelationData>,
    open: PhantomData<&'r ()>,
}

impl<'r> Rel<'r> {
    /// The relation behind the pointer; `None` for a null pointer.
    ///
    /// # Safety
    /// If not null, it is an open relation, and stays open and locked for `'r`.
    pub unsafe fn from_raw(relation: pg_sys::Relation) -> Option<Self> {
        NonNull::new(relation).map(|pointer| Self { pointer, open: PhantomData })
    }

    /// The raw pointer, for calls into PostgreSQL.
    pub fn as_ptr(self) -> pg_sys::Relation {
        self.pointer.as_ptr()
    }

    /// The relcache entry.
    pub fn data(self) -> &'r pg_sys::RelationData {
        // SAFETY: open for 'r, see from_raw.
        unsafe { self.pointer.as_ref() }
    }

    /// The relation's pg_class row.
    pub fn class(self) -> &'r pg_sys::FormData_pg_class {
        let row = self.data().rd_rel;
        // SAFETY: a valid relcache entry has its pg_class row.
        unsafe { &*row }
    }

    /// Its OID.
    pub fn oid(self) -> pg_sys::Oid {
        self.data().rd_id
    }

    /// Its name without the schema.
    pub fn name(self) -> String {
        let name = &raw const self.class().relname.data;
        // SAFETY: a NameData ends with a zero byte.
        unsafe { CStr::from_ptr(name.cast()) }.to_string_lossy().into_owned()
    }

    /// Its columns.
    pub fn columns(self) -> Columns<'r> {
        let desc = self.data().rd_att;
        // SAFETY: a valid relcache entry has its descriptor, for as long as it is open.
        unsafe { Columns::from_raw(desc) }
    }

    /// An ordinary table: not a partitioned one, an index, a view, a materialized view.
    pub fn is_plain_table(self) -> bool {
        self.class().relkind as u8 == pg_sys::RELKIND_RELATION
    }

    /// A partitioned table, which has no storage of its own.
    pub fn is_partitioned(self) -> bool {
        self.class().relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE
    }

    /// A temporary table.
    pub fn is_temporary(self) -> bool {
        self.class().relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP
    }

    /// The transient copy that a rewrite (ALTER TABLE, CLUSTER, REFRESH) fills.
    pub fn is_rewrite_target(self) -> bool {
        self.class().relrewrite != pg_sys::InvalidOid
    }

    /// A temporary table of another session, whose pages are in that session's memory.
    pub fn is_of_another_session(self) -> bool {
        self.is_temporary() && !self.data().rd_islocaltemp
    }

    /// Its toast table.
    pub fn toast_table(self) -> Option<pg_sys::Oid> {
        let oid = self.class().reltoastrelid;
        (oid != pg_sys::InvalidOid).then_some(oid)
    }

    /// Its indexes, the ones that are not valid among them.
    pub fn indexes(self) -> Vec<pg_sys::Oid> {
        // SAFETY: an open relation; the list is a copy.
        let list = unsafe { pg_sys::RelationGetIndexList(self.as_ptr()) };
        // SAFETY: a list of OIDs.
        let indexes = unsafe { PgList::<pg_sys::Oid>::from_pg(list) };
        indexes.iter_oid().collect()
    }

    /// Whether rewrite rules stand on it.
    pub fn has_rules(self) -> bool {
        !self.data().rd_rules.is_null()
    }
}

/// A relation that this guard opened; closed on drop, its lock kept until the transaction ends.
pub struct OpenRel {
    rel: Rel<'static>,
}

impl OpenRel {
    /// Opens a table that is locked already.
    pub fn locked_table(oid: pg_sys::Oid) -> Self {
        // SAFETY: raises when there is no such relation.
        let relation = unsafe { pg_sys::relation_open(oid, pg_sys::NoLock as i32) };
        Self::adopt(relation)
    }

    /// Opens and locks a relation of any kind.
    pub fn relation(oid: pg_sys::Oid, lock: u32) -> Self {
        // SAFETY: raises when there is no such relation.
        let relation = unsafe { pg_sys::relation_open(oid, lock as i32) };
        Self::adopt(relation)
    }

    /// As [`OpenRel::relation`]; `None` when there is no such relation.
    pub fn existing(oid: pg_sys::Oid, lock: u32) -> Option<Self> {
        // SAFETY: returns null when there is no such relation.
        let relation = unsafe { pg_sys::try_relation_open(oid, lock as i32) };
        let pointer = NonNull::new(relation)?;
        Some(Self { rel: Rel { pointer, open: PhantomData } })
    }

    /// Opens and locks an index.
    pub fn index(oid: pg_sys::Oid, lock: u32) -> Self {
        // SAFETY: raises when there is no such index.
        let relation = unsafe { pg_sys::index_open(oid, lock as i32) };
        Self::adopt(relation)
    }

    fn adopt(relation: pg_sys::Relation) -> Self {
        // SAFETY: the functions that open a relation raise rather than return null.
        let pointer = unsafe { NonNull::new_unchecked(relation) };
        Self { rel: Rel { pointer, open: PhantomData } }
    }

    /// The relation, for as long as this guard.
    pub fn rel(&self) -> Rel<'_> {
        self.rel
    }
}

impl Drop for OpenRel {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by this guard; NoLock keeps the lock until the transaction's end.
            unsafe { raw::relation_close(self.rel.as_ptr(), pg_sys::NoLock as i32) };
        }
    }
}

/// The columns of a tuple descriptor.
#[derive(Clone, Copy)]
pub struct Columns<'d> {
    desc: pg_sys::TupleDesc,
    owner: PhantomData<&'d ()>,
}

impl<'d> Columns<'d> {
    /// # Safety
    /// `desc` is a valid descriptor for `'d`.
    pub unsafe fn from_raw(desc: pg_sys::TupleDesc) -> Self {
        Self { desc, owner: PhantomData }
    }

    /// The raw descriptor.
    pub fn as_ptr(self) -> pg_sys::TupleDesc {
        self.desc
    }

    /// How many attributes there are, dropped ones included.
    pub fn len(self) -> usize {
        // SAFETY: valid for 'd.
        let natts = unsafe { (*self.desc).natts };
        natts as usize
    }

    /// Whether there is no attribute.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The attribute at `index`, from 0; `index` must be less than [`Columns::len`].
    pub fn get(self, index: usize) -> &'d pg_sys::FormData_pg_attribute {
        assert!(index < self.len());
        // SAFETY: the index was just checked.
        let attribute = unsafe { ports::tuple_desc_attr(self.desc, index) };
        // SAFETY: it lives as long as the descriptor.
        unsafe { &*attribute }
    }

    /// The live attributes with their index.
    pub fn live(self) -> impl Iterator<Item = (usize, &'d pg_sys::FormData_pg_attribute)> {
        (0..self.len()).map(move |i| (i, self.get(i))).filter(|(_, a)| !a.attisdropped)
    }

    /// The live attribute of this name with its index.
    pub fn named(self, name: &str) -> Option<(usize, &'d pg_sys::FormData_pg_attribute)> {
        self.live().find(|(_, a)| attribute_name(a) == name.as_bytes())
    }

    /// The constraints part: defaults, CHECKs, generated columns.
    pub fn constraints(self) -> Option<&'d pg_sys::TupleConstr> {
        // SAFETY: valid for 'd.
        let constr = unsafe { (*self.desc).constr };
        // SAFETY: null or valid as long as the descriptor.
        unsafe { constr.as_ref() }
    }
}

/// The attribute's name as bytes.
pub fn attribute_name(attribute: &pg_sys::FormData_pg_attribute) -> &[u8] {
    let name = &raw const attribute.attname.data;
    // SAFETY: a NameData ends with a zero byte and lives as long as the attribute.
    unsafe { CStr::from_ptr(name.cast()) }.to_bytes()
}

/// Whether the schema has a relation of this name.
pub fn relation_exists(schema: &CStr, name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: a syscache look-up; a missing schema is no error.
    let namespace = unsafe { pg_sys::get_namespace_oid(schema.as_ptr(), true) };
    // SAFETY: a syscache look-up; nothing is found in a schema that does not exist.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), namespace) };
    oid != pg_sys::InvalidOid
}
