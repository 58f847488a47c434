//! Leases: what they store and return, who gets one when, and what a fence is good for.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::thread;
use std::time::{Duration, Instant};

use caliber_tests::agents::{acquire, agent, names, sqlstate};
use caliber_tests::{Db, DbError, Tree, UNKNOWN, lease};
use serde_json::{Value, json};
use uuid::Uuid;

const TABLES: &[&str] = &["caliber_lock", "caliber_agent"];

/// A resource that no other test uses, as arguments.
const FILE: &str = "'file', '00000000-0000-0000-0000-0000000000f1'";

#[track_caller]
fn refused(db: &mut Db, call: &str, sqlstate: &str) -> DbError {
    db.refused_unchanged(&format!("SELECT {call}"), sqlstate, TABLES)
}

/// The lease, with an hour to live.
#[track_caller]
fn hold(db: &mut Db, agent: Uuid, mode: &str) -> Value {
    let row = acquire(db, agent, FILE, &format!("'1 hour', '{mode}'"));
    assert_ne!(row, Value::Null, "the resource is busy");
    row
}

#[track_caller]
fn is_busy(db: &mut Db, agent: Uuid, mode: &str) {
    let before = db.rows_of("caliber_lock");
    assert_eq!(acquire(db, agent, FILE, &format!("'1 hour', '{mode}'")), Value::Null);
    assert_eq!(db.rows_of("caliber_lock"), before);
}

fn id(row: &Value) -> &str {
    row["lock_id"].as_str().unwrap()
}

fn fence(row: &Value) -> i64 {
    row["fence"].as_i64().unwrap()
}

#[track_caller]
fn release(db: &mut Db, row: &Value) -> bool {
    db.one(&format!("SELECT caliber_lock_release('{}', {})", id(row), fence(row)))
}

/// The lease has been over for a while.
#[track_caller]
fn expire(db: &mut Db, row: &Value) {
    db.run(&format!(
        "UPDATE caliber_lock SET expires_at = clock_timestamp() - interval '1 minute'
         WHERE lock_id = '{}'",
        id(row)
    ));
}

/// The fences of the live leases on [`FILE`], and of all.
#[track_caller]
fn fences(db: &mut Db) -> (Vec<i64>, Vec<i64>) {
    (
        db.all(&format!("SELECT fence FROM caliber_lock_check({FILE})")),
        db.all(&format!("SELECT fence FROM caliber_lock_list_by_resource({FILE})")),
    )
}

#[track_caller]
fn advisory_locks(db: &mut Db) -> i64 {
    db.one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
}

#[test]
fn acquire_stores_and_returns_a_lease() {
    let db = &mut Tree::new("lock").db;
    let holder = agent(db, "worker");
    db.run("BEGIN");
    let row = db.json(&format!(
        "caliber_lock_acquire(agent_id => '{holder}', resource_type => 'Dätei',
            resource_id => '{UNKNOWN}', ttl => '90 minutes', mode => 'shared', wait => '1 second')"
    ));
    let now = db.json("transaction_timestamp()");
    assert_eq!(
        row,
        json!({
            "lock_id": row["lock_id"], "resource_type": "Dätei", "resource_id": UNKNOWN,
            "holder_agent_id": holder.to_string(), "mode": "shared", "fence": row["fence"],
            "acquired_at": row["acquired_at"], "expires_at": row["expires_at"],
            "metadata": null, "created_at": now, "updated_at": now, "version": 1,
        })
    );
    assert!(fence(&row) > 0);
    assert_eq!(Uuid::parse_str(id(&row)).unwrap().get_version_num(), 7);
    let by_the_clock: bool = db.one(&format!(
        "SELECT acquired_at BETWEEN transaction_timestamp() AND clock_timestamp()
            AND expires_at = acquired_at + interval '90 minutes'
         FROM caliber_lock_get('{}')",
        id(&row)
    ));
    assert!(by_the_clock, "{row}");
    db.run("COMMIT");
    assert_eq!(db.json(&format!("caliber_lock_get('{}')", id(&row))), row);
    let plain = acquire(db, holder, FILE, "'1 hour'");
    assert_eq!(plain["mode"], json!("exclusive"));
    assert!(fence(&plain) > fence(&row), "fences rise over all resources");
}

