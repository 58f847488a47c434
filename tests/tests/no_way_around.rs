//! No way around: the rules of trajectories, scopes and turns hold on every path by which SQL can
//! reach a row, and what is not a user's change keeps rows byte for byte.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::io::{Read, Write};

use caliber_tests::{Db, Schema, Server, assert_sqlstate, lit, psql, show};

/// The tables that the tests fill.
const TABLES: [&str; 4] = ["caliber_agent", "caliber_trajectory", "caliber_scope", "caliber_turn"];

/// Rows with histories: versions, times, states and counters that no insert starts with.
const ROWS: &str = "
    INSERT INTO caliber_agent (agent_id, agent_type)
    VALUES ('01900000-0000-7000-8000-0000000000a1', 'coder'),
           ('01900000-0000-7000-8000-0000000000a2', 'tester');
    INSERT INTO caliber_trajectory (trajectory_id, name, description, status, parent_trajectory_id,
        root_trajectory_id, agent_id, fence, outcome, completed_at, metadata, created_at, updated_at, version)
    SELECT v.id::uuid, v.name, 'about ' || v.name, v.status::caliber_trajectory_status, v.parent::uuid, v.root::uuid,
           '01900000-0000-7000-8000-0000000000a1', 7, jsonb_build_object('of', v.name), v.completed::timestamptz,
           '{\"k\": 1}', '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
    FROM (VALUES
        ('01900000-0000-7000-8000-000000000001', 'active', 'active', NULL,
         '01900000-0000-7000-8000-000000000001', NULL),
        ('01900000-0000-7000-8000-000000000002', 'completed', 'completed', NULL,
         '01900000-0000-7000-8000-000000000002', '2024-01-02'),
        ('01900000-0000-7000-8000-000000000003', 'failed', 'failed', NULL,
         '01900000-0000-7000-8000-000000000003', '2024-01-03'),
        ('01900000-0000-7000-8000-000000000004', 'child', 'suspended',
         '01900000-0000-7000-8000-000000000001', '01900000-0000-7000-8000-000000000001', NULL)
    ) v (id, name, status, parent, root, completed);
    INSERT INTO caliber_scope (scope_id, trajectory_id, parent_scope_id, name, purpose, is_active, token_budget,
        tokens_used, turn_count, fence, checkpoint, closed_at, metadata, created_at, updated_at, version)
    SELECT v.id::uuid, '01900000-0000-7000-8000-000000000001', v.parent::uuid, v.name, repeat(v.name, 3000),
           v.closed IS NULL, v.budget, 10, 3, 7, jsonb_build_object('of', v.name), v.closed::timestamptz, NULL,
           '2024-01-01 00:00:00.123456+00', '2024-01-02 00:00:00.654321+00', 5
    FROM (VALUES
        ('01900000-0000-7000-8000-000000000011', 'open', NULL, NULL, 100),
        ('01900000-0000-7000-8000-000000000012', 'closed', NULL, '2024-01-03', 200),
        ('01900000-0000-7000-8000-000000000013', 'inner', '01900000-0000-7000-8000-000000000011', NULL, 300)
    ) v (id, name, parent, closed, budget);
    INSERT INTO caliber_turn (turn_id, scope_id, sequence, role, content, token_count, tool_calls, tool_results,
        created_at, metadata)
    VALUES ('01900000-0000-7000-8000-000000000021', '01900000-0000-7000-8000-000000000011', 0, 'user',
            repeat('long ', 5000), 3, '[]', '{}', '2024-01-01 00:00:00.123456+00', '{\"k\": 1}'),
           ('01900000-0000-7000-8000-000000000022', '01900000-0000-7000-8000-000000000011', 1, 'tool',
            'naïve ☃', 3, '[1]', '{\"r\": 1}', '2024-01-01 00:00:00.123457+00', '{\"k\": 2}');
";

/// What an update writes into one row: a column and a literal each.
struct Change {
    table: &'static str,
    /// The last digits of the row's key.
    row: &'static str,
    set: &'static [(&'static str, &'static str)],
}

/// A change that a rule refuses.
struct Forbidden {
    change: Change,
    sqlstate: &'static str,
    /// Part of the message.
    says: &'static str,
}

const fn forbidden(
    table: &'static str,
    row: &'static str,
    set: &'static [(&'static str, &'static str)],
    sqlstate: &'static str,
    says: &'static str,
) -> Forbidden {
    Forbidden { change: Change { table, row, set }, sqlstate, says }
}

const FIXED: &str = "is fixed";
const FINAL: &str = "is final in state";
const MOVES: &str = "cannot go from";
const STEP: &str = "rises by exactly one";
const FALLS: &str = "cannot fall";
const APPENDS: &str = "append-only";

