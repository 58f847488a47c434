//! The functions of notes: what they store and return, and what they refuse.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::{Db, DbError, Schema, UNKNOWN};
use serde_json::{Value, json};
use uuid::Uuid;

const V4: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const VECTOR: &str = "[1,0,0.5,-2,0,0,0,3]";
/// Ids of things that need not exist: sources of notes are no foreign keys.
const SOURCES: [&str; 3] = [
    "01920000-0000-7000-8000-000000000001",
    "01920000-0000-7000-8000-000000000002",
    "01920000-0000-7000-8000-000000000003",
];

#[track_caller]
fn create(db: &mut Db, arguments: &str) -> Uuid {
    db.one(&format!("SELECT caliber_note_create({arguments})"))
}

#[track_caller]
fn get(db: &mut Db, id: Uuid) -> Value {
    db.json(&format!("caliber_note_get('{id}')"))
}

#[track_caller]
fn update(db: &mut Db, id: Uuid, arguments: &str) -> Value {
    db.json(&format!("caliber_note_update('{id}', {arguments})"))
}

#[track_caller]
fn supersede(db: &mut Db, id: Uuid, by: Uuid) -> Value {
    db.json(&format!("caliber_note_supersede('{id}', '{by}')"))
}

#[track_caller]
fn refused(db: &mut Db, call: &str, sqlstate: &str) -> DbError {
    db.refused_unchanged(&format!("SELECT {call}"), sqlstate, &["caliber_note"])
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
    db.all(&format!("SELECT note_id FROM caliber_note_{call}"))
}

#[test]
fn create_stores_every_argument() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let id: Uuid = db.one("SELECT caliber_new_id()");
    let [x, y, z] = SOURCES;
    db.run("BEGIN");
    let arguments = format!(
        "note_type => 'gotcha', title => 'Vorsicht', content => 'naïve ☃',
         source_trajectory_ids => '{{{x},{y}}}', source_artifact_ids => '{{{z}}}',
         source_note_ids => '{{{x},{x}}}', abstraction_level => 'principle',
         embedding => '{VECTOR}', ttl => '2 hours', metadata => '{{\"m\": null}}', note_id => '{id}'"
    );
    assert_eq!(create(&mut db, &arguments), id);
    let now = db.json("transaction_timestamp()");
    let end = db.json("transaction_timestamp() + interval '2 hours'");
    let hash = db.json("sha256(convert_to('naïve ☃', 'UTF8'))");
    let row = get(&mut db, id);
    assert_eq!(
        row,
        json!({
            "note_id": id.to_string(), "note_type": "gotcha", "title": "Vorsicht",
            "content": "naïve ☃", "content_hash": hash, "embedding": VECTOR,
            "abstraction_level": "principle", "source_trajectory_ids": [x, y],
            "source_artifact_ids": [z], "source_note_ids": [x, x], "expires_at": end,
            "superseded_by": null, "accessed_at": now, "access_count": 0,
            "metadata": {"m": null}, "created_at": now, "updated_at": now, "version": 1,
        })
    );
    db.run("COMMIT");
    assert_eq!(get(&mut db, id), row);
}

#[test]
fn what_create_is_not_told_has_its_default() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    db.run("BEGIN");
    let id = create(&mut db, "'', '', 'abc'");
    let now = db.json("transaction_timestamp()");
    assert_eq!(
        get(&mut db, id),
        json!({
            "note_id": id.to_string(), "note_type": "", "title": "", "content": "abc",
            "content_hash": "\\xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "embedding": null, "abstraction_level": "raw", "source_trajectory_ids": [],
            "source_artifact_ids": [], "source_note_ids": [], "expires_at": null,
            "superseded_by": null, "accessed_at": now, "access_count": 0, "metadata": null,
            "created_at": now, "updated_at": now, "version": 1,
        })
    );
    db.run("COMMIT");
}

