//! Where the server under test is, as `cargo xtask test` tells it in the environment.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::db::Db;

/// The server under test.
#[derive(Debug)]
pub struct Server {
    /// The folder of its Unix socket.
    pub socket: PathBuf,
    /// Its port, the number in the socket's file name.
    pub port: u16,
    /// A superuser.
    pub user: String,
    /// A database with the extensions `vector` and `caliber-pg`.
    pub db: String,
    /// The folder of `psql`, `pg_dump` and `pg_restore`.
    pub pg_bin: PathBuf,
    /// The installed library.
    pub lib: PathBuf,
    /// The server's log.
    pub log: PathBuf,
    /// Its data directory.
    pub data_dir: PathBuf,
}

impl Server {
    /// The server that the environment names.
    ///
    /// # Panics
    /// When it names none: a test without a server has failed, not passed.
    pub fn get() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self {
            socket: var("SOCKET").into(),
            port: var("PORT").parse().expect("CALIBER_TEST_PORT is a port number"),
            user: var("USER"),
            db: var("DB"),
            pg_bin: var("PG_BIN").into(),
            lib: var("LIB").into(),
            log: var("LOG").into(),
            data_dir: var("DATA_DIR").into(),
        })
    }

    /// A connection to the test database.
    pub fn connect(&self) -> Db {
        self.connect_to(&self.db)
    }

    /// A connection to another database of the server.
    pub fn connect_to(&self, db: &str) -> Db {
        match Db::open(&self.socket, self.port, &self.user, db) {
            Ok(db) => db,
            Err(e) => panic!("cannot connect to {}:{}: {e}", self.socket.display(), self.port),
        }
    }

    /// What a client program finds the database by.
    pub fn client_environment(&self, db: &str) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", self.socket.display().to_string()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGDATABASE", db.to_owned()),
        ]
    }

    /// The server's major version.
    pub fn major(&self) -> i32 {
        static MAJOR: OnceLock<i32> = OnceLock::new();
        *MAJOR.get_or_init(|| {
            self.connect().one::<i32>("SELECT current_setting('server_version_num')::int / 10000")
        })
    }

    /// Whether the contrib library is there. The embedded PostgreSQL 18 has them all; that of 16
    /// comes without contrib, so what needs one is tested on 18 alone.
    pub fn has_contrib(&self, library: &str) -> bool {
        let file = self.lib.with_file_name(format!("{library}.so"));
        let found = file.exists();
        assert!(found || self.major() < 18, "{} is missing", file.display());
        found
    }
}

/// Whether `amcheck` is there, created for the whole database of the connection.
///
/// # Panics
/// When it is there and cannot be created.
#[track_caller]
pub fn amcheck_in(db: &mut Db) -> bool {
    if !Server::get().has_contrib("amcheck") {
        return false;
    }
    // Two tests may create it at once.
    db.run("SELECT pg_advisory_lock(hashtext('amcheck')); CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public;
            SELECT pg_advisory_unlock(hashtext('amcheck'))");
    true
}

fn var(name: &str) -> String {
    let name = format!("CALIBER_TEST_{name}");
    env::var(&name).unwrap_or_else(|_| {
        panic!("{name} is not set. These tests need a server: run them with cargo xtask test")
    })
}
