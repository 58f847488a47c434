//! What the executor owes a table, carried out without SQL for the SQL functions.
//!
//! The order is the executor's: privileges, row-level security, read-only and parallel mode, lock
//! ([`Table::open`]), snapshot ([`crate::pg::snapshot`]), look-up ([`lookup`]), row lock
//! ([`lock`]), then triggers, defaults, constraints, the access method, indexes and triggers again
//! ([`writer`]).

pub mod containing;
pub mod event;
mod foreign_key;
pub mod hint;
mod index;
pub mod lock;
pub mod lookup;
pub mod nearest;
mod open;
mod problems;
mod recent;
pub mod row;
mod statement;
pub mod writer;

pub(crate) use open::is_ours;
pub use open::{Access, Table, entity_of};
pub use problems::problems_of;
