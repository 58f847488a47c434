//! Many agents on connections of their own: no lease has two holders, no message gets lost or is
//! taken twice, of many that accept one wins, and who lost a lease does not write.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use caliber_tests::agents::{acquire, agent, at_once, delegator, micros, receive, sqlstate};
use caliber_tests::{Db, Tree, show};
use serde_json::{Value, json};
use uuid::Uuid;

fn connections(t: &Tree, count: usize) -> Vec<Db> {
    (0..count).map(|_| t.connect()).collect()
}

fn agents(t: &mut Tree, agent_type: &str, count: usize) -> Vec<Uuid> {
    (0..count).map(|_| agent(&mut t.db, agent_type)).collect()
}

/// One time that an agent held the lease, by the database's clock, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Held {
    agent: Uuid,
    fence: i64,
    from: i64,
    /// When it was given back, or was over.
    until: i64,
}

/// Takes the lease on `resource`, and waits for it; the lock's id and the time held so far.
#[track_caller]
fn take(db: &mut Db, agent: Uuid, resource: &str, ttl: &str) -> (Uuid, Held) {
    let sql = format!(
        "SELECT lock_id, fence, {}, {}
         FROM caliber_lock_acquire('{agent}', {resource}, '{ttl}', wait => '2 minutes')
         WHERE lock_id IS NOT NULL",
        micros("acquired_at"),
        micros("expires_at")
    );
    let rows = db.query(&sql, &[]).unwrap_or_else(|error| panic!("{}", show(&error, &sql)));
    assert_eq!(rows.len(), 1, "nobody let go of the lease");
    let [fence, from, until] = [1, 2, 3].map(|i| rows[0].get(i));
    (rows[0].get(0), Held { agent, fence, from, until })
}

/// In the order of their fences, each holder came after the one before had let go.
#[track_caller]
fn one_after_the_other(mut history: Vec<Held>) {
    history.sort_by_key(|held| held.fence);
    for pair in history.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        assert!(first.fence < second.fence, "one fence twice: {first:?} {second:?}");
        assert!(first.from < second.from, "fences rise with time: {first:?} {second:?}");
        // The same agent again: its former lease ended then.
        let let_go = first.until <= second.from || first.agent == second.agent;
        assert!(let_go, "two holders at once: {first:?} {second:?}");
    }
}

#[test]
fn a_lease_has_one_holder_through_crashes_and_expiry() {
    const AGENTS: usize = 16;
    const ROUNDS: usize = 20;
    let mut t = Tree::new("coordination");
    let agents = agents(&mut t, "worker", AGENTS);
    let resource = format!("'trajectory', '{}'", t.trajectory);
    let history = Mutex::new(Vec::new());
    let mut all = connections(&t, AGENTS);
    let schema = t.schema();
    at_once(&mut all, |number, db| {
        let agent = agents[number];
        for round in 0..ROUNDS {
            let crash = (number + round) % 5;
            let ttl = if crash < 3 { "15 milliseconds" } else { "1 minute" };
            if crash == 2 {
                // Gone before the commit: this lease never was.
                db.run("BEGIN");
            }
            let (lock, mut held) = take(db, agent, &resource, ttl);
            match crash {
                // The connection is closed, or killed: the lease runs out.
                0 => *db = schema.connect(),
                1 => {
                    let sql = "SELECT pg_terminate_backend(pg_backend_pid())";
                    let error = db.attempt(sql).expect_err("the backend survives");
                    assert!(error.is_closed() || sqlstate(&error, sql) == "57P01", "{error}");
                    *db = schema.connect();
                }
                2 => {
                    *db = schema.connect();
                    continue;
                }
                _ => {
                    held.until = db.one(&format!("SELECT {}", micros("clock_timestamp()")));
                    let sql = format!("SELECT caliber_lock_release('{lock}', {})", held.fence);
                    assert!(db.one::<bool>(&sql), "it was still held");
                }
            }
            history.lock().unwrap().push(held);
        }
    });
    let history = history.into_inner().unwrap();
    assert!(history.len() > AGENTS * ROUNDS / 2);
    one_after_the_other(history);
}

