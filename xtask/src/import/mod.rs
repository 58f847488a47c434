//! Importing agent runs through the SQL API: one line, one transaction, all or nothing.

mod run;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postgres::types::{Json, ToSql};
use postgres::{Client, Row, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::import::run::Run;
use crate::progress;

/// More than any run here needs: this import is about the messages, not about budgets.
const TOKEN_BUDGET: i32 = 1_000_000;

/// What an import has done.
#[derive(Debug, Default)]
pub struct Report {
    /// The runs stored.
    pub runs: u64,
    /// Their turns.
    pub turns: u64,
    /// The lines refused.
    pub broken: u64,
    /// The calls of API functions.
    pub calls: u64,
    /// The time spent in these calls, from request to answer.
    pub in_calls: Duration,
    /// The time spent in commits.
    pub in_commits: Duration,
    /// The time from the first line to the last.
    pub wall: Duration,
}

/// Imports the file. A broken line is named on standard error, and nothing of it is stored.
pub fn import(client: &mut Client, file: &Path) -> Result<Report> {
    let input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let bar = progress::bar(input.metadata()?.len(), "{bar:40} {bytes}/{total_bytes} {msg}");
    let mut reader = BufReader::new(input);
    let mut importer = Importer::prepare(client)?;
    let mut line = Vec::new();
    let mut number = 0_u64;
    let started = Instant::now();
    loop {
        line.clear();
        let length = reader
            .read_until(b'\n', &mut line)
            .with_context(|| format!("cannot read {}", file.display()))?;
        if length == 0 {
            break;
        }
        number += 1;
        if !line.iter().all(u8::is_ascii_whitespace)
            && let Err(reason) = importer.line(&line)
        {
            importer.report.broken += 1;
            bar.suspend(|| eprintln!("{}:{number}: {reason:#}", file.display()));
            if importer.client.is_closed() {
                bail!("the server is gone");
            }
        }
        bar.inc(length as u64);
        bar.set_message(format!("{} runs", importer.report.runs));
    }
    bar.finish_and_clear();
    importer.report.wall = started.elapsed();
    Ok(importer.report)
}

struct Importer<'a> {
    client: &'a mut Client,
    statements: Statements,
    report: Report,
}

struct Statements {
    create_trajectory: Statement,
    create_scope: Statement,
    append_turns: Statement,
    complete: Statement,
    fail: Statement,
}

impl<'a> Importer<'a> {
    fn prepare(client: &'a mut Client) -> Result<Self> {
        let mut prepare = |sql: &str| client.prepare(sql).with_context(|| explained_sql(sql));
        let statements = Statements {
            create_trajectory: prepare(
                "SELECT caliber_trajectory_create(name => $1, description => $2, metadata => $3)",
            )?,
            create_scope: prepare(
                "SELECT caliber_scope_create(trajectory_id => $1, name => 'conversation', \
                 token_budget => $2)",
            )?,
            append_turns: prepare("SELECT caliber_turn_append_many($1, $2)")?,
            complete: prepare(
                "SELECT trajectory_id FROM caliber_trajectory_set_status($1, 'completed', \
                 outcome => $2)",
            )?,
            fail: prepare(
                "SELECT trajectory_id FROM caliber_trajectory_set_status($1, 'failed', \
                 outcome => $2)",
            )?,
        };
        Ok(Self { client, statements, report: Report::default() })
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        let run = Run::parse(line)?;
        let turns = self.run(&run).map_err(explained)?;
        self.report.runs += 1;
        self.report.turns += turns;
        Ok(())
    }

    fn run(&mut self, run: &Run) -> Result<u64, postgres::Error> {
        let Self { client, statements, report } = self;
        let mut transaction = client.transaction()?;
        let mut call = |statement: &Statement, args: &[&(dyn ToSql + Sync)]| {
            let started = Instant::now();
            let rows = transaction.query(statement, args);
            report.in_calls += started.elapsed();
            report.calls += 1;
            rows
        };

        let outcome = run.reward.as_ref().map(|reward| Json(json!({ "reward": reward })));
        let metadata: &Option<Json<Value>> = &outcome;
        let rows = call(&statements.create_trajectory, &[&run.id, &run.task, metadata])?;
        let trajectory = id(&rows)?;
        let scope = id(&call(&statements.create_scope, &[&trajectory, &TOKEN_BUDGET])?)?;
        let turns = call(&statements.append_turns, &[&scope, &Json(&run.messages)])?;
        // A run without a reward has no known end: its trajectory stays active.
        match run.succeeded() {
            Some(true) => drop(call(&statements.complete, &[&trajectory, &outcome])?),
            Some(false) => drop(call(&statements.fail, &[&trajectory, &outcome])?),
            None => {}
        }

        let started = Instant::now();
        transaction.commit()?;
        report.in_commits += started.elapsed();
        Ok(turns.len() as u64)
    }
}

/// The id that a `create` returns.
fn id(rows: &[Row]) -> Result<Option<Uuid>, postgres::Error> {
    rows.first().map(|row| row.try_get(0)).transpose()
}

/// The server's reason in one line.
fn explained(error: postgres::Error) -> anyhow::Error {
    let Some(db) = error.as_db_error() else {
        return error.into();
    };
    let mut text = format!("{} {}", db.code().code(), db.message());
    if let Some(detail) = db.detail() {
        text.push_str(&format!(" ({detail})"));
    }
    anyhow::anyhow!(text)
}

fn explained_sql(sql: &str) -> String {
    format!("the server does not accept: {sql}")
}

/// Whether the line can be imported as far as the client can tell.
#[cfg(test)]
pub fn check(line: &[u8]) -> Result<()> {
    Run::parse(line).map(drop)
}
