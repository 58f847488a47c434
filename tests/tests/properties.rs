//! The eight properties that every entity has, on random values.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::collections::BTreeSet;

use caliber_tests::gen_values::{check, json, maybe, name, or_null, sql_json, sql_text, text};
use caliber_tests::{Db, TREE_TABLES, Tree, UNKNOWN, amcheck_in, lit, show};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A tree that all cases of a property use; each case leaves it usable.
fn shared(tree: Tree) -> RefCell<Tree> {
    RefCell::new(tree)
}

/// Begins a transaction, whatever a failed case left behind; its start time.
fn begin(db: &mut Db) -> Value {
    db.run("ROLLBACK; BEGIN");
    db.json("transaction_timestamp()")
}

fn get(db: &mut Db, entity: &str, id: Uuid) -> Value {
    db.json(&format!("caliber_{entity}_get('{id}')"))
}

fn raw(db: &mut Db, entity: &str, id: Uuid) -> Value {
    db.one(&format!("SELECT to_jsonb(r) FROM caliber_{entity} r WHERE {entity}_id = '{id}'"))
}

// 1. Insert-get round trip

#[test]
fn p1_a_trajectory_is_returned_as_it_was_created() {
    let t = shared(Tree::new("p1"));
    let values = (name(), maybe(text()), maybe(json()), any::<[bool; 3]>());
    check(values, |(name, description, metadata, [child, agent, id])| {
        let t = &mut *t.borrow_mut();
        let now = begin(&mut t.db);
        let parent = child.then_some(t.trajectory);
        let agent: Option<Uuid> = agent.then(|| {
            t.db.one("INSERT INTO caliber_agent (agent_type) VALUES ('a') RETURNING agent_id::uuid")
        });
        let given: Option<Uuid> = id.then(|| t.db.one("SELECT caliber_new_id()"));
        let uuid = |id: Option<Uuid>| id.map_or("NULL".to_owned(), |id| format!("'{id}'"));
        let id: Uuid = t.db.one(&format!(
            "SELECT caliber_trajectory_create({}, {}, {}, {}, {}, {})",
            lit(&name),
            sql_text(description.as_ref()),
            uuid(agent),
            uuid(parent),
            sql_json(metadata.as_ref()),
            uuid(given)
        ));
        assert_eq!(id, given.unwrap_or(id));
        let row = get(&mut t.db, "trajectory", id);
        assert_eq!(
            row,
            json!({
                "trajectory_id": id.to_string(), "name": name,
                "description": or_null(description.as_ref()), "status": "active",
                "parent_trajectory_id": or_null(parent.map(|id| id.to_string()).as_ref()),
                "root_trajectory_id": parent.unwrap_or(id).to_string(),
                "agent_id": or_null(agent.map(|id| id.to_string()).as_ref()), "fence": 0,
                "outcome": null, "completed_at": null, "metadata": or_null(metadata.as_ref()),
                "created_at": now, "updated_at": now, "version": 1,
            })
        );
        assert_eq!(raw(&mut t.db, "trajectory", id), row);
        t.db.run("COMMIT");
        assert_eq!(get(&mut t.db, "trajectory", id), row);
    });
}

#[test]
fn p1_a_scope_is_returned_as_it_was_created() {
    let t = shared(Tree::new("p1"));
    let values = (text(), 1..=i32::MAX, maybe(text()), maybe(json()), any::<bool>());
    check(values, |(name, budget, purpose, metadata, child)| {
        let t = &mut *t.borrow_mut();
        let now = begin(&mut t.db);
        let parent = child.then(|| t.scope.to_string());
        let id: Uuid = t.db.one(&format!(
            "SELECT caliber_scope_create('{}', {}, {budget}, {}, {}, {})",
            t.trajectory,
            lit(&name),
            sql_text(purpose.as_ref()),
            sql_text(parent.as_ref()),
            sql_json(metadata.as_ref())
        ));
        let row = get(&mut t.db, "scope", id);
        assert_eq!(
            row,
            json!({
                "scope_id": id.to_string(), "trajectory_id": t.trajectory.to_string(),
                "parent_scope_id": or_null(parent.as_ref()), "name": name,
                "purpose": or_null(purpose.as_ref()), "is_active": true, "token_budget": budget,
                "tokens_used": 0, "turn_count": 0, "fence": 0, "checkpoint": null,
                "closed_at": null, "metadata": or_null(metadata.as_ref()), "created_at": now,
                "updated_at": now, "version": 1,
            })
        );
        assert_eq!(raw(&mut t.db, "scope", id), row);
        t.db.run("COMMIT");
        assert_eq!(get(&mut t.db, "scope", id), row);
    });
}

const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

#[test]
fn p1_a_turn_is_returned_as_it_was_created() {
    let t = shared(Tree::with_budget("p1", i32::MAX));
    let values = (
        select(&ROLES[..]),
        text(),
        maybe(0..1000i32),
        maybe(json()),
        maybe(json()),
        maybe(json()),
    );
    check(values, |(role, content, tokens, calls, results, metadata)| {
        let t = &mut *t.borrow_mut();
        let now = begin(&mut t.db);
        let sequence = t.scope_row()["turn_count"].clone();
        let id = t.append(&format!(
            "'{role}', {}, {}, {}, {}, {}",
            lit(&content),
            tokens.map_or("NULL".to_owned(), |tokens: i32| tokens.to_string()),
            sql_json(calls.as_ref()),
            sql_json(results.as_ref()),
            sql_json(metadata.as_ref())
        ));
        let tokens = tokens.unwrap_or_else(|| {
            t.db.one(&format!("SELECT caliber_estimate_tokens({})", lit(&content)))
        });
        let row = get(&mut t.db, "turn", id);
        assert_eq!(
            row,
            json!({
                "turn_id": id.to_string(), "scope_id": t.scope.to_string(), "sequence": sequence,
                "role": role, "content": content, "token_count": tokens,
                "tool_calls": or_null(calls.as_ref()), "tool_results": or_null(results.as_ref()),
                "created_at": now, "metadata": or_null(metadata.as_ref()),
            })
        );
        assert_eq!(raw(&mut t.db, "turn", id), row);
        let scope = t.scope;
        assert_eq!(t.db.json(&format!("(SELECT r FROM caliber_turn_tail('{scope}', 1) r)")), row);
        t.db.run("COMMIT");
        assert_eq!(get(&mut t.db, "turn", id), row);
    });
}

