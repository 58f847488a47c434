//! The functions of artifacts: what they store and return, and what they refuse.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::thread;

use caliber_tests::{DbError, Tree, UNKNOWN, assert_sqlstate};
use serde_json::{Value, json};
use uuid::Uuid;

const V4: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const VECTOR: &str = "[1,0,0.5,-2,0,0,0,3]";

/// Creates an artifact in the tree's scope; `arguments` come after the scope's id.
#[track_caller]
fn create(t: &mut Tree, arguments: &str) -> Uuid {
    let sql = create_sql(t, arguments);
    t.db.one(&sql)
}

fn create_sql(t: &Tree, arguments: &str) -> String {
    format!("SELECT caliber_artifact_create('{}', '{}', {arguments})", t.trajectory, t.scope)
}

#[track_caller]
fn get(t: &mut Tree, id: Uuid) -> Value {
    t.db.json(&format!("caliber_artifact_get('{id}')"))
}

#[track_caller]
fn update(t: &mut Tree, id: Uuid, arguments: &str) -> Value {
    t.db.json(&format!("caliber_artifact_update('{id}', {arguments})"))
}

#[track_caller]
fn supersede(t: &mut Tree, id: Uuid, by: Uuid) -> Value {
    t.db.json(&format!("caliber_artifact_supersede('{id}', '{by}')"))
}