/// Each rule of each entity, at least once.
const FORBIDDEN: &[Forbidden] = {
    const T: &str = "caliber_trajectory";
    const S: &str = "caliber_scope";
    const U: &str = "caliber_turn";
    const NEW_ID: &str = "'01900000-0000-7000-8000-0000000000ff'";
    const OTHER_TRAJECTORY: &str = "'01900000-0000-7000-8000-000000000002'";
    const OTHER_SCOPE: &str = "'01900000-0000-7000-8000-000000000012'";
    const PAST: &str = "'2001-01-01'";
    &[
        forbidden(T, "04", &[("trajectory_id", NEW_ID)], "55000", FIXED),
        forbidden(T, "04", &[("parent_trajectory_id", OTHER_TRAJECTORY)], "55000", FIXED),
        forbidden(T, "04", &[("root_trajectory_id", OTHER_TRAJECTORY)], "55000", FIXED),
        forbidden(T, "01", &[("created_at", PAST)], "55000", FIXED),
        forbidden(T, "01", &[("version", "7")], "55000", STEP),
        forbidden(T, "01", &[("version", "4")], "55000", STEP),
        forbidden(T, "01", &[("name", "'x'"), ("version", "7")], "55000", STEP),
        forbidden(T, "01", &[("name", "'x'"), ("version", "1")], "55000", STEP),
        forbidden(T, "01", &[("name", "'x'"), ("version", "9223372036854775807")], "55000", STEP),
        forbidden(T, "02", &[("status", "'active'"), ("completed_at", "NULL")], "55000", MOVES),
        forbidden(T, "02", &[("status", "'suspended'"), ("completed_at", "NULL")], "55000", MOVES),
        forbidden(T, "02", &[("status", "'failed'")], "55000", MOVES),
        forbidden(T, "03", &[("status", "'active'"), ("completed_at", "NULL")], "55000", MOVES),
        forbidden(T, "03", &[("status", "'completed'")], "55000", MOVES),
        forbidden(T, "02", &[("name", "'x'")], "55000", FINAL),
        forbidden(T, "02", &[("description", "'x'")], "55000", FINAL),
        forbidden(T, "03", &[("outcome", "'{}'")], "55000", FINAL),
        forbidden(T, "03", &[("completed_at", PAST)], "55000", FINAL),
        forbidden(T, "02", &[("agent_id", "'01900000-0000-7000-8000-0000000000a2'")], "55000", FINAL),
        forbidden(T, "02", &[("fence", "8")], "55000", FINAL),
        forbidden(T, "02", &[("metadata", "'{}'"), ("name", "'x'")], "55000", FINAL),
        forbidden(T, "02", &[("metadata", "'{}'"), ("version", "8")], "55000", STEP),
        forbidden(T, "01", &[("fence", "6")], "55006", FALLS),
        forbidden(T, "01", &[("fence", "-1"), ("name", "'x'")], "55006", FALLS),
        forbidden(S, "13", &[("scope_id", NEW_ID)], "55000", FIXED),
        forbidden(S, "11", &[("trajectory_id", OTHER_TRAJECTORY)], "55000", FIXED),
        forbidden(S, "13", &[("parent_scope_id", OTHER_SCOPE)], "55000", FIXED),
        forbidden(S, "13", &[("parent_scope_id", "NULL")], "55000", FIXED),
        forbidden(S, "11", &[("created_at", PAST)], "55000", FIXED),
        forbidden(S, "11", &[("version", "7")], "55000", STEP),
        forbidden(S, "11", &[("purpose", "NULL"), ("version", "4")], "55000", STEP),
        forbidden(S, "11", &[("tokens_used", "11"), ("version", "7")], "55000", STEP),
        forbidden(S, "12", &[("is_active", "true"), ("closed_at", "NULL")], "55000", MOVES),
        forbidden(S, "12", &[("name", "'x'")], "55000", FINAL),
        forbidden(S, "12", &[("purpose", "'x'")], "55000", FINAL),
        forbidden(S, "12", &[("token_budget", "1000")], "55000", FINAL),
        forbidden(S, "12", &[("checkpoint", "'{}'")], "55000", FINAL),
        forbidden(S, "12", &[("closed_at", PAST)], "55000", FINAL),
        forbidden(S, "12", &[("tokens_used", "11")], "55000", FINAL),
        forbidden(S, "12", &[("turn_count", "4")], "55000", FINAL),
        forbidden(S, "12", &[("fence", "8")], "55000", FINAL),
        forbidden(S, "11", &[("tokens_used", "9")], "55000", FALLS),
        forbidden(S, "11", &[("turn_count", "0")], "55000", FALLS),
        forbidden(S, "11", &[("fence", "6")], "55006", FALLS),
        forbidden(U, "21", &[("turn_id", NEW_ID)], "55000", APPENDS),
        forbidden(U, "21", &[("scope_id", OTHER_SCOPE)], "55000", APPENDS),
        forbidden(U, "21", &[("sequence", "9")], "55000", APPENDS),
        forbidden(U, "21", &[("role", "'system'")], "55000", APPENDS),
        forbidden(U, "21", &[("content", "'x'")], "55000", APPENDS),
        forbidden(U, "22", &[("content", "'naïve ☃'")], "55000", APPENDS),
        forbidden(U, "21", &[("token_count", "4")], "55000", APPENDS),
        forbidden(U, "21", &[("tool_calls", "NULL")], "55000", APPENDS),
        forbidden(U, "21", &[("tool_results", "NULL")], "55000", APPENDS),
        forbidden(U, "21", &[("created_at", PAST)], "55000", APPENDS),
        forbidden(U, "21", &[("metadata", "NULL")], "55000", APPENDS),
    ]
};

