//! What does not work, as docs/limits.md says it: the limits that no other test shows. That file
//! names for each limit the test that shows it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::thread;

use caliber_tests::agents::{acquire, agent, delegator, names, receive, texts};
use caliber_tests::cluster::{Cluster, Installation};
use caliber_tests::database::Database;
use caliber_tests::{Db, Schema, Server, Tree, UNKNOWN, assert_sqlstate, lease, psql};
use postgres::fallible_iterator::FallibleIterator;
use serde_json::{Value, json};
use uuid::Uuid;

/// A resource, as arguments.
const FILE: &str = "'file', '00000000-0000-0000-0000-0000000000f1'";

/// A role that may do everything with the tables of a schema and owns none of them.
struct Role(String);

impl Role {
    fn new(schema: &Schema) -> Self {
        let (role, schema) = (format!("user_of_{}", schema.name()), schema.name());
        Server::get().connect().run(&format!(
            "CREATE ROLE {role}; GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"
        ));
        Self(role)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let drop = format!("SET lock_timeout = '20s'; DROP OWNED BY {0}; DROP ROLE {0}", self.0);
        if let Err(error) = Server::get().connect().attempt(&drop) {
            eprintln!("role {} stays: {error}", self.0);
        }
    }
}

fn id(row: &Value, column: &str) -> Uuid {
    row[column].as_str().unwrap().parse().unwrap()
}

fn fence(row: &Value) -> i64 {
    row["fence"].as_i64().unwrap()
}

/// What the listener has been told by now: the server sends it before the answer to a query.
#[track_caller]
fn heard(listener: &mut Db) -> Vec<String> {
    listener.run("SELECT 1");
    let mut notifications = listener.notifications();
    let heard: Vec<_> = notifications.iter().collect().unwrap();
    heard.iter().map(|heard| heard.payload().to_owned()).collect()
}

/// A connection that listens for messages to an agent.
#[track_caller]
fn listen(t: &Tree, agent: Uuid) -> Db {
    let mut listener = t.connect();
    let channel: String = listener.one(&format!("SELECT caliber_channel('{agent}'::uuid)"));
    listener.run(&format!("LISTEN {channel}"));
    listener
}

#[test]
fn a_policy_of_an_inheritance_parent_sees_the_version_before_the_update() {
    let schema = Schema::new("limits");
    let mut db = schema.connect();
    db.run(
        "CREATE TABLE parent (LIKE caliber_scope INCLUDING DEFAULTS) USING heap;
         CREATE TABLE child () INHERITS (parent) USING caliber_am;
         INSERT INTO child (trajectory_id, name, token_budget) VALUES (caliber_new_id(), 'a', 1);
         ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON parent USING (true) WITH CHECK (version < 2)",
    );
    let role = Role::new(&schema);
    assert_eq!(db.one::<String>("SELECT caliber_entity('child')"), "scope");
    let readers = "SELECT count(*) FROM caliber_check_table('child') problem
        WHERE problem NOT LIKE '%lacks the index%'";
    assert_eq!(db.one::<i64>(readers), 0);
    // The row that is stored is one that the policy would refuse.
    db.run(&format!("SET ROLE {}; UPDATE parent SET name = 'b'; RESET ROLE", role.0));
    assert_eq!(db.one::<String>("SELECT name || ' ' || version FROM child"), "b 2");
    // A policy of the table itself is looked at.
    db.run(
        "ALTER TABLE child ENABLE ROW LEVEL SECURITY; CREATE POLICY q ON child USING (version < 9)",
    );
    assert_eq!(db.one::<i64>(readers), 1);
    db.refused_unchanged("UPDATE parent SET name = 'c'", "42P16", &["child"]);
}

#[test]
fn sql_writes_whatever_lease_is_held() {
    let mut t = Tree::new("limits");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let held = lease(&mut t.db, "trajectory", trajectory);
    t.db.run(&format!(
        "SELECT caliber_trajectory_update('{trajectory}', '{{\"name\": \"held\"}}',
             fence => {held})"
    ));
    let error = t.refused(
        &format!("SELECT caliber_trajectory_update('{trajectory}', '{{\"name\": \"x\"}}')"),
        "55006",
    );
    names(&error, "fence is missing");
    t.db.run(&format!(
        "UPDATE caliber_trajectory SET name = 'by SQL' WHERE trajectory_id = '{trajectory}';
         UPDATE caliber_scope SET purpose = 'by SQL' WHERE scope_id = '{scope}'"
    ));
    assert_eq!(t.trajectory_row()["name"], json!("by SQL"));
    assert_eq!(t.scope_row()["purpose"], json!("by SQL"));
    // But the fence never falls.
    t.refused("UPDATE caliber_trajectory SET fence = fence - 1", "55006");
    t.refused("UPDATE caliber_trajectory SET fence = 0", "55006");
}

