//! `caliber_check`, the functions over tables that it complains about, and the views for people.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::filled::TABLES;
use caliber_tests::{Db, Schema, Tree, UNKNOWN, expired_lease, lease};
use serde_json::{Value, json};
use uuid::Uuid;

/// What is wrong in the schema: table (empty for a missing one) and problem.
#[track_caller]
fn problems(db: &mut Db, schema: &Schema) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT coalesce((SELECT relname FROM pg_class WHERE oid = relation), '')::text, problem
         FROM caliber_check('{}') ORDER BY 1, 2",
        schema.name()
    );
    db.query(&sql, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Only this table has problems, and one of them has the word.
#[track_caller]
fn is_reported(db: &mut Db, schema: &Schema, table: &str, word: &str) {
    let found = problems(db, schema);
    assert!(found.iter().all(|(t, _)| t == table), "{found:?}");
    assert!(found.iter().any(|(_, problem)| problem.contains(word)), "{word}: {found:?}");
}

#[test]
fn nothing_is_wrong_after_init() {
    for dim in [8, 1536, 2000, 2001, 4000] {
        let schema = Schema::bare("check");
        let mut db = schema.connect();
        db.run(&format!("SELECT caliber_init('{}', {dim})", schema.name()));
        assert_eq!(problems(&mut db, &schema), []);
        // Other tables are nobody's business, nor is a second table of an entity.
        db.run(
            "CREATE TABLE mine (id uuid, version int CHECK (version > 0)) USING caliber_am;
                CREATE TABLE turns (LIKE caliber_turn INCLUDING ALL) USING caliber_am",
        );
        assert_eq!(problems(&mut db, &schema), []);
    }
    let mut db = Schema::bare("check").connect();
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_check(NULL)"), 0);
}

#[test]
fn missing_tables_are_reported() {
    let schema = Schema::bare("check");
    let mut db = schema.connect();
    let missing = |table: &str| format!("table {}.{table} is missing", schema.name());
    let mut all = TABLES.map(|table| (String::new(), missing(table)));
    all.sort();
    assert_eq!(problems(&mut db, &schema), all);
    db.run(&format!(
        "SELECT caliber_init('{}', 8); DROP TABLE caliber_conflict CASCADE",
        schema.name()
    ));
    let found = problems(&mut db, &schema);
    assert_eq!(found, [(String::new(), missing("caliber_conflict"))]);
    let error = db.refused(&format!("SELECT caliber_conflict_get('{UNKNOWN}')"), "42P01");
    assert!(error.hint().unwrap().contains("caliber_init"), "{error:?}");
    db.run(&format!("SELECT caliber_init('{}', 8)", schema.name()));
    assert_eq!(problems(&mut db, &schema), []);
    assert_eq!(db.json(&format!("caliber_conflict_get('{UNKNOWN}')")), Value::Null);
    assert!(db.rows_of("caliber_v_unresolved_conflicts").is_empty(), "the view is there again");
}

#[test]
fn a_table_of_another_access_method_is_reported() {
    let schema = Schema::new("check");
    let mut db = schema.connect();
    for (table, call) in [
        ("caliber_agent", "caliber_agent_register('worker')"),
        ("caliber_note", "caliber_note_create('fact', 't', 'c')"),
        ("caliber_lock", "caliber_lock_reap()"),
    ] {
        db.run(&format!("ALTER TABLE {table} SET ACCESS METHOD heap"));
        is_reported(&mut db, &schema, table, "caliber_am");
        let error = db.refused_unchanged(&format!("SELECT {call}"), "42P16", &[table]);
        assert!(error.message().contains(table), "{error:?}");
        db.run(&format!("ALTER TABLE {table} SET ACCESS METHOD caliber_am"));
        assert_eq!(problems(&mut db, &schema), []);
        db.run(&format!("SELECT {call}"));
    }
}

#[test]
fn a_lost_column_is_reported() {
    let schema = Schema::new("check");
    let mut db = schema.connect();
    for (table, lose, column) in [
        ("caliber_artifact", "DROP confidence", "confidence"),
        ("caliber_note", "DROP access_count", "access_count"),
        ("caliber_agent", "RENAME capabilities TO skills", "capabilities"),
        ("caliber_conflict", "ALTER metadata TYPE json", "metadata"),
        ("caliber_note", "ALTER embedding TYPE real[] USING NULL", "embedding"),
    ] {
        db.run("BEGIN");
        if column == "embedding" {
            db.run("DROP INDEX caliber_note_embedding_idx");
        }
        db.run(&format!("ALTER TABLE {table} {lose}"));
        is_reported(&mut db, &schema, table, column);
        db.run("ROLLBACK");
        assert_eq!(problems(&mut db, &schema), []);
    }
}

/// An index, and the calls that need it.
const NEEDED: &[(&str, &str, &[&str])] = &[
    (
        "caliber_artifact",
        "caliber_artifact_trajectory_type_idx",
        &["caliber_artifact_query_by_type(caliber_new_id(), 'fact')"],
    ),
    (
        "caliber_artifact",
        "caliber_artifact_scope_idx",
        &["caliber_artifact_query_by_scope(caliber_new_id())"],
    ),
    (
        "caliber_artifact",
        "caliber_artifact_embedding_idx",
        &["caliber_artifact_search('[1,0,0,0,0,0,0,0]')"],
    ),
    ("caliber_note", "caliber_note_type_idx", &["caliber_note_list_by_type('fact')"]),
    (
        "caliber_note",
        "caliber_note_source_trajectory_ids_idx",
        &["caliber_note_query_by_trajectory(caliber_new_id())"],
    ),
    ("caliber_note", "caliber_note_embedding_idx", &["caliber_note_search('[1,0,0,0,0,0,0,0]')"]),
    ("caliber_agent", "caliber_agent_type_idx", &["caliber_agent_list_by_type('worker')"]),
    ("caliber_agent", "caliber_agent_status_idx", &["caliber_agent_list_active()"]),
    ("caliber_conflict", "caliber_conflict_status_idx", &["caliber_conflict_list_pending()"]),
    (
        "caliber_lock",
        "caliber_lock_resource_idx",
        &[
            "caliber_lock_check('file', caliber_new_id())",
            "caliber_lock_list_by_resource('file', caliber_new_id())",
        ],
    ),
    ("caliber_lock", "caliber_lock_expires_at_idx", &["caliber_lock_reap()"]),
];

#[test]
fn a_lost_index_is_reported_and_nothing_is_scanned_instead() {
    let schema = Schema::new("check");
    let mut db = schema.connect();
    let init = format!("SELECT caliber_init('{}', 8)", schema.name());
    for (table, index, calls) in NEEDED {
        let columns: String = db.one(&format!(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = '{index}'::regclass AND attnum = 1"
        ));
        for call in *calls {
            db.run(&format!("SELECT {call}"));
        }
        db.run(&format!("DROP INDEX {index}"));
        is_reported(&mut db, &schema, table, &columns);
        for call in *calls {
            let error = db.refused(&format!("SELECT {call}"), "42P16");
            assert!(error.message().contains(table), "{call}: {error:?}");
            assert!(error.detail().unwrap().contains(&columns), "{call}: {error:?}");
            assert!(error.hint().unwrap().contains("caliber_init"), "{call}: {error:?}");
        }
        // Init is the way out, and any index of the same kind on the same columns will do.
        db.run(&init);
        assert_eq!(problems(&mut db, &schema), []);
        let definition: String = db.one(&format!("SELECT pg_get_indexdef('{index}'::regclass)"));
        db.run(&format!("DROP INDEX {index}; {}", definition.replace(index, "another_name")));
        assert_eq!(problems(&mut db, &schema), []);
        for call in *calls {
            db.run(&format!("SELECT {call}"));
        }
        db.run("DROP INDEX another_name");
        db.run(&init);
    }
}

#[test]
fn an_index_of_another_kind_does_not_count() {
    let schema = Schema::new("check");
    let mut db = schema.connect();
    for (index, other) in [
        ("caliber_note_type_idx", "hash (note_type)"),
        ("caliber_note_type_idx", "btree (note_id, note_type)"),
        ("caliber_note_type_idx", "btree (note_type, note_id) WHERE note_type <> 'fact'"),
        ("caliber_note_source_trajectory_ids_idx", "gin (source_note_ids)"),
        ("caliber_note_source_trajectory_ids_idx", "btree (source_trajectory_ids)"),
        ("caliber_note_embedding_idx", "hnsw (embedding public.vector_l2_ops)"),
        ("caliber_note_embedding_idx", "ivfflat (embedding public.vector_cosine_ops)"),
    ] {
        db.run("BEGIN");
        db.run(&format!("DROP INDEX {index}; CREATE INDEX other ON caliber_note USING {other}"));
        let found = problems(&mut db, &schema);
        assert!(
            !found.is_empty() && found.iter().all(|(t, _)| t == "caliber_note"),
            "{other}: {found:?}"
        );
        db.run("ROLLBACK");
    }
    assert_eq!(problems(&mut db, &schema), []);
}

#[test]
fn a_reader_of_assigned_columns_is_reported() {
    let schema = Schema::new("check");
    let mut db = schema.connect();
    for (table, add, word) in [
        (
            "caliber_note",
            "ALTER TABLE caliber_note ADD CONSTRAINT c CHECK (version > 0)",
            "version",
        ),
        (
            "caliber_agent",
            "ALTER TABLE caliber_agent ADD CONSTRAINT c CHECK (updated_at > '2000-01-01')",
            "updated_at",
        ),
        (
            "caliber_conflict",
            "ALTER TABLE caliber_conflict ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON caliber_conflict USING (version > 0)",
            "version",
        ),
    ] {
        db.run("BEGIN");
        db.run(add);
        is_reported(&mut db, &schema, table, word);
        db.run("ROLLBACK");
    }
    assert_eq!(problems(&mut db, &schema), []);
}

#[test]
fn a_partition_by_a_column_that_may_change_is_reported() {
    let schema = Schema::new("check");
    let mut db = schema.connect();
    db.run(
        "CREATE TABLE by_title (LIKE caliber_note INCLUDING DEFAULTS) PARTITION BY RANGE (title);
         CREATE TABLE part PARTITION OF by_title FOR VALUES FROM (MINVALUE) TO (MAXVALUE) USING caliber_am",
    );
    let found = problems(&mut db, &schema);
    assert!(
        found.iter().any(|(table, problem)| table == "part" && problem.contains("partition")),
        "{found:?}"
    );
}

/// The rows of a view as JSON, in the order of their ids.
#[track_caller]
fn view(db: &mut Db, view: &str, id: &str) -> Vec<Value> {
    db.all(&format!("SELECT to_jsonb(v) FROM caliber_v_{view} v ORDER BY {id}"))
}

/// Takes an interval out of a row, after a look at it: it is not negative and not long.
#[track_caller]
fn take_age(db: &mut Db, row: &mut Value, column: &str) {
    let age = row.as_object_mut().unwrap().remove(column).unwrap();
    let plausible: bool = db
        .one(&format!("SELECT interval '{}' BETWEEN '0' AND '10 minutes'", age.as_str().unwrap()));
    assert!(plausible, "{age}");
}

#[track_caller]
fn agent(db: &mut Db, agent_type: &str) -> Uuid {
    db.one(&format!(
        "INSERT INTO caliber_agent (agent_type) VALUES ('{agent_type}') RETURNING agent_id::uuid"
    ))
}

#[test]
fn the_view_of_trajectories_shows_what_is_not_finished() {
    let mut t = Tree::with_budget("view", 1_000);
    let (root, second) = (t.trajectory, t.new_scope(500));
    let worker = agent(&mut t.db, "worker");
    t.append("'user', 'x', 7");
    t.append("'user', 'x', 4");
    t.db.run(&format!(
        "SELECT caliber_turn_create('{second}', 'user', 'x', 9); SELECT caliber_scope_close('{second}');
         SELECT caliber_trajectory_update('{root}', '{{\"agent_id\": \"{worker}\"}}')"
    ));
    let mut child = |name: &str, status: &str| -> Uuid {
        let id = t.db.one(&format!(
            "SELECT caliber_trajectory_create('{name}', parent_trajectory_id => '{root}')"
        ));
        t.db.run(&format!("SELECT caliber_trajectory_set_status('{id}', '{status}')"));
        id
    };
    let suspended = child("suspended", "suspended");
    child("completed", "completed");
    child("failed", "failed");
    let mut rows = view(&mut t.db, "active_trajectories", "trajectory_id");
    for row in &mut rows {
        take_age(&mut t.db, row, "age");
    }
    assert_eq!(
        rows,
        [
            json!({
                "trajectory_id": root.to_string(), "name": "task", "status": "active",
                "agent_id": worker.to_string(), "agent_type": "worker",
                "parent_trajectory_id": null, "active_scopes": 1, "tokens_used": 20,
                "token_budget": 1500, "turns": 3,
            }),
            json!({
                "trajectory_id": suspended.to_string(), "name": "suspended",
                "status": "suspended", "agent_id": null, "agent_type": null,
                "parent_trajectory_id": root.to_string(), "active_scopes": 0, "tokens_used": 0,
                "token_budget": 0, "turns": 0,
            }),
        ]
    );
}

#[test]
fn the_view_of_agents_shows_live_leases_and_waiting_messages() {
    let mut t = Tree::new("view");
    let trajectory = t.trajectory;
    let worker = agent(&mut t.db, "worker");
    let boss = agent(&mut t.db, "boss");
    t.db.run(&format!(
        "SELECT caliber_agent_update('{worker}', '{{\"current_trajectory_id\": \"{trajectory}\"}}');
         SELECT caliber_agent_set_status('{worker}', 'blocked')"
    ));
    let resource = Uuid::now_v7();
    lease(&mut t.db, "file", resource);
    expired_lease(&mut t.db, "file", resource);
    // Both leases are the worker's, and of its four messages two wait.
    t.db.run(&format!(
        "CREATE TEMP TABLE leases AS TABLE caliber_lock; DELETE FROM caliber_lock;
         INSERT INTO caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
         SELECT resource_type, resource_id, '{worker}', mode, expires_at FROM leases;
         INSERT INTO caliber_message (from_agent_id, to_agent_id, message_type, payload, status)
         SELECT '{boss}', '{worker}', 'heartbeat', '{{}}', status::caliber_message_status
         FROM unnest('{{pending,delivered,acknowledged,dead}}'::text[]) status;
         DELETE FROM caliber_agent WHERE agent_id NOT IN ('{worker}', '{boss}')"
    ));
    let mut rows = view(&mut t.db, "agent_status", "agent_id");
    for row in &mut rows {
        take_age(&mut t.db, row, "heartbeat_age");
    }
    assert_eq!(
        rows,
        [
            json!({
                "agent_id": worker.to_string(), "agent_type": "worker", "status": "blocked",
                "current_trajectory_id": trajectory.to_string(), "leases": 1,
                "waiting_messages": 2,
            }),
            json!({
                "agent_id": boss.to_string(), "agent_type": "boss", "status": "idle",
                "current_trajectory_id": null, "leases": 0, "waiting_messages": 0,
            }),
        ]
    );
}

#[test]
fn the_view_of_pending_work_shows_what_nobody_took() {
    let mut t = Tree::new("view");
    let (trajectory, scope) = (t.trajectory, t.scope);
    let [from, to] = ["boss", "worker"].map(|agent_type| agent(&mut t.db, agent_type));
    t.db.run(&format!(
        "INSERT INTO caliber_delegation (delegator_agent_id, delegatee_agent_type, task_description,
             parent_trajectory_id, status)
         SELECT '{from}', 'worker', 'Aufgabe', '{trajectory}', s
         FROM unnest(enum_range(NULL::caliber_delegation_status)) s;
         INSERT INTO caliber_handoff (from_agent_id, to_agent_id, trajectory_id, scope_id, reason,
             handoff_notes, status)
         SELECT '{from}', '{to}', '{trajectory}', '{scope}', 'timeout', 'Notiz', s
         FROM unnest(enum_range(NULL::caliber_handoff_status)) s;
         INSERT INTO caliber_message (from_agent_id, to_agent_type, message_type, payload, status)
         SELECT '{from}', 'worker', 'interrupt', '{{}}', s
         FROM unnest(enum_range(NULL::caliber_message_status)) s"
    ));
    let mut rows = view(&mut t.db, "pending_work", "kind, id");
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        let (entity, id) = (row["kind"].clone(), row.remove("id").unwrap());
        let created: Value = t.db.json(&format!(
            "(caliber_{}_get('{}')).created_at",
            entity.as_str().unwrap(),
            id.as_str().unwrap()
        ));
        assert_eq!(row.remove("created_at"), Some(created));
    }
    let from = from.to_string();
    let message = |status: &str| {
        json!({
            "kind": "message", "status": status, "from_agent_id": from, "to_agent_id": null,
            "to_agent_type": "worker", "trajectory_id": null, "summary": "interrupt",
        })
    };
    assert_eq!(
        rows,
        [
            json!({
                "kind": "delegation", "status": "pending", "from_agent_id": from,
                "to_agent_id": null, "to_agent_type": "worker",
                "trajectory_id": trajectory.to_string(), "summary": "Aufgabe",
            }),
            json!({
                "kind": "handoff", "status": "initiated", "from_agent_id": from,
                "to_agent_id": to.to_string(), "to_agent_type": null,
                "trajectory_id": trajectory.to_string(), "summary": "Notiz",
            }),
            message("pending"),
            message("delivered"),
        ]
    );
}

