//! The functions of trajectories: what they store and return, and what they refuse.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::{Tree, UNKNOWN, expired_lease, lease};
use serde_json::{Value, json};
use uuid::Uuid;

const V4: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

fn create(t: &mut Tree, arguments: &str) -> Uuid {
    t.db.one(&format!("SELECT caliber_trajectory_create({arguments})"))
}

fn set_status(t: &mut Tree, id: Uuid, arguments: &str) -> Value {
    t.db.json(&format!("caliber_trajectory_set_status('{id}', {arguments})"))
}

#[test]
fn create_stores_every_argument() {
    let mut t = Tree::new("trajectory");
    let parent = t.trajectory;
    let agent: Uuid = t
        .db
        .one("INSERT INTO caliber_agent (agent_type) VALUES ('worker') RETURNING agent_id::uuid");
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    t.db.run("BEGIN");
    let arguments = format!(
        "name => 'Prüfen', description => 'Regeln', agent_id => '{agent}',
         parent_trajectory_id => '{parent}', metadata => '{{\"m\": null}}', trajectory_id => '{id}'"
    );
    assert_eq!(create(&mut t, &arguments), id);
    let now = t.db.json("transaction_timestamp()");
    assert_eq!(
        t.db.json(&format!("caliber_trajectory_get('{id}')")),
        json!({
            "trajectory_id": id.to_string(), "name": "Prüfen", "description": "Regeln",
            "status": "active", "parent_trajectory_id": parent.to_string(),
            "root_trajectory_id": parent.to_string(), "agent_id": agent.to_string(), "fence": 0,
            "outcome": null, "completed_at": null, "metadata": {"m": null}, "created_at": now,
            "updated_at": now, "version": 1,
        })
    );
    t.db.run("COMMIT");
}

#[test]
fn the_root_is_that_of_the_whole_tree() {
    let mut t = Tree::new("trajectory");
    let root = t.trajectory;
    assert_eq!(t.trajectory_row()["root_trajectory_id"], json!(root.to_string()));
    assert_eq!(t.trajectory_row()["parent_trajectory_id"], Value::Null);
    let mut parent = root;
    for _ in 0..3 {
        let child = create(&mut t, &format!("'child', parent_trajectory_id => '{parent}'"));
        let row = t.db.json(&format!("caliber_trajectory_get('{child}')"));
        assert_eq!(row["root_trajectory_id"], json!(root.to_string()));
        assert_eq!(row["parent_trajectory_id"], json!(parent.to_string()));
        parent = child;
    }
}

#[test]
fn bad_arguments_of_create_are_refused() {
    let mut t = Tree::new("trajectory");
    for (arguments, sqlstate, named) in [
        ("NULL".to_owned(), "23502", "name"),
        ("''".to_owned(), "23514", "caliber_trajectory_name_check"),
        (
            format!("'n', parent_trajectory_id => '{UNKNOWN}'"),
            "23503",
            "caliber_trajectory_parent_trajectory_id_fkey",
        ),
        (format!("'n', agent_id => '{UNKNOWN}'"), "23503", "caliber_trajectory_agent_id_fkey"),
        (format!("'n', trajectory_id => '{V4}'"), "22023", ""),
        ("'n', trajectory_id => 'ffffffff-ffff-ffff-ffff-ffffffffffff'".to_owned(), "22023", ""),
        ("'n', metadata => 'no json'".to_owned(), "22P02", ""),
        ("'n', agent_id => 'no uuid'".to_owned(), "22P02", ""),
    ] {
        let error = t.refused(&format!("SELECT caliber_trajectory_create({arguments})"), sqlstate);
        let names = [error.column(), error.constraint()];
        assert!(named.is_empty() || names.contains(&Some(named)), "{arguments}: {error:?}");
    }
}