#[test]
fn bad_arguments_of_create_are_refused() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    create(&mut db, "'fact', 't', 'c'");
    for (arguments, sqlstate, named) in [
        ("NULL, 't', 'c'".to_owned(), "23502", "note_type"),
        ("'fact', NULL, 'c'".to_owned(), "23502", "title"),
        ("'fact', 't', NULL".to_owned(), "23502", "content"),
        ("'fact', 't', 'c', abstraction_level => 'vague'".to_owned(), "22P02", "vague"),
        ("'fact', 't', 'c', source_note_ids => '{x}'".to_owned(), "22P02", "uuid"),
        (
            "'fact', 't', 'c', embedding => '[1,2,3]'".to_owned(),
            "22000",
            "expected 8 dimensions, not 3",
        ),
        ("'fact', 't', 'c', ttl => '0'".to_owned(), "22023", "ttl"),
        ("'fact', 't', 'c', ttl => '-1 second'".to_owned(), "22023", "ttl"),
        ("'fact', 't', 'c', metadata => '{'".to_owned(), "22P02", "json"),
        (format!("'fact', 't', 'c', note_id => '{V4}'"), "22023", "note_id"),
    ] {
        let error = refused(&mut db, &format!("caliber_note_create({arguments})"), sqlstate);
        names(&error, named);
    }
}

#[test]
fn create_with_an_id_can_be_repeated() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let id: Uuid = db.one("SELECT caliber_new_id()");
    assert_eq!(create(&mut db, &format!("'fact', 't', 'c', note_id => '{id}'")), id);
    update(&mut db, id, "'{\"title\": \"changed since\"}'");
    let before = db.rows_of("caliber_note");
    // None of a note's arguments is fixed.
    for arguments in ["'fact', 't', 'c'", "'other', 'x', 'x'", "NULL, NULL, NULL"] {
        assert_eq!(create(&mut db, &format!("{arguments}, note_id => '{id}'")), id);
    }
    assert_eq!(db.rows_of("caliber_note"), before);
}

#[test]
fn an_unknown_note_is_null() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    create(&mut db, "'fact', 't', 'c'");
    for id in [format!("'{UNKNOWN}'"), format!("'{V4}'"), "NULL".to_owned()] {
        assert_eq!(db.json(&format!("caliber_note_get({id})")), Value::Null);
    }
    assert!(list(&mut db, &format!("query_by_trajectory('{UNKNOWN}')")).is_empty());
    assert!(list(&mut db, "list_by_type('Fact')").is_empty());
}

#[test]
fn a_touch_counts_and_changes_nothing_else() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let id = create(&mut db, "'fact', 't', 'c'");
    let before = get(&mut db, id);
    db.run("BEGIN");
    let mut last = before["accessed_at"].clone();
    for count in 1..=3 {
        let row = db.json(&format!("caliber_note_touch('{id}')"));
        let later: bool = db.one(&format!(
            "SELECT accessed_at > '{}' AND accessed_at > transaction_timestamp()
                AND accessed_at <= clock_timestamp() FROM caliber_note_get('{id}')",
            last.as_str().unwrap()
        ));
        assert!(later, "{row} after {last}");
        let mut expected = before.clone();
        expected["access_count"] = json!(count);
        expected["accessed_at"] = row["accessed_at"].clone();
        assert_eq!(row, expected);
        assert_eq!(get(&mut db, id), expected);
        last = row["accessed_at"].clone();
    }
    let hot: i64 = db.one("SELECT pg_stat_get_xact_tuples_hot_updated('caliber_note'::regclass)");
    assert_eq!(hot, 3, "no index is touched");
    db.run("COMMIT");
    refused(&mut db, &format!("caliber_note_touch('{UNKNOWN}')"), "P0002");
    refused(&mut db, "caliber_note_touch(NULL)", "22023");
}

