//! The functions of turns: what they store and return, and what they refuse.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::{Tree, UNKNOWN, expired_lease, lease, lit};
use serde_json::{Value, json};
use uuid::Uuid;

/// The sequence numbers of the scope's turns, in order.
fn sequences(t: &mut Tree) -> Vec<i32> {
    let scope = t.scope;
    t.db.all(&format!(
        "SELECT sequence FROM caliber_turn_get_by_scope('{scope}', max_rows => 1000)"
    ))
}

fn counters(t: &mut Tree) -> (i64, i64) {
    let row = t.scope_row();
    (row["tokens_used"].as_i64().unwrap(), row["turn_count"].as_i64().unwrap())
}

fn append_many(t: &mut Tree, messages: &Value) -> Vec<Uuid> {
    let scope = t.scope;
    let messages = lit(&messages.to_string());
    t.db.all(&format!("SELECT caliber_turn_append_many('{scope}', {messages})"))
}

#[test]
fn create_stores_every_argument() {
    let mut t = Tree::new("turn");
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    let scope = t.scope;
    let created: Uuid = t.db.one(&format!(
        "SELECT caliber_turn_create(
            scope_id => '{scope}', role => 'assistant', content => 'Grüße, 世界',
            token_count => 17, tool_calls => '[{{\"id\": 1}}]', tool_results => '{{\"r\": null}}',
            metadata => '{{\"m\": [1, 2]}}', sequence => 0, turn_id => '{id}')"
    ));
    assert_eq!(created, id);
    let mut row = t.db.json(&format!("caliber_turn_get('{id}')"));
    let created_at = row.as_object_mut().unwrap().remove("created_at").unwrap();
    assert!(created_at.is_string());
    assert_eq!(
        row,
        json!({
            "turn_id": id.to_string(), "scope_id": scope.to_string(), "sequence": 0, "role": "assistant",
            "content": "Grüße, 世界", "token_count": 17, "tool_calls": [{"id": 1}],
            "tool_results": {"r": null}, "metadata": {"m": [1, 2]},
        })
    );
    assert_eq!(counters(&mut t), (17, 1));
}

#[test]
fn what_is_left_out_is_null_estimated_or_next() {
    let mut t = Tree::new("turn");
    let text = "What is left out is estimated.";
    let id = t.append(&format!("'user', {}", lit(text)));
    let row = t.db.json(&format!("caliber_turn_get('{id}')"));
    let estimate: i32 = t.db.one(&format!("SELECT caliber_estimate_tokens({})", lit(text)));
    assert!(estimate > 0);
    assert_eq!(row["token_count"], json!(estimate));
    assert_eq!(row["sequence"], json!(0));
    for column in ["tool_calls", "tool_results", "metadata"] {
        assert_eq!(row[column], Value::Null);
    }
    assert_eq!(t.db.one::<i32>(&format!("SELECT get_byte(uuid_send('{id}'), 6) >> 4")), 7);
    let second = t.append("'user', ''");
    let row = t.db.json(&format!("caliber_turn_get('{second}')"));
    assert_eq!((&row["token_count"], &row["sequence"]), (&json!(0), &json!(1)));
    assert_eq!(counters(&mut t), (estimate.into(), 2));
}

#[test]
fn an_append_changes_neither_version_nor_updated_at_of_the_scope() {
    let mut t = Tree::new("turn");
    let before = t.scope_row();
    t.append("'user', 'hi', 5");
    let mut after = t.scope_row();
    assert_eq!(after["tokens_used"], json!(5));
    after["tokens_used"] = before["tokens_used"].clone();
    after["turn_count"] = before["turn_count"].clone();
    assert_eq!(after, before);
}

#[test]
fn sequences_go_on_after_turns_written_by_sql_and_after_deletions() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    let insert = |sequence: i32| {
        format!(
            "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
             VALUES ('{scope}', {sequence}, 'user', 'by SQL', 100)"
        )
    };
    t.append("'user', 'a'");
    t.db.run(&insert(1));
    t.append("'user', 'b'");
    t.db.run(&insert(7));
    t.append("'user', 'c'");
    assert_eq!(sequences(&mut t), [0, 1, 2, 7, 8]);
    // A number given once is not given again, even when its turn is gone.
    t.db.run("DELETE FROM caliber_turn WHERE sequence > 1");
    t.append("'user', 'd'");
    assert_eq!(sequences(&mut t), [0, 1, 9]);
    // Raw SQL is not charged.
    assert_eq!(counters(&mut t), (4, 10));
    // Filling a gap is allowed: the number is not taken.
    t.append("'user', 'e', sequence => 5");
    assert_eq!(sequences(&mut t), [0, 1, 5, 9]);
    assert_eq!(counters(&mut t), (5, 10));
}