#[test]
fn create_with_an_id_can_be_repeated() {
    let mut t = Tree::new("trajectory");
    let (parent, other) = (t.trajectory, create(&mut t, "'other'"));
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    let arguments = format!("'n', parent_trajectory_id => '{parent}', trajectory_id => '{id}'");
    assert_eq!(create(&mut t, &arguments), id);
    t.db.run(&format!("SELECT caliber_trajectory_set_status('{id}', 'failed')"));
    let before = t.db.rows_of("caliber_trajectory");
    assert_eq!(create(&mut t, &arguments), id);
    // The name may have changed since; an argument left out is not compared.
    assert_eq!(create(&mut t, &format!("'x', 'd', trajectory_id => '{id}'")), id);
    // Before every other check: this agent is unknown.
    assert_eq!(
        create(&mut t, &format!("'n', agent_id => '{UNKNOWN}', trajectory_id => '{id}'")),
        id
    );
    assert_eq!(t.db.rows_of("caliber_trajectory"), before);
    let error = t.refused(
        &format!("SELECT caliber_trajectory_create('n', parent_trajectory_id => '{other}', trajectory_id => '{id}')"),
        "23505",
    );
    assert!(error.detail().unwrap().contains("\"parent_trajectory_id\""), "{error:?}");
}

#[test]
fn states_move_along_their_arrows_only() {
    let states = ["active", "suspended", "completed", "failed"];
    let mut t = Tree::new("trajectory");
    for from in states {
        for to in states {
            let id = create(&mut t, "'n'");
            if from != "active" {
                set_status(&mut t, id, &format!("'{from}'"));
            }
            let version: i64 =
                t.db.one(&format!("SELECT (caliber_trajectory_get('{id}')).version"));
            let sql = format!("SELECT caliber_trajectory_set_status('{id}', '{to}')");
            let is_final = ["completed", "failed"].contains(&from);
            if from == to {
                // Nothing changes.
                let row = set_status(&mut t, id, &format!("'{to}'"));
                assert_eq!((&row["status"], &row["version"]), (&json!(to), &json!(version)));
            } else if is_final {
                let error = t.refused(&sql, "55000");
                let detail = error.detail().unwrap();
                assert!(detail.contains(from) && detail.contains(to), "{detail}");
            } else {
                t.db.run("BEGIN");
                let row = set_status(&mut t, id, &format!("'{to}'"));
                let now = t.db.json("transaction_timestamp()");
                t.db.run("COMMIT");
                let ends = ["completed", "failed"].contains(&to);
                assert_eq!(row["status"], json!(to));
                assert_eq!(row["completed_at"], if ends { now.clone() } else { Value::Null });
                assert_eq!((&row["updated_at"], &row["version"]), (&now, &json!(version + 1)));
            }
        }
    }
}

#[test]
fn a_final_state_names_what_it_refuses() {
    let mut t = Tree::new("trajectory");
    let id = t.trajectory;
    let row = set_status(&mut t, id, "'completed', outcome => '{\"ok\": true}'");
    assert_eq!((&row["outcome"], &row["version"]), (&json!({"ok": true}), &json!(2)));
    for call in [
        format!("caliber_trajectory_update('{id}', '{{\"name\": \"x\"}}')"),
        format!("caliber_trajectory_update('{id}', '{{\"outcome\": null}}')"),
        format!(
            "caliber_trajectory_update('{id}', '{{\"metadata\": {{}}, \"description\": \"x\"}}')"
        ),
        format!("caliber_trajectory_set_status('{id}', 'completed', '{{\"ok\": false}}')"),
        format!("caliber_trajectory_set_status('{id}', 'active')"),
    ] {
        t.refused(&format!("SELECT {call}"), "55000");
    }
    let row = t.db.json(&format!("caliber_trajectory_update('{id}', '{{\"metadata\": [1]}}')"));
    assert_eq!((&row["metadata"], &row["version"]), (&json!([1]), &json!(3)));
}

