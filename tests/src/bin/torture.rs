//! Runs a torture program: `torture NAME MINUTES [SEED]`, as `cargo xtask torture` does.

#![allow(clippy::panic)] // what a finding is

use std::env;

use caliber_tests::torture::{Budget, Plan, api, crash, fuzz, histories, oracle, standby};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|n| n.parse::<u64>().ok());
    let (Some(name), Some(minutes)) = (arguments.first(), number(1)) else {
        panic!("usage: torture NAME MINUTES [SEED]");
    };
    let plan = Plan {
        seed: number(2).unwrap_or_else(|| fastrand::u64(..)),
        budget: Budget::Minutes(minutes),
    };
    println!("{name} for {minutes} min, --seed {}", plan.seed);
    let report = match name.as_str() {
        "api" => api::run(&plan),
        "fuzz" => fuzz::run(&plan),
        "histories" => histories::run(&plan),
        "crash" => crash::run(&plan),
        "oracle" => oracle::run(&plan),
        "standby" => standby::run(&plan),
        other => panic!("there is no program {other}"),
    };
    println!("{report:#?}");
}
