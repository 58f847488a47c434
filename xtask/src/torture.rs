//! `cargo xtask torture`: a program that looks for bugs for as long as it is let.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::extension::Profile;
use crate::postgres::embedded::Embedded;
use crate::test;
use crate::toolchain::cargo_command;
use crate::workspace::Workspace;

/// The programs, which are in the tests' package; docs/reliability.md says what each looks for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Program {
    /// Calls of many sessions at once, whose record must have an order that explains it
    Histories,
    /// Processes killed under load, and what is there afterwards
    Crash,
    /// Random programs on heap and on caliber_am, which must not differ
    Oracle,
    /// Random programs of calls, and the same in SQL on heap, which must not differ
    Api,
    /// All functions with random arguments, none of which may be an internal error
    Fuzz,
    /// A primary killed under load, and its standby promoted
    Standby,
}

/// The options of `cargo xtask torture`.
#[derive(Debug, Args)]
pub struct Options {
    /// What to run
    #[arg(value_enum)]
    program: Program,
    /// For how long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Repeats a run's random choices; which ones a run has made, it prints
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// Runs the program in release against a fresh server. Its status is 1 when it found something.
pub fn run(workspace: &Workspace, pg: Embedded, options: &Options) -> Result<ExitCode> {
    let name = options.program.to_possible_value().map(|value| value.get_name().to_owned());
    let mut cargo = cargo_command(workspace, "run")?;
    cargo
        .args(["--package", "caliber-tests", "--bin", "torture", "--quiet", "--"])
        .arg(name.unwrap_or_default())
        .arg(options.minutes.to_string())
        .args(options.seed.map(|seed| seed.to_string()));
    test::against_server(workspace, pg, Profile::Release, &mut cargo)?;
    Ok(ExitCode::SUCCESS)
}
