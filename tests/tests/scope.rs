//! The functions of scopes: what they store and return, and what they refuse.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::{Tree, UNKNOWN, expired_lease, lease};
use serde_json::{Value, json};
use uuid::Uuid;

const V4: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

#[test]
fn create_stores_every_argument() {
    let mut t = Tree::new("scope");
    let (trajectory, parent) = (t.trajectory, t.scope);
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    t.db.run("BEGIN");
    let created: Uuid = t.db.one(&format!(
        "SELECT caliber_scope_create(
            trajectory_id => '{trajectory}', name => 'Suche', token_budget => 77,
            purpose => 'Flüge', parent_scope_id => '{parent}', metadata => '{{\"a\": [1]}}',
            scope_id => '{id}')"
    ));
    assert_eq!(created, id);
    let now = t.db.json("transaction_timestamp()");
    let row = t.db.json(&format!("caliber_scope_get('{id}')"));
    assert_eq!(
        row,
        json!({
            "scope_id": id.to_string(), "trajectory_id": trajectory.to_string(),
            "parent_scope_id": parent.to_string(), "name": "Suche", "purpose": "Flüge",
            "is_active": true, "token_budget": 77, "tokens_used": 0, "turn_count": 0, "fence": 0,
            "checkpoint": null, "closed_at": null, "metadata": {"a": [1]}, "created_at": now,
            "updated_at": now, "version": 1,
        })
    );
    t.db.run("COMMIT");
}

#[test]
fn bad_arguments_of_create_are_refused() {
    let mut t = Tree::new("scope");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let other: Uuid = t.db.one("SELECT caliber_trajectory_create('other')");
    for (arguments, sqlstate, named) in [
        ("NULL, 'n', 10".to_owned(), "23502", "trajectory_id"),
        (format!("'{trajectory}', NULL, 10"), "23502", "name"),
        (format!("'{trajectory}', 'n', NULL"), "23502", "token_budget"),
        (format!("'{trajectory}', 'n', 0"), "23514", "caliber_scope_token_budget_check"),
        (format!("'{trajectory}', 'n', -5"), "23514", "caliber_scope_token_budget_check"),
        (format!("'{UNKNOWN}', 'n', 10"), "23503", "caliber_scope_trajectory_id_fkey"),
        (
            format!("'{trajectory}', 'n', 10, parent_scope_id => '{UNKNOWN}'"),
            "23503",
            "caliber_scope_parent_scope_id_fkey",
        ),
        (
            format!("'{other}', 'n', 10, parent_scope_id => '{scope}'"),
            "23503",
            "caliber_scope_parent_scope_id_fkey",
        ),
        (format!("'{trajectory}', 'n', 10, scope_id => '{V4}'"), "22023", ""),
        (format!("'{trajectory}', 'n', 10, fence => 0"), "22023", ""),
        (format!("'{trajectory}', 'n', 10, fence => -1"), "22023", ""),
        (format!("'{trajectory}', 'n', 10, fence => 3"), "55006", ""),
        (format!("'{trajectory}', 'n', 99999999999"), "42883", ""),
        ("'x', 'n', 10".to_owned(), "22P02", ""),
    ] {
        let error = t.refused(&format!("SELECT caliber_scope_create({arguments})"), sqlstate);
        let names = [error.column(), error.constraint()];
        assert!(named.is_empty() || names.contains(&Some(named)), "{arguments}: {error:?}");
    }
}

#[test]
fn the_trajectory_must_be_active() {
    let mut t = Tree::new("scope");
    let trajectory = t.trajectory;
    let create = format!("SELECT caliber_scope_create('{trajectory}', 'n', 10)");
    for status in ["suspended", "completed"] {
        t.db.run(&format!("SELECT caliber_trajectory_set_status('{trajectory}', '{status}')"));
        let error = t.refused(&create, "55000");
        let detail = error.detail().unwrap();
        assert!(detail.contains(status) && detail.contains("active"), "{detail}");
    }
}

