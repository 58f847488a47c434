//! What CI runs: every stage is run, and the summary says which failed.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::error::missing;
use crate::extension::{self, Profile};
use crate::postgres::cluster::{PORT, SUPERUSER, Stop, Temporary};
use crate::postgres::embedded::Embedded;
use crate::progress::{self, seconds};
use crate::toolchain::cargo_command;
use crate::workspace::Workspace;
use crate::{bench, clients};

const DB: &str = "caliber_test";

/// Durability is not under test here; everything else is on that a test may want.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "100"),
    ("max_prepared_transactions", "10"),
    ("wal_level", "logical"),
    ("shared_buffers", "256MB"),
    ("autovacuum", "on"),
    ("log_min_messages", "warning"),
];

/// What a server writes only when the code it runs is wrong, whatever a test does.
const BAD_WARNINGS: &[&str] = &[
    "leak",
    "snapshot reference",
    "buffer refcount",
    "relcache reference",
    "still active",
    "was not closed",
];
const BAD_LINES: &[&str] = &["PANIC:", "was terminated by signal"];

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// Only the server tests of this file, or with this in their names.
    pub filter: Option<String>,
    /// Only on this PostgreSQL.
    pub pg: Option<Embedded>,
    /// No formatting, lints and unit tests.
    pub skip_lints: bool,
}

impl Plan {
    fn versions(&self) -> Vec<Embedded> {
        match (self.pg, &self.filter) {
            (Some(pg), _) => vec![pg],
            (None, Some(_)) => vec![Embedded::Pg18],
            (None, None) => vec![Embedded::Pg18, Embedded::Pg16],
        }
    }
}

/// Runs the plan. Its status is 1 when a stage failed.
pub fn run(workspace: &Workspace, plan: &Plan) -> Result<ExitCode> {
    let selection = match &plan.filter {
        Some(filter) => selection(workspace, filter)?,
        None => Vec::new(),
    };
    let mut stages = Stages::default();
    if plan.filter.is_none() && !plan.skip_lints {
        lints(workspace, &mut stages);
    }
    for pg in plan.versions() {
        let name = format!("tests on PostgreSQL {}", pg.major());
        stages.run(&name, || server_tests(workspace, pg, &selection));
    }
    if plan.filter.is_none() && plan.pg.is_none() {
        stages.run("each benchmark, once", || {
            let tiny = bench::Options { rows: Some(1000), rounds: Some(1), ..Default::default() };
            bench::run(workspace, Profile::Debug, &tiny)?;
            if !bench::counts_instructions() {
                progress::say("valgrind is not installed: no instructions are counted");
                return Ok(());
            }
            let few = bench::Options {
                rows: Some(1000),
                instructions: true,
                only: vec!["get".to_owned()],
                ..Default::default()
            };
            bench::run(workspace, Profile::Debug, &few).map(drop)
        });
    }
    Ok(stages.summary())
}

/// The arguments of `cargo test` that choose the tests: those of the file with that name, or
/// those with the filter in their names. A filter that chooses none would pass without testing.
fn selection(workspace: &Workspace, filter: &str) -> Result<Vec<String>> {
    let file = format!("tests/tests/{filter}.rs");
    if workspace.root.join(file).exists() {
        return Ok(vec!["--test".into(), filter.into()]);
    }
    let list = cargo_command(workspace, "test")?
        .args(["--package", "caliber-tests", "--quiet"])
        .args(["--", "--list", filter])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !list.status.success() {
        bail!("the tests do not build");
    }
    let names = String::from_utf8_lossy(&list.stdout);
    if !names.lines().any(|line| line.ends_with(": test")) {
        return Err(missing(format!(
            "no test file is named {filter}, and no test has it in its name"
        )));
    }
    Ok(vec!["--".into(), filter.into()])
}

fn lints(workspace: &Workspace, stages: &mut Stages) {
    const PURE: &[&str] = &["--package", "caliber-am", "--package", "caliber-pg"];
    const TOOLS: &[&str] = &["--package", "caliber-tests", "--package", "xtask"];
    const DENY: &[&str] = &["--", "--deny", "warnings"];

    stages.run("formatting", || {
        let mut cargo = Command::new(crate::workspace::cargo());
        cargo.args(["fmt", "--all", "--check"]).current_dir(&workspace.root);
        succeed(&mut cargo)
    });
    stages.run("clippy: pure logic", || {
        let mut cargo = cargo_command(workspace, "clippy")?;
        succeed(cargo.args(PURE).arg("--all-targets").args(DENY))
    });
    stages.run("clippy: extension", || {
        let postgres = Embedded::Pg18.prepare(workspace)?;
        let mut cargo = cargo_command(workspace, "clippy")?;
        cargo.args(PURE).args(["--package", "caliber-bench-spi"]);
        cargo.args(["--lib", "--features", "pg18"]).args(DENY);
        succeed(cargo.envs(extension::build_env(workspace, &postgres)?))
    });
    stages.run("clippy: tests and xtask", || {
        let mut cargo = cargo_command(workspace, "clippy")?;
        succeed(cargo.args(TOOLS).arg("--all-targets").args(DENY))
    });
    stages.run("unit tests", || {
        let mut cargo = cargo_command(workspace, "test")?;
        succeed(cargo.args(PURE).args(["--package", "xtask", "--no-fail-fast"]))
    });
}

