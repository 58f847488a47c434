//! Delegations: who may give and who may take a sub-task, what becomes of it, and who hears of it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::agents::{V4, agent, delegator, names, receive};
use caliber_tests::{Db, DbError, Tree, UNKNOWN, lit};
use serde_json::{Value, json};
use uuid::Uuid;

const TABLES: &[&str] = &["caliber_delegation", "caliber_trajectory", "caliber_message"];

/// A boss that may delegate to coders, two coders and a tester, and the boss's task.
struct Office {
    t: Tree,
    boss: Uuid,
    a: Uuid,
    b: Uuid,
    tester: Uuid,
}

impl Office {
    fn new() -> Self {
        let mut t = Tree::new("delegation");
        let boss = delegator(&mut t.db, "boss", "{reviewer,coder}");
        let [a, b, tester] = ["coder", "coder", "tester"].map(|of_type| agent(&mut t.db, of_type));
        Self { t, boss, a, b, tester }
    }

    fn db(&mut self) -> &mut Db {
        &mut self.t.db
    }

    /// Delegates the task; `rest` says to whom.
    #[track_caller]
    fn delegate(&mut self, task: &str, rest: &str) -> Uuid {
        let (boss, parent, task) = (self.boss, self.t.trajectory, lit(task));
        self.t
            .db
            .one(&format!("SELECT caliber_delegation_create('{boss}', {task}, '{parent}', {rest})"))
    }

    #[track_caller]
    fn get(&mut self, id: Uuid) -> Value {
        self.t.db.json(&format!("caliber_delegation_get('{id}')"))
    }

    /// `caliber_delegation_<call>(id, agent)`
    #[track_caller]
    fn act(&mut self, call: &str, id: Uuid, agent: Uuid) -> Value {
        self.t.db.json(&format!("caliber_delegation_{call}('{id}', '{agent}')"))
    }

    #[track_caller]
    fn refused(&mut self, call: &str, sqlstate: &str) -> DbError {
        self.t.db.refused_unchanged(&format!("SELECT caliber_delegation_{call}"), sqlstate, TABLES)
    }

    /// The messages that an agent has not received yet: type and payload.
    #[track_caller]
    fn mail(&mut self, agent: Uuid) -> Vec<(String, Value)> {
        receive(&mut self.t.db, agent, "100")
            .into_iter()
            .map(|m| (m["message_type"].as_str().unwrap().to_owned(), m["payload"].clone()))
            .collect()
    }

    #[track_caller]
    fn pending(&mut self, arguments: &str) -> Vec<Uuid> {
        self.t
            .db
            .all(&format!("SELECT delegation_id FROM caliber_delegation_list_pending({arguments})"))
    }
}

#[test]
fn create_stores_every_argument_and_tells_the_delegatee() {
    let mut o = Office::new();
    let (boss, a, parent) = (o.boss, o.a, o.t.trajectory);
    let chosen: Uuid = o.db().one("SELECT caliber_new_id()");
    o.db().run("BEGIN");
    let id: Uuid = o.db().one(&format!(
        "SELECT caliber_delegation_create(delegator_agent_id => '{boss}',
            task_description => 'prüfe \"das\"', parent_trajectory_id => '{parent}',
            delegatee_agent_id => '{a}', shared_artifacts => '{{{UNKNOWN}}}',
            shared_notes => '{{{V4}}}', additional_context => 'mehr',
            constraints => '{{\"c\": 1}}', deadline => '2999-01-01 00:00+00',
            metadata => '[1]', delegation_id => '{chosen}')"
    ));
    assert_eq!(id, chosen);
    let now = o.db().json("transaction_timestamp()");
    let row = o.get(id);
    assert_eq!(
        row,
        json!({
            "delegation_id": id.to_string(), "delegator_agent_id": boss.to_string(),
            "delegatee_agent_id": a.to_string(), "delegatee_agent_type": null,
            "task_description": "prüfe \"das\"", "parent_trajectory_id": parent.to_string(),
            "child_trajectory_id": null, "shared_artifacts": [UNKNOWN], "shared_notes": [V4],
            "additional_context": "mehr", "constraints": {"c": 1}, "deadline": row["deadline"],
            "status": "pending", "result": null, "accepted_at": null, "completed_at": null,
            "metadata": [1], "created_at": now, "updated_at": now, "version": 1,
        })
    );
    assert!(row["deadline"].as_str().unwrap().starts_with("2999-01-01"));
    o.db().run("COMMIT");
    let messages = receive(o.db(), a, "9");
    assert_eq!(messages.len(), 1);
    for (column, value) in [
        ("message_type", json!("task_delegation")),
        ("from_agent_id", json!(boss.to_string())),
        ("to_agent_id", json!(a.to_string())),
        ("trajectory_id", json!(parent.to_string())),
        ("payload", json!({"delegation_id": id.to_string(), "task_description": "prüfe \"das\""})),
        ("created_at", row["created_at"].clone()),
    ] {
        assert_eq!(messages[0][column], value, "{column}");
    }
    let plain = o.delegate("", "delegatee_agent_type => 'coder'");
    let row = o.get(plain);
    for (column, value) in [
        ("delegatee_agent_id", Value::Null),
        ("delegatee_agent_type", json!("coder")),
        ("task_description", json!("")),
        ("shared_artifacts", json!([])),
        ("shared_notes", json!([])),
        ("additional_context", Value::Null),
        ("constraints", json!({})),
        ("deadline", Value::Null),
        ("metadata", Value::Null),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    let b = o.b;
    let told = json!({"delegation_id": plain.to_string(), "task_description": ""});
    assert_eq!(o.mail(b), [("task_delegation".to_owned(), told)]);
    assert!(o.mail(a).is_empty(), "one agent of the type takes the message");
}

