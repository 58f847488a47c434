//! Batch forms: what they answer is what a loop of single calls answers.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::{Schema, Tree, UNKNOWN};
use serde_json::Value;
use uuid::Uuid;

#[test]
fn get_many_answers_as_get_does_in_the_order_of_the_ids() {
    let mut t = Tree::new("batch");
    let (trajectory, scope) = (t.trajectory, t.scope);
    for n in 0..20 {
        t.db.run(&format!(
            "SELECT caliber_trajectory_create('t{n}'); SELECT caliber_scope_create('{trajectory}', 's{n}', 10);
             SELECT caliber_turn_create('{scope}', 'user', repeat('x', {n} * 500));
             SELECT caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'a{n}', repeat('y', {n} * 900));
             SELECT caliber_note_create('fact', 'n{n}', 'c');"
        ));
    }
    let agent: Uuid = t.db.one("SELECT caliber_agent_register('w')");
    t.db.run(&format!(
        "SELECT caliber_agent_register('w{agent}');
         SELECT caliber_message_send('{agent}', 'm', to_jsonb(n), '{agent}') FROM generate_series(1, 9) n"
    ));
    for entity in ["trajectory", "scope", "turn", "artifact", "note", "agent", "message"] {
        let ids: Vec<Uuid> = t.db.all(&format!(
            "SELECT {entity}_id::uuid FROM caliber_{entity} ORDER BY md5({entity}_id::text)"
        ));
        assert!(ids.len() > 1, "{entity}");
        // One of them twice, an unknown one and a null among them.
        let mut list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        list.insert(1, list[0].clone());
        list.insert(2, "NULL".to_owned());
        list.insert(3, format!("'{UNKNOWN}'"));
        let list = list.join(", ");
        let many: Vec<Value> = t.db.all(&format!(
            "SELECT to_jsonb(r) FROM caliber_{entity}_get_many(ARRAY[{list}]::uuid[]) r"
        ));
        let single: Vec<Value> = t.db.all(&format!(
            "SELECT to_jsonb(caliber_{entity}_get(id)) FROM unnest(ARRAY[{list}]::uuid[])
             WITH ORDINALITY u(id, n) WHERE caliber_{entity}_get(id) IS DISTINCT FROM NULL ORDER BY n"
        ));
        assert_eq!(many.len(), ids.len() + 1, "{entity}");
        assert_eq!(many, single, "{entity}");
        let none: i64 =
            t.db.one(&format!("SELECT count(*) FROM caliber_{entity}_get_many('{{}}')"));
        assert_eq!(none, 0);
    }
}

#[test]
fn send_many_sends_as_send_does() {
    let schema = Schema::new("batch");
    let mut db = schema.connect();
    let sender: Uuid = db.one("SELECT caliber_agent_register('sender')");
    let worker: Uuid = db.one("SELECT caliber_agent_register('worker')");
    let ids: Vec<Uuid> = db.all(&format!(
        "SELECT caliber_message_send_many('{sender}', 'task',
            ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 50) n),
            to_agent_type => 'worker', priority => 'high', max_deliveries => 2)"
    ));
    assert_eq!(ids.len(), 50);
    assert!(ids.is_sorted());
    let single: Uuid = db.one(&format!(
        "SELECT caliber_message_send('{sender}', 'task', '{{\"n\": 50}}', to_agent_type => 'worker',
                                     priority => 'high', max_deliveries => 2)"
    ));
    let differing = "- 'message_id' - 'created_at' - 'updated_at' - 'visible_at'";
    let row = |id: Uuid| format!("to_jsonb(caliber_message_get('{id}')) {differing}");
    assert!(db.one::<bool>(&format!("SELECT {} = {}", row(ids[49]), row(single))));
    let received: Vec<i32> = db
        .all(&format!("SELECT (payload->>'n')::int FROM caliber_message_receive('{worker}', 50)"));
    assert_eq!(received, (1..=50).collect::<Vec<_>>());
}

#[test]
fn send_many_sends_all_or_none() {
    let schema = Schema::new("batch");
    let mut db = schema.connect();
    let sender: Uuid = db.one("SELECT caliber_agent_register('sender')");
    for (arguments, sqlstate) in [
        ("ARRAY['1', NULL]::jsonb[], to_agent_type => 'w'".to_owned(), "23502"),
        (format!("ARRAY['1']::jsonb[], to_agent_id => '{UNKNOWN}'"), "23503"),
        ("ARRAY['1']::jsonb[]".to_owned(), "22023"),
        (format!("ARRAY['1']::jsonb[], '{sender}', 'w'"), "22023"),
        ("NULL, to_agent_type => 'w'".to_owned(), "22023"),
        ("ARRAY['1']::jsonb[], to_agent_type => 'w', ttl => '0'".to_owned(), "22023"),
    ] {
        let sql = format!("SELECT caliber_message_send_many('{sender}', 'm', {arguments})");
        db.refused_unchanged(&sql, sqlstate, &["caliber_message"]);
    }
    let none: i64 = db.one(&format!(
        "SELECT count(*) FROM caliber_message_send_many('{sender}', 'm', '{{}}', to_agent_type => 'w')"
    ));
    assert_eq!(none, 0);
}
