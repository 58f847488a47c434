//! The measuring: round by round, each peer in turn, each run in a backend of its own.

use std::time::Instant;

use anyhow::{Context, Result};
use postgres::Client;

use crate::bench::cycles;
use crate::bench::operation::{IdSet, Operation, Peer, Work};
use crate::bench::options::{Peers, Size};
use crate::bench::server::DB;
use crate::bench::storage;
use crate::postgres::cluster::Cluster;

/// Nothing but what is measured may differ between the runs; parallel workers would take turns on
/// the machine's few cores.
pub const SESSION: &str = "SET max_parallel_workers_per_gather = 0;
    SET max_parallel_maintenance_workers = 0;
    SET client_min_messages = warning";

/// The cycles would tell how long the disk takes.
pub const CYCLES_SESSION: &str = "SET synchronous_commit = off";

/// Nanoseconds of one call or row: of each batch of each measured round.
#[derive(Debug)]
pub struct Times {
    /// Who did it.
    pub implementation: &'static str,
    /// For each round, the batches.
    pub rounds: Vec<Vec<f64>>,
}

/// Measures an operation with all its peers. One round more than asked for: the first writes what
/// the first touch after a checkpoint writes, and is not counted.
pub fn measure(
    cluster: &Cluster,
    operation: &Operation,
    size: Size,
    peers: &Peers,
) -> Result<Vec<Times>> {
    let mut client = connect(cluster)?;
    prepare(&mut client, operation)?;
    client.batch_execute("CHECKPOINT")?;
    let peers: Vec<&Peer> = operation.peers.iter().filter(|p| peers.include(p.name)).collect();
    let mut times: Vec<Times> =
        peers.iter().map(|peer| Times { implementation: peer.name, rounds: Vec::new() }).collect();
    let count = peers.len();
    for round in 0..=size.rounds {
        for turn in 0..count {
            // Nobody is always the first, or always behind the same one.
            let index = (turn + round as usize) % count;
            let index = if round % 2 == 0 { index } else { count - 1 - index };
            let peer = peers[index];
            for sql in tidying(operation) {
                client.batch_execute(&sql)?;
            }
            let run = run(cluster, operation, peer, size, round)
                .with_context(|| format!("{} as {}", operation.name, peer.name))?;
            if round > 0 {
                times[index].rounds.push(run);
            }
        }
    }
    Ok(times)
}

/// The statements that put the tables back to where the other runs begin.
pub fn tidying(operation: &Operation) -> Vec<String> {
    let mut statements = Vec::new();
    for schema in ["caliber", "peer"] {
        statements.extend(operation.grows.iter().map(|table| {
            format!("DELETE FROM {schema}.{table} WHERE created_at > (SELECT at FROM bench.loaded)")
        }));
        statements.extend(operation.vacuum.iter().map(|table| format!("VACUUM {schema}.{table}")));
    }
    statements
}

/// How many calls, cycles or rows a round has.
pub fn units(operation: &Operation, size: Size) -> i32 {
    match &operation.work {
        Work::Calls(ids) => ids.size(size.rows).ids() * ids.again * ids.per_call,
        Work::Cycles(_) => cycle_batches(size) * cycles::BATCH,
        Work::Statement(work) => rows_of(work, size),
    }
}

/// A session in which nothing but what is measured differs.
pub fn connect(cluster: &Cluster) -> Result<Client> {
    let mut client = cluster.connect(DB)?;
    client.batch_execute(SESSION)?;
    Ok(client)
}

/// Makes the functions that run the operation.
pub fn prepare(client: &mut Client, operation: &Operation) -> Result<()> {
    for peer in operation.peers {
        let failed = match operation.work {
            Work::Cycles(failed) => failed,
            _ => "",
        };
        let (template, statement) = match operation.work {
            Work::Calls(_) if peer.sql.starts_with("UPDATE") => (
                include_str!("sql/calls.sql"),
                format!("{};\n        GET DIAGNOSTICS done = ROW_COUNT", peer.sql),
            ),
            Work::Calls(_) => (include_str!("sql/calls.sql"), format!("{} INTO done", peer.sql)),
            Work::Cycles(_) => (include_str!("sql/cycles.sql"), peer.sql.to_owned()),
            Work::Statement(_) => continue,
        };
        let api = peer.name == "api";
        let (ids, returns) = match &operation.work {
            Work::Calls(ids) => (ids.name, ids.returns),
            _ => ("", 1),
        };
        let script = template
            .replace("{ids}", ids)
            .replace("{returns}", &returns.to_string())
            .replace("{failed}", failed)
            .replace("{operation}", operation.name)
            .replace("{peer}", peer.name)
            .replace("{schema}.{lock}", if api { "caliber_lock_row" } else { "peer.caliber_lock" })
            .replace(
                "{schema}.{message}",
                if api { "caliber_message_row" } else { "peer.caliber_message" },
            )
            .replace("{schema}", if api { "caliber" } else { "peer" })
            .replace("{statement}", &statement);
        client
            .batch_execute(&script)
            .with_context(|| format!("{} as {}", operation.name, peer.name))?;
    }
    Ok(())
}