#[test]
fn create_with_an_id_can_be_repeated() {
    let mut t = Tree::new("scope");
    let (trajectory, parent) = (t.trajectory, t.scope);
    let id: Uuid = t.db.one("SELECT caliber_new_id()");
    let create =
        |arguments: &str| format!("SELECT caliber_scope_create({arguments}, scope_id => '{id}')");
    let arguments = format!("'{trajectory}', 'n', 10, parent_scope_id => '{parent}'");
    assert_eq!(t.db.one::<Uuid>(&create(&arguments)), id);
    let before = t.db.rows_of("caliber_scope");
    // Only columns that never change are compared.
    for again in [
        arguments,
        format!("'{trajectory}', 'n', 10"),
        format!("'{trajectory}', 'another name', 99, 'p', metadata => '{{}}'"),
    ] {
        assert_eq!(t.db.one::<Uuid>(&create(&again)), id);
    }
    // Before every other check: whatever became of the trajectory.
    t.db.run(&format!("SELECT caliber_trajectory_set_status('{trajectory}', 'completed')"));
    assert_eq!(t.db.one::<Uuid>(&create(&format!("'{trajectory}', 'n', 10"))), id);
    assert_eq!(t.db.rows_of("caliber_scope"), before);
    let other: Uuid = t.db.one("SELECT caliber_trajectory_create('other')");
    for (arguments, column) in [
        (format!("'{other}', 'n', 10"), "trajectory_id"),
        (format!("'{trajectory}', 'n', 10, parent_scope_id => '{id}'"), "parent_scope_id"),
    ] {
        let error = t.refused(&create(&arguments), "23505");
        assert!(error.detail().unwrap().contains(&format!("\"{column}\"")), "{error:?}");
    }
}

#[test]
fn the_current_scope_is_the_newest_active_one() {
    let mut t = Tree::new("scope");
    let (trajectory, first) = (t.trajectory, t.scope);
    let second = t.new_scope(10);
    let third = t.new_scope(10);
    let current = format!(
        "SELECT scope_id FROM caliber_scope_get_current('{trajectory}') WHERE scope_id IS NOT NULL"
    );
    assert_eq!(t.db.all::<Uuid>(&current), [third]);
    t.db.run(&format!("SELECT caliber_scope_close('{third}')"));
    assert_eq!(t.db.all::<Uuid>(&current), [second]);
    t.db.run(&format!("SELECT caliber_scope_close('{first}')"));
    assert_eq!(t.db.all::<Uuid>(&current), [second]);
    t.db.run(&format!("SELECT caliber_scope_close('{second}')"));
    assert!(t.db.all::<Uuid>(&current).is_empty());
    for call in [
        format!("caliber_scope_get_current('{trajectory}')"),
        format!("caliber_scope_get_current('{UNKNOWN}')"),
        "caliber_scope_get_current(NULL)".to_owned(),
        format!("caliber_scope_get('{UNKNOWN}')"),
        "caliber_scope_get(NULL)".to_owned(),
    ] {
        assert_eq!(t.db.json(&call), Value::Null, "{call}");
    }
}

#[test]
fn lists_are_paged_by_key() {
    let mut t = Tree::new("scope");
    let trajectory = t.trajectory;
    let mut ids = vec![t.scope];
    ids.extend((0..110).map(|_| t.new_scope(1)).collect::<Vec<_>>());
    t.db.run(&format!("SELECT caliber_scope_close('{}')", ids[3]));
    let mut list = |arguments: &str| -> Vec<Uuid> {
        t.db.all(&format!(
            "SELECT scope_id FROM caliber_scope_list_by_trajectory('{trajectory}'{arguments})"
        ))
    };
    assert_eq!(list(""), ids[..100]);
    assert_eq!(list(", max_rows => 3"), ids[..3]);
    assert_eq!(list(&format!(", max_rows => 3, after => '{}'", ids[2])), ids[3..6]);
    assert_eq!(list(&format!(", 1000, '{}'", ids[108])), ids[109..]);
    assert!(list(&format!(", 1000, '{}'", ids[110])).is_empty());
    assert_eq!(list(", 1000, '00000000-0000-0000-0000-000000000000'"), ids);
    assert_eq!(list(", max_rows => 2147483647, after => NULL"), ids);
    let call = "caliber_scope_list_by_trajectory";
    assert!(t.db.all::<Uuid>(&format!("SELECT scope_id FROM {call}('{UNKNOWN}')")).is_empty());
    for arguments in [
        "NULL".to_owned(),
        format!("'{trajectory}', 0"),
        format!("'{trajectory}', -1"),
        format!("'{trajectory}', NULL"),
    ] {
        t.refused(&format!("SELECT {call}({arguments})"), "22023");
        t.refused(&format!("SELECT * FROM {call}({arguments})"), "22023");
    }
}

