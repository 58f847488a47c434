//! The functions of agents: what they store and return, and what they refuse.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::{Db, DbError, Tree, UNKNOWN};
use serde_json::{Value, json};
use uuid::Uuid;

const V4: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const STATES: [&str; 5] = ["idle", "active", "blocked", "failed", "offline"];

#[track_caller]
fn register(db: &mut Db, arguments: &str) -> Uuid {
    db.one(&format!("SELECT caliber_agent_register({arguments})"))
}

#[track_caller]
fn get(db: &mut Db, id: Uuid) -> Value {
    db.json(&format!("caliber_agent_get('{id}')"))
}

#[track_caller]
fn update(db: &mut Db, id: Uuid, arguments: &str) -> Value {
    db.json(&format!("caliber_agent_update('{id}', {arguments})"))
}

#[track_caller]
fn set_status(db: &mut Db, id: Uuid, status: &str) -> Value {
    db.json(&format!("caliber_agent_set_status('{id}', '{status}')"))
}

#[track_caller]
fn refused(db: &mut Db, call: &str, sqlstate: &str) -> DbError {
    db.refused_unchanged(&format!("SELECT {call}"), sqlstate, &["caliber_agent"])
}

/// Whether the error names a column or constraint, or has a word in its message or detail.
#[track_caller]
fn names(error: &DbError, word: &str) {
    let texts =
        [error.column(), error.constraint(), Some(error.message()), error.detail(), error.hint()];
    assert!(texts.iter().flatten().any(|text| text.contains(word)), "{word}: {error:?}");
}

/// The ids that a list returns.
#[track_caller]
fn list(db: &mut Db, call: &str) -> Vec<Uuid> {
    db.all(&format!("SELECT agent_id FROM caliber_agent_list_{call}"))
}

/// The heartbeat is this long ago.
#[track_caller]
fn age(db: &mut Db, id: Uuid, age: &str) {
    db.run(&format!(
        "UPDATE caliber_agent SET last_heartbeat = clock_timestamp() - interval '{age}'
         WHERE agent_id = '{id}'"
    ));
}