#[test]
fn sql_can_add_a_second_holder_of_an_exclusive_lease() {
    let db = &mut Tree::new("limits").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    let first = acquire(db, a, FILE, "'1 hour'");
    assert_eq!(acquire(db, b, FILE, "'1 hour'"), Value::Null);
    db.run(&format!(
        "INSERT INTO caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
         VALUES ({FILE}, '{b}', 'exclusive', now() + interval '1 hour')"
    ));
    let holders: Vec<Uuid> =
        db.all(&format!("SELECT holder_agent_id FROM caliber_lock_check({FILE})"));
    assert_eq!(holders, [a, b]);
    // The second one has the higher fence.
    let fences: Vec<i64> = db.all(&format!("SELECT fence FROM caliber_lock_check({FILE})"));
    assert_eq!(fences[0], fence(&first));
    assert!(fences[1] > fences[0]);
}

#[test]
fn a_lease_that_is_over_stops_its_worker_only_once_a_higher_fence_was_used() {
    let mut t = Tree::new("limits");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    let (trajectory, scope) = (t.trajectory, t.scope);
    let resource = format!("'trajectory', '{trajectory}'");
    let append = |fence: i64, content: &str| {
        format!("SELECT caliber_turn_create('{scope}', 'user', '{content}', fence => {fence})")
    };
    let first = acquire(&mut t.db, a, &resource, "'1 hour'");
    t.db.run(&append(fence(&first), "held"));
    t.db.run("UPDATE caliber_lock SET expires_at = now() - interval '1 hour'");
    t.db.run(&append(fence(&first), "over"));
    let second = acquire(&mut t.db, b, &resource, "'1 hour'");
    t.db.run(&append(fence(&first), "held by another"));
    t.db.run(&append(fence(&second), "of the other"));
    names(&t.refused(&append(fence(&first), "too late"), "55006"), "is stale");
    t.db.run(&format!(
        "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
         VALUES ('{scope}', 4, 'user', 'by SQL', 1)"
    ));
    let contents: Vec<String> = t.db.all("SELECT content FROM caliber_turn ORDER BY sequence");
    assert_eq!(contents, ["held", "over", "held by another", "of the other", "by SQL"]);
}

#[test]
fn a_jump_of_the_clock_moves_the_end_of_leases_and_fences_still_rise() {
    let mut t = Tree::new("limits");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    // To the functions, a clock that has jumped ahead is rows whose times lie as much further back.
    let jump = |db: &mut Db, by: &str| {
        db.run(&format!(
            "UPDATE caliber_lock SET acquired_at = acquired_at - interval '{by}',
                 expires_at = expires_at - interval '{by}'"
        ));
    };
    let first = acquire(&mut t.db, a, FILE, "'30 minutes'");
    jump(&mut t.db, "1 hour");
    let second = acquire(&mut t.db, b, FILE, "'30 minutes'");
    assert!(fence(&first) < fence(&second), "{first} and then {second}");
    jump(&mut t.db, "-1 hour");
    let check = format!(
        "SELECT array_agg(fence ORDER BY expires_at) FROM caliber_lock_check({FILE})
         WHERE expires_at > clock_timestamp() + interval '20 minutes'"
    );
    // The first is live again, and the second lasts longer than it promised.
    assert_eq!(t.db.one::<Vec<i64>>(&check), [fence(&first), fence(&second)]);
    assert_eq!(acquire(&mut t.db, a, FILE, "'30 minutes'"), Value::Null);
    jump(&mut t.db, "2 hours");
    let third = acquire(&mut t.db, a, FILE, "'30 minutes'");
    assert!(fence(&second) < fence(&third), "{second} and then {third}");
}

#[test]
fn a_lease_that_is_not_committed_makes_others_wait_as_far_as_they_do() {
    let mut t = Tree::new("limits");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    let name = t.schema().name().to_owned();
    for prepared in [false, true] {
        let mut holder = t.connect();
        holder.run("BEGIN");
        assert_ne!(acquire(&mut holder, a, FILE, "'1 hour'"), Value::Null);
        if prepared {
            holder.run(&format!("PREPARE TRANSACTION '{name}'"));
        }
        // No row of a lease is to be seen, and yet there is none to be had.
        assert_eq!(t.db.one::<i64>(&format!("SELECT count(*) FROM caliber_lock_check({FILE})")), 0);
        for wait in ["0", "50 milliseconds"] {
            let taken = acquire(&mut t.db, b, FILE, &format!("'1 hour', wait => '{wait}'"));
            assert_eq!(taken, Value::Null);
        }
        holder.run(&if prepared {
            format!("ROLLBACK PREPARED '{name}'")
        } else {
            "ROLLBACK".to_owned()
        });
        let taken = acquire(&mut t.db, b, FILE, "'1 hour'");
        assert_ne!(taken, Value::Null);
        t.db.run("DELETE FROM caliber_lock");
    }
}

