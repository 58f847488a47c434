//! caliber-pg: memory and coordination for AI agents inside PostgreSQL.
//!
//! What is outside `api` is pure logic: no pgrx, no PostgreSQL, run by plain `cargo test`.

#[cfg(feature = "pg")]
mod api;
pub mod changes;
pub mod channel;
pub mod chat;
pub mod ddl;
pub mod entity;
pub mod fence;
pub mod ids;
pub mod json;
pub mod resolution;
pub mod rule;
pub mod tokens;

/// How often property tests run: 256 times, or `PROPTEST_CASES`; a few times under Miri, which
/// also has no files to remember failures in.
#[cfg(test)]
fn property_tests() -> proptest::test_runner::Config {
    let config = proptest::test_runner::Config::default();
    let cases = if cfg!(miri) { 8 } else { config.cases };
    proptest::test_runner::Config { cases, failure_persistence: None, ..config }
}
