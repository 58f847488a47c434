//! The queue of messages: what is stored and returned, in which order and how often a message is
//! delivered, and who hears of it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use caliber_tests::agents::{V4, agent, names, receive, texts};
use caliber_tests::{Db, DbError, Tree, UNKNOWN, lit};
use postgres::fallible_iterator::FallibleIterator;
use serde_json::{Value, json};
use uuid::Uuid;

/// A sender, two workers and a tester.
struct Mail {
    t: Tree,
    boss: Uuid,
    a: Uuid,
    b: Uuid,
    tester: Uuid,
}

impl Mail {
    fn new() -> Self {
        let mut t = Tree::new("message");
        let [boss, a, b, tester] =
            ["boss", "worker", "worker", "tester"].map(|of_type| agent(&mut t.db, of_type));
        Self { t, boss, a, b, tester }
    }

    /// Sends a message with this payload; `rest` are further arguments.
    #[track_caller]
    fn send(&mut self, payload: &str, rest: &str) -> Uuid {
        let boss = self.boss;
        let payload = lit(&json!(payload).to_string());
        self.t.db.one(&format!("SELECT caliber_message_send('{boss}', 'note', {payload}, {rest})"))
    }

    fn db(&mut self) -> &mut Db {
        &mut self.t.db
    }

    #[track_caller]
    fn get(&mut self, id: Uuid) -> Value {
        self.t.db.json(&format!("caliber_message_get('{id}')"))
    }

    /// Receives one message.
    #[track_caller]
    fn take(&mut self, agent: Uuid) -> Value {
        let mut rows = receive(&mut self.t.db, agent, "1");
        assert_eq!(rows.len(), 1, "one message");
        rows.remove(0)
    }

    /// The payloads of all that an agent can receive now.
    #[track_caller]
    fn drain(&mut self, agent: Uuid) -> Vec<String> {
        let rows = receive(&mut self.t.db, agent, "1000");
        texts(&rows, "payload").into_iter().map(str::to_owned).collect()
    }

    /// The payloads that `caliber_message_list_for_agent` returns.
    #[track_caller]
    fn list(&mut self, agent: Uuid) -> Vec<String> {
        self.t.db.all(&format!(
            "SELECT payload #>> '{{}}' FROM caliber_message_list_for_agent('{agent}')"
        ))
    }

    /// The ids that `caliber_message_list_dead` returns.
    #[track_caller]
    fn dead(&mut self) -> Vec<Uuid> {
        self.t.db.all("SELECT message_id FROM caliber_message_list_dead()")
    }

    /// Ends the visibility or the delay of a message.
    #[track_caller]
    fn make_visible(&mut self, id: Uuid) {
        self.set(id, "visible_at = clock_timestamp() - interval '1 second'");
    }

    #[track_caller]
    fn set(&mut self, id: Uuid, set: &str) {
        self.t.db.run(&format!("UPDATE caliber_message SET {set} WHERE message_id = '{id}'"));
    }

    #[track_caller]
    fn set_all(&mut self, set: &str, condition: &str) {
        self.t.db.run(&format!("UPDATE caliber_message SET {set} WHERE {condition}"));
    }

    #[track_caller]
    fn acknowledge(&mut self, id: Uuid, agent: Uuid, receipt: i32) -> Value {
        self.t.db.json(&format!("caliber_message_acknowledge('{id}', '{agent}', {receipt})"))
    }

    #[track_caller]
    fn release(&mut self, id: Uuid, agent: Uuid, receipt: i32) -> Value {
        self.t.db.json(&format!("caliber_message_release('{id}', '{agent}', {receipt})"))
    }

    /// A call of `caliber_message_<call>` is refused and changes nothing.
    #[track_caller]
    fn refused(&mut self, call: &str, sqlstate: &str) -> DbError {
        self.t.db.refused_unchanged(
            &format!("SELECT (r).message_id FROM caliber_message_{call} r"),
            sqlstate,
            &["caliber_message"],
        )
    }
}

fn id(row: &Value) -> Uuid {
    Uuid::parse_str(row["message_id"].as_str().unwrap()).unwrap()
}