#[test]
fn p1_messages_are_returned_as_they_were_appended() {
    let t = shared(Tree::with_budget("p1", i32::MAX));
    let message = (select(&ROLES[..]), maybe(text()), maybe(vec(json(), 0..3)), maybe(text()));
    check(vec(message, 0..6), |messages| {
        let t = &mut *t.borrow_mut();
        begin(&mut t.db);
        let scope = t.new_scope(i32::MAX);
        let sent: Vec<Value> = messages
            .iter()
            .map(|(role, content, calls, id)| {
                json!({"role": role, "content": content, "tool_calls": calls, "tool_call_id": id})
            })
            .collect();
        let ids: Vec<Uuid> = t.db.all(&format!(
            "SELECT caliber_turn_append_many('{scope}', {})",
            lit(&Value::from(sent).to_string())
        ));
        let stored: Vec<Value> =
            t.db.all(&format!("SELECT to_jsonb(r) FROM caliber_turn_get_by_scope('{scope}') r"));
        assert_eq!((ids.len(), stored.len()), (messages.len(), messages.len()));
        for (i, (role, content, calls, id)) in messages.iter().enumerate() {
            let row = &stored[i];
            assert_eq!(row["turn_id"], json!(ids[i].to_string()));
            assert_eq!((&row["sequence"], &row["role"]), (&json!(i), &json!(role)));
            assert_eq!(row["content"], json!(content.clone().unwrap_or_default()));
            assert_eq!(row["tool_calls"], json!(calls));
            let results = id.as_ref().map(|id| json!({"tool_call_id": id}));
            assert_eq!(row["tool_results"], or_null(results.as_ref()));
            assert_eq!(row["metadata"], Value::Null);
        }
        t.db.run("COMMIT");
    });
}

// 2. Update persistence

/// Updates a row with these changes and compares all of it.
fn updated(t: &mut Tree, entity: &str, id: Uuid, changes: &Map<String, Value>) {
    let now = begin(&mut t.db);
    let before = get(&mut t.db, entity, id);
    let returned = t.db.json(&format!(
        "caliber_{entity}_update('{id}', {})",
        lit(&Value::from(changes.clone()).to_string())
    ));
    let mut expected = before.clone();
    for (column, value) in changes {
        expected[column] = value.clone();
    }
    if expected != before {
        expected["version"] = json!(before["version"].as_i64().unwrap() + 1);
        expected["updated_at"] = now;
    }
    assert_eq!(returned, expected);
    assert_eq!(get(&mut t.db, entity, id), expected);
    t.db.run("COMMIT");
    assert_eq!(get(&mut t.db, entity, id), expected);
    assert_eq!(raw(&mut t.db, entity, id), expected);
}

/// Some columns with values that they may have.
fn changes(
    columns: Vec<(&'static str, BoxedStrategy<Value>)>,
) -> impl Strategy<Value = Map<String, Value>> {
    let columns: Vec<_> = columns
        .into_iter()
        .map(|(column, value)| {
            maybe(value).prop_map(move |value| Some((column.to_owned(), value?)))
        })
        .collect();
    columns.prop_map(|columns| columns.into_iter().flatten().collect())
}

fn nullable(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 3 => value].boxed()
}

#[test]
fn p2_an_update_of_a_trajectory_persists() {
    let t = shared(Tree::new("p2"));
    let agents: Vec<Uuid> = t
        .borrow_mut()
        .db
        .all("INSERT INTO caliber_agent (agent_type) VALUES ('a'), ('b') RETURNING agent_id::uuid");
    let columns = vec![
        ("name", name().prop_map(Value::from).boxed()),
        ("description", nullable(text().prop_map(Value::from))),
        ("agent_id", nullable(select(agents).prop_map(|id| json!(id.to_string())))),
        ("outcome", nullable(json())),
        ("metadata", nullable(json())),
    ];
    check(changes(columns), |changes| {
        let t = &mut *t.borrow_mut();
        updated(t, "trajectory", t.trajectory, &changes);
    });
}

#[test]
fn p2_an_update_of_a_scope_persists() {
    let t = shared(Tree::new("p2"));
    let columns = vec![
        ("name", text().prop_map(Value::from).boxed()),
        ("purpose", nullable(text().prop_map(Value::from))),
        ("token_budget", (1..=i32::MAX).prop_map(Value::from).boxed()),
        ("checkpoint", nullable(json())),
        ("metadata", nullable(json())),
    ];
    check(changes(columns), |changes| {
        let t = &mut *t.borrow_mut();
        updated(t, "scope", t.scope, &changes);
    });
}