#[test]
fn bad_arguments_are_refused() {
    let db = &mut Tree::new("lock").db;
    let a = agent(db, "worker");
    let row = hold(db, a, "exclusive");
    let (lock, fence) = (id(&row), fence(&row));
    let id = "'00000000-0000-0000-0000-0000000000f2'";
    for (call, sqlstate, named) in [
        (format!("acquire(NULL, 'f', {id}, '1 hour')"), "22023", "agent_id"),
        (format!("acquire('{a}', NULL, {id}, '1 hour')"), "22023", "resource_type"),
        (format!("acquire('{a}', 'f', NULL, '1 hour')"), "22023", "resource_id"),
        (format!("acquire('{a}', 'f', {id}, NULL)"), "22023", "ttl"),
        (format!("acquire('{a}', 'f', {id}, '0')"), "22023", "ttl"),
        (format!("acquire('{a}', 'f', {id}, '-1 hour')"), "22023", "ttl"),
        (format!("acquire('{a}', 'f', {id}, '1 hour', NULL)"), "22023", "mode"),
        (format!("acquire('{a}', 'f', {id}, '1 hour', 'loud')"), "22P02", "loud"),
        (format!("acquire('{a}', 'f', {id}, '1 hour', wait => NULL)"), "22023", "wait"),
        (format!("acquire('{a}', 'f', {id}, '1 hour', wait => '-1 s')"), "22023", "wait"),
        (format!("acquire('{a}', 'f', 'x', '1 hour')"), "22P02", "uuid"),
        (
            format!("acquire('{UNKNOWN}', 'f', {id}, '1 hour')"),
            "23503",
            "caliber_lock_holder_agent_id_fkey",
        ),
        (format!("extend(NULL, {fence}, '1 hour')"), "22023", "lock_id"),
        (format!("extend('{lock}', NULL, '1 hour')"), "22023", "fence"),
        (format!("extend('{lock}', {fence}, NULL)"), "22023", "ttl"),
        (format!("extend('{lock}', {fence}, '0')"), "22023", "ttl"),
        (format!("extend('{lock}', {fence}, '-1 s')"), "22023", "ttl"),
        (format!("extend('{UNKNOWN}', {fence}, '1 hour')"), "P0002", UNKNOWN),
        (format!("release(NULL, {fence})"), "22023", "lock_id"),
        (format!("release('{lock}', NULL)"), "22023", "fence"),
    ] {
        let error = refused(db, &format!("caliber_lock_{call}"), sqlstate);
        names(&error, named);
    }
    for list in ["check", "list_by_resource"] {
        for (arguments, named) in
            [(format!("NULL, {id}"), "resource_type"), ("'f', NULL".to_owned(), "resource_id")]
        {
            let call = format!("(r).lock_id FROM caliber_lock_{list}({arguments}) r");
            names(&refused(db, &call, "22023"), named);
        }
    }
    assert_eq!(fences(db).0, [fence], "the lease still holds");
}

#[test]
fn what_is_not_there_is_null_or_empty() {
    let db = &mut Tree::new("lock").db;
    for id in [format!("'{UNKNOWN}'"), "NULL".to_owned()] {
        assert_eq!(db.json(&format!("caliber_lock_get({id})")), Value::Null);
    }
    assert_eq!(fences(db), (vec![], vec![]));
    assert!(!db.one::<bool>(&format!("SELECT caliber_lock_release('{UNKNOWN}', 1)")));
    assert_eq!(db.one::<i64>("SELECT caliber_lock_reap()"), 0);
}

#[test]
fn an_exclusive_lease_excludes_everybody_else() {
    let db = &mut Tree::new("lock").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    let row = hold(db, a, "exclusive");
    is_busy(db, b, "exclusive");
    is_busy(db, b, "shared");
    // Only on this very resource.
    for other in [
        "'File', '00000000-0000-0000-0000-0000000000f1'",
        "'file', '00000000-0000-0000-0000-0000000000f2'",
        "'', '00000000-0000-0000-0000-0000000000f1'",
    ] {
        assert_ne!(acquire(db, b, other, "'1 hour'"), Value::Null, "{other}");
    }
    assert!(release(db, &row));
    let next = hold(db, b, "exclusive");
    assert!(fence(&next) > fence(&row));
    assert_ne!(id(&next), id(&row));
    is_busy(db, a, "exclusive");
}