#[test]
fn send_stores_every_argument() {
    let mut m = Mail::new();
    let (boss, a, trajectory, scope) = (m.boss, m.a, m.t.trajectory, m.t.scope);
    let chosen: Uuid = m.db().one("SELECT caliber_new_id()");
    m.db().run("BEGIN");
    let sent: Uuid = m.db().one(&format!(
        "SELECT caliber_message_send(from_agent_id => '{boss}', message_type => 'context_shäre',
            payload => '{{\"k\": [1, null]}}', to_agent_id => '{a}', priority => 'critical',
            trajectory_id => '{trajectory}', scope_id => '{scope}',
            artifact_ids => '{{{UNKNOWN},{UNKNOWN}}}', ttl => '2 hours', delay => '1 hour',
            max_deliveries => 3, message_id => '{chosen}')"
    ));
    assert_eq!(sent, chosen);
    let now = m.db().json("transaction_timestamp()");
    let row = m.get(sent);
    assert_eq!(
        row,
        json!({
            "message_id": sent.to_string(), "from_agent_id": boss.to_string(),
            "to_agent_id": a.to_string(), "to_agent_type": null, "message_type": "context_shäre",
            "payload": {"k": [1, null]}, "trajectory_id": trajectory.to_string(),
            "scope_id": scope.to_string(), "artifact_ids": [UNKNOWN, UNKNOWN],
            "priority": "critical", "status": "pending", "visible_at": row["visible_at"],
            "delivery_count": 0, "max_deliveries": 3, "claimed_by": null, "broadcast_id": null,
            "expires_at": row["expires_at"], "delivered_at": null, "acknowledged_at": null,
            "metadata": null, "created_at": now, "updated_at": now, "version": 1,
        })
    );
    let by_the_clock: bool = m.db().one(&format!(
        "SELECT visible_at - interval '1 hour' BETWEEN transaction_timestamp() AND clock_timestamp()
            AND expires_at - interval '2 hours' BETWEEN transaction_timestamp() AND clock_timestamp()
         FROM caliber_message_get('{sent}')"
    ));
    assert!(by_the_clock, "{row}");
    m.db().run("COMMIT");
    assert_eq!(m.get(sent), row);
    let plain = m.send("p", "to_agent_type => 'worker'");
    let row = m.get(plain);
    assert_eq!(plain.get_version_num(), 7);
    for (column, value) in [
        ("to_agent_id", Value::Null),
        ("to_agent_type", json!("worker")),
        ("trajectory_id", Value::Null),
        ("scope_id", Value::Null),
        ("artifact_ids", json!([])),
        ("priority", json!("normal")),
        ("status", json!("pending")),
        ("max_deliveries", json!(5)),
        ("expires_at", Value::Null),
        ("broadcast_id", Value::Null),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    let visible: bool = m.db().one(&format!(
        "SELECT visible_at <= clock_timestamp() FROM caliber_message_get('{plain}')"
    ));
    assert!(visible);
}

#[test]
fn bad_arguments_of_send_are_refused() {
    let mut m = Mail::new();
    let (boss, a) = (m.boss, m.a);
    let to = format!("to_agent_id => '{a}'");
    for (arguments, sqlstate, named) in [
        (format!("'{boss}', 'm', '1', '{a}', 'worker'"), "22023", "to_agent_type"),
        (format!("NULL, 'm', '1', '{a}'"), "23502", "from_agent_id"),
        ("NULL, 'm', '1'".to_owned(), "23502", "from_agent_id"),
        (format!("'{boss}', NULL, '1', '{a}'"), "23502", "message_type"),
        (format!("'{boss}', 'm', NULL, '{a}'"), "23502", "payload"),
        (format!("'{UNKNOWN}', 'm', '1', '{a}'"), "23503", "caliber_message_from_agent_id_fkey"),
        (format!("'{UNKNOWN}', 'm', '1'"), "23503", "caliber_message_from_agent_id_fkey"),
        (format!("'{boss}', 'm', '1', '{UNKNOWN}'"), "23503", "caliber_message_to_agent_id_fkey"),
        (
            format!("'{boss}', 'm', '1', {to}, trajectory_id => '{UNKNOWN}'"),
            "23503",
            "caliber_message_trajectory_id_fkey",
        ),
        (
            format!("'{boss}', 'm', '1', {to}, scope_id => '{UNKNOWN}'"),
            "23503",
            "caliber_message_scope_id_fkey",
        ),
        (format!("'{boss}', 'm', 'x', {to}"), "22P02", "json"),
        (format!("'{boss}', 'm', '1', {to}, priority => 'urgent'"), "22P02", "urgent"),
        (format!("'{boss}', 'm', '1', {to}, artifact_ids => '{{x}}'"), "22P02", "uuid"),
        (format!("'{boss}', 'm', '1', {to}, ttl => '0'"), "22023", "ttl"),
        (format!("'{boss}', 'm', '1', {to}, ttl => '-1 s'"), "22023", "ttl"),
        (format!("'{boss}', 'm', '1', {to}, delay => '-1 s'"), "22023", "delay"),
        (format!("'{boss}', 'm', '1', {to}, max_deliveries => 0"), "22023", "max_deliveries"),
        (format!("'{boss}', 'm', '1', {to}, max_deliveries => -1"), "22023", "max_deliveries"),
        (format!("'{boss}', 'm', '1', {to}, message_id => '{V4}'"), "22023", "message_id"),
        (format!("'{boss}', 'm', '1', message_id => '{V4}'"), "22023", "message_id"),
    ] {
        let sql = format!("SELECT caliber_message_send({arguments})");
        let error = m.db().refused_unchanged(&sql, sqlstate, &["caliber_message"]);
        names(&error, named);
    }
}

