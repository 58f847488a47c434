//! What keeps a table from serving as an entity's table.

use super::Table;
use super::open::is_ours;
use crate::error::CaliberError;
use crate::model::Change;
use crate::pg::relation::{OpenRel, attribute_name};
use crate::storage::{readers, shape};
use pgrx_pg_sys as pg_sys;

/// The problems of a table, one sentence each without its full stop; none for a table in order,
/// and for one that is gone.
pub fn problems_of(oid: pg_sys::Oid) -> Vec<String> {
    let Some(open) = OpenRel::existing(oid, pg_sys::AccessShareLock) else {
        return Vec::new();
    };
    let rel = open.rel();
    if !is_ours(rel) {
        return vec!["it does not use access method caliber_am".to_owned()];
    }
    let shape = match shape::of(rel) {
        Ok(Some(shape)) => shape,
        Ok(None) => return vec!["it has no column of an entity's key type".to_owned()],
        Err(error) => return vec![sentence(&error)],
    };
    let mut problems = Vec::new();
    if let Err(error) = readers::check(rel, &shape) {
        problems.push(sentence(&error));
    }
    for attno in readers::partition_key(rel) {
        let column = (0..shape.entity().columns.len()).find(|&i| shape.attno(i) == attno);
        let how = column.map(|position| shape.entity().columns[position].change);
        if how != Some(Change::Fixed) {
            let attribute = rel.columns().get(attno.max(1) as usize - 1);
            let name = String::from_utf8_lossy(attribute_name(attribute)).into_owned();
            problems.push(format!("it is partitioned by column \"{name}\", which is not fixed"));
        }
    }
    let table = Table::of_shape(open, shape);
    for &path in table.entity().paths {
        if let Err(error) = table.index_for(path) {
            problems.push(sentence(&error));
        }
    }
    problems
}

/// An error's message and detail in one line.
fn sentence(error: &CaliberError) -> String {
    match error.detail() {
        Some(detail) => format!("{error}: {}", detail.trim_end_matches('.')),
        None => error.to_string(),
    }
}