#[test]
fn shared_leases_coexist_and_exclude_exclusive_ones() {
    let db = &mut Tree::new("lock").db;
    let [a, b, c] = [agent(db, "worker"), agent(db, "worker"), agent(db, "worker")];
    let (of_a, of_b) = (hold(db, a, "shared"), hold(db, b, "shared"));
    assert_eq!(fences(db).0, [fence(&of_a), fence(&of_b)]);
    is_busy(db, c, "exclusive");
    // An agent that shares with others cannot have it for itself, and keeps what it has.
    is_busy(db, a, "exclusive");
    assert!(release(db, &of_b));
    is_busy(db, c, "exclusive");
    let alone = hold(db, a, "exclusive");
    assert!(fence(&alone) > fence(&of_b));
    assert_eq!(fences(db), (vec![fence(&alone)], vec![fence(&alone)]), "the shared one is gone");
    is_busy(db, b, "shared");
    let shared = hold(db, a, "shared");
    assert_eq!(fences(db).1, [fence(&shared)]);
    hold(db, b, "shared");
}

#[test]
fn the_same_agent_gets_a_new_fence() {
    let db = &mut Tree::new("lock").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    let zombie = hold(db, a, "exclusive");
    let restarted = acquire(db, a, FILE, "'2 hours'");
    assert_eq!(id(&restarted), id(&zombie));
    assert!(fence(&restarted) > fence(&zombie));
    assert_eq!(restarted["version"], json!(2));
    assert_eq!(restarted["created_at"], zombie["created_at"]);
    assert_ne!(restarted["acquired_at"], zombie["acquired_at"]);
    assert_eq!(fences(db).1, [fence(&restarted)]);
    // What it was before its restart can do nothing with the lease.
    let lock = id(&zombie);
    for call in [
        format!("caliber_lock_extend('{lock}', {}, '1 day')", fence(&zombie)),
        format!("caliber_lock_release('{lock}', {})", fence(&zombie)),
    ] {
        let error = refused(db, &call, "55006");
        names(&error, &format!("fence {} is stale", fence(&zombie)));
        assert!(error.detail().unwrap().contains(&fence(&restarted).to_string()), "{error:?}");
    }
    is_busy(db, b, "exclusive");
    // Also when the lease is over.
    expire(db, &restarted);
    let again = hold(db, a, "exclusive");
    assert!(fence(&again) > fence(&restarted));
    assert_eq!(fences(db).0, [fence(&again)]);
}

#[test]
fn extend_moves_the_end_and_keeps_the_fence() {
    let db = &mut Tree::new("lock").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    let row = hold(db, a, "exclusive");
    let (lock, held) = (id(&row).to_owned(), fence(&row));
    for ttl in ["3 hours", "10 minutes"] {
        db.run("BEGIN");
        let before = db.json("clock_timestamp()");
        let extended = db.json(&format!("caliber_lock_extend('{lock}', {held}, '{ttl}')"));
        let in_time: bool = db.one(&format!(
            "SELECT expires_at BETWEEN timestamptz {before} + interval '{ttl}'
                AND clock_timestamp() + interval '{ttl}' FROM caliber_lock_get('{lock}')",
            before = caliber_tests::lit(before.as_str().unwrap())
        ));
        assert!(in_time, "{extended}");
        db.run("COMMIT");
        let mut unchanged = extended.clone();
        for column in ["expires_at", "updated_at", "version"] {
            unchanged[column] = row[column].clone();
        }
        assert_eq!(unchanged, row);
        assert_eq!(db.json(&format!("caliber_lock_get('{lock}')")), extended);
    }
    for wrong in [held - 1, held + 1, 0] {
        let call = format!("caliber_lock_extend('{lock}', {wrong}, '1 day')");
        let error = refused(db, &call, "55006");
        names(&error, &format!("fence {wrong} is stale"));
        assert!(error.detail().unwrap().contains(&held.to_string()), "{error:?}");
    }
    expire(db, &row);
    let error = refused(db, &format!("caliber_lock_extend('{lock}', {held}, '1 day')"), "55006");
    names(&error, "is over");
    hold(db, b, "exclusive");
    let sql = format!("SELECT caliber_lock_extend('{lock}', {held}, '1 day')");
    let code = sqlstate(&db.attempt(&sql).expect_err("another agent holds it"), &sql);
    assert!(["55006", "P0002"].contains(&&*code), "{code}");
}

#[test]
fn only_the_current_fence_releases() {
    let db = &mut Tree::new("lock").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    let row = hold(db, a, "exclusive");
    for wrong in [fence(&row) - 1, fence(&row) + 1] {
        let call = format!("caliber_lock_release('{}', {wrong})", id(&row));
        names(&refused(db, &call, "55006"), &format!("fence {wrong} is stale"));
    }
    is_busy(db, b, "exclusive");
    assert!(release(db, &row));
    assert!(!release(db, &row), "it is gone");
    assert_eq!(fences(db).1, [0; 0]);
    // A lease that is over can be given back, too.
    let row = hold(db, b, "shared");
    expire(db, &row);
    assert!(release(db, &row));
    assert!(db.rows_of("caliber_lock").is_empty());
}