#[test]
fn send_with_an_id_can_be_repeated() {
    let mut m = Mail::new();
    let (boss, a, b) = (m.boss, m.a, m.b);
    let chosen: Uuid = m.db().one("SELECT caliber_new_id()");
    let call = |arguments: &str| {
        format!("SELECT caliber_message_send({arguments}, message_id => '{chosen}')")
    };
    let first = format!("'{boss}', 'm', '{{\"a\": 1}}', to_agent_id => '{a}'");
    let fixed = format!("{first}, artifact_ids => '{{{UNKNOWN}}}'");
    assert_eq!(m.db().one::<Uuid>(&call(&fixed)), chosen);
    let row = m.take(a);
    m.acknowledge(chosen, a, 1);
    let before = m.db().rows_of("caliber_message");
    // What is left out is not compared, nor is what may change.
    let other = format!("{first}, priority => 'low', ttl => '1 s', max_deliveries => 9");
    for arguments in [&fixed, &first, &other] {
        assert_eq!(m.db().one::<Uuid>(&call(arguments)), chosen);
    }
    assert_eq!(m.db().rows_of("caliber_message"), before);
    assert_eq!(row["payload"], json!({"a": 1}));
    for (arguments, column) in [
        (format!("'{b}', 'm', '{{\"a\": 1}}', to_agent_id => '{a}'"), "from_agent_id"),
        (format!("'{boss}', 'n', '{{\"a\": 1}}', to_agent_id => '{a}'"), "message_type"),
        (format!("'{boss}', 'm', '{{\"a\": 2}}', to_agent_id => '{a}'"), "payload"),
        (format!("'{boss}', 'm', '{{\"a\": 1}}', to_agent_id => '{b}'"), "to_agent_id"),
        (format!("'{boss}', 'm', '{{\"a\": 1}}', to_agent_type => 'worker'"), "to_agent_type"),
        (format!("{first}, artifact_ids => '{{}}'"), "artifact_ids"),
    ] {
        let error = m.db().refused_unchanged(&call(&arguments), "23505", &["caliber_message"]);
        assert!(error.detail().unwrap().contains(column), "{error:?}");
    }
}

#[test]
fn a_message_to_everybody_reaches_each_once() {
    let mut m = Mail::new();
    let boss = m.boss;
    let chosen: Uuid = m.db().one("SELECT caliber_new_id()");
    let sent = m.send("all", &format!("message_id => '{chosen}', priority => 'high'"));
    assert_eq!(sent, chosen);
    let rows: Vec<String> = m.db().all(&format!(
        "SELECT to_agent_id::text FROM caliber_message
         WHERE broadcast_id = '{chosen}' AND to_agent_type IS NULL AND priority = 'high' ORDER BY 1"
    ));
    let mut others = [m.a, m.b, m.tester].map(|agent| agent.to_string());
    others.sort();
    assert_eq!(rows, others);
    assert_eq!(m.get(chosen), Value::Null, "the rows have ids of their own");
    // Again: nothing more. Somebody who registers later does not get it.
    let late = agent(m.db(), "worker");
    assert_eq!(m.send("all", &format!("message_id => '{chosen}'")), chosen);
    let error = m.db().refused_unchanged(
        &format!("SELECT caliber_message_send('{boss}', 'note', '2', message_id => '{chosen}')"),
        "23505",
        &["caliber_message"],
    );
    assert!(error.detail().unwrap().contains("payload"), "{error:?}");
    for agent in [m.a, m.b, m.tester] {
        assert_eq!(m.drain(agent), ["all"]);
    }
    assert!(m.drain(late).is_empty());
    assert!(m.drain(boss).is_empty());
    // One for each, whatever the sender is.
    let again = m.send("more", "max_deliveries => 1");
    assert_eq!(again.get_version_num(), 7);
    let rows: i64 =
        m.db().one(&format!("SELECT count(*) FROM caliber_message WHERE broadcast_id = '{again}'"));
    assert_eq!(rows, 4);
}

#[test]
fn nobody_else_hears_a_lonely_sender() {
    let mut t = Tree::new("message");
    let alone = agent(&mut t.db, "boss");
    let id: Uuid = t.db.one(&format!("SELECT caliber_message_send('{alone}', 'm', '1')"));
    assert_eq!(id.get_version_num(), 7);
    assert!(t.db.rows_of("caliber_message").is_empty());
}

#[test]
fn the_most_urgent_come_first_then_the_oldest() {
    let mut m = Mail::new();
    let to_a = format!("to_agent_id => '{}'", m.a);
    let to_type = "to_agent_type => 'worker'";
    for (payload, to, priority) in [
        ("normal 1", &*to_a, "normal"),
        ("low", &to_a, "low"),
        ("critical 1", to_type, "critical"),
        ("normal 2", to_type, "normal"),
        ("high", &to_a, "high"),
        ("critical 2", &to_a, "critical"),
        ("normal 3", &to_a, "normal"),
    ] {
        m.send(payload, &format!("{to}, priority => '{priority}'"));
    }
    // Two at the same time: by id. Visible since long ago: before the others.
    let same = "visible_at = '2024-01-01'";
    let [first, second] = ["old 1", "old 2"].map(|payload| m.send(payload, to_type));
    m.set(second, same);
    m.set(first, same);
    let order = [
        "critical 1",
        "critical 2",
        "high",
        "old 1",
        "old 2",
        "normal 1",
        "normal 2",
        "normal 3",
        "low",
    ];
    let a = m.a;
    assert_eq!(m.list(a), order);
    // In portions, nothing twice.
    let mut received = Vec::new();
    for max in [2, 1, 4, 100] {
        let rows = receive(m.db(), a, &max.to_string());
        assert!(rows.len() <= max);
        received.extend(texts(&rows, "payload").into_iter().map(str::to_owned));
    }
    assert_eq!(received, order);
    assert!(m.drain(a).is_empty());
}

