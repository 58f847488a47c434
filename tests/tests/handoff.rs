//! Handoffs: who may take a task over, and that its former agent can no longer write.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::agents::{V4, acquire, agent, names, receive};
use caliber_tests::{Db, DbError, Tree, UNKNOWN};
use serde_json::{Value, json};
use uuid::Uuid;

const TABLES: &[&str] =
    &["caliber_handoff", "caliber_trajectory", "caliber_scope", "caliber_turn", "caliber_message"];

/// An agent with a task, two coders and a tester.
struct Office {
    t: Tree,
    former: Uuid,
    a: Uuid,
    b: Uuid,
    tester: Uuid,
}

impl Office {
    fn new() -> Self {
        let mut t = Tree::new("handoff");
        let [former, a, b, tester] =
            ["planner", "coder", "coder", "tester"].map(|of_type| agent(&mut t.db, of_type));
        let trajectory = t.trajectory;
        t.db.run(&format!(
            "SELECT caliber_trajectory_update('{trajectory}', '{{\"agent_id\": \"{former}\"}}')"
        ));
        Self { t, former, a, b, tester }
    }

    fn db(&mut self) -> &mut Db {
        &mut self.t.db
    }

    /// Hands the task off; `rest` says to whom.
    #[track_caller]
    fn hand_off(&mut self, rest: &str) -> Uuid {
        let call = self.create(rest);
        self.t.db.one(&format!("SELECT caliber_handoff_{call}"))
    }

    fn create(&self, rest: &str) -> String {
        let (former, trajectory, scope) = (self.former, self.t.trajectory, self.t.scope);
        format!("create('{former}', '{trajectory}', '{scope}', 'escalation', {rest})")
    }

    #[track_caller]
    fn get(&mut self, id: Uuid) -> Value {
        self.t.db.json(&format!("caliber_handoff_get('{id}')"))
    }

    /// The new row and the fence.
    #[track_caller]
    fn accept(&mut self, id: Uuid, agent: Uuid) -> (Value, i64) {
        let rows: Vec<Value> = self
            .t
            .db
            .all(&format!("SELECT to_jsonb(a) FROM caliber_handoff_accept('{id}', '{agent}') a"));
        assert_eq!(rows.len(), 1);
        (rows[0]["handoff"].clone(), rows[0]["fence"].as_i64().unwrap())
    }

    #[track_caller]
    fn refused(&mut self, call: &str, sqlstate: &str) -> DbError {
        self.t.db.refused_unchanged(&format!("SELECT caliber_handoff_{call}"), sqlstate, TABLES)
    }

    /// The fenced writes, with this fence.
    fn writes(&self, fence: &str) -> [String; 3] {
        let (trajectory, scope) = (self.t.trajectory, self.t.scope);
        [
            format!(
                "SELECT caliber_trajectory_update('{trajectory}', '{{\"name\": \"n {fence}\"}}', fence => {fence})"
            ),
            format!("SELECT caliber_turn_create('{scope}', 'user', 'x', fence => {fence})"),
            format!(
                "SELECT caliber_scope_update('{scope}', '{{\"name\": \"n {fence}\"}}', fence => {fence})"
            ),
        ]
    }

    #[track_caller]
    fn may_write(&mut self, fence: i64) {
        for sql in self.writes(&fence.to_string()) {
            self.t.db.run(&sql);
        }
    }

    #[track_caller]
    fn may_not_write(&mut self, fence: &str, word: &str) {
        for sql in self.writes(fence) {
            names(&self.t.db.refused_unchanged(&sql, "55006", TABLES), word);
        }
    }

    #[track_caller]
    fn pending(&mut self, arguments: &str) -> Vec<Uuid> {
        self.t.db.all(&format!("SELECT handoff_id FROM caliber_handoff_list_pending({arguments})"))
    }
}