#[test]
fn bad_arguments_of_set_status_are_refused() {
    let mut t = Tree::new("trajectory");
    let id = t.trajectory;
    for (arguments, sqlstate) in [
        (format!("'{id}', NULL"), "22023"),
        ("NULL, 'active'".to_owned(), "22023"),
        (format!("'{UNKNOWN}', 'active'"), "P0002"),
        (format!("'{id}', 'done'"), "22P02"),
        (format!("'{id}', 'suspended', expected_version => 2"), "55006"),
        (format!("'{id}', 'suspended', fence => 0"), "22023"),
        (format!("'{id}', 'suspended', fence => 4"), "55006"),
    ] {
        t.refused(&format!("SELECT caliber_trajectory_set_status({arguments})"), sqlstate);
    }
}

#[test]
fn an_outcome_left_out_stays_as_it_is() {
    let mut t = Tree::new("trajectory");
    let id = t.trajectory;
    t.db.run(&format!("SELECT caliber_trajectory_update('{id}', '{{\"outcome\": {{\"a\": 1}}}}')"));
    let row = set_status(&mut t, id, "'suspended'");
    assert_eq!(row["outcome"], json!({"a": 1}));
    let row = set_status(&mut t, id, "'suspended', '{\"a\": 2}'");
    assert_eq!((&row["outcome"], &row["version"]), (&json!({"a": 2}), &json!(4)));
}

#[test]
fn update_changes_what_it_names() {
    let mut t = Tree::new("trajectory");
    let id = t.trajectory;
    let agent: Uuid = t
        .db
        .one("INSERT INTO caliber_agent (agent_type) VALUES ('worker') RETURNING agent_id::uuid");
    let before = t.trajectory_row();
    t.db.run("BEGIN");
    let changes = json!({"name": "neu", "description": "d", "agent_id": agent.to_string(),
                         "outcome": [1.50, "x"], "metadata": {"k": {}}});
    let row = t.db.json(&format!("caliber_trajectory_update('{id}', '{changes}')"));
    let now = t.db.json("transaction_timestamp()");
    t.db.run("COMMIT");
    let mut expected = before;
    for (key, value) in changes.as_object().unwrap() {
        expected[key] = value.clone();
    }
    expected["version"] = json!(2);
    expected["updated_at"] = now;
    assert_eq!(row, expected);
    assert_eq!(t.trajectory_row(), expected);
    let nulls = r#"{"description": null, "agent_id": null, "outcome": null, "metadata": null}"#;
    let row = t.db.json(&format!("caliber_trajectory_update('{id}', '{nulls}')"));
    for column in ["description", "agent_id", "outcome", "metadata"] {
        assert_eq!(row[column], Value::Null);
    }
    let row = t.db.json(&format!("caliber_trajectory_update('{id}', '{{}}')"));
    assert_eq!(row["version"], json!(3));
}

#[test]
fn numbers_in_changes_keep_their_digits() {
    let mut t = Tree::new("trajectory");
    let id = t.trajectory;
    let kept: bool = t.db.one(&format!(
        "SELECT metadata = '{{\"n\": 12345678901234567890.1230}}' AND metadata->>'n' = '12345678901234567890.1230'
         FROM caliber_trajectory_update('{id}', '{{\"metadata\": {{\"n\": 12345678901234567890.1230}}}}')"
    ));
    assert!(kept);
}