#[test]
fn a_message_to_a_type_goes_to_one_agent_of_it() {
    let mut m = Mail::new();
    let (a, b, tester) = (m.a, m.b, m.tester);
    m.send("any", "to_agent_type => 'worker'");
    m.send("mine", &format!("to_agent_id => '{b}'"));
    m.send("nobody", "to_agent_type => 'Worker'");
    assert_eq!(m.list(a), ["any"]);
    assert_eq!(m.list(b), ["any", "mine"]);
    assert!(m.list(tester).is_empty());
    assert!(m.drain(tester).is_empty());
    assert_eq!(m.drain(a), ["any"]);
    assert_eq!(m.drain(b), ["mine"]);
    // It goes by the type that the agent has now.
    m.send("test", "to_agent_type => 'tester'");
    m.db().run(&format!("SELECT caliber_agent_update('{a}', '{{\"agent_type\": \"tester\"}}')"));
    assert_eq!(m.drain(a), ["test"]);
}

#[test]
fn a_received_message_is_claimed() {
    let mut m = Mail::new();
    let a = m.a;
    let sent = m.send("p", "to_agent_type => 'worker'");
    let before = m.get(sent);
    m.db().run("BEGIN");
    let rows = receive(m.db(), a, "max_messages => 5, visibility => '10 minutes'");
    assert_eq!(rows.len(), 1);
    let now = m.db().json("transaction_timestamp()");
    let mut expected = before;
    for (column, value) in [
        ("status", json!("delivered")),
        ("delivery_count", json!(1)),
        ("claimed_by", json!(a.to_string())),
        ("delivered_at", rows[0]["delivered_at"].clone()),
        ("visible_at", rows[0]["visible_at"].clone()),
        ("updated_at", now),
        ("version", json!(2)),
    ] {
        expected[column] = value;
    }
    assert_eq!(rows[0], expected);
    let by_the_clock: bool = m.db().one(&format!(
        "SELECT delivered_at BETWEEN transaction_timestamp() AND clock_timestamp()
            AND visible_at = delivered_at + interval '10 minutes'
         FROM caliber_message_get('{sent}')"
    ));
    assert!(by_the_clock, "{}", rows[0]);
    m.db().run("COMMIT");
    assert_eq!(m.get(sent), rows[0]);
    // Half a minute and one message, unless told otherwise.
    m.send("q", "to_agent_type => 'worker'");
    m.send("r", "to_agent_type => 'worker'");
    let row: String = m.db().one(&format!(
        "SELECT string_agg(concat_ws(' ', payload, visible_at - delivered_at), ',')
         FROM caliber_message_receive('{a}')"
    ));
    assert_eq!(row, "\"q\" 00:00:30");
}

#[test]
fn a_reception_that_is_rolled_back_was_none() {
    let mut m = Mail::new();
    let a = m.a;
    let sent = m.send("p", "to_agent_type => 'worker'");
    let before = m.get(sent);
    m.db().run("BEGIN");
    m.take(a);
    m.db().run("ROLLBACK");
    assert_eq!(m.get(sent), before);
    assert_eq!(m.take(a)["delivery_count"], json!(1));
}

#[test]
fn bad_arguments_of_receive_are_refused() {
    let mut m = Mail::new();
    let a = m.a;
    m.send("p", "to_agent_type => 'worker'");
    for (arguments, sqlstate, named) in [
        ("NULL".to_owned(), "22023", "agent_id"),
        (format!("'{UNKNOWN}'"), "P0002", UNKNOWN),
        (format!("'{a}', 0"), "22023", "max_messages"),
        (format!("'{a}', -1"), "22023", "max_messages"),
        (format!("'{a}', NULL"), "22023", "max_messages"),
        (format!("'{a}', 1, '0'"), "22023", "visibility"),
        (format!("'{a}', 1, '-1 s'"), "22023", "visibility"),
        (format!("'{a}', 1, NULL"), "22023", "visibility"),
    ] {
        names(&m.refused(&format!("receive({arguments})"), sqlstate), named);
    }
    assert_eq!(m.drain(a), ["p"]);
}

#[test]
fn a_delayed_message_is_listed_but_not_yet_received() {
    let mut m = Mail::new();
    let a = m.a;
    let late = m.send("late", "to_agent_type => 'worker', delay => '1 hour'");
    m.send("soon", "to_agent_type => 'worker', delay => '100 milliseconds'");
    m.send("now", "to_agent_type => 'worker', delay => '0'");
    assert_eq!(m.list(a), ["now", "soon", "late"]);
    assert_eq!(m.take(a)["payload"], json!("now"));
    let patience = "EXISTS (SELECT FROM caliber_message
        WHERE payload = '\"soon\"' AND visible_at <= clock_timestamp())";
    m.db().wait_until(patience);
    assert_eq!(m.drain(a), ["soon"]);
    m.make_visible(late);
    assert_eq!(m.drain(a), ["late"]);
}

