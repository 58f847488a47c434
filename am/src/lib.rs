//! `caliber_am`: a table access method that leaves page layout, MVCC and WAL to PostgreSQL's
//! heap routines and adds rules on how a row may change.
//!
//! This crate knows PostgreSQL and nothing about agents. What an entity is and how its rows may
//! change comes in through [`model::Model`].
//!
//! Without a `pgNN` feature only [`model`] and [`error`] are built, which need no PostgreSQL.
//! With one, the rooms are:
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`pg`] | guard types and views over what PostgreSQL hands out: relations, slots, snapshots |
//! | [`storage`] | the access method: heap's routine, the six write doors, the two index scans |
//! | [`table`] | the executor's duties for the SQL functions: open, look up, lock, write |
//! | [`inspect`] | for people who look after tables: damage, and how the space is used |
//! | [`fmgr`] | how SQL calls a Rust function and gets its answer |

#![cfg_attr(feature = "pg", allow(unsafe_code))] // the one crate that talks to C

pub mod error;
pub mod model;

#[cfg(feature = "pg")]
pub mod fmgr;
#[cfg(feature = "pg")]
pub mod inspect;
#[cfg(feature = "pg")]
pub mod pg;
#[cfg(feature = "pg")]
pub mod storage;
#[cfg(feature = "pg")]
pub mod table;
#[cfg(feature = "pg")]
#[doc(hidden)]
pub use pgrx;