/// Updates that raise the version.
const MAJOR: &[Change] = &[
    Change { table: "caliber_trajectory", row: "01", set: &[("name", "'renamed'")] },
    Change { table: "caliber_trajectory", row: "01", set: &[("status", "'suspended'")] },
    Change { table: "caliber_trajectory", row: "02", set: &[("metadata", "'{\"k\": 2}'")] },
    Change { table: "caliber_scope", row: "11", set: &[("token_budget", "1000"), ("tokens_used", "20")] },
    Change { table: "caliber_scope", row: "11", set: &[("is_active", "false"), ("closed_at", "'2024-02-02'")] },
    Change { table: "caliber_scope", row: "11", set: &[("purpose", "'x'"), ("version", "6")] },
];

/// Updates that do not.
const QUIET: &[Change] = &[
    Change { table: "caliber_trajectory", row: "01", set: &[("fence", "8")] },
    Change { table: "caliber_scope", row: "11", set: &[("tokens_used", "11")] },
    Change { table: "caliber_scope", row: "11", set: &[("turn_count", "4"), ("fence", "9"), ("tokens_used", "10")] },
    Change { table: "caliber_scope", row: "11", set: &[("name", "'open'")] },
];

impl Change {
    fn key(&self) -> &'static str {
        match self.table {
            "caliber_trajectory" => "trajectory_id",
            "caliber_scope" => "scope_id",
            "caliber_turn" => "turn_id",
            other => panic!("no key known of {other}"),
        }
    }

    fn id(&self) -> String {
        format!("'01900000-0000-7000-8000-0000000000{}'", self.row)
    }

    fn find(&self) -> String {
        format!("{} = {}", self.key(), self.id())
    }

    /// `a = 1, b = 2`
    fn assignments(&self) -> String {
        let list: Vec<_> = self.set.iter().map(|(c, v)| format!("{c} = {v}")).collect();
        list.join(", ")
    }

    fn update(&self) -> String {
        format!("UPDATE {} SET {} WHERE {}", self.table, self.assignments(), self.find())
    }
}

/// A way to carry out a change inside of a transaction; none where this way cannot.
type Path = fn(&Change) -> Option<String>;

macro_rules! paths {
    ($($name:ident: $path:expr;)*) => {
        /// All paths, by name.
        const PATHS: &[(&str, Path)] = &[$((stringify!($name), $path)),*];

        mod refused_by {
            $(#[test]
            fn $name() {
                super::every_rule_holds($path);
            })*
        }

        mod carried_out_by {
            $(#[test]
            fn $name() {
                super::allowed_changes_work($path);
            })*
        }
    };
}