#[test]
fn update_changes_what_it_names() {
    let mut t = Tree::new("scope");
    let scope = t.scope;
    let before = t.scope_row();
    t.db.run("BEGIN");
    let changes = json!({"name": "neu", "purpose": "p", "token_budget": 5,
                         "checkpoint": {"at": [1, null]}, "metadata": "text"});
    let row = t.db.json(&format!("caliber_scope_update('{scope}', '{changes}')"));
    let now = t.db.json("transaction_timestamp()");
    t.db.run("COMMIT");
    let mut expected = before;
    for (key, value) in changes.as_object().unwrap() {
        expected[key] = value.clone();
    }
    expected["version"] = json!(2);
    expected["updated_at"] = now;
    assert_eq!(row, expected);
    assert_eq!(t.scope_row(), expected);
    // JSON null clears a column.
    let row = t.db.json(&format!(
        "caliber_scope_update('{scope}', '{{\"purpose\": null, \"checkpoint\": null, \"metadata\": null}}')"
    ));
    assert_eq!(
        (&row["purpose"], &row["checkpoint"], &row["metadata"], &row["version"]),
        (&Value::Null, &Value::Null, &Value::Null, &json!(3))
    );
    // Nothing to change is no new version.
    let row = t.db.json(&format!("caliber_scope_update('{scope}', '{{}}')"));
    assert_eq!(row, t.scope_row());
    assert_eq!(row["version"], json!(3));
}

#[test]
fn bad_changes_are_refused() {
    let mut t = Tree::new("scope");
    let scope = t.scope;
    t.append("'user', 'x', 50");
    for (changes, sqlstate, named) in [
        (json!([]), "22023", "array"),
        (json!(1), "22023", "number"),
        (json!(null), "22023", "null"),
        (json!({"nmae": "x"}), "22023", "nmae"),
        (json!({"Name": "x"}), "22023", "Name"),
        (json!({"name": "ok", "trajectory_id": UNKNOWN}), "22023", "trajectory_id"),
        (json!({"scope_id": UNKNOWN}), "22023", "scope_id"),
        (json!({"tokens_used": 51}), "22023", "tokens_used"),
        (json!({"turn_count": 51}), "22023", "turn_count"),
        (json!({"fence": 51}), "22023", "fence"),
        (json!({"is_active": false}), "22023", "is_active"),
        (json!({"version": 2}), "22023", "version"),
        (json!({"updated_at": "2020-01-01"}), "22023", "updated_at"),
        (json!({"name": 5}), "22023", "name"),
        (json!({"name": {}}), "22023", "name"),
        (json!({"purpose": ["x"]}), "22023", "purpose"),
        (json!({"token_budget": "5"}), "22023", "token_budget"),
        (json!({"token_budget": 5.5}), "22023", "token_budget"),
        (json!({"token_budget": 3_000_000_000_i64}), "22023", "token_budget"),
        (json!({"token_budget": true}), "22023", "token_budget"),
    ] {
        let sql = format!("SELECT caliber_scope_update('{scope}', '{changes}')");
        let error = t.refused(&sql, sqlstate);
        assert!(error.detail().unwrap().contains(named), "{changes}: {error:?}");
    }
    for (changes, sqlstate, named) in [
        (json!({"name": null}), "23502", "name"),
        (json!({"token_budget": null}), "23502", "token_budget"),
        (json!({"token_budget": 0}), "23514", "caliber_scope_token_budget_check"),
        (json!({"token_budget": 49}), "23514", "caliber_scope_tokens_used_check"),
    ] {
        let error =
            t.refused(&format!("SELECT caliber_scope_update('{scope}', '{changes}')"), sqlstate);
        let names = [error.column(), error.constraint()];
        assert!(names.contains(&Some(named)), "{changes}: {error:?}");
    }
    t.refused(&format!("SELECT caliber_scope_update('{scope}', NULL)"), "22023");
    t.refused("SELECT caliber_scope_update(NULL, '{}')", "22023");
    t.refused(&format!("SELECT caliber_scope_update('{UNKNOWN}', '{{}}')"), "P0002");
}