#[test]
fn create_stores_every_argument_and_tells_the_receiver() {
    let mut o = Office::new();
    let (former, a, trajectory, scope) = (o.former, o.a, o.t.trajectory, o.t.scope);
    let chosen: Uuid = o.db().one("SELECT caliber_new_id()");
    let task = o.t.trajectory_row();
    o.db().run("BEGIN");
    let id: Uuid = o.db().one(&format!(
        "SELECT caliber_handoff_create(from_agent_id => '{former}', trajectory_id => '{trajectory}',
            scope_id => '{scope}', reason => 'capability_mismatch', to_agent_id => '{a}',
            handoff_notes => 'höre', next_steps => ARRAY['a', ''], blockers => ARRAY['b,c'],
            open_questions => ARRAY['?', NULL], context_snapshot_id => '{V4}',
            metadata => '{{\"m\": 1}}', handoff_id => '{chosen}')"
    ));
    assert_eq!(id, chosen);
    let now = o.db().json("transaction_timestamp()");
    let row = o.get(id);
    assert_eq!(
        row,
        json!({
            "handoff_id": id.to_string(), "from_agent_id": former.to_string(),
            "to_agent_id": a.to_string(), "to_agent_type": null,
            "trajectory_id": trajectory.to_string(), "scope_id": scope.to_string(),
            "context_snapshot_id": V4, "handoff_notes": "höre", "next_steps": ["a", ""],
            "blockers": ["b,c"], "open_questions": ["?", null], "reason": "capability_mismatch",
            "status": "initiated", "initiated_at": now, "accepted_at": null, "completed_at": null,
            "metadata": {"m": 1}, "created_at": now, "updated_at": now, "version": 1,
        })
    );
    o.db().run("COMMIT");
    assert_eq!(o.t.trajectory_row(), task, "nothing changes hands yet");
    let messages = receive(o.db(), a, "9");
    assert_eq!(messages.len(), 1);
    for (column, value) in [
        ("message_type", json!("handoff")),
        ("from_agent_id", json!(former.to_string())),
        ("to_agent_id", json!(a.to_string())),
        ("trajectory_id", json!(trajectory.to_string())),
        ("scope_id", json!(scope.to_string())),
        ("payload", json!({"handoff_id": id.to_string(), "reason": "capability_mismatch"})),
    ] {
        assert_eq!(messages[0][column], value, "{column}");
    }
    let plain = o.hand_off("to_agent_type => 'tester'");
    let row = o.get(plain);
    for (column, value) in [
        ("to_agent_id", Value::Null),
        ("to_agent_type", json!("tester")),
        ("handoff_notes", json!("")),
        ("next_steps", json!([])),
        ("blockers", json!([])),
        ("open_questions", json!([])),
        ("context_snapshot_id", Value::Null),
        ("metadata", Value::Null),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    let tester = o.tester;
    let messages = receive(o.db(), tester, "9");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["to_agent_type"], json!("tester"));
}

#[test]
fn bad_arguments_of_create_are_refused() {
    let mut o = Office::new();
    let (f, a, t, s) = (o.former, o.a, o.t.trajectory, o.t.scope);
    let other: Uuid = o.db().one("SELECT caliber_trajectory_create('other')");
    let coder = "to_agent_type => 'coder'";
    for (arguments, sqlstate, named) in [
        (format!("'{f}', '{t}', '{s}', 'failure'"), "22023", "to_agent"),
        (format!("'{f}', '{t}', '{s}', 'failure', '{a}', 'coder'"), "22023", "to_agent"),
        (format!("NULL, '{t}', '{s}', 'failure', {coder}"), "23502", "from_agent_id"),
        (format!("'{f}', NULL, '{s}', 'failure', {coder}"), "23502", "trajectory_id"),
        (format!("'{f}', '{t}', NULL, 'failure', {coder}"), "23502", "scope_id"),
        (format!("'{f}', '{t}', '{s}', NULL, {coder}"), "23502", "reason"),
        (format!("'{f}', '{t}', '{s}', 'boredom', {coder}"), "22P02", "boredom"),
        (
            format!("'{UNKNOWN}', '{t}', '{s}', 'failure', {coder}"),
            "23503",
            "caliber_handoff_from_agent_id_fkey",
        ),
        (
            format!("'{f}', '{t}', '{s}', 'failure', '{UNKNOWN}'"),
            "23503",
            "caliber_handoff_to_agent_id_fkey",
        ),
        (format!("'{f}', '{UNKNOWN}', '{s}', 'failure', {coder}"), "23503", "caliber_handoff_"),
        (
            format!("'{f}', '{t}', '{UNKNOWN}', 'failure', {coder}"),
            "23503",
            "caliber_handoff_scope_id_fkey",
        ),
        // A scope of another trajectory.
        (
            format!("'{f}', '{other}', '{s}', 'failure', {coder}"),
            "23503",
            "caliber_handoff_scope_id_fkey",
        ),
        (format!("'{f}', '{t}', '{s}', 'failure', {coder}, blockers => 'x'"), "22P02", "array"),
        (format!("'{f}', '{t}', '{s}', 'failure', {coder}, metadata => 'x'"), "22P02", "json"),
        (
            format!("'{f}', '{t}', '{s}', 'failure', {coder}, handoff_id => '{V4}'"),
            "22023",
            "handoff_id",
        ),
    ] {
        names(&o.refused(&format!("create({arguments})"), sqlstate), named);
    }
    // A suspended task can change hands, a finished one cannot.
    o.db().run(&format!("SELECT caliber_trajectory_set_status('{t}', 'suspended')"));
    o.hand_off(coder);
    o.db().run(&format!("SELECT caliber_trajectory_set_status('{t}', 'failed')"));
    let call = o.create(coder);
    names(&o.refused(&call, "55000"), "failed");
}