#[test]
fn p2_status_and_counters_persist() {
    let t = shared(Tree::new("p2"));
    let step = prop_oneof![
        select(&["active", "suspended"][..]).prop_map(Err),
        (0..1_000i32).prop_map(Ok),
    ];
    check((vec(step, 1..6), maybe(json()), any::<bool>()), |(steps, outcome, fails)| {
        let t = &mut *t.borrow_mut();
        begin(&mut t.db);
        let id: Uuid = t.db.one("SELECT caliber_trajectory_create('n')");
        let scope: Uuid = t.db.one(&format!("SELECT caliber_scope_create('{id}', 's', 10000)"));
        let (mut status, mut version, mut used) = ("active", 1, 0);
        for step in steps {
            match step {
                Err(next) => {
                    t.db.run(&format!("SELECT caliber_trajectory_set_status('{id}', '{next}')"));
                    version += i64::from(status != next);
                    status = next;
                }
                Ok(more) => {
                    used += more;
                    t.db.run(&format!("SELECT caliber_scope_update_tokens('{scope}', {used})"));
                }
            }
            let row = get(&mut t.db, "trajectory", id);
            assert_eq!((&row["status"], &row["version"]), (&json!(status), &json!(version)));
            let row = get(&mut t.db, "scope", scope);
            assert_eq!((&row["tokens_used"], &row["version"]), (&json!(used), &json!(1)));
        }
        let end = if fails { "failed" } else { "completed" };
        let row = t.db.json(&format!(
            "caliber_trajectory_set_status('{id}', '{end}', {})",
            sql_json(outcome.as_ref())
        ));
        assert_eq!((&row["status"], &row["outcome"]), (&json!(end), &or_null(outcome.as_ref())));
        assert!(row["completed_at"].is_string());
        let row = t.db.json(&format!("caliber_scope_close('{scope}')"));
        assert_eq!((&row["is_active"], &row["version"]), (&json!(false), &json!(2)));
        t.db.run("COMMIT");
        assert_eq!(get(&mut t.db, "scope", scope), row);
    });
}

// 3. and 4. Indexes