#[test]
fn what_is_not_visible_yet_hides_nothing_less_urgent() {
    let mut m = Mail::new();
    let a = m.a;
    for to in [format!("to_agent_id => '{a}'"), "to_agent_type => 'worker'".to_owned()] {
        for priority in ["critical", "high", "normal", "low"] {
            // Of each priority one that is delayed; of two also one that is not.
            m.send("late", &format!("{to}, priority => '{priority}', delay => '1 hour'"));
            if ["high", "low"].contains(&priority) {
                m.send(&format!("{priority} now"), &format!("{to}, priority => '{priority}'"));
            }
        }
    }
    assert_eq!(m.drain(a), ["high now", "high now", "low now", "low now"]);
    assert!(m.drain(a).is_empty());
    m.set_all("visible_at = clock_timestamp() - interval '1 second'", "payload = '\"late\"'");
    let rows = receive(m.db(), a, "8");
    let priorities = ["critical", "critical", "high", "high", "normal", "normal", "low", "low"];
    assert_eq!(texts(&rows, "priority"), priorities);
}

#[test]
fn an_expired_message_is_never_delivered() {
    let mut m = Mail::new();
    let a = m.a;
    let short = m.send("short", "to_agent_type => 'worker', ttl => '50 milliseconds'");
    let long = m.send("long", "to_agent_type => 'worker', ttl => '1 hour'");
    m.db().wait_until(&format!(
        "(SELECT expires_at < clock_timestamp() FROM caliber_message_get('{short}'))"
    ));
    assert_eq!(m.drain(a), ["long"]);
    let row = m.get(short);
    assert_eq!((&row["status"], &row["delivery_count"]), (&json!("dead"), &json!(0)));
    assert_eq!(row["claimed_by"], Value::Null);
    // Nor again, when its time is over before it is acknowledged.
    m.set(long, "expires_at = clock_timestamp() - interval '1 second'");
    m.make_visible(long);
    assert!(m.drain(a).is_empty());
    assert_eq!(m.get(long)["status"], json!("dead"));
    assert_eq!(m.dead(), [short, long]);
    assert!(m.list(a).is_empty());
}

#[test]
fn what_is_not_acknowledged_in_time_is_delivered_again() {
    let mut m = Mail::new();
    let (a, b) = (m.a, m.b);
    let sent = m.send("p", "to_agent_type => 'worker'");
    let first = receive(m.db(), a, "1, '100 milliseconds'");
    assert_eq!(first[0]["delivery_count"], json!(1));
    m.db().wait_until(&format!(
        "(SELECT visible_at <= clock_timestamp() FROM caliber_message_get('{sent}'))"
    ));
    let second = m.take(b);
    assert_eq!((id(&second), &second["delivery_count"]), (sent, &json!(2)));
    assert_eq!(second["claimed_by"], json!(b.to_string()));
    assert!(m.drain(a).is_empty() && m.drain(b).is_empty());
    // The late worker can no longer end it, the current one can.
    for call in ["acknowledge", "release"] {
        let error = m.refused(&format!("{call}('{sent}', '{a}', 1)"), "55006");
        names(&error, "receipt 1 is stale");
        let detail = error.detail().unwrap();
        assert!(detail.contains('2') && detail.contains(&b.to_string()), "{detail}");
    }
    assert_eq!(m.acknowledge(sent, b, 2)["status"], json!("acknowledged"));
}

#[test]
fn after_its_last_delivery_a_message_is_dead() {
    let mut m = Mail::new();
    let a = m.a;
    let sent = m.send("p", "to_agent_type => 'worker', max_deliveries => 2");
    for count in [1, 2] {
        assert_eq!(m.take(a)["delivery_count"], json!(count));
        assert!(m.dead().is_empty());
        m.make_visible(sent);
    }
    assert!(m.drain(a).is_empty());
    let row = m.get(sent);
    assert_eq!((&row["status"], &row["delivery_count"]), (&json!("dead"), &json!(2)));
    assert_eq!(row["claimed_by"], Value::Null);
    assert_eq!(m.dead(), [sent]);
    assert!(m.list(a).is_empty());
    names(&m.refused(&format!("acknowledge('{sent}', '{a}', 2)"), "55006"), "stale");
    names(&m.refused(&format!("release('{sent}', '{a}', 2)"), "55006"), "stale");
    // The last delivery may be acknowledged as long as it lasts.
    let sent = m.send("q", "to_agent_type => 'worker', max_deliveries => 1");
    m.take(a);
    assert_eq!(m.acknowledge(sent, a, 1)["status"], json!("acknowledged"));
    assert!(m.drain(a).is_empty());
}

#[test]
fn acknowledging_ends_a_message() {
    let mut m = Mail::new();
    let a = m.a;
    let sent = m.send("p", "to_agent_type => 'worker'");
    let received = m.take(a);
    m.db().run("BEGIN");
    let row = m.acknowledge(sent, a, 1);
    let now = m.db().json("transaction_timestamp()");
    let mut expected = received;
    for (column, value) in [
        ("status", json!("acknowledged")),
        ("acknowledged_at", row["acknowledged_at"].clone()),
        ("updated_at", now),
        ("version", json!(3)),
    ] {
        expected[column] = value;
    }
    assert_eq!(row, expected);
    let by_the_clock: bool = m.db().one(&format!(
        "SELECT acknowledged_at BETWEEN transaction_timestamp() AND clock_timestamp()
         FROM caliber_message_get('{sent}')"
    ));
    assert!(by_the_clock, "{row}");
    m.db().run("COMMIT");
    assert!(m.list(a).is_empty() && m.drain(a).is_empty() && m.dead().is_empty());
    // A repeated call whose answer got lost.
    assert_eq!(m.acknowledge(sent, a, 1), row);
    assert_eq!(m.get(sent), row);
    names(&m.refused(&format!("release('{sent}', '{a}', 1)"), "55006"), "stale");
}