#[test]
fn a_delegation_to_any_type_is_told_to_everybody() {
    let mut o = Office::new();
    let parent = o.t.trajectory;
    let chief = delegator(o.db(), "chief", "{*}");
    let id: Uuid = o.db().one(&format!(
        "SELECT caliber_delegation_create('{chief}', 'any', '{parent}', delegatee_agent_type => '*')"
    ));
    for agent in [o.boss, o.a, o.b, o.tester] {
        let mail = o.mail(agent);
        assert_eq!(mail.len(), 1);
        assert_eq!(mail[0].1["delegation_id"], json!(id.to_string()));
    }
    assert!(o.mail(chief).is_empty());
}

#[test]
fn a_delegation_that_is_rolled_back_told_nobody() {
    let mut o = Office::new();
    let a = o.a;
    o.db().run("BEGIN");
    o.delegate("x", "delegatee_agent_type => 'coder'");
    o.db().run("ROLLBACK");
    assert!(o.mail(a).is_empty());
    assert!(o.db().rows_of("caliber_delegation").is_empty());
}

#[test]
fn bad_arguments_of_create_are_refused() {
    let mut o = Office::new();
    let (boss, a, p) = (o.boss, o.a, o.t.trajectory);
    let coder = "delegatee_agent_type => 'coder'";
    for (arguments, sqlstate, named) in [
        (format!("'{boss}', 't', '{p}'"), "22023", "delegatee_agent"),
        (format!("'{boss}', 't', '{p}', '{a}', 'coder'"), "22023", "delegatee_agent"),
        (format!("NULL, 't', '{p}', {coder}"), "23502", "delegator_agent_id"),
        (format!("'{boss}', NULL, '{p}', {coder}"), "23502", "task_description"),
        (format!("'{boss}', 't', NULL, {coder}"), "23502", "parent_trajectory_id"),
        (
            format!("'{UNKNOWN}', 't', '{p}', {coder}"),
            "23503",
            "caliber_delegation_delegator_agent_id_fkey",
        ),
        (
            format!("'{boss}', 't', '{p}', '{UNKNOWN}'"),
            "23503",
            "caliber_delegation_delegatee_agent_id_fkey",
        ),
        (
            format!("'{boss}', 't', '{UNKNOWN}', {coder}"),
            "23503",
            "caliber_delegation_parent_trajectory_id_fkey",
        ),
        (format!("'{boss}', 't', '{p}', {coder}, constraints => 'x'"), "22P02", "json"),
        (format!("'{boss}', 't', '{p}', {coder}, deadline => 'x'"), "22007", "timestamp"),
        (format!("'{boss}', 't', '{p}', {coder}, shared_notes => '{{x}}'"), "22P02", "uuid"),
        (
            format!("'{boss}', 't', '{p}', {coder}, delegation_id => '{V4}'"),
            "22023",
            "delegation_id",
        ),
    ] {
        names(&o.refused(&format!("create({arguments})"), sqlstate), named);
    }
    for status in ["suspended", "completed"] {
        o.db().run(&format!("SELECT caliber_trajectory_set_status('{p}', '{status}')"));
        let error = o.refused(&format!("create('{boss}', 't', '{p}', {coder})"), "55000");
        names(&error, status);
    }
}