#[test]
fn lists_are_paged_by_key() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let [x, y, z] = SOURCES;
    let facts: Vec<Uuid> =
        (0..105).map(|i| create(&mut db, &format!("'fact', '{i}', 'c', '{{{y},{x}}}'"))).collect();
    let insight = create(&mut db, &format!("'insight', 't', 'c', '{{{x}}}'"));
    // Named as another kind of source, which is not asked for.
    create(&mut db, &format!("'meta', 't', 'c', NULL, '{{{x}}}', '{{{x}}}'"));
    let by_type = "list_by_type('fact'".to_owned();
    let by_source = format!("query_by_trajectory('{x}'");
    for list_by in [&by_type, &by_source] {
        assert_eq!(list(&mut db, &format!("{list_by})")), facts[..100]);
        assert_eq!(list(&mut db, &format!("{list_by}, false, 2)")), facts[..2]);
        let page = format!("{list_by}, max_rows => 4, after => '{}')", facts[98]);
        assert_eq!(list(&mut db, &page), facts[99..103]);
    }
    assert_eq!(list(&mut db, &format!("{by_type}, after => '{}')", facts[103])), [facts[104]]);
    assert_eq!(
        list(&mut db, &format!("{by_source}, after => '{}')", facts[103])),
        [facts[104], insight]
    );
    assert_eq!(list(&mut db, &format!("query_by_trajectory('{y}', max_rows => 1000)")), facts);
    assert!(list(&mut db, &format!("query_by_trajectory('{z}')")).is_empty());
    // The index follows the sources.
    update(&mut db, facts[7], &format!("'{{\"source_trajectory_ids\": [\"{z}\"]}}'"));
    assert_eq!(list(&mut db, &format!("query_by_trajectory('{z}')")), [facts[7]]);
    assert_eq!(list(&mut db, &format!("query_by_trajectory('{y}', max_rows => 1000)")).len(), 104);
    for call in [
        "list_by_type(NULL)".to_owned(),
        "query_by_trajectory(NULL)".to_owned(),
        format!("{by_type}, include_stale => NULL)"),
        format!("{by_source}, include_stale => NULL)"),
        format!("{by_type}, max_rows => 0)"),
        format!("{by_type}, max_rows => NULL)"),
        format!("{by_source}, max_rows => -1)"),
        format!("{by_source}, max_rows => NULL)"),
    ] {
        refused(&mut db, &format!("caliber_note_{call}"), "22023");
        refused(&mut db, &format!("* FROM caliber_note_{call}"), "22023");
    }
}

#[test]
fn lists_leave_out_what_is_stale_unless_asked() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let source = SOURCES[0];
    let ids: Vec<Uuid> =
        (0..7).map(|i| create(&mut db, &format!("'fact', '{i}', 'c', '{{{source}}}'"))).collect();
    supersede(&mut db, ids[1], ids[2]);
    update(&mut db, ids[3], "'{\"expires_at\": \"2020-01-01\"}'");
    update(&mut db, ids[4], "'{\"expires_at\": \"infinity\"}'");
    for list_by in ["list_by_type('fact'".to_owned(), format!("query_by_trajectory('{source}'")] {
        let live = [ids[0], ids[2], ids[4], ids[5], ids[6]];
        assert_eq!(list(&mut db, &format!("{list_by})")), live);
        assert_eq!(list(&mut db, &format!("{list_by}, true)")), ids);
        // A page is full although stale rows lie in between.
        assert_eq!(list(&mut db, &format!("{list_by}, max_rows => 3)")), live[..3]);
        assert_eq!(
            list(&mut db, &format!("{list_by}, max_rows => 2, after => '{}')", ids[0])),
            live[1..3]
        );
        assert_eq!(list(&mut db, &format!("{list_by}, true, 2, '{}')", ids[0])), ids[1..3]);
    }
}