#[test]
fn bad_changes_are_refused() {
    let mut t = Tree::new("trajectory");
    let id = t.trajectory;
    for (changes, named) in [
        (json!([{"name": "x"}]), "array"),
        (json!("name"), "string"),
        (json!(null), "null"),
        (json!({"unknown": 1}), "unknown"),
        (json!({"name": "x", "": 1}), "\"\""),
        (json!({"name": "x", "status": "failed"}), "status"),
        (json!({"trajectory_id": UNKNOWN}), "trajectory_id"),
        (json!({"parent_trajectory_id": null}), "parent_trajectory_id"),
        (json!({"root_trajectory_id": null}), "root_trajectory_id"),
        (json!({"completed_at": null}), "completed_at"),
        (json!({"created_at": null}), "created_at"),
        (json!({"version": 2}), "version"),
        (json!({"fence": 2}), "fence"),
        (json!({"name": true}), "name"),
        (json!({"description": 1}), "description"),
        (json!({"agent_id": "not a uuid"}), "agent_id"),
        (json!({"agent_id": 7}), "agent_id"),
    ] {
        let sql = format!("SELECT caliber_trajectory_update('{id}', '{changes}')");
        let error = t.refused(&sql, "22023");
        assert!(error.detail().unwrap().contains(named), "{changes}: {error:?}");
    }
    for (changes, sqlstate, named) in [
        (json!({"name": null}), "23502", "name"),
        (json!({"name": ""}), "23514", "caliber_trajectory_name_check"),
        (json!({"agent_id": UNKNOWN}), "23503", "caliber_trajectory_agent_id_fkey"),
    ] {
        let sql = format!("SELECT caliber_trajectory_update('{id}', '{changes}')");
        let error = t.refused(&sql, sqlstate);
        let names = [error.column(), error.constraint()];
        assert!(names.contains(&Some(named)), "{changes}: {error:?}");
    }
    t.refused(&format!("SELECT caliber_trajectory_update('{id}', NULL)"), "22023");
    t.refused("SELECT caliber_trajectory_update(NULL, '{}')", "22023");
    t.refused(&format!("SELECT caliber_trajectory_update('{UNKNOWN}', '{{}}')"), "P0002");
}

#[test]
fn an_expected_version_must_be_the_current_one() {
    let mut t = Tree::new("trajectory");
    let id = t.trajectory;
    t.db.run(&format!("SELECT caliber_trajectory_update('{id}', '{{\"name\": \"x\"}}', 1)"));
    t.db.run(&format!("SELECT caliber_trajectory_set_status('{id}', 'suspended', NULL, 2)"));
    for call in [
        format!("caliber_trajectory_update('{id}', '{{\"name\": \"y\"}}', 2)"),
        format!("caliber_trajectory_update('{id}', '{{}}', -1)"),
        format!("caliber_trajectory_set_status('{id}', 'active', NULL, 1)"),
    ] {
        let error = t.refused(&format!("SELECT {call}"), "55006");
        assert!(error.detail().unwrap().contains("current version is 3"), "{error:?}");
    }
}

#[test]
fn lists_are_paged_by_key() {
    let mut t = Tree::new("trajectory");
    let root = t.trajectory;
    let children: Vec<_> = (0..105)
        .map(|i| create(&mut t, &format!("'c{i}', parent_trajectory_id => '{root}'")))
        .collect();
    create(&mut t, &format!("'grandchild', parent_trajectory_id => '{}'", children[0]));
    let stopped = [children[2], children[5], children[9]];
    for id in stopped {
        set_status(&mut t, id, "'suspended'");
    }
    let mut list = |call: &str| -> Vec<Uuid> {
        t.db.all(&format!("SELECT trajectory_id FROM caliber_trajectory_list_{call}"))
    };
    assert_eq!(list(&format!("children('{root}')")), children[..100]);
    assert_eq!(list(&format!("children('{root}', 2)")), children[..2]);
    assert_eq!(list(&format!("children('{root}', 4, '{}')", children[98])), children[99..103]);
    assert_eq!(
        list(&format!("children('{root}', max_rows => 9, after => '{}')", children[103])),
        [children[104]]
    );
    assert!(list(&format!("children('{root}', 9, '{}')", children[104])).is_empty());
    assert!(list(&format!("children('{UNKNOWN}')")).is_empty());
    assert_eq!(list("by_status('suspended')"), stopped);
    assert_eq!(list(&format!("by_status('suspended', 1, '{}')", stopped[0])), [stopped[1]]);
    assert!(list("by_status('failed')").is_empty());
    assert_eq!(list("by_status('active', 3)"), [root, children[0], children[1]]);
    assert_eq!(list("by_status('active', 1000)").len(), 104);
    for call in [
        "by_status(NULL)".to_owned(),
        "by_status('active', 0)".to_owned(),
        "by_status('active', NULL)".to_owned(),
        "by_status('active', -2147483648)".to_owned(),
        "children(NULL)".to_owned(),
        format!("children('{root}', 0)"),
        format!("children('{root}', NULL)"),
    ] {
        t.refused(&format!("SELECT caliber_trajectory_list_{call}"), "22023");
        t.refused(&format!("SELECT * FROM caliber_trajectory_list_{call}"), "22023");
    }
    t.refused("SELECT caliber_trajectory_list_by_status('done')", "22P02");
}

