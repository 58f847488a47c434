//! A cluster: one data folder, one server, reached through a Unix socket only.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres::{Client, Config, NoTls};

use crate::interrupt::{self, Cleanup};
use crate::postgres::account::{self, Account};
use crate::postgres::{Postgres, number};
use crate::progress;
use crate::workspace::{Workspace, temp_dir};

/// The name of the superuser.
pub const SUPERUSER: &str = "postgres";
/// The number in the socket's name; each server has a socket folder of its own.
pub const PORT: u16 = 5432;

const START_TIMEOUT: &str = "60";
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// How a server is asked to stop.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Ends the sessions and writes a checkpoint.
    Fast,
    /// Leaves everything as it is, as a crash would.
    Immediate,
}

/// A cluster in a folder. Dropping it leaves it as it is; see [`Temporary`].
#[derive(Clone, Debug)]
pub struct Cluster {
    postgres: Postgres,
    account: Option<Account>,
    dir: PathBuf,
}

impl Cluster {
    /// The cluster of that name, which may not exist yet.
    pub fn named(workspace: &Workspace, postgres: &Postgres, name: &str) -> Result<Self> {
        Ok(Self {
            postgres: postgres.clone(),
            account: workspace.account.clone(),
            dir: clusters(workspace)?.join(name),
        })
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// The installation that it belongs to.
    pub const fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// The account that its server runs under, when it is not ours.
    pub const fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Whether it has been made.
    pub fn exists(&self) -> bool {
        self.data().join("PG_VERSION").exists()
    }

    /// The folder of the socket, while it has one.
    pub fn socket(&self) -> Result<PathBuf> {
        let file = self.dir.join("socket");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim_end().into())
    }

    /// Makes it, in place of what a broken run has left.
    pub fn create(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.remove()?;
        let dir = &self.dir;
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        account::give(dir, self.account())?;

        let data = self.data();
        let output = account::command(&self.postgres.program("initdb"), self.account())
            .args(["--no-locale", "--encoding=UTF8", "--auth=trust", "--username", SUPERUSER])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .context("cannot run initdb")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut lines = String::from("\n# Set by cargo xtask\ninclude = 'socket.conf'\n");
        for (name, value) in settings {
            lines.push_str(&format!("{name} = {}\n", quoted(value)));
        }
        append(&data.join("postgresql.conf"), &lines)
    }

    /// Starts the server and waits until it answers.
    pub fn start(&self) -> Result<()> {
        if self.running()?.is_some() {
            return Ok(());
        }
        self.remove_socket();
        // Whoever reaches the socket is the superuser: nobody else may.
        let socket = tempfile::Builder::new()
            .prefix("caliber-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(temp_dir()?)
            .context("cannot make a folder for the socket")?
            .keep();
        account::give(&socket, self.account())?;
        fs::write(self.dir.join("socket"), socket.as_os_str().as_encoded_bytes())?;
        let shown = socket.to_str().context("the temporary folder's name is not UTF-8")?;
        let conf = self.data().join("socket.conf");
        fs::write(
            &conf,
            format!(
                "listen_addresses = ''\nport = {PORT}\nunix_socket_directories = {}\n",
                quoted(&quoted_name(shown))
            ),
        )?;
        account::give(&conf, self.account())?;

        // Only what this start writes is shown when it fails.
        let before = fs::metadata(self.log()).map_or(0, |log| log.len());
        let output = account::command(&self.postgres.program("pg_ctl"), self.account())
            .args(["start", "--silent", "--wait", "--timeout", START_TIMEOUT])
            .arg("--pgdata")
            .arg(self.data())
            .arg("--log")
            .arg(self.log())
            .output()
            .context("cannot run pg_ctl")?;
        let answers = if output.status.success() {
            self.connect("postgres").map(drop)
        } else {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(anyhow::anyhow!("{}", why.trim().trim_start_matches("pg_ctl: ")))
        };
        answers.with_context(|| {
            format!("the server does not start. Its log ends:\n{}", self.log_tail(before))
        })
    }

    /// A connection to one of its databases.
    pub fn connect(&self, db: &str) -> Result<Client> {
        let socket = self.socket()?;
        Config::new()
            .host_path(&socket)
            .port(PORT)
            .user(SUPERUSER)
            .dbname(db)
            .application_name("cargo xtask")
            .connect_timeout(Duration::from_secs(10))
            .connect(NoTls)
            .with_context(|| format!("cannot connect to {db} through {}", socket.display()))
    }

    /// Creates the database, with the extension in it, unless it is there.
    pub fn create_database(&self, db: &str) -> Result<()> {
        let mut client = self.connect("postgres")?;
        let known = "SELECT 1 FROM pg_database WHERE datname = $1";
        if client.query_opt(known, &[&db])?.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {}", quoted_name(db)))?;
        }
        self.connect(db)?
            .batch_execute("CREATE EXTENSION IF NOT EXISTS \"caliber-pg\" CASCADE")
            .context("CREATE EXTENSION \"caliber-pg\"")
    }

    /// The command line that opens psql on one of its databases.
    pub fn psql_line(&self, db: &str) -> Result<String> {
        let (psql, socket) = (self.postgres.program("psql"), self.socket()?);
        let (psql, socket) = (psql.display(), socket.display());
        Ok(format!("{psql} -h {socket} -p {PORT} -U {SUPERUSER} -d {db}"))
    }