#[test]
fn the_delegator_must_be_allowed_to() {
    let mut o = Office::new();
    let (a, p, tester) = (o.a, o.t.trajectory, o.tester);
    let mut who = |may: &str| delegator(&mut o.t.db, "boss", may);
    let (nobody, coders, any, odd) =
        (who("{}"), who("{coder}"), who("{*}"), who("{Coder,NULL,code}"));
    let (to_agent, to_coder) = (format!("'{a}'"), "NULL, 'coder'".to_owned());
    let (to_tester, to_any) = (format!("'{tester}'"), "NULL, '*'".to_owned());
    for (delegator, to, allowed) in [
        (nobody, &to_agent, false),
        (nobody, &to_coder, false),
        (nobody, &to_any, false),
        (odd, &to_agent, false),
        (odd, &to_coder, false),
        (coders, &to_agent, true),
        (coders, &to_coder, true),
        (coders, &to_tester, false),
        (coders, &to_any, false),
        (any, &to_agent, true),
        (any, &to_coder, true),
        (any, &to_tester, true),
        (any, &to_any, true),
    ] {
        let call = format!("create('{delegator}', 't', '{p}', {to})");
        if allowed {
            o.db().run(&format!("SELECT caliber_delegation_{call}"));
        } else {
            let error = o.refused(&call, "55000");
            names(&error, "may not delegate");
            assert!(error.detail().is_some(), "{error:?}");
        }
    }
}

#[test]
fn create_with_an_id_can_be_repeated() {
    let mut o = Office::new();
    let (boss, a, b, p) = (o.boss, o.a, o.b, o.t.trajectory);
    let chosen: Uuid = o.db().one("SELECT caliber_new_id()");
    let other: Uuid = o.db().one("SELECT caliber_trajectory_create('other')");
    let rest = format!("delegatee_agent_type => 'coder', delegation_id => '{chosen}'");
    assert_eq!(o.delegate("t", &rest), chosen);
    o.act("accept", chosen, a);
    // What is no longer allowed does not matter, nor does what may change.
    o.db().run(&format!(
        "SELECT caliber_trajectory_set_status('{p}', 'completed');
         SELECT caliber_agent_update('{boss}', '{{\"can_delegate_to\": []}}')"
    ));
    let before: Vec<_> = TABLES.iter().map(|table| o.t.db.rows_of(table)).collect();
    assert_eq!(o.delegate("t", &rest), chosen);
    assert_eq!(o.delegate("t", &format!("{rest}, additional_context => 'x'")), chosen);
    let after: Vec<_> = TABLES.iter().map(|table| o.t.db.rows_of(table)).collect();
    assert_eq!(after, before);
    for (arguments, column) in [
        (format!("'{b}', 't', '{p}', NULL, 'coder'"), "delegator_agent_id"),
        (format!("'{boss}', 'u', '{p}', NULL, 'coder'"), "task_description"),
        (format!("'{boss}', 't', '{other}', NULL, 'coder'"), "parent_trajectory_id"),
        (format!("'{boss}', 't', '{p}', NULL, 'reviewer'"), "delegatee_agent_type"),
    ] {
        let error =
            o.refused(&format!("create({arguments}, delegation_id => '{chosen}')"), "23505");
        assert!(error.detail().unwrap().contains(column), "{error:?}");
    }
}

