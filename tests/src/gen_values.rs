//! Random column values, and the runner of property tests.

use std::cell::Cell;
use std::env;
use std::fmt::Debug;
use std::panic;
use std::sync::Once;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use serde_json::{Map, Value};

use crate::db::{lit, opt};

/// Runs a property on random values: 256 of them, or `CALIBER_TEST_CASES`. A failure shows the
/// smallest value that still fails, and the seed that `CALIBER_TEST_SEED` repeats.
///
/// # Panics
/// When the property fails.
pub fn check<S: Strategy>(strategy: S, property: impl Fn(S::Value))
where
    S::Value: Debug,
{
    let cases = number("CALIBER_TEST_CASES").unwrap_or(256);
    let seed = number("CALIBER_TEST_SEED").unwrap_or_else(rand_seed);
    let repeat = format!("repeat it with CALIBER_TEST_SEED={seed} CALIBER_TEST_CASES={cases}");
    falsify(seed, cases, &repeat, strategy, property);
}

/// Runs a property on so many random values, which the seed decides. A failure shows the smallest
/// value that still fails, and how to repeat it.
///
/// # Panics
/// When the property fails.
pub fn falsify<S: Strategy>(
    seed: u64,
    cases: u32,
    repeat: &str,
    strategy: S,
    property: impl Fn(S::Value),
) where
    S::Value: Debug,
{
    let mut runner = TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    });
    only_show_last_panic();
    QUIET.set(true);
    let result = runner.run(&strategy, |value| {
        property(value);
        Ok(())
    });
    QUIET.set(false);
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, value)) => {
            let value: String = format!("{value:#?}").chars().take(4000).collect();
            panic!("{reason}\nwith {value}\n{repeat}");
        }
        Err(TestError::Abort(reason)) => panic!("{reason}\n{repeat}"),
    }
}

thread_local! {
    /// Whether this thread looks for the smallest failing value: its panics are not news.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn only_show_last_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let show = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                show(info);
            }
        }));
    });
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let value = env::var(variable).ok()?;
    let parsed = value.parse().ok();
    assert!(parsed.is_some(), "{variable} is no number: {value}");
    parsed
}

fn rand_seed() -> u64 {
    // The low half of a UUIDv7 is random.
    uuid::Uuid::now_v7().as_u64_pair().1 & 0xFFFF_FFFF
}

/// A text: empty, short, of any characters that PostgreSQL stores, or so large that it is stored
/// out of line, compressible and not.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just(String::new()),
        4 => "[ -~]{1,40}",
        4 => "\\PC{1,20}",
        4 => any::<String>().prop_map(|text| text.replace('\0', "")),
        1 => ("\\PC{1,9}", 1_000..20_000usize).prop_map(|(piece, times)| piece.repeat(times)),
        1 => vec("[0-9a-f]{8}", 300..1_500).prop_map(|pieces| pieces.concat()),
    ]
}

/// A text that is not empty.
pub fn name() -> impl Strategy<Value = String> {
    text().prop_map(|text| if text.is_empty() { "x".to_owned() } else { text })
}

/// A JSON value that `jsonb` gives back as it is.
pub fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => Just(Value::Null),
        4 => any::<bool>().prop_map(Value::from),
        4 => any::<i64>().prop_map(Value::from),
        8 => text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("\\PC{0,6}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A value or none.
pub fn maybe<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    proptest::option::of(strategy)
}

/// A text as an SQL literal, or `NULL`.
pub fn sql_text(value: Option<&String>) -> String {
    opt(value.map(String::as_str))
}

/// A JSON value as an SQL literal, or `NULL`.
pub fn sql_json(value: Option<&Value>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| lit(&value.to_string()))
}

/// What `to_jsonb` makes of a column with this value.
pub fn or_null<T: Into<Value> + Clone>(value: Option<&T>) -> Value {
    value.map_or(Value::Null, |value| value.clone().into())
}
