//! Calls of each function, with valid arguments and with values at the edges of their types.

use std::collections::BTreeMap;

use crate::db::Db;
use crate::fixture::UNKNOWN;

/// A function of the extension.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its arguments' names, types and kinds of types.
    pub arguments: Vec<(String, String, String)>,
    /// Whether it writes: those are the ones that are not for parallel queries, but for
    /// `caliber_verify`, which needs subtransactions.
    pub writes: bool,
}

/// All functions that can be called by SQL.
///
/// # Panics
/// When the catalog cannot be read.
#[track_caller]
pub fn functions(db: &mut Db) -> Vec<Function> {
    let rows = db
        .query(
            "SELECT p.proname::text, coalesce(p.proargnames[1:p.pronargs], '{}'),
             ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, n) ORDER BY n),
             ARRAY(SELECT y.typtype::text FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, n)
                   JOIN pg_type y ON y.oid = t ORDER BY n), p.proparallel = 'u' AND p.proname <> 'caliber_verify'
             FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
             JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'caliber-pg'
             WHERE d.classid = 'pg_proc'::regclass AND NOT 'internal'::regtype = ANY (p.proargtypes)
             ORDER BY 1, p.oid",
            &[],
        )
        .unwrap();
    rows.iter()
        .map(|row| {
            let (names, types, kinds): (Vec<String>, Vec<String>, Vec<String>) =
                (row.get(1), row.get(2), row.get(3));
            let arguments = names.into_iter().zip(types).zip(kinds);
            let arguments = arguments.map(|((name, ty), kind)| (name, ty, kind)).collect();
            Function { name: row.get(0), arguments, writes: row.get(4) }
        })
        .collect()
}

/// Creates the rows that valid calls can be about: the expression that stands for each one's id.
pub fn fixtures(db: &mut Db) -> BTreeMap<&'static str, String> {
    let mut create =
        |call: &str| format!("'{}'", db.one::<String>(&format!("SELECT ({call})::text")));
    let agent = create("caliber_agent_register('boss', can_delegate_to => '{*}')");
    let worker = create("caliber_agent_register('worker')");
    let trajectory = create("caliber_trajectory_create('task')");
    let scope = create(&format!("caliber_scope_create({trajectory}, 'window', 1000)"));
    let turn = create(&format!("caliber_turn_create({scope}, 'user', 'hello')"));
    let artifact = |n: u8| {
        format!(
            "caliber_artifact_create({trajectory}, {scope}, 'fact', 'n{n}', 'c', '[1,2,3,4,5,6,7,{n}]')"
        )
    };
    let (artifact, other) = (create(&artifact(1)), create(&artifact(2)));
    let note = create("caliber_note_create('fact', 't', 'c', embedding => '[1,1,1,1,1,1,1,1]')");
    let other_note = create("caliber_note_create('fact', 't', 'c')");
    let lock = create(&format!(
        "SELECT lock_id FROM caliber_lock_acquire({worker}, 'scope', {scope}, '1 day')"
    ));
    let message = create(&format!("caliber_message_send({agent}, 'm', '{{}}', {worker})"));
    let delegation = create(&format!(
        "caliber_delegation_create({agent}, 'part', {trajectory}, delegatee_agent_id => {worker})"
    ));
    let handoff = create(&format!(
        "caliber_handoff_create({agent}, {trajectory}, {scope}, 'escalation', {worker})"
    ));
    let conflict = create(&format!(
        "caliber_conflict_create('goal_conflict', 'artifact', {artifact}, 'artifact', {other})"
    ));
    [
        ("agent", agent),
        ("worker", worker),
        ("trajectory", trajectory),
        ("scope", scope),
        ("turn", turn),
        ("artifact", artifact),
        ("artifact by", other),
        ("note", note),
        ("note by", other_note),
        ("lock", lock),
        ("message", message),
        ("delegation", delegation),
        ("handoff", handoff),
        ("conflict", conflict),
    ]
    .into()
}

