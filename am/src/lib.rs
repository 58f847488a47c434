//! `caliber_am`: a table access method that leaves page layout, MVCC and WAL to PostgreSQL's
//! heap routines and adds rules on how a row may change.
//!
//! This crate knows PostgreSQL and nothing about agents. What an entity is and how its rows may
//! change comes in through [`model::Model`].
//!
//! Without a `pgNN` feature only [`model`] and [`error`] are built, which need no PostgreSQL.

pub mod error;
pub mod model;