#[test]
fn a_sequence_of_fences_set_back_gives_fences_that_are_refused() {
    let mut t = Tree::new("limits");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    let trajectory = t.trajectory;
    let resource = format!("'trajectory', '{trajectory}'");
    let rename = |fence: i64| {
        format!(
            "SELECT caliber_trajectory_update('{trajectory}', '{{\"name\": \"x\"}}',
                 fence => {fence})"
        )
    };
    t.db.run("SELECT setval('caliber_fence', 100)");
    let held = acquire(&mut t.db, a, &resource, "'1 hour'");
    assert_eq!(fence(&held), 101);
    t.db.run(&rename(101));
    t.db.run("DELETE FROM caliber_lock; SELECT setval('caliber_fence', 7)");
    let later = acquire(&mut t.db, b, &resource, "'1 hour'");
    assert_eq!(fence(&later), 8);
    let error = t.refused(&rename(8), "55006");
    assert_eq!(error.detail(), Some("The fence given is 8, the current fence is 101."));
    // Past the highest fence that was used all is well again.
    t.db.run("DELETE FROM caliber_lock; SELECT setval('caliber_fence', 101)");
    let right = acquire(&mut t.db, b, &resource, "'1 hour'");
    t.db.run(&rename(fence(&right)));
    assert_eq!(t.trajectory_row()["fence"], json!(102));
}

#[test]
fn sql_can_make_a_cycle_of_successors_and_then_none_is_live() {
    let mut t = Tree::new("limits");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let mut create = |kind: &str| -> Uuid {
        t.db.one(&if kind == "note" {
            "SELECT caliber_note_create('fact', 't', 'c', embedding => '[1,1,1,1,1,1,1,1]')"
                .to_owned()
        } else {
            format!(
                "SELECT caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'n', 'c',
                     '[1,1,1,1,1,1,1,1]')"
            )
        })
    };
    let pairs = ["note", "artifact"].map(|kind| (kind, create(kind), create(kind)));
    for (kind, a, b) in pairs {
        let table = format!("caliber_{kind}");
        let found = format!("SELECT count(*) FROM caliber_{kind}_search('[1,1,1,1,1,1,1,1]')");
        t.db.run(&format!("SELECT caliber_{kind}_supersede('{a}', '{b}')"));
        assert_eq!(t.db.one::<i64>(&found), 1);
        t.db.refused_unchanged(
            &format!("SELECT caliber_{kind}_supersede('{b}', '{a}')"),
            "55000",
            &[&table],
        );
        t.db.run(&format!("UPDATE {table} SET superseded_by = '{a}' WHERE {kind}_id = '{b}'"));
        assert_eq!(t.db.one::<i64>(&found), 0);
    }
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_note_list_by_type('fact')"), 0);
    let live = format!("SELECT count(*) FROM caliber_artifact_query_by_scope('{scope}')");
    assert_eq!(t.db.one::<i64>(&live), 0);
}

#[test]
fn sql_may_delegate_and_accept_what_the_functions_refuse() {
    let mut t = Tree::new("limits");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let nobody = delegator(&mut t.db, "boss", "{}");
    let [a, b] = [agent(&mut t.db, "coder"), agent(&mut t.db, "tester")];
    let tables = &["caliber_delegation", "caliber_handoff"];
    let create =
        format!("SELECT caliber_delegation_create('{nobody}', 't', '{trajectory}', '{a}')");
    names(&t.db.refused_unchanged(&create, "55000", tables), "may not delegate");
    let delegation: Uuid = t.db.one(&format!(
        "INSERT INTO caliber_delegation (delegator_agent_id, task_description, parent_trajectory_id,
             delegatee_agent_id)
         VALUES ('{nobody}', 't', '{trajectory}', '{a}') RETURNING delegation_id::uuid"
    ));
    let handoff: Uuid = t.db.one(&format!(
        "SELECT caliber_handoff_create('{nobody}', '{trajectory}', '{scope}', 'escalation', '{a}')"
    ));
    for (kind, offer) in [("delegation", delegation), ("handoff", handoff)] {
        let accept = format!("SELECT caliber_{kind}_accept('{offer}', '{b}')");
        names(&t.db.refused_unchanged(&accept, "55000", tables), &b.to_string());
    }
    // Who was not addressed, by SQL.
    t.db.run(&format!(
        "UPDATE caliber_delegation
             SET status = 'accepted', accepted_at = now(), delegatee_agent_id = '{b}';
         UPDATE caliber_handoff SET status = 'accepted', accepted_at = now(), to_agent_id = '{b}'"
    ));
    let taken: Vec<String> = t.db.all(
        "SELECT 'delegation ' || status FROM caliber_delegation
         UNION ALL SELECT 'handoff ' || status FROM caliber_handoff",
    );
    assert_eq!(taken, ["delegation accepted", "handoff accepted"]);
}

#[test]
fn a_delegation_can_be_accepted_after_its_deadline() {
    let mut t = Tree::new("limits");
    let (trajectory, boss) = (t.trajectory, delegator(&mut t.db, "boss", "{*}"));
    let a = agent(&mut t.db, "coder");
    let late: Uuid = t.db.one(&format!(
        "SELECT caliber_delegation_create('{boss}', 't', '{trajectory}', '{a}',
             deadline => '2020-01-01')"
    ));
    let pending = format!("SELECT count(*) FROM caliber_delegation_list_pending('{a}')");
    assert_eq!(t.db.one::<i64>(&pending), 1);
    let row = t.db.json(&format!("caliber_delegation_accept('{late}', '{a}')"));
    assert_eq!(row["status"], json!("accepted"));
}