#[test]
fn shared_leases_never_meet_an_exclusive_one() {
    const AGENTS: usize = 8;
    let mut t = Tree::new("coordination");
    let agents = agents(&mut t, "worker", AGENTS);
    let resource = format!("'trajectory', '{}'", t.trajectory);
    let mut all = connections(&t, AGENTS);
    let histories = at_once(&mut all, |number, db| {
        let mut history = Vec::new();
        for round in 0..30 {
            let mode = if (number + round) % 3 == 0 { "exclusive" } else { "shared" };
            let row = acquire(
                db,
                agents[number],
                &resource,
                &format!("'1 minute', '{mode}', '2 minutes'"),
            );
            let (lock, fence) = (row["lock_id"].as_str().unwrap(), row["fence"].as_i64().unwrap());
            let from: i64 = db
                .one(&format!("SELECT {} FROM caliber_lock_get('{lock}')", micros("acquired_at")));
            let until: i64 = db.one(&format!("SELECT {}", micros("clock_timestamp()")));
            db.run(&format!("SELECT caliber_lock_release('{lock}', {fence})"));
            history.push((mode, from, until));
        }
        history
    });
    let history: Vec<_> = histories.concat();
    for (at, (mode, from, until)) in history.iter().enumerate() {
        if *mode == "exclusive" {
            let mut others = history.iter().enumerate().filter(|(other, _)| *other != at);
            let met = others.find(|(_, (_, begin, end))| begin < until && from < end);
            assert_eq!(met, None, "meets {from}..{until}");
        }
    }
}