#[test]
fn update_tokens_rises_within_the_budget() {
    let mut t = Tree::with_budget("scope", 100);
    let scope = t.scope;
    let set = |tokens: &str| format!("SELECT caliber_scope_update_tokens('{scope}', {tokens})");
    let before = t.scope_row();
    let mut row = t.db.json(&format!("caliber_scope_update_tokens('{scope}', 40)"));
    assert_eq!(row["tokens_used"], json!(40));
    row["tokens_used"] = json!(0);
    assert_eq!(row, before, "neither version nor updated_at changes");
    t.db.run(&set("40"));
    t.db.run(&set("100"));
    let error = t.refused(&set("99"), "55000");
    assert!(error.detail().unwrap().contains("100"), "{error:?}");
    for tokens in ["101", "2147483647", "-1"] {
        let error = t.refused(&set(tokens), "23514");
        assert_eq!(error.constraint(), Some("caliber_scope_tokens_used_check"));
    }
    assert_eq!(t.refused(&set("NULL"), "23502").column(), Some("tokens_used"));
    t.refused("SELECT caliber_scope_update_tokens(NULL, 1)", "22023");
    t.refused(&format!("SELECT caliber_scope_update_tokens('{UNKNOWN}', 1)"), "P0002");
    t.refused(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x', 1)"), "54000");
}

#[test]
fn a_closed_scope_is_final() {
    let mut t = Tree::new("scope");
    let scope = t.scope;
    t.db.run("BEGIN");
    let row = t.db.json(&format!("caliber_scope_close('{scope}')"));
    let now = t.db.json("transaction_timestamp()");
    t.db.run("COMMIT");
    assert_eq!(
        (&row["is_active"], &row["closed_at"], &row["updated_at"], &row["version"]),
        (&json!(false), &now, &now, &json!(2))
    );
    for call in [
        format!("caliber_scope_close('{scope}')"),
        format!("caliber_scope_update('{scope}', '{{\"name\": \"x\"}}')"),
        format!("caliber_scope_update('{scope}', '{{\"metadata\": {{}}, \"purpose\": \"x\"}}')"),
        format!("caliber_scope_update_tokens('{scope}', 1)"),
    ] {
        t.refused(&format!("SELECT {call}"), "55000");
    }
    for raw in ["is_active = true, closed_at = NULL", "name = 'x'", "turn_count = 5"] {
        t.refused(&format!("UPDATE caliber_scope SET {raw} WHERE scope_id = '{scope}'"), "55000");
    }
    let row =
        t.db.json(&format!("caliber_scope_update('{scope}', '{{\"metadata\": {{\"k\": 1}}}}')"));
    assert_eq!((&row["metadata"], &row["version"]), (&json!({"k": 1}), &json!(3)));
    t.refused("SELECT caliber_scope_close(NULL)", "22023");
    t.refused(&format!("SELECT caliber_scope_close('{UNKNOWN}')"), "P0002");
}

#[test]
fn an_expected_version_must_be_the_current_one() {
    let mut t = Tree::new("scope");
    let scope = t.scope;
    let update = |version: i64| {
        format!("SELECT caliber_scope_update('{scope}', '{{\"name\": \"v{version}\"}}', {version})")
    };
    t.db.run(&update(1));
    t.db.run(&update(2));
    for stale in [update(2), update(4), format!("SELECT caliber_scope_close('{scope}', 1)")] {
        let error = t.refused(&stale, "55006");
        assert!(error.detail().unwrap().contains("current version is 3"), "{error:?}");
    }
    // Counters do not count.
    t.append("'user', 'x'");
    t.db.run(&format!("SELECT caliber_scope_close('{scope}', expected_version => 3)"));
}

#[test]
fn fences_guard_scopes() {
    let mut t = Tree::new("scope");
    let (scope, trajectory) = (t.scope, t.trajectory);
    let older = lease(&mut t.db, "scope", scope);
    let first = lease(&mut t.db, "scope", scope);
    let update = |fence: &str| {
        format!("SELECT caliber_scope_update('{scope}', '{{\"purpose\": \"x\"}}'{fence})")
    };
    let tokens = |fence: &str| format!("SELECT caliber_scope_update_tokens('{scope}', 7{fence})");
    let close = |fence: &str| format!("SELECT caliber_scope_close('{scope}'{fence})");
    t.db.run(&update(&format!(", fence => {first}")));
    assert_eq!((&t.scope_row()["fence"], &t.scope_row()["version"]), (&json!(first), &json!(2)));
    t.db.run(&tokens(&format!(", fence => {first}")));
    let second = lease(&mut t.db, "scope", scope);
    let expired = expired_lease(&mut t.db, "scope", scope);
    for fence in [String::new(), format!(", fence => {older}"), format!(", fence => {expired}")] {
        for sql in [update(&fence), tokens(&fence), close(&fence)] {
            let error = t.refused(&sql, "55006");
            assert!(error.detail().unwrap().contains(&first.to_string()), "{error:?}");
        }
    }
    t.refused(&update(", fence => 0"), "22023");
    t.db.run(&tokens(&format!(", fence => {second}")));
    t.refused(&update(&format!(", fence => {first}")), "55006");
    // The trajectory's lease covers its scopes, and the opening of new ones.
    let above = lease(&mut t.db, "trajectory", trajectory);
    let create =
        |fence: &str| format!("SELECT caliber_scope_create('{trajectory}', 'n', 5{fence})");
    t.refused(&create(&format!(", fence => {second}")), "55006");
    t.db.run(&create(&format!(", fence => {above}")));
    assert_eq!(t.trajectory_row()["fence"], json!(above));
    t.refused(&create(""), "55006");
    t.refused(&create(&format!(", fence => {}", above - 1)), "55006");
    t.refused(&update(&format!(", fence => {second}")), "55006");
    t.db.run(&close(&format!(", fence => {above}")));
    assert_eq!(t.scope_row()["fence"], json!(second));
}

#[test]
fn a_refused_write_does_not_remember_its_fence() {
    let mut t = Tree::with_budget("scope", 10);
    let scope = t.scope;
    let fence = lease(&mut t.db, "scope", scope);
    t.refused(&format!("SELECT caliber_scope_update_tokens('{scope}', 11, {fence})"), "23514");
    t.refused(
        &format!("SELECT caliber_turn_create('{scope}', 'user', 'x', 11, fence => {fence})"),
        "54000",
    );
    assert_eq!(t.scope_row()["fence"], json!(0));
}

#[test]
fn deleting_a_scope_takes_what_is_below_it() {
    let mut t = Tree::new("scope");
    let (scope, trajectory) = (t.scope, t.trajectory);
    let child: Uuid = t.db.one(&format!(
        "SELECT caliber_scope_create('{trajectory}', 'child', 5, parent_scope_id => '{scope}')"
    ));
    t.append("'user', 'x'");
    t.db.run(&format!("SELECT caliber_turn_create('{child}', 'user', 'x')"));
    t.db.run(&format!("DELETE FROM caliber_scope WHERE scope_id = '{scope}'"));
    assert!(t.db.rows_of("caliber_turn").is_empty());
    assert_eq!(t.db.json(&format!("caliber_scope_get('{child}')")), Value::Null);
}
