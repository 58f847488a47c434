//! Functions that look something up go through an index, and heartbeats do not bloat one.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use caliber_tests::agents::agent;
use caliber_tests::{Db, Tree, show};
use uuid::Uuid;

/// An old snapshot of one test keeps the versions that another one makes.
static ALONE: Mutex<()> = Mutex::new(());

/// Rows of all kinds, some of which the functions find.
struct Filled {
    t: Tree,
    worker: Uuid,
    resource: Uuid,
}

impl Filled {
    /// Artifacts and notes fill more pages than a search compares one by one.
    fn new() -> Self {
        let mut t = Tree::new("index_use");
        let (trajectory, scope) = (t.trajectory, t.scope);
        let worker = agent(&mut t.db, "worker");
        let boss = agent(&mut t.db, "boss");
        let resource: Uuid = t.db.one("SELECT caliber_new_id()");
        t.db.run(&format!(
            "SELECT count(caliber_agent_register('worker')) FROM generate_series(1, 40);
             SELECT count(caliber_trajectory_create('t', parent_trajectory_id => '{trajectory}'))
             FROM generate_series(1, 40);
             SELECT count(caliber_scope_create('{trajectory}', 's', 10)) FROM generate_series(1, 40);
             SELECT count(caliber_turn_create('{scope}', 'user', 'x')) FROM generate_series(1, 40);
             SELECT count(caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'n', repeat(md5(n::text), 40),
                 (SELECT array_agg(1 + n % i) FROM generate_series(1, 8) i)::real[]::vector))
             FROM generate_series(1, 300) n;
             SELECT count(caliber_note_create('fact', 't', repeat(md5(n::text), 40), ARRAY['{trajectory}'::uuid],
                 embedding => (SELECT array_agg(1 + n % i) FROM generate_series(1, 8) i)::real[]::vector))
             FROM generate_series(1, 300) n;
             SELECT count(caliber_message_send('{boss}', 'm', to_jsonb(n), '{worker}'))
             FROM generate_series(1, 20) n;
             SELECT count(caliber_message_send('{boss}', 'm', to_jsonb(n), to_agent_type => 'worker'))
             FROM generate_series(1, 20) n;
             INSERT INTO caliber_message (from_agent_id, to_agent_id, message_type, payload, status)
             SELECT '{boss}', '{worker}', 'm', '1', 'dead' FROM generate_series(1, 20);
             INSERT INTO caliber_delegation (delegator_agent_id, delegatee_agent_id, delegatee_agent_type,
                 task_description, parent_trajectory_id)
             SELECT '{boss}', CASE n % 2 WHEN 0 THEN '{worker}'::uuid END,
                 CASE n % 2 WHEN 1 THEN 'worker' END, 't', '{trajectory}' FROM generate_series(1, 40) n;
             INSERT INTO caliber_handoff (from_agent_id, to_agent_id, to_agent_type, trajectory_id, scope_id, reason)
             SELECT '{boss}', CASE n % 2 WHEN 0 THEN '{worker}'::uuid END,
                 CASE n % 2 WHEN 1 THEN 'worker' END, '{trajectory}', '{scope}', 'failure'
             FROM generate_series(1, 40) n;
             INSERT INTO caliber_conflict (conflict_type, item_a_type, item_a_id, item_b_type, item_b_id)
             SELECT 'goal_conflict', 'x', caliber_new_id(), 'y', caliber_new_id()
             FROM generate_series(1, 40);
             SELECT caliber_lock_acquire('{worker}', 'file', '{resource}', '1 hour');
             INSERT INTO caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
             SELECT 'other', caliber_new_id(), '{boss}', 'shared', '2024-01-01'
             FROM generate_series(1, 40)"
        ));
        Self { t, worker, resource }
    }

    /// The key of some row.
    fn some(&mut self, entity: &str, condition: &str) -> Uuid {
        self.t.db.one(&format!(
            "SELECT {entity}_id::uuid FROM caliber_{entity} WHERE {condition} ORDER BY 1 LIMIT 1"
        ))
    }

    /// Entity, the function's name after the entity's, and its arguments.
    fn calls(&mut self) -> Vec<(&'static str, &'static str, String)> {
        const EMBEDDING: &str = "'[1,2,1,1,1,1,1,1]'";
        let (trajectory, scope, worker) = (self.t.trajectory, self.t.scope, self.worker);
        let on_file = format!("'file', '{}'", self.resource);
        let by_agent = format!("'{worker}', NULL, 5");
        let by_type = "NULL, 'worker', 5".to_owned();
        let mut calls = vec![
            ("trajectory", "list_by_status", "'active', 5".to_owned()),
            ("trajectory", "list_children", format!("'{trajectory}', 5")),
            ("scope", "get_current", format!("'{trajectory}'")),
            ("scope", "list_by_trajectory", format!("'{trajectory}', 5")),
            ("turn", "get_by_scope", format!("'{scope}', 10, 5")),
            ("turn", "tail", format!("'{scope}', 5")),
            ("artifact", "query_by_type", format!("'{trajectory}', 'fact', max_rows => 5")),
            ("artifact", "query_by_scope", format!("'{scope}', max_rows => 5")),
            ("artifact", "search", format!("{EMBEDDING}, 3")),
            ("note", "query_by_trajectory", format!("'{trajectory}', max_rows => 5")),
            ("note", "list_by_type", "'fact', max_rows => 5".to_owned()),
            ("note", "search", format!("{EMBEDDING}, 3")),
            ("agent", "list_by_type", "'worker', 5".to_owned()),
            ("agent", "list_active", "'1 hour', 5".to_owned()),
            ("lock", "check", on_file.clone()),
            ("lock", "list_by_resource", on_file.clone()),
            ("lock", "acquire", format!("'{worker}', {on_file}, '1 hour'")),
            ("lock", "reap", String::new()),
            ("message", "list_for_agent", format!("'{worker}', 5")),
            ("message", "receive", format!("'{worker}', 5")),
            ("message", "list_dead", "5".to_owned()),
            ("delegation", "list_pending", by_agent.clone()),
            ("delegation", "list_pending", by_type.clone()),
            ("handoff", "list_pending", by_agent),
            ("handoff", "list_pending", by_type),
            ("conflict", "list_pending", "5".to_owned()),
        ];
        for entity in [
            "trajectory",
            "scope",
            "turn",
            "artifact",
            "note",
            "agent",
            "lock",
            "message",
            "delegation",
            "handoff",
            "conflict",
        ] {
            let id = self.some(entity, "true");
            calls.push((entity, "get", format!("'{id}'")));
            if !matches!(entity, "lock" | "delegation" | "handoff" | "conflict") {
                calls.push((entity, "get_many", format!("ARRAY['{id}']::uuid[]")));
            }
        }
        for (entity, column) in
            [("delegation", "delegatee_agent_type"), ("handoff", "to_agent_type")]
        {
            let id = self.some(entity, &format!("{column} = 'worker'"));
            calls.push((entity, "accept", format!("'{id}', '{worker}'")));
        }
        calls
    }
}