#[test]
fn accepting_makes_a_child_trajectory() {
    let mut o = Office::new();
    let (a, b, parent) = (o.a, o.b, o.t.trajectory);
    let id = o.delegate("write it", "delegatee_agent_type => 'coder'");
    let before = o.get(id);
    o.db().run("BEGIN");
    let row = o.act("accept", id, a);
    let now = o.db().json("transaction_timestamp()");
    let mut expected = before;
    for (column, value) in [
        ("status", json!("accepted")),
        ("delegatee_agent_id", json!(a.to_string())),
        ("child_trajectory_id", row["child_trajectory_id"].clone()),
        ("accepted_at", now.clone()),
        ("updated_at", now.clone()),
        ("version", json!(2)),
    ] {
        expected[column] = value;
    }
    assert_eq!(row, expected);
    o.db().run("COMMIT");
    assert_eq!(o.get(id), row);
    let child = row["child_trajectory_id"].as_str().unwrap();
    let child = o.db().json(&format!("caliber_trajectory_get('{child}')"));
    for (column, value) in [
        ("name", json!("write it")),
        ("status", json!("active")),
        ("parent_trajectory_id", json!(parent.to_string())),
        ("root_trajectory_id", json!(parent.to_string())),
        ("agent_id", json!(a.to_string())),
        ("created_at", now),
    ] {
        assert_eq!(child[column], value, "{column}");
    }
    // A task without a description gets a name all the same.
    let id = o.delegate("", &format!("'{b}'"));
    let row = o.act("accept", id, b);
    let name: String = o.db().one(&format!(
        "SELECT name FROM caliber_trajectory_get({})",
        lit(row["child_trajectory_id"].as_str().unwrap())
    ));
    assert_eq!(name, "delegated task");
}

#[test]
fn a_child_trajectory_given_must_be_a_child() {
    let mut o = Office::new();
    let (a, parent) = (o.a, o.t.trajectory);
    let mut make = |parent: &str| -> Uuid {
        o.t.db.one(&format!(
            "SELECT caliber_trajectory_create('t', parent_trajectory_id => {parent})"
        ))
    };
    let (child, stranger) = (make(&format!("'{parent}'")), make("NULL"));
    let grandchild = make(&format!("'{child}'"));
    let id = o.delegate("t", "delegatee_agent_type => 'coder'");
    for wrong in [parent, stranger, grandchild] {
        let call = format!("accept('{id}', '{a}', '{wrong}')");
        names(&o.refused(&call, "55000"), "is not a child");
    }
    names(&o.refused(&format!("accept('{id}', '{a}', '{UNKNOWN}')"), "P0002"), UNKNOWN);
    let before = o.db().rows_of("caliber_trajectory");
    let row = o.t.db.json(&format!("caliber_delegation_accept('{id}', '{a}', '{child}')"));
    assert_eq!(row["child_trajectory_id"], json!(child.to_string()));
    assert_eq!(o.db().rows_of("caliber_trajectory"), before, "no further one is made");
}

#[test]
fn only_an_addressed_agent_may_accept() {
    let mut o = Office::new();
    let (boss, a, b, tester, parent) = (o.boss, o.a, o.b, o.tester, o.t.trajectory);
    let to_a = o.delegate("t", &format!("'{a}'"));
    let to_coders = o.delegate("t", "delegatee_agent_type => 'coder'");
    let chief = delegator(o.db(), "chief", "{*}");
    let to_any: Uuid = o.db().one(&format!(
        "SELECT caliber_delegation_create('{chief}', 't', '{parent}', delegatee_agent_type => '*')"
    ));
    for call in ["accept", "reject"] {
        for (id, agent, sqlstate, named) in [
            (to_a, b, "55000", b.to_string()),
            (to_a, boss, "55000", boss.to_string()),
            (to_coders, tester, "55000", tester.to_string()),
            (to_coders, boss, "55000", boss.to_string()),
        ] {
            names(&o.refused(&format!("{call}('{id}', '{agent}')"), sqlstate), &named);
        }
        for (arguments, sqlstate, named) in [
            (format!("'{to_any}', '{UNKNOWN}'"), "P0002", UNKNOWN),
            (format!("'{UNKNOWN}', '{a}'"), "P0002", UNKNOWN),
            (format!("NULL, '{a}'"), "22023", "id"),
            (format!("'{to_any}', NULL"), "22023", "agent_id"),
        ] {
            names(&o.refused(&format!("{call}({arguments})"), sqlstate), named);
        }
    }
    assert_eq!(o.act("accept", to_a, a)["status"], json!("accepted"));
    assert_eq!(o.act("accept", to_coders, b)["delegatee_agent_id"], json!(b.to_string()));
    assert_eq!(o.act("accept", to_any, tester)["delegatee_agent_id"], json!(tester.to_string()));
}

/// Brings a new delegation to the coders into this state, by agent a.
#[track_caller]
fn bring_to(o: &mut Office, state: &str) -> Uuid {
    let (a, id) = (o.a, o.delegate("t", "delegatee_agent_type => 'coder'"));
    let steps: &[&str] = match state {
        "pending" => &[],
        "accepted" => &["accept"],
        "in_progress" => &["accept", "start"],
        "completed" => &["accept", "start", "complete"],
        "failed" => &["accept", "fail"],
        "rejected" => &["reject"],
        other => panic!("no state {other}"),
    };
    for step in steps {
        o.act(step, id, a);
    }
    assert_eq!(o.get(id)["status"], json!(state));
    id
}

