//! Clusters of a test's own, whose servers may be killed.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::db::Db;
use crate::server::Server;

/// The superuser of these clusters.
const SUPERUSER: &str = "postgres";
/// The number in the socket's name; each cluster has a folder of its own.
const PORT: u16 = 5432;
/// The file of a cluster's own settings.
const OWN_CONF: &str = "own.conf";
/// How long a server may take to do what it does by itself.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A copy of the installation under test, in a temporary folder that goes away with it: its files
/// can be moved and replaced, and stay the same while the original is built anew.
#[derive(Debug)]
pub struct Installation {
    dir: TempDir,
    bin: PathBuf,
    library: PathBuf,
    /// The user and group that servers run under.
    account: (u32, u32),
}

impl Installation {
    /// Copies it.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn copy() -> Self {
        let server = Server::get();
        let open = Permissions::from_mode(0o755);
        let dir = tempfile::Builder::new().prefix("cal-").permissions(open).tempdir().unwrap();
        // The programs find their libraries by a relative path, within this folder.
        let home = server.pg_bin.ancestors().nth(3).expect("a folder with the installation");
        let copy = dir.path().join("home");
        succeed(Command::new("cp").arg("--archive").args([home, &copy]));
        let inside = |path: &Path| copy.join(path.strip_prefix(home).expect("inside"));
        // The server under test runs under the account that owns its data.
        let data = fs::metadata(&server.data_dir).unwrap();
        Self {
            bin: inside(&server.pg_bin),
            library: inside(&server.lib),
            account: (data.uid(), data.gid()),
            dir,
        }
    }

    /// The extension's library.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// A program, to be run under the servers' account.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        // Blind to settings that were meant for other servers.
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
        if nix::unistd::geteuid().as_raw() != self.account.0 {
            command.uid(self.account.0).gid(self.account.1);
        }
        command
    }

    /// A folder for a cluster.
    fn folder(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        // Whoever reaches the socket is the superuser.
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        chown(&dir, Some(self.account.0), Some(self.account.1)).unwrap();
        dir
    }
}

/// How a server is killed. Nothing is asked first, and nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// The postmaster and all its children at once, as in a loss of power.
    All,
    /// The postmaster alone; its children notice.
    Postmaster,
}

impl Kill {
    /// What is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "kills of all processes",
            Self::Postmaster => "kills of the postmaster",
        }
    }
}

/// A cluster; its server is killed when it is dropped.
#[derive(Debug)]
pub struct Cluster<'i> {
    installation: &'i Installation,
    dir: PathBuf,
    postmaster: Mutex<Option<Child>>,
}