/// One step of a random program. Numbers choose among what exists.
#[derive(Debug, Clone)]
enum Step {
    Trajectory { child: bool },
    Scope(usize, bool),
    Turn(usize, String),
    Messages(usize, usize),
    Rename(usize, String),
    Status(usize, &'static str),
    Tokens(usize),
    Purpose(usize, String),
    Close(usize),
    DeleteTurn(usize),
    DeleteScope(usize),
    DeleteTrajectory(usize),
    Savepoint,
    RollbackTo,
    Commit,
    Rollback,
}

fn step() -> impl Strategy<Value = Step> {
    let which = || any::<usize>();
    prop_oneof![
        3 => any::<bool>().prop_map(|child| Step::Trajectory { child }),
        4 => (which(), any::<bool>()).prop_map(|(i, child)| Step::Scope(i, child)),
        6 => (which(), "[a-z ]{0,30}").prop_map(|(i, text)| Step::Turn(i, text)),
        2 => (which(), 0..5usize).prop_map(|(i, n)| Step::Messages(i, n)),
        2 => (which(), "[a-z]{1,9}").prop_map(|(i, text)| Step::Rename(i, text)),
        3 => (which(), select(&["active", "suspended", "completed", "failed"][..]))
            .prop_map(|(i, status)| Step::Status(i, status)),
        2 => which().prop_map(Step::Tokens),
        2 => (which(), "[a-z]{1,9}").prop_map(|(i, text)| Step::Purpose(i, text)),
        1 => which().prop_map(Step::Close),
        2 => which().prop_map(Step::DeleteTurn),
        1 => which().prop_map(Step::DeleteScope),
        1 => which().prop_map(Step::DeleteTrajectory),
        2 => Just(Step::Savepoint),
        2 => Just(Step::RollbackTo),
        1 => Just(Step::Commit),
        1 => Just(Step::Rollback),
    ]
}

/// Runs a step in the open transaction; one that is refused is undone.
fn run(db: &mut Db, step: &Step) {
    let pick = |db: &mut Db, entity: &str, i: usize| -> Option<Uuid> {
        let ids: Vec<Uuid> =
            db.all(&format!("SELECT {entity}_id::uuid FROM caliber_{entity} ORDER BY 1"));
        (!ids.is_empty()).then(|| ids[i % ids.len()])
    };
    let sql = match step {
        Step::Trajectory { child } => {
            let parent = if *child { pick(db, "trajectory", 7) } else { None };
            let parent = parent.map_or("NULL".to_owned(), |id| format!("'{id}'"));
            Some(format!("SELECT caliber_trajectory_create('n', parent_trajectory_id => {parent})"))
        }
        Step::Scope(i, child) => pick(db, "trajectory", *i).map(|id| {
            let parent = format!(
                "(SELECT min(scope_id::text)::uuid FROM caliber_scope WHERE trajectory_id = '{id}')"
            );
            let parent = if *child { &parent } else { "NULL" };
            format!("SELECT caliber_scope_create('{id}', 's', 60, parent_scope_id => {parent})")
        }),
        Step::Turn(i, text) => pick(db, "scope", *i)
            .map(|id| format!("SELECT caliber_turn_create('{id}', 'user', {})", lit(text))),
        Step::Messages(i, n) => pick(db, "scope", *i).map(|id| {
            let messages = json!(vec![json!({"role": "user", "content": "text"}); *n]);
            format!("SELECT caliber_turn_append_many('{id}', '{messages}')")
        }),
        Step::Rename(i, text) => pick(db, "trajectory", *i)
            .map(|id| format!("SELECT caliber_trajectory_update('{id}', '{{\"name\": \"{text}\"}}')")),
        Step::Status(i, status) => pick(db, "trajectory", *i)
            .map(|id| format!("SELECT caliber_trajectory_set_status('{id}', '{status}')")),
        Step::Tokens(i) => pick(db, "scope", *i).map(|id| {
            format!("SELECT caliber_scope_update_tokens('{id}', tokens_used + 1) FROM caliber_scope WHERE scope_id = '{id}'")
        }),
        Step::Purpose(i, text) => pick(db, "scope", *i)
            .map(|id| format!("UPDATE caliber_scope SET purpose = '{text}' WHERE scope_id = '{id}'")),
        Step::Close(i) => pick(db, "scope", *i).map(|id| format!("SELECT caliber_scope_close('{id}')")),
        Step::DeleteTurn(i) => pick(db, "turn", *i)
            .map(|id| format!("DELETE FROM caliber_turn WHERE turn_id = '{id}'")),
        Step::DeleteScope(i) => pick(db, "scope", *i)
            .map(|id| format!("DELETE FROM caliber_scope WHERE scope_id = '{id}'")),
        Step::DeleteTrajectory(i) => {
            pick(db, "trajectory", *i).map(|id| format!("SELECT caliber_trajectory_delete('{id}')"))
        }
        Step::Savepoint => Some("SAVEPOINT s".to_owned()),
        Step::RollbackTo => Some("ROLLBACK TO s".to_owned()),
        Step::Commit => Some("COMMIT; BEGIN; SAVEPOINT s".to_owned()),
        Step::Rollback => Some("ROLLBACK; BEGIN; SAVEPOINT s".to_owned()),
    };
    let Some(sql) = sql else { return };
    let control =
        matches!(step, Step::Savepoint | Step::RollbackTo | Step::Commit | Step::Rollback);
    if control {
        return db.run(&sql);
    }
    db.run("SAVEPOINT step");
    match db.attempt(&sql) {
        Ok(()) => db.run("RELEASE step"),
        Err(error) => {
            let code = error.as_db_error().unwrap_or_else(|| panic!("{}", show(&error, &sql)));
            assert!(["55000", "54000"].contains(&code.code().code()), "{}", show(&error, &sql));
            db.run("ROLLBACK TO step; RELEASE step");
        }
    }
}

/// The B-tree indexes of the tree's tables: table, index, its columns, its condition.
fn indexes(db: &mut Db) -> Vec<[String; 4]> {
    let rows = db.query(
        "SELECT c.relname::text, i.relname::text,
            (SELECT string_agg(pg_get_indexdef(x.indexrelid, n, true), ', ' ORDER BY n)
             FROM generate_series(1, x.indnkeyatts) n),
            coalesce(pg_get_expr(x.indpred, x.indrelid), 'true')
         FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
         JOIN pg_am a ON a.oid = i.relam
         WHERE x.indrelid = ANY (ARRAY['caliber_trajectory', 'caliber_scope', 'caliber_turn']::regclass[])
         AND a.amname = 'btree' ORDER BY 1, 2",
        &[],
    );
    rows.unwrap().iter().map(|row| [0, 1, 2, 3].map(|i| row.get(i))).collect()
}

/// Fails unless each index finds exactly what a sequential scan finds.
fn indexes_agree(db: &mut Db, indexes: &[[String; 4]]) {
    for [table, index, columns, condition] in indexes {
        let select = format!("SELECT r::text FROM {table} r WHERE {condition}");
        db.run(
            "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;
                SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = on",
        );
        let mut by_table: Vec<String> = db.all(&select);
        db.run(
            "SET LOCAL enable_indexscan = on; SET LOCAL enable_seqscan = off;
                SET LOCAL enable_sort = off",
        );
        // Only this index, or one that begins with the same columns, gives the order unsorted.
        let mut by_index: Vec<String> = db.all(&format!("{select} ORDER BY {columns}"));
        by_table.sort();
        by_index.sort();
        assert_eq!(by_index, by_table, "{index}");
    }
}

#[test]
fn p3_indexes_find_what_a_sequential_scan_finds() {
    let t = shared(Tree::new("p3"));
    let (indexes, amcheck) = {
        let db = &mut t.borrow_mut().db;
        (indexes(db), amcheck_in(db))
    };
    assert!(indexes.len() >= 11, "{indexes:?}");
    check(vec(step(), 1..25), |steps| {
        let db = &mut t.borrow_mut().db;
        db.run("ROLLBACK; DELETE FROM caliber_trajectory; BEGIN; SAVEPOINT s");
        for step in &steps {
            run(db, step);
        }
        indexes_agree(db, &indexes);
        db.run("COMMIT; BEGIN");
        indexes_agree(db, &indexes);
        db.run("COMMIT");
        if amcheck {
            for [_, index, ..] in &indexes {
                db.run(&format!(
                    "SELECT bt_index_check('{index}'::regclass, heapallindexed => true)"
                ));
            }
        }
    });
}

#[test]
fn p3_the_scans_of_this_test_use_the_index_that_they_test() {
    let mut t = Tree::new("p3");
    for [table, index, columns, condition] in indexes(&mut t.db) {
        t.db.run("BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off");
        let plan = t.db.all::<String>(&format!(
            "EXPLAIN SELECT r::text FROM {table} r WHERE {condition} ORDER BY {columns}"
        ));
        t.db.run("ROLLBACK");
        let plan = plan.join("\n");
        assert!(plan.contains("Index") && !plan.contains("Sort"), "{index}: {plan}");
    }
}

#[test]
fn p4_what_is_deleted_is_found_through_no_index() {
    let t = shared(Tree::new("p4"));
    let indexes = indexes(&mut t.borrow_mut().db);
    let shape = vec((any::<bool>(), vec(0..4usize, 0..4)), 1..5);
    check((shape, any::<usize>(), 0..3usize), |(shape, pick, what)| {
        let db = &mut t.borrow_mut().db;
        db.run("ROLLBACK; DELETE FROM caliber_trajectory");
        let mut trajectories: Vec<Uuid> = Vec::new();
        let mut scopes: Vec<Uuid> = Vec::new();
        for (child, turns) in shape {
            let parent = trajectories.last().filter(|_| child);
            let parent = parent.map_or("NULL".to_owned(), |id| format!("'{id}'"));
            let id = db.one(&format!(
                "SELECT caliber_trajectory_create('n', parent_trajectory_id => {parent})"
            ));
            trajectories.push(id);
            for turns in turns {
                let scope: Uuid = db.one(&format!("SELECT caliber_scope_create('{id}', 's', 99)"));
                let messages = json!(vec![json!({"role": "user", "content": "x"}); turns]);
                db.run(&format!("SELECT caliber_turn_append_many('{scope}', '{messages}')"));
                scopes.push(scope);
            }
        }
        let before: Vec<BTreeSet<String>> =
            TREE_TABLES.iter().map(|table| db.rows_of(table).into_iter().collect()).collect();
        let turns: Vec<Uuid> = db.all("SELECT turn_id::uuid FROM caliber_turn ORDER BY 1");
        let count: i64 = match what {
            0 => db.one(&format!(
                "SELECT caliber_trajectory_delete('{}')",
                trajectories[pick % trajectories.len()]
            )),
            1 if !scopes.is_empty() => {
                db.run(&format!(
                    "DELETE FROM caliber_scope WHERE scope_id = '{}'",
                    scopes[pick % scopes.len()]
                ));
                -1
            }
            _ if !turns.is_empty() => {
                db.run(&format!(
                    "DELETE FROM caliber_turn WHERE turn_id = '{}'",
                    turns[pick % turns.len()]
                ));
                -1
            }
            _ => return,
        };
        db.run("BEGIN");
        indexes_agree(db, &indexes);
        db.run("COMMIT");
        let mut deleted = 0;
        for (table, before) in TREE_TABLES.iter().zip(before) {
            deleted += before.len() as i64 - db.rows_of(table).len() as i64;
        }
        assert!(deleted > 0 && (count == -1 || count == deleted), "{count} for {deleted}");
        // The functions find exactly what is left.
        for (entity, ids) in [("trajectory", &trajectories), ("scope", &scopes), ("turn", &turns)] {
            for id in ids {
                let there: bool = db.one(&format!(
                    "SELECT EXISTS (SELECT FROM caliber_{entity} WHERE {entity}_id::text = '{id}')"
                ));
                assert_eq!(get(db, entity, *id) != Value::Null, there);
            }
        }
        for id in &trajectories {
            let gone = get(db, "trajectory", *id) == Value::Null;
            let below: i64 = db.one(&format!(
                "SELECT (SELECT count(*) FROM caliber_scope_list_by_trajectory('{id}'))
                      + (SELECT count(*) FROM caliber_trajectory_list_children('{id}'))
                      + (SELECT count(*) FROM caliber_trajectory_list_by_status('active', 1000)
                         WHERE trajectory_id = '{id}')
                      + (SELECT count(*) FROM caliber_scope_get_current('{id}') WHERE scope_id IS NOT NULL)"
            ));
            assert_eq!(below == 0, gone);
        }
        for id in &scopes {
            if get(db, "scope", *id) == Value::Null {
                let turns: i64 =
                    db.one(&format!("SELECT count(*) FROM caliber_turn_get_by_scope('{id}')"));
                assert_eq!(turns, 0);
            }
        }
    });
}

// 5. Transaction visibility

#[test]
fn p5_a_transaction_sees_its_own_writes_and_a_rollback_leaves_nothing() {
    #[derive(Debug, Clone)]
    enum Act {
        Append(String),
        Rename(String),
        Open,
        Savepoint,
        RollbackTo,
        Release,
    }
    let act = prop_oneof![
        4 => "[a-z]{0,8}".prop_map(Act::Append),
        3 => "[a-z]{1,8}".prop_map(Act::Rename),
        2 => Just(Act::Open),
        2 => Just(Act::Savepoint),
        2 => Just(Act::RollbackTo),
        1 => Just(Act::Release),
    ];
    /// What a reader should see.
    #[derive(Clone, PartialEq, Debug)]
    struct Seen {
        turns: Vec<String>,
        name: String,
        scopes: usize,
        used: i64,
    }
    let t = shared(Tree::new("p5"));
    let other = RefCell::new(t.borrow().connect());
    check((vec(act, 1..15), any::<bool>()), |(acts, commits)| {
        let db = &mut t.borrow_mut().db;
        let other = &mut *other.borrow_mut();
        db.run("ROLLBACK");
        let id: Uuid = db.one("SELECT caliber_trajectory_create('n')");
        let scope: Uuid = db.one(&format!("SELECT caliber_scope_create('{id}', 's', 1000)"));
        let look = |db: &mut Db| Seen {
            turns: db.all(&format!("SELECT content FROM caliber_turn_get_by_scope('{scope}')")),
            name: get(db, "trajectory", id)["name"].as_str().unwrap().to_owned(),
            scopes: db
                .all::<Uuid>(&format!(
                    "SELECT scope_id FROM caliber_scope_list_by_trajectory('{id}')"
                ))
                .len(),
            used: get(db, "scope", scope)["tokens_used"].as_i64().unwrap(),
        };
        let outside = look(db);
        let (mut seen, mut saved) = (outside.clone(), Vec::new());
        db.run("BEGIN");
        for act in acts {
            match act {
                Act::Append(text) => {
                    // Seen by the same statement, as an argument of the next call.
                    let read: String = db.one(&format!(
                        "SELECT (caliber_turn_get(caliber_turn_create('{scope}', 'user', '{text}', 1))).content"
                    ));
                    assert_eq!(read, text);
                    seen.turns.push(text);
                    seen.used += 1;
                }
                Act::Rename(name) => {
                    db.run(&format!(
                        "SELECT caliber_trajectory_update('{id}', '{{\"name\": \"{name}\"}}')"
                    ));
                    seen.name = name;
                }
                Act::Open => {
                    db.run(&format!("SELECT caliber_scope_create('{id}', 's', 5)"));
                    seen.scopes += 1;
                }
                Act::Savepoint => {
                    db.run("SAVEPOINT s");
                    saved.push(seen.clone());
                }
                Act::RollbackTo => {
                    if let Some(before) = saved.last() {
                        db.run("ROLLBACK TO s");
                        seen = before.clone();
                    }
                }
                Act::Release => {
                    if saved.pop().is_some() {
                        db.run("RELEASE s");
                    }
                }
            }
            assert_eq!(look(db), seen);
        }
        assert_eq!(look(other), outside, "nobody else sees it before the commit");
        db.run(if commits { "COMMIT" } else { "ROLLBACK" });
        let seen = if commits { seen } else { outside };
        assert_eq!(look(db), seen);
        assert_eq!(look(other), seen);
    });
}

// 6. Timestamps

#[test]
fn p6_all_writes_of_a_transaction_carry_its_start_time() {
    let t = shared(Tree::new("p6"));
    check((vec(step(), 1..12), any::<bool>()), |(steps, closes)| {
        let t = &mut *t.borrow_mut();
        t.db.run("ROLLBACK; DELETE FROM caliber_trajectory");
        let now = begin(&mut t.db);
        let id: Uuid = t.db.one("SELECT caliber_trajectory_create('n')");
        let scope: Uuid = t.db.one(&format!("SELECT caliber_scope_create('{id}', 's', 100)"));
        t.db.run(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x')"));
        for step in &steps {
            if !matches!(step, Step::Savepoint | Step::RollbackTo | Step::Commit | Step::Rollback) {
                run(&mut t.db, step);
            }
        }
        let all: i64 = t.db.one(
            "SELECT (SELECT count(*) FROM caliber_turn WHERE created_at <> transaction_timestamp())
                + (SELECT count(*) FROM caliber_scope WHERE created_at <> transaction_timestamp()
                   OR updated_at <> transaction_timestamp() OR closed_at <> transaction_timestamp())
                + (SELECT count(*) FROM caliber_trajectory WHERE created_at <> transaction_timestamp()
                   OR updated_at <> transaction_timestamp() OR completed_at <> transaction_timestamp())",
        );
        assert_eq!(all, 0);
        t.db.run("COMMIT");
        // A later transaction changes updated_at alone.
        let later = begin(&mut t.db);
        let row = get(&mut t.db, "trajectory", id);
        if row != Value::Null {
            let changes = json!({"metadata": [later]});
            t.db.run(&format!("SELECT caliber_trajectory_update('{id}', '{changes}')"));
            let row = get(&mut t.db, "trajectory", id);
            assert_eq!((&row["created_at"], &row["updated_at"]), (&now, &later));
        }
        let row = get(&mut t.db, "scope", scope);
        if row["is_active"] == json!(true) && closes {
            let row = t.db.json(&format!("caliber_scope_close('{scope}')"));
            assert_eq!(
                (&row["created_at"], &row["updated_at"], &row["closed_at"]),
                (&now, &later, &later)
            );
        }
        t.db.run("COMMIT");
    });
}

// 7. Errors

/// The documented SQLSTATEs.
const DOCUMENTED: &[&str] =
    &["22023", "P0002", "55000", "55006", "54000", "23502", "23503", "23505", "23514", "22P02"];

/// Literals for an argument of this type: usual, unusual and invalid ones.
fn argument(ty: &'static str) -> BoxedStrategy<String> {
    let quoted = move |value: String| format!("{}::{ty}", lit(&value));
    let null = Just(format!("NULL::{ty}"));
    match ty {
        "uuid" => prop_oneof![
            4 => Just("@trajectory@".to_owned()),
            4 => Just("@scope@".to_owned()),
            4 => Just("@turn@".to_owned()),
            1 => any::<u128>().prop_map(|bits| format!("'{}'::uuid", Uuid::from_u128(bits))),
            1 => Just("caliber_new_id()".to_owned()),
            2 => null,
        ]
        .boxed(),
        "int" => prop_oneof![
            any::<i32>().prop_map(|n| format!("({n}::bigint)::int")),
            (-3..20).prop_map(|n| format!("({n}::int)")),
            Just("(-2147483648)::int".to_owned()),
            Just("2147483647".to_owned()),
            null
        ]
        .boxed(),
        "bigint" => prop_oneof![
            1 => any::<i64>().prop_map(|n| format!("('{n}'::bigint)")),
            2 => (-3..20i64).prop_map(|n| format!("({n}::bigint)")),
            4 => null
        ]
        .boxed(),
        "text" => prop_oneof![3 => text().prop_map(quoted), 1 => null].boxed(),
        "jsonb" => prop_oneof![
            3 => json().prop_map(move |value| quoted(value.to_string())),
            3 => near_json().prop_map(move |value| quoted(value.to_string())),
            1 => null,
        ]
        .boxed(),
        _ => prop_oneof![
            6 => select(match ty {
                "caliber_turn_role" => &ROLES[..],
                _ => &["active", "suspended", "completed", "failed"][..],
            })
            .prop_map(move |label| format!("'{label}'::{ty}")),
            1 => null,
        ]
        .boxed(),
    }
}

/// Objects that look like changes, and arrays that look like messages.
fn near_json() -> impl Strategy<Value = Value> {
    let keys = [
        "name",
        "description",
        "agent_id",
        "outcome",
        "metadata",
        "purpose",
        "token_budget",
        "checkpoint",
        "version",
        "scope_id",
        "role",
        "content",
        "tool_calls",
        "tool_call_id",
    ];
    let value = prop_oneof![
        json(),
        Just(json!("user")),
        (-5..2_000_000).prop_map(Value::from),
        Just(json!([{"type": "text", "text": "part"}])),
        Just(json!(UNKNOWN)),
    ];
    let object = vec((select(keys.map(str::to_owned).to_vec()), value), 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()));
    prop_oneof![object.clone(), vec(object, 0..4).prop_map(Value::from)]
}

/// A call of any function with any arguments.
fn any_call() -> impl Strategy<Value = String> {
    const FUNCTIONS: &[(&str, &[&str])] = &[
        ("trajectory_create", &["text", "text", "uuid", "uuid", "jsonb", "uuid"]),
        ("trajectory_get", &["uuid"]),
        ("trajectory_update", &["uuid", "jsonb", "bigint", "bigint"]),
        (
            "trajectory_set_status",
            &["uuid", "caliber_trajectory_status", "jsonb", "bigint", "bigint"],
        ),
        ("trajectory_list_by_status", &["caliber_trajectory_status", "int", "uuid"]),
        ("trajectory_list_children", &["uuid", "int", "uuid"]),
        ("trajectory_delete", &["uuid", "bigint"]),
        ("scope_create", &["uuid", "text", "int", "text", "uuid", "jsonb", "bigint", "uuid"]),
        ("scope_get", &["uuid"]),
        ("scope_get_current", &["uuid"]),
        ("scope_list_by_trajectory", &["uuid", "int", "uuid"]),
        ("scope_update_tokens", &["uuid", "int", "bigint"]),
        ("scope_update", &["uuid", "jsonb", "bigint", "bigint"]),
        ("scope_close", &["uuid", "bigint", "bigint"]),
        (
            "turn_create",
            &[
                "uuid",
                "caliber_turn_role",
                "text",
                "int",
                "jsonb",
                "jsonb",
                "jsonb",
                "int",
                "bigint",
                "uuid",
            ],
        ),
        ("turn_append_many", &["uuid", "jsonb", "bigint"]),
        ("turn_get", &["uuid"]),
        ("turn_get_by_scope", &["uuid", "int", "int"]),
        ("turn_tail", &["uuid", "int"]),
        ("estimate_tokens", &["text"]),
    ];
    select(FUNCTIONS).prop_flat_map(|(function, types)| {
        let arguments: Vec<_> = types.iter().map(|ty| argument(ty)).collect();
        arguments.prop_map(move |arguments| format!("caliber_{function}({})", arguments.join(", ")))
    })
}

#[test]
fn p7_any_call_succeeds_or_fails_as_documented_and_then_changes_nothing() {
    let t = shared(Tree::with_budget("p7", 1_000));
    let turn = t.borrow_mut().append("'user', 'x'");
    let before: Vec<_> = TREE_TABLES.iter().map(|table| t.borrow_mut().db.rows_of(table)).collect();
    check(vec(any_call(), 4), |calls| {
        let t = &mut *t.borrow_mut();
        let (trajectory, scope) = (t.trajectory, t.scope);
        for call in calls {
            let sql = format!("SELECT {call}")
                .replace("@trajectory@", &format!("'{trajectory}'::uuid"))
                .replace("@scope@", &format!("'{scope}'::uuid"))
                .replace("@turn@", &format!("'{turn}'::uuid"));
            t.db.run("ROLLBACK; BEGIN; SAVEPOINT call");
            if let Err(error) = t.db.attempt(&sql) {
                let db = error.as_db_error().unwrap_or_else(|| panic!("{}", show(&error, &sql)));
                assert!(DOCUMENTED.contains(&db.code().code()), "{}", show(&error, &sql));
                t.db.run("ROLLBACK TO call");
                for (table, before) in TREE_TABLES.iter().zip(&before) {
                    assert_eq!(&t.db.rows_of(table), before, "{table} after {sql}");
                }
            }
            t.db.run("ROLLBACK");
        }
    });
}

/// An invalid call and its SQLSTATE.
fn invalid_call() -> impl Strategy<Value = (String, &'static str)> {
    let not_v7 = any::<u128>().prop_map(|bits| Uuid::from_u128(bits & !(0xF << 76) | 0x4 << 76));
    let unknown = any::<u128>().prop_map(|bits| {
        Uuid::from_u128(bits & !(0xF << 76) & !(0x3 << 62) | 0x7 << 76 | 0x2 << 62)
    });
    let key = "[a-z_]{1,12}".prop_filter("not a column", |key| {
        ![
            "name",
            "purpose",
            "description",
            "outcome",
            "metadata",
            "checkpoint",
            "agent_id",
            "token_budget",
        ]
        .contains(&&**key)
    });
    let not_text = json().prop_filter("not a text", |value| !value.is_string() && !value.is_null());
    let not_object = json().prop_filter("not an object", |value| !value.is_object());
    let not_array = json().prop_filter("not an array", |value| !value.is_array());
    let role = "[a-zA-Z]{0,9}"
        .prop_filter("not a role", |role| !ROLES.contains(&&**role) && role != "developer");
    let entity = || select(&["trajectory", "scope"][..]);
    let target = |entity: &str| format!("'@{entity}@'");
    prop_oneof![
        not_v7.clone().prop_map(|id| (
            format!("turn_create('@scope@', 'user', 'x', turn_id => '{id}')"),
            "22023"
        )),
        not_v7.clone().prop_map(|id| (
            format!("scope_create('@trajectory@', 'x', 5, scope_id => '{id}')"),
            "22023"
        )),
        not_v7.prop_map(|id| (format!("trajectory_create('x', trajectory_id => '{id}')"), "22023")),
        unknown.clone().prop_map(|id| (format!("turn_create('{id}', 'user', 'x')"), "23503")),
        unknown.clone().prop_map(|id| (format!("scope_create('{id}', 'x', 5)"), "23503")),
        unknown
            .clone()
            .prop_map(|id| (format!("trajectory_create('x', agent_id => '{id}')"), "23503")),
        unknown.clone().prop_map(|id| (
            format!("trajectory_create('x', parent_trajectory_id => '{id}')"),
            "23503"
        )),
        (entity(), unknown.clone())
            .prop_map(|(e, id)| (format!("{e}_update('{id}', '{{}}')"), "P0002")),
        unknown.clone().prop_map(|id| (format!("scope_close('{id}')"), "P0002")),
        unknown.clone().prop_map(|id| (format!("scope_update_tokens('{id}', 1)"), "P0002")),
        unknown.prop_map(|id| (format!("trajectory_delete('{id}')"), "P0002")),
        (entity(), key, json()).prop_map(move |(e, key, value)| {
            let changes = lit(&json!({key: value}).to_string());
            (format!("{e}_update({}, {changes})", target(e)), "22023")
        }),
        (entity(), not_text).prop_map(move |(e, value)| {
            let changes = lit(&json!({"name": value}).to_string());
            (format!("{e}_update({}, {changes})", target(e)), "22023")
        }),
        (entity(), not_object).prop_map(move |(e, value)| {
            (format!("{e}_update({}, {})", target(e), lit(&value.to_string())), "22023")
        }),
        not_array.prop_map(|value| {
            (format!("turn_append_many('@scope@', {})", lit(&value.to_string())), "22023")
        }),
        role.clone().prop_map(|role| {
            let messages = json!([{"role": "user"}, {"role": role}]);
            (format!("turn_append_many('@scope@', '{messages}')"), "22023")
        }),
        role.prop_map(|role| (format!("turn_create('@scope@', '{role}', 'x')"), "22P02")),
        (i32::MIN..0).prop_map(|n| (format!("turn_create('@scope@', 'user', 'x', {n})"), "23514")),
        (996..i32::MAX)
            .prop_map(|n| (format!("turn_create('@scope@', 'user', 'x', {n})"), "54000")),
        (i32::MIN..0).prop_map(|n| (
            format!("turn_create('@scope@', 'user', 'x', sequence => {n})"),
            "23514"
        )),
        Just(("turn_create('@scope@', 'user', 'x', sequence => 0)".to_owned(), "23505")),
        (2..i32::MAX).prop_map(|n| (
            format!("turn_create('@scope@', 'user', 'x', sequence => {n})"),
            "55006"
        )),
        (i32::MIN..1).prop_map(|n| (format!("scope_create('@trajectory@', 'x', {n})"), "23514")),
        (i32::MIN..1).prop_map(|n| (format!("turn_tail('@scope@', {n})"), "22023")),
        (i32::MIN..1)
            .prop_map(|n| (format!("scope_list_by_trajectory('@trajectory@', {n})"), "22023")),
        (i32::MIN..1).prop_map(|n| (format!("trajectory_list_by_status('active', {n})"), "22023")),
        (1..5i32).prop_map(|n| (format!("scope_update_tokens('@scope@', {})", 5 - n), "55000")),
        (1_001..i32::MAX).prop_map(|n| (format!("scope_update_tokens('@scope@', {n})"), "23514")),
        (entity(), any::<i64>())
            .prop_filter("not the version", |(_, n)| *n != 1)
            .prop_map(move |(e, n)| (format!("{e}_update({}, '{{}}', {n})", target(e)), "55006")),
        (entity(), 1..i64::MAX).prop_map(move |(e, n)| {
            (format!("{e}_update({}, '{{}}', fence => {n})", target(e)), "55006")
        }),
        (entity(), i64::MIN..1).prop_map(move |(e, n)| {
            (format!("{e}_update({}, '{{}}', fence => {n})", target(e)), "22023")
        }),
    ]
}

#[test]
fn p7_every_invalid_call_gets_its_sqlstate() {
    let t = shared(Tree::with_budget("p7", 1_000));
    t.borrow_mut().append("'user', 'x', 5");
    check(invalid_call(), |(call, sqlstate)| {
        let t = &mut *t.borrow_mut();
        let sql = format!("SELECT caliber_{call}")
            .replace("@trajectory@", &t.trajectory.to_string())
            .replace("@scope@", &t.scope.to_string());
        t.refused(&sql, sqlstate);
    });
}

// 8. Not found

#[test]
fn p8_what_does_not_exist_is_null_or_no_rows() {
    let t = shared(Tree::new("p8"));
    t.borrow_mut().append("'user', 'x'");
    check(any::<u128>(), |bits| {
        let t = &mut *t.borrow_mut();
        let id = Uuid::from_u128(bits);
        for entity in ["trajectory", "scope", "turn"] {
            assert_eq!(get(&mut t.db, entity, id), Value::Null);
        }
        assert_eq!(t.db.json(&format!("caliber_scope_get_current('{id}')")), Value::Null);
        for list in [
            "trajectory_list_children",
            "scope_list_by_trajectory",
            "turn_get_by_scope",
            "turn_tail",
        ] {
            let rows: i64 = t.db.one(&format!("SELECT count(*) FROM caliber_{list}('{id}')"));
            assert_eq!(rows, 0, "{list}");
        }
    });
}