fn server_tests(workspace: &Workspace, pg: Embedded, selection: &[String]) -> Result<()> {
    let mut cargo = cargo_command(workspace, "test")?;
    cargo.args(["--package", "caliber-tests", "--no-fail-fast"]).args(selection);
    against_server(workspace, pg, Profile::Debug, &mut cargo)
}

/// Runs a command of the tests' package against a fresh server, and looks at the server's log.
pub fn against_server(
    workspace: &Workspace,
    pg: Embedded,
    profile: Profile,
    cargo: &mut Command,
) -> Result<()> {
    let postgres = pg.prepare(workspace)?;
    let clients = clients::prepare(workspace)?;
    let library = extension::build_and_install(workspace, &postgres, profile)?;
    let cluster = Temporary::create(workspace, &postgres, None, SETTINGS)?;
    cluster.start()?;
    cluster.create_database(DB)?;

    cargo
        .env("CALIBER_TEST_SOCKET", cluster.socket()?)
        .env("CALIBER_TEST_PORT", PORT.to_string())
        .env("CALIBER_TEST_USER", SUPERUSER)
        .env("CALIBER_TEST_DB", DB)
        .env("CALIBER_TEST_PG_BIN", &postgres.bin)
        .envs(clients)
        .env("CALIBER_TEST_LIB", library)
        .env("CALIBER_TEST_LOG", cluster.log())
        .env("CALIBER_TEST_DATA_DIR", cluster.data())
        .env(
            "CALIBER_TEST_OS_USER",
            cluster.account().map_or_else(String::new, |a| a.uid.to_string()),
        );
    let tests = succeed(cargo);
    let stopped = cluster.stop(Stop::Fast);

    let log = fs::read(cluster.log()).unwrap_or_default();
    let kept = workspace.cache.join(format!("server-{}.log", pg.major()));
    fs::write(&kept, &log).with_context(|| format!("cannot write {}", kept.display()))?;
    let log = scan(&String::from_utf8_lossy(&log), &kept);
    let problems: Vec<_> = [tests, stopped, log]
        .into_iter()
        .filter_map(Result::err)
        .map(|e| format!("{e:#}"))
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{} (the server's log is in {})", problems.join("; "), kept.display())
}

/// Fails when the server complains about the code that it runs.
fn scan(log: &str, file: &Path) -> Result<()> {
    let found: Vec<_> = (1..).zip(log.lines()).filter(|(_, line)| is_bad(line)).take(10).collect();
    if found.is_empty() {
        return Ok(());
    }
    for (number, line) in &found {
        progress::say(format_args!("{}:{number}: {line}", file.display()));
    }
    bail!("the server complains in its log, see above")
}

fn is_bad(line: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    has(BAD_LINES) || (line.contains("WARNING:") && has(BAD_WARNINGS))
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run cargo")?;
    if status.success() {
        return Ok(());
    }
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    bail!("cargo {} failed", args.join(" "))
}

#[derive(Default)]
struct Stages {
    done: Vec<(String, Duration, bool)>,
}

impl Stages {
    fn run(&mut self, name: &str, stage: impl FnOnce() -> Result<()>) {
        println!("\n==> {name}");
        let started = Instant::now();
        let result = stage();
        let time = started.elapsed();
        match &result {
            Ok(()) => println!("<== {name}: ok in {}", seconds(time)),
            Err(error) => println!("<== {name}: FAILED in {}: {error:#}", seconds(time)),
        }
        self.done.push((name.to_owned(), time, result.is_ok()));
    }

    fn summary(&self) -> ExitCode {
        println!();
        for (name, time, ok) in &self.done {
            let verdict = if *ok { "ok" } else { "FAILED" };
            println!("{verdict:>6}  {name} ({})", seconds(*time));
        }
        if self.done.iter().all(|(_, _, ok)| *ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_plan() {
        let plan = |filter: Option<&str>, pg| {
            Plan { filter: filter.map(str::to_owned), pg, skip_lints: false }.versions()
        };
        assert_eq!(plan(None, None), [Embedded::Pg18, Embedded::Pg16]);
        assert_eq!(plan(Some("turn"), None), [Embedded::Pg18]);
        assert_eq!(plan(Some("turn"), Some(Embedded::Pg16)), [Embedded::Pg16]);
    }

    #[test]
    fn what_is_bad_in_a_log() {
        for line in [
            "2026-01-01 [7] WARNING:  buffer refcount leak: [001] (rel=base/5/16384)",
            "2026-01-01 [7] WARNING:  resource was not closed: snapshot reference 0x55",
            "2026-01-01 [7] PANIC:  stuck spinlock",
            "2026-01-01 [1] LOG:  server process (PID 8) was terminated by signal 11",
        ] {
            assert!(is_bad(line), "{line}");
        }
        for line in ["2026-01-01 [7] WARNING:  there is no transaction", "LOG:  leak"] {
            assert!(!is_bad(line), "{line}");
        }
    }
}