#[test]
fn create_with_an_id_can_be_repeated() {
    let mut o = Office::new();
    let (former, a, b, t, s) = (o.former, o.a, o.b, o.t.trajectory, o.t.scope);
    let second = o.t.new_scope(5);
    let chosen: Uuid = o.db().one("SELECT caliber_new_id()");
    let rest = format!("to_agent_type => 'coder', handoff_id => '{chosen}'");
    assert_eq!(o.hand_off(&rest), chosen);
    o.accept(chosen, a);
    let before: Vec<_> = TABLES.iter().map(|table| o.t.db.rows_of(table)).collect();
    assert_eq!(o.hand_off(&rest), chosen);
    assert_eq!(o.hand_off(&format!("{rest}, handoff_notes => 'x'")), chosen);
    let after: Vec<_> = TABLES.iter().map(|table| o.t.db.rows_of(table)).collect();
    assert_eq!(after, before);
    for (arguments, column) in [
        (format!("'{b}', '{t}', '{s}', 'escalation', NULL, 'coder'"), "from_agent_id"),
        (format!("'{former}', '{t}', '{second}', 'escalation', NULL, 'coder'"), "scope_id"),
        (format!("'{former}', '{UNKNOWN}', '{s}', 'escalation', NULL, 'coder'"), "trajectory_id"),
        (format!("'{former}', '{t}', '{s}', 'escalation', NULL, 'tester'"), "to_agent_type"),
    ] {
        let error = o.refused(&format!("create({arguments}, handoff_id => '{chosen}')"), "23505");
        assert!(error.detail().unwrap().contains(column), "{error:?}");
    }
}

#[test]
fn accepting_makes_the_acceptor_the_task_s_agent() {
    let mut o = Office::new();
    let a = o.a;
    let id = o.hand_off("to_agent_type => 'coder'");
    let (before, task) = (o.get(id), o.t.trajectory_row());
    o.db().run("BEGIN");
    let (row, fence) = o.accept(id, a);
    let now = o.db().json("transaction_timestamp()");
    let mut expected = before;
    for (column, value) in [
        ("status", json!("accepted")),
        ("to_agent_id", json!(a.to_string())),
        ("accepted_at", now.clone()),
        ("updated_at", now.clone()),
        ("version", json!(2)),
    ] {
        expected[column] = value;
    }
    assert_eq!(row, expected);
    o.db().run("COMMIT");
    assert_eq!(o.get(id), row);
    let mut expected = task;
    for (column, value) in [
        ("agent_id", json!(a.to_string())),
        ("fence", json!(fence)),
        ("updated_at", now),
        ("version", json!(expected["version"].as_i64().unwrap() + 1)),
    ] {
        expected[column] = value;
    }
    assert_eq!(o.t.trajectory_row(), expected);
    assert!(fence > 0);
}

#[test]
fn only_an_addressed_agent_may_accept_or_reject() {
    let mut o = Office::new();
    let (former, a, b, tester) = (o.former, o.a, o.b, o.tester);
    let to_a = o.hand_off(&format!("'{a}'"));
    let to_coders = o.hand_off("to_agent_type => 'coder'");
    // Unlike a delegation, a handoff knows no type that stands for any.
    let to_star = o.hand_off("to_agent_type => '*'");
    for call in ["accept", "reject"] {
        for (id, agent) in
            [(to_a, b), (to_a, former), (to_coders, tester), (to_coders, former), (to_star, a)]
        {
            let error = o.refused(&format!("{call}('{id}', '{agent}')"), "55000");
            names(&error, &agent.to_string());
        }
        for (arguments, sqlstate, named) in [
            (format!("'{to_coders}', '{UNKNOWN}'"), "P0002", UNKNOWN),
            (format!("'{UNKNOWN}', '{a}'"), "P0002", UNKNOWN),
            (format!("NULL, '{a}'"), "22023", "id"),
            (format!("'{to_coders}', NULL"), "22023", "agent_id"),
        ] {
            names(&o.refused(&format!("{call}({arguments})"), sqlstate), named);
        }
    }
    o.accept(to_a, a);
    let (row, _) = o.accept(to_coders, b);
    assert_eq!(row["to_agent_id"], json!(b.to_string()));
}