fn run(
    cluster: &Cluster,
    operation: &Operation,
    peer: &Peer,
    size: Size,
    round: i32,
) -> Result<Vec<f64>> {
    // A backend of its own: what the last run has cached is not there.
    let mut client = connect(cluster)?;
    match &operation.work {
        Work::Calls(ids) => calls(&mut client, operation, peer, ids, size),
        Work::Cycles(_) => cycle(&mut client, operation, peer, size),
        Work::Statement(work) => {
            let files = cluster.data().display().to_string();
            statement(&mut client, work, peer, size, round, &files)
        }
    }
}

fn calls(
    client: &mut Client,
    operation: &Operation,
    peer: &Peer,
    ids: &IdSet,
    size: Size,
) -> Result<Vec<f64>> {
    let function = format!("bench.{}_{}", operation.name, peer.name);
    let call = format!("SELECT {function}($1, $2)");
    client.query_one(&call, &[&-12, &-1])?;
    if ids.again > 1 {
        client.query_one(&call, &[&0, &0])?;
    }
    let batches = ids.size(size.rows);
    let last = batches.count * ids.again - 1;
    let times: Vec<f64> = client.query_one(&call, &[&0, &last])?.try_get(0)?;
    let per_batch = f64::from(batches.size * ids.per_call);
    Ok(times.into_iter().map(|time| time / per_batch).collect())
}

fn cycle_batches(size: Size) -> i32 {
    let (rows, most) = cycles::BATCHES;
    (size.rows / rows).clamp(1, most)
}

fn cycle(client: &mut Client, operation: &Operation, peer: &Peer, size: Size) -> Result<Vec<f64>> {
    client.batch_execute(CYCLES_SESSION)?;
    let call = format!("CALL bench.{}_{}($1, $2, NULL)", operation.name, peer.name);
    client.query_one(&call, &[&1, &(cycles::BATCH / 5)])?;
    let times = client.query_one(&call, &[&cycle_batches(size), &cycles::BATCH])?;
    let times: Vec<f64> = times.try_get(0)?;
    Ok(times.into_iter().map(|time| time / f64::from(cycles::BATCH)).collect())
}

/// The rows for each of which the time of the statement is told.
pub fn rows_of(work: &storage::Work, size: Size) -> i32 {
    if work.looks_up { (size.rows / 3).max(1) } else { size.rows }
}

/// The SQL of a [`storage::Work`], with what its placeholders stand for.
pub fn spelled(
    sql: &str,
    work: &storage::Work,
    peer: &Peer,
    size: Size,
    round: i32,
    files: &str,
) -> String {
    sql.replace("{am}", peer.name)
        .replace("{files}", files)
        .replace("{round}", &round.to_string())
        .replace("{some}", &rows_of(work, size).to_string())
}

fn statement(
    client: &mut Client,
    work: &storage::Work,
    peer: &Peer,
    size: Size,
    round: i32,
    files: &str,
) -> Result<Vec<f64>> {
    let rows = rows_of(work, size);
    let spelled = |sql: &str| spelled(sql, work, peer, size, round, files);
    let mut times = Vec::new();
    for repeat in 0..work.repeats {
        for sql in work.before {
            client.batch_execute(&spelled(sql))?;
        }
        let started = Instant::now();
        client.batch_execute(&spelled(work.measured))?;
        let time = started.elapsed().as_secs_f64() * 1e9;
        for sql in work.after {
            client.batch_execute(&spelled(sql))?;
        }
        // The first of several reaches each page for the first time in this backend.
        if repeat > 0 || work.repeats == 1 {
            times.push(time / f64::from(rows));
        }
    }
    Ok(times)
}
