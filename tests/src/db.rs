//! A connection whose failures show the statement and the server's whole error.

use std::fmt::Write;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::DbError;
use postgres::types::FromSqlOwned;
use serde_json::Value;

/// A connection. Statements are plain text, literals included, so that a failing one can be
/// pasted into psql as it is shown.
pub struct Db(Client);

impl Deref for Db {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.0
    }
}

impl DerefMut for Db {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.0
    }
}

impl Db {
    /// Connects through a Unix socket.
    pub(crate) fn open(
        socket: &Path,
        port: u16,
        user: &str,
        db: &str,
    ) -> Result<Self, postgres::Error> {
        let mut config = postgres::Config::new();
        config.host_path(socket).port(port).user(user).dbname(db);
        let test = thread::current().name().unwrap_or("test").to_owned();
        config.application_name(&test).connect(postgres::NoTls).map(Self)
    }

    /// Runs statements that must succeed.
    #[track_caller]
    pub fn run(&mut self, sql: &str) {
        if let Err(e) = self.0.batch_execute(sql) {
            panic!("{}", show(&e, sql));
        }
    }

    /// Runs statements that may fail.
    ///
    /// # Errors
    /// The server's error.
    pub fn attempt(&mut self, sql: &str) -> Result<(), postgres::Error> {
        self.0.batch_execute(sql)
    }

    /// The one value that a query returns.
    #[track_caller]
    pub fn one<T: FromSqlOwned>(&mut self, sql: &str) -> T {
        match self.try_one(sql) {
            Ok(value) => value,
            Err(e) => panic!("{}", show(&e, sql)),
        }
    }

    /// The one value that a query returns, or the server's error.
    ///
    /// # Errors
    /// The server's error.
    pub fn try_one<T: FromSqlOwned>(&mut self, sql: &str) -> Result<T, postgres::Error> {
        self.0.query_one(sql, &[])?.try_get(0)
    }

    /// The first column of all rows.
    #[track_caller]
    pub fn all<T: FromSqlOwned>(&mut self, sql: &str) -> Vec<T> {
        match self.0.query(sql, &[]) {
            Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
            Err(e) => panic!("{}", show(&e, sql)),
        }
    }

    /// COPY FROM STDIN with these bytes.
    ///
    /// # Errors
    /// The server's error.
    pub fn copy_bytes(&mut self, sql: &str, bytes: &[u8]) -> Result<(), postgres::Error> {
        let mut writer = self.0.copy_in(sql)?;
        std::io::Write::write_all(&mut writer, bytes).expect("the client keeps what it is given");
        writer.finish().map(drop)
    }

    /// `to_jsonb` of an expression; JSON null for SQL NULL.
    #[track_caller]
    pub fn json(&mut self, expression: &str) -> Value {
        self.one::<Option<Value>>(&format!("SELECT to_jsonb({expression})")).unwrap_or(Value::Null)
    }

    /// Runs statements that the server must refuse with this SQLSTATE; the connection must go on
    /// working.
    #[track_caller]
    pub fn refused(&mut self, sql: &str, sqlstate: &str) -> DbError {
        let result = self.0.batch_execute(sql);
        let error = assert_sqlstate(result, sqlstate, sql);
        // Outside of a transaction block nothing is left to roll back; inside, this ends it.
        self.run("ROLLBACK");
        assert_eq!(self.one::<i32>("SELECT 1"), 1);
        error
    }

    /// As [`Db::refused`], and these tables hold the same rows afterwards.
    #[track_caller]
    pub fn refused_unchanged(&mut self, sql: &str, sqlstate: &str, tables: &[&str]) -> DbError {
        let before: Vec<_> = tables.iter().map(|table| self.rows_of(table)).collect();
        let error = self.refused(sql, sqlstate);
        for (table, before) in tables.iter().zip(before) {
            assert_eq!(self.rows_of(table), before, "{table} was changed by {sql}");
        }
        error
    }

    /// All rows of a table as text, sorted.
    #[track_caller]
    pub fn rows_of(&mut self, table: &str) -> Vec<String> {
        self.all(&format!("SELECT t::text FROM {table} t ORDER BY 1"))
    }

    /// The process id of the connection's backend.
    pub fn pid(&mut self) -> i32 {
        self.one("SELECT pg_backend_pid()")
    }

    /// Asks until the condition holds. It is one that the server reaches by itself; a server that
    /// never does is reported instead of waited for.
    #[track_caller]
    pub fn wait_until(&mut self, condition: &str) {
        let patience = Instant::now() + Duration::from_secs(120);
        while !self.one::<bool>(&format!("SELECT {condition}")) {
            if Instant::now() > patience {
                let activity = self.all::<String>(
                    "SELECT format('%s %s %s/%s: %s', pid, state, wait_event_type, wait_event, query)
                     FROM pg_stat_activity WHERE datname = current_database() ORDER BY pid",
                );
                panic!("never true: {condition}\n{}", activity.join("\n"));
            }
        }
    }

    /// Asks until the backend with this process id waits for a heavyweight lock.
    #[track_caller]
    pub fn wait_until_blocked(&mut self, pid: i32) {
        self.wait_until(&format!("cardinality(pg_blocking_pids({pid})) > 0"));
    }
}

/// The server's error behind a refusal; fails when there is none or when its SQLSTATE is another.
#[track_caller]
pub fn assert_sqlstate<T>(
    result: Result<T, postgres::Error>,
    sqlstate: &str,
    sql: &str,
) -> DbError {
    let Err(error) = result else {
        panic!("expected SQLSTATE {sqlstate}, but it succeeded: {sql}")
    };
    match error.as_db_error() {
        Some(db) if db.code().code() == sqlstate => db.clone(),
        _ => panic!("expected SQLSTATE {sqlstate}, but: {}", show(&error, sql)),
    }
}

/// Everything that the server said about a statement.
pub fn show(error: &postgres::Error, sql: &str) -> String {
    let sql: String = sql.chars().take(2000).collect();
    let Some(db) = error.as_db_error() else {
        return format!("{error}\nSTATEMENT: {sql}");
    };
    let mut text = format!("{} {}: {}", db.severity(), db.code().code(), db.message());
    for (field, value) in [
        ("DETAIL", db.detail()),
        ("HINT", db.hint()),
        ("CONTEXT", db.where_()),
        ("TABLE", db.table()),
        ("COLUMN", db.column()),
        ("CONSTRAINT", db.constraint()),
    ] {
        if let Some(value) = value {
            let _ = write!(text, "\n{field}: {value}");
        }
    }
    let _ = write!(text, "\nSTATEMENT: {sql}");
    text
}

/// A value as an SQL literal of no type yet.
pub fn lit(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A value as an SQL literal, or `NULL`.
pub fn opt(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), lit)
}
