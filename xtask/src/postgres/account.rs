//! The account that a server runs under: PostgreSQL refuses to run as root.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};

use crate::error::missing;

/// An account other than ours.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

impl Account {
    /// `postgres`, or `nobody`, when we are root; else none is needed.
    pub fn for_servers() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)?.filter(|user| !user.uid.is_root()) {
                let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
                return Ok(Some(Self { name: user.name, uid, gid }));
            }
        }
        Err(missing(
            "PostgreSQL does not run as root, and there is no account postgres or nobody: \
             useradd --system postgres",
        ))
    }
}

/// A program of the server, under the account that may run it, blind to our own `PG*` settings.
pub fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    for (name, _) in env::vars_os() {
        if is_postgres_setting(&name) {
            command.env_remove(&name);
        }
    }
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid).env("USER", &account.name).env_remove("HOME");
    }
    command
}

/// Whether a program of PostgreSQL reads the variable as a setting, as `PGPORT`.
pub fn is_postgres_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("PG") && !name.contains('_')
}

/// Gives the file or folder to the account.
pub fn give(path: &Path, account: Option<&Account>) -> Result<()> {
    if let Some(account) = account {
        chown(path, Some(account.uid), Some(account.gid))
            .with_context(|| format!("cannot give {} to {}", path.display(), account.name))?;
    }
    Ok(())
}

/// Whether every account can get to what is in the folder.
pub fn others_reach(dir: &Path) -> Result<bool> {
    let dir = dir.canonicalize().with_context(|| format!("cannot see {}", dir.display()))?;
    for ancestor in dir.ancestors() {
        if fs::metadata(ancestor)?.mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn settings_of_postgres() {
        assert!(is_postgres_setting("PGPORT".as_ref()));
        assert!(!is_postgres_setting("PGRX_PG_CONFIG_PATH".as_ref()));
        assert!(!is_postgres_setting("PATH".as_ref()));
    }

    #[test]
    fn a_private_folder_is_out_of_reach() -> Result<()> {
        let private = Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().permissions(private).tempdir_in("/tmp")?;
        let inner = dir.path().join("inner");
        fs::create_dir(&inner)?;
        fs::set_permissions(&inner, Permissions::from_mode(0o755))?;
        assert!(!others_reach(&inner)?);
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711))?;
        assert!(others_reach(&inner)?);
        Ok(())
    }
}
