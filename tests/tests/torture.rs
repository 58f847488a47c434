//! A short run of each torture program.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::torture::{Budget, Plan, histories};

#[test]
fn histories_can_be_explained() {
    let report = histories::run(&Plan { seed: 1, budget: Budget::Steps(2) });
    println!("{report:#?}");
}