#[test]
fn an_unknown_trajectory_is_null() {
    let mut t = Tree::new("trajectory");
    assert_eq!(t.db.json(&format!("caliber_trajectory_get('{UNKNOWN}')")), Value::Null);
    assert_eq!(t.db.json(&format!("caliber_trajectory_get('{V4}')")), Value::Null);
    assert_eq!(t.db.json("caliber_trajectory_get(NULL)"), Value::Null);
}

#[test]
fn fences_guard_trajectories() {
    let mut t = Tree::new("trajectory");
    let (id, scope) = (t.trajectory, t.scope);
    let first = lease(&mut t.db, "trajectory", id);
    let calls = |fence: &str| {
        [
            format!(
                "SELECT caliber_trajectory_update('{id}', '{{\"description\": \"x\"}}'{fence})"
            ),
            format!("SELECT caliber_trajectory_set_status('{id}', 'suspended'{fence})"),
            format!("SELECT caliber_trajectory_delete('{id}'{fence})"),
        ]
    };
    t.db.run(&calls(&format!(", fence => {first}"))[0]);
    assert_eq!(
        (&t.trajectory_row()["fence"], &t.trajectory_row()["version"]),
        (&json!(first), &json!(2))
    );
    // A lease on a scope says nothing about its trajectory.
    let below = lease(&mut t.db, "scope", scope);
    let expired = expired_lease(&mut t.db, "trajectory", id);
    for fence in [
        "".to_owned(),
        format!(", fence => {below}"),
        format!(", fence => {expired}"),
        format!(", fence => {}", expired + 99),
    ] {
        for sql in calls(&fence) {
            let error = t.refused(&sql, "55006");
            assert!(error.detail().unwrap().contains(&first.to_string()), "{error:?}");
        }
    }
    for sql in calls(", fence => -3") {
        t.refused(&sql, "22023");
    }
    t.db.run("DELETE FROM caliber_lock");
    t.db.run(&calls(&format!(", fence => {first}"))[1]);
    let second = lease(&mut t.db, "trajectory", id);
    t.db.run(&calls(&format!(", fence => {second}"))[0]);
    for sql in calls(&format!(", fence => {first}")) {
        t.refused(&sql, "55006");
    }
    let third = lease(&mut t.db, "trajectory", id);
    t.db.run(&calls(&format!(", fence => {third}"))[2]);
    assert!(t.db.rows_of("caliber_trajectory").is_empty());
}

