//! Many connections at once: nothing is lost, overspent, given twice, or deadlocked.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use caliber_tests::{Db, Tree, lease, show};
use serde_json::{Value, json};
use uuid::Uuid;

const CONNECTIONS: usize = 8;

/// The SQLSTATE of a failure.
fn sqlstate(error: &postgres::Error, sql: &str) -> String {
    let db = error.as_db_error().unwrap_or_else(|| panic!("{}", show(error, sql)));
    assert!(!db.message().contains("tuple concurrently"), "{}", show(error, sql));
    assert_ne!(db.code().code(), "XX000", "{}", show(error, sql));
    db.code().code().to_owned()
}

/// Runs `job` on several connections at once, all begun together; what they return.
fn at_once<R: Send>(t: &Tree, job: impl Fn(usize, &mut Db) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(CONNECTIONS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (job, barrier) = (&job, &barrier);
                let mut db = t.connect();
                scope.spawn(move || {
                    barrier.wait();
                    job(number, &mut db)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// A connection holds `first` in an open transaction; another, after `prelude`, waits with
/// `second` until the first ends with `end`. The outcome of `second`: its SQLSTATE.
fn contend(
    t: &mut Tree,
    first: &str,
    (prelude, second): (&str, &str),
    end: &str,
) -> Result<(), String> {
    let mut waiting = t.connect();
    waiting.run(prelude);
    let pid = waiting.pid();
    let mut holding = t.connect();
    holding.run("BEGIN");
    holding.run(first);
    thread::scope(|scope| {
        let outcome = scope.spawn(|| {
            waiting
                .attempt(second)
                .and_then(|()| waiting.attempt("COMMIT"))
                .map_err(|error| sqlstate(&error, second))
        });
        t.db.wait_until_blocked(pid);
        holding.run(end);
        outcome.join().unwrap()
    })
}

#[test]
fn appends_to_one_scope_have_no_gap_and_keep_the_budget() {
    const BUDGET: i32 = 1_000;
    let mut t = Tree::with_budget("concurrency", BUDGET);
    let scope = t.scope;
    let outcomes = at_once(&t, |number, db| {
        let (mut stored, mut refused) = (Vec::new(), 0);
        for i in 0..60 {
            let sql = if i % 10 == 9 {
                let message = json!({"role": "user", "content": "x".repeat(8)});
                let messages = json!([message, message, message]);
                format!("SELECT caliber_turn_append_many('{scope}', '{messages}')")
            } else {
                let tokens = (i * 7 + number) % 9;
                format!("SELECT caliber_turn_create('{scope}', 'user', 'by {number}', {tokens})")
            };
            match db.query(&sql, &[]) {
                Ok(rows) => stored.extend(rows.iter().map(|row| row.get::<_, Uuid>(0))),
                Err(error) => {
                    assert_eq!(sqlstate(&error, &sql), "54000", "{}", show(&error, &sql));
                    refused += 1;
                }
            }
        }
        (stored, refused)
    });
    assert!(outcomes.iter().map(|(_, refused)| refused).sum::<i32>() > 0, "nobody was refused");
    let mut stored: Vec<Uuid> = outcomes.into_iter().flat_map(|(stored, _)| stored).collect();
    stored.sort();
    let turns: Vec<Uuid> = t.db.all("SELECT turn_id::uuid FROM caliber_turn ORDER BY 1");
    assert_eq!(turns, stored, "what was acknowledged is what is stored");
    let sequences: Vec<i32> = t.db.all("SELECT sequence FROM caliber_turn ORDER BY 1");
    assert_eq!(sequences, (0..turns.len() as i32).collect::<Vec<_>>());
    let sum: i64 = t.db.one("SELECT sum(token_count) FROM caliber_turn");
    let row = t.scope_row();
    assert_eq!(row["tokens_used"], json!(sum));
    assert_eq!(row["turn_count"], json!(turns.len()));
    assert!(sum <= BUDGET.into());
}

#[test]
fn appends_to_many_scopes_of_one_trajectory_do_not_wait_for_each_other() {
    let mut t = Tree::new("concurrency");
    let scopes: Vec<Uuid> = (0..CONNECTIONS).map(|_| t.new_scope(1_000)).collect();
    // All stay open until everybody has appended.
    let appended = Barrier::new(CONNECTIONS);
    at_once(&t, |number, db| {
        db.run("BEGIN");
        db.run(&format!("SELECT caliber_turn_create('{}', 'user', 'x')", scopes[number]));
        appended.wait();
        db.run("COMMIT");
    });
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn"), CONNECTIONS as i64);
}

#[test]
fn two_updates_of_one_row_both_take_effect() {
    let mut t = Tree::new("concurrency");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let update = |entity: &str, id: Uuid, changes: &str| {
        format!("SELECT caliber_{entity}_update('{id}', '{{{changes}}}')")
    };
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT 1";
    let first = update("trajectory", trajectory, "\"name\": \"first\"");
    let second = update("trajectory", trajectory, "\"description\": \"second\"");
    contend(&mut t, &first, (begin, &second), "COMMIT").unwrap();
    let row = t.trajectory_row();
    assert_eq!((&row["name"], &row["description"]), (&json!("first"), &json!("second")));
    assert_eq!(row["version"], json!(3));

    let first = format!("SELECT caliber_trajectory_set_status('{trajectory}', 'suspended')");
    contend(&mut t, &first, (begin, &second.replace("second", "third")), "COMMIT").unwrap();
    let row = t.trajectory_row();
    assert_eq!((&row["status"], &row["description"]), (&json!("suspended"), &json!("third")));

    let first = update("scope", scope, "\"name\": \"first\"");
    let second = update("scope", scope, "\"purpose\": \"second\"");
    contend(&mut t, &first, (begin, &second), "COMMIT").unwrap();
    let append = format!("SELECT caliber_turn_create('{scope}', 'user', 'x', 7)");
    contend(&mut t, &append, (begin, &append), "COMMIT").unwrap();
    let tokens = format!("SELECT caliber_scope_update_tokens('{scope}', 30)");
    contend(&mut t, &append, (begin, &tokens), "COMMIT").unwrap();
    contend(&mut t, &tokens, (begin, &append), "COMMIT").unwrap();
    let row = t.scope_row();
    assert_eq!((&row["name"], &row["purpose"]), (&json!("first"), &json!("second")));
    assert_eq!((&row["tokens_used"], &row["turn_count"]), (&json!(37), &json!(4)));
    assert_eq!(row["version"], json!(3));

    // With an update by plain SQL, both ways.
    let raw = format!("UPDATE caliber_scope SET metadata = '[1]' WHERE scope_id = '{scope}'");
    contend(&mut t, &raw, (begin, &append), "COMMIT").unwrap();
    contend(&mut t, &append, (begin, &raw.replace("[1]", "[2]")), "COMMIT").unwrap();
    let row = t.scope_row();
    assert_eq!((&row["metadata"], &row["tokens_used"]), (&json!([2]), &json!(51)));

    // A writer that gives up leaves nothing.
    let first = update("scope", scope, "\"name\": \"given up\"");
    contend(&mut t, &first, (begin, &update("scope", scope, "\"purpose\": \"kept\"")), "ROLLBACK")
        .unwrap();
    let row = t.scope_row();
    assert_eq!((&row["name"], &row["purpose"]), (&json!("first"), &json!("kept")));
}

/// Calls that change one row each: its table, and the call.
fn mutations(t: &Tree) -> Vec<String> {
    let (trajectory, scope) = (t.trajectory, t.scope);
    vec![
        format!("SELECT caliber_trajectory_update('{trajectory}', '{{\"name\": \"later\"}}')"),
        format!("SELECT caliber_trajectory_set_status('{trajectory}', 'suspended')"),
        format!("SELECT caliber_scope_update('{scope}', '{{\"name\": \"later\"}}')"),
        format!("SELECT caliber_scope_update_tokens('{scope}', 77)"),
        format!("SELECT caliber_turn_create('{scope}', 'user', 'later')"),
        format!("SELECT caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}]')"),
        format!("SELECT caliber_scope_close('{scope}')"),
    ]
}

#[test]
fn in_one_snapshot_the_later_writer_gets_40001() {
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut t = Tree::new("concurrency");
        let (trajectory, scope) = (t.trajectory, t.scope);
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT caliber_scope_get('{scope}')");
        for mutation in mutations(&t) {
            let of_trajectory = mutation.contains("caliber_trajectory_");
            let change = if of_trajectory {
                format!("SELECT caliber_trajectory_update('{trajectory}', '{{\"metadata\": [1]}}')")
            } else {
                format!("SELECT caliber_scope_update('{scope}', '{{\"metadata\": [1]}}')")
            };
            // The other writer is done before, or still at it.
            let mut late = t.connect();
            late.run(&begin);
            t.db.run(&change.replace("[1]", "[0]"));
            let error = late.attempt(&mutation).expect_err(&mutation);
            assert_eq!(sqlstate(&error, &mutation), "40001", "{level}: {mutation}");
            late.run("ROLLBACK");
            let outcome = contend(&mut t, &change, (&begin, &mutation), "COMMIT");
            assert_eq!(outcome, Err("40001".to_owned()), "{level}: {mutation}");
            // A writer that gives up is no conflict.
            let again = change.replace("[1]", "[2]");
            if !mutation.contains("close") && !mutation.contains("status") {
                contend(&mut t, &again, (&begin, &mutation), "ROLLBACK").unwrap();
            }
        }
    }
}

#[test]
fn a_snapshot_does_not_see_later_commits_but_its_own_writes() {
    let mut t = Tree::new("concurrency");
    let scope = t.scope;
    let other_scope = t.new_scope(100);
    t.append("'user', 'before'");
    let mut reader = t.connect();
    let count = |scope: Uuid| format!("SELECT count(*) FROM caliber_turn_get_by_scope('{scope}')");
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(reader.one::<i64>(&count(scope)), 1);
    t.append("'user', 'after'");
    assert_eq!(reader.one::<i64>(&count(scope)), 1);
    let tokens = format!("SELECT (caliber_scope_get('{scope}')).turn_count");
    assert_eq!(reader.one::<i32>(&tokens), 1);
    reader.run(&format!("SELECT caliber_turn_create('{other_scope}', 'user', 'own')"));
    assert_eq!(reader.one::<i64>(&count(other_scope)), 1);
    assert_eq!(reader.one::<i64>(&count(scope)), 1);
    reader.run("COMMIT");
    assert_eq!(reader.one::<i64>(&count(scope)), 2);
}

#[test]
fn serializable_transactions_do_not_skew() {
    let mut t = Tree::new("concurrency");
    let scopes = [t.scope, t.new_scope(100)];
    let mut connections = [t.connect(), t.connect()];
    let mut failed = Vec::new();
    // Each appends to its scope because the other's is empty.
    for (i, db) in connections.iter_mut().enumerate() {
        db.run("BEGIN ISOLATION LEVEL SERIALIZABLE");
        let read = format!("SELECT count(*) FROM caliber_turn_get_by_scope('{}')", scopes[1 - i]);
        assert_eq!(db.one::<i64>(&read), 0);
    }
    for (i, db) in connections.iter_mut().enumerate() {
        let append = format!("SELECT caliber_turn_create('{}', 'user', 'first!')", scopes[i]);
        failed.extend(db.attempt(&append).map_err(|error| sqlstate(&error, &append)).err());
    }
    for db in &mut connections {
        failed.extend(db.attempt("COMMIT").map_err(|error| sqlstate(&error, "COMMIT")).err());
    }
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn"), 1);
    assert_eq!(failed, ["40001"]);
}

#[test]
fn of_many_with_the_same_expected_version_one_wins() {
    let mut t = Tree::new("concurrency");
    let (trajectory, scope) = (t.trajectory, t.scope);
    for round in 0..12 {
        let version = t.trajectory_row()["version"].clone();
        let won = at_once(&t, |number, db| {
            let sql = format!(
                "SELECT caliber_trajectory_update('{trajectory}',
                    '{{\"name\": \"{round} {number}\"}}', expected_version => {version})"
            );
            let outcome = db.attempt(&sql).map_err(|error| sqlstate(&error, &sql));
            let refusal = outcome.as_ref().err().map_or("55006", String::as_str);
            assert_eq!(refusal, "55006");
            outcome.is_ok()
        });
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
        let winner = won.iter().position(|&won| won).unwrap();
        assert_eq!(t.trajectory_row()["name"], json!(format!("{round} {winner}")));
    }
    let won = at_once(&t, |_, db| {
        db.attempt(&format!("SELECT caliber_scope_close('{scope}', expected_version => 1)")).is_ok()
    });
    assert_eq!(won.iter().filter(|&&won| won).count(), 1);
}

/// Creates with a given id, one for each entity.
fn creates(t: &mut Tree) -> Vec<(&'static str, Uuid, String)> {
    let (trajectory, scope) = (t.trajectory, t.scope);
    let mut id = || t.db.one::<Uuid>("SELECT caliber_new_id()");
    let (a, b, c) = (id(), id(), id());
    vec![
        ("trajectory", a, format!("caliber_trajectory_create('n', trajectory_id => '{a}')")),
        ("scope", b, format!("caliber_scope_create('{trajectory}', 'n', 5, scope_id => '{b}')")),
        ("turn", c, format!("caliber_turn_create('{scope}', 'user', 'x', 3, turn_id => '{c}')")),
    ]
}

#[test]
fn of_many_creates_with_one_id_one_row_remains() {
    let mut t = Tree::new("concurrency");
    for round in 1..=5 {
        for (entity, id, call) in creates(&mut t) {
            at_once(&t, |_, db| {
                let sql = format!("SELECT {call}");
                match db.try_one::<Uuid>(&sql) {
                    Ok(created) => assert_eq!(created, id),
                    Err(error) => {
                        // The unique index decides the race.
                        assert_eq!(sqlstate(&error, &sql), "23505", "{}", show(&error, &sql));
                        assert_ne!(entity, "turn", "a turn's scope is locked: there is no race");
                    }
                }
                assert_eq!(db.one::<Uuid>(&sql), id, "afterwards all agree");
            });
            let rows: i64 = t
                .db
                .one(&format!("SELECT count(*) FROM caliber_{entity} WHERE {entity}_id = '{id}'"));
            assert_eq!(rows, 1);
        }
        let row = t.scope_row();
        assert_eq!((&row["turn_count"], &row["tokens_used"]), (&json!(round), &json!(3 * round)));
    }
}

#[test]
fn a_create_waits_for_another_with_its_id() {
    let mut t = Tree::new("concurrency");
    for (entity, id, call) in creates(&mut t) {
        let sql = format!("SELECT {call}");
        contend(&mut t, &sql, ("BEGIN", &sql), "ROLLBACK").unwrap();
        assert_ne!(t.db.json(&format!("caliber_{entity}_get('{id}')")), Value::Null);
    }
    for (entity, id, call) in creates(&mut t) {
        let sql = format!("SELECT {call}");
        let outcome = contend(&mut t, &sql, ("BEGIN", &sql), "COMMIT");
        let expected = if entity == "turn" { Ok(()) } else { Err("23505".to_owned()) };
        assert_eq!(outcome, expected, "{call}");
        assert_ne!(t.db.json(&format!("caliber_{entity}_get('{id}')")), Value::Null);
    }
}

#[test]
fn a_state_is_checked_after_waiting_for_it() {
    let mut t = Tree::new("concurrency");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let suspend = format!("SELECT caliber_trajectory_set_status('{trajectory}', 'suspended')");
    let open = format!("SELECT caliber_scope_create('{trajectory}', 'n', 5)");
    assert_eq!(contend(&mut t, &suspend, ("BEGIN", &open), "COMMIT"), Err("55000".to_owned()));
    t.db.run(&suspend.replace("suspended", "active"));
    contend(&mut t, &suspend, ("BEGIN", &open), "ROLLBACK").unwrap();
    contend(&mut t, &open, ("BEGIN", &suspend), "COMMIT").unwrap();
    let close = format!("SELECT caliber_scope_close('{scope}')");
    let append = format!("SELECT caliber_turn_create('{scope}', 'user', 'x')");
    contend(&mut t, &close, ("BEGIN", &append), "ROLLBACK").unwrap();
    assert_eq!(contend(&mut t, &close, ("BEGIN", &append), "COMMIT"), Err("55000".to_owned()));
    assert_eq!(t.scope_row()["turn_count"], json!(1));
}

#[test]
fn a_fence_is_checked_after_waiting_for_it() {
    let mut t = Tree::new("concurrency");
    let scope = t.scope;
    let former = lease(&mut t.db, "scope", scope);
    let holder = lease(&mut t.db, "scope", scope);
    let append = |fence: i64| {
        format!("SELECT caliber_turn_create('{scope}', 'user', 'x', fence => {fence})")
    };
    let outcome = contend(&mut t, &append(holder), ("BEGIN", &append(former)), "COMMIT");
    assert_eq!(outcome, Err("55006".to_owned()));
    // The same through a lease on the trajectory, which several scopes share.
    let trajectory = t.trajectory;
    let other_scope = t.new_scope(100);
    let above = lease(&mut t.db, "trajectory", trajectory);
    let elsewhere =
        format!("SELECT caliber_turn_create('{other_scope}', 'user', 'x', fence => {above})");
    let outcome = contend(&mut t, &elsewhere, ("BEGIN", &append(holder)), "COMMIT");
    assert_eq!(outcome, Err("55006".to_owned()));
    assert_eq!(t.trajectory_row()["fence"], json!(above));
}

#[test]
fn mixed_writes_to_one_tree_never_deadlock() {
    let mut t = Tree::new("concurrency");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let child: Uuid = t.db.one(&format!(
        "SELECT caliber_scope_create('{trajectory}', 'child', 100000, parent_scope_id => '{scope}')"
    ));
    at_once(&t, |number, db| {
        for i in 0..40 {
            let own = if i % 2 == 0 { scope } else { child };
            let status = if i % 2 == 0 { "suspended" } else { "active" };
            let sql = match (i + number) % 8 {
                0 => format!("SELECT caliber_trajectory_set_status('{trajectory}', '{status}')"),
                1 => format!(
                    "SELECT caliber_trajectory_update('{trajectory}', '{{\"name\": \"{i}\"}}')"
                ),
                2 => format!("SELECT caliber_scope_update('{own}', '{{\"checkpoint\": {i}}}')"),
                3 => format!(
                    "SELECT caliber_scope_create('{trajectory}', 'n', 5, parent_scope_id => '{own}')"
                ),
                4 => format!(
                    "UPDATE caliber_trajectory SET metadata = '{i}' WHERE trajectory_id = '{trajectory}'"
                ),
                5 => format!(
                    "BEGIN; SELECT caliber_turn_create('{own}', 'user', 'x');
                     SELECT caliber_scope_update('{own}', '{{\"purpose\": \"{i}\"}}');
                     SELECT caliber_turn_append_many('{own}', '[{{\"role\": \"user\"}}]'); COMMIT"
                ),
                _ => format!("SELECT caliber_turn_create('{own}', 'user', 'x')"),
            };
            if let Err(error) = db.attempt(&sql) {
                // Only: the trajectory was suspended when a scope was to be opened.
                assert_eq!(sqlstate(&error, &sql), "55000", "{}", show(&error, &sql));
            }
        }
    });
    for scope in [scope, child] {
        let gapless: bool = t.db.one(&format!(
            "SELECT array_agg(t.sequence ORDER BY t.sequence) = ARRAY(SELECT generate_series(0, s.turn_count - 1))
             FROM caliber_scope s JOIN caliber_turn t ON t.scope_id = s.scope_id
             WHERE s.scope_id = '{scope}' GROUP BY s.turn_count"
        ));
        assert!(gapless);
    }
}

#[test]
fn deleting_a_tree_that_is_written_does_not_deadlock() {
    let mut t = Tree::new("concurrency");
    let root = t.trajectory;
    let child: Uuid = t.db.one(&format!(
        "SELECT caliber_trajectory_create('child', parent_trajectory_id => '{root}')"
    ));
    let scope: Uuid = t.db.one(&format!("SELECT caliber_scope_create('{child}', 's', 1000)"));
    let append = format!("SELECT caliber_turn_create('{scope}', 'user', 'x')");
    t.db.run(&append);
    let (mut writer, mut deleter, mut late) = (t.connect(), t.connect(), t.connect());
    let (deleter_pid, late_pid) = (deleter.pid(), late.pid());
    writer.run("BEGIN");
    writer.run(&append);
    thread::scope(|threads| {
        let delete = format!("SELECT caliber_trajectory_delete('{root}')");
        let deleted =
            threads.spawn(move || deleter.attempt(&delete).map_err(|e| sqlstate(&e, &delete)));
        t.db.wait_until_blocked(deleter_pid);
        let late_append = append.clone();
        let appended = threads
            .spawn(move || late.attempt(&late_append).map_err(|e| sqlstate(&e, &late_append)));
        t.db.wait_until_blocked(late_pid);
        writer.run("COMMIT");
        assert_eq!(deleted.join().unwrap(), Ok(()));
        let appended = appended.join().unwrap();
        // Before the deletion, or into a scope that is gone.
        assert_eq!(appended.err().as_deref().unwrap_or("23503"), "23503");
    });
    for table in caliber_tests::TREE_TABLES {
        assert!(t.db.rows_of(table).is_empty(), "{table}");
    }
}

#[test]
fn trees_are_deleted_under_load() {
    let mut t = Tree::new("concurrency");
    for _ in 0..6 {
        let root: Uuid = t.db.one("SELECT caliber_trajectory_create('root')");
        let child: Uuid = t.db.one(&format!(
            "SELECT caliber_trajectory_create('child', parent_trajectory_id => '{root}')"
        ));
        let scopes: Vec<Uuid> = [root, child]
            .map(|id| t.db.one(&format!("SELECT caliber_scope_create('{id}', 's', 1000)")))
            .to_vec();
        let over = AtomicBool::new(false);
        at_once(&t, |number, db| {
            if number == 0 {
                let delete = format!("SELECT caliber_trajectory_delete('{root}')");
                let outcome = db.attempt(&delete);
                over.store(true, Ordering::Relaxed);
                if let Err(error) = outcome {
                    panic!("{}", show(&error, &delete));
                }
                return;
            }
            while !over.load(Ordering::Relaxed) {
                let scope = scopes[number % 2];
                let sql = match number % 3 {
                    0 => format!("SELECT caliber_scope_update('{scope}', '{{\"name\": \"x\"}}')"),
                    _ => format!("SELECT caliber_turn_create('{scope}', 'user', 'x', 0)"),
                };
                if let Err(error) = db.attempt(&sql) {
                    let state = sqlstate(&error, &sql);
                    assert!(["23503", "P0002"].contains(&&*state), "{}", show(&error, &sql));
                    break;
                }
            }
        });
        assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_trajectory"), 1);
        assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn"), 0);
    }
}

#[test]
fn a_deletion_counts_what_was_committed_while_it_waited() {
    let mut t = Tree::new("concurrency");
    let (root, scope) = (t.trajectory, t.scope);
    t.db.run("CREATE TABLE deleted (rows bigint)");
    let first = format!(
        "SELECT caliber_trajectory_create('child', parent_trajectory_id => '{root}');
         SELECT caliber_turn_create('{scope}', 'user', 'x')"
    );
    let delete = format!("INSERT INTO deleted SELECT caliber_trajectory_delete('{root}')");
    contend(&mut t, &first, ("BEGIN", &delete), "COMMIT").unwrap();
    // Two trajectories, a scope, a turn.
    assert_eq!(t.db.one::<i64>("SELECT rows FROM deleted"), 4);
    assert!(t.db.rows_of("caliber_trajectory").is_empty());
}

#[test]
fn concurrent_children_and_deletion_leave_no_orphan() {
    let mut t = Tree::new("concurrency");
    let root = t.trajectory;
    let child =
        format!("SELECT caliber_trajectory_create('child', parent_trajectory_id => '{root}')");
    let delete = format!("SELECT caliber_trajectory_delete('{root}')");
    // The deletion waits for a child that is being made, and takes it along.
    contend(&mut t, &child, ("BEGIN", &delete), "COMMIT").unwrap();
    assert!(t.db.rows_of("caliber_trajectory").is_empty());
    let mut t = Tree::new("concurrency");
    let root = t.trajectory;
    let child =
        format!("SELECT caliber_trajectory_create('child', parent_trajectory_id => '{root}')");
    let delete = format!("SELECT caliber_trajectory_delete('{root}')");
    let outcome = contend(&mut t, &delete, ("BEGIN", &child), "COMMIT");
    assert_eq!(outcome, Err("23503".to_owned()));
    assert!(t.db.rows_of("caliber_trajectory").is_empty());
}

#[test]
fn a_waiting_call_can_be_given_up() {
    let mut t = Tree::new("concurrency");
    for mutation in mutations(&t) {
        let before = (t.trajectory_row(), t.scope_row());
        let mut holding = t.connect();
        holding.run("BEGIN; SELECT 1 FROM caliber_trajectory FOR UPDATE; SELECT 1 FROM caliber_scope FOR UPDATE");
        let mut waiting = t.connect();
        waiting.refused(&format!("SET lock_timeout = '1ms'; {mutation}"), "55P03");
        waiting.run("SET lock_timeout = 0");
        let pid = waiting.pid();
        thread::scope(|scope| {
            let outcome = scope.spawn(|| {
                let outcome = waiting.attempt(&mutation).map_err(|e| sqlstate(&e, &mutation));
                assert_eq!(waiting.one::<i32>("SELECT 1"), 1, "the connection goes on working");
                outcome
            });
            t.db.wait_until_blocked(pid);
            t.db.run(&format!("SELECT pg_cancel_backend({pid})"));
            assert_eq!(outcome.join().unwrap(), Err("57014".to_owned()), "{mutation}");
        });
        holding.run("ROLLBACK");
        assert_eq!((t.trajectory_row(), t.scope_row()), before);
    }
}

/// Two inserts of one key may both be under way before either sees the other: the one that comes
/// second takes its row back.
#[test]
fn the_loser_of_an_insert_on_conflict_leaves_no_row() {
    let mut t = Tree::new("speculative");
    t.db.run("CREATE TABLE keyed (n int PRIMARY KEY, by int) USING caliber_am");
    for round in 0..20 {
        at_once(&t, |number, db| {
            let action = if number % 2 == 0 { "NOTHING" } else { "UPDATE SET by = excluded.by" };
            db.run(&format!(
                "INSERT INTO keyed SELECT {round} * 1000 + n, {number} FROM generate_series(1, 300) n
                 ON CONFLICT (n) DO {action}"
            ));
        });
    }
    let counts: String = t.db.one("SELECT concat_ws(' ', count(*), count(DISTINCT n)) FROM keyed");
    assert_eq!(counts, "6000 6000");
}
