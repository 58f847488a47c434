//! Types by name, in a schema that is known: never through search_path.

use pgrx_pg_sys as pg_sys;
use std::ffi::{CStr, CString};

/// The OID of the type `name` in the schema; `None` when there is none.
pub fn type_in(namespace: pg_sys::Oid, name: &str) -> Option<pg_sys::Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a valid C string that outlives the call; the look-up copies nothing.
    let oid = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            pg_sys::Anum_pg_type_oid as pg_sys::AttrNumber,
            pg_sys::Datum::from(name.as_ptr()),
            pg_sys::Datum::from(namespace),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        )
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The type of arrays of this element type.
pub fn array_of(element: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a syscache look-up.
    let oid = unsafe { pg_sys::get_array_type(element) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// An extension and its schema; `None` when it is not installed.
pub fn extension(name: &CStr) -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    // SAFETY: a catalog look-up; a missing extension is no error.
    let extension = unsafe { pg_sys::get_extension_oid(name.as_ptr(), true) };
    if extension == pg_sys::InvalidOid {
        return None;
    }
    // SAFETY: a catalog look-up.
    let schema = unsafe { pg_sys::get_extension_schema(extension) };
    (schema != pg_sys::InvalidOid).then_some((extension, schema))
}

/// The schema of an extension; `None` when it is not installed.
pub fn schema_of_extension(name: &CStr) -> Option<pg_sys::Oid> {
    extension(name).map(|(_, schema)| schema)
}

/// The type `name` in the schema of an extension; `None` when either is missing.
pub fn of_extension(extension: &CStr, name: &str) -> Option<pg_sys::Oid> {
    type_in(schema_of_extension(extension)?, name)
}

/// The OID of an enum's label; `None` when the enum has no such label.
pub fn enum_label(enum_type: pg_sys::Oid, label: &str) -> Option<pg_sys::Oid> {
    let label = CString::new(label).ok()?;
    // SAFETY: the label is a valid C string that outlives the call.
    let oid = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::ENUMTYPOIDNAME as i32,
            pg_sys::Anum_pg_enum_oid as pg_sys::AttrNumber,
            pg_sys::Datum::from(enum_type),
            pg_sys::Datum::from(label.as_ptr()),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        )
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The label behind an enum value.
pub fn enum_label_text(value: pg_sys::Oid) -> Option<String> {
    syscache_row(
        pg_sys::SysCacheIdentifier::ENUMOID as i32,
        value,
        |row: &pg_sys::FormData_pg_enum| name_text(&row.enumlabel),
    )
}

/// Name, schema and kind of a type.
pub fn describe(type_oid: pg_sys::Oid) -> Option<TypeRow> {
    syscache_row(
        pg_sys::SysCacheIdentifier::TYPEOID as i32,
        type_oid,
        |row: &pg_sys::FormData_pg_type| TypeRow {
            name: name_text(&row.typname),
            namespace: row.typnamespace,
            is_domain: row.typtype as u8 == pg_sys::TYPTYPE_DOMAIN,
        },
    )
}

/// What [`describe`] tells of a type.
pub struct TypeRow {
    /// Its name without the schema.
    pub name: String,
    /// Its schema.
    pub namespace: pg_sys::Oid,
    /// Whether it is a domain.
    pub is_domain: bool,
}

/// The name of an access method.
pub fn access_method_name(oid: pg_sys::Oid) -> Option<String> {
    // SAFETY: a palloc'd copy, or null for an unknown OID.
    let name = unsafe { pg_sys::get_am_name(oid) };
    // SAFETY: null or a C string.
    unsafe { own_name(name) }
}

/// The name of a relation without its schema; `None` when there is no such relation.
pub fn relation_name(oid: pg_sys::Oid) -> Option<String> {
    // SAFETY: a palloc'd copy, or null for an unknown OID.
    let name = unsafe { pg_sys::get_rel_name(oid) };
    // SAFETY: null or a C string.
    unsafe { own_name(name) }
}

/// The name of an operator.
pub fn operator_name(oid: pg_sys::Oid) -> Option<String> {
    // SAFETY: a palloc'd copy, or null for an unknown OID.
    let name = unsafe { pg_sys::get_opname(oid) };
    // SAFETY: null or a C string.
    unsafe { own_name(name) }
}

/// # Safety
/// `name` is null or a C string.
unsafe fn own_name(name: *mut std::ffi::c_char) -> Option<String> {
    // SAFETY: the caller vouches for it.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// The function behind the operator `name` of a schema between two values of a type.
pub fn operator_function(
    namespace: pg_sys::Oid,
    name: &CStr,
    operand: pg_sys::Oid,
) -> Option<pg_sys::Oid> {
    // SAFETY: a syscache look-up; a palloc'd copy, or null for an unknown schema.
    let schema = unsafe { pg_sys::get_namespace_name(namespace) };
    if schema.is_null() {
        return None;
    }
    // SAFETY: a node that keeps the pointer, which outlives the look-up.
    let schema = unsafe { pg_sys::makeString(schema) };
    // SAFETY: as above.
    let name = unsafe { pg_sys::makeString(name.as_ptr().cast_mut()) };
    // SAFETY: a list of one.
    let names = unsafe { pg_sys::lappend(std::ptr::null_mut(), schema.cast()) };
    // SAFETY: the list just made.
    let names = unsafe { pg_sys::lappend(names, name.cast()) };
    // SAFETY: a qualified name and two types.
    let operator = unsafe { pg_sys::OpernameGetOprid(names, operand, operand) };
    // SAFETY: a syscache look-up; no operator has no function.
    let function = unsafe { pg_sys::get_opcode(operator) };
    (function != pg_sys::InvalidOid).then_some(function)
}

/// A type as SQL writes it, for messages.
pub fn format_type(type_oid: pg_sys::Oid) -> String {
    // SAFETY: returns a palloc'd string for every OID, `???` for an unknown one.
    let text = unsafe { pg_sys::format_type_be(type_oid) };
    // SAFETY: a C string in the current memory context.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Reads the fixed part of one catalog row by OID through the syscache.
fn syscache_row<R, T>(cache: i32, oid: pg_sys::Oid, read: impl FnOnce(&R) -> T) -> Option<T> {
    syscache_tuple(cache, oid, |tuple| {
        // SAFETY: the tuple is valid during the call.
        let row = unsafe { pg_sys::GETSTRUCT(tuple) };
        // SAFETY: the catalog's fixed part has the layout of its form struct.
        read(unsafe { &*row.cast::<R>() })
    })
}

/// Reads one catalog row by OID through the syscache, valid during the call.
pub(super) fn syscache_tuple<T>(
    cache: i32,
    oid: pg_sys::Oid,
    read: impl FnOnce(pg_sys::HeapTuple) -> T,
) -> Option<T> {
    // SAFETY: a cache that is keyed by one OID.
    let tuple = unsafe { pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(oid)) };
    if tuple.is_null() {
        return None;
    }
    let result = read(tuple);
    // SAFETY: found above.
    unsafe { pg_sys::ReleaseSysCache(tuple) };
    Some(result)
}

/// The owner and the schema of a relation.
pub(super) fn owner_and_schema(relation: pg_sys::Oid) -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    syscache_row(
        pg_sys::SysCacheIdentifier::RELOID as i32,
        relation,
        |row: &pg_sys::FormData_pg_class| (row.relowner, row.relnamespace),
    )
}

/// The type of a relation's column, the one below it for a domain.
pub fn base_type_of_column(relation: pg_sys::Oid, attno: i16) -> pg_sys::Oid {
    // SAFETY: a syscache look-up; no column has no type.
    let ty = unsafe { pg_sys::get_atttype(relation, attno) };
    if ty == pg_sys::InvalidOid {
        return ty;
    }
    // SAFETY: a type that exists.
    unsafe { pg_sys::getBaseType(ty) }
}

fn name_text(name: &pg_sys::NameData) -> String {
    // SAFETY: a NameData ends with a zero byte.
    unsafe { CStr::from_ptr((&raw const name.data).cast()) }.to_string_lossy().into_owned()
}