#[test]
fn each_step_is_taken_from_its_states_only() {
    let mut o = Office::new();
    let a = o.a;
    for state in ["pending", "accepted", "in_progress", "completed", "failed", "rejected"] {
        for (call, from, to) in [
            ("accept", &["pending"][..], "accepted"),
            ("start", &["accepted"], "in_progress"),
            ("complete", &["accepted", "in_progress"], "completed"),
            // A pending one has no delegatee yet: the delegator gives it up.
            ("fail", &["accepted", "in_progress"], "failed"),
            ("reject", &["pending"], "rejected"),
        ] {
            let id = bring_to(&mut o, state);
            if from.contains(&state) {
                let row = o.act(call, id, a);
                assert_eq!(row["status"], json!(to), "{call} from {state}");
                assert_eq!(o.get(id), row);
            } else {
                o.refused(&format!("{call}('{id}', '{a}')"), "55000");
            }
        }
    }
}

#[test]
fn only_the_delegatee_starts_and_ends_it() {
    let mut o = Office::new();
    let (boss, b) = (o.boss, o.b);
    for (call, state) in
        [("start", "accepted"), ("complete", "in_progress"), ("fail", "in_progress")]
    {
        let id = bring_to(&mut o, state);
        let mut others = vec![b];
        // The delegator may give it up.
        others.extend((call != "fail").then_some(boss));
        for agent in others {
            let error = o.refused(&format!("{call}('{id}', '{agent}')"), "55000");
            names(&error, &agent.to_string());
        }
        for (arguments, sqlstate, named) in [
            (format!("'{UNKNOWN}', '{b}'"), "P0002", UNKNOWN),
            (format!("NULL, '{b}'"), "22023", "id"),
            (format!("'{id}', NULL"), "22023", "agent_id"),
        ] {
            names(&o.refused(&format!("{call}({arguments})"), sqlstate), named);
        }
    }
}

#[test]
fn the_delegator_hears_of_the_result() {
    let mut o = Office::new();
    let (boss, a, parent) = (o.boss, o.a, o.t.trajectory);
    for (state, call, argument, status, told, stored) in [
        (
            "in_progress",
            "complete",
            "'{\"ok\": [1]}'",
            "completed",
            json!({"result": {"ok": [1]}}),
            json!({"ok": [1]}),
        ),
        ("accepted", "complete", "NULL", "completed", json!({}), Value::Null),
        (
            "accepted",
            "fail",
            "'too \"hard\"'",
            "failed",
            json!({"reason": "too \"hard\""}),
            json!({"reason": "too \"hard\""}),
        ),
        (
            "pending",
            "reject",
            "'no time'",
            "rejected",
            json!({"reason": "no time"}),
            json!({"reason": "no time"}),
        ),
    ] {
        let id = bring_to(&mut o, state);
        receive(o.db(), a, "100");
        o.db().run("BEGIN");
        let row = o.t.db.json(&format!("caliber_delegation_{call}('{id}', '{a}', {argument})"));
        let now = o.db().json("transaction_timestamp()");
        assert_eq!((&row["status"], &row["result"]), (&json!(status), &stored), "{call}");
        assert_eq!(row["completed_at"], now, "{call}");
        o.db().run("COMMIT");
        assert_eq!(o.get(id), row);
        let mut payload = told;
        payload["delegation_id"] = json!(id.to_string());
        payload["status"] = json!(status);
        let messages = receive(o.db(), boss, "9");
        assert_eq!(messages.len(), 1, "{call}");
        for (column, value) in [
            ("message_type", json!("task_result")),
            ("from_agent_id", json!(a.to_string())),
            ("to_agent_id", json!(boss.to_string())),
            ("trajectory_id", json!(parent.to_string())),
            ("payload", payload),
        ] {
            assert_eq!(messages[0][column], value, "{call}: {column}");
        }
    }
}

