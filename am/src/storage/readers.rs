//! Who in a table reads the columns that the access method assigns.
//!
//! PostgreSQL evaluates CHECKs, generated columns, the partition constraint and policies before
//! the access method sees the row. Were one of them to read `version` or `updated_at`, it would
//! judge a value that is not the one stored.

use super::shape::Shape;
use crate::error::{CaliberError, CaliberResult};
use crate::model::Change;
use crate::pg::relation::{OpenRel, Rel, attribute_name};
use pgrx::PgList;
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;
use std::ffi::{CStr, c_char};

unsafe extern "C-unwind" {
    /// The partition constraint as a list of expressions (utils/partcache.h), which the bindings
    /// leave out.
    fn RelationGetPartitionQual(rel: pg_sys::Relation) -> *mut pg_sys::List;
}

/// # Errors
/// 42P16, naming the first reader found.
pub fn check(rel: Rel<'_>, shape: &Shape) -> CaliberResult<()> {
    let assigned: Vec<i16> = [Change::Version, Change::UpdatedAt]
        .into_iter()
        .filter_map(|change| shape.index_of(change))
        .map(|index| index as i16 + 1)
        .collect();
    if assigned.is_empty() {
        return Ok(());
    }
    for (reader, expression) in expressions(rel) {
        if let Some(attno) = first_read(expression, &assigned) {
            return Err(reads(rel, shape, reader, attno));
        }
    }
    if rel.class().relispartition {
        let constraint = partition_constraint(rel);
        if let Some(attno) = first_read(constraint.cast(), &assigned) {
            return Err(reads(rel, shape, "partition constraint".to_owned(), attno));
        }
    }
    check_policies(rel, rel, shape, &assigned)?;
    for parent in ancestors(rel) {
        let parent = OpenRel::relation(parent, pg_sys::AccessShareLock);
        let columns = parent.rel().columns();
        let own = rel.columns();
        let there: Vec<i16> = assigned
            .iter()
            .filter_map(|&attno| {
                let name = attribute_name(own.get(attno as usize - 1));
                columns.live().find(|(_, a)| attribute_name(a) == name)
            })
            .map(|(index, _)| index as i16 + 1)
            .collect();
        check_policies(rel, parent.rel(), shape, &there)?;
    }
    Ok(())
}

/// The attributes that decide in which partition a row of this table, itself a partition, belongs.
pub fn partition_key(rel: Rel<'_>) -> Vec<i16> {
    if !rel.class().relispartition {
        return Vec::new();
    }
    let mut attnos: Vec<i16> = attributes_read(partition_constraint(rel).cast()).collect();
    attnos.sort_unstable();
    attnos.dedup();
    attnos
}

#[allow(ffi_unwind_calls)] // what the boundary is for
fn partition_constraint(rel: Rel<'_>) -> *mut pg_sys::List {
    // SAFETY: an open relation.
    let call = || unsafe { RelationGetPartitionQual(rel.as_ptr()) };
    // SAFETY: nothing in the closure has a destructor.
    unsafe { pg_guard_ffi_boundary(call) }
}

fn reads(rel: Rel<'_>, shape: &Shape, reader: String, attno: i16) -> CaliberError {
    let column = if attno == 0 {
        "whole row".to_owned()
    } else {
        String::from_utf8_lossy(attribute_name(rel.columns().get(attno as usize - 1))).into_owned()
    };
    CaliberError::ReadsAssigned { entity: shape.entity().name, table: rel.name(), reader, column }
}

/// The CHECK constraints and generated columns, each with a description for the message.
fn expressions(rel: Rel<'_>) -> Vec<(String, *mut pg_sys::Node)> {
    let Some(constr) = rel.columns().constraints() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    // SAFETY: the array has num_check elements.
    for check in unsafe { elements(constr.check, constr.num_check) } {
        // SAFETY: a C string of the relcache entry.
        let name = unsafe { CStr::from_ptr(check.ccname) }.to_string_lossy();
        // SAFETY: a C string of the relcache entry.
        found.push((format!("constraint \"{name}\""), unsafe { parse(check.ccbin) }));
    }
    // SAFETY: the array has num_defval elements.
    for default in unsafe { elements(constr.defval, constr.num_defval) } {
        let attribute = rel.columns().get(default.adnum as usize - 1);
        if attribute.attgenerated != 0 {
            let name = String::from_utf8_lossy(attribute_name(attribute)).into_owned();
            // SAFETY: a C string of the relcache entry.
            found.push((format!("generated column \"{name}\""), unsafe { parse(default.adbin) }));
        }
    }
    found
}

/// # Safety
/// `array` has `count` elements, or is null when there are none.
unsafe fn elements<'a, T>(array: *mut T, count: u16) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for it.
    unsafe { std::slice::from_raw_parts(array, usize::from(count)) }
}

/// # Safety
/// `text` is an expression as the catalogs store it.
unsafe fn parse(text: *mut c_char) -> *mut pg_sys::Node {
    // SAFETY: the caller vouches for it.
    unsafe { pg_sys::stringToNode(text) }.cast()
}

fn check_policies(
    rel: Rel<'_>,
    holder: Rel<'_>,
    shape: &Shape,
    assigned: &[i16],
) -> CaliberResult<()> {
    let description = holder.data().rd_rsdesc;
    // SAFETY: null, or valid while the relation is open.
    let Some(description) = (unsafe { description.as_ref() }) else {
        return Ok(());
    };
    // SAFETY: a list of policies.
    let policies = unsafe { PgList::<pg_sys::RowSecurityPolicy>::from_pg(description.policies) };
    for policy in policies.iter_ptr() {
        // SAFETY: an element of the list.
        let policy = unsafe { &*policy };
        for expression in [policy.qual, policy.with_check_qual] {
            if let Some(attno) = first_read(expression.cast(), assigned) {
                // SAFETY: a C string of the relcache entry. The default-deny policy, which has
                // no name, reads no column.
                let name = unsafe { CStr::from_ptr(policy.policy_name) }.to_string_lossy();
                return Err(reads(rel, shape, format!("policy \"{name}\""), attno));
            }
        }
    }
    Ok(())
}

/// The first of the attributes that the expression reads; 0 for a whole-row reference.
fn first_read(expression: *mut pg_sys::Node, attnos: &[i16]) -> Option<i16> {
    attributes_read(expression).find(|attno| *attno == 0 || attnos.contains(attno))
}

/// The attributes that the expression reads, 0 for a whole-row reference.
fn attributes_read(expression: *mut pg_sys::Node) -> impl Iterator<Item = i16> {
    let vars = if expression.is_null() {
        std::ptr::null_mut()
    } else {
        // SAFETY: a valid expression; unlike pull_varattnos this looks into subqueries too.
        unsafe { pg_sys::pull_vars_of_level(expression, 0) }
    };
    // SAFETY: a list of Vars, or none.
    let vars = unsafe { PgList::<pg_sys::Var>::from_pg(vars) };
    // SAFETY: an element of the list.
    let attnos: Vec<i16> = vars.iter_ptr().map(|var| unsafe { (*var).varattno }).collect();
    attnos.into_iter()
}

/// The partitioned tables above a partition.
fn ancestors(rel: Rel<'_>) -> Vec<pg_sys::Oid> {
    if !rel.class().relispartition {
        return Vec::new();
    }
    // SAFETY: a partition.
    let list = unsafe { pg_sys::get_partition_ancestors(rel.oid()) };
    // SAFETY: a list of OIDs.
    let list = unsafe { PgList::<pg_sys::Oid>::from_pg(list) };
    list.iter_oid().collect()
}