paths! {
    update: |c| Some(c.update());
    update_from: |c| Some(format!(
        "UPDATE {} t SET {} FROM (VALUES ({}::uuid)) v (id) WHERE v.id = t.{}",
        c.table, c.assignments(), c.id(), c.key()
    ));
    on_conflict: |c| Some(format!(
        "INSERT INTO {table} SELECT * FROM {table} WHERE {} ON CONFLICT ({}) DO UPDATE SET {}",
        c.find(), c.key(), c.assignments(), table = c.table
    ));
    merge: |c| Some(format!(
        "MERGE INTO {} t USING (VALUES ({}::uuid)) v (id) ON t.{} = v.id
         WHEN MATCHED THEN UPDATE SET {}",
        c.table, c.id(), c.key(), c.assignments()
    ));
    view: |c| Some(format!(
        "CREATE VIEW w AS SELECT * FROM {} WITH CHECK OPTION; UPDATE w SET {} WHERE {}",
        c.table, c.assignments(), c.find()
    ));
    view_on_conflict: |c| Some(format!(
        "CREATE VIEW w AS SELECT * FROM {table};
         INSERT INTO w SELECT * FROM {table} WHERE {} ON CONFLICT ({}) DO UPDATE SET {}",
        c.find(), c.key(), c.assignments(), table = c.table
    ));
    instead_of_trigger: |c| Some(format!(
        "CREATE VIEW w AS SELECT 1 AS one;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {}; RETURN NEW; END $f$;
         CREATE TRIGGER f INSTEAD OF UPDATE ON w FOR EACH ROW EXECUTE FUNCTION f();
         UPDATE w SET one = 2",
        c.update()
    ));
    cursor: |c| Some(format!(
        "DECLARE c CURSOR FOR SELECT * FROM {table} WHERE {}; FETCH c;
         UPDATE {table} SET {} WHERE CURRENT OF c",
        c.find(), c.assignments(), table = c.table
    ));
    locking_cursor: |c| Some(format!(
        "DECLARE c CURSOR FOR SELECT * FROM {table} WHERE {} FOR UPDATE; FETCH c;
         UPDATE {table} SET {} WHERE CURRENT OF c",
        c.find(), c.assignments(), table = c.table
    ));
    row_address: |c| Some(format!(
        "UPDATE {table} SET {} WHERE ctid = (SELECT ctid FROM {table} WHERE {})",
        c.assignments(), c.find(), table = c.table
    ));
    trigger_of_another_table: |c| Some(format!(
        "CREATE TABLE other (id int);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {}; RETURN NEW; END $f$;
         CREATE TRIGGER f AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION f();
         INSERT INTO other VALUES (1)",
        c.update()
    ));
    before_trigger_of_the_table: |c| {
        let assign: Vec<_> = c.set.iter().map(|(c, v)| format!("NEW.{c} := {v};")).collect();
        Some(format!(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {} RETURN NEW; END $f$;
             CREATE TRIGGER f BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION f();
             UPDATE {table} SET {key} = {key} WHERE {}",
            assign.join(" "), c.find(), table = c.table, key = c.key()
        ))
    };
    rewrite_rule: |c| Some(format!(
        "CREATE TABLE other (id int);
         CREATE RULE r AS ON INSERT TO other DO INSTEAD {};
         INSERT INTO other VALUES (1)",
        c.update()
    ));
    cascade_of_an_update: |c| {
        // Only a column that has a value can follow another table's.
        let [(column, value)] = *c.set else { return None };
        if value == "NULL" || c.row == "22" || value == "'open'" {
            return None;
        }
        Some(format!(
            "CREATE TABLE ref AS SELECT DISTINCT {column} AS v FROM {table} WHERE {column} IS NOT NULL;
             ALTER TABLE ref ADD PRIMARY KEY (v);
             ALTER TABLE {table} ADD FOREIGN KEY ({column}) REFERENCES ref ON UPDATE CASCADE;
             DELETE FROM ref WHERE v = {value} AND v NOT IN (SELECT {column} FROM {table});
             ALTER TABLE ref DROP CONSTRAINT IF EXISTS nothing;
             UPDATE ref SET v = {value} WHERE v = (SELECT {column} FROM {table} WHERE {})",
            c.find(), table = c.table
        ))
    };
    cascade_of_a_deletion: |c| {
        let [(column, "NULL")] = *c.set else { return None };
        Some(format!(
            "CREATE TABLE ref AS SELECT DISTINCT {column} AS v FROM {table} WHERE {column} IS NOT NULL;
             ALTER TABLE ref ADD PRIMARY KEY (v);
             ALTER TABLE {table} ADD FOREIGN KEY ({column}) REFERENCES ref ON DELETE SET NULL;
             DELETE FROM ref WHERE v = (SELECT {column} FROM {table} WHERE {})",
            c.find(), table = c.table
        ))
    };
    replica_role: |c| Some(format!("SET LOCAL session_replication_role = replica; {}", c.update()));
    disabled_triggers: |c| Some(format!(
        "ALTER TABLE {} DISABLE TRIGGER ALL; {}", c.table, c.update()
    ));
    writable_cte: |c| Some(format!(
        "WITH changed AS ({} RETURNING *) SELECT count(*) FROM changed", c.update()
    ));
    insert_from_an_update: |c| Some(format!(
        "CREATE TABLE other (id uuid);
         WITH changed AS ({} RETURNING {key}) INSERT INTO other SELECT {key} FROM changed",
        c.update(), key = c.key()
    ));
    plpgsql: |c| Some(format!("DO $do$ BEGIN {}; END $do$", c.update()));
    dynamic_sql: |c| Some(format!("DO $do$ BEGIN EXECUTE {}; END $do$", lit(&c.update())));
    sql_function: |c| Some(format!(
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $f$ {} $f$; SELECT f()", c.update()
    ));
    prepared: |c| Some(format!(
        "PREPARE p (uuid) AS UPDATE {} SET {} WHERE {} = $1; EXECUTE p ({}); DEALLOCATE p",
        c.table, c.assignments(), c.key(), c.id()
    ));
    copy_of_an_update: |c| Some(format!(
        "COPY ({} RETURNING {}) TO PROGRAM 'cat > /dev/null'", c.update(), c.key()
    ));
    savepoint: |c| Some(format!("SAVEPOINT a; {}; RELEASE a", c.update()));
    own_row_of_the_transaction: |c| Some(format!(
        "SELECT FROM {} WHERE {} FOR UPDATE; {}", c.table, c.find(), c.update()
    ));
    inheritance: |c| Some(format!(
        "CREATE TABLE parent AS SELECT * FROM {table} WITH NO DATA;
         SET LOCAL session_replication_role = replica;
         ALTER TABLE {table} INHERIT parent;
         UPDATE parent SET {} WHERE {}",
        c.assignments(), c.find(), table = c.table
    ));
    serializable: |c| Some(format!(
        "COMMIT; BEGIN ISOLATION LEVEL SERIALIZABLE; {}", c.update()
    ));
}

/// The tables of `caliber_init` with [`ROWS`].
struct Filled {
    db: Db,
    schema: Schema,
}