#[test]
fn update_changes_what_it_names() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let [x, y, z] = SOURCES;
    let id = create(&mut db, &format!("'fact', 't', 'c', '{{{x}}}', embedding => '{VECTOR}'"));
    let before = get(&mut db, id);
    db.run("SET timezone = 'UTC'; BEGIN");
    let changes = json!({"title": "neu", "content": "zweite Fassung", "metadata": {"k": [1.50]},
                         "abstraction_level": "summary", "source_trajectory_ids": [y, z],
                         "source_artifact_ids": [x], "source_note_ids": [],
                         "expires_at": "2100-01-01T00:00:00+00:00"});
    let row = update(&mut db, id, &format!("'{changes}', '[0,0,0,0,0,0,0,1]', 1"));
    let mut expected = before;
    for (key, value) in changes.as_object().unwrap() {
        expected[key] = value.clone();
    }
    expected["embedding"] = json!("[0,0,0,0,0,0,0,1]");
    expected["content_hash"] = db.json("sha256(convert_to('zweite Fassung', 'UTF8'))");
    expected["version"] = json!(2);
    expected["updated_at"] = db.json("transaction_timestamp()");
    for unchanged in ["created_at", "accessed_at"] {
        expected[unchanged] = db.json(&format!("(caliber_note_get('{id}')).{unchanged}"));
    }
    assert_eq!(row, expected);
    db.run("COMMIT");
    assert_eq!(get(&mut db, id), expected);
    let row = update(&mut db, id, r#"'{"expires_at": null, "metadata": null}'"#);
    assert_eq!((&row["expires_at"], &row["metadata"]), (&Value::Null, &Value::Null));
    assert_eq!((&row["embedding"], &row["version"]), (&expected["embedding"], &json!(3)));
    // Nothing changes.
    for arguments in ["'{}'", r#"'{"title": "neu"}'"#, r#"'{"source_note_ids": []}'"#] {
        assert_eq!(update(&mut db, id, arguments), row);
    }
}

#[test]
fn bad_arguments_of_update_are_refused() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let id = create(&mut db, "'fact', 't', 'c'");
    update(&mut db, id, "'{\"title\": \"x\"}'");
    for (changes, sqlstate, named) in [
        (json!([]), "22023", "array"),
        (json!(null), "22023", "null"),
        (json!({"unknown": 1}), "22023", "unknown"),
        (json!({"note_id": UNKNOWN}), "22023", "note_id"),
        (json!({"note_type": "meta"}), "22023", "note_type"),
        (json!({"content_hash": "\\x00"}), "22023", "content_hash"),
        (json!({"embedding": VECTOR}), "22023", "embedding"),
        (json!({"superseded_by": null}), "22023", "superseded_by"),
        (json!({"accessed_at": "2020-01-01"}), "22023", "accessed_at"),
        (json!({"access_count": 7}), "22023", "access_count"),
        (json!({"title": 1}), "22023", "title"),
        (json!({"abstraction_level": 1}), "22023", "abstraction_level"),
        (json!({"source_note_ids": UNKNOWN}), "22023", "source_note_ids"),
        (json!({"source_note_ids": [1]}), "22023", "source_note_ids"),
        (json!({"source_note_ids": ["x"]}), "22023", "source_note_ids"),
        (json!({"source_note_ids": [[UNKNOWN]]}), "22023", "source_note_ids"),
        (json!({"expires_at": false}), "22023", "expires_at"),
        (json!({"abstraction_level": "vague"}), "22P02", "vague"),
        (json!({"expires_at": "no time"}), "22007", "no time"),
        (json!({"title": null}), "23502", "title"),
        (json!({"content": null}), "23502", "content"),
        (json!({"abstraction_level": null}), "23502", "abstraction_level"),
        (json!({"source_trajectory_ids": null}), "23502", "source_trajectory_ids"),
        (json!({"source_artifact_ids": null}), "23502", "source_artifact_ids"),
        (json!({"source_note_ids": null}), "23502", "source_note_ids"),
    ] {
        let error =
            refused(&mut db, &format!("caliber_note_update('{id}', '{changes}')"), sqlstate);
        names(&error, named);
    }
    for (arguments, sqlstate, named) in [
        (format!("'{id}', '{{}}', '[1]'"), "22000", "expected 8 dimensions, not 1"),
        (format!("'{id}', '{{\"title\": \"y\"}}', expected_version => 1"), "55006", "version is 2"),
        (format!("'{id}', NULL"), "22023", "changes"),
        ("NULL, '{}'".to_owned(), "22023", "id"),
        (format!("'{UNKNOWN}', '{{}}'"), "P0002", UNKNOWN),
    ] {
        let error = refused(&mut db, &format!("caliber_note_update({arguments})"), sqlstate);
        names(&error, named);
    }
}