#[test]
fn what_is_over_stays_until_it_is_deleted() {
    let mut t = Tree::new("limits");
    let (trajectory, scope, boss) = (t.trajectory, t.scope, agent(&mut t.db, "boss"));
    let a = agent(&mut t.db, "worker");
    assert_ne!(acquire(&mut t.db, a, FILE, "'1 hour'"), Value::Null);
    t.db.run(&format!(
        "SELECT caliber_note_create('fact', 't', 'c');
         SELECT caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'n', 'c');
         SELECT caliber_message_send('{boss}', 'm', '1', '{a}');
         SELECT caliber_message_send('{boss}', 'm', '2', '{a}')"
    ));
    let taken = receive(&mut t.db, a, "1");
    t.db.run(&format!(
        "SELECT caliber_message_acknowledge('{}', '{a}', 1)",
        id(&taken[0], "message_id")
    ));
    for table in ["note", "artifact", "lock", "message"] {
        let pending = if table == "message" { "WHERE status = 'pending'" } else { "" };
        t.db.run(&format!("UPDATE caliber_{table} SET expires_at = '2020-01-01' {pending}"));
    }
    // The next receiver meets the expired message and calls it dead.
    let states = "SELECT status::text FROM caliber_message ORDER BY message_id";
    assert_eq!(t.db.all::<String>(states), ["acknowledged", "pending"]);
    assert!(receive(&mut t.db, a, "1").is_empty());
    assert_eq!(t.db.all::<String>(states), ["acknowledged", "dead"]);
    t.db.run("VACUUM caliber_note, caliber_artifact, caliber_lock, caliber_message");
    for (table, rows) in [("note", 1), ("artifact", 1), ("lock", 1), ("message", 2)] {
        let count = format!("SELECT count(*) FROM caliber_{table}");
        assert_eq!(t.db.one::<i64>(&count), rows, "{table}");
    }
    assert_eq!(t.db.one::<i64>("SELECT caliber_lock_reap()"), 1);
}

#[test]
fn whoever_may_call_the_functions_may_act_as_any_agent() {
    let mut t = Tree::new("limits");
    let [boss, a] = [agent(&mut t.db, "boss"), agent(&mut t.db, "worker")];
    let message: Uuid =
        t.db.one(&format!("SELECT caliber_message_send('{boss}', 'm', '\"secret\"', '{a}')"));
    let role = Role::new(t.schema());
    let mut other = t.connect();
    other.run(&format!("SET ROLE {}", role.0));
    assert_eq!(texts(&receive(&mut other, a, "1"), "payload"), ["secret"]);
    let row = other.json(&format!("caliber_message_acknowledge('{message}', '{a}', 1)"));
    assert_eq!(row["status"], json!("acknowledged"));
    let row = other.json(&format!("caliber_agent_set_status('{boss}', 'offline')"));
    assert_eq!(row["status"], json!("offline"));
    let held = acquire(&mut other, a, FILE, "'1 hour'");
    assert_eq!(id(&held, "holder_agent_id"), a);
    drop(other);
}

#[test]
fn sql_may_write_below_what_is_not_active() {
    let mut t = Tree::new("limits");
    let (trajectory, scope) = (t.trajectory, t.scope);
    t.db.run(&format!(
        "SELECT caliber_scope_close('{scope}');
         SELECT caliber_trajectory_set_status('{trajectory}', 'completed')"
    ));
    for call in [
        format!("turn_create('{scope}', 'user', 'x')"),
        format!("scope_create('{trajectory}', 'n', 5)"),
    ] {
        t.refused(&format!("SELECT caliber_{call}"), "55000");
    }
    t.db.run(&format!(
        "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
             VALUES ('{scope}', 0, 'user', 'x', 1);
         INSERT INTO caliber_scope (trajectory_id, name, token_budget)
             VALUES ('{trajectory}', 'n', 5)"
    ));
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn"), 1);
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_scope"), 2);
}

#[test]
fn a_message_by_sql_notifies_nobody_and_may_have_two_receivers_or_none() {
    let mut t = Tree::new("limits");
    let [boss, a, b] = ["boss", "worker", "tester"].map(|of_type| agent(&mut t.db, of_type));
    let mut listener = listen(&t, a);
    t.db.refused_unchanged(
        &format!("SELECT caliber_message_send('{boss}', 'm', '1', '{a}', 'tester')"),
        "22023",
        &["caliber_message"],
    );
    let insert = |to_agent: &str, to_type: &str, payload: &str| {
        format!(
            "INSERT INTO caliber_message (from_agent_id, message_type, payload, to_agent_id,
                 to_agent_type)
             VALUES ('{boss}', 'm', '\"{payload}\"', {to_agent}, {to_type})"
        )
    };
    t.db.run(&insert("NULL", "NULL", "to none"));
    for receiver in [a, b] {
        t.db.run(&insert(&format!("'{a}'"), "'tester'", "to two"));
        // One row: the first of its two receivers to ask has it.
        assert_eq!(texts(&receive(&mut t.db, receiver, "9"), "payload"), ["to two"]);
        for other in [a, b, boss] {
            assert!(receive(&mut t.db, other, "9").is_empty());
        }
    }
    assert_eq!(heard(&mut listener), [""; 0]);
    // The listener does hear of what is sent.
    let sent: Uuid = t.db.one(&format!("SELECT caliber_message_send('{boss}', 'm', '1', '{a}')"));
    assert_eq!(heard(&mut listener), [sent.to_string()]);
}