/// Agents write as long as they can, also when their leases are long over.
#[test]
fn a_stale_fence_never_writes() {
    const AGENTS: usize = 8;
    let mut t = Tree::new("coordination");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let agents = agents(&mut t, "worker", AGENTS);
    let resource = format!("'trajectory', '{trajectory}'");
    let refusals = AtomicUsize::new(0);
    let mut all = connections(&t, AGENTS);
    let fences = at_once(&mut all, |number, db| {
        let mut fences = Vec::new();
        for round in 0..12 {
            let ttl = format!("{} milliseconds", 1 + (number * 7 + round) % 20);
            let (_, held) = take(db, agents[number], &resource, &ttl);
            let fence = held.fence;
            fences.push(fence);
            for attempt in 0..15 {
                let sql = if attempt % 5 == 4 {
                    format!(
                        "SELECT caliber_trajectory_update('{trajectory}', '{{\"name\": \"{fence}\"}}', fence => {fence})"
                    )
                } else {
                    format!(
                        "SELECT caliber_turn_create('{scope}', 'user', '{fence}', 1, fence => {fence})"
                    )
                };
                if let Err(error) = db.attempt(&sql) {
                    // Another agent wrote, or the lease was over before the first write.
                    assert_eq!(sqlstate(&error, &sql), "55006", "{}", show(&error, &sql));
                    refusals.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
        fences
    });
    assert!(refusals.into_inner() > 0, "nobody was refused");
    // In the order in which they were stored, no turn is of an older lease than one before.
    let written: Vec<i64> = t.db.all("SELECT content::int8 FROM caliber_turn ORDER BY sequence");
    assert!(written.is_sorted(), "{written:?}");
    assert!(!written.is_empty());
    let highest = t.trajectory_row()["fence"].as_i64().unwrap();
    assert_eq!(written.last(), Some(&highest));
    for fence in fences.concat().into_iter().filter(|&fence| fence != highest) {
        let sql =
            format!("SELECT caliber_turn_create('{scope}', 'user', 'late', fence => {fence})");
        t.refused(&sql, "55006");
    }
}

/// Sends so many messages, in statements of 2,500.
fn send_many(t: &mut Tree, from: Uuid, count: i32, receiver: &str) {
    t.db.run("SET caliber.notify = off");
    for first in (0..count).step_by(2_500) {
        let last = count.min(first + 2_500) - 1;
        t.db.run(&format!(
            "SELECT count(caliber_message_send('{from}', 'job', to_jsonb(n), {receiver},
                priority => (enum_range(NULL::caliber_message_priority))[1 + n % 4]))
             FROM generate_series({first}, {last}) n"
        ));
    }
    t.db.run("RESET caliber.notify");
}

fn ids(rows: &[Value]) -> Vec<Uuid> {
    rows.iter().map(|row| row["message_id"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn sixteen_receivers_drain_a_queue_and_take_nothing_twice() {
    const AGENTS: usize = 16;
    const MESSAGES: i32 = 10_000;
    let mut t = Tree::new("coordination");
    let boss = agent(&mut t.db, "boss");
    let agents = agents(&mut t, "worker", AGENTS);
    send_many(&mut t, boss, MESSAGES - 500, "to_agent_type => 'worker'");
    send_many(&mut t, boss, 500, &format!("to_agent_id => '{}'", agents[3]));
    let mut all = connections(&t, AGENTS);
    let schema = t.schema();
    let taken = at_once(&mut all, |number, db| {
        let agent = agents[number];
        let mut taken = Vec::new();
        for turn in 0.. {
            let given_up = turn % 8 == 7;
            if given_up {
                db.run("BEGIN");
            }
            let ids = ids(&receive(db, agent, "40, '1 hour'"));
            if given_up {
                // It crashes before the commit: others take these.
                *db = schema.connect();
                continue;
            }
            if ids.is_empty() {
                // What somebody holds who will crash is still pending.
                let left = "SELECT EXISTS (SELECT FROM caliber_message
                    WHERE status = 'pending' AND to_agent_type IS NOT NULL)";
                if !db.one::<bool>(left) {
                    break;
                }
            }
            for id in &ids {
                db.run(&format!("SELECT caliber_message_acknowledge('{id}', '{agent}', 1)"));
            }
            taken.extend(ids);
        }
        taken
    });
    let workers = taken.iter().filter(|taken| !taken.is_empty()).count();
    assert!(workers > 1, "one did it all");
    let taken = taken.concat();
    assert_eq!(taken.len(), MESSAGES as usize);
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), taken.len(), "one was taken twice");
    let done: i64 = t.db.one(
        "SELECT count(*) FROM caliber_message
         WHERE status = 'acknowledged' AND delivery_count = 1 AND acknowledged_at IS NOT NULL",
    );
    assert_eq!(done, i64::from(MESSAGES));
}

#[test]
fn a_message_is_delivered_again_only_after_its_visibility() {
    const AGENTS: usize = 8;
    const MESSAGES: i32 = 120;
    let mut t = Tree::new("coordination");
    let boss = agent(&mut t.db, "boss");
    let agents = agents(&mut t, "worker", AGENTS);
    send_many(&mut t, boss, MESSAGES, "to_agent_type => 'worker', max_deliveries => 1000");
    let deliveries = Mutex::new(BTreeMap::<Uuid, Vec<(i32, i64, i64)>>::new());
    let acknowledged = AtomicUsize::new(0);
    let mut all = connections(&t, AGENTS);
    at_once(&mut all, |number, db| {
        let agent = agents[number];
        let receive = format!(
            "SELECT message_id, delivery_count, {}, {}
             FROM caliber_message_receive('{agent}', 3, '60 milliseconds')",
            micros("delivered_at"),
            micros("visible_at")
        );
        while db.one("SELECT EXISTS (SELECT FROM caliber_message WHERE status <> 'acknowledged')") {
            let rows = db.query(&receive, &[]).unwrap_or_else(|e| panic!("{}", show(&e, &receive)));
            for row in rows {
                let (id, receipt): (Uuid, i32) = (row.get(0), row.get(1));
                let times = (receipt, row.get(2), row.get(3));
                deliveries.lock().unwrap().entry(id).or_default().push(times);
                // The first delivery of each is abandoned.
                if receipt > 1 {
                    let sql =
                        format!("SELECT caliber_message_acknowledge('{id}', '{agent}', {receipt})");
                    match db.attempt(&sql) {
                        Ok(()) => drop(acknowledged.fetch_add(1, Ordering::Relaxed)),
                        // Too late: somebody else has it by now.
                        Err(error) => assert_eq!(sqlstate(&error, &sql), "55006"),
                    }
                }
            }
        }
    });
    assert_eq!(acknowledged.into_inner(), MESSAGES as usize, "each once");
    let deliveries = deliveries.into_inner().unwrap();
    assert_eq!(deliveries.len(), MESSAGES as usize);
    for (id, mut of_one) in deliveries {
        of_one.sort_unstable();
        let receipts: Vec<i32> = of_one.iter().map(|(receipt, ..)| *receipt).collect();
        assert_eq!(receipts, (1..=receipts.len() as i32).collect::<Vec<_>>(), "{id}");
        for pair in of_one.windows(2) {
            assert!(pair[0].2 <= pair[1].1, "{id} was delivered while it was held: {pair:?}");
        }
    }
}

/// All agents act at once, each by its call: the index of the one that succeeded.
#[track_caller]
fn one_winner(all: &mut [Db], call: impl Fn(usize) -> String + Sync) -> usize {
    let outcomes = at_once(all, |number, db| {
        let sql = format!("SELECT {}", call(number));
        match db.attempt(&sql) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(sqlstate(&error, &sql), "55000", "{}", show(&error, &sql));
                false
            }
        }
    });
    let winners: Vec<usize> = (0..outcomes.len()).filter(|&i| outcomes[i]).collect();
    assert_eq!(winners.len(), 1, "winners: {winners:?}");
    winners[0]
}