#[test]
fn an_expired_lease_frees_the_resource_by_itself() {
    let db = &mut Tree::new("lock").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    let short = acquire(db, a, FILE, "'200 milliseconds'");
    assert_ne!(short, Value::Null);
    db.wait_until(&format!("NOT EXISTS (SELECT FROM caliber_lock_check({FILE}))"));
    assert_eq!(fences(db), (vec![], vec![fence(&short)]), "it is over, but not removed");
    let next = hold(db, b, "exclusive");
    assert!(fence(&next) > fence(&short));
    assert_eq!(fences(db).0, [fence(&next)]);
    is_busy(db, a, "shared");
}

#[test]
fn a_lease_outlives_the_connection_that_took_it() {
    let mut t = Tree::new("lock");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    let mut short_lived = t.connect();
    let row = hold(&mut short_lived, a, "exclusive");
    drop(short_lived);
    is_busy(&mut t.db, b, "exclusive");
    assert!(release(&mut t.db, &row), "any connection may give it back");
}

#[test]
fn a_transaction_that_ends_without_commit_leaves_no_lease() {
    let mut t = Tree::new("lock");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    for end in ["ROLLBACK", "terminate"] {
        let mut holding = t.connect();
        let pid = holding.pid();
        holding.run("BEGIN");
        hold(&mut holding, a, "exclusive");
        is_busy(&mut t.db, b, "exclusive");
        if end == "terminate" {
            t.db.run(&format!("SELECT pg_terminate_backend({pid}, 60000)"));
        } else {
            holding.run(end);
        }
        let row = hold(&mut t.db, b, "exclusive");
        assert!(release(&mut t.db, &row));
    }
    // Back to a savepoint.
    let mut holding = t.connect();
    holding.run("BEGIN; SAVEPOINT s");
    hold(&mut holding, a, "exclusive");
    holding.run("ROLLBACK TO s");
    hold(&mut t.db, b, "exclusive");
    holding.run("COMMIT");
}

#[test]
fn a_busy_resource_leaves_no_lock_behind() {
    let db = &mut Tree::new("lock").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    let row = hold(db, a, "exclusive");
    db.run("BEGIN");
    assert_eq!(acquire(db, b, FILE, "'1 hour', wait => '5 milliseconds'"), Value::Null);
    assert_eq!(advisory_locks(db), 0);
    assert!(release(db, &row));
    hold(db, b, "exclusive");
    assert_eq!(advisory_locks(db), 1, "until the transaction ends");
    // The key space is not that of SQL's own functions.
    let own: bool = db.one(
        "SELECT objsubid NOT IN (1, 2) FROM pg_locks
         WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    );
    assert!(own);
    db.run("COMMIT");
    assert_eq!(advisory_locks(db), 0);
}

#[test]
fn a_wait_that_is_too_short_ends_with_null() {
    let db = &mut Tree::new("lock").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    hold(db, a, "exclusive");
    let started = Instant::now();
    assert_eq!(acquire(db, b, FILE, "'1 hour', wait => '150 milliseconds'"), Value::Null);
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert_eq!(acquire(db, b, FILE, "'1 hour', wait => '0'"), Value::Null);
}

#[test]
fn a_wait_ends_when_the_lease_is_released_or_over() {
    let mut t = Tree::new("lock");
    let [a, b, c] = ["worker"; 3].map(|of_type| agent(&mut t.db, of_type));
    for (ttl, mode) in
        [("1 hour", "exclusive"), ("400 milliseconds", "exclusive"), ("1 hour", "shared")]
    {
        let held = acquire(&mut t.db, a, FILE, &format!("'{ttl}', '{mode}'"));
        let mut waiting = t.connect();
        let pid = waiting.pid();
        let taken = thread::scope(|scope| {
            let taken =
                scope.spawn(|| acquire(&mut waiting, b, FILE, "'1 hour', wait => '10 minutes'"));
            if ttl == "1 hour" {
                t.db.wait_until(&format!(
                    "EXISTS (SELECT FROM pg_stat_activity
                     WHERE pid = {pid} AND state = 'active' AND wait_event_type = 'Extension')"
                ));
                if mode == "shared" {
                    // Who waits for the whole does not keep others from a share.
                    let mut third = t.connect();
                    let share = hold(&mut third, c, "shared");
                    assert!(release(&mut third, &share));
                }
                assert!(release(&mut t.db, &held));
            }
            taken.join().unwrap()
        });
        assert_ne!(taken, Value::Null);
        assert!(fence(&taken) > fence(&held));
        assert!(release(&mut t.db, &taken));
    }
}