    /// The server's process, if it runs.
    pub fn running(&self) -> Result<Option<Pid>> {
        let data = self.data();
        let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
            return Ok(None);
        };
        let pid: i32 = number(text.lines().next())?;
        // The number alone may be another process's by now.
        let ours = match (fs::read_link(format!("/proc/{pid}/cwd")), data.canonicalize()) {
            (Ok(cwd), Ok(data)) => cwd == data,
            _ => false,
        };
        Ok(ours.then(|| Pid::from_raw(pid)))
    }

    /// Stops the server, if it runs.
    pub fn stop(&self, how: Stop) -> Result<()> {
        if let Some(pid) = self.running()? {
            let signal = match how {
                Stop::Fast => Signal::SIGINT,
                Stop::Immediate => Signal::SIGQUIT,
            };
            kill(pid, signal).context("cannot signal the server")?;
            let deadline = Instant::now() + STOP_TIMEOUT;
            while self.running()?.is_some() {
                if Instant::now() > deadline {
                    kill(pid, Signal::SIGKILL)?;
                    bail!("the server {pid} did not stop, and was killed");
                }
                sleep(Duration::from_millis(20));
            }
        }
        self.remove_socket();
        Ok(())
    }

    /// Stops the server and removes everything.
    pub fn remove(&self) -> Result<()> {
        if !self.dir.exists() {
            return Ok(());
        }
        self.stop(Stop::Immediate)?;
        fs::remove_dir_all(&self.dir)
            .with_context(|| format!("cannot remove {}", self.dir.display()))
    }

    fn remove_socket(&self) {
        if let Ok(socket) = self.socket() {
            // It may be gone already, by a clean-up of the temporary folder.
            fs::remove_dir_all(socket).ok();
            fs::remove_file(self.dir.join("socket")).ok();
        }
    }

    fn log_tail(&self, from: u64) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let new = log.get(usize::try_from(from).unwrap_or(0)..).unwrap_or_default();
        let text = String::from_utf8_lossy(new);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A cluster that is removed when this is dropped, or when the program is interrupted.
#[derive(Debug)]
pub struct Temporary {
    cluster: Cluster,
    guard: Arc<Guard>,
}

impl Temporary {
    /// A fresh cluster, in place of an earlier one of that name; what crashed runs have left is
    /// removed.
    pub fn create(
        workspace: &Workspace,
        postgres: &Postgres,
        name: Option<&str>,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let _lock = workspace.lock("clusters")?;
        sweep(workspace, postgres)?;
        let dir = clusters(workspace)?;
        let path = match name {
            Some(name) => dir.join(format!("{name}.lock")),
            None => {
                let mut file = tempfile::Builder::new();
                file.prefix("tmp-").suffix(".lock").tempfile_in(dir)?.into_temp_path().keep()?
            }
        };
        let file = File::create(&path)?;
        if file.try_lock().is_err() {
            bail!("another run is using {}", path.with_extension("").display());
        }
        let stem = path.file_stem().context("a file without a name")?.to_string_lossy();
        let cluster = Cluster::named(workspace, postgres, &stem)?;
        let lock = Mutex::new(Some((file, path.clone())));
        let guard = Arc::new(Guard { cluster: cluster.clone(), lock });
        interrupt::register(&guard);
        let temporary = Self { cluster, guard };
        temporary.cluster.create(settings)?;
        Ok(temporary)
    }

    /// Lets it outlive this run.
    pub fn keep(self) -> Cluster {
        self.guard.release();
        self.cluster.clone()
    }
}

impl std::ops::Deref for Temporary {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.guard.clean();
    }
}

/// The lock file says, as long as it is locked, that the run which made the cluster lives.
#[derive(Debug)]
struct Guard {
    cluster: Cluster,
    lock: Mutex<Option<(File, PathBuf)>>,
}

impl Guard {
    /// Ends the guard, after `last` if it had not ended before.
    fn end(&self, last: impl FnOnce(&Cluster)) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((file, path)) = lock.take() {
            last(&self.cluster);
            fs::remove_file(path).ok();
            drop(file);
        }
    }

    fn release(&self) {
        self.end(|_| ());
    }
}

impl Cleanup for Guard {
    fn clean(&self) {
        self.end(|cluster| {
            if let Err(error) = cluster.remove() {
                progress::say(format_args!("warning: {error:#}"));
            }
        });
    }
}

/// Removes temporary clusters whose run is gone.
fn sweep(workspace: &Workspace, postgres: &Postgres) -> Result<()> {
    for entry in fs::read_dir(clusters(workspace)?)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Some(name) = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else {
            continue;
        };
        let file = File::open(&path)?;
        if file.try_lock().is_err() {
            continue;
        }
        progress::say(format_args!("Removing {name}, left by a run that ended early"));
        Cluster::named(workspace, postgres, &name)?.remove()?;
        fs::remove_file(&path)?;
    }
    Ok(())
}

fn clusters(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.serving.join("clusters");
    if !dir.is_dir() {
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
    }
    Ok(dir)
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// A value in postgresql.conf.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A name in SQL, or in a list of names.
fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        assert_eq!(quoted("it's"), "'it''s'");
        assert_eq!(quoted(&quoted_name("/tmp/a b")), "'\"/tmp/a b\"'");
    }
}