impl Filled {
    fn new(name: &str) -> Self {
        let schema = Schema::new(name);
        let mut db = schema.connect();
        // The types' names without their schema, on whichever path the extension is.
        db.run(ROWS);
        Self { db, schema }
    }
}

fn every_rule_holds(path: Path) {
    let mut filled = Filled::new("no_way");
    let mut tried = 0;
    for rule in FORBIDDEN {
        let Some(sql) = path(&rule.change) else { continue };
        let sql = format!("BEGIN; {sql}; COMMIT");
        let error = filled.db.refused_unchanged(&sql, rule.sqlstate, &TABLES);
        assert!(
            error.message().contains(rule.says),
            "{}: expected a message with {:?}: {sql}",
            error.message(),
            rule.says
        );
        assert!(error.detail().is_some(), "no DETAIL: {sql}");
        tried += 1;
    }
    assert!(tried > 0);
}

fn allowed_changes_work(path: Path) {
    let mut filled = Filled::new("a_way");
    let db = &mut filled.db;
    for (change, version) in MAJOR.iter().map(|c| (c, 6)).chain(QUIET.iter().map(|c| (c, 5))) {
        let Some(sql) = path(change) else { continue };
        db.run("BEGIN");
        db.run(&sql);
        let updated_at = if version == 6 {
            "transaction_timestamp()"
        } else {
            "timestamptz '2024-01-02 00:00:00.654321+00'"
        };
        let set: Vec<_> = change.set.iter().map(|(c, v)| format!(" AND {c} = {v}")).collect();
        let found: i64 = db.one(&format!(
            "SELECT count(*) FROM {} WHERE {} AND version = {version} AND updated_at = {updated_at}{}",
            change.table,
            change.find(),
            set.concat()
        ));
        let seen = db.rows_of(change.table);
        assert_eq!(found, 1, "{sql}\nversion should be {version}, updated_at {updated_at}: {seen:#?}");
        db.run("ROLLBACK");
    }
}

/// A refusal that the transaction survives leaves the row and its indexes as they were.
#[test]
fn a_caught_refusal_changes_nothing() {
    let mut filled = Filled::new("caught");
    let db = &mut filled.db;
    let before: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    for rule in FORBIDDEN {
        let caught = rule.change.update();
        db.run(&format!(
            "DO $do$ BEGIN
                 BEGIN
                     {caught};
                     RAISE 'nothing was refused';
                 EXCEPTION WHEN SQLSTATE '{}' THEN
                     NULL;
                 END;
             END $do$",
            rule.sqlstate
        ));
    }
    let after: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    assert_eq!(before, after);
    for rule in FORBIDDEN {
        let c = &rule.change;
        db.run("BEGIN; SET LOCAL enable_seqscan = off");
        let found: i64 = db.one(&format!("SELECT count(*) FROM {} WHERE {}", c.table, c.find()));
        db.run("ROLLBACK");
        assert_eq!(found, 1, "{}", c.find());
    }
}