#[test]
fn of_many_that_accept_a_delegation_one_wins() {
    const AGENTS: usize = 8;
    let mut t = Tree::new("coordination");
    let parent = t.trajectory;
    let boss = delegator(&mut t.db, "boss", "{coder}");
    let agents = agents(&mut t, "coder", AGENTS);
    let mut all = connections(&t, AGENTS);
    let rounds = 40;
    for _ in 0..rounds {
        let id: Uuid = t.db.one(&format!(
            "SELECT caliber_delegation_create('{boss}', 't', '{parent}', delegatee_agent_type => 'coder')"
        ));
        let winner = one_winner(&mut all, |number| {
            format!("caliber_delegation_accept('{id}', '{}')", agents[number])
        });
        let row = t.db.json(&format!("caliber_delegation_get('{id}')"));
        assert_eq!(row["delegatee_agent_id"], json!(agents[winner].to_string()));
        assert_eq!((&row["status"], &row["version"]), (&json!("accepted"), &json!(2)));
        let owner: Uuid = t.db.one(&format!(
            "SELECT agent_id FROM caliber_trajectory_get('{}')",
            row["child_trajectory_id"].as_str().unwrap()
        ));
        assert_eq!(owner, agents[winner]);
    }
    // The others left no children.
    let children: i64 = t.db.one(&format!(
        "SELECT count(*) FROM caliber_trajectory WHERE parent_trajectory_id = '{parent}'"
    ));
    assert_eq!(children, rounds);
}

#[test]
fn a_delegation_is_accepted_or_rejected_or_given_up() {
    const AGENTS: usize = 6;
    let mut t = Tree::new("coordination");
    let parent = t.trajectory;
    let boss = delegator(&mut t.db, "boss", "{coder}");
    let agents = agents(&mut t, "coder", AGENTS);
    let mut all = connections(&t, AGENTS + 1);
    for _ in 0..25 {
        let id: Uuid = t.db.one(&format!(
            "SELECT caliber_delegation_create('{boss}', 't', '{parent}', delegatee_agent_type => 'coder')"
        ));
        // The boss gives it up while it is pending, or after it was accepted.
        let outcomes = at_once(&mut all, |number, db| {
            let call = match agents.get(number) {
                None => format!("fail('{id}', '{boss}')"),
                Some(agent) if number % 2 == 0 => format!("accept('{id}', '{agent}')"),
                Some(agent) => format!("reject('{id}', '{agent}')"),
            };
            let sql = format!("SELECT caliber_delegation_{call}");
            match db.attempt(&sql) {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(sqlstate(&error, &sql), "55000", "{}", show(&error, &sql));
                    false
                }
            }
        });
        let row = t.db.json(&format!("caliber_delegation_get('{id}')"));
        let taken = outcomes[..AGENTS].iter().filter(|&&won| won).count();
        let given_up = outcomes[AGENTS];
        assert!(taken <= 1 && (taken == 1 || given_up), "{outcomes:?}");
        let expected = match outcomes.iter().position(|&won| won) {
            _ if given_up => "failed",
            Some(winner) if winner % 2 == 0 => "accepted",
            _ => "rejected",
        };
        assert_eq!(row["status"], json!(expected), "{outcomes:?}");
    }
}

#[test]
fn of_many_that_accept_a_handoff_one_wins() {
    const AGENTS: usize = 8;
    let mut t = Tree::new("coordination");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let former = agent(&mut t.db, "planner");
    let agents = agents(&mut t, "coder", AGENTS);
    let mut all = connections(&t, AGENTS);
    let mut fence = 0;
    for _ in 0..40 {
        let id: Uuid = t.db.one(&format!(
            "SELECT caliber_handoff_create('{former}', '{trajectory}', '{scope}', 'timeout', to_agent_type => 'coder')"
        ));
        let winner = one_winner(&mut all, |number| {
            format!("caliber_handoff_accept('{id}', '{}')", agents[number])
        });
        let row = t.db.json(&format!("caliber_handoff_get('{id}')"));
        assert_eq!(row["to_agent_id"], json!(agents[winner].to_string()));
        assert_eq!((&row["status"], &row["version"]), (&json!("accepted"), &json!(2)));
        let task = t.trajectory_row();
        assert_eq!(task["agent_id"], json!(agents[winner].to_string()));
        let next = task["fence"].as_i64().unwrap();
        assert!(next > fence);
        fence = next;
    }
}

