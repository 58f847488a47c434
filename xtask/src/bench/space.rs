//! The space that tables and indexes take, and how many updates stay on their page.

use anyhow::Result;

use crate::bench::options::Size;
use crate::bench::server::DB;
use crate::postgres::cluster::Cluster;

/// A measure of the same tables under both access methods.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What is told.
    pub what: &'static str,
    /// Of `caliber_am` and of heap: bytes, or a share of 1.
    pub values: [f64; 2],
}

/// Loads the same rows into two tables and updates each of them once.
pub fn measure(cluster: &Cluster, size: Size) -> Result<Vec<Figure>> {
    let mut client = cluster.connect(DB)?;
    let mut measures = [[0.0; 2]; 3];
    for (place, am) in ["caliber_am", "heap"].into_iter().enumerate() {
        client.batch_execute(&format!(
            "CREATE TABLE bench.space_{am} (a int PRIMARY KEY, b uuid, c text) USING {am}
                 WITH (fillfactor = 70, autovacuum_enabled = off);
             CREATE INDEX ON bench.space_{am} (b);
             INSERT INTO bench.space_{am}
                 SELECT n, gen_random_uuid(), repeat('x', 50) FROM generate_series(1, {rows}) n;
             UPDATE bench.space_{am} SET c = repeat('y', 50) WHERE a % 4 = 0;
             SELECT pg_stat_force_next_flush()",
            rows = size.rows
        ))?;
        let row = client.query_one(
            &format!(
                "SELECT pg_table_size(t.relid)::float8, pg_indexes_size(t.relid)::float8,
                        t.n_tup_hot_upd::float8 / greatest(t.n_tup_upd, 1)
                 FROM pg_stat_user_tables t WHERE relid = 'bench.space_{am}'::regclass"
            ),
            &[],
        )?;
        for (index, measure) in measures.iter_mut().enumerate() {
            measure[place] = row.try_get(index)?;
        }
        client.batch_execute(&format!("DROP TABLE bench.space_{am}"))?;
    }
    let [table, index, hot] = measures;
    Ok(vec![
        Figure { what: "table size, bytes", values: table },
        Figure { what: "index size, bytes", values: index },
        Figure { what: "HOT share of updates", values: hot },
    ])
}