#[test]
fn only_who_holds_the_delivery_ends_it() {
    let mut m = Mail::new();
    let (a, b) = (m.a, m.b);
    let waiting = m.send("waiting", &format!("to_agent_id => '{b}'"));
    let sent = m.send("p", "to_agent_type => 'worker', priority => 'high'");
    assert_eq!(id(&m.take(a)), sent);
    for call in ["acknowledge", "release"] {
        for (arguments, sqlstate, named) in [
            (format!("'{sent}', '{b}', 1"), "55006", a.to_string()),
            (format!("'{sent}', '{a}', 0"), "55006", "receipt 0 is stale".to_owned()),
            (format!("'{sent}', '{a}', 2"), "55006", "receipt 2 is stale".to_owned()),
            (format!("'{waiting}', '{b}', 0"), "55006", "stale".to_owned()),
            (format!("'{UNKNOWN}', '{a}', 1"), "P0002", UNKNOWN.to_owned()),
            (format!("NULL, '{a}', 1"), "22023", "id".to_owned()),
            (format!("'{sent}', NULL, 1"), "22023", "agent_id".to_owned()),
            (format!("'{sent}', '{a}', NULL"), "22023", "receipt".to_owned()),
        ] {
            names(&m.refused(&format!("{call}({arguments})"), sqlstate), &named);
        }
    }
    for delay in ["'-1 s'", "NULL"] {
        names(&m.refused(&format!("release('{sent}', '{a}', 1, {delay})"), "22023"), "delay");
    }
    m.acknowledge(sent, a, 1);
    names(&m.refused(&format!("acknowledge('{sent}', '{b}', 1)"), "55006"), "stale");
    names(&m.refused(&format!("acknowledge('{sent}', '{a}', 2)"), "55006"), "stale");
}