#[test]
fn each_step_is_taken_from_its_state_only() {
    let mut o = Office::new();
    let (a, b) = (o.a, o.b);
    for state in ["initiated", "accepted", "rejected", "completed"] {
        for (call, from, to) in [
            ("accept", "initiated", "accepted"),
            ("reject", "initiated", "rejected"),
            ("complete", "accepted", "completed"),
        ] {
            let id = o.hand_off("to_agent_type => 'coder'");
            let steps: &[&str] = match state {
                "accepted" => &["accept"],
                "rejected" => &["reject"],
                "completed" => &["accept", "complete"],
                _ => &[],
            };
            for step in steps {
                o.db().run(&format!("SELECT caliber_handoff_{step}('{id}', '{a}')"));
            }
            assert_eq!(o.get(id)["status"], json!(state));
            if state == from {
                o.db().run(&format!("SELECT caliber_handoff_{call}('{id}', '{a}')"));
                assert_eq!(o.get(id)["status"], json!(to));
            } else {
                o.refused(&format!("{call}('{id}', '{a}')"), "55000");
            }
        }
    }
    // Completed by who took it.
    let id = o.hand_off("to_agent_type => 'coder'");
    o.accept(id, a);
    for agent in [b, o.former] {
        let error = o.refused(&format!("complete('{id}', '{agent}')"), "55000");
        names(&error, &agent.to_string());
    }
    for (arguments, sqlstate, named) in [
        (format!("'{UNKNOWN}', '{a}'"), "P0002", UNKNOWN),
        (format!("NULL, '{a}'"), "22023", "id"),
        (format!("'{id}', NULL"), "22023", "agent_id"),
    ] {
        names(&o.refused(&format!("complete({arguments})"), sqlstate), named);
    }
    o.db().run("BEGIN");
    let row = o.t.db.json(&format!("caliber_handoff_complete('{id}', '{a}')"));
    assert_eq!(row["completed_at"], o.t.db.json("transaction_timestamp()"));
    o.db().run("COMMIT");
    assert_eq!(o.get(id), row);
}

#[test]
fn the_giver_hears_of_a_rejection() {
    let mut o = Office::new();
    let (former, a, trajectory, scope) = (o.former, o.a, o.t.trajectory, o.t.scope);
    for (reason, told) in [("'zu \"viel\"'", json!("zu \"viel\"")), ("NULL", Value::Null)] {
        let id = o.hand_off("to_agent_type => 'coder'");
        let task = o.t.trajectory_row();
        let row = o.t.db.json(&format!("caliber_handoff_reject('{id}', '{a}', {reason})"));
        assert_eq!((&row["status"], &row["completed_at"]), (&json!("rejected"), &Value::Null));
        assert_eq!(row["to_agent_id"], Value::Null);
        assert_eq!(o.get(id), row);
        assert_eq!(o.t.trajectory_row(), task);
        let messages = receive(o.db(), former, "9");
        assert_eq!(messages.len(), 1);
        let mut payload = json!({"handoff_id": id.to_string(), "status": "rejected"});
        if told != Value::Null {
            payload["reason"] = told;
        }
        for (column, value) in [
            ("message_type", json!("handoff")),
            ("from_agent_id", json!(a.to_string())),
            ("trajectory_id", json!(trajectory.to_string())),
            ("scope_id", json!(scope.to_string())),
            ("payload", payload),
        ] {
            assert_eq!(messages[0][column], value, "{column}");
        }
    }
}

