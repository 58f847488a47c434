//! The tour: agent runs go into a fresh server, and are read back in every way there is.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use postgres::{Client, Row, Transaction};
use uuid::Uuid;

use crate::error::missing;
use crate::extension::{self, Profile};
use crate::import::{self, Report};
use crate::postgres::cluster::Temporary;
use crate::postgres::embedded::Embedded;
use crate::progress::{self, Step, seconds};
use crate::show;
use crate::workspace::Workspace;

/// The demo's database.
pub const DB: &str = "caliber_demo";

const DEFAULT_FILE: &str = "tests/data/conversation.jsonl";
/// How many turns of a conversation are shown.
const SHOWN: usize = 12;
/// How much of a text is shown.
const WIDTH: usize = 60;

/// The name of the cluster that `--keep` leaves.
pub fn kept_name(pg: Embedded) -> String {
    format!("demo-{}", pg.major())
}

/// Runs the demo. Its status is 1 when a line of the file was broken.
pub fn run(
    workspace: &Workspace,
    pg: Embedded,
    file: Option<PathBuf>,
    keep: bool,
) -> Result<ExitCode> {
    let file = file.unwrap_or_else(|| workspace.root.join(DEFAULT_FILE));
    // Before a build of minutes.
    File::open(&file)
        .and_then(|opened| opened.metadata())
        .map_err(|e| missing(format!("cannot read {}: {e}", file.display())))
        .and_then(|found| match found.is_dir() {
            true => Err(missing(format!("{} is a folder", file.display()))),
            false => Ok(()),
        })?;

    let postgres = pg.prepare(workspace)?;
    extension::build_and_install(workspace, &postgres, Profile::Release)?;
    let step = Step::begin(format!("Starting PostgreSQL {} on a Unix socket", postgres.version));
    let name = keep.then(|| kept_name(pg));
    let cluster = Temporary::create(workspace, &postgres, name.as_deref(), &[])?;
    cluster.start()?;
    step.done();
    cluster.create_database(DB)?;
    let mut client = cluster.connect(DB)?;
    let created = client.query("SELECT caliber_init()", &[]).context("caliber_init failed")?;
    progress::say(format_args!("CREATE EXTENSION, caliber_init: {} objects", created.len()));
    progress::say(format_args!("Importing {}", file.display()));
    let report = import::import(&mut client, &file)?;
    client.batch_execute("ANALYZE")?;

    tour(&mut client)?;
    summary(&report);
    if keep {
        let cluster = cluster.keep();
        println!("\nThe server is up. Open it with\n  {}", cluster.psql_line(DB)?);
        println!("and stop it with\n  cargo xtask server stop --pg {}", pg.major());
    }
    if report.broken > 0 {
        let file = file.display();
        progress::say(format_args!("{} broken lines in {file}, see above", report.broken));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn tour(client: &mut Client) -> Result<()> {
    counts(client)?;
    let scope = "SELECT scope_id FROM caliber.caliber_scope ORDER BY scope_id LIMIT 1";
    let Some(row) = client.query_opt(scope, &[])? else {
        println!("\nNothing was imported, so there is nothing more to show.");
        return Ok(());
    };
    let scope: Uuid = row.try_get(0)?;
    conversation(client, scope)?;
    plans(client, scope)?;
    refusals(client)
}

fn counts(client: &mut Client) -> Result<()> {
    show::heading("What is in the tables");
    let tables = "SELECT c.oid::regclass::text, a.amname::text,
            pg_size_pretty(pg_total_relation_size(c.oid))
        FROM pg_class c JOIN pg_am a ON a.oid = c.relam
        WHERE c.relnamespace = 'caliber'::regnamespace AND c.relkind = 'r'
        ORDER BY c.relname";
    let mut rows = Vec::new();
    for row in client.query(tables, &[])? {
        let (name, am, size): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let count: i64 =
            client.query_one(&format!("SELECT count(*) FROM {name}"), &[])?.try_get(0)?;
        rows.push(vec![name, count.to_string(), am, size]);
    }
    show::table(&["table", "#rows", "stored by", "#size with indexes"], &rows);
    Ok(())
}

fn conversation(client: &mut Client, scope: Uuid) -> Result<()> {
    const COLUMNS: &str = "sequence, role, token_count, content, tool_calls";
    show::heading("A conversation, read through the API");
    let api = format!("SELECT {COLUMNS}\nFROM caliber_turn_get_by_scope('{scope}')");
    show::sql(&api);
    let by_api = turns(&client.query(&spelled(&api), &[])?)?;
    show_turns(&by_api, SHOWN);

    show::heading("The same rows, read by a plain SELECT");
    let select = format!(
        "SELECT {COLUMNS}\nFROM caliber.caliber_turn\nWHERE scope_id = '{scope}' AND sequence < 100\
         \nORDER BY sequence"
    );
    show::sql(&select);
    let by_select = turns(&client.query(&spelled(&select), &[])?)?;
    show_turns(&by_select, 3);
    if by_api != by_select {
        bail!("the API and the SELECT do not show the same rows");
    }
    println!("  all {} rows are the same as those of the API", by_select.len());
    Ok(())
}

/// The statement with its columns cast to what this client reads.
fn spelled(sql: &str) -> String {
    sql.replacen("role", "role::text", 1).replacen("tool_calls", "tool_calls::text", 1)
}

fn turns(rows: &[Row]) -> Result<Vec<Vec<String>>> {
    rows.iter()
        .map(|row| {
            let (sequence, tokens): (i32, i32) = (row.try_get(0)?, row.try_get(2)?);
            let (role, content): (String, String) = (row.try_get(1)?, row.try_get(3)?);
            let calls: Option<String> = row.try_get(4)?;
            let said = match calls {
                Some(calls) if content.is_empty() => called(&calls),
                _ => content,
            };
            let said = show::clipped(&said, WIDTH);
            Ok(vec![sequence.to_string(), role, tokens.to_string(), said])
        })
        .collect()
}

/// The tool calls of a message, as a reader would write them.
fn called(calls: &str) -> String {
    let calls: serde_json::Value = serde_json::from_str(calls).unwrap_or_default();
    let calls = calls.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    calls
        .iter()
        .map(|call| &call["function"])
        .map(|call| format!("→ {}({})", text(&call["name"]), text(&call["arguments"])))
        .collect::<Vec<_>>()
        .join(" ")
}

fn show_turns(turns: &[Vec<String>], most: usize) {
    let shown = &turns[..turns.len().min(most)];
    show::table(&["#sequence", "role", "#token_count", "content"], shown);
    if turns.len() > most {
        println!("  ... and {} more", turns.len() - most);
    }
}

fn plans(client: &mut Client, scope: Uuid) -> Result<()> {
    show::heading("How PostgreSQL plans SELECTs on these tables");
    let turn = format!(
        "SELECT role, content FROM caliber.caliber_turn\nWHERE scope_id = '{scope}' AND sequence = 1"
    );
    let failed = "SELECT name, outcome FROM caliber.caliber_trajectory\nWHERE status = 'failed'";
    let tokens = "SELECT role, sum(token_count) FROM caliber.caliber_turn\nGROUP BY role";
    plan(client, &turn, "Index Scan", &["enable_seqscan", "enable_bitmapscan"])?;
    plan(client, failed, "Bitmap Heap Scan", &["enable_seqscan", "enable_indexscan"])?;
    plan(client, tokens, "Seq Scan", &["enable_indexscan", "enable_bitmapscan"])
}

/// Shows a plan with the scan wanted, and which planner settings had to be off for it: on a table
/// of a few rows the planner rightly reads everything.
fn plan(client: &mut Client, sql: &str, scan: &str, off: &[&str]) -> Result<()> {
    show::sql(&format!("EXPLAIN (COSTS OFF)\n{sql}"));
    for count in 0..=off.len() {
        let off = &off[..count];
        let mut transaction = client.transaction()?;
        let text = explain(&mut transaction, sql, off)?;
        if text.contains(scan) {
            show::text(&text);
            match off {
                [] => println!("  (the planner's own choice)"),
                off => println!("  (with {} off)", off.join(" and ")),
            }
            return Ok(());
        }
    }
    bail!("no {scan} in any plan of {sql}");
}

fn explain(transaction: &mut Transaction<'_>, sql: &str, off: &[&str]) -> Result<String> {
    for setting in off {
        transaction.batch_execute(&format!("SET LOCAL {setting} = off"))?;
    }
    let lines = transaction.query(&format!("EXPLAIN (COSTS OFF) {sql}"), &[])?;
    let lines: Vec<String> = lines.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok(lines.join("\n"))
}

fn refusals(client: &mut Client) -> Result<()> {
    show::heading("What the tables refuse, also to plain SQL");
    refused(client, "UPDATE caliber.caliber_turn SET content = 'x'")?;
    let done = "SELECT 1 FROM caliber.caliber_trajectory
        WHERE status IN ('completed', 'failed') LIMIT 1";
    if client.query_opt(done, &[])?.is_some() {
        refused(
            client,
            "UPDATE caliber.caliber_trajectory SET status = 'active', completed_at = NULL\n\
             WHERE status IN ('completed', 'failed')",
        )?;
    }
    Ok(())
}

fn refused(client: &mut Client, sql: &str) -> Result<()> {
    show::sql(sql);
    let Err(error) = client.batch_execute(sql) else {
        bail!("this update was not refused");
    };
    match error.as_db_error() {
        Some(error) if error.code().code() == "55000" => show::refusal(error),
        _ => return Err(error).context("the update failed, but not as an illegal one"),
    }
    Ok(())
}

fn summary(report: &Report) {
    show::heading("The import");
    let server = report.in_calls + report.in_commits;
    let row = |what: String, time: Duration| {
        let rate = report.turns as f64 / time.as_secs_f64().max(1e-9);
        vec![what, seconds(time), format!("{rate:.0}")]
    };
    let broken = match report.broken {
        0 => String::new(),
        count => format!(", {count} broken lines refused"),
    };
    println!("\n  {} runs, {} turns{broken}\n", report.runs, report.turns);
    show::table(
        &["", "#time", "#turns/s"],
        &[
            row(format!("server time: {} calls of the API", report.calls), report.in_calls),
            row(format!("server time with {} commits", report.runs), server),
            row("wall time, first line to last commit".into(), report.wall),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_default_file_is_whole() -> Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DEFAULT_FILE);
        let text = fs::read_to_string(&file)?;
        for (index, line) in text.lines().enumerate() {
            import::check(line.as_bytes()).with_context(|| format!("line {}", index + 1))?;
        }
        Ok(())
    }

    #[test]
    fn tool_calls_read_like_calls() {
        let calls = r#"[{"id": "1", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]"#;
        assert_eq!(called(calls), "→ f({\"a\": 1})");
        assert_eq!(called("{}"), "");
    }
}
