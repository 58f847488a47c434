//! What is measured: operations, and who does each of them.

use crate::bench::{calls, cycles, storage};

/// Something that is measured.
#[derive(Debug)]
pub struct Operation {
    /// Its name in tables and files.
    pub name: &'static str,
    /// How it is measured.
    pub work: Work,
    /// Tables that are vacuumed before each run, in the schema `caliber` and in `peer`.
    pub vacuum: &'static [&'static str],
    /// Those of them that lose the rows of the run before first: the peers share their tables, and
    /// each shall find as many rows as the others.
    pub grows: &'static [&'static str],
    /// Who does it; ours is among them.
    pub peers: &'static [Peer],
}

/// How an operation is measured.
#[derive(Debug)]
pub enum Work {
    /// Many calls in one statement; the ids come from this set.
    Calls(&'static IdSet),
    /// Each call in a transaction of its own. The condition is true after a cycle that failed.
    Cycles(&'static str),
    /// One long statement.
    Statement(storage::Work),
}

/// One implementation of an operation, and its SQL.
#[derive(Debug)]
pub struct Peer {
    /// `api`, `each`, `executor`, `plpgsql`, `spi`, `loop`, `caliber_am`, `heap` or `heap_trigger`.
    pub name: &'static str,
    /// For calls a statement over the batch `b`, for cycles the statements of one cycle.
    pub sql: &'static str,
}

/// Names of the implementations that the others are compared with.
pub const OURS: [&str; 2] = ["api", "caliber_am"];

/// The ids that calls are made with.
#[derive(Debug)]
pub struct IdSet {
    /// The table's name.
    pub name: &'static str,
    /// The query of the ids, as the column `id`.
    pub source: &'static str,
    /// How many of them there are to each thousand rows, and at most.
    pub share: (i32, i32),
    /// The largest batch.
    pub batch: i32,
    /// How often they come again, in further batches.
    pub again: i32,
    /// Rows that one call writes, where the time is told for each.
    pub per_call: i32,
    /// Rows that one call returns.
    pub returns: i32,
}

/// All operations, in the order in which they are measured.
pub static ALL: &[Operation] = &[
    calls::GET,
    calls::GET_WARM,
    calls::GET_MANY,
    calls::LIST,
    calls::APPEND,
    calls::APPEND_MANY,
    calls::SEND_MANY,
    calls::SET_STATUS,
    calls::HEARTBEAT,
    cycles::LOCK,
    cycles::MESSAGE,
    storage::SEQSCAN,
    storage::INDEXSCAN,
    storage::BITMAPSCAN,
    storage::COPY,
    storage::COPY_PLAIN,
    storage::INSERT_SELECT,
    storage::UPDATE,
    storage::CREATE_INDEX,
    storage::CREATE_INDEX_PARALLEL,
    storage::CREATE_INDEX_CONCURRENTLY,
    storage::ANALYZE,
    storage::VACUUM,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_ours_among_different_peers() {
        for operation in ALL {
            let names: Vec<_> = operation.peers.iter().map(|peer| peer.name).collect();
            let ours = names.iter().filter(|name| OURS.contains(name)).count();
            assert_eq!(ours, 1, "{}", operation.name);
            let mut unique = names.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), names.len(), "{}", operation.name);
        }
    }
}
