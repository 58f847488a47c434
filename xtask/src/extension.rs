//! Building the extension and putting it into a PostgreSQL.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::error::missing;
use crate::postgres::Postgres;
use crate::progress::{self, Step};
use crate::toolchain;
use crate::workspace::Workspace;

const NAME: &str = "caliber-pg";

/// The install scripts of versions that users have, as they were.
const RELEASED: &str = "sql/released";

/// How it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Fast to build.
    Debug,
    /// Fast to run.
    Release,
}

/// Builds for that PostgreSQL and installs into it; the installed library.
pub fn build_and_install(
    workspace: &Workspace,
    postgres: &Postgres,
    profile: Profile,
) -> Result<PathBuf> {
    let built = build(workspace, postgres, profile)?;
    install(workspace, postgres, &built)
}

/// The environment that building against that PostgreSQL needs.
pub fn build_env(workspace: &Workspace, postgres: &Postgres) -> Result<Vec<(String, String)>> {
    let headers = postgres.include_server.join("postgres.h");
    if !headers.exists() {
        return Err(missing(format!(
            "{} is missing, the server's headers are needed: {}",
            headers.display(),
            toolchain::install_hint(&format!("postgresql-server-dev-{}", postgres.major))
        )));
    }
    let mut vars =
        vec![("PGRX_PG_CONFIG_PATH".to_owned(), postgres.pg_config.display().to_string())];
    for (name, value) in toolchain::bindgen_env(workspace)? {
        vars.push((name.to_owned(), value));
    }
    Ok(vars)
}

fn build(workspace: &Workspace, postgres: &Postgres, profile: Profile) -> Result<PathBuf> {
    let vars = build_env(workspace, postgres)?;
    let mut cargo = toolchain::cargo_command(workspace, "build")?;
    cargo
        .args(["--lib", "--package", NAME, "--features", &format!("pg{}", postgres.major)])
        .arg("--message-format=json-render-diagnostics")
        .envs(vars)
        .stdout(Stdio::piped());
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let kind = if profile == Profile::Release { "release" } else { "debug" };
    progress::say(format_args!("Building {NAME} for PostgreSQL {} ({kind})", postgres.version));
    let output = cargo.spawn().context("cannot run cargo")?.wait_with_output()?;
    if !output.status.success() {
        bail!("{NAME} does not build for PostgreSQL {}", postgres.major);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().rev().find_map(library_in).context("cargo does not say where the library is")
}

/// The extension's library, if the line of cargo's output names it.
fn library_in(line: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Option<Target>,
        filenames: Option<Vec<PathBuf>>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" || message.target?.name != "caliber_pg" {
        return None;
    }
    message.filenames?.into_iter().find(|f| f.extension().is_some_and(|e| e == "so"))
}

fn install(workspace: &Workspace, postgres: &Postgres, library: &Path) -> Result<PathBuf> {
    let step = Step::begin(format!("Installing {NAME} into {}", postgres.pkglib.display()));
    let control_file = workspace.root.join(format!("{NAME}.control"));
    let control = fs::read_to_string(&control_file)
        .with_context(|| format!("cannot read {}", control_file.display()))?;
    let version = default_version(&control)
        .with_context(|| format!("no default_version in {}", control_file.display()))?;

    let installed = postgres.pkglib.join(format!("{NAME}.so"));
    put(&installed, &fs::read(library)?, 0o755)?;
    let script = install_script(&workspace.root.join("sql/install"))?;
    put(&postgres.extension.join(format!("{NAME}--{version}.sql")), script.as_bytes(), 0o644)?;
    // Released versions are upgraded by these, and can be installed to see them upgraded.
    let upgrades = upgrade_scripts(&workspace.root.join("sql"))?;
    for other in upgrades.into_iter().chain(sql_files(&workspace.root.join(RELEASED), |_| true)?) {
        let name = other.file_name().context("a file without a name")?;
        put(&postgres.extension.join(name), &fs::read(&other)?, 0o644)?;
    }
    // Last, because it makes the version known.
    put(&postgres.extension.join(format!("{NAME}.control")), control.as_bytes(), 0o644)?;
    step.done();
    Ok(installed)
}

