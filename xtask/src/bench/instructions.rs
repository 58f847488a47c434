//! Instructions instead of time: how many a call executes does not depend on what else the machine
//! does. valgrind's callgrind counts them, by function, in a server without a postmaster.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::bench::operation::{OURS, Operation, Peer, Work};
use crate::bench::options::{Options, Peers, Plan, Size};
use crate::bench::server::DB;
use crate::bench::{cycles, goal, measure, server, storage};
use crate::error::missing;
use crate::extension::Profile;
use crate::postgres::account;
use crate::postgres::cluster::{Cluster, Stop};
use crate::progress::{self, Step};
use crate::workspace::Workspace;

/// What of a call is told apart, by the head of its column: PostgreSQL's functions that do it, with all that they call. None of
/// them calls another.
pub const GROUPS: [(&str, &[&str]); 6] = [
    ("#index look-ups", &["index_getnext_slot", "index_getbitmap"]),
    ("#index entries", &["ExecInsertIndexTuples"]),
    (
        "#row versions, row locks",
        &["heapam_tuple_insert", "heapam_tuple_update", "heapam_tuple_delete", "heapam_tuple_lock"],
    ),
    (
        "#tables opened, locked, closed",
        &["RelationIdGetRelation", "LockRelationOid", "UnlockRelationId", "RelationClose"],
    ),
    ("#scans begun, ended", &["index_beginscan", "index_rescan", "index_endscan"]),
    ("#transactions", &["StartTransaction", "CommitTransaction"]),
];

/// Batches that are counted: enough to make what happens once small.
const BATCHES: i32 = 3;

/// The instructions of one call or row.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was counted.
    pub operation: &'static str,
    /// Who did it.
    pub implementation: &'static str,
    /// Calls, cycles or rows.
    pub rows: i32,
    /// All, the statement around the call included.
    pub instructions: f64,
    /// Those of each of [`GROUPS`].
    #[serde(skip)]
    pub groups: [f64; GROUPS.len()],
    /// The peer's by ours. `None` for ours.
    #[serde(skip)]
    pub ratio: Option<f64>,
    /// The ratio that is wanted of the times.
    #[serde(skip)]
    pub wanted: Option<f64>,
}

/// Whether callgrind is there.
pub fn available() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Refuses what cannot be counted.
///
/// # Errors
/// Exit status 2 without valgrind, and when something is named that is not done by one process.
pub fn check(options: &Options, plan: &Plan) -> Result<()> {
    if !available() {
        return Err(missing("instructions are counted by valgrind, which is not installed"));
    }
    let counted = |name: &String| plan.operations.iter().any(|o| o.name == name && is_counted(o));
    match options.only.iter().find(|name| !counted(name)) {
        Some(name) => Err(missing(format!("{name} is not the work of one process"))),
        None => Ok(()),
    }
}

fn is_counted(operation: &Operation) -> bool {
    operation.name != storage::CREATE_INDEX_PARALLEL.name
}

/// Counts each operation with all its peers.
pub fn count(
    workspace: &Workspace,
    profile: Profile,
    size: Size,
    operations: &[&Operation],
    peers: &Peers,
) -> Result<Vec<Figure>> {
    let cluster = server::start(workspace, profile, size, operations)?;
    let mut client = measure::connect(&cluster)?;
    for operation in operations {
        measure::prepare(&mut client, operation)?;
    }
    drop(client);
    cluster.stop(Stop::Fast)?;
    let mut figures = Vec::new();
    for operation in operations.iter().filter(|operation| is_counted(operation)) {
        let first = figures.len();
        for peer in operation.peers.iter().filter(|peer| peers.include(peer.name)) {
            let step = Step::begin(format!(
                "Counting the instructions of {} {}",
                operation.name, peer.name
            ));
            let figure = one(&cluster, operation, peer, size)
                .with_context(|| format!("{} as {}", operation.name, peer.name))?;
            step.done();
            progress::say(format_args!("{:.0} instructions", figure.instructions));
            figures.push(figure);
        }
        relate(&mut figures[first..]);
    }
    Ok(figures)
}

/// Sets the ratios of one operation's figures.
fn relate(figures: &mut [Figure]) {
    let ours = figures.iter().find(|figure| OURS.contains(&figure.implementation));
    let Some(ours) = ours.map(|figure| figure.instructions) else { return };
    for figure in figures.iter_mut().filter(|figure| !OURS.contains(&figure.implementation)) {
        figure.ratio = Some(figure.instructions / ours);
    }
}

/// What the counted statements cost: a run with them, less one without.
fn one(cluster: &Cluster, operation: &Operation, peer: &Peer, size: Size) -> Result<Figure> {
    let Script { warm_up, counted, rows } = script(cluster, operation, peer, size);
    let counts = |statements: &[String]| {
        single(cluster, &measure::tidying(operation), None)?;
        let out = cluster.data().with_file_name("callgrind.out");
        single(cluster, statements, Some(&out))?;
        annotate(&out)
    };
    let without = counts(&warm_up)?;
    let with = counts(&[warm_up, counted].concat())?;
    let of_one = |functions: &[&str]| {
        let sum = |counts: &HashMap<String, u64>| {
            functions.iter().filter_map(|name| counts.get(*name)).sum::<u64>() as f64
        };
        (sum(&with) - sum(&without)) / f64::from(rows)
    };
    Ok(Figure {
        operation: operation.name,
        implementation: peer.name,
        rows,
        instructions: of_one(&[TOTALS]),
        groups: GROUPS.map(|(_, functions)| of_one(functions)),
        ratio: None,
        wanted: goal::wanted(operation.name, peer.name),
    })
}

/// The statements of a session.
struct Script {
    /// Until everything is cached and planned that a backend keeps.
    warm_up: Vec<String>,
    /// What is counted.
    counted: Vec<String>,
    /// Its calls, cycles or rows.
    rows: i32,
}