/// The former agent writes as fast as it can while the task changes hands.
#[test]
fn a_handoff_ends_the_former_agent_s_writes() {
    let mut t = Tree::new("coordination");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let [former, next] = [agent(&mut t.db, "planner"), agent(&mut t.db, "coder")];
    let mut all = connections(&t, 4);
    for round in 0..15 {
        let (_, held) = take(&mut t.db, former, &format!("'trajectory', '{trajectory}'"), "1 hour");
        let id: Uuid = t.db.one(&format!(
            "SELECT caliber_handoff_create('{former}', '{trajectory}', '{scope}', 'timeout', '{next}')"
        ));
        let write = |db: &mut Db, content: &str, fence: i64| {
            let sql = format!(
                "SELECT caliber_turn_create('{scope}', 'user', '{round} {content}', 1, fence => {fence})"
            );
            db.attempt(&sql).map_err(|error| sqlstate(&error, &sql))
        };
        write(&mut t.db, "former", held.fence).unwrap();
        at_once(&mut all, |number, db| {
            if number > 0 {
                while write(db, "former", held.fence)
                    .map_err(|code| assert_eq!(code, "55006"))
                    .is_ok()
                {}
                return;
            }
            let fence: i64 =
                db.one(&format!("SELECT fence FROM caliber_handoff_accept('{id}', '{next}')"));
            for _ in 0..5 {
                write(db, "next", fence).unwrap();
            }
        });
        let late: bool = t.db.one(&format!(
            "SELECT max(sequence) FILTER (WHERE content = '{round} former')
                > min(sequence) FILTER (WHERE content = '{round} next') FROM caliber_turn"
        ));
        assert!(!late, "the former agent wrote after the next one");
    }
}

#[test]
fn in_one_snapshot_two_never_both_hold() {
    const AGENTS: usize = 8;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut t = Tree::new("coordination");
        let agents = agents(&mut t, "worker", AGENTS);
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM caliber_lock");
        let wish = "'1 hour'";
        // The later one's snapshot is older than the first one's lease.
        let resource = format!("'file', '{}'", t.scope);
        let mut late = t.connect();
        late.run(&begin);
        let first = acquire(&mut t.db, agents[0], &resource, wish);
        assert_ne!(first, Value::Null);
        assert_eq!(acquire(&mut late, agents[1], &resource, wish), Value::Null, "{level}");
        late.run("COMMIT");
        // All at once, on a resource that nobody has had, or whose last lease is over.
        let mut all = connections(&t, AGENTS);
        for round in 0..40 {
            let (own, former): (Uuid, Uuid) =
                (t.db.one("SELECT caliber_new_id()"), agents[round % AGENTS]);
            let resource = format!("'file', '{own}'");
            if round % 2 == 0 {
                acquire(&mut t.db, former, &resource, wish);
                t.db.run("UPDATE caliber_lock SET expires_at = '2024-01-01'");
            }
            for db in &mut all {
                db.run(&begin);
            }
            let held = at_once(&mut all, |number, db| {
                let sql = format!(
                    "SELECT to_jsonb(caliber_lock_acquire('{}', {resource}, {wish}))",
                    agents[number]
                );
                let taken = db.try_one::<Option<Value>>(&sql);
                let committed = taken.and_then(|taken| db.attempt("COMMIT").map(|()| taken));
                match committed {
                    Ok(taken) => taken.is_some(),
                    Err(error) => {
                        assert_eq!(sqlstate(&error, &sql), "40001", "{}", show(&error, &sql));
                        db.run("ROLLBACK");
                        false
                    }
                }
            });
            let held = held.iter().filter(|&&held| held).count();
            assert!(held <= 1, "{held} hold one lease: {level}");
            let live: i64 =
                t.db.one(&format!("SELECT count(*) FROM caliber_lock_check({resource})"));
            assert_eq!(live, held as i64, "{level}");
            if level == "REPEATABLE READ" && round % 2 == 1 {
                assert_eq!(held, 1, "a free resource is taken");
            }
        }
    }
}