#[test]
fn a_message_given_back_comes_after_those_that_waited() {
    let mut t = Tree::new("limits");
    let [boss, a] = [agent(&mut t.db, "boss"), agent(&mut t.db, "worker")];
    for payload in ["first", "second"] {
        t.db.run(&format!("SELECT caliber_message_send('{boss}', 'm', '\"{payload}\"', '{a}')"));
    }
    let taken = receive(&mut t.db, a, "1");
    assert_eq!(texts(&taken, "payload"), ["first"]);
    t.db.run(&format!(
        "SELECT caliber_message_release('{}', '{a}', 1)",
        id(&taken[0], "message_id")
    ));
    let rows = receive(&mut t.db, a, "9");
    assert_eq!(texts(&rows, "payload"), ["second", "first"]);
    let deliveries: Vec<_> = rows.iter().map(|row| row["delivery_count"].clone()).collect();
    assert_eq!(deliveries, [json!(1), json!(2)]);
}

#[test]
fn who_listens_later_is_not_told_but_can_receive() {
    let mut t = Tree::new("limits");
    let [boss, a] = [agent(&mut t.db, "boss"), agent(&mut t.db, "worker")];
    let mut early = listen(&t, a);
    let sent: Uuid =
        t.db.one(&format!("SELECT caliber_message_send('{boss}', 'm', '\"x\"', '{a}')"));
    let mut late = listen(&t, a);
    assert_eq!(heard(&mut early), [sent.to_string()]);
    assert_eq!(heard(&mut late), [""; 0]);
    assert_eq!(texts(&receive(&mut late, a, "1"), "payload"), ["x"]);
}

/// In a cluster of its own, because it makes commits wait for a standby that there is not.
#[test]
fn one_transaction_that_notifies_commits_at_a_time() {
    let installation = Installation::copy();
    let waits = [
        ("synchronous_standby_names", "nobody"),
        ("synchronous_commit", "local"),
        ("max_wal_senders", "1"),
        ("wal_level", "replica"),
    ];
    let cluster = Cluster::init(&installation, "notify", &waits);
    cluster.start();
    let mut db = cluster.connect("postgres");
    db.run("CREATE EXTENSION \"caliber-pg\" CASCADE; SELECT caliber_init(embedding_dim => 8)");
    let [boss, a] = [agent(&mut db, "boss"), agent(&mut db, "worker")];
    let send = format!("SELECT caliber_message_send('{boss}', 'm', '1', '{a}')");
    let [mut first, mut second] = [cluster.connect("postgres"), cluster.connect("postgres")];
    let (first_pid, second_pid) = (first.pid(), second.pid());
    first.run("SET synchronous_commit = on");
    // Threads that nobody waits for when the test fails: the first commit would never end.
    let attempt = |mut db: Db| {
        let send = send.clone();
        thread::spawn(move || db.attempt(&send))
    };
    // It is written, and does not end.
    let committing = attempt(first);
    db.wait_until(&format!(
        "EXISTS (SELECT FROM pg_stat_activity
         WHERE pid = {first_pid} AND wait_event = 'SyncRep')"
    ));
    let waiting = attempt(second);
    db.wait_until_blocked(second_pid);
    let waits_for: String = db.one(&format!(
        "SELECT classid::regclass || ' ' || objid || ' of ' || database || ', ' || mode
         FROM pg_locks WHERE pid = {second_pid} AND NOT granted"
    ));
    assert_eq!(waits_for, "pg_database 0 of 0, AccessExclusiveLock");
    // What notifies nobody goes through.
    db.run(&format!("SET caliber.notify = off; {send}; RESET caliber.notify"));
    assert_eq!(db.one::<i32>(&format!("SELECT cardinality(pg_blocking_pids({second_pid}))")), 1);
    db.run(&format!("SELECT pg_cancel_backend({first_pid})"));
    for outcome in [committing, waiting] {
        outcome.join().unwrap().unwrap();
    }
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber.caliber_message"), 3);
}

#[test]
fn what_notified_cannot_be_prepared() {
    let mut t = Tree::new("limits");
    let [boss, a] = [agent(&mut t.db, "boss"), agent(&mut t.db, "worker")];
    let name = t.schema().name().to_owned();
    let prepare = format!(
        "BEGIN; SELECT caliber_message_send('{boss}', 'm', '1', '{a}');
         PREPARE TRANSACTION '{name}'"
    );
    let error = t.db.refused_unchanged(&prepare, "0A000", &["caliber_message"]);
    names(&error, "NOTIFY");
    t.db.run("SET caliber.notify = off");
    t.db.run(&prepare);
    t.db.run(&format!("COMMIT PREPARED '{name}'"));
    assert_eq!(receive(&mut t.db, a, "9").len(), 1);
}