#[test]
fn a_wait_can_be_cancelled() {
    let mut t = Tree::new("lock");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    let held = hold(&mut t.db, a, "exclusive");
    let mut waiting = t.connect();
    let pid = waiting.pid();
    thread::scope(|scope| {
        let outcome = scope.spawn(|| {
            let sql = format!("SELECT caliber_lock_acquire('{b}', {FILE}, '1 h', wait => '1 h')");
            let outcome = waiting.attempt(&sql).map_err(|error| sqlstate(&error, &sql));
            assert_eq!(advisory_locks(&mut waiting), 0);
            outcome
        });
        t.db.wait_until(&format!(
            "EXISTS (SELECT FROM pg_stat_activity
             WHERE pid = {pid} AND state = 'active' AND wait_event_type = 'Extension')"
        ));
        t.db.run(&format!("SELECT pg_cancel_backend({pid})"));
        assert_eq!(outcome.join().unwrap(), Err("57014".to_owned()));
    });
    assert_eq!(fences(&mut t.db).0, [fence(&held)]);
}

#[test]
fn reap_removes_the_expired_ones() {
    let db = &mut Tree::new("lock").db;
    let agents: Vec<Uuid> = (0..4).map(|_| agent(db, "worker")).collect();
    let rows: Vec<Value> = agents.iter().map(|&a| hold(db, a, "shared")).collect();
    for row in &rows[..3] {
        expire(db, row);
    }
    let all: Vec<i64> = rows.iter().map(fence).collect();
    assert_eq!(fences(db), (vec![all[3]], all.clone()), "by rising fence");
    assert_eq!(db.json(&format!("caliber_lock_get('{}')", id(&rows[0])))["fence"], json!(all[0]));
    assert_eq!(db.one::<i64>("SELECT caliber_lock_reap()"), 3);
    assert_eq!(fences(db), (vec![all[3]], vec![all[3]]));
    assert_eq!(db.one::<i64>("SELECT caliber_lock_reap()"), 0);
}

#[test]
fn a_removed_agent_holds_nothing() {
    let db = &mut Tree::new("lock").db;
    let [a, b] = [agent(db, "worker"), agent(db, "worker")];
    hold(db, a, "exclusive");
    db.run(&format!("DELETE FROM caliber_agent WHERE agent_id = '{a}'"));
    hold(db, b, "exclusive");
}

/// Every fenced write, with this fence (`NULL` for none).
fn fenced_writes(t: &Tree, fence: &str) -> Vec<String> {
    let (trajectory, scope) = (t.trajectory, t.scope);
    [
        format!("trajectory_update('{trajectory}', '{{\"name\": \"x\"}}', fence => @)"),
        format!("trajectory_set_status('{trajectory}', 'suspended', fence => @)"),
        format!("trajectory_delete('{trajectory}', fence => @)"),
        format!("scope_create('{trajectory}', 'n', 5, fence => @)"),
        format!("scope_update('{scope}', '{{\"name\": \"x\"}}', fence => @)"),
        format!("scope_update_tokens('{scope}', 900, fence => @)"),
        format!("scope_close('{scope}', fence => @)"),
        format!("turn_create('{scope}', 'user', 'x', fence => @)"),
        format!("turn_append_many('{scope}', '[{{\"role\": \"user\"}}]', fence => @)"),
    ]
    .map(|call| format!("SELECT caliber_{}", call.replace('@', fence)))
    .to_vec()
}

/// All writes with this fence are refused, whatever the word says of it, and change nothing.
#[track_caller]
fn all_refused(t: &mut Tree, fence: Option<i64>, word: &str, current: i64) {
    let fence = fence.map_or("NULL".to_owned(), |fence| fence.to_string());
    for sql in fenced_writes(t, &fence) {
        let error = t.refused(&sql, "55006");
        names(&error, word);
        assert!(error.detail().unwrap().contains(&current.to_string()), "{error:?}: {sql}");
    }
}

