//! caliber-pg: memory and coordination for AI agents inside PostgreSQL.
//!
//! What is outside `api` is pure logic: no pgrx, no PostgreSQL, run by plain `cargo test`.