fn script(cluster: &Cluster, operation: &Operation, peer: &Peer, size: Size) -> Script {
    let mut warm_up = vec![measure::SESSION.to_owned()];
    let name = format!("bench.{}_{}", operation.name, peer.name);
    match &operation.work {
        Work::Calls(ids) => {
            let batches = ids.size(size.rows);
            let last = BATCHES.min(batches.count * ids.again - 1).max(1);
            warm_up.push(format!("SELECT {name}(-12, -1)"));
            warm_up.push(format!("SELECT {name}(0, 0)"));
            Script {
                warm_up,
                counted: vec![format!("SELECT {name}(1, {last})")],
                rows: last * batches.size * ids.per_call,
            }
        }
        Work::Cycles(_) => {
            warm_up.push(measure::CYCLES_SESSION.to_owned());
            warm_up.push(format!("CALL {name}(1, {}, NULL)", cycles::BATCH));
            Script {
                warm_up,
                counted: vec![format!("CALL {name}({BATCHES}, {}, NULL)", cycles::BATCH)],
                rows: BATCHES * cycles::BATCH,
            }
        }
        Work::Statement(work) => {
            let files = cluster.data().display().to_string();
            let spelled = |sql: &str| measure::spelled(sql, work, peer, size, 0, &files);
            warm_up.extend(work.before.iter().map(|sql| spelled(sql)));
            Script {
                warm_up,
                counted: std::iter::once(&work.measured)
                    .chain(work.after)
                    .map(|s| spelled(s))
                    .collect(),
                rows: measure::rows_of(work, size),
            }
        }
    }
}

/// Runs the statements in a server without a postmaster; under callgrind, if its file is named.
fn single(cluster: &Cluster, statements: &[String], out: Option<&Path>) -> Result<()> {
    let postgres = cluster.postgres().program("postgres");
    let mut command = match out {
        None => account::command(&postgres, cluster.account()),
        Some(out) => {
            let mut valgrind = account::command(Path::new("valgrind"), cluster.account());
            valgrind
                .args(["--quiet", "--tool=callgrind"])
                // The statements, without the start and the end of the server.
                .args(["--collect-atstart=no", "--toggle-collect=PortalRun"])
                .arg(format!("--callgrind-out-file={}", out.display()))
                .arg(&postgres);
            valgrind
        }
    };
    let mut server = command
        .args(["--single", "-j", "-D"])
        .arg(cluster.data())
        .arg(DB)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run postgres --single")?;
    // With -j, a statement ends with a semicolon and an empty line.
    let text: String = statements.iter().map(|sql| format!("{sql};\n\n")).collect();
    let mut stdin = server.stdin.take().context("postgres --single takes no input")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = server.wait_with_output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    // A server alone goes on after an error.
    let error =
        log.lines().find(|line| ["ERROR:", "FATAL:", "PANIC:"].iter().any(|e| line.contains(e)));
    match error {
        Some(error) => bail!("postgres --single: {error}"),
        None if output.status.success() => Ok(()),
        None => bail!("postgres --single ended with {}: {}", output.status, log.trim()),
    }
}

/// The name under which [`parse`] has the sum of all.
const TOTALS: &str = "PROGRAM TOTALS";

/// The instructions of each function and of those that it calls.
fn annotate(out: &Path) -> Result<HashMap<String, u64>> {
    let output = Command::new("callgrind_annotate")
        .args(["--threshold=100", "--inclusive=yes"])
        .arg(out)
        .output()
        .context("cannot run callgrind_annotate")?;
    if !output.status.success() {
        bail!("callgrind_annotate: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let counts = parse(&String::from_utf8_lossy(&output.stdout));
    if counts.contains_key(TOTALS) {
        Ok(counts)
    } else {
        bail!("callgrind_annotate tells no {TOTALS}")
    }
}

/// Reads lines such as `1,234 (5.67%)  file.c:function [library]`. A line of all has no file.
fn parse(text: &str) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for line in text.lines() {
        let Some((number, rest)) = line.trim_start().split_once(' ') else { continue };
        let Ok(count) = number.replace(',', "").parse::<u64>() else { continue };
        let Some((_, name)) = rest.split_once(')') else { continue };
        let name = name.trim_start();
        let name = name.split_once(':').map_or(name, |(_, function)| function);
        let name = name.rsplit_once(" [").map_or(name, |(function, _)| function);
        *counts.entry(name.to_owned()).or_default() += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_annotate_prints() {
        let counts = parse(
            "Events shown:     Ir\n\
             --------------------\n\
             1,234,567 (100.0%)  PROGRAM TOTALS\n\
             \n   65,432 ( 5.30%)  ???:index_getnext_slot [/usr/lib/postgres]\n\
             \n      168 ( 0.01%)  /src/raw.rs:caliber_am::raw::<impl Table>::get [/lib/a b.so]\n",
        );
        let get = |name: &str| counts.get(name).copied();
        assert_eq!(get(TOTALS), Some(1_234_567));
        assert_eq!(get("index_getnext_slot"), Some(65_432));
        assert_eq!(get("caliber_am::raw::<impl Table>::get"), Some(168));
        assert_eq!(counts.len(), 3);
    }

    #[test]
    fn ratios_are_to_ours() {
        let figure = |implementation, instructions| Figure {
            operation: "get",
            implementation,
            rows: 1,
            instructions,
            groups: Default::default(),
            ratio: None,
            wanted: None,
        };
        let mut figures = [figure("plpgsql", 30.0), figure("api", 20.0)];
        relate(&mut figures);
        assert_eq!((figures[0].ratio, figures[1].ratio), (Some(1.5), None));
    }
}