#[track_caller]
fn write(t: &mut Tree, fence: i64, content: &str) {
    let (trajectory, scope) = (t.trajectory, t.scope);
    t.db.run(&format!(
        "SELECT caliber_trajectory_update('{trajectory}', '{{\"description\": \"{content}\"}}', fence => {fence});
         SELECT caliber_turn_create('{scope}', 'assistant', '{content}', fence => {fence})"
    ));
    assert_eq!(t.trajectory_row()["description"], json!(content));
}

/// A lease on the trajectory.
#[track_caller]
fn hold_task(t: &mut Tree, agent: Uuid, ttl: &str) -> Value {
    let resource = format!("'trajectory', '{}'", t.trajectory);
    let row = acquire(&mut t.db, agent, &resource, &format!("'{ttl}'"));
    assert_ne!(row, Value::Null);
    row
}

#[test]
fn a_worker_that_lost_its_lease_cannot_write() {
    let mut t = Tree::new("lock");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    let first = hold_task(&mut t, a, "1 hour");
    write(&mut t, fence(&first), "first");
    assert_eq!(t.trajectory_row()["fence"], first["fence"]);
    all_refused(&mut t, None, "fence is missing", fence(&first));
    expire(&mut t.db, &first);
    let second = hold_task(&mut t, b, "1 hour");
    write(&mut t, fence(&second), "second");
    all_refused(&mut t, Some(fence(&first)), "is stale", fence(&second));
    all_refused(&mut t, None, "fence is missing", fence(&second));
    // Nor can the zombie of a worker that came back.
    let restarted = hold_task(&mut t, b, "1 hour");
    write(&mut t, fence(&restarted), "restarted");
    all_refused(&mut t, Some(fence(&second)), "is stale", fence(&restarted));
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn"), 3);
}

#[test]
fn a_new_fence_must_be_that_of_a_live_lease_on_this_resource() {
    let mut t = Tree::new("lock");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    // Of a lease that is over, that was given back, on something else, or of none.
    let over = hold_task(&mut t, a, "1 hour");
    expire(&mut t.db, &over);
    all_refused(&mut t, Some(fence(&over)), "no live lease", 0);
    let given_back = hold_task(&mut t, b, "1 hour");
    assert!(release(&mut t.db, &given_back));
    all_refused(&mut t, Some(fence(&given_back)), "no live lease", 0);
    let elsewhere = hold(&mut t.db, a, "exclusive");
    all_refused(&mut t, Some(fence(&elsewhere)), "no live lease", 0);
    let other: Uuid = t.db.one("SELECT caliber_trajectory_create('other')");
    let elsewhere = lease(&mut t.db, "trajectory", other);
    all_refused(&mut t, Some(elsewhere), "no live lease", 0);
    all_refused(&mut t, Some(elsewhere + 1_000), "no live lease", 0);
    // Of the lease before the restart, once there was one.
    let zombie = hold_task(&mut t, a, "1 hour");
    let restarted = hold_task(&mut t, a, "1 hour");
    all_refused(&mut t, Some(fence(&zombie)), "no live lease", 0);
    write(&mut t, fence(&restarted), "restarted");
    assert_eq!(t.trajectory_row()["fence"], restarted["fence"]);
}

#[test]
fn a_lease_on_a_scope_guards_the_scope_alone() {
    let mut t = Tree::new("lock");
    let [a, b] = [agent(&mut t.db, "worker"), agent(&mut t.db, "worker")];
    let (scope, trajectory) = (t.scope, t.trajectory);
    let resource = format!("'scope', '{scope}'");
    let first = acquire(&mut t.db, a, &resource, "'1 hour'");
    let append = |fence: i64| {
        format!("SELECT caliber_turn_create('{scope}', 'user', 'x', fence => {fence})")
    };
    t.db.run(&append(fence(&first)));
    assert_eq!(t.scope_row()["fence"], first["fence"]);
    assert_eq!(t.trajectory_row()["fence"], json!(0));
    let bare = format!("SELECT caliber_turn_create('{scope}', 'user', 'x')");
    names(&t.refused(&bare, "55006"), "missing");
    t.db.run(&format!(
        "SELECT caliber_trajectory_update('{trajectory}', '{{\"name\": \"free\"}}')"
    ));
    assert!(release(&mut t.db, &first));
    let second = acquire(&mut t.db, b, &resource, "'1 hour'");
    t.db.run(&append(fence(&second)));
    names(&t.refused(&append(fence(&first)), "55006"), "is stale");
    // A later lease on the trajectory is above both.
    let above = hold_task(&mut t, a, "1 hour");
    write(&mut t, fence(&above), "above");
    names(&t.refused(&append(fence(&second)), "55006"), "is stale");
}