#[test]
fn delete_counts_every_row_of_the_tree_and_leaves_the_rest() {
    let mut t = Tree::new("trajectory");
    let (root, scope) = (t.trajectory, t.scope);
    let child = create(&mut t, &format!("'child', parent_trajectory_id => '{root}'"));
    let grandchild = create(&mut t, &format!("'grandchild', parent_trajectory_id => '{child}'"));
    let below: Uuid = t.db.one(&format!("SELECT caliber_scope_create('{grandchild}', 's', 100)"));
    let nested: Uuid = t.db.one(&format!(
        "SELECT caliber_scope_create('{root}', 's', 100, parent_scope_id => '{scope}')"
    ));
    for scope in [scope, below, nested] {
        for _ in 0..3 {
            t.db.run(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x')"));
        }
    }
    let agent: Uuid = t.db.one(&format!(
        "INSERT INTO caliber_agent (agent_type, current_trajectory_id, current_scope_id)
         VALUES ('worker', '{root}', '{scope}') RETURNING agent_id::uuid"
    ));
    t.db.run(&format!(
        "INSERT INTO caliber_artifact (trajectory_id, scope_id, artifact_type, name, content, extraction_method)
         VALUES ('{root}', '{scope}', 'fact', 'n', 'c', 'explicit')"
    ));
    let bystander = create(&mut t, "'bystander'");
    let kept: Uuid = t.db.one(&format!("SELECT caliber_scope_create('{bystander}', 's', 100)"));
    t.db.run(&format!("SELECT caliber_turn_create('{kept}', 'user', 'x')"));

    let delete = |id: &str| format!("SELECT caliber_trajectory_delete('{id}')");
    // 1 trajectory, 1 scope, 3 turns.
    assert_eq!(t.db.one::<i64>(&delete(&grandchild.to_string())), 5);
    assert_eq!(t.db.json(&format!("caliber_scope_get('{below}')")), Value::Null);
    // 2 trajectories, 2 scopes, 6 turns.
    assert_eq!(t.db.one::<i64>(&delete(&root.to_string())), 10);
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_trajectory"), 1);
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_scope"), 1);
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn"), 1);
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_artifact"), 0);
    let lost: bool = t.db.one(&format!(
        "SELECT current_trajectory_id IS NULL AND current_scope_id IS NULL
         FROM caliber_agent WHERE agent_id = '{agent}'"
    ));
    assert!(lost, "the agent stays and loses its references");
    t.refused(&delete(&root.to_string()), "P0002");
    t.refused(&delete(UNKNOWN), "P0002");
    t.refused("SELECT caliber_trajectory_delete(NULL)", "22023");
    assert_eq!(t.db.one::<i64>(&delete(&bystander.to_string())), 3);
}

/// One INSERT can make rows each other's parents: the foreign keys are looked at when it ends.
#[test]
fn trajectories_in_a_circle_are_deleted_each_once() {
    let mut t = Tree::new("trajectory");
    let ids: Vec<Uuid> = (0..3).map(|_| t.db.one("SELECT caliber_new_id()")).collect();
    let [a, b, itself] = ids[..] else { unreachable!() };
    t.db.run(&format!(
        "INSERT INTO caliber_trajectory (trajectory_id, name, parent_trajectory_id, root_trajectory_id)
         VALUES ('{a}', 'a', '{b}', '{a}'), ('{b}', 'b', '{a}', '{a}'),
                ('{itself}', 'itself', '{itself}', '{itself}')"
    ));
    let below = create(&mut t, &format!("'below', parent_trajectory_id => '{b}'"));
    t.db.run(&format!("SELECT caliber_scope_create('{below}', 's', 100)"));
    // 3 trajectories and a scope.
    assert_eq!(t.db.one::<i64>(&format!("SELECT caliber_trajectory_delete('{a}')")), 4);
    assert_eq!(t.db.one::<i64>(&format!("SELECT caliber_trajectory_delete('{itself}')")), 1);
    assert_eq!(t.db.rows_of("caliber_trajectory").len(), 1);
}

#[test]
fn nothing_is_its_own_parent() {
    let mut t = Tree::new("trajectory");
    let (trajectory, id) = (t.trajectory, t.db.one::<Uuid>("SELECT caliber_new_id()"));
    let error = t.refused(
        &format!("SELECT caliber_trajectory_create('x', parent_trajectory_id => '{id}', trajectory_id => '{id}')"),
        "22023",
    );
    assert!(error.message().contains("parent_trajectory_id"), "{error}");
    let error = t.refused(
        &format!("SELECT caliber_scope_create('{trajectory}', 'x', 5, parent_scope_id => '{id}', scope_id => '{id}')"),
        "22023",
    );
    assert!(error.message().contains("parent_scope_id"), "{error}");
}