#[test]
fn register_stores_every_argument() {
    let db = &mut Tree::new("agent").db;
    let boss = register(db, "'boss'");
    let id: Uuid = db.one("SELECT caliber_new_id()");
    db.run("BEGIN");
    let arguments = format!(
        "agent_type => 'prüfer', capabilities => ARRAY['lesen', '', NULL, 'a,b'],
         memory_access => '{{\"read\": [\"*\"]}}', can_delegate_to => '{{*}}',
         reports_to => '{boss}', metadata => '{{\"m\": null}}', agent_id => '{id}'"
    );
    assert_eq!(register(db, &arguments), id);
    let now = db.json("transaction_timestamp()");
    let row = get(db, id);
    assert_eq!(
        row,
        json!({
            "agent_id": id.to_string(), "agent_type": "prüfer",
            "capabilities": ["lesen", "", null, "a,b"], "memory_access": {"read": ["*"]},
            "status": "idle", "current_trajectory_id": null, "current_scope_id": null,
            "can_delegate_to": ["*"], "reports_to": boss.to_string(),
            "last_heartbeat": row["last_heartbeat"], "metadata": {"m": null},
            "created_at": now, "updated_at": now, "version": 1,
        })
    );
    let lives: bool = db.one(&format!(
        "SELECT last_heartbeat BETWEEN transaction_timestamp() AND clock_timestamp()
         FROM caliber_agent_get('{id}')"
    ));
    assert!(lives, "registering is a sign of life: {row}");
    db.run("COMMIT");
    assert_eq!(get(db, id), row);
    let plain = register(db, "''");
    let row = get(db, plain);
    for (column, value) in [
        ("agent_type", json!("")),
        ("capabilities", json!([])),
        ("memory_access", json!({})),
        ("status", json!("idle")),
        ("can_delegate_to", json!([])),
        ("reports_to", Value::Null),
        ("metadata", Value::Null),
        ("version", json!(1)),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
}

#[test]
fn bad_arguments_of_register_are_refused() {
    let db = &mut Tree::new("agent").db;
    register(db, "'worker'");
    for (arguments, sqlstate, named) in [
        ("NULL".to_owned(), "23502", "agent_type"),
        (format!("'a', reports_to => '{UNKNOWN}'"), "23503", "caliber_agent_reports_to_fkey"),
        ("'a', memory_access => 'x'".to_owned(), "22P02", "json"),
        ("'a', capabilities => 'x'".to_owned(), "22P02", "array"),
        (format!("'a', agent_id => '{V4}'"), "22023", "agent_id"),
    ] {
        let error = refused(db, &format!("caliber_agent_register({arguments})"), sqlstate);
        names(&error, named);
    }
}

#[test]
fn register_with_an_id_can_be_repeated() {
    let db = &mut Tree::new("agent").db;
    let id: Uuid = db.one("SELECT caliber_new_id()");
    assert_eq!(register(db, &format!("'worker', agent_id => '{id}'")), id);
    set_status(db, id, "active");
    let before = db.rows_of("caliber_agent");
    // None of an agent's arguments is fixed, and nothing else is checked.
    for arguments in
        ["'worker'", "'other', '{x}'", "NULL", &format!("'a', reports_to => '{UNKNOWN}'")]
    {
        assert_eq!(register(db, &format!("{arguments}, agent_id => '{id}'")), id);
    }
    assert_eq!(db.rows_of("caliber_agent"), before);
}

#[test]
fn an_unknown_agent_is_null() {
    let db = &mut Tree::new("agent").db;
    register(db, "'worker'");
    for id in [format!("'{UNKNOWN}'"), format!("'{V4}'"), "NULL".to_owned()] {
        assert_eq!(db.json(&format!("caliber_agent_get({id})")), Value::Null);
    }
    assert!(list(db, "by_type('Worker')").is_empty());
}

#[test]
fn a_heartbeat_changes_nothing_else() {
    let db = &mut Tree::new("agent").db;
    let id = register(db, "'worker'");
    let before = get(db, id);
    db.run("BEGIN");
    let mut last = before["last_heartbeat"].clone();
    for _ in 0..3 {
        let beat = db.json(&format!("caliber_agent_heartbeat('{id}')"));
        let rises: bool = db.one(&format!(
            "SELECT '{0}' < '{1}'::timestamptz AND transaction_timestamp() < '{1}'
                AND '{1}' <= clock_timestamp()",
            last.as_str().unwrap(),
            beat.as_str().unwrap()
        ));
        assert!(rises, "{beat} after {last}");
        let mut expected = before.clone();
        expected["last_heartbeat"] = beat.clone();
        assert_eq!(get(db, id), expected);
        last = beat;
    }
    let hot: i64 = db.one("SELECT pg_stat_get_xact_tuples_hot_updated('caliber_agent'::regclass)");
    assert_eq!(hot, 3, "no index is touched");
    db.run("COMMIT");
    refused(db, &format!("caliber_agent_heartbeat('{UNKNOWN}')"), "P0002");
    refused(db, "caliber_agent_heartbeat(NULL)", "22023");
}

#[test]
fn every_move_between_states_is_free() {
    let db = &mut Tree::new("agent").db;
    for from in STATES {
        for to in STATES {
            let id = register(db, "'worker'");
            let before = set_status(db, id, from);
            db.run("BEGIN");
            let row = set_status(db, id, to);
            let mut expected = before.clone();
            if from != to {
                expected["status"] = json!(to);
                expected["version"] = json!(before["version"].as_i64().unwrap() + 1);
                expected["updated_at"] = db.json("transaction_timestamp()");
            }
            db.run("COMMIT");
            assert_eq!(row, expected);
            assert_eq!(get(db, id), expected);
        }
    }
    let id = register(db, "'worker'");
    set_status(db, id, "active");
    let row = db.json(&format!("caliber_agent_set_status('{id}', 'idle', 2)"));
    assert_eq!(row["version"], json!(3));
    for (arguments, sqlstate, named) in [
        (format!("'{id}', NULL"), "22023", "status"),
        ("NULL, 'idle'".to_owned(), "22023", "id"),
        (format!("'{UNKNOWN}', 'idle'"), "P0002", UNKNOWN),
        (format!("'{id}', 'asleep'"), "22P02", "asleep"),
        (format!("'{id}', 'active', 2"), "55006", "version is 3"),
        (format!("'{id}', 'idle', expected_version => 4"), "55006", "version is 3"),
    ] {
        names(&refused(db, &format!("caliber_agent_set_status({arguments})"), sqlstate), named);
    }
}

#[test]
fn update_changes_what_it_names() {
    let mut t = Tree::new("agent");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let db = &mut t.db;
    let boss = register(db, "'boss'");
    let id = register(db, "'worker', '{a}', '{\"k\": 1}', '{x}'");
    let mut expected = get(db, id);
    db.run("BEGIN");
    let changes = json!({"agent_type": "neu", "capabilities": ["a", null, "ü"],
                         "memory_access": [1.50], "can_delegate_to": [],
                         "reports_to": boss.to_string(),
                         "current_trajectory_id": trajectory.to_string(),
                         "current_scope_id": scope.to_string(), "metadata": {"k": {}}});
    let row = update(db, id, &format!("'{changes}', 1"));
    for (key, value) in changes.as_object().unwrap() {
        expected[key] = value.clone();
    }
    expected["version"] = json!(2);
    expected["updated_at"] = db.json("transaction_timestamp()");
    db.run("COMMIT");
    assert_eq!(row, expected);
    assert_eq!(get(db, id), expected);
    let nulls = r#"{"reports_to": null, "current_trajectory_id": null, "current_scope_id": null,
                    "metadata": null}"#;
    let row = update(db, id, &format!("'{nulls}'"));
    for column in ["reports_to", "current_trajectory_id", "current_scope_id", "metadata"] {
        assert_eq!(row[column], Value::Null);
    }
    assert_eq!(update(db, id, "'{}'"), row, "nothing changes");
    assert_eq!(update(db, id, r#"'{"agent_type": "neu", "can_delegate_to": []}'"#), row);
}

#[test]
fn bad_arguments_of_update_are_refused() {
    let db = &mut Tree::new("agent").db;
    let id = register(db, "'worker'");
    update(db, id, "'{\"agent_type\": \"x\"}'");
    for (changes, sqlstate, named) in [
        (json!([]), "22023", "array"),
        (json!(null), "22023", "null"),
        (json!({"unknown": 1}), "22023", "unknown"),
        (json!({"agent_id": UNKNOWN}), "22023", "agent_id"),
        (json!({"status": "idle"}), "22023", "status"),
        (json!({"last_heartbeat": "2020-01-01"}), "22023", "last_heartbeat"),
        (json!({"created_at": null}), "22023", "created_at"),
        (json!({"agent_type": 1}), "22023", "agent_type"),
        (json!({"capabilities": "a"}), "22023", "capabilities"),
        (json!({"capabilities": [1]}), "22023", "capabilities"),
        (json!({"capabilities": [["a"]]}), "22023", "capabilities"),
        (json!({"can_delegate_to": {}}), "22023", "can_delegate_to"),
        (json!({"reports_to": "x"}), "22023", "reports_to"),
        (json!({"agent_type": null}), "23502", "agent_type"),
        (json!({"capabilities": null}), "23502", "capabilities"),
        (json!({"memory_access": null}), "23502", "memory_access"),
        (json!({"can_delegate_to": null}), "23502", "can_delegate_to"),
        (json!({"reports_to": UNKNOWN}), "23503", "caliber_agent_reports_to_fkey"),
        (
            json!({"current_trajectory_id": UNKNOWN}),
            "23503",
            "caliber_agent_current_trajectory_id_fkey",
        ),
        (json!({"current_scope_id": UNKNOWN}), "23503", "caliber_agent_current_scope_id_fkey"),
    ] {
        let error = refused(db, &format!("caliber_agent_update('{id}', '{changes}')"), sqlstate);
        names(&error, named);
    }
    for (arguments, sqlstate, named) in [
        (format!("'{id}', '{{\"agent_type\": \"y\"}}', 1"), "55006", "version is 2"),
        (format!("'{id}', NULL"), "22023", "changes"),
        ("NULL, '{}'".to_owned(), "22023", "id"),
        (format!("'{UNKNOWN}', '{{}}'"), "P0002", UNKNOWN),
    ] {
        names(&refused(db, &format!("caliber_agent_update({arguments})"), sqlstate), named);
    }
}

#[test]
fn lists_are_paged_by_key() {
    let db = &mut Tree::new("agent").db;
    let workers: Vec<Uuid> = (0..105).map(|_| register(db, "'worker'")).collect();
    let boss = register(db, "'boss'");
    for (i, id) in workers.iter().enumerate() {
        // Two states, mixed: the order is that of the ids all the same.
        if i % 3 == 0 {
            set_status(db, *id, "active");
        }
    }
    for list_by in ["by_type('worker'", "active('1 hour'"] {
        assert_eq!(list(db, &format!("{list_by})")), workers[..100], "{list_by}");
        assert_eq!(list(db, &format!("{list_by}, 2)")), workers[..2]);
        assert_eq!(list(db, &format!("{list_by}, 4, '{}')", workers[98])), workers[99..103]);
    }
    assert_eq!(
        list(db, &format!("by_type('worker', after => '{}')", workers[103])),
        [workers[104]]
    );
    assert_eq!(
        list(db, &format!("active(after => '{}', max_age => '1 hour')", workers[103])),
        [workers[104], boss]
    );
    assert_eq!(list(db, "by_type('boss')"), [boss]);
    for call in [
        "by_type(NULL)",
        "by_type('boss', 0)",
        "by_type('boss', NULL)",
        "active(NULL)",
        "active('0')",
        "active('-1 second')",
        "active('1 minute', 0)",
        "active('1 minute', NULL)",
    ] {
        refused(db, &format!("caliber_agent_list_{call}"), "22023");
        refused(db, &format!("* FROM caliber_agent_list_{call}"), "22023");
    }
}

#[test]
fn the_active_are_those_that_live() {
    let db = &mut Tree::new("agent").db;
    let ids: Vec<Uuid> = STATES
        .iter()
        .map(|status| {
            let id = register(db, "'worker'");
            set_status(db, id, status);
            id
        })
        .collect();
    assert_eq!(list(db, "active('1 hour')"), ids[..2], "idle and active");
    age(db, ids[0], "10 minutes");
    assert_eq!(list(db, "active()"), [ids[1]], "a minute is the default");
    assert_eq!(list(db, "active('5 minutes')"), [ids[1]]);
    assert_eq!(list(db, "active('1 hour')"), ids[..2]);
    db.run(&format!("SELECT caliber_agent_heartbeat('{}')", ids[0]));
    assert_eq!(list(db, "active('5 minutes')"), ids[..2]);
    // The page is full although others lie in between.
    age(db, ids[0], "1 day");
    set_status(db, ids[4], "idle");
    assert_eq!(list(db, "active('1 hour', 2)"), [ids[1], ids[4]]);
}

#[test]
fn a_transaction_sees_its_own_agents() {
    let mut t = Tree::new("agent");
    let mut other = t.connect();
    let db = &mut t.db;
    db.run("BEGIN");
    let id: Uuid = db.one("SELECT (caliber_agent_get(caliber_agent_register('worker'))).agent_id");
    db.run("SAVEPOINT s");
    set_status(db, id, "offline");
    assert!(list(db, "active('1 hour')").is_empty());
    let second = register(db, "'worker'");
    assert_eq!(list(db, "by_type('worker')"), [id, second]);
    db.run("ROLLBACK TO s");
    assert_eq!(list(db, "active('1 hour')"), [id]);
    assert_eq!(list(db, "by_type('worker')"), [id]);
    assert!(list(&mut other, "by_type('worker')").is_empty());
    db.run("COMMIT");
    assert_eq!(list(&mut other, "by_type('worker')"), [id]);
}

#[test]
fn an_agent_that_is_gone_leaves_no_reference() {
    let db = &mut Tree::new("agent").db;
    let boss = register(db, "'boss'");
    let id = register(db, &format!("'worker', reports_to => '{boss}'"));
    db.run(&format!("DELETE FROM caliber_agent WHERE agent_id = '{boss}'"));
    assert_eq!(get(db, boss), Value::Null);
    assert!(list(db, "by_type('boss')").is_empty());
    assert_eq!(get(db, id)["reports_to"], Value::Null);
}
