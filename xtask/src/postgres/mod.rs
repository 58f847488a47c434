//! PostgreSQL: the installation, the account of its servers, and clusters.

pub mod account;
pub mod cluster;
pub mod embedded;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::error::missing;

/// An installed PostgreSQL, as its pg_config describes it.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The major version: 16, 17 or 18.
    pub major: u32,
    /// The whole version, as in `18.6`.
    pub version: String,
    /// Its pg_config.
    pub pg_config: PathBuf,
    /// The folder of the programs.
    pub bin: PathBuf,
    /// The folder of the libraries that a server loads.
    pub pkglib: PathBuf,
    /// The folder of control files and install scripts.
    pub extension: PathBuf,
    /// The folder of the server's headers.
    pub include_server: PathBuf,
}

impl Postgres {
    /// Asks pg_config.
    pub fn from_pg_config(pg_config: &Path) -> Result<Self> {
        let shown = pg_config.display();
        let pg_config = pg_config
            .canonicalize()
            .map_err(|e| missing(format!("cannot use {shown} as pg_config: {e}")))?;
        let ask = |what: &str| -> Result<String> {
            let output = Command::new(&pg_config)
                .arg(what)
                .output()
                .map_err(|e| missing(format!("cannot run {shown}: {e}")))?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if !output.status.success() || text.is_empty() {
                return Err(missing(format!("{shown} {what} says nothing; is it a pg_config?")));
            }
            Ok(text)
        };
        let line = ask("--version")?.lines().next().unwrap_or_default().to_owned();
        let (major, version) = parse_version(&line)
            .map_err(|why| missing(format!("{shown} --version says `{line}`: {why}")))?;
        Ok(Self {
            major,
            version,
            bin: ask("--bindir")?.into(),
            pkglib: ask("--pkglibdir")?.into(),
            extension: Path::new(&ask("--sharedir")?).join("extension"),
            include_server: ask("--includedir-server")?.into(),
            pg_config,
        })
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// The major version and the whole one from `PostgreSQL 18.6 (Debian 18.6-1)`.
fn parse_version(line: &str) -> Result<(u32, String), String> {
    let version = line
        .strip_prefix("PostgreSQL ")
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or("this is not PostgreSQL")?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let major: u32 = digits.parse().map_err(|_| "no version in it".to_owned())?;
    if !(16..=18).contains(&major) {
        return Err(format!("caliber-pg works with PostgreSQL 16, 17 and 18, not with {major}"));
    }
    Ok((major, version.to_owned()))
}

/// Parses the text of a number that a program wrote.
pub(crate) fn number<T: std::str::FromStr>(text: Option<&str>) -> Result<T> {
    let text = text.unwrap_or_default().trim();
    text.parse().ok().with_context(|| format!("`{text}` is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_postgres() {
        assert_eq!(parse_version("PostgreSQL 18.6"), Ok((18, "18.6".into())));
        assert_eq!(parse_version("PostgreSQL 16.14 (Debian 16.14-1)"), Ok((16, "16.14".into())));
        assert_eq!(parse_version("PostgreSQL 17beta2"), Ok((17, "17beta2".into())));
        for bad in ["PostgreSQL 15.3", "PostgreSQL 19devel", "psql 18", "", "PostgreSQL x"] {
            assert!(parse_version(bad).is_err(), "{bad}");
        }
    }
}