#[test]
fn an_agent_that_something_names_cannot_be_deleted() {
    let mut t = Tree::new("limits");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let [boss, other] = [agent(&mut t.db, "boss"), agent(&mut t.db, "worker")];
    t.db.run(&format!("SELECT caliber_agent_update('{boss}', '{{\"can_delegate_to\": [\"*\"]}}')"));
    let calls = [
        ("trajectory", format!("trajectory_create('t', agent_id => '{boss}')")),
        ("message", format!("message_send('{boss}', 'm', '1', '{other}')")),
        ("message", format!("message_send('{other}', 'm', '1', '{boss}')")),
        ("delegation", format!("delegation_create('{boss}', 't', '{trajectory}', '{other}')")),
        (
            "handoff",
            format!("handoff_create('{boss}', '{trajectory}', '{scope}', 'escalation', '{other}')"),
        ),
        (
            "conflict",
            format!(
                "conflict_create('goal_conflict', 'file', '{trajectory}', 'file', '{scope}',
                     '{boss}')"
            ),
        ),
    ];
    for (table, call) in calls {
        t.db.run(&format!("BEGIN; SELECT caliber_{call}"));
        if table != "message" {
            // Nothing else that the call sent names the agent.
            t.db.run("DELETE FROM caliber_message");
        }
        let delete = format!("DELETE FROM caliber_agent WHERE agent_id = '{boss}'");
        let error = assert_sqlstate(t.db.attempt(&delete), "23503", &delete);
        assert_eq!(error.table(), Some(&*format!("caliber_{table}")), "{call}");
        t.db.run("ROLLBACK");
    }
    t.db.run(&format!("SELECT caliber_agent_set_status('{boss}', 'offline')"));
    t.db.run(&format!("DELETE FROM caliber_agent WHERE agent_id = '{boss}'"));
}

#[test]
fn more_dimensions_than_an_index_holds_are_refused() {
    let schema = Schema::bare("limits");
    let mut db = schema.connect();
    let init = |dimensions: i32| format!("SELECT caliber_init('{}', {dimensions})", schema.name());
    let error = db.refused(&init(4001), "22023");
    names(&error, "pgvector can index 1 to 4000 dimensions.");
    db.run(&init(4000));
    let index = |table: &str| format!("pg_get_indexdef('caliber_{table}_embedding_idx'::regclass)");
    for table in ["note", "artifact"] {
        let definition: String = db.one(&format!("SELECT {}", index(table)));
        assert!(definition.contains("halfvec(4000)"), "{definition}");
    }
}

#[test]
fn an_embedding_of_another_dimension_needs_another_schema() {
    let eight = Schema::new("limits");
    let three = Schema::bare("limits");
    let mut db = eight.connect();
    db.run(&format!("SELECT caliber_init('{}', 3)", three.name()));
    let create = "SELECT caliber_note_create('fact', 't', 'c', embedding => '[1,2,3]')";
    for sql in [create, "SELECT caliber_note_search('[1,2,3]')"] {
        let error = db.refused_unchanged(sql, "22000", &["caliber_note"]);
        assert_eq!(error.message(), "expected 8 dimensions, not 3");
    }
    db.run(&format!("SET caliber.schema = {}", three.name()));
    db.run(create);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_note_search('[1,2,3]')"), 1);
}

#[test]
fn a_zero_vector_finds_nothing_and_is_not_found() {
    let db = &mut Tree::new("limits").db;
    for embedding in ["NULL", "'[0,0,0,0,0,0,0,0]'", "'[1,0,0,0,0,0,0,0]'"] {
        db.run(&format!("SELECT caliber_note_create('fact', 't', 'c', embedding => {embedding})"));
    }
    let found = "SELECT count(*) FROM caliber_note_search('[0,1,0,0,0,0,0,0]', 10)";
    assert_eq!(db.one::<i64>(found), 1);
    let error = db.refused("SELECT caliber_note_search('[0,0,0,0,0,0,0,0]')", "22023");
    names(&error, "embedding");
}

#[test]
fn a_search_whose_filter_keeps_few_rows_reads_the_table() {
    let db = &mut Tree::new("limits").db;
    // Enough for the index to be used at all.
    db.run(
        "INSERT INTO caliber_note (note_type, title, content, embedding)
         SELECT CASE n WHEN 1 THEN 'rare' ELSE 'fact' END, 't', repeat('c', 200),
             ARRAY[sin(n), cos(n), sin(2.3 * n), cos(3.1 * n), sin(5.7 * n), 1, 1, 1]::vector
         FROM generate_series(1, 1500) n",
    );
    let read = |db: &mut Db, arguments: &str| {
        let scans = "SELECT pg_stat_get_xact_numscans('caliber_note'::regclass)";
        db.run("BEGIN");
        let before: i64 = db.one(scans);
        let found: i64 = db.one(&format!(
            "SELECT count(*) FROM caliber_note_search('[1,1,1,1,1,1,1,1]', {arguments})"
        ));
        let after: i64 = db.one(scans);
        db.run("COMMIT");
        (found, after - before)
    };
    assert_eq!(read(db, "5"), (5, 0));
    assert_eq!(read(db, "5, note_type => 'fact'"), (5, 0));
    assert_eq!(read(db, "5, note_type => 'rare'"), (1, 1));
}