/// Warns when the extension that this one requires is not there.
pub fn say_what_is_missing(postgres: &Postgres) {
    if !postgres.extension.join("vector.control").exists() {
        progress::say(format_args!(
            "note: CREATE EXTENSION \"{NAME}\" also needs pgvector, which is not installed there: {}",
            toolchain::install_hint(&format!("postgresql-{}-pgvector", postgres.major))
        ));
    }
}

/// The parts of the install script, joined in the order of their names.
fn install_script(dir: &Path) -> Result<String> {
    let parts = sql_files(dir, |_| true)?;
    if parts.is_empty() {
        bail!("no SQL files in {}", dir.display());
    }
    let mut script = format!(
        "-- complain if the script is sourced in psql rather than by CREATE EXTENSION\n\
         \\echo Use \"CREATE EXTENSION \"\"{NAME}\"\"\" to load this file. \\quit\n"
    );
    for part in parts {
        let text =
            fs::read_to_string(&part).with_context(|| format!("cannot read {}", part.display()))?;
        script.push('\n');
        script.push_str(&text);
        if !text.ends_with('\n') {
            script.push('\n');
        }
    }
    Ok(script)
}

/// Scripts named `caliber-pg--FROM--TO.sql`.
fn upgrade_scripts(dir: &Path) -> Result<Vec<PathBuf>> {
    sql_files(dir, |stem| {
        stem.strip_prefix(NAME).and_then(|rest| rest.strip_prefix("--")).is_some_and(|versions| {
            versions.split_once("--").is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
        })
    })
}

fn sql_files(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let sql = path.extension().is_some_and(|extension| extension == "sql");
        if sql && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(&wanted) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn default_version(control: &str) -> Option<&str> {
    control.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "default_version").then(|| value.trim().trim_matches('\''))
    })
}

/// Writes the file beside and renames it: a server may have the old one open.
fn put(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let dir = path.parent().context("a file without a folder")?;
    let write = || -> Result<()> {
        let mut part = tempfile::NamedTempFile::new_in(dir)?;
        part.write_all(content)?;
        part.as_file().set_permissions(Permissions::from_mode(mode))?;
        part.persist(path)?;
        Ok(())
    };
    match write() {
        Ok(()) => Ok(()),
        Err(e) if refused(&e) => Err(missing(format!(
            "no right to write {}; run the same command as a user who may, with sudo for example",
            path.display()
        ))),
        Err(e) => Err(e).with_context(|| format!("cannot write {}", path.display())),
    }
}

fn refused(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_a_control_file() {
        let control = "comment = 'x'\ndefault_version = '0.1.0'\nrequires = 'vector'\n";
        assert_eq!(default_version(control), Some("0.1.0"));
        assert_eq!(default_version("comment = 'default_version'"), None);
    }

    #[test]
    fn the_library_in_the_output_of_cargo() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"caliber_pg"},
            "filenames":["/t/debug/libcaliber_pg.so","/t/debug/libcaliber_pg.rlib"]}"#;
        assert_eq!(library_in(line), Some(PathBuf::from("/t/debug/libcaliber_pg.so")));
        assert_eq!(library_in(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn scripts_are_joined_in_the_order_of_their_names() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("10_b.sql"), "SELECT 2;")?;
        fs::write(dir.path().join("00_a.sql"), "SELECT 1;\n")?;
        fs::write(dir.path().join("notes.txt"), "no SQL")?;
        let script = install_script(dir.path())?;
        assert!(script.ends_with("\nSELECT 1;\n\nSELECT 2;\n"), "{script}");
        Ok(())
    }

    #[test]
    fn upgrade_scripts_are_told_by_their_names() -> Result<()> {
        let dir = tempfile::tempdir()?;
        for name in ["caliber-pg--0.1.0--0.2.0.sql", "caliber-pg--0.1.0.sql", "other--1--2.sql"] {
            fs::write(dir.path().join(name), "")?;
        }
        let found = upgrade_scripts(dir.path())?;
        assert_eq!(found, [dir.path().join("caliber-pg--0.1.0--0.2.0.sql")]);
        Ok(())
    }
}
