//! The database clients that the cookbook's scripts use: fetched into the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress;
use crate::workspace::Workspace;

const PSYCOPG: &str = "psycopg[binary]==3.2.13";
const PG: &str = "pg@8.16.3";

/// What the tests are told about the clients: `CALIBER_TEST_PYTHONPATH`, and `CALIBER_TEST_NODE`
/// where the machine has Node and npm.
pub fn prepare(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    let home = workspace.cache.join("clients");
    let python = home.join(PSYCOPG.replace(['[', ']', '='], "_"));
    install(workspace, &python, "psycopg for Python", |target| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        pip.arg(target).arg(PSYCOPG);
        pip
    })?;
    let mut clients = vec![("CALIBER_TEST_PYTHONPATH", python)];
    if has("node") && has("npm") {
        let node = home.join(PG.replace('@', "_"));
        install(workspace, &node, "pg for Node", |target| {
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
            npm.arg(target).arg(PG);
            npm
        })?;
        clients.push(("CALIBER_TEST_NODE", node));
    } else {
        progress::say(format_args!("Node is not here, so the cookbook's JavaScript is not run"));
    }
    Ok(clients)
}

fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs into `target`, complete or not at all.
fn install(
    workspace: &Workspace,
    target: &Path,
    what: &str,
    command: impl FnOnce(&Path) -> Command,
) -> Result<()> {
    if target.is_dir() {
        return Ok(());
    }
    let _lock = workspace.lock("clients")?;
    if target.is_dir() {
        return Ok(());
    }
    progress::say(format_args!("Fetching {what}"));
    let home = target.parent().context("a folder for clients")?;
    fs::create_dir_all(home)?;
    let part = tempfile::Builder::new().prefix(".install-").tempdir_in(home)?;
    let status = command(part.path()).status().with_context(|| format!("cannot fetch {what}"))?;
    if !status.success() {
        bail!("cannot fetch {what}");
    }
    fs::rename(part.keep(), target).with_context(|| format!("cannot make {}", target.display()))
}