/// A value with which the function may well succeed, as an expression.
pub fn valid(
    function: &str,
    argument: &str,
    ty: &str,
    fixtures: &BTreeMap<&str, String>,
) -> String {
    let entity = function.split('_').nth(1).unwrap_or_default();
    let row = |name: &str| fixtures.get(name).cloned();
    let value = match (argument, ty) {
        ("id", _) => row(entity),
        ("by_id", _) => row(&format!("{entity} by")),
        ("lock_id" | "message_id", _) if !function.ends_with("_send") => row(entity),
        ("from_agent_id" | "delegator_agent_id", _) => row("agent"),
        ("agent_id" | "to_agent_id" | "delegatee_agent_id", "uuid") => row("worker"),
        ("trajectory_id" | "parent_trajectory_id", _) if entity != "trajectory" => {
            row("trajectory")
        }
        ("scope_id", _) if entity != "scope" => row("scope"),
        ("resource_id" | "item_a_id", _) => row("scope"),
        ("item_b_id", _) => row("turn"),
        ("embedding", _) => Some("'[1,2,3,4,5,6,7,8]'".to_owned()),
        ("messages", _) => Some("'[{\"role\": \"user\", \"content\": \"x\"}]'".to_owned()),
        ("changes", _) => Some("'{\"metadata\": {}}'".to_owned()),
        ("resource_type", _) => Some("'scope'".to_owned()),
        ("role", _) => Some("'user'".to_owned()),
        ("mode", _) => Some("'shared'".to_owned()),
        ("strategy", _) => Some("'last_write_wins'".to_owned()),
        ("reason", t) if t.ends_with("handoff_reason") => Some("'escalation'".to_owned()),
        ("status", t) if t.ends_with("trajectory_status") => Some("'active'".to_owned()),
        ("status", _) => Some("'idle'".to_owned()),
        ("conflict_type", _) => Some("'goal_conflict'".to_owned()),
        ("ttl" | "visibility" | "max_age", _) => Some("'1 minute'".to_owned()),
        ("wait" | "delay", _) => Some("'0'".to_owned()),
        ("include_stale", _) => Some("false".to_owned()),
        ("token_budget" | "max_rows" | "max_messages" | "k" | "deliveries", _) => {
            Some("5".to_owned())
        }
        ("tokens_used", _) => Some("500".to_owned()),
        ("receipt", _) => Some("1".to_owned()),
        ("after_sequence", _) => Some("-1".to_owned()),
        ("relation", _) => Some("'caliber_turn'".to_owned()),
        ("schema", _) => Some("current_schema()".to_owned()),
        ("embedding_dim", _) => Some("8".to_owned()),
        ("fence", _) if entity == "lock" => Some("(SELECT fence FROM caliber_lock)".to_owned()),
        ("ids", _) => row(entity).map(|id| format!("ARRAY[{id}]::uuid[]")),
        ("payloads", _) => Some("ARRAY['{}']::jsonb[]".to_owned()),
        ("payload", _) => Some("'{}'".to_owned()),
        (_, "text") => Some("'x'".to_owned()),
        _ => None,
    };
    value.unwrap_or_else(|| "NULL".to_owned())
}

/// What docs/sql.md lists, and what PostgreSQL itself says of a malformed or an oversized value.
pub const DOCUMENTED: &[&str] = &[
    "22023", "P0002", "55000", "55006", "54000", "23502", "23503", "23505", "23514", "22P02",
    "22001", "22003", "22007", "22008", "22015", "22000", "3F000", "42P01", "42602", "22P05",
    "42939", "42501", "42704", "42809",
];

/// Values at the edges of a type, and text that is none of its values, as expressions.
///
/// # Panics
/// When there are none for the type.
#[track_caller]
pub fn edges(argument: &str, ty: &str, kind: &str) -> Vec<String> {
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
