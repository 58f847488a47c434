//! A database of its own, for what a schema is too small for.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::db::Db;
use crate::server::Server;

/// A database, dropped at the end of the test. Declare it before its connections, so that they are
/// closed first.
pub struct Database {
    name: String,
}

impl Database {
    /// A fresh database with the extension.
    pub fn new(name: &str) -> Self {
        let database = Self::empty(name);
        database.connect().run("CREATE EXTENSION \"caliber-pg\" CASCADE");
        database
    }

    /// A fresh database with nothing in it.
    pub fn empty(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("d_{name}_{}_{count}", std::process::id());
        let mut db = Server::get().connect();
        db.run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        db.run(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        Self { name }
    }

    /// Its name, a plain identifier.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection to it.
    pub fn connect(&self) -> Db {
        Server::get().connect_to(&self.name)
    }

    /// A connection for which the functions work on this schema's tables, and whose SQL finds them
    /// without a prefix.
    pub fn connect_to_schema(&self, schema: &str) -> Db {
        let mut db = self.connect();
        db.run(&format!("SET search_path = {schema}, public; SET caliber.schema = {schema}"));
        db
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(e) = Server::get().connect().attempt(&drop) {
            eprintln!("database {} stays: {e}", self.name);
        }
    }
}