/// One bad row among many refuses the whole statement.
#[test]
fn a_statement_is_refused_as_a_whole() {
    let mut filled = Filled::new("whole");
    for (sql, sqlstate) in [
        ("UPDATE caliber_trajectory SET name = name || '!'", "55000"),
        ("UPDATE caliber_scope SET token_budget = token_budget * 2", "55000"),
        ("UPDATE caliber_scope SET tokens_used = CASE scope_id
              WHEN '01900000-0000-7000-8000-000000000013' THEN 5 ELSE tokens_used END", "55000"),
        ("UPDATE caliber_trajectory SET fence = CASE name WHEN 'active' THEN 8 WHEN 'child' THEN 0 ELSE fence END",
         "55006"),
        ("MERGE INTO caliber_scope s USING caliber_scope v ON s.scope_id = v.scope_id
          WHEN MATCHED AND v.is_active THEN DELETE
          WHEN MATCHED THEN UPDATE SET name = 'x'", "55000"),
        ("WITH gone AS (DELETE FROM caliber_turn WHERE sequence = 0)
          UPDATE caliber_turn SET token_count = 0 WHERE sequence = 1", "55000"),
    ] {
        filled.db.refused_unchanged(sql, sqlstate, &TABLES);
    }
}

#[test]
fn a_transition_names_the_states() {
    let mut filled = Filled::new("states");
    let error = filled.db.refused(
        "UPDATE caliber_trajectory SET status = 'active', completed_at = NULL WHERE name = 'completed'",
        "55000",
    );
    assert_eq!(error.message(), "trajectory cannot go from \"completed\" to \"active\"");
    let detail = error.detail().unwrap();
    assert!(detail.contains("\"completed\"") && detail.contains("\"active\""), "{detail}");
    let error = filled.db.refused("UPDATE caliber_scope SET fence = 3 WHERE name = 'open'", "55006");
    let detail = error.detail().unwrap();
    assert!(detail.contains('7') && detail.contains('3'), "{detail}");
}

#[test]
fn every_arrow_can_be_followed() {
    let mut filled = Filled::new("arrows");
    let db = &mut filled.db;
    for (from, to) in [
        ("active", "suspended"),
        ("active", "completed"),
        ("active", "failed"),
        ("suspended", "active"),
        ("suspended", "completed"),
        ("suspended", "failed"),
    ] {
        let row = if from == "active" { "active" } else { "child" };
        let completed = if ["completed", "failed"].contains(&to) { "now()" } else { "NULL" };
        db.run("BEGIN");
        let version: i64 = db.one(&format!(
            "UPDATE caliber_trajectory SET status = '{to}', completed_at = {completed}
             WHERE name = '{row}' AND status = '{from}' RETURNING version"
        ));
        assert_eq!(version, 6, "{from} -> {to}");
        db.run("ROLLBACK");
    }
    // From state to state, each one a version.
    db.run(
        "UPDATE caliber_trajectory SET status = 'suspended' WHERE name = 'active';
         UPDATE caliber_trajectory SET status = 'active' WHERE name = 'active';
         UPDATE caliber_trajectory SET status = 'failed', completed_at = now() WHERE name = 'active';
         UPDATE caliber_trajectory SET metadata = NULL WHERE name = 'active'",
    );
    let version: i64 = db.one("SELECT version FROM caliber_trajectory WHERE name = 'active'");
    assert_eq!(version, 9);
}

#[test]
fn returning_shows_what_was_assigned() {
    let mut filled = Filled::new("returning");
    let since_17 = Server::get().major() >= 17;
    let db = &mut filled.db;
    let find = "trajectory_id = '01900000-0000-7000-8000-000000000001'";
    let mut returning = vec![
        format!("UPDATE caliber_trajectory SET name = 'n' WHERE {find} RETURNING"),
        format!(
            "INSERT INTO caliber_trajectory SELECT * FROM caliber_trajectory WHERE {find}
             ON CONFLICT (trajectory_id) DO UPDATE SET name = 'n' RETURNING"
        ),
        format!("UPDATE w SET name = 'n' WHERE {find} RETURNING"),
        format!(
            "WITH u AS (UPDATE caliber_trajectory SET name = 'n' WHERE {find}
                        RETURNING version, updated_at) SELECT version, updated_at FROM u --"
        ),
    ];
    if since_17 {
        returning.push(format!(
            "MERGE INTO caliber_trajectory t USING (VALUES (1)) v ON {find}
             WHEN MATCHED THEN UPDATE SET name = 'n' RETURNING"
        ));
    }
    db.run("CREATE VIEW w AS SELECT * FROM caliber_trajectory");
    for sql in returning {
        db.run("BEGIN");
        let sql = format!("{sql} version, updated_at");
        let row = db.query_one(&sql, &[]).unwrap_or_else(|e| panic!("{}", show(&e, &sql)));
        assert_eq!(row.get::<_, i64>(0), 6, "{sql}");
        let now: std::time::SystemTime = db.one("SELECT transaction_timestamp()");
        assert_eq!(row.get::<_, std::time::SystemTime>(1), now, "{sql}");
        db.run("ROLLBACK");
    }
}

#[test]
fn after_triggers_and_transition_tables_see_what_was_assigned() {
    let mut filled = Filled::new("after_triggers");
    let db = &mut filled.db;
    db.run(
        "CREATE TABLE seen (who text, version bigint, at timestamptz);
         CREATE FUNCTION each() RETURNS trigger LANGUAGE plpgsql AS $f$
             BEGIN INSERT INTO seen VALUES ('row', NEW.version, NEW.updated_at); RETURN NULL; END $f$;
         CREATE FUNCTION every() RETURNS trigger LANGUAGE plpgsql AS $f$
             BEGIN INSERT INTO seen SELECT 'table', version, updated_at FROM come; RETURN NULL; END $f$;
         CREATE TRIGGER a AFTER UPDATE ON caliber_scope FOR EACH ROW EXECUTE FUNCTION each();
         CREATE TRIGGER b AFTER UPDATE ON caliber_scope REFERENCING NEW TABLE AS come EXECUTE FUNCTION every();
         UPDATE caliber_scope SET purpose = 'new' WHERE name = 'open'",
    );
    let seen: Vec<String> = db.all(
        "SELECT concat_ws(' ', who, s.version, s.at = c.updated_at)
         FROM seen s, caliber_scope c WHERE c.name = 'open' ORDER BY 1",
    );
    assert_eq!(seen, ["row 6 t", "table 6 t"]);
}

#[test]
fn the_writer_may_set_the_next_version_and_the_time() {
    let mut filled = Filled::new("writer");
    let db = &mut filled.db;
    let mut after = |set: &str| -> String {
        db.run("BEGIN");
        let row = db.one(&format!(
            "UPDATE caliber_scope SET {set} WHERE name = 'open'
             RETURNING version || CASE updated_at
                 WHEN transaction_timestamp() THEN ' now'
                 WHEN '2024-01-02 00:00:00.654321+00' THEN ' as before'
                 ELSE ' ' || (updated_at AT TIME ZONE 'UTC')::date END"
        ));
        db.run("ROLLBACK");
        row
    };
    assert_eq!(after("purpose = 'x'"), "6 now");
    assert_eq!(after("purpose = 'x', version = version + 1"), "6 now");
    assert_eq!(after("version = version + 1"), "6 now");
    assert_eq!(after("purpose = 'x', updated_at = '2020-05-05 12:00+00'"), "6 2020-05-05");
    assert_eq!(after("version = 6, updated_at = '2020-05-05 12:00+00'"), "6 2020-05-05");
    assert_eq!(after("updated_at = '2020-05-05 12:00+00'"), "6 2020-05-05");
    assert_eq!(after("purpose = purpose"), "5 as before");
    assert_eq!(after("purpose = purpose || '', version = version, updated_at = updated_at"), "5 as before");
    assert_eq!(after("tokens_used = tokens_used + 1, fence = fence + 1"), "5 as before");
    assert_eq!(after("tokens_used = tokens_used + 1, version = 6"), "6 now");
    assert_eq!(after("checkpoint = '{\"of\":   \"open\"}'"), "5 as before");
}

#[test]
fn each_update_of_one_transaction_is_a_version() {
    let mut filled = Filled::new("one_transaction");
    let db = &mut filled.db;
    db.run(
        "BEGIN;
         UPDATE caliber_scope SET name = 'a' WHERE token_budget = 100;
         UPDATE caliber_scope SET name = 'b' WHERE token_budget = 100;
         SAVEPOINT s;
         UPDATE caliber_scope SET name = 'c' WHERE token_budget = 100;
         ROLLBACK TO s;
         UPDATE caliber_scope SET tokens_used = 11 WHERE token_budget = 100;
         UPDATE caliber_scope SET name = 'd' WHERE token_budget = 100;
         COMMIT",
    );
    let row: String = db.one("SELECT name || version FROM caliber_scope WHERE token_budget = 100");
    assert_eq!(row, "d8");
}

#[test]
fn counters_stay_heap_only() {
    let mut filled = Filled::new("counters");
    let db = &mut filled.db;
    db.run(
        "BEGIN;
         UPDATE caliber_scope SET tokens_used = tokens_used + 1, turn_count = turn_count + 1, fence = fence + 1
         WHERE name = 'open';
         UPDATE caliber_trajectory SET fence = fence + 1 WHERE name = 'active'",
    );
    for table in ["caliber_scope", "caliber_trajectory"] {
        let hot: i64 = db.one(&format!("SELECT pg_stat_get_xact_tuples_hot_updated('{table}'::regclass)"));
        assert_eq!(hot, 1, "{table}");
    }
    db.run("COMMIT");
}

#[test]
fn deleting_is_allowed() {
    let mut filled = Filled::new("deleting");
    let db = &mut filled.db;
    db.run("DELETE FROM caliber_turn WHERE sequence = 0; DELETE FROM caliber_scope WHERE name = 'closed'");
    db.run("DELETE FROM caliber_trajectory WHERE name = 'completed'");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_turn"), 1);
    // The tree below goes with it.
    db.run("DELETE FROM caliber_trajectory WHERE name = 'active'");
    let left: i64 = db.one(
        "SELECT (SELECT count(*) FROM caliber_turn) + (SELECT count(*) FROM caliber_scope)
              + (SELECT count(*) FROM caliber_trajectory)",
    );
    assert_eq!(left, 1);
}

/// A table that an INSERT refers to, and the row that it would insert: each case changes columns.
struct BadRow {
    table: &'static str,
    set: &'static str,
    sqlstate: &'static str,
    /// The constraint, or the column of a 23502.
    names: &'static str,
}

const fn bad(table: &'static str, set: &'static str, sqlstate: &'static str, names: &'static str) -> BadRow {
    BadRow { table, set, sqlstate, names }
}

const BAD_ROWS: &[BadRow] = {
    const T: &str = "caliber_trajectory";
    const S: &str = "caliber_scope";
    const U: &str = "caliber_turn";
    &[
        bad(T, "trajectory_id = NULL", "23502", "trajectory_id"),
        bad(T, "name = NULL", "23502", "name"),
        bad(T, "status = NULL", "23502", "status"),
        bad(T, "root_trajectory_id = NULL", "23502", "root_trajectory_id"),
        bad(T, "fence = NULL", "23502", "fence"),
        bad(T, "created_at = NULL", "23502", "created_at"),
        bad(T, "updated_at = NULL", "23502", "updated_at"),
        bad(T, "version = NULL", "23502", "version"),
        bad(T, "name = ''", "23514", "caliber_trajectory_name_check"),
        bad(T, "parent_trajectory_id = NULL", "23514", "caliber_trajectory_root_check"),
        bad(T, "completed_at = now()", "23514", "caliber_trajectory_completed_at_check"),
        bad(T, "status = 'completed'", "23514", "caliber_trajectory_completed_at_check"),
        bad(T, "trajectory_id = '01900000-0000-7000-8000-000000000001'", "23505", "caliber_trajectory_pkey"),
        bad(T, "agent_id = '01900000-0000-7000-8000-00000000dead'", "23503", "caliber_trajectory_agent_id_fkey"),
        bad(T, "parent_trajectory_id = '01900000-0000-7000-8000-00000000dead'", "23503",
            "caliber_trajectory_parent_trajectory_id_fkey"),
        bad(T, "root_trajectory_id = '01900000-0000-7000-8000-00000000dead'", "23503",
            "caliber_trajectory_root_trajectory_id_fkey"),
        bad(S, "scope_id = NULL", "23502", "scope_id"),
        bad(S, "trajectory_id = NULL", "23502", "trajectory_id"),
        bad(S, "name = NULL", "23502", "name"),
        bad(S, "is_active = NULL", "23502", "is_active"),
        bad(S, "token_budget = NULL", "23502", "token_budget"),
        bad(S, "tokens_used = NULL", "23502", "tokens_used"),
        bad(S, "turn_count = NULL", "23502", "turn_count"),
        bad(S, "token_budget = 0, tokens_used = 0", "23514", "caliber_scope_token_budget_check"),
        bad(S, "tokens_used = 301", "23514", "caliber_scope_tokens_used_check"),
        bad(S, "tokens_used = -1", "23514", "caliber_scope_tokens_used_check"),
        bad(S, "closed_at = now()", "23514", "caliber_scope_closed_at_check"),
        bad(S, "is_active = false", "23514", "caliber_scope_closed_at_check"),
        bad(S, "scope_id = '01900000-0000-7000-8000-000000000011'", "23505", "caliber_scope_pkey"),
        bad(S, "trajectory_id = '01900000-0000-7000-8000-00000000dead', parent_scope_id = NULL", "23503",
            "caliber_scope_trajectory_id_fkey"),
        // A parent of another trajectory.
        bad(S, "trajectory_id = '01900000-0000-7000-8000-000000000002'", "23503",
            "caliber_scope_parent_scope_id_fkey"),
        bad(U, "turn_id = NULL", "23502", "turn_id"),
        bad(U, "scope_id = NULL", "23502", "scope_id"),
        bad(U, "sequence = NULL", "23502", "sequence"),
        bad(U, "role = NULL", "23502", "role"),
        bad(U, "content = NULL", "23502", "content"),
        bad(U, "token_count = NULL", "23502", "token_count"),
        bad(U, "created_at = NULL", "23502", "created_at"),
        bad(U, "sequence = -1", "23514", "caliber_turn_sequence_check"),
        bad(U, "token_count = -1", "23514", "caliber_turn_token_count_check"),
        bad(U, "sequence = 0", "23505", "caliber_turn_scope_sequence_key"),
        bad(U, "turn_id = '01900000-0000-7000-8000-000000000021'", "23505", "caliber_turn_pkey"),
        bad(U, "scope_id = '01900000-0000-7000-8000-00000000dead'", "23503", "caliber_turn_scope_id_fkey"),
    ]
};

/// Fills heap tables without constraints, `good_` and `bad_` and the entity table's name, with a
/// new row each.
fn stage(db: &mut Db) {
    for (table, row, set) in [
        ("caliber_trajectory", "name = 'child'", "trajectory_id = '01900000-0000-7000-8000-00000000000"),
        ("caliber_scope", "name = 'inner'", "scope_id = '01900000-0000-7000-8000-00000000001"),
        ("caliber_turn", "sequence = 1", "sequence = 7, turn_id = '01900000-0000-7000-8000-00000000002"),
    ] {
        let last = if table == "caliber_turn" { ", sequence = 8" } else { "" };
        db.run(&format!(
            "CREATE TABLE good_{table} USING heap AS SELECT * FROM {table} WHERE {row};
             CREATE TABLE bad_{table} USING heap AS SELECT * FROM {table} WHERE {row};
             UPDATE good_{table} SET {set}8';
             UPDATE bad_{table} SET {}",
            if last.is_empty() {
                format!("{set}9'")
            } else {
                format!("turn_id = '01900000-0000-7000-8000-000000000029'{last}")
            }
        ));
    }
}

fn refuse_bad_rows(mut write: impl FnMut(&mut Db, &str) -> Result<(), postgres_error::Error>) {
    let mut filled = Filled::new("bad_rows");
    let db = &mut filled.db;
    stage(db);
    let before: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    for case in BAD_ROWS {
        let BadRow { table, set, sqlstate, names } = case;
        let context = format!("{table}: {set}");
        db.run(&format!("CREATE TABLE kept AS TABLE bad_{table}; UPDATE bad_{table} SET {set}"));
        let error = assert_sqlstate(write(db, table), sqlstate, &context);
        let named = if *sqlstate == "23502" { error.column() } else { error.constraint() };
        assert_eq!(named, Some(*names), "{context}");
        assert_eq!(error.table(), Some(*table), "{context}");
        let after: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
        assert_eq!(before, after, "{context}");
        db.run(&format!("TRUNCATE bad_{table}; INSERT INTO bad_{table} TABLE kept; DROP TABLE kept"));
    }
    // Without a change both rows are good.
    for table in &TABLES[1..] {
        write(db, table).unwrap_or_else(|e| panic!("{}", show(&e, table)));
    }
}
