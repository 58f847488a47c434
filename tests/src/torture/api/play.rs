//! A program on one of the two schemas, and what is to be seen of it.

use std::collections::BTreeSet;

use postgres::SimpleQueryMessage;
use postgres::error::DbError;
use serde_json::{Map, Value, json};

use super::program::{FOUND, Step};
use crate::database::Database;
use crate::db::{Db, show};

const TABLES: [&str; 11] = [
    "trajectory",
    "scope",
    "turn",
    "artifact",
    "note",
    "agent",
    "lock",
    "message",
    "delegation",
    "handoff",
    "conflict",
];

/// After so many programs the tables are made small again.
const PROGRAMS_TO_TRUNCATE: u64 = 50;

/// The functions and rules of the twin.
const TWIN: &str = include_str!("twin.sql");

/// A schema, and a session that works on it.
pub struct Side {
    prefix: &'static str,
    db: Db,
    programs: u64,
}

impl Side {
    /// The schema with the tables and functions of the extension.
    pub fn api(database: &Database) -> Self {
        database.connect().run("SELECT caliber_init('api', 8)");
        Self::new(database, "api", "caliber")
    }

    /// The same tables on heap, with rules and functions in SQL.
    pub fn twin(database: &Database) -> Self {
        database.connect().run("SELECT caliber_init('twin', 8)");
        let mut side = Self::new(database, "twin", "twin");
        for table in TABLES {
            side.db.run(&format!("ALTER TABLE caliber_{table} SET ACCESS METHOD heap"));
        }
        side.db.run(TWIN);
        side
    }

    fn new(database: &Database, schema: &str, prefix: &'static str) -> Self {
        let mut db = database.connect_to_schema(schema);
        // Warnings of transaction commands are no news.
        db.run("SET TimeZone = 'UTC'; SET client_min_messages = error");
        Self { prefix, db, programs: 0 }
    }

    /// Runs the program on tables with nothing but what each program finds: what each step told,
    /// and the rows at its end.
    ///
    /// # Panics
    /// When what each program finds cannot be made.
    pub fn play(&mut self, program: &[Step]) -> Vec<String> {
        self.clear();
        let found = FOUND.iter().map(|call| format!("SELECT {}_{call};", self.prefix));
        self.db.run(&found.collect::<String>());
        let mut told: Vec<String> = Vec::new();
        let mut in_block = false;
        for step in program {
            let is_control = ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"]
                .iter()
                .any(|control| step.starts_with(control));
            // In a block the program goes on after an error, too.
            let guarded = in_block && !is_control;
            if guarded {
                self.db.run("SAVEPOINT step");
            }
            let answer = self.tell(step);
            match (&answer, step.as_str()) {
                (Ok(_), "BEGIN") => in_block = true,
                (_, "COMMIT" | "ROLLBACK") => in_block = false,
                (Ok(_), _) if guarded => self.db.run("RELEASE step"),
                (Err(_), _) if guarded => self.db.run("ROLLBACK TO step; RELEASE step"),
                (Err(_), _) if in_block => {
                    self.db.run("ROLLBACK");
                    in_block = false;
                }
                _ => {}
            }
            told.push(answer.unwrap_or_else(|refusal| refusal));
        }
        self.db.run("COMMIT");
        told.extend(self.rows());
        told
    }

    fn clear(&mut self) {
        let all = |verb: &str| TABLES.map(|table| format!("{verb} caliber_{table};")).concat();
        let clear = if self.programs.is_multiple_of(PROGRAMS_TO_TRUNCATE) {
            format!("TRUNCATE {}", TABLES.map(|table| format!("caliber_{table}")).join(", "))
        } else {
            // Foreign keys would only look for what is deleted next.
            format!(
                "SET session_replication_role = replica; {} RESET session_replication_role",
                all("DELETE FROM")
            )
        };
        self.programs += 1;
        self.db.run(&format!("ROLLBACK; {clear}"));
    }