#[test]
fn the_former_agent_can_no_longer_write() {
    let mut o = Office::new();
    let (former, a, b) = (o.former, o.a, o.b);
    let resource = format!("'trajectory', '{}'", o.t.trajectory);
    let lease = acquire(o.db(), former, &resource, "'1 hour'");
    let old = lease["fence"].as_i64().unwrap();
    o.may_write(old);
    let id = o.hand_off("to_agent_type => 'coder'");
    o.may_write(old);
    let (_, fence) = o.accept(id, a);
    assert!(fence > old);
    // Though its lease is still alive.
    o.may_not_write(&old.to_string(), "is stale");
    o.may_not_write("NULL", "is missing");
    // The new agent needs no lease.
    o.may_write(fence);
    // The next one takes it from there.
    let id = o.hand_off(&format!("'{b}'"));
    let (_, next) = o.accept(id, b);
    assert!(next > fence);
    o.may_not_write(&fence.to_string(), "is stale");
    o.may_write(next);
    // Leases and handoffs share one sequence.
    let released: bool = o.db().one(&format!(
        "SELECT caliber_lock_release('{}', {old})",
        lease["lock_id"].as_str().unwrap()
    ));
    assert!(released);
    let lease = acquire(o.db(), former, &resource, "'1 hour'");
    assert!(lease["fence"].as_i64().unwrap() > next);
}

#[test]
fn a_former_agent_without_a_fence_can_no_longer_write() {
    let mut o = Office::new();
    let a = o.a;
    for sql in o.writes("NULL") {
        o.db().run(&sql);
    }
    let id = o.hand_off(&format!("'{a}'"));
    // A rejection or a rollback takes nothing away.
    o.db().run("BEGIN");
    o.accept(id, a);
    o.db().run("ROLLBACK");
    for sql in o.writes("NULL") {
        o.db().run(&sql);
    }
    let (_, fence) = o.accept(id, a);
    o.may_not_write("NULL", "is missing");
    o.may_not_write(&(fence + 1).to_string(), "no live lease");
    o.may_write(fence);
}

#[test]
fn a_task_that_ended_meanwhile_cannot_be_taken() {
    let mut o = Office::new();
    let (a, trajectory) = (o.a, o.t.trajectory);
    let id = o.hand_off("to_agent_type => 'coder'");
    o.db().run(&format!("SELECT caliber_trajectory_set_status('{trajectory}', 'completed')"));
    o.refused(&format!("accept('{id}', '{a}')"), "55000");
    assert_eq!(o.get(id)["status"], json!("initiated"));
}

#[test]
fn pending_ones_are_listed_by_agent_and_type() {
    let mut o = Office::new();
    let (a, b, tester) = (o.a, o.b, o.tester);
    let first = o.hand_off("to_agent_type => 'coder'");
    let of_a = o.hand_off(&format!("'{a}'"));
    let of_b = o.hand_off(&format!("'{b}'"));
    let last = o.hand_off("to_agent_type => 'coder'");
    o.hand_off("to_agent_type => '*'");
    for (arguments, expected) in [
        (format!("'{a}'"), vec![first, of_a, last]),
        (format!("'{b}'"), vec![first, of_b, last]),
        (format!("'{tester}'"), vec![]),
        ("NULL, 'coder'".to_owned(), vec![first, last]),
        (format!("'{a}', 'tester'"), vec![of_a]),
        (format!("'{a}', max_rows => 2"), vec![first, of_a]),
        (format!("'{a}', NULL, 2, '{of_a}'"), vec![last]),
        (format!("'{UNKNOWN}'"), vec![]),
        ("agent_type => 'nobody'".to_owned(), vec![]),
    ] {
        assert_eq!(o.pending(&arguments), expected, "{arguments}");
    }
    o.accept(first, b);
    let reject = format!("SELECT caliber_handoff_reject('{of_a}', '{a}')");
    o.db().run(&reject);
    assert_eq!(o.pending(&format!("'{a}'")), [last]);
    assert_eq!(o.pending(&format!("'{b}'")), [of_b, last]);
    for (arguments, named) in [
        ("", "agent_id"),
        ("NULL, NULL", "agent_id"),
        ("NULL, 'coder', 0", "max_rows"),
        ("NULL, 'coder', NULL", "max_rows"),
    ] {
        let call = format!("get((r).handoff_id) FROM caliber_handoff_list_pending({arguments}) r");
        names(&o.refused(&call, "22023"), named);
    }
    for id in [format!("'{UNKNOWN}'"), "NULL".to_owned()] {
        assert_eq!(o.t.db.json(&format!("caliber_handoff_get({id})")), Value::Null);
    }
}
