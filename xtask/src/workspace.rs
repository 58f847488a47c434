//! Where things are: the checkout, the target folder, and the folder that servers may use.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use serde::Deserialize;

use crate::error::missing;
use crate::postgres::account::{self, Account};

/// The folders of this checkout.
#[derive(Debug)]
pub struct Workspace {
    /// The checkout.
    pub root: PathBuf,
    /// What only this tool and cargo read: downloads, libclang, logs.
    pub cache: PathBuf,
    /// What a server reads: the unpacked PostgreSQL and the clusters. Below `cache`, unless the
    /// server has to run under another account that cannot get there.
    pub serving: PathBuf,
    /// The account that servers run under, when it is not ours.
    pub account: Option<Account>,
}

impl Workspace {
    /// Asks cargo where the checkout and its target folder are.
    pub fn find() -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: PathBuf,
            workspace_root: PathBuf,
        }

        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(start())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            return Err(missing(format!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cannot read cargo metadata")?;

        let cache = metadata.target_directory.join("xtask");
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let account = Account::for_servers()?;
        let serving = match &account {
            Some(_) if !account::others_reach(&cache)? => temp_home(&metadata.workspace_root)?,
            _ => cache.clone(),
        };
        Ok(Self { root: metadata.workspace_root, cache, serving, account })
    }

    /// Takes the lock of the name, waiting for another run of this tool; held until dropped.
    pub fn lock(&self, name: &str) -> Result<File> {
        let path = self.serving.join(format!("{name}.lock"));
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }
}

/// The cargo that runs this tool, or the one on the path.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// This crate's folder when cargo runs it, else the folder it was built from.
fn start() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_dir())
        .unwrap_or_else(|| PathBuf::from("."))
}

/// A folder below the system's temporary one that is this checkout's own and open to all.
fn temp_home(root: &Path) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    let uid = geteuid();
    let name = format!("caliber-xtask-{uid}-{:08x}", hasher.finish() & 0xffff_ffff);
    let home = temp_dir()?.join(name);
    match fs::create_dir(&home) {
        Ok(()) => fs::set_permissions(&home, Permissions::from_mode(0o755))?,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).with_context(|| format!("cannot make {}", home.display())),
    }
    // The name can be guessed: what others made there must not be run.
    let found = fs::symlink_metadata(&home)?;
    if !found.is_dir() || found.uid() != uid.as_raw() || found.mode() & 0o022 != 0 {
        bail!("{} is not a folder of ours; remove it", home.display());
    }
    Ok(home)
}

/// A temporary folder that every account reaches, short enough for the name of a socket.
pub fn temp_dir() -> Result<PathBuf> {
    let own = env::temp_dir();
    let short = own.as_os_str().len() <= 60;
    if own.is_absolute() && short && account::others_reach(&own)? {
        return Ok(own);
    }
    Ok(PathBuf::from("/tmp"))
}