/// Sequential and index scans of a table by this backend.
#[track_caller]
fn scans(db: &mut Db, table: &str) -> (i64, i64) {
    let sql = format!(
        "SELECT seq_scan, idx_scan FROM pg_stat_xact_user_tables WHERE relid = '{table}'::regclass"
    );
    let row = db.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{}", show(&error, &sql)));
    (row.get(0), row.get(1))
}

#[test]
fn every_look_up_uses_an_index() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut filled = Filled::new();
    let calls = filled.calls();
    let db = &mut filled.t.db;
    // Below the index nothing is counted.
    db.run("SET caliber.hint_cache_size = 0");
    for (entity, function, arguments) in &calls {
        let table = format!("caliber_{entity}");
        let sql = format!("SELECT count(r.*) FROM caliber_{entity}_{function}({arguments}) r");
        db.run("BEGIN");
        let before = scans(db, &table);
        let rows: i64 = db.one(&sql);
        let after = scans(db, &table);
        assert!(rows > 0, "finds nothing: {sql}");
        assert_eq!(after.0, before.0, "sequential scans of {table}: {sql}");
        assert!(after.1 > before.1, "no index scan of {table}: {sql}");
        db.run("ROLLBACK");
    }
    // All functions that look something up are among them.
    let called: BTreeSet<String> =
        calls.iter().map(|(entity, function, _)| format!("caliber_{entity}_{function}")).collect();
    let all: BTreeSet<String> = db
        .all(
            "SELECT proname::text FROM pg_proc p
             JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
             JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
             WHERE e.extname = 'caliber-pg' AND proname ~
                 '^caliber_[a-z]+_(get|get_.+|list_.+|query_.+|search|tail|check|receive|acquire|reap|accept)$'",
        )
        .into_iter()
        .collect();
    assert_eq!(called, all);
}

