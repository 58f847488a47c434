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

/// The HNSW indexes of the current schema that do not find rows by their own embeddings, which must be
/// various: where most are the same, HNSW links those to each other and loses the rest. The index is
/// approximate, so a few may be missed.
///
/// # Panics
/// When the index is not used.
#[track_caller]
pub fn lost_by_hnsw(db: &mut Db) -> Vec<String> {
    let indexed = db
        .query(
            "SELECT i.relname::text, x.indrelid::regclass::text FROM pg_index x
             JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am a ON a.oid = i.relam
             WHERE a.amname = 'hnsw' AND i.relnamespace = current_schema::regnamespace ORDER BY 1",
            &[],
        )
        .unwrap();
    assert!(indexed.len() >= 2, "artifacts and notes have them");
    let mut found = Vec::new();
    db.run("BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL hnsw.ef_search = 200");
    for row in indexed {
        let (index, table): (String, String) = (row.get(0), row.get(1));
        let nearest = format!(
            // Where the distance is not a number, there is nothing to find.
            "FROM (SELECT embedding FROM {table} WHERE (embedding <=> embedding) < 1 ORDER BY random() LIMIT 200) own,
             LATERAL (SELECT r.embedding <=> own.embedding AS distance FROM {table} r
                      ORDER BY r.embedding <=> own.embedding LIMIT 1) nearest"
        );
        let plan = db.all::<String>(&format!("EXPLAIN SELECT 1 {nearest}")).join("\n");
        assert!(plan.contains(&format!("Index Scan using {index}")), "{plan}");
        let (asked, missed): (i64, i64) = {
            let row = db
                .query_one(
                    &format!("SELECT count(*), count(*) FILTER (WHERE distance > 1e-6) {nearest}"),
                    &[],
                )
                .unwrap();
            (row.get(0), row.get(1))
        };
        if missed > 3 && missed * 20 > asked {
            found.push(format!("{index} misses {missed} of {asked} rows by their own embeddings"));
        }
    }
    db.run("ROLLBACK");
    found
}
