//! `cargo xtask bench`: the API and the access method beside what users would take instead.

mod calls;
mod chart;
mod clients;
mod cycles;
mod goal;
mod growth;
mod instructions;
mod measure;
mod memory;
mod operation;
mod options;
mod report;
mod server;
mod space;
mod storage;
mod summary;

use std::fs::{self, File};
use std::process::ExitCode;

use anyhow::{Context, Result};

pub use crate::bench::instructions::available as counts_instructions;
pub use crate::bench::options::Options;
use crate::bench::options::{Part, Plan, Size};
use crate::error::missing;
use crate::extension::Profile;
use crate::progress::{self, Step};
use crate::workspace::Workspace;

/// Measures, prints the tables, and writes the files. What is measured with anything but the
/// release build says only that the benchmark runs.
pub fn run(workspace: &Workspace, profile: Profile, options: &Options) -> Result<ExitCode> {
    let size = options.size()?;
    let plan = options.plan()?;
    if let Some(json) = &options.json {
        // Before a run of many minutes.
        File::create(json).map_err(|e| missing(format!("cannot write {}: {e}", json.display())))?;
    }
    let results = if options.instructions {
        instructions::check(options, &plan)?;
        let counted = instructions::count(workspace, profile, size, &plan.operations, &plan.peers)?;
        Results { instructions: counted, ..Results::default() }
    } else {
        times(workspace, profile, size, plan)?
    };
    report::print(&results);
    let dir = workspace.cache.with_file_name("bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let json = dir.join("results.json");
    for path in [Some(json.as_path()), options.json.as_deref()].into_iter().flatten() {
        report::write_json(path, size, &results)?;
    }
    report::write_csv(&dir.join("results.csv"), &results.calls)?;
    report::write_markdown(&dir.join("results.md"), &results)?;
    chart::draw(&dir.join("results.svg"), &results.calls)?;
    if !results.growth.is_empty() {
        growth::write_csv(&dir.join("growth.csv"), &results.growth)?;
        growth::draw(&dir.join("growth.svg"), &results.growth)?;
    }
    progress::say(format_args!("The results are in {}", dir.display()));
    Ok(ExitCode::SUCCESS)
}

/// Measures times, memory and space.
fn times(workspace: &Workspace, profile: Profile, size: Size, plan: Plan) -> Result<Results> {
    let has = |part| plan.parts.contains(&part);
    let mut results = Results::default();
    let on_one_server = plan.parts.iter().any(|part| *part != Part::Growth);
    if on_one_server || !plan.operations.is_empty() || !plan.clients.is_empty() {
        let cluster = server::start(workspace, profile, size, &plan.operations)?;
        for operation in plan.operations {
            let step = Step::begin(format!("Measuring {}", operation.name));
            let times = measure::measure(&cluster, operation, size, &plan.peers)?;
            let units = measure::units(operation, size);
            results.calls.extend(summary::figures(operation.name, units, &times));
            step.done();
        }
        if !plan.clients.is_empty() {
            results.clients = clients::measure(&cluster, size, &plan.clients, &plan.peers)?;
        }
        if has(Part::Memory) {
            let step = Step::begin("Measuring memory");
            results.memory = memory::measure(&cluster)?;
            step.done();
        }
        if has(Part::Space) {
            let step = Step::begin("Measuring space");
            results.space = space::measure(&cluster, size)?;
            step.done();
        }
    }
    if has(Part::Growth) {
        results.growth = growth::measure(workspace, profile, size)?;
    }
    Ok(results)
}

/// All that a run has measured.
#[derive(Debug, Default)]
struct Results {
    calls: Vec<summary::Figure>,
    instructions: Vec<instructions::Figure>,
    clients: Vec<clients::Figure>,
    memory: Vec<memory::Figure>,
    space: Vec<space::Figure>,
    growth: Vec<growth::Point>,
}