#[test]
fn a_released_message_is_there_for_others() {
    let mut m = Mail::new();
    let (a, b) = (m.a, m.b);
    let sent = m.send("p", "to_agent_type => 'worker'");
    m.take(a);
    let row = m.release(sent, a, 1);
    for (column, value) in [
        ("status", json!("pending")),
        ("claimed_by", Value::Null),
        ("delivery_count", json!(1)),
        ("version", json!(3)),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    assert_eq!(m.get(sent), row);
    names(&m.refused(&format!("release('{sent}', '{a}', 1)"), "55006"), "stale");
    assert_eq!(m.take(b)["delivery_count"], json!(2));
    // With a delay.
    let row = m.t.db.json(&format!("caliber_message_release('{sent}', '{b}', 2, '1 hour')"));
    assert_eq!(row["status"], json!("pending"));
    let later: bool = m.db().one(&format!(
        "SELECT visible_at BETWEEN clock_timestamp() + interval '59 minutes'
            AND clock_timestamp() + interval '1 hour' FROM caliber_message_get('{sent}')"
    ));
    assert!(later, "{row}");
    assert!(m.drain(a).is_empty());
    m.make_visible(sent);
    assert_eq!(m.take(a)["delivery_count"], json!(3));
}

#[test]
fn a_dead_message_can_be_redriven() {
    let mut m = Mail::new();
    let (a, b) = (m.a, m.b);
    let sent = m.send("p", "to_agent_type => 'worker', max_deliveries => 1");
    for state in ["pending", "delivered"] {
        let error = m.refused(&format!("redrive('{sent}')"), "55000");
        names(&error, state);
        if state == "pending" {
            m.take(a);
        }
    }
    m.set(sent, "expires_at = clock_timestamp() - interval '1 second'");
    m.make_visible(sent);
    assert!(m.drain(a).is_empty());
    for (arguments, sqlstate, named) in [
        ("NULL".to_owned(), "22023", "id"),
        (format!("'{UNKNOWN}'"), "P0002", UNKNOWN),
        (format!("'{sent}', 0"), "22023", "deliveries"),
        (format!("'{sent}', NULL"), "22023", "deliveries"),
    ] {
        names(&m.refused(&format!("redrive({arguments})"), sqlstate), named);
    }
    let row = m.t.db.json(&format!("caliber_message_redrive('{sent}', 2)"));
    for (column, value) in [
        ("status", json!("pending")),
        ("delivery_count", json!(1)),
        ("max_deliveries", json!(3)),
        ("claimed_by", Value::Null),
        ("expires_at", Value::Null),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    assert_eq!(m.get(sent), row);
    assert!(m.dead().is_empty());
    assert_eq!(m.list(b), ["p"]);
    // A receipt from before never fits again.
    let again = m.take(a);
    assert_eq!(again["delivery_count"], json!(2));
    names(&m.refused(&format!("acknowledge('{sent}', '{a}', 1)"), "55006"), "stale");
    m.make_visible(sent);
    assert_eq!(m.take(b)["delivery_count"], json!(3));
    m.make_visible(sent);
    assert!(m.drain(b).is_empty());
    // Five more unless told otherwise; a time that is still to come stays.
    m.set(sent, "expires_at = '2999-01-01'");
    let row = m.t.db.json(&format!("caliber_message_redrive('{sent}')"));
    assert_eq!(row["max_deliveries"], json!(8));
    assert!(row["expires_at"].as_str().unwrap().starts_with("2999-01-01"), "{row}");
    m.take(a);
    m.acknowledge(sent, a, 4);
    names(&m.refused(&format!("redrive('{sent}')"), "55000"), "acknowledged");
}

#[test]
fn pages_of_a_list_join_up() {
    let mut m = Mail::new();
    let a = m.a;
    for n in 0..23 {
        let to =
            if n % 3 == 0 { "to_agent_type => 'worker'" } else { &format!("to_agent_id => '{a}'") };
        let priority = ["low", "normal", "high", "critical"][n % 4];
        let delay = if n % 5 == 0 { "1 hour" } else { "0" };
        m.send(&n.to_string(), &format!("{to}, priority => '{priority}', delay => '{delay}'"));
    }
    // Several at the same time.
    m.db()
        .run("UPDATE caliber_message SET visible_at = '2024-01-01' WHERE payload::text > '\"15\"'");
    m.take(a);
    let whole = m.list(a);
    assert_eq!(whole.len(), 23, "delivered ones, too");
    for size in [1, 2, 7, 22, 23, 24] {
        let (mut pages, mut after) = (Vec::new(), String::new());
        loop {
            let page: Vec<Value> = m.db().all(&format!(
                "SELECT to_jsonb(r) FROM caliber_message_list_for_agent('{a}', {size}{after}) r"
            ));
            assert!(page.len() <= size);
            let Some(last) = page.last() else { break };
            after = format!(
                ", {}, {}, {}",
                last["priority"].to_string().replace('"', "'"),
                last["visible_at"].to_string().replace('"', "'"),
                last["message_id"].to_string().replace('"', "'")
            );
            pages.extend(texts(&page, "payload").into_iter().map(str::to_owned));
        }
        assert_eq!(pages, whole, "in pages of {size}");
    }
}

#[test]
fn bad_arguments_of_lists_are_refused() {
    let mut m = Mail::new();
    let a = m.a;
    let sent = m.send("p", "to_agent_type => 'worker'");
    for (call, named) in [
        ("list_for_agent(NULL)".to_owned(), "agent_id"),
        (format!("list_for_agent('{a}', 0)"), "max_rows"),
        (format!("list_for_agent('{a}', -1)"), "max_rows"),
        (format!("list_for_agent('{a}', NULL)"), "max_rows"),
        (format!("list_for_agent('{a}', 9, 'low')"), "after"),
        (format!("list_for_agent('{a}', 9, NULL, now())"), "after"),
        (format!("list_for_agent('{a}', 9, NULL, NULL, '{sent}')"), "after"),
        (format!("list_for_agent('{a}', 9, 'low', NULL, '{sent}')"), "after"),
        ("list_dead(0)".to_owned(), "max_rows"),
        ("list_dead(NULL)".to_owned(), "max_rows"),
    ] {
        names(&m.refused(&call, "22023"), named);
    }
    let unknown: Uuid = UNKNOWN.parse().unwrap();
    assert!(m.list(unknown).is_empty(), "lists of what is unknown are empty");
}

#[test]
fn dead_messages_are_listed_by_id() {
    let mut m = Mail::new();
    let a = m.a;
    let sent: Vec<Uuid> =
        (0..5).map(|n| m.send(&n.to_string(), "to_agent_type => 'worker'")).collect();
    m.send("alive", "to_agent_type => 'tester'");
    m.db()
        .run("UPDATE caliber_message SET expires_at = '2024-01-01' WHERE to_agent_type = 'worker'");
    assert!(m.drain(a).is_empty());
    assert_eq!(m.dead(), sent);
    let page: Vec<Uuid> =
        m.db().all(&format!("SELECT message_id FROM caliber_message_list_dead(2, '{}')", sent[1]));
    assert_eq!(page, sent[2..4]);
    assert!(
        m.t.db
            .all::<Uuid>(&format!(
                "SELECT message_id FROM caliber_message_list_dead(after => '{}')",
                sent[4]
            ))
            .is_empty()
    );
}

#[test]
fn an_unknown_message_is_null() {
    let mut m = Mail::new();
    m.send("p", "to_agent_type => 'worker'");
    for id in [format!("'{UNKNOWN}'"), format!("'{V4}'"), "NULL".to_owned()] {
        assert_eq!(m.t.db.json(&format!("caliber_message_get({id})")), Value::Null);
    }
}

#[test]
fn a_message_outlives_what_it_is_about() {
    let mut m = Mail::new();
    let (a, trajectory, scope) = (m.a, m.t.trajectory, m.t.scope);
    let about =
        format!("to_agent_id => '{a}', trajectory_id => '{trajectory}', scope_id => '{scope}'");
    let done = m.send("done", &about);
    let row = m.take(a);
    m.acknowledge(done, a, 1);
    let open = m.send("open", &about);
    m.db().run(&format!("SELECT caliber_trajectory_delete('{trajectory}')"));
    for id in [done, open] {
        let row = m.get(id);
        assert_eq!((&row["trajectory_id"], &row["scope_id"]), (&Value::Null, &Value::Null));
    }
    let after = m.get(done);
    assert_eq!(after["status"], json!("acknowledged"));
    assert_eq!(after["payload"], row["payload"]);
    assert_eq!(m.take(a)["payload"], json!("open"));
}

#[test]
fn channels_are_plain_identifiers() {
    let db = &mut Tree::new("message").db;
    let a = agent(db, "worker");
    let of_agent: String = db.one(&format!("SELECT caliber_channel('{a}'::uuid)"));
    assert!(of_agent.contains(&a.simple().to_string()), "{of_agent}");
    let mut seen = vec![of_agent];
    for agent_type in ["worker", "Worker", "", "a b", "ü☃'\"", &"long".repeat(100), &a.to_string()]
    {
        seen.push(db.one(&format!("SELECT caliber_channel({}::text)", lit(agent_type))));
    }
    for channel in &seen {
        let plain =
            channel.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(plain && channel.len() < 64, "{channel}");
        db.run(&format!("LISTEN {channel}"));
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
    let null: bool = db
        .one("SELECT caliber_channel(NULL::uuid) IS NULL AND caliber_channel(NULL::text) IS NULL");
    assert!(null);
}

/// A connection that listens for messages to an agent and to a type.
#[track_caller]
fn listen(m: &mut Mail, agent: Uuid, agent_type: &str) -> Db {
    let mut listener = m.t.connect();
    for receiver in [format!("'{agent}'::uuid"), format!("{}::text", lit(agent_type))] {
        let channel: String = listener.one(&format!("SELECT caliber_channel({receiver})"));
        listener.run(&format!("LISTEN {channel}"));
    }
    listener
}

/// The next notification: the channel and the payload.
#[track_caller]
fn next(listener: &mut Db) -> (String, String) {
    let mut notifications = listener.notifications();
    let mut waiting = notifications.timeout_iter(Duration::from_secs(60));
    let heard = waiting.next().unwrap().expect("a notification within a minute");
    (heard.channel().to_owned(), heard.payload().to_owned())
}

/// What the listener has been told by now: the server sends it before the answer to a query.
#[track_caller]
fn heard(listener: &mut Db) -> Vec<String> {
    listener.run("SELECT 1");
    let mut notifications = listener.notifications();
    let heard: Vec<_> = notifications.iter().collect().unwrap();
    heard.iter().map(|heard| heard.payload().to_owned()).collect()
}

#[test]
fn receivers_are_notified_on_commit() {
    let mut m = Mail::new();
    let a = m.a;
    let mut listener = listen(&mut m, a, "worker");
    let of_agent: String = m.db().one(&format!("SELECT caliber_channel('{a}'::uuid)"));
    let of_type: String = m.db().one("SELECT caliber_channel('worker'::text)");
    m.db().run("BEGIN");
    let to_agent = m.send("1", &format!("to_agent_id => '{a}'"));
    let to_type = m.send("2", "to_agent_type => 'worker'");
    m.send("3", "to_agent_type => 'tester'");
    assert!(heard(&mut listener).is_empty(), "not before the commit");
    m.db().run("COMMIT");
    assert_eq!(next(&mut listener), (of_agent.clone(), to_agent.to_string()));
    assert_eq!(next(&mut listener), (of_type, to_type.to_string()));
    // A rollback tells nothing, nor does a repeated call.
    m.db().run("BEGIN");
    m.send("4", &format!("to_agent_id => '{a}'"));
    m.db().run("ROLLBACK");
    assert_eq!(m.send("1", &format!("to_agent_id => '{a}', message_id => '{to_agent}'")), to_agent);
    // To everybody: each hears of its own row.
    let broadcast = m.send("5", "ttl => '1 day'");
    let own: Uuid = m.db().one(&format!(
        "SELECT message_id::uuid FROM caliber_message
         WHERE broadcast_id = '{broadcast}' AND to_agent_id = '{a}'"
    ));
    assert_eq!(next(&mut listener), (of_agent, own.to_string()));
    assert!(heard(&mut listener).is_empty());
}

#[test]
fn notifications_can_be_turned_off() {
    let mut m = Mail::new();
    let a = m.a;
    let mut listener = listen(&mut m, a, "worker");
    let setting: String = m.db().one("SHOW caliber.notify");
    assert_eq!(setting, "on");
    m.db().run("SET caliber.notify = off");
    m.send("quiet", &format!("to_agent_id => '{a}'"));
    m.send("quiet", "to_agent_type => 'worker'");
    m.send("quiet", "ttl => '1 day'");
    m.db().run("RESET caliber.notify");
    let loud = m.send("loud", &format!("to_agent_id => '{a}'"));
    assert_eq!(next(&mut listener).1, loud.to_string());
    assert!(heard(&mut listener).is_empty());
    assert_eq!(m.drain(a).len(), 4, "they are delivered all the same");
}
