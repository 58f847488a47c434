//! What the test programs share: the server under test, a schema a test, and assertions that
//! show the server's whole error.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

pub mod agents;
pub mod calls;
pub mod cluster;
pub mod database;
mod db;
pub mod filled;
mod fixture;
pub mod gen_values;
pub mod indexes;
pub mod interleave;
pub mod psql;
pub mod ready;
mod schema;
mod server;
pub mod steps;
pub mod torture;

pub use db::{Db, assert_sqlstate, lit, opt, show};
pub use fixture::{TREE_TABLES, Tree, UNKNOWN, expired_lease, lease};
pub use postgres::error::DbError;
pub use schema::Schema;
pub use server::{Server, amcheck_in};
