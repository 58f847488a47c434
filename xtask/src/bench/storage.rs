//! Storage: the access method beside heap, one long statement each.

use crate::bench::operation::{Operation, Peer, Work as Kind};

/// One statement that is measured, and what goes before and after it. `{am}` stands for the
/// peer's name, `{files}` for the data folder, `{round}` for the round from 0, `{rows}` and
/// `{some}` for rows: all, and as many as a scan by index looks up.
#[derive(Debug)]
pub struct Work {
    /// Not measured, before each run.
    pub before: &'static [&'static str],
    /// Measured.
    pub measured: &'static str,
    /// Not measured, after each run.
    pub after: &'static [&'static str],
    /// How often in each run; the first of several is not counted.
    pub repeats: i32,
    /// Whether the time is told for each row that was looked up, not for each row of the table.
    pub looks_up: bool,
}

const fn peer(name: &'static str) -> Peer {
    Peer { name, sql: "" }
}

const TWO: &[Peer] = &[peer("caliber_am"), peer("heap")];
const THREE: &[Peer] = &[peer("caliber_am"), peer("heap"), peer("heap_trigger")];

const fn operation(name: &'static str, peers: &'static [Peer], work: Work) -> Operation {
    Operation { name, work: Kind::Statement(work), vacuum: &[], grows: &[], peers }
}

/// A scan of all rows.
pub const SEQSCAN: Operation = operation(
    "seqscan",
    TWO,
    Work {
        before: &[],
        measured: "SELECT count(c) FROM storage.plain_{am}",
        after: &[],
        repeats: 11,
        looks_up: false,
    },
);

/// Look-ups of single rows by index.
pub const INDEXSCAN: Operation = operation(
    "indexscan",
    TWO,
    Work {
        before: &[],
        measured: "SELECT count(c) FROM (
            SELECT (SELECT c FROM storage.plain_{am} p WHERE p.a = g) c
            FROM generate_series(1, {some}) g OFFSET 0) x",
        after: &[],
        repeats: 4,
        looks_up: true,
    },
);

/// Look-ups of ranges through a bitmap.
pub const BITMAPSCAN: Operation = operation(
    "bitmapscan",
    TWO,
    Work {
        before: &["SET enable_seqscan = off; SET enable_indexscan = off"],
        measured: "SELECT count(c) FROM storage.plain_{am} WHERE a <= {some}",
        after: &[],
        repeats: 6,
        looks_up: true,
    },
);

/// COPY into an entity's table.
pub const COPY: Operation = operation(
    "copy",
    THREE,
    Work {
        before: &[],
        measured: "COPY storage.copied_entity_{am} FROM '{files}/bench_entity.copy'",
        after: &["TRUNCATE storage.copied_entity_{am}"],
        repeats: 1,
        looks_up: false,
    },
);

/// COPY into a plain table.
pub const COPY_PLAIN: Operation = operation(
    "copy_plain",
    TWO,
    Work {
        before: &[],
        measured: "COPY storage.copied_plain_{am} FROM '{files}/bench_plain.copy'",
        after: &["TRUNCATE storage.copied_plain_{am}"],
        repeats: 3,
        looks_up: false,
    },
);

/// INSERT ... SELECT into a plain table.
pub const INSERT_SELECT: Operation = operation(
    "insert_select",
    TWO,
    Work {
        before: &[],
        measured: "INSERT INTO storage.copied_plain_{am} SELECT * FROM storage.plain_heap",
        after: &["TRUNCATE storage.copied_plain_{am}"],
        repeats: 3,
        looks_up: false,
    },
);

/// UPDATE of all rows of an entity's table.
pub const UPDATE: Operation = operation(
    "update",
    THREE,
    Work {
        before: &["VACUUM storage.entity_{am}"],
        measured: "UPDATE storage.entity_{am}
            SET status = CASE status WHEN 'active' THEN 'suspended'::caliber_trajectory_status
                ELSE 'active' END, updated_at = now(), version = version + 1",
        after: &[],
        repeats: 1,
        looks_up: false,
    },
);

/// CREATE INDEX without parallel workers.
pub const CREATE_INDEX: Operation = operation(
    "create_index",
    TWO,
    Work {
        before: &[],
        measured: "CREATE INDEX made ON storage.plain_{am} (b)",
        after: &["DROP INDEX storage.made"],
        repeats: 4,
        looks_up: false,
    },
);

/// CREATE INDEX with parallel workers.
pub const CREATE_INDEX_PARALLEL: Operation = operation(
    "create_index_parallel",
    TWO,
    Work {
        // Leader and workers have to have 32 MB each of what may be used.
        before: &["SET max_parallel_maintenance_workers = 2; SET min_parallel_table_scan_size = 0;
            SET maintenance_work_mem = '128MB'"],
        measured: "CREATE INDEX made ON storage.plain_{am} (b)",
        after: &["DROP INDEX storage.made"],
        repeats: 4,
        looks_up: false,
    },
);

/// CREATE INDEX CONCURRENTLY.
pub const CREATE_INDEX_CONCURRENTLY: Operation = operation(
    "create_index_concurrently",
    TWO,
    Work {
        before: &[],
        measured: "CREATE INDEX CONCURRENTLY made ON storage.plain_{am} (b)",
        after: &["DROP INDEX storage.made"],
        repeats: 4,
        looks_up: false,
    },
);

/// ANALYZE.
pub const ANALYZE: Operation = operation(
    "analyze",
    TWO,
    Work {
        before: &[],
        measured: "ANALYZE storage.plain_{am}",
        after: &[],
        repeats: 6,
        looks_up: false,
    },
);

/// VACUUM after a tenth of the rows changed.
pub const VACUUM: Operation = operation(
    "vacuum",
    TWO,
    Work {
        before: &["UPDATE storage.plain_{am} SET c = c WHERE a % 10 = {round} % 10"],
        measured: "VACUUM storage.plain_{am}",
        after: &[],
        repeats: 4,
        looks_up: false,
    },
);
