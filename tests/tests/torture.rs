//! A short run of each torture program.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::torture::{Budget, Plan, crash, histories, oracle, standby};

#[test]
fn histories_can_be_explained() {
    let report = histories::run(&Plan { seed: 1, budget: Budget::Steps(2) });
    println!("{report:#?}");
}

#[test]
fn nothing_is_lost_in_a_crash() {
    let report = crash::run(&Plan { seed: 1, budget: Budget::Steps(3) });
    println!("{report:#?}");
}

#[test]
fn a_promoted_standby_has_all_that_was_acknowledged() {
    let report = standby::run(&Plan { seed: 1, budget: Budget::Steps(2) });
    println!("{report:#?}");
}

#[test]
fn no_program_tells_caliber_am_from_heap() {
    let report = oracle::run(&Plan { seed: 1, budget: Budget::Steps(12) });
    println!("{report:#?}");
}
