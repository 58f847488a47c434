//! JSON values as SQL expressions: near what functions take, and far from it.

use std::fmt::Write;

use fastrand::Rng;

use super::call::{pick, text};
use crate::db::lit;

/// Texts that PostgreSQL takes for JSON, or refuses itself: numbers beyond every type, and a
/// character that jsonb cannot have.
const LEAVES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0.0",
    "1",
    "5",
    "2147483648",
    "-9223372036854775809",
    "12345678901234567890123.000",
    "1e400",
    "1e-400",
    "\"\"",
    "\"user\"",
    "\"tool\"",
    "\"text\"",
    "\"idle\"",
    "\"active\"",
    "\"infinity\"",
    "\"now\"",
    "\"01920000-0000-7000-8000-00000000dead\"",
    "\"\\ud83d\\ude00\"",
    "\"\\u0000\"",
    "[]",
    "{}",
];

/// Keys of messages and of their parts.
const KEYS: &[&str] =
    &["role", "content", "tool_calls", "tool_call_id", "name", "type", "text", "metadata", ""];

/// Any value.
pub(super) fn any(rng: &mut Rng, columns: &[String]) -> String {
    if rng.u8(0..30) == 0 {
        // Deeper than some recursions go.
        let depth = pick(rng, &[40, 500, 4000, 100_000]);
        let (open, close) = pick(rng, &[("[", "]"), ("{\"a\":", "}"), ("[{\"content\":", "}]")]);
        return format!("repeat('{open}', {depth}) || '1' || repeat('{close}', {depth})");
    }
    let mut json = String::new();
    value(rng, columns, 3, &mut json);
    lit(&json)
}

/// An object whose keys are columns, some of them twice.
pub(super) fn object(rng: &mut Rng, columns: &[String]) -> String {
    if rng.u8(0..8) == 0 {
        return any(rng, columns);
    }
    let mut json = String::new();
    members(rng, columns, 2, &mut json);
    lit(&json)
}

/// An array of what is nearly messages.
pub(super) fn messages(rng: &mut Rng, columns: &[String]) -> String {
    if rng.u8(0..8) == 0 {
        return any(rng, columns);
    }
    let mut json = String::from("[");
    for n in 0..rng.usize(0..5) {
        let role = pick(rng, &["user", "assistant", "tool", "system", "developer", "function"]);
        let _ = write!(json, "{}{{\"role\": \"{role}\"", if n > 0 { "," } else { "" });
        for _ in 0..rng.usize(0..3) {
            let _ = write!(json, ", \"{}\": ", pick(rng, KEYS));
            value(rng, columns, 2, &mut json);
        }
        json.push('}');
    }
    json.push(']');
    lit(&json)
}

fn value(rng: &mut Rng, columns: &[String], depth: usize, json: &mut String) {
    match rng.u8(0..6) {
        0 if depth > 0 => {
            json.push('[');
            for n in 0..rng.usize(0..4) {
                json.push_str(if n > 0 { "," } else { "" });
                value(rng, columns, depth - 1, json);
            }
            json.push(']');
        }
        1 if depth > 0 => members(rng, columns, depth, json),
        2 => json.push_str(&serde_json::Value::from(text(rng)).to_string()),
        _ => json.push_str(pick(rng, LEAVES)),
    }
}

fn members(rng: &mut Rng, columns: &[String], depth: usize, json: &mut String) {
    json.push('{');
    for n in 0..rng.usize(0..4) {
        let key = match rng.u8(0..4) {
            0 => pick(rng, KEYS),
            _ => rng.choice(columns).map_or("", String::as_str),
        };
        let _ = write!(json, "{}\"{key}\": ", if n > 0 { "," } else { "" });
        value(rng, columns, depth.saturating_sub(1), json);
    }
    json.push('}');
}
