//! The server of a run, and the rows that everything is measured on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use postgres::Client;
use serde_json::Value;

use crate::bench::calls;
use crate::bench::operation::{IdSet, Operation, Work};
use crate::bench::options::Size;
use crate::extension::{self, Profile};
use crate::postgres::Postgres;
use crate::postgres::cluster::Temporary;
use crate::postgres::embedded::Embedded;
use crate::progress::{self, Step};
use crate::toolchain;
use crate::workspace::Workspace;

/// The database of a run.
pub const DB: &str = "caliber_bench";

const SPI: &str = "caliber-bench-spi";
const SETTINGS: &[(&str, &str)] = &[("shared_buffers", "1GB")];

/// Builds, starts and loads it.
pub fn start(
    workspace: &Workspace,
    profile: Profile,
    size: Size,
    operations: &[&Operation],
) -> Result<Temporary> {
    let postgres = Embedded::Pg18.prepare(workspace)?;
    extension::build_and_install(workspace, &postgres, profile)?;
    let library = build_spi(workspace, &postgres, profile)?;
    let cluster = Temporary::create(workspace, &postgres, None, SETTINGS)?;
    cluster.start()?;
    cluster.create_database(DB)?;
    let mut client = cluster.connect(DB)?;
    client.batch_execute(&format!(
        "SET bench.rows = {}; SET bench.others = {}",
        size.rows, size.others
    ))?;
    let storage = |operation: &&Operation| matches!(operation.work, Work::Statement(_));
    let step = Step::begin(format!("Loading {} rows of each kind", size.rows));
    load(&mut client, size, &library)?;
    if operations.iter().any(storage) {
        let script = include_str!("sql/storage.sql")
            .replace("{rows}", &size.rows.to_string())
            .replace("{files}", &cluster.data().display().to_string());
        client.batch_execute(&script).context("cannot load the storage tables")?;
    }
    client.batch_execute("VACUUM ANALYZE")?;
    client.batch_execute("CHECKPOINT")?;
    step.done();
    Ok(cluster)
}

fn load(client: &mut Client, size: Size, library: &str) -> Result<()> {
    client.batch_execute(include_str!("sql/load.sql")).context("cannot load the rows")?;
    client.batch_execute(include_str!("sql/peers.sql")).context("cannot make the peers")?;
    client.batch_execute(include_str!("sql/plpgsql.sql")).context("the PL/pgSQL peer")?;
    let spi = include_str!("sql/spi.sql").replace("{library}", library);
    client.batch_execute(&spi).context("the SPI peer")?;
    client.batch_execute(include_str!("sql/ids.sql")).context("cannot choose the ids")?;
    for set in calls::ID_SETS {
        let calls = set.size(size.rows);
        client.execute(
            "SELECT bench.make_ids($1, $2, $3, $4, $5)",
            &[&set.name, &set.source, &calls.ids(), &calls.size, &set.again],
        )?;
    }
    Ok(())
}

/// The batches of a set of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// How many there are of different ids.
    pub count: i32,
    /// The ids of each.
    pub size: i32,
}

impl Batches {
    /// How many ids there are.
    pub const fn ids(self) -> i32 {
        self.count * self.size
    }
}

impl IdSet {
    /// The batches of a run with this many rows: ten or more where there are ids enough.
    pub fn size(&self, rows: i32) -> Batches {
        let (share, most) = self.share;
        let ids = i64::from(rows) * i64::from(share) / 1000;
        let ids = i32::try_from(ids).unwrap_or(i32::MAX).clamp(1, most);
        let size = if self.again > 1 { self.batch.min(ids) } else { self.batch.min(ids / 10 + 1) };
        Batches { count: ids / size, size }
    }
}

/// Builds the SPI peer; the path of its library where the server reaches it.
fn build_spi(workspace: &Workspace, postgres: &Postgres, profile: Profile) -> Result<String> {
    progress::say(format_args!("Building {SPI}"));
    let output = toolchain::cargo_command(workspace, "build")?
        .args(["--lib", "--package", SPI])
        .args((profile == Profile::Release).then_some("--release"))
        .args(["--features", &format!("pg{}", postgres.major)])
        .arg("--message-format=json-render-diagnostics")
        .envs(extension::build_env(workspace, postgres)?)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?
        .wait_with_output()?;
    if !output.status.success() {
        bail!("{SPI} does not build for PostgreSQL {}", postgres.major);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let built = messages.lines().find_map(library_in).context("cargo does not name the library")?;
    let dir = workspace.serving.join("bench");
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    let library = dir.join("caliber_bench_spi.so");
    // A server of another run may have the old one open: a new file, not new content.
    let new = dir.join("caliber_bench_spi.so.new");
    fs::copy(&built, &new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &library)?;
    Ok(library.to_str().context("the target folder's name is not UTF-8")?.to_owned())
}

/// The library of the SPI peer, if the line of cargo's output names it.
fn library_in(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["target"]["name"] != "caliber_bench_spi" {
        return None;
    }
    let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
    files.map(PathBuf::from).find(|file| file.extension().is_some_and(|e| e == "so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_each_size() {
        for set in calls::ID_SETS {
            for rows in [1, 7, 1000, 100_000, 1_000_000] {
                let batches = set.size(rows);
                assert!(batches.count > 0 && batches.size > 0, "{} {rows}", set.name);
                assert!(batches.ids() <= set.share.1, "{} {rows}", set.name);
            }
        }
    }
}