impl<'i> Cluster<'i> {
    /// A new cluster with these settings. It is not started.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn init(installation: &'i Installation, name: &str, settings: &[(&str, &str)]) -> Self {
        let cluster = Self::in_folder(installation, name);
        let options = ["--no-locale", "--encoding=UTF8", "--auth=trust", "--username", SUPERUSER];
        succeed(installation.program("initdb").args(options).arg("--pgdata").arg(cluster.data()));
        let mut conf = format!("listen_addresses = ''\nport = {PORT}\ninclude = '{OWN_CONF}'\n");
        for (name, value) in settings {
            conf.push_str(&format!("{name} = '{value}'\n"));
        }
        let mut file =
            File::options().append(true).open(cluster.data().join("postgresql.conf")).unwrap();
        file.write_all(conf.as_bytes()).unwrap();
        cluster
    }

    /// A standby that streams from another cluster. It is not started.
    ///
    /// # Panics
    /// When no base backup can be taken.
    pub fn standby_of(primary: &Cluster<'i>, name: &str) -> Self {
        let cluster = Self::in_folder(primary.installation, name);
        cluster.base_backup(primary);
        cluster
    }

    fn in_folder(installation: &'i Installation, name: &str) -> Self {
        Self { installation, dir: installation.folder(name), postmaster: Mutex::new(None) }
    }

    /// Takes the place of what was there with a base backup of the primary, as its standby.
    ///
    /// # Panics
    /// When it cannot be taken.
    pub fn base_backup(&self, primary: &Cluster<'_>) {
        if self.data().exists() {
            fs::remove_dir_all(self.data()).unwrap();
        }
        let mut backup = self.installation.program("pg_basebackup");
        backup.args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf"]);
        succeed(backup.arg("--pgdata").arg(self.data()).arg("--dbname").arg(primary.conninfo()));
    }

    /// Winds a former primary back to where the new one left it, as its standby.
    ///
    /// # Panics
    /// When it cannot be wound back.
    pub fn rewind(&self, primary: &Cluster<'_>) {
        // What pg_rewind compares says only then where the new primary left.
        primary.connect("postgres").run("CHECKPOINT");
        let mut rewind = self.installation.program("pg_rewind");
        rewind.arg("--target-pgdata").arg(self.data());
        rewind.arg("--source-server").arg(format!("{} dbname=postgres", primary.conninfo()));
        succeed(rewind.arg("--write-recovery-conf"));
    }

    fn conninfo(&self) -> String {
        format!("host={} port={PORT} user={SUPERUSER}", self.dir.display())
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(&self) {
        self.set_own(&[]);
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut postmaster = self.installation.program("postgres");
        postmaster.arg("-D").arg(self.data()).stdin(Stdio::null());
        postmaster.stdout(log.try_clone().unwrap()).stderr(log);
        *self.child() = Some(postmaster.spawn().unwrap());
        drop(self.connect("postgres"));
    }

    /// The postmaster is a child of this process: who else would take note of its end, without which
    /// its process id is taken for that of a server that runs.
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().expect("nobody panics while they have it")
    }

    /// What is set here and not in a copy of this cluster, such as where its socket is. A server
    /// that runs has to be told to reload.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set_own(&self, settings: &[(&str, &str)]) {
        let socket = self.dir.to_str().expect("a folder with a name in UTF-8");
        let settings = [("unix_socket_directories", socket)].into_iter().chain(settings.to_vec());
        let conf: String = settings.map(|(name, value)| format!("{name} = '{value}'\n")).collect();
        let file = self.data().join(OWN_CONF);
        fs::write(&file, conf).unwrap();
        // pg_rewind writes all files of the folder anew.
        let (user, group) = self.installation.account;
        chown(&file, Some(user), Some(group)).unwrap();
    }

    /// A connection, or why there is none.
    ///
    /// # Errors
    /// The server's refusal, or that of the operating system.
    pub fn try_connect(&self, db: &str) -> Result<Db, postgres::Error> {
        Db::open(&self.dir, PORT, SUPERUSER, db)
    }

    /// A connection, as soon as the server accepts one.
    ///
    /// # Panics
    /// When it never does.
    #[track_caller]
    pub fn connect(&self, db: &str) -> Db {
        let patience = Instant::now() + PATIENCE;
        loop {
            match self.try_connect(db) {
                Ok(db) => return db,
                Err(error) => {
                    let over = self.postmaster_pid().is_none() || Instant::now() > patience;
                    assert!(!over, "{error}\n{}", self.log());
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// Makes a standby a primary, and waits until it is one.
    ///
    /// # Panics
    /// When it does not become one.
    pub fn promote(&self) {
        assert!(self.connect("postgres").one::<bool>("SELECT pg_promote(wait_seconds => 120)"));
    }

    /// The postmaster's process, if it runs.
    fn postmaster_pid(&self) -> Option<Pid> {
        let mut child = self.child();
        let child = child.as_mut()?;
        let runs = child.try_wait().is_ok_and(|ended| ended.is_none());
        runs.then(|| Pid::from_raw(i32::try_from(child.id()).expect("a process id")))
    }

    fn running(&self) -> Pid {
        self.postmaster_pid().unwrap_or_else(|| panic!("no server runs\n{}", self.log()))
    }

    /// The server's backends and background processes.
    ///
    /// # Panics
    /// When no server runs.
    pub fn children(&self) -> Vec<Pid> {
        children(self.running())
    }

    /// Kills the server, and waits until its processes are gone.
    ///
    /// # Panics
    /// When no server runs, or when they stay.
    pub fn kill(&self, how: Kill) {
        let postmaster = self.running();
        // So that it starts no further ones.
        signal(postmaster, Signal::SIGSTOP);
        let children = children(postmaster);
        signal(postmaster, Signal::SIGKILL);
        if how == Kill::All {
            for child in &children {
                signal(*child, Signal::SIGKILL);
            }
        }
        let mut child = self.child();
        child.take().expect("it runs").wait().unwrap();
        await_end(&children);
    }

    /// Kills one child: the postmaster ends the others and starts anew.
    pub fn kill_child(&self, child: Pid) {
        signal(child, Signal::SIGKILL);
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }
}

impl Drop for Installation {
    /// Leaves what a failed test has found for whoever is to understand it.
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("kept: {}", self.dir.path().display());
        }
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        if self.postmaster_pid().is_some() {
            self.kill(Kill::All);
        }
    }
}

/// A process's state and parent, as Linux tells them.
fn stat(pid: Pid) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may have spaces and parentheses in it.
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?))
}

/// Whether it still does anything; what nobody has reaped does not.
fn alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn children(of: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap();
    let names = processes.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| Some(Pid::from_raw(name.to_str()?.parse().ok()?)))
        .filter(|pid| stat(*pid).is_some_and(|(_, parent)| parent == of.as_raw()))
        .collect()
}

fn signal(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        // It ended by itself meanwhile.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("cannot send {signal} to {pid}: {error}"),
    }
}

fn await_end(pids: &[Pid]) {
    let patience = Instant::now() + PATIENCE;
    while let Some(pid) = pids.iter().find(|pid| alive(**pid)) {
        assert!(Instant::now() < patience, "process {pid} stays");
        thread::sleep(Duration::from_millis(2));
    }
}

fn told(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", told(&output));
}