#[test]
fn the_view_of_conflicts_shows_what_is_not_resolved() {
    let mut t = Tree::new("view");
    let trajectory = t.trajectory;
    let agents = [agent(&mut t.db, "a"), agent(&mut t.db, "b")];
    let mut ids = Vec::new();
    for status in ["detected", "resolving", "escalated", "resolved"] {
        let id: Uuid = t.db.one(&format!(
            "SELECT caliber_conflict_create('goal_conflict', 'x', '{UNKNOWN}', 'y', '{UNKNOWN}',
                 '{}', '{}', '{trajectory}')",
            agents[0], agents[1]
        ));
        t.db.run(&format!(
            "UPDATE caliber_conflict SET status = '{status}' WHERE conflict_id = '{id}'"
        ));
        ids.push((id, status));
    }
    let mut rows = view(&mut t.db, "unresolved_conflicts", "conflict_id");
    for row in &mut rows {
        take_age(&mut t.db, row, "age");
    }
    let expected: Vec<Value> = ids[..3]
        .iter()
        .map(|(id, status)| {
            json!({
                "conflict_id": id.to_string(), "conflict_type": "goal_conflict",
                "status": status, "item_a_type": "x", "item_a_id": UNKNOWN, "item_b_type": "y",
                "item_b_id": UNKNOWN, "agent_a_id": agents[0].to_string(),
                "agent_b_id": agents[1].to_string(), "trajectory_id": trajectory.to_string(),
            })
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn a_view_shows_what_its_reader_may_see() {
    let schema = Schema::new("view");
    let mut db = schema.connect();
    let role = format!("{}_reader", schema.name());
    for (view, tables) in [
        ("active_trajectories", "caliber_trajectory, caliber_scope, caliber_agent"),
        ("agent_status", "caliber_agent, caliber_lock, caliber_message"),
        ("pending_work", "caliber_delegation, caliber_handoff, caliber_message"),
        ("unresolved_conflicts", "caliber_conflict"),
    ] {
        let reader = format!(
            "BEGIN; CREATE ROLE {role}; GRANT USAGE ON SCHEMA {} TO {role};
             GRANT SELECT ON caliber_v_{view} TO {role}",
            schema.name()
        );
        let read = format!("SET LOCAL ROLE {role}; SELECT * FROM caliber_v_{view}");
        db.run(&format!("{reader}; GRANT SELECT ON {tables} TO {role}; {read}; ROLLBACK"));
        db.refused(&format!("{reader}; {read}"), "42501");
    }
}
