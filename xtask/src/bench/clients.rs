//! Client runs: pgbench over the Unix socket, each transaction a round trip or several.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::bench::options::{Peers, Size};
use crate::bench::server::DB;
use crate::bench::summary::quantile;
use crate::postgres::account;
use crate::postgres::cluster::{Cluster, PORT, SUPERUSER};
use crate::progress::Step;

/// Something that clients do, as a pgbench script for each peer: the client's own statements, one
/// call of PL/pgSQL, one call of the API.
#[derive(Debug)]
pub struct Operation {
    /// Its name in tables and files.
    pub name: &'static str,
    /// Tables that are vacuumed before each run.
    vacuum: &'static [&'static str],
    /// Whether it empties the clients' queue.
    receives: bool,
    scripts: &'static [(&'static str, &'static str)],
}

impl Operation {
    /// The names of its peers.
    pub fn peers(&self) -> impl Iterator<Item = &'static str> {
        self.scripts.iter().map(|(name, _)| *name)
    }
}

/// The peer that is ours.
pub const OURS: &str = "client_api";

/// All operations, in the order in which they are measured.
pub static ALL: &[Operation] = &[
    Operation {
        name: "client_append",
        vacuum: &["caliber_scope", "caliber_turn"],
        receives: false,
        scripts: &[
            (OURS, include_str!("sql/client_append_api.sql")),
            ("client_plpgsql", include_str!("sql/client_append_plpgsql.sql")),
            ("client_sql", include_str!("sql/client_append_sql.sql")),
        ],
    },
    Operation {
        name: "client_append_one_scope",
        vacuum: &["caliber_scope", "caliber_turn"],
        receives: false,
        scripts: &[
            (OURS, include_str!("sql/client_append_api.sql")),
            ("client_plpgsql", include_str!("sql/client_append_plpgsql.sql")),
            ("client_sql", include_str!("sql/client_append_sql.sql")),
        ],
    },
    Operation {
        name: "client_heartbeat",
        vacuum: &["caliber_agent"],
        receives: false,
        scripts: &[
            (OURS, include_str!("sql/client_heartbeat_api.sql")),
            ("client_plpgsql", include_str!("sql/client_heartbeat_plpgsql.sql")),
            ("client_sql", include_str!("sql/client_heartbeat_sql.sql")),
        ],
    },
    Operation {
        name: "client_get_20",
        vacuum: &[],
        receives: false,
        scripts: &[
            (OURS, include_str!("sql/client_get_20_api.sql")),
            ("client_each", include_str!("sql/client_get_20_each.sql")),
        ],
    },
    Operation {
        name: "client_message",
        vacuum: &["caliber_message"],
        receives: true,
        scripts: &[
            (OURS, include_str!("sql/client_message_api.sql")),
            ("client_plpgsql", include_str!("sql/client_message_plpgsql.sql")),
            ("client_sql", include_str!("sql/client_message_sql.sql")),
        ],
    },
];

/// One line of the results.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub operation: &'static str,
    /// Who did it.
    pub implementation: &'static str,
    /// Connections at once.
    pub connections: i32,
    /// Whether commits waited for the disk (`synchronous_commit`).
    pub durable: bool,
    /// Transactions a second, of each round.
    pub tps: Vec<f64>,
    /// 95 of 100 transactions took no longer, in nanoseconds.
    pub p95_ns: f64,
    /// Throughput by that of ours in the same round: the median. `None` for ours.
    pub ratio: Option<f64>,
}

impl Figure {
    /// Transactions a second: the median of the rounds.
    pub fn median_tps(&self) -> f64 {
        quantile(&self.tps, 0.5)
    }
}

/// How the clients are sent.
struct Run<'c> {
    cluster: &'c Cluster,
    size: Size,
    peers: &'c Peers,
    /// How many different scopes and agents there are.
    ids: i32,
}