#[test]
fn new_content_keeps_the_embedding() {
    let mut t = Tree::new("limits");
    let (trajectory, scope) = (t.trajectory, t.scope);
    for (kind, arguments) in [
        ("note", "'fact', 't', 'old', embedding => '[1,2,3,4,5,6,7,8]'".to_owned()),
        ("artifact", format!("'{trajectory}', '{scope}', 'fact', 'n', 'old', '[1,2,3,4,5,6,7,8]'")),
    ] {
        let id: Uuid = t.db.one(&format!("SELECT caliber_{kind}_create({arguments})"));
        let row = t
            .db
            .json(&format!("caliber_{kind}_update('{id}', '{{\"content\": \"something else\"}}')"));
        assert_eq!(row["content"], json!("something else"));
        assert_eq!(row["embedding"], json!("[1,2,3,4,5,6,7,8]"));
        // And what has none gets none.
        let bare = arguments.replace("'[1,2,3,4,5,6,7,8]'", "NULL");
        let id: Uuid = t.db.one(&format!("SELECT caliber_{kind}_create({bare})"));
        assert_eq!(t.db.json(&format!("caliber_{kind}_get('{id}')"))["embedding"], Value::Null);
    }
}

#[test]
fn ids_in_arrays_may_name_what_is_gone() {
    let mut t = Tree::new("limits");
    let [boss, a] = [delegator(&mut t.db, "boss", "{*}"), agent(&mut t.db, "worker")];
    let task: Uuid = t.db.one("SELECT caliber_trajectory_create('task')");
    let scope: Uuid = t.db.one(&format!("SELECT caliber_scope_create('{task}', 's', 5)"));
    let artifact: Uuid =
        t.db.one(&format!("SELECT caliber_artifact_create('{task}', '{scope}', 'fact', 'n', 'c')"));
    let kept = t.trajectory;
    let calls = [
        (
            "note",
            "source_trajectory_ids",
            json!([task.to_string()]),
            format!("note_create('fact', 't', 'c', ARRAY['{task}']::uuid[])"),
        ),
        (
            "message",
            "artifact_ids",
            json!([artifact.to_string()]),
            format!(
                "message_send('{boss}', 'm', '1', '{a}',
                     artifact_ids => ARRAY['{artifact}']::uuid[])"
            ),
        ),
        // Not even there to begin with.
        (
            "delegation",
            "shared_notes",
            json!([UNKNOWN]),
            format!(
                "delegation_create('{boss}', 't', '{kept}', '{a}',
                     shared_notes => ARRAY['{UNKNOWN}']::uuid[])"
            ),
        ),
        (
            "conflict",
            "item_a_id",
            json!(artifact.to_string()),
            format!(
                "conflict_create('goal_conflict', 'artifact', '{artifact}', 'artifact',
                     '{UNKNOWN}')"
            ),
        ),
    ];
    let rows = calls.map(|(table, column, value, call)| {
        let id: Uuid = t.db.one(&format!("SELECT caliber_{call}"));
        (table, column, value, id)
    });
    t.db.run(&format!("SELECT caliber_trajectory_delete('{task}')"));
    assert_eq!(t.db.json(&format!("caliber_artifact_get('{artifact}')")), Value::Null);
    for (table, column, value, id) in rows {
        let row = t.db.json(&format!("caliber_{table}_get('{id}')"));
        assert_eq!(row[column], value, "{table}");
    }
}