#[test]
fn a_sequence_given_must_be_the_next() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    t.append("'user', 'a', sequence => 0");
    let create = |sequence: i32| {
        format!("SELECT caliber_turn_create('{scope}', 'user', 'x', sequence => {sequence})")
    };
    let error = t.refused(&create(2), "55006");
    assert!(error.detail().unwrap().contains('1'), "{error:?}");
    let error = t.refused(&create(0), "23505");
    assert_eq!(error.constraint(), Some("caliber_turn_scope_sequence_key"));
    let error = t.refused(&create(-1), "23514");
    assert_eq!(error.constraint(), Some("caliber_turn_sequence_check"));
    t.refused(&create(i32::MAX), "55006");
    t.db.run(&create(1));
    assert_eq!(sequences(&mut t), [0, 1]);
}

#[test]
fn the_last_sequence_number_is_no_crash() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    t.db.run(&format!(
        "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
         VALUES ('{scope}', 2147483647, 'user', 'the last', 0)"
    ));
    let before = t.db.rows_of("caliber_turn");
    for sql in [
        format!("SELECT caliber_turn_create('{scope}', 'user', 'one more')"),
        format!("SELECT caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}]')"),
    ] {
        let error = t.db.attempt(&sql).expect_err("there is no number left");
        let error = error.as_db_error().expect("the server is alive").clone();
        assert_ne!(error.code().code(), "XX000", "{error:?}");
        assert_eq!(t.db.rows_of("caliber_turn"), before);
    }
}

#[test]
fn create_with_an_id_can_be_repeated() {
    let mut t = Tree::with_budget("turn", 10);
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    let arguments = format!(
        "'tool', 'once', 10, tool_results => '{{\"a\": 1}}', metadata => '{{\"b\": [2]}}',
         turn_id => '{id}'"
    );
    assert_eq!(t.append(&arguments), id);
    // The budget is used up, but nothing is charged again.
    assert_eq!(t.append(&arguments), id);
    assert_eq!(t.append(&format!("'tool', 'once', turn_id => '{id}'")), id);
    assert_eq!(counters(&mut t), (10, 1));
    // What comes before every other check also works in a closed scope.
    let scope = t.scope;
    t.db.run(&format!("SELECT caliber_scope_close('{scope}')"));
    assert_eq!(t.append(&arguments), id);
    for (arguments, column) in [
        ("'user', 'once'", "role"),
        ("'tool', 'twice'", "content"),
        ("'tool', 'once', 9", "token_count"),
        ("'tool', 'once', tool_calls => '[]'", "tool_calls"),
        ("'tool', 'once', tool_results => '{\"a\": 2}'", "tool_results"),
        ("'tool', 'once', metadata => '{}'", "metadata"),
        ("'tool', 'once', sequence => 1", "sequence"),
    ] {
        let sql = format!("SELECT caliber_turn_create('{scope}', {arguments}, turn_id => '{id}')");
        let error = t.refused(&sql, "23505");
        assert!(error.detail().unwrap().contains(&format!("\"{column}\"")), "{error:?}");
    }
    let other = t.new_scope(10);
    let error = t.refused(
        &format!("SELECT caliber_turn_create('{other}', 'tool', 'once', turn_id => '{id}')"),
        "23505",
    );
    assert!(error.detail().unwrap().contains("\"scope_id\""), "{error:?}");
}