    /// Runs a step: what it returned, or its refusal.
    fn tell(&mut self, step: &str) -> Result<String, String> {
        let sql = match step.strip_prefix('@') {
            Some(call) => format!("SELECT to_jsonb({}_{call})", self.prefix),
            None => step.to_owned(),
        };
        let messages = self.db.simple_query(&sql).map_err(|error| {
            refusal(error.as_db_error().unwrap_or_else(|| panic!("{}", show(&error, &sql))))
        })?;
        let mut told = Vec::new();
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let value = row.get(0).map(|text| serde_json::from_str(text).unwrap());
                    told.push(
                        value
                            .map_or(Value::Null, |value| {
                                comparable(value, &|fence| {
                                    // Which one it is, is seen at the end.
                                    json!(fence > 0)
                                })
                            })
                            .to_string(),
                    );
                }
                SimpleQueryMessage::CommandComplete(rows) => told.push(rows.to_string()),
                _ => {}
            }
        }
        Ok(told.join(" "))
    }

    /// The rows of all tables, with the place of each fence in the order of fences.
    fn rows(&mut self) -> Vec<String> {
        let queries = TABLES.map(|table| {
            format!("SELECT ARRAY['\"{table}\"', to_jsonb(t)] FROM caliber_{table} t")
        });
        let rows = self.db.all::<Vec<Value>>(&queries.join(" UNION ALL "));
        let fences: BTreeSet<i64> =
            rows.iter().filter_map(|row| row[1]["fence"].as_i64()).filter(|f| *f != 0).collect();
        let place = |fence: i64| json!(fences.range(..=fence).count());
        let mut rows: Vec<String> = rows
            .into_iter()
            .map(|row| {
                row.into_iter().map(|value| comparable(value, &place).to_string() + " ").collect()
            })
            .collect();
        rows.sort();
        rows
    }
}

/// SQLSTATE, and for a constraint what PostgreSQL says of it.
fn refusal(error: &DbError) -> String {
    let code = error.code().code();
    if !code.starts_with("23") {
        return code.to_owned();
    }
    let names = [error.table(), error.column(), error.constraint()];
    format!("{code} {}", names.map(Option::unwrap_or_default).join(" "))
}

/// The value without what may differ: ids that were made by the server, times but for their
/// relation to the row's creation, and fences, of which `fence` keeps what it wants.
fn comparable(value: Value, fence: &dyn Fn(i64) -> Value) -> Value {
    match value {
        Value::Object(row) => {
            let created = row.get("created_at").and_then(micros);
            let told = row.into_iter().map(|(key, value)| {
                let value = match (key.as_str(), created, micros(&value)) {
                    ("fence", ..) => value.as_i64().map_or(Value::Null, fence),
                    ("created_at", Some(_), _) => json!("created"),
                    (_, Some(created), Some(time)) => since(created, time).unwrap_or(value),
                    _ => comparable(value, fence),
                };
                (key, value)
            });
            Value::Object(told.collect::<Map<_, _>>())
        }
        Value::Array(values) => values.into_iter().map(|value| comparable(value, fence)).collect(),
        Value::String(text) => {
            let is_id = uuid::Uuid::parse_str(&text).is_ok();
            if is_id && !text.starts_with("01920000-") && !text.starts_with("a0eebc99-") {
                json!("an id")
            } else if micros(&json!(text)).is_some() {
                json!("a time")
            } else {
                Value::String(text)
            }
        }
        other => other,
    }
}

/// Whether the time is before, at or after the row's creation, and by how many times ten minutes.
/// None for one that the program gave itself.
fn since(created: i64, time: i64) -> Option<Value> {
    const TEN_MINUTES: i64 = 600_000_000;
    const DECADE: i64 = 10 * 365 * 144 * TEN_MINUTES;
    const TWO_MONTHS: i64 = 62 * 144 * TEN_MINUTES;
    let by = time - created;
    let own = !(-TWO_MONTHS..=DECADE).contains(&by);
    let steps = (by + TEN_MINUTES / 2).div_euclid(TEN_MINUTES);
    (!own).then(|| json!(format!("{} {steps}", by.signum())))
}

/// The microseconds of a time in UTC as `to_jsonb` writes it.
fn micros(value: &Value) -> Option<i64> {
    let text = value.as_str()?.strip_suffix("+00:00")?;
    let (date, time) = text.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<Vec<i64>> {
        text.split(by).map(|number| number.parse().ok()).collect()
    };
    let [year, month, day] = numbers(date, '-')?.try_into().ok()?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?.try_into().ok()?;
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    // Days of the civil calendar, years beginning with March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}
