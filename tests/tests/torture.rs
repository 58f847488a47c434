//! A short run of each torture program.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::torture::{Budget, Plan, api, crash, fuzz, histories, oracle, standby};

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

#[test]
fn every_function_answers_or_refuses_whatever_it_is_given() {
    // So many that sessions are warm, and are measured once more.
    let report = fuzz::run(&Plan { seed: 1, budget: Budget::Steps(12) });
    println!("{report:#?}");
    // What is refused at once tells little.
    assert!(2 * report.get("calls answered 00000") > report.get("calls"), "{report:#?}");
}

#[test]
fn the_functions_do_what_sql_with_the_same_rules_does() {
    let report = api::run(&Plan { seed: 1, budget: Budget::Steps(60) });
    println!("{report:#?}");
    // What is refused tells little of what is written.
    assert!(
        3 * report.get("steps refused") < 2 * report.get("steps on either side"),
        "{report:#?}"
    );
}
