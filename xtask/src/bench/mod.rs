//! `cargo xtask bench`: the API and the access method beside what users would take instead.

mod calls;
mod chart;
mod cycles;
mod goal;
mod measure;
mod operation;
mod options;
mod report;
mod server;
mod storage;
mod summary;

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

pub use crate::bench::options::Options;
use crate::bench::summary::Figure;
use crate::error::missing;
use crate::progress::{self, Step};
use crate::workspace::Workspace;

/// Measures, prints the table, and writes the files.
pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let size = options.size()?;
    let operations = options.operations()?;
    if let Some(json) = &options.json {
        // Before a run of many minutes.
        File::create(json).map_err(|e| missing(format!("cannot write {}: {e}", json.display())))?;
    }
    let cluster = server::start(workspace, size, &operations)?;
    let mut figures: Vec<Figure> = Vec::new();
    for operation in operations {
        let step = Step::begin(format!("Measuring {}", operation.name));
        let times = measure::measure(&cluster, operation, size)?;
        let units = measure::units(operation, size);
        figures.extend(summary::figures(operation.name, units, &times));
        step.done();
    }
    report::print(&figures);
    let dir = workspace.cache.with_file_name("bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let json = dir.join("results.json");
    for path in [Some(json.as_path()), options.json.as_deref()].into_iter().flatten() {
        report::write_json(path, &figures)?;
    }
    report::write_csv(&dir.join("results.csv"), &figures)?;
    chart::draw(&dir.join("results.svg"), &figures)?;
    say_where(&dir);
    Ok(ExitCode::SUCCESS)
}

fn say_where(dir: &Path) {
    progress::say(format_args!(
        "results.json, results.csv and results.svg are in {}",
        dir.display()
    ));
}
