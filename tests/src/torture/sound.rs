//! Whether tables and indexes are sound, by what PostgreSQL has for that.

use crate::db::{Db, show};
use crate::indexes::{indexes, indexes_agree};

/// What is damaged in the tables of the current schema that are stored by caliber_am. With
/// amcheck its B-trees have all of the table's rows; the other indexes, and all where there is no
/// amcheck, find what a sequential scan finds.
///
/// # Panics
/// When another index than a B-tree is damaged.
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
        let btrees: Vec<String> = db.all(
            "SELECT i.indexrelid::regclass::text FROM pg_index i
             JOIN pg_class c ON c.oid = i.indrelid JOIN pg_am t ON t.oid = c.relam
             JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
             WHERE t.amname = 'caliber_am' AND m.amname = 'btree' AND i.indisvalid",
        );
        for btree in btrees {
            let check = format!(
                "SELECT bt_index_check('{btree}', heapallindexed => true, checkunique => true)"
            );
            if let Err(error) = db.attempt(&check) {
                found.push(show(&error, &check));
            }
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