/// Measures the operations with all peers, numbers of connections, and ways to commit.
pub fn measure(
    cluster: &Cluster,
    size: Size,
    operations: &[&'static Operation],
    peers: &Peers,
) -> Result<Vec<Figure>> {
    let run = Run { cluster, size, peers, ids: size.rows.min(20_000) };
    let mut client = cluster.connect(DB)?;
    let script = include_str!("sql/clients.sql").replace("{ids}", &run.ids.to_string());
    client.batch_execute(&script).context("cannot load the clients' rows")?;
    if operations.iter().any(|o| o.receives) {
        client.execute("SELECT bench.fill_queues($1)", &[&size.rows])?;
    }
    client.batch_execute("VACUUM ANALYZE")?;
    let mut figures = Vec::new();
    for operation in operations {
        for durable in [false, true] {
            for &connections in size.connections {
                let commits = if durable { "durable" } else { "not durable" };
                let step = Step::begin(format!(
                    "Measuring {}, {connections} connections, commits {commits}",
                    operation.name
                ));
                figures.extend(run.all_peers(operation, connections, durable)?);
                step.done();
            }
        }
    }
    Ok(figures)
}

impl Run<'_> {
    fn all_peers(
        &self,
        operation: &'static Operation,
        connections: i32,
        durable: bool,
    ) -> Result<Vec<Figure>> {
        let mut client = self.cluster.connect(DB)?;
        let scripts = operation.scripts.iter().filter(|(name, _)| self.peers.include(name));
        let scripts: Vec<_> = scripts.collect();
        let count = scripts.len();
        let mut runs: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); count];
        for round in 0..self.size.client_rounds as usize {
            for turn in 0..count {
                // Nobody is always the first.
                let index = (turn + round) % count;
                if operation.receives {
                    client.execute("SELECT bench.fill_queues($1)", &[&self.size.rows])?;
                }
                for schema in ["caliber", "peer"] {
                    for table in operation.vacuum {
                        // Dead entries at the head of a queue's index would be read by everybody.
                        client.batch_execute(&format!(
                            "VACUUM (INDEX_CLEANUP ON) {schema}.{table}"
                        ))?;
                    }
                }
                let (name, script) = scripts[index];
                let (tps, latencies) = self
                    .pgbench(operation, script, connections, durable)
                    .with_context(|| format!("{} as {name}", operation.name))?;
                runs[index].0.push(tps);
                runs[index].1.extend(latencies);
            }
        }
        let ours = runs[0].0.clone();
        let figure = |((name, _), (tps, latencies)): (&(&'static str, _), (Vec<f64>, Vec<f64>))| {
            let ratios: Vec<f64> = tps.iter().zip(&ours).map(|(peer, ours)| ours / peer).collect();
            Figure {
                operation: operation.name,
                implementation: name,
                connections,
                durable,
                p95_ns: quantile(&latencies, 0.95),
                ratio: (*name != OURS).then(|| quantile(&ratios, 0.5)),
                tps,
            }
        };
        Ok(scripts.into_iter().zip(runs).map(figure).collect())
    }

    /// Runs pgbench; transactions a second, and the time that each took, in nanoseconds.
    fn pgbench(
        &self,
        operation: &Operation,
        script: &str,
        connections: i32,
        durable: bool,
    ) -> Result<(f64, Vec<f64>)> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("script.sql");
        let last = if operation.name == "client_append_one_scope" { 1 } else { self.ids };
        fs::write(&file, format!("\\set n random(1, {last})\n{script}"))?;
        let commits = if durable { "on" } else { "off" };
        let program = self.cluster.postgres().program("pgbench");
        let mut pgbench = account::command(&program, None);
        pgbench
            .args(["--no-vacuum", "--protocol=prepared", "--log"])
            .arg(format!("--log-prefix={}", dir.path().join("log").display()))
            .arg(format!("--client={connections}"))
            .arg(format!("--jobs={}", connections.min(2)))
            .arg(format!("--file={}", file.display()))
            .arg(format!("--host={}", self.cluster.socket()?.display()))
            .args([format!("--port={PORT}"), format!("--username={SUPERUSER}"), DB.to_owned()])
            .env(
                "PGOPTIONS",
                format!("-c synchronous_commit={commits} -c client_min_messages=warning"),
            );
        match self.size.client_seconds {
            0 => pgbench.arg("--transactions=5"),
            seconds => pgbench.arg(format!("--time={seconds}")),
        };
        let output = pgbench.output().context("cannot run pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || complained.contains("aborted") {
            bail!("pgbench failed: {}", complained.trim());
        }
        let tps = tps_in(&said).with_context(|| format!("pgbench tells no tps: {said}"))?;
        Ok((tps, latencies(dir.path())?))
    }
}

/// The throughput that pgbench tells, without the time that connecting took.
fn tps_in(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

/// The times in pgbench's logs: the third field, in microseconds.
fn latencies(dir: &Path) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        if !file.file_name().to_string_lossy().starts_with("log") {
            continue;
        }
        for line in fs::read_to_string(file.path())?.lines() {
            let time = line.split(' ').nth(2).and_then(|field| field.parse::<f64>().ok());
            times.push(time.with_context(|| format!("no line of pgbench's log: {line}"))? * 1000.0);
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_read_from_what_pgbench_prints() {
        let said = "latency average = 0.1 ms\ntps = 9876.5 (without initial connection time)\n";
        assert_eq!(tps_in(said), Some(9876.5));
        assert_eq!(tps_in("nothing"), None);
    }

    #[test]
    fn latencies_are_read_from_the_logs() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("log.1"), "0 1 250 0 1700000000 1\n1 1 350 0 1700000000 2\n")?;
        fs::write(dir.path().join("script.sql"), "no log")?;
        assert_eq!(latencies(dir.path())?, [250_000.0, 350_000.0]);
        Ok(())
    }
}
