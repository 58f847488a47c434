//! The development server, which keeps its data.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::demo;
use crate::extension::{self, Profile};
use crate::postgres::account::is_postgres_setting;
use crate::postgres::cluster::{Cluster, PORT, SUPERUSER, Stop};
use crate::postgres::embedded::Embedded;
use crate::progress::{self, Step};
use crate::workspace::Workspace;

const DB: &str = "caliber";

/// What to do with the server.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Build and install the extension, and start the server
    Start {
        /// Throw the data away first
        #[arg(long)]
        fresh: bool,
    },
    /// Stop it, and one that `demo --keep` has left up
    Stop,
    /// Say whether it runs, and how to reach it
    Status,
}

/// Does it. The status of `status` is 3 when no server runs, as a service manager has it.
pub fn run(workspace: &Workspace, pg: Embedded, action: &Action) -> Result<ExitCode> {
    match action {
        Action::Start { fresh } => {
            let cluster = start(workspace, pg, *fresh)?;
            println!("{}", cluster.psql_line(DB)?);
        }
        Action::Stop => {
            let mut stopped = false;
            for (what, cluster, _) in lasting(workspace, pg)? {
                if cluster.running()?.is_some() {
                    cluster.stop(Stop::Fast)?;
                    println!("stopped: {what}");
                    stopped = true;
                }
            }
            if !stopped {
                println!("no server of PostgreSQL {} runs", pg.major());
            }
        }
        Action::Status => {
            let mut up = false;
            for (what, cluster, db) in lasting(workspace, pg)? {
                if let Some(pid) = cluster.running()? {
                    println!("running: {what}, process {pid}\n  {}", cluster.psql_line(db)?);
                    println!("  log {}", cluster.log().display());
                    up = true;
                } else if cluster.exists() {
                    println!("stopped: {what}");
                }
            }
            if !up {
                println!("no server of PostgreSQL {} runs", pg.major());
                return Ok(ExitCode::from(3));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens psql in place of this program.
pub fn psql(workspace: &Workspace, pg: Embedded, args: &[String]) -> Result<ExitCode> {
    let cluster = development(workspace, pg)?;
    if cluster.running()?.is_none() {
        start(workspace, pg, false)?;
    }
    let mut psql = Command::new(cluster.postgres().program("psql"));
    for (name, _) in env::vars_os() {
        if is_postgres_setting(&name) {
            psql.env_remove(&name);
        }
    }
    let error = psql
        .arg("--host")
        .arg(cluster.socket()?)
        .args(["--port", &PORT.to_string(), "--username", SUPERUSER, "--dbname", DB])
        .args(args)
        .exec();
    Err(error).context("cannot run psql")
}

fn start(workspace: &Workspace, pg: Embedded, fresh: bool) -> Result<Cluster> {
    let cluster = development(workspace, pg)?;
    extension::build_and_install(workspace, cluster.postgres(), Profile::Debug)?;
    if cluster.running()?.is_some() && !fresh {
        progress::say("The server runs already; new sessions load the library just installed");
    } else {
        let step = Step::begin(format!("Starting PostgreSQL {}", cluster.postgres().version));
        if fresh || !cluster.exists() {
            cluster.create(&[("wal_level", "logical"), ("max_prepared_transactions", "10")])?;
        }
        cluster.start()?;
        step.done();
    }
    cluster.create_database(DB)?;
    Ok(cluster)
}

fn development(workspace: &Workspace, pg: Embedded) -> Result<Cluster> {
    let postgres = pg.prepare(workspace)?;
    Cluster::named(workspace, &postgres, &format!("dev-{}", pg.major()))
}

/// The servers that outlive a run, each with what it is and its database.
fn lasting(
    workspace: &Workspace,
    pg: Embedded,
) -> Result<[(&'static str, Cluster, &'static str); 2]> {
    let development = development(workspace, pg)?;
    let name = demo::kept_name(pg);
    let kept = Cluster::named(workspace, development.postgres(), &name)?;
    Ok([("the development server", development, DB), ("the demo", kept, demo::DB)])
}
