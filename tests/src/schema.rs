//! A schema of its own for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::db::Db;
use crate::server::Server;

/// A schema, dropped at the end of the test. Declare it before its connections, so that they are
/// closed first.
pub struct Schema {
    name: String,
}

impl Schema {
    /// A fresh schema with the tables of `caliber_init`, for embeddings of 8 dimensions.
    pub fn new(name: &str) -> Self {
        let schema = Self::bare(name);
        Server::get().connect().run(&format!("SELECT caliber_init('{}', 8)", schema.name));
        schema
    }

    /// A fresh schema without tables.
    pub fn bare(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t_{name}_{}_{count}", std::process::id());
        let mut db = Server::get().connect();
        db.run(&format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}"));
        Self { name }
    }

    /// Its name, a plain identifier.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection for which the functions work on this schema's tables, and whose SQL finds
    /// them without a prefix.
    pub fn connect(&self) -> Db {
        let mut db = Server::get().connect();
        db.run(&format!(
            "SET caliber.schema = {name}; SET search_path = {name}, public",
            name = self.name
        ));
        db
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A failed test may have left a transaction open elsewhere: give up rather than hang.
        let drop = format!("SET lock_timeout = '20s'; DROP SCHEMA IF EXISTS {} CASCADE", self.name);
        if let Err(e) = Server::get().connect().attempt(&drop) {
            eprintln!("schema {} stays: {e}", self.name);
        }
    }
}