#[test]
fn bad_arguments_of_create_are_refused() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    t.append("'user', 'there'");
    let v4 = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    for (arguments, sqlstate, named) in [
        ("NULL, 'user', 'x'".to_owned(), "23502", "scope_id"),
        (format!("'{scope}', NULL, 'x'"), "23502", "role"),
        (format!("'{scope}', 'user', NULL"), "23502", "content"),
        (format!("'{UNKNOWN}', 'user', 'x'"), "23503", "caliber_turn_scope_id_fkey"),
        (format!("'{v4}', 'user', 'x'"), "23503", "caliber_turn_scope_id_fkey"),
        (format!("'{UNKNOWN}', 'user', 'x', sequence => 1"), "23503", "caliber_turn_scope_id_fkey"),
        (format!("'{scope}', 'robot', 'x'"), "22P02", ""),
        (format!("'{scope}', 'user', 'x', -1"), "23514", "caliber_turn_token_count_check"),
        (format!("'{scope}', 'user', 'x', 1000001"), "54000", ""),
        (format!("'{scope}', 'user', 'x', 2147483647"), "54000", ""),
        (format!("'{scope}', 'user', 'x', turn_id => '{v4}'"), "22023", ""),
        (
            format!("'{scope}', 'user', 'x', turn_id => '00000000-0000-0000-0000-000000000000'"),
            "22023",
            "",
        ),
        (format!("'{scope}', 'user', 'x', fence => 0"), "22023", ""),
        (format!("'{scope}', 'user', 'x', fence => -7"), "22023", ""),
        (format!("'{scope}', 'user', 'x', fence => 7"), "55006", ""),
        (format!("'{scope}', 'user', 'x', metadata => '{{'"), "22P02", ""),
        ("'no uuid', 'user', 'x'".to_owned(), "22P02", ""),
    ] {
        let error = t.refused(&format!("SELECT caliber_turn_create({arguments})"), sqlstate);
        let names = [error.column(), error.constraint()];
        assert!(named.is_empty() || names.contains(&Some(named)), "{arguments}: {error:?}");
    }
}

#[test]
fn the_budget_is_kept_to_the_token() {
    let mut t = Tree::with_budget("turn", 10);
    let scope = t.scope;
    t.append("'user', 'x', 7");
    let error =
        t.refused(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x', 4)"), "54000");
    let detail = error.detail().unwrap();
    for number in ["10", "7", "4"] {
        assert!(detail.contains(number), "{detail}");
    }
    t.append("'user', 'x', 3");
    t.append("'user', 'free', 0");
    assert_eq!(counters(&mut t), (10, 3));
    // The estimate counts too.
    t.refused(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x')"), "54000");
    t.db.run(&format!("SELECT caliber_scope_update('{scope}', '{{\"token_budget\": 11}}')"));
    t.append("'user', 'x'");
    assert_eq!(counters(&mut t), (11, 4));
}

#[test]
fn a_closed_scope_takes_no_turns() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    t.db.run(&format!("SELECT caliber_scope_close('{scope}')"));
    t.refused(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x')"), "55000");
    t.refused(
        &format!("SELECT caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}]')"),
        "55000",
    );
}

#[test]
fn huge_content_is_stored_and_returned() {
    const SIZE: usize = 10 << 20;
    let mut t = Tree::with_budget("turn", i32::MAX);
    let scope = t.scope;
    // Incompressible enough to go out of line in many chunks.
    let hex = "(SELECT string_agg(md5(i::text), '' ORDER BY i) FROM generate_series(1, 327680) i)";
    let id: Uuid = t.db.one(&format!("SELECT caliber_turn_create('{scope}', 'tool', {hex})"));
    let (length, same): (i32, bool) = {
        let row =
            t.db.query_one(
                &format!("SELECT length(content), content = {hex} FROM caliber_turn_get('{id}')"),
                &[],
            )
            .unwrap();
        (row.get(0), row.get(1))
    };
    assert_eq!((length as usize, same), (SIZE, true));
    let content: String = t.db.one(&format!("SELECT content FROM caliber_turn_tail('{scope}', 1)"));
    assert_eq!(content.len(), SIZE);
    assert_eq!(&content[..32], "c4ca4238a0b923820dcc509a6f75849b");
    assert_eq!(counters(&mut t).0, SIZE as i64 / 4);
    // As a message too, and as text with wide characters from the client.
    let wide = "世".repeat(SIZE / 3);
    let ids = append_many(&mut t, &json!([{"role": "user", "content": wide}]));
    let read: String = t.db.one(&format!("SELECT (caliber_turn_get('{}')).content", ids[0]));
    assert!(read == wide);
}

#[test]
fn append_many_keeps_order_and_writes_the_scope_once() {
    let mut t = Tree::new("turn");
    t.append("'system', 'first'");
    let scope = t.scope;
    t.db.run(
        "CREATE TABLE writes (n int);
        CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN INSERT INTO writes VALUES (1); RETURN NEW; END$$;
        CREATE TRIGGER writes AFTER UPDATE ON caliber_scope
        FOR EACH ROW EXECUTE FUNCTION count_write()",
    );
    let calls =
        json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let parts = json!([
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "two"},
    ]);
    let ids = append_many(
        &mut t,
        &json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": null, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "42"},
            {"role": "assistant", "refusal": "No."},
        ]),
    );
    let rows: Vec<Value> = t.db.all(&format!(
        "SELECT to_jsonb(r) - 'created_at' FROM caliber_turn_get_by_scope('{scope}', 0) r"
    ));
    let row = |i: usize,
               role: &str,
               content: &str,
               tokens: i32,
               calls: Value,
               results: Value,
               metadata: Value| {
        json!({"turn_id": ids[i].to_string(), "scope_id": scope.to_string(), "sequence": i + 1, "role": role, "content": content,
               "token_count": tokens, "tool_calls": calls, "tool_results": results, "metadata": metadata})
    };
    const NONE: Value = Value::Null;
    assert_eq!(
        rows,
        [
            row(0, "system", "Be brief.", 3, NONE, NONE, NONE),
            row(1, "user", "one\ntwo", 2, NONE, NONE, json!({"content": parts})),
            row(2, "assistant", "", 0, calls, NONE, NONE),
            row(3, "tool", "42", 1, NONE, json!({"tool_call_id": "c1", "name": "f"}), NONE),
            row(4, "assistant", "", 0, NONE, NONE, json!({"refusal": "No."})),
        ]
    );
    assert_eq!(counters(&mut t), (8, 6));
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM writes"), 1);
    assert!(append_many(&mut t, &json!([])).is_empty());
    assert_eq!(counters(&mut t), (8, 6));
}