#[test]
fn a_superseded_note_names_its_successor() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let [a, b, c] = [0, 1, 2].map(|i| create(&mut db, &format!("'fact', '{i}', 'c'")));
    let mut expected = get(&mut db, a);
    db.run("BEGIN");
    let row = supersede(&mut db, a, b);
    expected["superseded_by"] = json!(b.to_string());
    expected["version"] = json!(2);
    expected["updated_at"] = db.json("transaction_timestamp()");
    db.run("COMMIT");
    assert_eq!(row, expected);
    assert_eq!(get(&mut db, a), expected);
    assert_eq!(supersede(&mut db, a, b), expected, "again, nothing changes");
    let call = format!("caliber_note_supersede('{a}', '{c}')");
    names(&refused(&mut db, &call, "55000"), "is superseded already");
    let sql = format!("UPDATE caliber_note SET superseded_by = '{c}' WHERE note_id = '{a}'");
    names(&db.refused_unchanged(&sql, "55000", &["caliber_note"]), "is superseded already");
    // A note's successor goes: it is live again.
    db.run(&format!("DELETE FROM caliber_note WHERE note_id = '{b}'"));
    assert_eq!(list(&mut db, "list_by_type('fact')"), [a, c]);
}

#[test]
fn nothing_supersedes_itself() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let ids: Vec<Uuid> = (0..4).map(|i| create(&mut db, &format!("'fact', '{i}', 'c'"))).collect();
    let call = format!("caliber_note_supersede('{0}', '{0}')", ids[0]);
    let error = refused(&mut db, &call, "23514");
    assert_eq!(error.constraint(), Some("caliber_note_superseded_by_check"));
    for end in 1..ids.len() {
        supersede(&mut db, ids[end - 1], ids[end]);
        for by in &ids[..end] {
            let call = format!("caliber_note_supersede('{}', '{by}')", ids[end]);
            names(&refused(&mut db, &call, "55000"), "would supersede itself");
        }
    }
    for (arguments, sqlstate) in [
        (format!("'{UNKNOWN}', '{}'", ids[3]), "P0002"),
        (format!("'{}', '{UNKNOWN}'", ids[3]), "P0002"),
        (format!("NULL, '{}'", ids[3]), "22023"),
        (format!("'{}', NULL", ids[3]), "22023"),
    ] {
        refused(&mut db, &format!("caliber_note_supersede({arguments})"), sqlstate);
    }
}

#[test]
fn a_transaction_sees_its_own_notes() {
    let schema = Schema::new("note");
    let mut db = schema.connect();
    let mut other = schema.connect();
    let source = SOURCES[0];
    let by_source = format!("query_by_trajectory('{source}')");
    db.run("BEGIN");
    let a: Uuid = db.one(&format!(
        "SELECT (caliber_note_touch(caliber_note_create('fact', 't', 'c', '{{{source}}}'))).note_id"
    ));
    assert_eq!(get(&mut db, a)["access_count"], json!(1));
    assert_eq!(list(&mut db, &by_source), [a]);
    db.run("SAVEPOINT s");
    let b = create(&mut db, &format!("'fact', 'b', 'c', '{{{source}}}'"));
    supersede(&mut db, a, b);
    assert_eq!(list(&mut db, &by_source), [b]);
    assert_eq!(list(&mut db, "list_by_type('fact')"), [b]);
    db.run("ROLLBACK TO s");
    assert_eq!(list(&mut db, &by_source), [a]);
    assert_eq!(get(&mut db, b), Value::Null);
    assert!(list(&mut other, &by_source).is_empty());
    db.run("COMMIT");
    assert_eq!(list(&mut other, &by_source), [a]);
}