#[test]
fn a_result_written_before_stays_when_none_is_given_at_the_end() {
    let mut o = Office::new();
    let a = o.a;
    for (state, end) in [("accepted", "complete"), ("pending", "fail"), ("pending", "reject")] {
        let id = bring_to(&mut o, state);
        o.db().run(&format!(
            "UPDATE caliber_delegation SET result = '{{\"part\": 1}}' WHERE delegation_id = '{id}'"
        ));
        let agent = if end == "fail" { o.boss } else { a };
        let ended = o.act(end, id, agent);
        assert_eq!(ended["result"], json!({"part": 1}), "{end}");
    }
}

#[test]
fn the_delegator_may_give_it_up_at_any_time() {
    let mut o = Office::new();
    let boss = o.boss;
    for state in ["pending", "accepted", "in_progress"] {
        let id = bring_to(&mut o, state);
        let row = o.t.db.json(&format!("caliber_delegation_fail('{id}', '{boss}', 'not needed')"));
        assert_eq!(row["status"], json!("failed"));
        assert_eq!(row["result"], json!({"reason": "not needed"}));
        assert!(o.mail(boss).is_empty(), "it knows");
    }
    for state in ["completed", "failed", "rejected"] {
        let id = bring_to(&mut o, state);
        names(&o.refused(&format!("fail('{id}', '{boss}')"), "55000"), state);
    }
}

#[test]
fn pending_ones_are_listed_by_agent_and_type() {
    let mut o = Office::new();
    let (a, b, tester, parent) = (o.a, o.b, o.tester, o.t.trajectory);
    let chief = delegator(o.db(), "chief", "{*}");
    let coder = "delegatee_agent_type => 'coder'";
    let first = o.delegate("1", coder);
    let of_a = o.delegate("2", &format!("'{a}'"));
    let of_b = o.delegate("3", &format!("'{b}'"));
    assert!(o.pending(&format!("'{tester}'")).is_empty());
    let any: Uuid = o.db().one(&format!(
        "SELECT caliber_delegation_create('{chief}', '4', '{parent}', delegatee_agent_type => '*')"
    ));
    let last = o.delegate("5", coder);
    for (arguments, expected) in [
        (format!("'{a}'"), vec![first, of_a, any, last]),
        (format!("'{b}'"), vec![first, of_b, any, last]),
        (format!("'{tester}'"), vec![any]),
        ("NULL, 'coder'".to_owned(), vec![first, any, last]),
        ("agent_type => 'tester'".to_owned(), vec![any]),
        (format!("'{a}', 'tester'"), vec![of_a, any]),
        (format!("'{a}', max_rows => 2"), vec![first, of_a]),
        (format!("'{a}', NULL, 2, '{of_a}'"), vec![any, last]),
        (format!("'{a}', after => '{last}'"), vec![]),
    ] {
        assert_eq!(o.pending(&arguments), expected, "{arguments}");
    }
    o.act("accept", first, b);
    o.act("reject", of_a, a);
    assert_eq!(o.pending(&format!("'{a}'")), [any, last]);
    assert_eq!(o.pending(&format!("'{b}'")), [of_b, any, last], "it is no longer pending");
    for (arguments, named) in [
        ("", "agent_id"),
        ("NULL, NULL", "agent_id"),
        ("NULL, 'coder', 0", "max_rows"),
        ("NULL, 'coder', NULL", "max_rows"),
    ] {
        let call =
            format!("get((r).delegation_id) FROM caliber_delegation_list_pending({arguments}) r");
        names(&o.refused(&call, "22023"), named);
    }
}

#[test]
fn what_is_unknown_is_null_or_empty() {
    let mut o = Office::new();
    o.delegate("t", "delegatee_agent_type => 'coder'");
    for id in [format!("'{UNKNOWN}'"), format!("'{V4}'"), "NULL".to_owned()] {
        assert_eq!(o.t.db.json(&format!("caliber_delegation_get({id})")), Value::Null);
    }
    assert!(o.pending(&format!("'{UNKNOWN}'")).is_empty());
    assert!(o.pending("NULL, 'nobody'").is_empty());
}

#[test]
fn a_delegation_goes_with_its_parent_trajectory() {
    let mut o = Office::new();
    bring_to(&mut o, "in_progress");
    let parent = o.t.trajectory;
    o.db().run(&format!("SELECT caliber_trajectory_delete('{parent}')"));
    assert!(o.db().rows_of("caliber_delegation").is_empty());
    assert!(o.db().rows_of("caliber_trajectory").is_empty());
    let kept: i64 = o.db().one("SELECT count(*) FROM caliber_message WHERE trajectory_id IS NULL");
    assert_eq!(kept, 1, "the messages stay");
}