/// What is not there is not looked for in the whole table either.
#[test]
fn an_unknown_key_is_looked_up_in_the_index() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut filled = Filled::new();
    let db = &mut filled.t.db;
    let unknown = format!("'{}'", caliber_tests::UNKNOWN);
    for (entity, function, arguments) in [
        ("trajectory", "get", unknown.clone()),
        ("trajectory", "list_children", unknown.clone()),
        ("scope", "list_by_trajectory", unknown.clone()),
        ("turn", "get_by_scope", unknown.clone()),
        ("artifact", "query_by_type", format!("{unknown}, 'fact'")),
        ("note", "query_by_trajectory", unknown.clone()),
        ("agent", "list_by_type", "'nobody'".to_owned()),
        ("lock", "check", format!("'file', {unknown}")),
        ("delegation", "list_pending", "NULL, 'nobody'".to_owned()),
        ("handoff", "list_pending", "NULL, 'nobody'".to_owned()),
    ] {
        let table = format!("caliber_{entity}");
        db.run("BEGIN");
        let before = scans(db, &table);
        db.run(&format!("SELECT * FROM caliber_{entity}_{function}({arguments})"));
        assert_eq!(scans(db, &table).0, before.0, "{entity}_{function}({arguments})");
        db.run("ROLLBACK");
    }
}

/// Any index serves that has the rows which are looked for, whatever else it leaves out.
#[test]
fn an_index_serves_if_it_leaves_out_no_row_that_is_looked_for() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut t = Tree::new("index_use");
    let worker = agent(&mut t.db, "worker");
    let waiting = "status IN ('pending', 'delivered')";
    let not_null = "to_agent_type IS NOT NULL";
    let receive = format!("SELECT * FROM caliber_message_receive('{worker}', 1, '1 minute')");
    for (predicate, serves) in [
        ("true".to_owned(), true),
        (waiting.to_owned(), true),
        (not_null.to_owned(), true),
        (format!("{not_null} AND {waiting}"), true),
        (format!("{waiting} AND {not_null}"), true),
        ("to_agent_type IS NULL".to_owned(), false),
        ("scope_id IS NOT NULL".to_owned(), false),
        ("status = 'pending'".to_owned(), false),
        (format!("{waiting} AND delivery_count = 0"), false),
        (format!("{not_null} AND {waiting} AND scope_id IS NOT NULL"), false),
    ] {
        t.db.run("BEGIN");
        t.db.run(&format!(
            "SELECT caliber_message_send('{worker}', 'note', '1', to_agent_type => 'worker');
             DROP INDEX caliber_message_type_queue_idx;
             CREATE INDEX ON caliber_message (to_agent_type, priority DESC, visible_at, message_id)
                 WHERE {predicate}"
        ));
        if serves {
            let received: i64 = t.db.one(&format!("SELECT count(*) FROM ({receive}) r"));
            assert_eq!(received, 1, "{predicate}");
        } else {
            let error = t.db.refused(&receive, "42P16");
            assert!(error.message().contains("caliber_message"), "{predicate}: {error}");
        }
        t.db.run("ROLLBACK");
    }
}

#[test]
fn heartbeats_stay_heap_only() {
    const AGENTS: i64 = 1_000;
    const ROUNDS: i64 = 100;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut t = Tree::new("heartbeats");
    let db = &mut t.db;
    db.run(&format!(
        "SELECT count(caliber_agent_register('worker', ARRAY['a', 'b'])) FROM generate_series(1, {AGENTS});
         CREATE TABLE known AS SELECT agent_id::uuid FROM caliber_agent"
    ));
    let updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
        WHERE relid = 'caliber_agent'::regclass";
    let mut count = || -> (i64, i64) {
        db.run("SELECT pg_stat_force_next_flush()");
        let row = db.query_one(updates, &[]).unwrap();
        (row.get(0), row.get(1))
    };
    let before = count();
    for _ in 0..ROUNDS {
        db.run("SELECT count(caliber_agent_heartbeat(agent_id)) FROM known");
    }
    db.run("SELECT pg_stat_force_next_flush()");
    let row = db.query_one(updates, &[]).unwrap();
    let (all, hot) = (row.get::<_, i64>(0) - before.0, row.get::<_, i64>(1) - before.1);
    assert_eq!(all, AGENTS * ROUNDS);
    assert!(hot * 100 > all * 95, "{hot} of {all} heartbeats are HOT");
    let alive: i64 = db.one(
        "SELECT count(*) FROM caliber_agent WHERE version = 1 AND last_heartbeat > created_at",
    );
    assert_eq!(alive, AGENTS);
}
