//! What builds the extension: rustc's version, libclang, and the environment of cargo.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::error::missing;
use crate::wheel::{self, Wheel};
use crate::workspace::{Workspace, cargo};

/// pgrx names this Rust; it also works on the one before when cargo is told not to mind.
const PGRX_RUST: (u32, u32) = (1, 96);

const LIBCLANG: Wheel = Wheel { package: "libclang", version: "18.1.1", tags: &[] };

/// A cargo command in the checkout, as a user would start it.
pub fn cargo_command(workspace: &Workspace, verb: &str) -> Result<Command> {
    let mut command = Command::new(cargo());
    command.arg(verb).current_dir(&workspace.root);
    // What cargo told this program about itself is not for the programs that it starts.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    if rustc_version()? < PGRX_RUST {
        command.arg("--ignore-rust-version");
    }
    Ok(command)
}

fn rustc_version() -> Result<(u32, u32)> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_rustc_version(&text).with_context(|| format!("cannot read rustc's version: {text}"))
}

fn parse_rustc_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("rustc ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The environment by which bindgen finds libclang and the compiler's own headers.
pub fn bindgen_env(workspace: &Workspace) -> Result<Vec<(&'static str, String)>> {
    let dir = match libclang_dir()? {
        Some(dir) => dir,
        None => fetch_libclang(workspace)?,
    };
    let mut vars = vec![("LIBCLANG_PATH", dir.display().to_string())];
    if !has_own_headers(&dir) {
        let include = gcc_include()?;
        let given = env::var("BINDGEN_EXTRA_CLANG_ARGS").unwrap_or_default();
        let args = format!("{given} -I{}", include.display());
        vars.push(("BINDGEN_EXTRA_CLANG_ARGS", args.trim_start().to_owned()));
    }
    Ok(vars)
}

/// The system's libclang: where the user says, where llvm-config says, or in a usual place.
fn libclang_dir() -> Result<Option<PathBuf>> {
    if let Some(given) = env::var_os("LIBCLANG_PATH") {
        let given = PathBuf::from(given);
        let dir = if given.is_file() { given.parent().map(Path::to_path_buf) } else { None };
        let dir = dir.unwrap_or_else(|| given.clone());
        if !holds_libclang(&dir) {
            let given = given.display();
            return Err(missing(format!("LIBCLANG_PATH is {given}, and there is no libclang.so")));
        }
        return Ok(Some(dir));
    }
    let mut dirs = Vec::new();
    if let Ok(output) = Command::new("llvm-config").arg("--libdir").output()
        && output.status.success()
    {
        dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    if let Ok(entries) = fs::read_dir("/usr/lib") {
        let mut llvm: Vec<_> = entries
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("llvm"))
            .map(|e| e.path().join("lib"))
            .collect();
        llvm.sort();
        dirs.extend(llvm.into_iter().rev());
    }
    let usual = ["/usr/lib64", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib"];
    dirs.extend(usual.map(PathBuf::from));
    Ok(dirs.into_iter().find(|dir| holds_libclang(dir)))
}

fn holds_libclang(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else {
        return false;
    };
    entries.flatten().any(|entry| is_libclang(&entry.file_name().to_string_lossy()))
}

/// `libclang.so`, `libclang.so.1`, `libclang-14.so.1`; not `libclang-cpp.so`.
fn is_libclang(file: &str) -> bool {
    let Some(rest) = file.strip_prefix("libclang") else {
        return false;
    };
    let version = rest.split(".so").next().unwrap_or_default();
    let plain = version
        .strip_prefix('-')
        .map_or(version.is_empty(), |v| v.starts_with(|c: char| c.is_ascii_digit()));
    plain && (rest.ends_with(".so") || rest.contains(".so."))
}

/// Whether the headers that belong to a compiler (stddef.h) lie beside its libclang.
fn has_own_headers(dir: &Path) -> bool {
    [dir.join("clang"), dir.join("../lib/clang")]
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flat_map(|entries| entries.flatten())
        .any(|version| version.path().join("include/stddef.h").exists())
}

fn fetch_libclang(workspace: &Workspace) -> Result<PathBuf> {
    let home = wheel::unpacked(workspace, &workspace.cache, &LIBCLANG, |_| true)?;
    let dir = home.join(format!("libclang-{}.data/platlib/clang/native", LIBCLANG.version));
    if holds_libclang(&dir) {
        return Ok(dir);
    }
    Err(missing(format!(
        "there is no libclang.so in {}; install libclang and set LIBCLANG_PATH to its folder",
        dir.display()
    )))
}

fn gcc_include() -> Result<PathBuf> {
    for compiler in ["gcc", "cc"] {
        let output = Command::new(compiler).arg("-print-file-name=include").output();
        if let Ok(output) = output
            && output.status.success()
        {
            let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
            if dir.join("stddef.h").exists() {
                return Ok(dir);
            }
        }
    }
    Err(missing(format!("a C compiler is needed: {}", install_hint("gcc"))))
}

/// The command that installs a package on this system.
pub fn install_hint(package: &str) -> String {
    let managers =
        [("apt-get", "install"), ("dnf", "install"), ("zypper", "install"), ("apk", "add")];
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = managers
        .iter()
        .find(|(manager, _)| env::split_paths(&paths).any(|dir| dir.join(manager).exists()));
    match found {
        Some((manager, verb)) => format!("sudo {manager} {verb} {package}"),
        None => format!("install {package} with the system's package manager"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustc_versions() {
        assert_eq!(parse_rustc_version("rustc 1.95.0 (59807616e 2026-04-14)"), Some((1, 95)));
        assert_eq!(parse_rustc_version("rustc 1.97.0-nightly (abc 2026-06-01)"), Some((1, 97)));
        assert_eq!(parse_rustc_version("clang 14"), None);
    }

    #[test]
    fn names_of_libclang() {
        for name in ["libclang.so", "libclang.so.1", "libclang-14.so.1", "libclang-18.so"] {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so", "libclang-cpp.so.14", "libclangAST.a", "libclang.a"] {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
