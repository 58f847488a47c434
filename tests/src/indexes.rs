//! Whether indexes find what a sequential scan finds.

use crate::db::Db;

/// An index and the queries that it can answer.
#[derive(Debug)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its access method.
    pub method: String,
    /// A query for rows as text, which this index answers when a sequential scan is not wanted.
    /// For a B-tree: all its rows in its order; for others: the rows for each of the values that
    /// the table has.
    pub query: String,
}

/// The B-tree, hash and GIN indexes of these tables.
///
/// # Panics
/// When the catalog cannot be read.
#[track_caller]
pub fn indexes(db: &mut Db, tables: &[&str]) -> Vec<Index> {
    let sql = format!(
        "SELECT c.relname::text, i.relname::text, a.amname::text,
            (SELECT string_agg(pg_get_indexdef(x.indexrelid, n, true), ', ' ORDER BY n)
             FROM generate_series(1, x.indnkeyatts) n),
            coalesce(pg_get_expr(x.indpred, x.indrelid), 'true')
         FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
         JOIN pg_class c ON c.oid = x.indrelid JOIN pg_am a ON a.oid = i.relam
         WHERE x.indrelid = ANY ('{{{}}}'::regclass[]) AND a.amname IN ('btree', 'hash', 'gin')
         ORDER BY 1, 2",
        tables.join(",")
    );
    let rows = db.query(&sql, &[]).unwrap();
    rows.iter()
        .map(|row| {
            let [table, name, method, columns, condition]: [String; 5] =
                [0, 1, 2, 3, 4].map(|i| row.get(i));
            let (values, test) = match &*method {
                "hash" => (columns.clone(), format!("{columns} = v")),
                "gin" => (format!("unnest({columns})"), format!("{columns} @> ARRAY[v]")),
                _ => {
                    let query =
                        format!("SELECT r::text FROM {table} r WHERE {condition} ORDER BY {columns}");
                    return Index { name, method, query };
                }
            };
            let query = format!(
                "SELECT v::text || (SELECT string_agg(r::text, ',' ORDER BY r::text) FROM {table} r WHERE {test})
                 FROM (SELECT DISTINCT {values} AS v FROM {table}) AS found WHERE v IS NOT NULL"
            );
            Index { name, method, query }
        })
        .collect()
}

/// Fails unless each index finds exactly what a sequential scan finds. Needs an open transaction,
/// whose settings it changes.
///
/// # Panics
/// When one does not.
#[track_caller]
pub fn indexes_agree(db: &mut Db, indexes: &[Index]) {
    for Index { name, query, .. } in indexes {
        db.run(
            "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;
             SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on",
        );
        let mut by_table: Vec<String> = db.all(query);
        db.run(BY_INDEX);
        let mut by_index: Vec<String> = db.all(query);
        by_table.sort();
        by_index.sort();
        assert_eq!(by_index, by_table, "{name}");
    }
}

const BY_INDEX: &str = "SET LOCAL enable_indexscan = on; SET LOCAL enable_bitmapscan = on;
     SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off";

/// Fails unless [`indexes_agree`] uses the indexes that it means to compare.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn indexes_are_used(db: &mut Db, indexes: &[Index]) {
    for Index { name, query, .. } in indexes {
        db.run("BEGIN");
        db.run(BY_INDEX);
        let plan = db.all::<String>(&format!("EXPLAIN {query}")).join("\n");
        db.run("ROLLBACK");
        // One that begins with the same columns gives the same order.
        let in_order = !query.contains("string_agg");
        let used = if in_order {
            plan.contains("Index") && !plan.contains("Sort")
        } else {
            plan.contains(name.as_str())
        };
        assert!(used, "{name}: {plan}");
    }
}
