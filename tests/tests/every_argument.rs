//! Every function with every argument null, empty, wrong and huge: a documented SQLSTATE or an
//! answer, never an internal error, and the connection goes on.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use caliber_tests::calls::{Function, fixtures, functions, valid};
use caliber_tests::{Schema, UNKNOWN, show};

/// What docs/sql.md lists, and what PostgreSQL itself says of a malformed or an oversized value.
const DOCUMENTED: &[&str] = &[
    "22023", "P0002", "55000", "55006", "54000", "23502", "23503", "23505", "23514", "22P02",
    "22001", "22003", "22007", "22008", "22015", "22000", "3F000", "42P01", "42602", "22P05",
    "42939", "42501", "42704", "42809",
];

/// Values at the edges of a type, and text that is none of its values.
fn edges(argument: &str, ty: &str, kind: &str) -> Vec<String> {
    let texts = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    let mut values = match ty {
        "uuid" => texts(&[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            &format!("'{UNKNOWN}'"),
        ]),
        "text" => texts(&["''", "'*'", "repeat('☃', 300000)", "E'\\x01\\x7f'"]),
        "name" => texts(&["''", "'no such schema'", "'pg_catalog'", "repeat('x', 100)"]),
        "integer" => texts(&["0", "-1", "2147483647", "-2147483648"]),
        "bigint" => texts(&["0", "-1", "9223372036854775807", "-9223372036854775808"]),
        "boolean" => texts(&["true", "false"]),
        "real" => texts(&["0", "-1", "1e38", "'NaN'", "'Infinity'"]),
        "interval" => texts(&[
            "'0'",
            "'-1 second'",
            "'1 microsecond'",
            "'-1 month 31 days'",
            "'290000 years'",
            "'-178000000 years'",
        ]),
        "timestamp with time zone" => texts(&["'infinity'", "'-infinity'", "'epoch'"]),
        "jsonb" => texts(&[
            "'null'",
            "'{}'",
            "'[]'",
            "'0'",
            "'\"x\"'",
            "'[null]'",
            "'[[]]'",
            "'{\"name\": 5, \"\": {}}'",
            "'{\"content\": null}'",
            "to_jsonb(repeat('x', 1000000))",
            "(SELECT jsonb_agg(n) FROM generate_series(1, 20000) n)",
        ]),
        "uuid[]" | "text[]" => texts(&[
            "'{}'",
            "'{NULL}'",
            "'{{}}'",
            &format!("array_fill('{UNKNOWN}'::text, ARRAY[50000])::{ty}"),
            &format!("ARRAY[ARRAY['{UNKNOWN}'], ARRAY['{UNKNOWN}']]::{ty}"),
        ]),
        "jsonb[]" => texts(&["'{}'", "'{NULL}'", "array_fill('1'::jsonb, ARRAY[2000])"]),
        t if t.ends_with("vector") => texts(&[
            "'[1]'",
            "'[0,0,0,0,0,0,0,0]'",
            "array_fill(1.0::real, ARRAY[16000])::vector",
            "'[NaN,0,0,0,0,0,0,0]'",
            "'[3e38,3e38,3e38,3e38,3e38,3e38,3e38,3e38]'",
        ]),
        "regclass" => texts(&["0", "'pg_class'", "'caliber_turn_pkey'", "4294967295"]),
        _ if kind == "e" => {
            let labels = format!("(SELECT (enum_range(NULL::{ty}))[");
            (1..=6).map(|n| format!("{labels}{n}])")).collect()
        }
        _ => panic!("no values for {argument} {ty}"),
    };
    values.push("NULL".to_owned());
    if !matches!(ty, "text" | "name") {
        values.push("'\u{1}no value'".to_owned());
    }
    values
}

#[test]
fn every_argument_of_every_function_is_answered_or_refused() {
    let schema = Schema::new("every_argument");
    let mut db = schema.connect();
    let fixtures = fixtures(&mut db);
    let pid = db.pid();
    let functions = functions(&mut db);
    assert!(functions.len() > 70, "{} functions", functions.len());
    let (mut calls, mut answers) = (0, BTreeMap::<String, usize>::new());
    for Function { name, arguments, .. } in &functions {
        let usual: Vec<_> =
            arguments.iter().map(|(a, ty, _)| (a, ty, valid(name, a, ty, &fixtures))).collect();
        for (tested, (argument, ty, kind)) in arguments.iter().enumerate() {
            let usual_value = usual[tested].2.clone();
            for edge in edges(argument, ty, kind).into_iter().chain([usual_value]) {
                let list: Vec<_> = usual
                    .iter()
                    .enumerate()
                    .map(|(i, (argument, ty, usual))| {
                        let value = if i == tested { &edge } else { usual };
                        format!("{argument} => ({value})::{ty}")
                    })
                    .collect();
                let sql = format!("SELECT * FROM {name}({})", list.join(", "));
                calls += 1;
                db.run("BEGIN");
                if let Err(error) = db.attempt(&sql) {
                    let code = error.code().map_or("", |code| code.code()).to_owned();
                    assert!(DOCUMENTED.contains(&code.as_str()), "{}", show(&error, &sql));
                    *answers.entry(name.clone()).or_default() += 0;
                } else {
                    *answers.entry(name.clone()).or_default() += 1;
                }
                db.run("ROLLBACK");
            }
        }
    }
    assert_eq!(db.pid(), pid);
    assert!(calls > 1500, "{calls} calls");
    // The usual values are usable, else only the first check of each function would be tested.
    let never: Vec<_> = answers.iter().filter(|(_, n)| **n == 0).map(|(name, _)| name).collect();
    let need_a_history = [
        "caliber_delegation_complete",
        "caliber_delegation_start",
        "caliber_handoff_complete",
        "caliber_message_acknowledge",
        "caliber_message_redrive",
        "caliber_message_release",
    ];
    assert!(never.iter().all(|name| need_a_history.contains(&name.as_str())), "{never:?}");
}