#[test]
fn append_many_is_all_or_nothing() {
    let mut t = Tree::with_budget("turn", 3);
    let scope = t.scope;
    let call = |messages: Value| {
        format!("SELECT caliber_turn_append_many('{scope}', {})", lit(&messages.to_string()))
    };
    let user = |content: &str| json!({"role": "user", "content": content});
    let error = t.refused(&call(json!([user("four"), user("four"), user("fives")])), "54000");
    assert!(error.detail().unwrap().contains('3'), "{error:?}");
    t.refused(&call(json!([user("four"), {"role": "nobody"}])), "22023");
    t.db.run(&call(json!([user("four"), user("fives")])));
    assert_eq!(counters(&mut t), (3, 2));
}

#[test]
fn malformed_messages_are_refused() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    let user = json!({"role": "user", "content": "x"});
    for (messages, says) in [
        (user.clone(), "array"),
        (json!("x"), "array"),
        (json!(null), "array"),
        (json!([user, 1]), "messages[1]"),
        (json!([user, []]), "messages[1]"),
        (json!([user, {"content": "x"}]), "messages[1] has no role"),
        (json!([{"role": null}]), "messages[0].role"),
        (json!([{"role": 1}]), "messages[0].role"),
        (json!([{"role": "function"}]), "messages[0].role"),
        (json!([{"role": "User"}]), "messages[0].role"),
        (json!([{"role": "user", "content": {}}]), "messages[0].content"),
        (json!([{"role": "user", "content": 5}]), "messages[0].content"),
        (json!([{"role": "user", "content": true}]), "messages[0].content"),
        (json!([{"role": "user", "content": ["x"]}]), "messages[0].content[0]"),
        (json!([{"role": "user", "content": [{}]}]), "messages[0].content[0].type"),
        (json!([{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
        (json!([{"role": "assistant", "tool_calls": {}}]), "messages[0].tool_calls"),
        (json!([{"role": "tool", "tool_call_id": 7}]), "messages[0].tool_call_id"),
        (json!([{"role": "tool", "name": []}]), "messages[0].name"),
    ] {
        let sql =
            format!("SELECT caliber_turn_append_many('{scope}', {})", lit(&messages.to_string()));
        let error = t.refused(&sql, "22023");
        assert!(error.detail().unwrap().contains(says), "{messages}: {error:?}");
    }
    // U+0000 never becomes jsonb: PostgreSQL refuses it itself.
    let nul = r#"[{"role": "user", "content": "a\u0000b"}]"#;
    t.refused(&format!("SELECT caliber_turn_append_many('{scope}', '{nul}')"), "22P05");
    t.refused(&format!("SELECT caliber_turn_append_many('{scope}', NULL)"), "22023");
    t.refused("SELECT caliber_turn_append_many(NULL, '[{\"role\": \"user\"}]')", "22023");
    let messages = lit(&json!([user]).to_string());
    let error =
        t.refused(&format!("SELECT caliber_turn_append_many('{UNKNOWN}', {messages})"), "23503");
    assert_eq!(error.constraint(), Some("caliber_turn_scope_id_fkey"));
    for (fence, sqlstate) in [("0", "22023"), ("9", "55006")] {
        t.refused(
            &format!("SELECT caliber_turn_append_many('{scope}', {messages}, {fence})"),
            sqlstate,
        );
    }
}

#[test]
fn reads_find_what_there_is() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    for i in 0..7 {
        t.append(&format!("'user', 'turn {i}'"));
    }
    let other = t.new_scope(100);
    t.db.run(&format!("SELECT caliber_turn_create('{other}', 'user', 'elsewhere')"));
    let mut list = |call: String| -> Vec<i32> { t.db.all(&format!("SELECT sequence FROM {call}")) };
    assert_eq!(list(format!("caliber_turn_get_by_scope('{scope}')")), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(list(format!("caliber_turn_get_by_scope('{scope}', max_rows => 3)")), [0, 1, 2]);
    assert_eq!(list(format!("caliber_turn_get_by_scope('{scope}', 2, 3)")), [3, 4, 5]);
    assert_eq!(list(format!("caliber_turn_get_by_scope('{scope}', 5, 3)")), [6]);
    assert_eq!(list(format!("caliber_turn_get_by_scope('{scope}', 6)")), [0; 0]);
    assert_eq!(list(format!("caliber_turn_get_by_scope('{scope}', -2147483648, 1)")), [0]);
    assert_eq!(list(format!("caliber_turn_get_by_scope('{scope}', 2147483647)")), [0; 0]);
    assert_eq!(list(format!("caliber_turn_tail('{scope}', 3)")), [4, 5, 6]);
    assert_eq!(list(format!("caliber_turn_tail('{scope}', 100)")), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(list(format!("caliber_turn_tail('{scope}', 2147483647)")).len(), 7);
    assert_eq!(list(format!("caliber_turn_tail('{UNKNOWN}')")), [0; 0]);
    assert_eq!(list(format!("caliber_turn_get_by_scope('{UNKNOWN}')")), [0; 0]);
    assert_eq!(t.db.json(&format!("caliber_turn_get('{UNKNOWN}')")), Value::Null);
    assert_eq!(t.db.json("caliber_turn_get(NULL)"), Value::Null);
    // In FROM the null is one row of nulls.
    assert_eq!(
        t.db.all::<Option<Uuid>>(&format!("SELECT turn_id FROM caliber_turn_get('{UNKNOWN}')")),
        [None]
    );
    for call in [
        "caliber_turn_get_by_scope(NULL)".to_owned(),
        format!("caliber_turn_get_by_scope('{scope}', NULL)"),
        format!("caliber_turn_get_by_scope('{scope}', 0, NULL)"),
        format!("caliber_turn_get_by_scope('{scope}', 0, 0)"),
        format!("caliber_turn_get_by_scope('{scope}', 0, -5)"),
        "caliber_turn_tail(NULL)".to_owned(),
        format!("caliber_turn_tail('{scope}', NULL)"),
        format!("caliber_turn_tail('{scope}', 0)"),
    ] {
        t.refused(&format!("SELECT {call}"), "22023");
        t.refused(&format!("SELECT * FROM {call}"), "22023");
    }
}

#[test]
fn the_default_page_has_100_rows() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    let messages: Vec<_> = (0..130).map(|_| json!({"role": "user", "content": "x"})).collect();
    append_many(&mut t, &json!(messages));
    let mut list = |call: &str| -> Vec<i32> {
        t.db.all(&format!(
            "SELECT sequence FROM {call}('{scope}') WITH ORDINALITY ORDER BY ordinality"
        ))
    };
    assert_eq!(list("caliber_turn_get_by_scope"), (0..100).collect::<Vec<_>>());
    assert_eq!(list("caliber_turn_tail"), (30..130).collect::<Vec<_>>());
}

#[test]
fn turns_are_deleted_but_never_updated() {
    let mut t = Tree::new("turn");
    let id = t.append("'user', 'x'");
    t.refused(&format!("UPDATE caliber_turn SET content = 'y' WHERE turn_id = '{id}'"), "55000");
    t.refused("UPDATE caliber_turn SET metadata = '{}'", "55000");
    t.db.run(&format!("DELETE FROM caliber_turn WHERE turn_id = '{id}'"));
    assert_eq!(t.db.json(&format!("caliber_turn_get('{id}')")), Value::Null);
}

#[test]
fn a_fence_is_proved_once_remembered_and_then_compared() {
    let mut t = Tree::new("turn");
    let (scope, trajectory) = (t.scope, t.trajectory);
    let first = lease(&mut t.db, "scope", scope);
    let create = |fence: i64| {
        format!("SELECT caliber_turn_create('{scope}', 'user', 'x', fence => {fence})")
    };
    let many = format!("SELECT caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}]'");
    // Who uses no leases leaves the fence out.
    t.append("'user', 'x'");
    t.db.run(&create(first));
    assert_eq!(t.scope_row()["fence"], json!(first));
    assert_eq!(t.scope_row()["version"], json!(1));
    let error = t.refused(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x')"), "55006");
    assert!(error.detail().unwrap().contains(&first.to_string()), "{error:?}");
    t.refused(&format!("{many})"), "55006");
    // The lease may be over: a remembered fence is only compared.
    t.db.run("DELETE FROM caliber_lock");
    t.db.run(&create(first));
    t.db.run(&format!("{many}, {first})"));
    // The next holder writes, and the former one does not any more.
    let second = lease(&mut t.db, "scope", scope);
    assert!(second > first);
    t.db.run(&format!("{many}, {second})"));
    let error = t.refused(&create(first), "55006");
    assert!(error.detail().unwrap().contains(&second.to_string()), "{error:?}");
    t.refused(&format!("{many}, {first})"), "55006");
    // Higher than all, but of no live lease on this scope or its trajectory.
    t.refused(&create(second + 1000), "55006");
    let expired = expired_lease(&mut t.db, "scope", scope);
    t.refused(&create(expired), "55006");
    let elsewhere = t.new_scope(5);
    let other = lease(&mut t.db, "scope", elsewhere);
    t.refused(&create(other), "55006");
    let mistyped = lease(&mut t.db, "trajectory", scope);
    t.refused(&create(mistyped), "55006");
    // A lease on the trajectory covers its scopes, and is remembered there.
    let above = lease(&mut t.db, "trajectory", trajectory);
    t.db.run(&create(above));
    assert_eq!(t.scope_row()["fence"], json!(second));
    assert_eq!(t.trajectory_row()["fence"], json!(above));
    assert_eq!(t.trajectory_row()["version"], json!(1));
    t.refused(&create(second), "55006");
    t.refused(&format!("SELECT caliber_turn_create('{elsewhere}', 'user', 'x')"), "55006");
    t.db.run(&create(above));
}

#[test]
fn a_repeated_create_needs_no_fence() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    let fence = lease(&mut t.db, "scope", scope);
    let id = t.append(&format!("'user', 'x', fence => {fence}"));
    assert_eq!(t.append(&format!("'user', 'x', turn_id => '{id}'")), id);
}

#[test]
fn a_turn_is_seen_by_the_same_statement() {
    let mut t = Tree::new("turn");
    let scope = t.scope;
    let content: String = t.db.one(&format!(
        "SELECT (caliber_turn_get(caliber_turn_create('{scope}', 'user', 'at once'))).content"
    ));
    assert_eq!(content, "at once");
}
