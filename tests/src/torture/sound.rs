//! Whether tables and indexes are sound, by what PostgreSQL has for that.

use crate::db::Db;
use crate::indexes::{indexes, indexes_agree};

/// What is damaged in the tables of the current schema that are stored by caliber_am. With
/// amcheck, `caliber_verify` looks at pages, B-trees and GIN indexes; the indexes that are not B-trees, and
/// all where there is no amcheck, find what a sequential scan finds.
///
/// # Panics
/// When an index does not find what a sequential scan finds.
#[track_caller]
pub fn damaged(db: &mut Db) -> Vec<String> {
    let tables: Vec<String> = db.all(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam
         WHERE a.amname = 'caliber_am' AND c.relkind = 'r'
            AND c.relnamespace = current_schema::regnamespace ORDER BY 1",
    );
    assert!(tables.len() >= 11, "the entity tables are caliber_am's: {tables:?}");
    let mut found = Vec::new();
    let amcheck: bool =
        db.one("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'amcheck')");
    if amcheck {
        for table in &tables {
            found.extend(
                db.all::<String>(&format!("SELECT v::text FROM caliber_verify('{table}') v")),
            );
        }
    }
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    let others = indexes(db, &names).into_iter();
    let others: Vec<_> = others.filter(|index| !(amcheck && index.method == "btree")).collect();
    db.run("BEGIN");
    indexes_agree(db, &others);
    db.run("ROLLBACK");
    found
}