#[test]
fn tools_that_know_only_heap_refuse_or_pass_over_our_tables() {
    let database = Database::new("limits");
    let mut db = database.connect();
    db.run(
        "CREATE TABLE t (a int PRIMARY KEY) USING caliber_am; INSERT INTO t VALUES (1);
         CREATE TABLE h (a int PRIMARY KEY) USING heap; INSERT INTO h VALUES (1)",
    );
    // The embedded PostgreSQL 16 has no contrib.
    if !Server::get().has_contrib("amcheck") {
        return;
    }
    db.run("CREATE EXTENSION amcheck; CREATE EXTENSION pgrowlocks; CREATE EXTENSION pgstattuple");
    for (call, message) in [
        ("verify_heapam('t')", "only heap AM is supported"),
        ("pgrowlocks('t')", "only heap AM is supported"),
        ("pgstattuple('t')", "only heap AM is supported"),
    ] {
        let error = db.refused(&format!("SELECT {call}"), "0A000");
        assert_eq!(error.message(), message, "{call}");
        db.run(&format!("SELECT {}", call.replace("'t'", "'h'")));
    }
    db.run("SELECT bt_index_check('t_pkey', heapallindexed => true)");
    let mut pg_amcheck = psql::program("pg_amcheck", database.name());
    let output = pg_amcheck.args(["--verbose", "--schema=public"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    assert!(told.contains(".public.h\""), "{told}");
    assert!(!told.contains(".public.t\""), "{told}");
}

#[test]
fn verify_says_that_amcheck_is_missing_and_passes_over_what_amcheck_has_no_check_for() {
    let database = Database::new("limits");
    let mut db = database.connect();
    // Indexes that disagree with the table, because their function does.
    db.run(
        "CREATE TABLE t (a int) USING caliber_am; INSERT INTO t SELECT generate_series(1, 100);
         CREATE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a; END';
         CREATE INDEX t_hash ON t USING hash (f(a)); CREATE INDEX t_brin ON t USING brin (f(a));
         CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE
             AS 'BEGIN RETURN a + 1000; END'",
    );
    let error = db.refused("SELECT caliber_verify('t')", "42704");
    assert_eq!(error.hint(), Some("Install it with CREATE EXTENSION amcheck."));
    if !Server::get().has_contrib("amcheck") {
        return;
    }
    db.run("CREATE EXTENSION amcheck");
    let parts = "SELECT part::text FROM caliber_verify('t')";
    assert_eq!(db.all::<String>(parts), [""; 0]);
    // Of a B-tree it says so.
    db.run(
        "CREATE INDEX t_btree ON t (f(a));
         CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE
             AS 'BEGIN RETURN a + 2000; END'",
    );
    assert_eq!(db.all::<String>(parts), ["t_btree"]);
}

#[test]
fn a_rewrite_may_miss_what_vacuum_took_from_the_toast_table() {
    let database = Database::new("limits");
    let mut db = database.connect();
    for method in ["heap", "caliber_am"] {
        db.run(&format!(
            "CREATE TABLE t (i int PRIMARY KEY, t text) USING {method}
                 WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
             ALTER TABLE t ALTER t SET STORAGE EXTERNAL;
             INSERT INTO t SELECT i, repeat('1234567890', 1000) FROM generate_series(1, 2) i"
        ));
        let is_whole = |db: &mut Db| {
            let rows: Vec<bool> = db.all("SELECT i = 2 AND t = repeat('1234567890', 1000) FROM t");
            assert_eq!(rows, [true], "{method}");
        };
        // VACUUM does not care for transactions of other databases, the snapshot of a rewrite does.
        let mut elsewhere = Server::get().connect();
        elsewhere.run("BEGIN; SELECT pg_current_xact_id()");
        db.run("DELETE FROM t WHERE i = 1");
        let deleted: String = db.one("SELECT pg_current_xact_id()::text");
        let toast: String =
            db.one("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 't'::regclass");
        db.run(&format!("VACUUM {toast}"));
        for rewrite in ["VACUUM FULL t", "CLUSTER t USING t_pkey"] {
            // Data_corrupted. Once PostgreSQL mends it, the line in docs/limits.md can go.
            let error = db.refused(rewrite, "XX001");
            assert!(error.message().contains("chunk number"), "{method}: {}", error.message());
            is_whole(&mut db);
        }
        elsewhere.run("COMMIT");
        // The transactions of other tests are older ones elsewhere, too.
        db.wait_until(&format!("pg_snapshot_xmin(pg_current_snapshot()) > '{deleted}'::xid8"));
        for rewrite in ["VACUUM FULL t", "CLUSTER t USING t_pkey"] {
            db.run(rewrite);
            is_whole(&mut db);
        }
        db.run("DROP TABLE t");
    }
}

#[test]
fn a_partitioned_parent_names_an_access_method_from_17_on() {
    let schema = Schema::bare("limits");
    let mut db = schema.connect();
    let parent = "CREATE TABLE p (a int) PARTITION BY LIST (a) USING caliber_am";
    if Server::get().major() < 17 {
        let error = db.refused(parent, "0A000");
        let said = "specifying a table access method is not supported on a partitioned table";
        assert_eq!(error.message(), said);
        db.run("CREATE TABLE p (a int) PARTITION BY LIST (a)");
    } else {
        db.run(parent);
    }
    db.run("CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1) USING caliber_am");
    let method = "SELECT amname::text FROM pg_am a JOIN pg_class c ON c.relam = a.oid
        WHERE c.oid = 'p1'::regclass";
    assert_eq!(db.one::<String>(method), "caliber_am");
}

#[test]
fn tokens_are_estimated_from_the_text_alone() {
    let mut t = Tree::new("limits");
    let calls = json!([{"name": "look_up", "arguments": "long ".repeat(100)}]).to_string();
    let turn = t.append(&format!("'assistant', 'four char', tool_calls => '{calls}'"));
    let row = t.db.json(&format!("caliber_turn_get('{turn}')"));
    assert_eq!(row["token_count"], json!(3), "nine characters of four a token");
    assert_eq!(t.scope_row()["tokens_used"], json!(3));
    // Where it matters the caller says it.
    let turn = t.append(&format!("'assistant', 'four char', 150, tool_calls => '{calls}'"));
    let row = t.db.json(&format!("caliber_turn_get('{turn}')"));
    assert_eq!(row["token_count"], json!(150));
    assert_eq!(t.scope_row()["tokens_used"], json!(153));
}