#[track_caller]
fn refused(t: &mut Tree, call: &str, sqlstate: &str) -> DbError {
    t.db.refused_unchanged(&format!("SELECT {call}"), sqlstate, &["caliber_artifact"])
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
fn list(t: &mut Tree, call: &str) -> Vec<Uuid> {
    t.db.all(&format!("SELECT artifact_id FROM caliber_artifact_{call}"))
}

#[test]
fn create_stores_every_argument() {
    let mut t = Tree::new("artifact");
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    t.db.run("BEGIN");
    let arguments = format!(
        "artifact_type => 'fact', name => 'Größe', content => 'naïve ☃', embedding => '{VECTOR}',
         source_turn => 7, extraction_method => 'inferred', confidence => 0.25,
         ttl => '2 hours', metadata => '{{\"m\": null}}', artifact_id => '{id}'"
    );
    assert_eq!(create(&mut t, &arguments), id);
    let now = t.db.json("transaction_timestamp()");
    let end = t.db.json("transaction_timestamp() + interval '2 hours'");
    let hash = t.db.json("sha256(convert_to('naïve ☃', 'UTF8'))");
    let expected = json!({
        "artifact_id": id.to_string(), "trajectory_id": t.trajectory.to_string(),
        "scope_id": t.scope.to_string(), "artifact_type": "fact", "name": "Größe",
        "content": "naïve ☃", "content_hash": hash, "embedding": VECTOR, "source_turn": 7,
        "extraction_method": "inferred", "confidence": 0.25, "expires_at": end,
        "superseded_by": null, "metadata": {"m": null}, "created_at": now, "updated_at": now,
        "version": 1,
    });
    assert_eq!(get(&mut t, id), expected);
    t.db.run("COMMIT");
    assert_eq!(get(&mut t, id), expected);
}

#[test]
fn what_create_is_not_told_has_its_default() {
    let mut t = Tree::new("artifact");
    t.db.run("BEGIN");
    let id = create(&mut t, "'', '', 'abc'");
    let now = t.db.json("transaction_timestamp()");
    assert_eq!(
        get(&mut t, id),
        json!({
            "artifact_id": id.to_string(), "trajectory_id": t.trajectory.to_string(),
            "scope_id": t.scope.to_string(), "artifact_type": "", "name": "", "content": "abc",
            "content_hash": "\\xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "embedding": null, "source_turn": null, "extraction_method": "explicit",
            "confidence": null, "expires_at": null, "superseded_by": null, "metadata": null,
            "created_at": now, "updated_at": now, "version": 1,
        })
    );
    t.db.run("COMMIT");
}

#[test]
fn bad_arguments_of_create_are_refused() {
    let mut t = Tree::new("artifact");
    create(&mut t, "'fact', 'n', 'c'");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let other: Uuid = t.db.one("SELECT caliber_trajectory_create('other')");
    let ok = format!("'{trajectory}', '{scope}', 'fact', 'n', 'c'");
    for (arguments, sqlstate, named) in [
        (format!("NULL, '{scope}', 'fact', 'n', 'c'"), "23502", "trajectory_id"),
        (format!("'{trajectory}', NULL, 'fact', 'n', 'c'"), "23502", "scope_id"),
        (format!("'{trajectory}', '{scope}', NULL, 'n', 'c'"), "23502", "artifact_type"),
        (format!("'{trajectory}', '{scope}', 'fact', NULL, 'c'"), "23502", "name"),
        (format!("'{trajectory}', '{scope}', 'fact', 'n', NULL"), "23502", "content"),
        (
            format!("'{UNKNOWN}', '{scope}', 'fact', 'n', 'c'"),
            "23503",
            "caliber_artifact_trajectory_id_fkey",
        ),
        (
            format!("'{trajectory}', '{UNKNOWN}', 'fact', 'n', 'c'"),
            "23503",
            "caliber_artifact_scope_id_fkey",
        ),
        (
            format!("'{other}', '{scope}', 'fact', 'n', 'c'"),
            "23503",
            "caliber_artifact_scope_id_fkey",
        ),
        (format!("{ok}, confidence => -0.1"), "23514", "caliber_artifact_confidence_check"),
        (format!("{ok}, confidence => 1.1"), "23514", "caliber_artifact_confidence_check"),
        (format!("{ok}, confidence => 'NaN'"), "23514", "caliber_artifact_confidence_check"),
        (format!("{ok}, extraction_method => 'guessed'"), "22P02", "guessed"),
        (format!("{ok}, embedding => '[1,2,3]'"), "22000", "expected 8 dimensions, not 3"),
        (format!("{ok}, embedding => '[1,2'"), "22P02", "vector"),
        (format!("{ok}, ttl => '0'"), "22023", "ttl"),
        (format!("{ok}, ttl => '-1 second'"), "22023", "ttl"),
        (format!("{ok}, ttl => '1 day -24 hours'"), "22023", "ttl"),
        (format!("{ok}, metadata => 'no json'"), "22P02", "json"),
        (format!("{ok}, artifact_id => '{V4}'"), "22023", "artifact_id"),
    ] {
        let error = refused(&mut t, &format!("caliber_artifact_create({arguments})"), sqlstate);
        names(&error, named);
    }
}

#[test]
fn create_with_an_id_can_be_repeated() {
    let mut t = Tree::new("artifact");
    let (trajectory, scope, other) = (t.trajectory, t.scope, t.new_scope(100));
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    let arguments = format!("'fact', 'n', 'c', artifact_id => '{id}'");
    assert_eq!(create(&mut t, &arguments), id);
    update(&mut t, id, "'{\"content\": \"changed since\"}'");
    let before = t.db.rows_of("caliber_artifact");
    assert_eq!(create(&mut t, &arguments), id);
    // Only what is fixed is compared, before every other check.
    for arguments in [
        format!("'{trajectory}', '{scope}', 'other', 'x', 'x', artifact_id => '{id}'"),
        format!(
            "'{trajectory}', '{scope}', 'fact', 'n', 'c', confidence => 7, artifact_id => '{id}'"
        ),
        format!("NULL, NULL, NULL, NULL, NULL, artifact_id => '{id}'"),
    ] {
        let again: Uuid = t.db.one(&format!("SELECT caliber_artifact_create({arguments})"));
        assert_eq!(again, id);
    }
    assert_eq!(t.db.rows_of("caliber_artifact"), before);
    for (arguments, named) in [
        (format!("'{trajectory}', '{other}', 'fact', 'n', 'c'"), "\"scope_id\""),
        (format!("'{UNKNOWN}', '{scope}', 'fact', 'n', 'c'"), "\"trajectory_id\""),
    ] {
        let call = format!("caliber_artifact_create({arguments}, artifact_id => '{id}')");
        let error = refused(&mut t, &call, "23505");
        assert!(error.detail().unwrap().contains(named), "{error:?}");
    }
}

#[test]
fn an_unknown_artifact_is_null() {
    let mut t = Tree::new("artifact");
    create(&mut t, "'fact', 'n', 'c'");
    for id in [format!("'{UNKNOWN}'"), format!("'{V4}'"), "NULL".to_owned()] {
        assert_eq!(t.db.json(&format!("caliber_artifact_get({id})")), Value::Null);
    }
    assert!(list(&mut t, &format!("query_by_scope('{UNKNOWN}')")).is_empty());
    assert!(list(&mut t, &format!("query_by_type('{UNKNOWN}', 'fact')")).is_empty());
}

#[test]
fn lists_are_paged_by_key() {
    let mut t = Tree::new("artifact");
    let (trajectory, scope, other) = (t.trajectory, t.scope, t.new_scope(100));
    let facts: Vec<Uuid> =
        (0..105).map(|i| create(&mut t, &format!("'fact', '{i}', 'c'"))).collect();
    let error_log = create(&mut t, "'error_log', 'n', 'c'");
    let elsewhere: Uuid = t.db.one(&format!(
        "SELECT caliber_artifact_create('{trajectory}', '{other}', 'fact', 'n', 'c')"
    ));
    let stranger: Uuid = t.db.one("SELECT caliber_trajectory_create('stranger')");
    t.db.run(&format!(
        "SELECT caliber_artifact_create('{stranger}', caliber_scope_create('{stranger}', 's', 9), 'fact', 'n', 'c')"
    ));
    let by_type = format!("query_by_type('{trajectory}', 'fact'");
    let by_scope = format!("query_by_scope('{scope}'");
    assert_eq!(list(&mut t, &format!("{by_type})")), facts[..100]);
    assert_eq!(list(&mut t, &format!("{by_scope})")), facts[..100]);
    for list_by in [&by_type, &by_scope] {
        assert_eq!(list(&mut t, &format!("{list_by}, false, 2)")), facts[..2]);
        let page = format!("{list_by}, max_rows => 4, after => '{}')", facts[98]);
        assert_eq!(list(&mut t, &page), facts[99..103]);
    }
    assert_eq!(
        list(&mut t, &format!("{by_type}, after => '{}')", facts[103])),
        [facts[104], elsewhere]
    );
    assert_eq!(
        list(&mut t, &format!("{by_scope}, after => '{}')", facts[103])),
        [facts[104], error_log]
    );
    assert!(list(&mut t, &format!("{by_scope}, after => '{error_log}')")).is_empty());
    assert_eq!(list(&mut t, &format!("query_by_type('{trajectory}', 'error_log')")), [error_log]);
    assert!(list(&mut t, &format!("query_by_type('{trajectory}', 'FACT')")).is_empty());
    for call in [
        "query_by_type(NULL, 'fact')".to_owned(),
        format!("query_by_type('{trajectory}', NULL)"),
        "query_by_scope(NULL)".to_owned(),
        format!("{by_type}, include_stale => NULL)"),
        format!("{by_scope}, include_stale => NULL)"),
        format!("{by_type}, max_rows => 0)"),
        format!("{by_type}, max_rows => NULL)"),
        format!("{by_scope}, max_rows => -2147483648)"),
        format!("{by_scope}, max_rows => NULL)"),
    ] {
        refused(&mut t, &format!("caliber_artifact_{call}"), "22023");
        refused(&mut t, &format!("* FROM caliber_artifact_{call}"), "22023");
    }
}

#[test]
fn lists_leave_out_what_is_stale_unless_asked() {
    let mut t = Tree::new("artifact");
    let ids: Vec<Uuid> = (0..7).map(|i| create(&mut t, &format!("'fact', '{i}', 'c'"))).collect();
    let lists = [
        format!("query_by_type('{}', 'fact'", t.trajectory),
        format!("query_by_scope('{}'", t.scope),
    ];
    supersede(&mut t, ids[1], ids[2]);
    update(&mut t, ids[3], "'{\"expires_at\": \"2020-01-01\"}'");
    update(&mut t, ids[4], "'{\"expires_at\": \"infinity\"}'");
    for list_by in lists {
        let live = [ids[0], ids[2], ids[4], ids[5], ids[6]];
        assert_eq!(list(&mut t, &format!("{list_by})")), live);
        assert_eq!(list(&mut t, &format!("{list_by}, true)")), ids);
        // A page is full although stale rows lie in between.
        assert_eq!(list(&mut t, &format!("{list_by}, max_rows => 3)")), live[..3]);
        assert_eq!(
            list(&mut t, &format!("{list_by}, max_rows => 2, after => '{}')", ids[0])),
            live[1..3]
        );
        assert_eq!(list(&mut t, &format!("{list_by}, true, 2, '{}')", ids[0])), ids[1..3]);
    }
    assert_eq!(get(&mut t, ids[3])["name"], json!("3"), "get returns stale rows too");
    // What ends at the transaction's start time has ended.
    t.db.run("BEGIN");
    for (i, moment) in [(5, "0"), (6, "1 microsecond")] {
        let end = t.db.json(&format!("transaction_timestamp() + interval '{moment}'"));
        update(&mut t, ids[i], &format!("'{{\"expires_at\": {end}}}'"));
    }
    let call = format!("query_by_scope('{}')", t.scope);
    assert_eq!(list(&mut t, &call), [ids[0], ids[2], ids[4], ids[6]]);
    t.db.run("COMMIT");
}

#[test]
fn update_changes_what_it_names() {
    let mut t = Tree::new("artifact");
    let id = create(&mut t, &format!("'fact', 'n', 'c', '{VECTOR}', 3, 'inferred', 0.5"));
    let mut expected = get(&mut t, id);
    t.db.run("BEGIN; SET LOCAL timezone = 'UTC'");
    let changes = json!({"content": "zweite Fassung", "name": "neu", "confidence": 0.75,
                         "expires_at": "2100-01-01T00:00:00+00:00", "metadata": [1.50, {}]});
    let row = update(&mut t, id, &format!("'{changes}', '[0,0,0,0,0,0,0,1]', 1"));
    for (key, value) in changes.as_object().unwrap() {
        expected[key] = value.clone();
    }
    expected["embedding"] = json!("[0,0,0,0,0,0,0,1]");
    expected["content_hash"] = t.db.json("sha256(convert_to('zweite Fassung', 'UTF8'))");
    expected["version"] = json!(2);
    expected["updated_at"] = t.db.json("transaction_timestamp()");
    expected["created_at"] = t.db.json(&format!("(caliber_artifact_get('{id}')).created_at"));
    assert_eq!(row, expected);
    assert_eq!(get(&mut t, id), expected);
    t.db.run("COMMIT");
    // The embedding alone, and nulls.
    let row = update(&mut t, id, &format!("'{{}}', embedding => '{VECTOR}'"));
    assert_eq!((&row["embedding"], &row["version"]), (&json!(VECTOR), &json!(3)));
    let row = update(&mut t, id, r#"'{"confidence": null, "expires_at": null, "metadata": null}'"#);
    for column in ["confidence", "expires_at", "metadata"] {
        assert_eq!(row[column], Value::Null);
    }
    assert_eq!(row["embedding"], json!(VECTOR), "an embedding left out stays");
    // Nothing changes.
    for arguments in ["'{}'", r#"'{"name": "neu"}'"#, &format!("'{{}}', '{VECTOR}'")] {
        assert_eq!(update(&mut t, id, arguments), row);
    }
}

#[test]
fn bad_arguments_of_update_are_refused() {
    let mut t = Tree::new("artifact");
    let id = create(&mut t, "'fact', 'n', 'c'");
    update(&mut t, id, "'{\"name\": \"x\"}'");
    for (changes, sqlstate, named) in [
        (json!(["name"]), "22023", "array"),
        (json!("name"), "22023", "string"),
        (json!(null), "22023", "null"),
        (json!({"unknown": 1}), "22023", "unknown"),
        (json!({"name": "y", "": 1}), "22023", "\"\""),
        (json!({"artifact_id": UNKNOWN}), "22023", "artifact_id"),
        (json!({"trajectory_id": UNKNOWN}), "22023", "trajectory_id"),
        (json!({"scope_id": UNKNOWN}), "22023", "scope_id"),
        (json!({"artifact_type": "fact"}), "22023", "artifact_type"),
        (json!({"content_hash": "\\x00"}), "22023", "content_hash"),
        (json!({"embedding": VECTOR}), "22023", "embedding"),
        (json!({"source_turn": 1}), "22023", "source_turn"),
        (json!({"extraction_method": "inferred"}), "22023", "extraction_method"),
        (json!({"superseded_by": null}), "22023", "superseded_by"),
        (json!({"created_at": null}), "22023", "created_at"),
        (json!({"version": 3}), "22023", "version"),
        (json!({"name": true}), "22023", "name"),
        (json!({"content": {}}), "22023", "content"),
        (json!({"confidence": "high"}), "22023", "confidence"),
        (json!({"confidence": 1e200}), "22023", "confidence"),
        (json!({"expires_at": 7}), "22023", "expires_at"),
        (json!({"expires_at": "no time"}), "22007", "no time"),
        (json!({"name": null}), "23502", "name"),
        (json!({"content": null}), "23502", "content"),
        (json!({"confidence": 1.5}), "23514", "caliber_artifact_confidence_check"),
    ] {
        let error =
            refused(&mut t, &format!("caliber_artifact_update('{id}', '{changes}')"), sqlstate);
        names(&error, named);
    }
    for (arguments, sqlstate, named) in [
        (format!("'{id}', '{{}}', '[1,2,3]'"), "22000", "expected 8 dimensions, not 3"),
        (format!("'{id}', '{{}}', 'no vector'"), "22P02", "vector"),
        (format!("'{id}', '{{\"name\": \"y\"}}', expected_version => 1"), "55006", "version is 2"),
        (format!("'{id}', '{{}}', expected_version => -1"), "55006", "version is 2"),
        (format!("'{id}', NULL"), "22023", "changes"),
        ("NULL, '{}'".to_owned(), "22023", "id"),
        (format!("'{UNKNOWN}', '{{}}'"), "P0002", UNKNOWN),
    ] {
        let error = refused(&mut t, &format!("caliber_artifact_update({arguments})"), sqlstate);
        names(&error, named);
    }
}

#[test]
fn a_superseded_artifact_names_its_successor() {
    let mut t = Tree::new("artifact");
    let [a, b, c] = [0, 1, 2].map(|i| create(&mut t, &format!("'fact', '{i}', 'c'")));
    let successor = get(&mut t, b);
    let mut expected = get(&mut t, a);
    t.db.run("BEGIN");
    let row = supersede(&mut t, a, b);
    expected["superseded_by"] = json!(b.to_string());
    expected["version"] = json!(2);
    expected["updated_at"] = t.db.json("transaction_timestamp()");
    t.db.run("COMMIT");
    assert_eq!(row, expected);
    assert_eq!(get(&mut t, a), expected);
    assert_eq!(get(&mut t, b), successor);
    assert_eq!(supersede(&mut t, a, b), expected, "again, nothing changes");
    let call = format!("caliber_artifact_supersede('{a}', '{c}')");
    names(&refused(&mut t, &call, "55000"), "is superseded already");
    // Two may have the same successor, and the successor one of its own.
    assert_eq!(supersede(&mut t, c, b)["superseded_by"], json!(b.to_string()));
    let d = create(&mut t, "'fact', 'd', 'c'");
    assert_eq!(supersede(&mut t, b, d)["superseded_by"], json!(d.to_string()));
    // A superseded one may still succeed another.
    let e = create(&mut t, "'fact', 'e', 'c'");
    assert_eq!(supersede(&mut t, e, a)["superseded_by"], json!(a.to_string()));
}

#[test]
fn nothing_supersedes_itself() {
    let mut t = Tree::new("artifact");
    let ids: Vec<Uuid> = (0..4).map(|i| create(&mut t, &format!("'fact', '{i}', 'c'"))).collect();
    let call = format!("caliber_artifact_supersede('{0}', '{0}')", ids[0]);
    let error = refused(&mut t, &call, "23514");
    assert_eq!(error.constraint(), Some("caliber_artifact_superseded_by_check"));
    // Each end of the growing chain is refused all that it replaces.
    for end in 1..ids.len() {
        supersede(&mut t, ids[end - 1], ids[end]);
        for by in &ids[..end] {
            let call = format!("caliber_artifact_supersede('{}', '{by}')", ids[end]);
            names(&refused(&mut t, &call, "55000"), "would supersede itself");
        }
    }
    for (arguments, sqlstate) in [
        (format!("'{UNKNOWN}', '{}'", ids[3]), "P0002"),
        (format!("'{}', '{UNKNOWN}'", ids[3]), "P0002"),
        (format!("NULL, '{}'", ids[3]), "22023"),
        (format!("'{}', NULL", ids[3]), "22023"),
    ] {
        refused(&mut t, &format!("caliber_artifact_supersede({arguments})"), sqlstate);
    }
}

#[test]
fn two_that_would_supersede_each_other_at_once_do_not() {
    let mut t = Tree::new("artifact");
    let [a, b] = [0, 1].map(|i| create(&mut t, &format!("'fact', '{i}', 'c'")));
    let mut other = t.connect();
    let pid = other.pid();
    t.db.run("BEGIN");
    supersede(&mut t, a, b);
    let sql = format!("SELECT caliber_artifact_supersede('{b}', '{a}')");
    let second = thread::spawn({
        let sql = sql.clone();
        move || other.attempt(&sql)
    });
    t.connect().wait_until_blocked(pid);
    t.db.run("COMMIT");
    assert_sqlstate(second.join().unwrap(), "55000", &sql);
    assert_eq!(get(&mut t, b)["superseded_by"], Value::Null);
}

#[test]
fn plain_sql_keeps_the_successor_too() {
    let mut t = Tree::new("artifact");
    let [a, b, c] = [0, 1, 2].map(|i| create(&mut t, &format!("'fact', '{i}', 'c'")));
    supersede(&mut t, a, b);
    let set = |to: &str| {
        format!("UPDATE caliber_artifact SET superseded_by = {to} WHERE artifact_id = '{a}'")
    };
    let error = t.db.refused_unchanged(&set(&format!("'{c}'")), "55000", &["caliber_artifact"]);
    names(&error, "is superseded already");
    t.db.run(&set("NULL"));
    t.db.run(&set(&format!("'{c}'")));
    let scope = t.scope;
    let live = format!("query_by_scope('{scope}')");
    assert_eq!(list(&mut t, &live), [b, c]);
    // Without its successor it is live again.
    t.db.run(&format!("DELETE FROM caliber_artifact WHERE artifact_id = '{c}'"));
    assert_eq!(list(&mut t, &live), [a, b]);
    assert_eq!(get(&mut t, a)["superseded_by"], Value::Null);
}

#[test]
fn the_hash_finds_equal_contents() {
    let mut t = Tree::new("artifact");
    let large = "large ☃ ".repeat(10_000);
    for content in ["", "x", "ß", "x", &large] {
        create(&mut t, &format!("'fact', 'n', '{content}'"));
    }
    let differs: i64 = t.db.one(
        "SELECT count(*) FROM caliber_artifact
         WHERE content_hash IS DISTINCT FROM sha256(convert_to(content, 'UTF8'))",
    );
    assert_eq!(differs, 0);
    let mut found = |content: &str| -> i64 {
        t.db.one(&format!(
            "SELECT count(*) FROM caliber_artifact WHERE content_hash = caliber_content_hash('{content}')"
        ))
    };
    assert_eq!([found("x"), found(""), found(&large), found("y")], [2, 1, 1, 0]);
    let sql = "UPDATE caliber_artifact SET content_hash = '\\x00'";
    t.db.refused_unchanged(sql, "428C9", &["caliber_artifact"]);
}

#[test]
fn a_transaction_sees_its_own_artifacts() {
    let mut t = Tree::new("artifact");
    let mut other = t.connect();
    let (trajectory, scope) = (t.trajectory, t.scope);
    let live = format!("query_by_scope('{scope}')");
    t.db.run("BEGIN");
    let same_statement: String = t.db.one(&format!(
        "SELECT (caliber_artifact_get(caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'n', 'c'))).content"
    ));
    assert_eq!(same_statement, "c");
    let a = list(&mut t, &live)[0];
    t.db.run("SAVEPOINT s");
    let b = create(&mut t, "'fact', 'b', 'c'");
    supersede(&mut t, a, b);
    assert_eq!(list(&mut t, &live), [b]);
    t.db.run("ROLLBACK TO s");
    assert_eq!(list(&mut t, &live), [a]);
    assert_eq!(get(&mut t, b), Value::Null);
    let unseen = format!("caliber_artifact_get('{a}')");
    assert_eq!(other.json(&unseen), Value::Null);
    t.db.run("COMMIT");
    assert_eq!(other.json(&unseen), get(&mut t, a));
}
