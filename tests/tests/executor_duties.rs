//! A call does all that the executor would do for the same statement: triggers, defaults,
//! constraints, indexes, foreign keys, privileges, row-level security.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::fs;

use caliber_tests::{Db, Schema, Server, TREE_TABLES, Tree, lease};
use postgres::error::DbError;
use serde_json::{Value, json};
use uuid::Uuid;

/// One call of every function that writes, in an order in which all succeed.
fn writes(t: &Tree) -> Vec<String> {
    let (trajectory, scope) = (t.trajectory, t.scope);
    vec![
        format!("caliber_trajectory_create('child', parent_trajectory_id => '{trajectory}')"),
        format!("caliber_trajectory_update('{trajectory}', '{{\"name\": \"x\"}}')"),
        format!("caliber_scope_create('{trajectory}', 's', 10)"),
        format!("caliber_scope_update('{scope}', '{{\"name\": \"x\"}}')"),
        format!("caliber_scope_update_tokens('{scope}', 3)"),
        format!("caliber_turn_create('{scope}', 'user', 'x')"),
        format!("caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}]')"),
        format!("caliber_scope_close('{scope}')"),
        format!("caliber_trajectory_set_status('{trajectory}', 'suspended')"),
        format!("caliber_trajectory_delete('{trajectory}')"),
    ]
}

/// One call of every function that reads.
fn reads(t: &Tree) -> Vec<(&'static str, String)> {
    let (trajectory, scope) = (t.trajectory, t.scope);
    vec![
        ("caliber_trajectory", format!("caliber_trajectory_get('{trajectory}')")),
        ("caliber_trajectory", "caliber_trajectory_list_by_status('active')".to_owned()),
        ("caliber_trajectory", format!("caliber_trajectory_list_children('{trajectory}')")),
        ("caliber_scope", format!("caliber_scope_get('{scope}')")),
        ("caliber_scope", format!("caliber_scope_get_current('{trajectory}')")),
        ("caliber_scope", format!("caliber_scope_list_by_trajectory('{trajectory}')")),
        ("caliber_turn", format!("caliber_turn_get('{scope}')")),
        ("caliber_turn", format!("caliber_turn_get_by_scope('{scope}')")),
        ("caliber_turn", format!("caliber_turn_tail('{scope}')")),
    ]
}

/// Logs each firing of the triggers made on it.
const TRIGGERS: &str = "
    CREATE TABLE fired (n bigserial, what text);
    CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        INSERT INTO fired (what) VALUES (TG_WHEN || ' ' || TG_OP || ' ' || TG_TABLE_NAME);
        RETURN coalesce(NEW, OLD); END$$;
    CREATE FUNCTION log_statement() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        INSERT INTO fired (what) VALUES (TG_WHEN || ' ' || TG_OP || ' statement ' || TG_TABLE_NAME);
        RETURN NULL; END$$;
    CREATE FUNCTION log_new() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        INSERT INTO fired (what) SELECT TG_OP || ' new rows ' || count(*) FROM new_rows;
        RETURN NULL; END$$;
    CREATE FUNCTION log_old() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        INSERT INTO fired (what) SELECT TG_OP || ' old rows ' || count(*) FROM old_rows;
        RETURN NULL; END$$;
    CREATE FUNCTION log_both() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        INSERT INTO fired (what) SELECT TG_OP || ' from ' || string_agg(o.name || ' to ' || n.name, ',')
        FROM old_rows o, new_rows n;
        RETURN NULL; END$$;";

/// What fired since the last look.
fn fired(db: &mut Db) -> Vec<String> {
    let fired = db.all("SELECT what FROM fired ORDER BY n");
    db.run("TRUNCATE fired");
    fired
}

#[test]
fn triggers_fire_in_the_executors_order() {
    let mut t = Tree::new("executor");
    t.db.run(TRIGGERS);
    for table in ["caliber_turn", "caliber_trajectory"] {
        t.db.run(&format!(
            "CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON {table}
                FOR EACH ROW EXECUTE FUNCTION log_row();
             CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON {table}
                FOR EACH ROW EXECUTE FUNCTION log_row();
             CREATE TRIGGER c BEFORE INSERT OR UPDATE OR DELETE ON {table}
                FOR EACH STATEMENT EXECUTE FUNCTION log_statement();
             CREATE TRIGGER d AFTER INSERT OR UPDATE OR DELETE ON {table}
                FOR EACH STATEMENT EXECUTE FUNCTION log_statement()"
        ));
    }
    t.append("'user', 'x'");
    let scope = t.scope;
    assert_eq!(
        fired(&mut t.db),
        [
            "BEFORE INSERT statement caliber_turn",
            "BEFORE INSERT caliber_turn",
            "AFTER INSERT caliber_turn",
            "AFTER INSERT statement caliber_turn",
        ]
    );
    t.db.run(&format!(
        "SELECT caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}, {{\"role\": \"user\"}}]')"
    ));
    assert_eq!(
        fired(&mut t.db),
        [
            "BEFORE INSERT statement caliber_turn",
            "BEFORE INSERT caliber_turn",
            "BEFORE INSERT caliber_turn",
            "AFTER INSERT caliber_turn",
            "AFTER INSERT caliber_turn",
            "AFTER INSERT statement caliber_turn",
        ]
    );
    let id = t.trajectory;
    t.db.run(&format!("SELECT caliber_trajectory_update('{id}', '{{\"name\": \"x\"}}')"));
    assert_eq!(
        fired(&mut t.db),
        [
            "BEFORE UPDATE statement caliber_trajectory",
            "BEFORE UPDATE caliber_trajectory",
            "AFTER UPDATE caliber_trajectory",
            "AFTER UPDATE statement caliber_trajectory",
        ]
    );
    t.db.run(&format!("SELECT caliber_trajectory_delete('{id}')"));
    let fired = fired(&mut t.db);
    for (what, times) in [
        ("BEFORE DELETE caliber_turn", 3),
        ("AFTER DELETE caliber_turn", 3),
        ("BEFORE DELETE caliber_trajectory", 1),
        ("AFTER DELETE caliber_trajectory", 1),
    ] {
        assert_eq!(fired.iter().filter(|line| *line == what).count(), times, "{what}: {fired:?}");
    }
}

#[test]
fn transition_tables_hold_the_rows() {
    let mut t = Tree::new("executor");
    t.db.run(TRIGGERS);
    t.db.run(
        "CREATE TRIGGER a AFTER INSERT ON caliber_turn REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION log_new();
         CREATE TRIGGER b AFTER DELETE ON caliber_trajectory REFERENCING OLD TABLE AS old_rows
            FOR EACH STATEMENT EXECUTE FUNCTION log_old();
         CREATE TRIGGER c AFTER UPDATE ON caliber_trajectory
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION log_both()",
    );
    let (scope, id) = (t.scope, t.trajectory);
    t.db.run(&format!(
        "SELECT caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}, {{\"role\": \"user\"}}]');
         SELECT caliber_turn_create('{scope}', 'user', 'x');
         SELECT caliber_trajectory_update('{id}', '{{\"name\": \"other\"}}')"
    ));
    assert_eq!(
        fired(&mut t.db),
        ["INSERT new rows 2", "INSERT new rows 1", "UPDATE from task to other"]
    );
    t.db.run(&format!(
        "SELECT caliber_trajectory_create('child', parent_trajectory_id => '{id}');
         SELECT caliber_trajectory_delete('{id}')"
    ));
    assert!(fired(&mut t.db).contains(&"DELETE old rows 2".to_owned()));
}

#[test]
fn update_of_triggers_look_at_the_columns_given() {
    let mut t = Tree::new("executor");
    t.db.run(TRIGGERS);
    t.db.run(
        "CREATE TRIGGER a AFTER UPDATE OF name ON caliber_trajectory
            FOR EACH ROW EXECUTE FUNCTION log_row();
         CREATE TRIGGER b BEFORE UPDATE ON caliber_trajectory FOR EACH ROW
            WHEN (OLD.description IS DISTINCT FROM NEW.description) EXECUTE FUNCTION log_row()",
    );
    let id = t.trajectory;
    let update =
        |changes: &str| format!("SELECT caliber_trajectory_update('{id}', '{{{changes}}}')");
    t.db.run(&update("\"outcome\": 1"));
    assert_eq!(fired(&mut t.db), [""; 0]);
    t.db.run(&update("\"name\": \"task\""));
    assert_eq!(fired(&mut t.db), ["AFTER UPDATE caliber_trajectory"]);
    t.db.run(&update("\"description\": \"new\""));
    assert_eq!(fired(&mut t.db), ["BEFORE UPDATE caliber_trajectory"]);
}

#[test]
fn a_before_trigger_may_leave_the_row_out() {
    let mut t = Tree::new("executor");
    t.db.run(
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
         CREATE TRIGGER skip BEFORE INSERT ON caliber_turn FOR EACH ROW
         WHEN (NEW.content = 'skip') EXECUTE FUNCTION skip();
         CREATE TRIGGER skip BEFORE UPDATE OR DELETE ON caliber_trajectory FOR EACH ROW
         EXECUTE FUNCTION skip()",
    );
    let (scope, id) = (t.scope, t.trajectory);
    let call = format!("caliber_turn_create('{scope}', 'user', 'skip', 5)");
    assert_eq!(t.db.json(&call), Value::Null);
    let row = t.scope_row();
    assert_eq!(
        (&row["turn_count"], &row["tokens_used"]),
        (&json!(0), &json!(0)),
        "nothing to charge"
    );
    let messages =
        json!([{"role": "user", "content": "skip"}, {"role": "user", "content": "keep"}]);
    let ids: Vec<Uuid> =
        t.db.all(&format!("SELECT caliber_turn_append_many('{scope}', '{messages}')"));
    assert_eq!(ids.len(), 1);
    assert_eq!(t.db.all::<i32>("SELECT sequence FROM caliber_turn"), [0]);
    let row = t.scope_row();
    assert_eq!((&row["turn_count"], &row["tokens_used"]), (&json!(1), &json!(1)));
    let before = t.trajectory_row();
    let call = format!("caliber_trajectory_update('{id}', '{{\"name\": \"x\"}}')");
    assert_eq!(t.db.json(&call), Value::Null);
    assert_eq!(t.trajectory_row(), before);
}

#[test]
fn a_before_trigger_may_change_the_row() {
    let mut t = Tree::new("executor");
    t.db.run(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
         $$BEGIN NEW.content := upper(NEW.content); RETURN NEW; END$$;
         CREATE TRIGGER shout BEFORE INSERT ON caliber_turn FOR EACH ROW EXECUTE FUNCTION shout();
         CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS
         $$BEGIN NEW.name := lower(NEW.name); NEW.description := 'by trigger'; RETURN NEW; END$$;
         CREATE TRIGGER quiet BEFORE UPDATE ON caliber_trajectory
         FOR EACH ROW EXECUTE FUNCTION quiet()",
    );
    let id = t.append("'user', 'loud'");
    let turn = t.db.json(&format!("caliber_turn_get('{id}')"));
    assert_eq!(turn["content"], json!("LOUD"));
    let id = t.trajectory;
    let row = t.db.json(&format!("caliber_trajectory_update('{id}', '{{\"name\": \"QUIET\"}}')"));
    assert_eq!((&row["name"], &row["description"]), (&json!("quiet"), &json!("by trigger")));
    assert_eq!(row, t.trajectory_row());
}

#[test]
fn an_error_in_a_trigger_undoes_the_call() {
    let mut t = Tree::new("executor");
    t.db.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
         $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'ZZ001'; END$$;
         CREATE TRIGGER fail AFTER INSERT ON caliber_turn FOR EACH ROW EXECUTE FUNCTION fail();
         CREATE TRIGGER fail AFTER UPDATE ON caliber_trajectory
         FOR EACH STATEMENT EXECUTE FUNCTION fail()",
    );
    let calls = writes(&t);
    for call in [&calls[5], &calls[6], &calls[1], &calls[8]] {
        t.refused(&format!("SELECT {call}"), "ZZ001");
    }
}

#[test]
fn a_trigger_may_call_the_functions() {
    let mut t = Tree::new("executor");
    let log = t.new_scope(1_000);
    t.db.run(&format!(
        "CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            PERFORM caliber_turn_create('{log}', 'system', 'echo of ' || NEW.content);
            RETURN NEW; END$$;
         CREATE TRIGGER echo AFTER INSERT ON caliber_turn FOR EACH ROW
         WHEN (NEW.scope_id <> '{log}') EXECUTE FUNCTION echo()"
    ));
    t.append("'user', 'one'");
    t.append("'user', 'two'");
    let echoes: Vec<String> = t.db.all(&format!("SELECT content FROM caliber_turn_tail('{log}')"));
    assert_eq!(echoes, ["echo of one", "echo of two"]);
}

#[test]
fn a_trigger_may_append_to_the_scope_that_is_appended_to() {
    for time in ["BEFORE", "AFTER"] {
        let mut t = Tree::new("executor");
        let scope = t.scope;
        t.db.run(&format!(
            "CREATE FUNCTION reply() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
                PERFORM caliber_turn_create(NEW.scope_id, 'assistant', 'reply', 2);
                RETURN NEW; END$$;
             CREATE TRIGGER reply {time} INSERT ON caliber_turn FOR EACH ROW
             WHEN (NEW.role = 'user') EXECUTE FUNCTION reply()"
        ));
        let two = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]);
        for call in [
            format!("caliber_turn_create('{scope}', 'user', 'hello', 3)"),
            format!("caliber_turn_append_many('{scope}', '{two}')"),
        ] {
            let before = t.db.rows_of("caliber_turn");
            // It works, or it is refused as a trigger's change of the same row is.
            let sql = format!("SELECT {call}");
            if let Err(error) = t.db.attempt(&sql) {
                let code = error.as_db_error().expect("the server lives").code().code().to_owned();
                assert!(["27000", "23505"].contains(&&*code), "{time} {call}: {error:?}");
                assert_eq!(t.db.rows_of("caliber_turn"), before);
            }
            let (sum, count): (i64, i64) = {
                let row =
                    t.db.query_one(
                        "SELECT coalesce(sum(token_count), 0), count(*) FROM caliber_turn",
                        &[],
                    )
                    .unwrap();
                (row.get(0), row.get(1))
            };
            let row = t.scope_row();
            assert_eq!(
                (&row["tokens_used"], &row["turn_count"]),
                (&json!(sum), &json!(count)),
                "{time} {call}"
            );
        }
    }
}

#[test]
fn a_trigger_may_write_to_the_scope_of_a_new_turn() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.db.run(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            UPDATE caliber_scope SET checkpoint = to_jsonb(NEW.sequence) WHERE scope_id = NEW.scope_id;
            RETURN NULL; END$$;
         CREATE TRIGGER note AFTER INSERT ON caliber_turn FOR EACH ROW EXECUTE FUNCTION note()",
    );
    for call in [
        format!("caliber_turn_create('{scope}', 'user', 'x', 3)"),
        format!("caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}]')"),
    ] {
        t.db.run(&format!("SELECT {call}"));
    }
    let row = t.scope_row();
    assert_eq!(
        (&row["checkpoint"], &row["turn_count"], &row["tokens_used"]),
        (&json!(1), &json!(2), &json!(3))
    );
}

#[test]
fn added_columns_behave_as_in_sql() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.append("'user', 'before'");
    t.db.run(
        "CREATE SEQUENCE ticket;
         ALTER TABLE caliber_turn
            ADD COLUMN ticket bigint DEFAULT nextval('ticket'),
            ADD COLUMN mood text NOT NULL DEFAULT 'calm',
            ADD COLUMN words int GENERATED ALWAYS AS (cardinality(string_to_array(content, ' '))) STORED,
            ADD COLUMN nothing text,
            ADD CONSTRAINT short CHECK (length(content) < 20),
            ADD CONSTRAINT few CHECK (words < 4);
         ALTER TABLE caliber_turn DROP COLUMN nothing;
         ALTER TABLE caliber_trajectory
            ADD COLUMN label text GENERATED ALWAYS AS (upper(name)) STORED,
            ADD CONSTRAINT no_x CHECK (label <> 'X')",
    );
    let id = t.append("'user', 'two words'");
    let row: Value =
        t.db.one(&format!("SELECT to_jsonb(t) FROM caliber_turn t WHERE turn_id = '{id}'"));
    assert_eq!(
        (&row["ticket"], &row["mood"], &row["words"]),
        (&json!(2), &json!("calm"), &json!(2))
    );
    for (content, constraint) in [
        ("a b c d", "few"),
        ("a text of more than 20", "few"),
        ("xxxxxxxxxxxxxxxxxxxxxxx", "short"),
    ] {
        let call = format!("SELECT caliber_turn_create('{scope}', 'user', '{content}')");
        let raw = format!(
            "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
             VALUES ('{scope}', 99, 'user', '{content}', 1)"
        );
        for sql in [call, raw] {
            assert_eq!(t.refused(&sql, "23514").constraint(), Some(constraint), "{sql}");
        }
    }
    let id = t.trajectory;
    t.db.run(&format!("SELECT caliber_trajectory_update('{id}', '{{\"name\": \"y\"}}')"));
    assert_eq!(t.db.all::<String>("SELECT label FROM caliber_trajectory"), ["Y"]);
    let error = t.refused(
        &format!("SELECT caliber_trajectory_update('{id}', '{{\"name\": \"x\"}}')"),
        "23514",
    );
    assert_eq!(error.constraint(), Some("no_x"));
    // A column that nothing fills.
    t.db.run("ALTER TABLE caliber_turn ALTER COLUMN mood DROP DEFAULT");
    let error = t.refused(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x')"), "23502");
    assert_eq!(error.column(), Some("mood"));
}

#[test]
fn the_defaults_of_the_table_are_used() {
    let mut t = Tree::new("executor");
    let fixed = "01920000-0000-7000-8000-000000000077";
    t.db.run(&format!(
        "ALTER TABLE caliber_turn ALTER COLUMN metadata SET DEFAULT '{{\"d\": 1}}';
         ALTER TABLE caliber_turn ALTER COLUMN turn_id SET DEFAULT '{fixed}'"
    ));
    assert_eq!(t.append("'user', 'x'"), Uuid::parse_str(fixed).unwrap());
    assert_eq!(t.db.json(&format!("caliber_turn_get('{fixed}')"))["metadata"], json!({"d": 1}));
    let scope = t.scope;
    let error = t.refused(&format!("SELECT caliber_turn_create('{scope}', 'user', 'x')"), "23505");
    assert_eq!(error.constraint(), Some("caliber_turn_pkey"));
}

/// The error that a call and a statement both raise.
fn same_error(t: &mut Tree, sqlstate: &str, call: &str, statement: &str) -> DbError {
    let by_call = t.refused(call, sqlstate);
    let by_sql = t.refused(statement, sqlstate);
    assert_eq!(by_call.constraint(), by_sql.constraint(), "{call}");
    assert_eq!(by_call.table(), by_sql.table(), "{call}");
    assert_eq!(by_call.message(), by_sql.message(), "{call}");
    by_call
}

#[test]
fn user_indexes_of_every_kind_are_kept_up() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.db.run(
        "CREATE UNIQUE INDEX one_greeting ON caliber_turn (lower(content)) WHERE role = 'system';
         CREATE INDEX by_metadata ON caliber_turn USING gin (metadata);
         CREATE INDEX by_hash ON caliber_turn USING hash (content);
         CREATE INDEX by_brin ON caliber_turn USING brin (created_at);
         CREATE INDEX by_purpose ON caliber_scope (purpose) WHERE purpose IS NOT NULL;
         CREATE INDEX by_name ON caliber_trajectory (lower(name));
         CREATE INDEX by_outcome ON caliber_trajectory USING gin (outcome)",
    );
    t.append("'system', 'Hello', metadata => '{\"k\": 1}'");
    t.append("'user', 'HELLO'");
    let error = same_error(
        &mut t,
        "23505",
        &format!("SELECT caliber_turn_create('{scope}', 'system', 'hELLO')"),
        &format!(
            "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
             VALUES ('{scope}', 9, 'system', 'hELLO', 1)"
        ),
    );
    assert_eq!(error.constraint(), Some("one_greeting"));
    let id = t.trajectory;
    t.db.run(&format!(
        "SELECT caliber_trajectory_update('{id}', '{{\"name\": \"Neu\", \"outcome\": {{\"done\": true}}}}');
         SELECT caliber_scope_update('{scope}', '{{\"purpose\": \"found\"}}')"
    ));
    t.db.run("SET enable_seqscan = off");
    for (condition, index) in [
        ("caliber_turn WHERE lower(content) = 'hello' AND role = 'system'", "one_greeting"),
        ("caliber_turn WHERE metadata @> '{\"k\": 1}'", "by_metadata"),
        ("caliber_turn WHERE content = 'HELLO'", "by_hash"),
        ("caliber_scope WHERE purpose = 'found'", "by_purpose"),
        ("caliber_trajectory WHERE lower(name) = 'neu'", "by_name"),
        ("caliber_trajectory WHERE outcome @> '{\"done\": true}'", "by_outcome"),
    ] {
        let plan = t.db.all::<String>(&format!("EXPLAIN SELECT * FROM {condition}")).join("\n");
        assert!(plan.contains(index), "{condition}: {plan}");
        assert_eq!(t.db.one::<i64>(&format!("SELECT count(*) FROM {condition}")), 1, "{condition}");
    }
    t.db.run("SET enable_seqscan = on");
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn WHERE created_at <= now()"), 2);
}

#[test]
fn deferred_constraints_are_checked_at_commit() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.db.run(
        "ALTER TABLE caliber_turn ADD CONSTRAINT once UNIQUE (content) DEFERRABLE INITIALLY DEFERRED",
    );
    t.append("'user', 'x'");
    t.db.run("BEGIN");
    let duplicate = t.append("'user', 'x'");
    t.db.run(&format!("DELETE FROM caliber_turn WHERE turn_id = '{duplicate}'"));
    t.db.run("COMMIT");
    let twice = format!("BEGIN; SELECT caliber_turn_create('{scope}', 'user', 'x'); COMMIT");
    assert_eq!(t.refused(&twice, "23505").constraint(), Some("once"));
    // A deferred foreign key of the user's, too.
    t.db.run(
        "ALTER TABLE caliber_turn DROP CONSTRAINT once;
         CREATE TABLE known (content text PRIMARY KEY); INSERT INTO known VALUES ('x');
         ALTER TABLE caliber_turn ADD CONSTRAINT known FOREIGN KEY (content) REFERENCES known
         DEFERRABLE INITIALLY DEFERRED",
    );
    let append = format!("SELECT caliber_turn_create('{scope}', 'user', 'y')");
    t.db.run(&format!("BEGIN; {append}; INSERT INTO known VALUES ('y'); COMMIT"));
    let unknown = append.replace("'y'", "'z'");
    assert_eq!(
        t.refused(&format!("BEGIN; {unknown}; COMMIT"), "23503").constraint(),
        Some("known")
    );
    t.refused(&format!("BEGIN; SET CONSTRAINTS known IMMEDIATE; {unknown}"), "23503");
}

#[test]
fn exclusion_constraints_hold() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.db.run(
        "ALTER TABLE caliber_turn ADD COLUMN span int4range
            GENERATED ALWAYS AS (int4range(sequence * 10, sequence * 10 + length(content))) STORED;
         ALTER TABLE caliber_turn ADD CONSTRAINT apart EXCLUDE USING gist (span WITH &&)",
    );
    t.append("'user', 'eleven char'");
    let error = same_error(
        &mut t,
        "23P01",
        &format!("SELECT caliber_turn_create('{scope}', 'user', 'x')"),
        &format!(
            "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
             VALUES ('{scope}', 1, 'user', 'x', 1)"
        ),
    );
    assert_eq!(error.constraint(), Some("apart"));
}

#[test]
fn foreign_keys_raise_what_sql_raises() {
    let mut t = Tree::new("executor");
    let unknown = caliber_tests::UNKNOWN;
    let (trajectory, scope) = (t.trajectory, t.scope);
    same_error(
        &mut t,
        "23503",
        &format!("SELECT caliber_turn_create('{unknown}', 'user', 'x')"),
        &format!(
            "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
             VALUES ('{unknown}', 0, 'user', 'x', 1)"
        ),
    );
    same_error(
        &mut t,
        "23503",
        &format!("SELECT caliber_scope_create('{unknown}', 's', 5)"),
        &format!(
            "INSERT INTO caliber_scope (trajectory_id, name, token_budget)
             VALUES ('{unknown}', 's', 5)"
        ),
    );
    same_error(
        &mut t,
        "23503",
        &format!(
            "SELECT caliber_trajectory_update('{trajectory}', '{{\"agent_id\": \"{unknown}\"}}')"
        ),
        &format!(
            "UPDATE caliber_trajectory SET agent_id = '{unknown}' WHERE trajectory_id = '{trajectory}'"
        ),
    );
    // A table of the user's that refers to turns without ON DELETE.
    t.db.run("CREATE TABLE quote (turn_id uuid REFERENCES caliber_turn (turn_id))");
    let id = t.append("'user', 'quoted'");
    t.db.run(&format!("INSERT INTO quote VALUES ('{id}')"));
    t.refused(&format!("SELECT caliber_trajectory_delete('{trajectory}')"), "23503");
    t.db.run("TRUNCATE quote");
    t.db.run(&format!("SELECT caliber_trajectory_delete('{trajectory}')"));
    assert_eq!(t.db.json(&format!("caliber_scope_get('{scope}')")), Value::Null);
}

/// A role with a name of the test's own, dropped when it goes away.
struct Role(String);

impl Role {
    fn new(t: &mut Tree) -> Self {
        let role = Self(format!("{}_role", t.schema().name()));
        let schema = t.schema().name().to_owned();
        t.db.run(&format!(
            "DROP ROLE IF EXISTS {0}; CREATE ROLE {0}; GRANT USAGE ON SCHEMA {schema} TO {0}",
            role.0
        ));
        role
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let drop = format!("DROP OWNED BY {0}; DROP ROLE {0}", self.0);
        if let Err(error) = Server::get().connect().attempt(&drop) {
            eprintln!("role {} stays: {error}", self.0);
        }
    }
}

#[test]
fn every_function_needs_its_table_privileges() {
    let mut t = Tree::new("executor");
    let role = Role::new(&mut t);
    t.append("'user', 'x'");
    let (insert, update, delete) = ("INSERT", "UPDATE", "DELETE");
    let (trajectory, scope, turn) = (TREE_TABLES[0], TREE_TABLES[1], TREE_TABLES[2]);
    let mut needs: Vec<(String, Vec<(&str, &str)>)> = writes(&t)
        .into_iter()
        .map(|call| {
            let mut needed = match call.split('(').next().unwrap() {
                "caliber_trajectory_create" => vec![(trajectory, insert), (trajectory, update)],
                "caliber_trajectory_update" | "caliber_trajectory_set_status" => {
                    vec![(trajectory, update)]
                }
                "caliber_trajectory_delete" => {
                    vec![(trajectory, delete), (scope, delete), (turn, delete)]
                }
                "caliber_scope_create" => vec![(scope, insert), (trajectory, update)],
                "caliber_turn_create" | "caliber_turn_append_many" => {
                    vec![(turn, insert), (scope, update), (trajectory, update)]
                }
                _ => vec![(scope, update), (trajectory, update)],
            };
            let tables: std::collections::BTreeSet<_> =
                needed.iter().map(|(table, _)| *table).collect();
            needed.extend(tables.into_iter().map(|table| (table, "SELECT")));
            (call, needed)
        })
        .collect();
    needs.extend(reads(&t).into_iter().map(|(table, call)| (call, vec![(table, "SELECT")])));
    for (call, needed) in needs {
        // A new trajectory's parent is only locked by the foreign key, as its owner.
        let must: Vec<_> = needed
            .iter()
            .filter(|need| !(call.contains("trajectory_create") && **need == (trajectory, update)))
            .collect();
        for missing in must {
            t.db.run("BEGIN");
            for (table, privilege) in needed.iter().filter(|need| *need != missing) {
                t.db.run(&format!("GRANT {privilege} ON {table} TO {}", role.0));
            }
            t.db.run(&format!("SET LOCAL ROLE {}", role.0));
            let error =
                t.db.attempt(&format!("SELECT {call}")).expect_err(&format!("{missing:?}: {call}"));
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), "42501", "without {missing:?} {call}: {error:?}");
            assert!(error.message().contains(missing.0), "{missing:?} {call}: {error:?}");
            t.db.run("ROLLBACK");
        }
        t.db.run("BEGIN");
        for (table, privilege) in &needed {
            t.db.run(&format!("GRANT {privilege} ON {table} TO {}", role.0));
        }
        t.db.run(&format!("SET LOCAL ROLE {}; SELECT {call}; ROLLBACK", role.0));
    }
}

#[test]
fn a_new_fence_needs_to_read_the_leases() {
    let mut t = Tree::new("executor");
    let role = Role::new(&mut t);
    let scope = t.scope;
    let fence = lease(&mut t.db, "scope", scope);
    t.db.run(&format!(
        "GRANT SELECT, INSERT, UPDATE ON caliber_trajectory, caliber_scope, caliber_turn TO {}",
        role.0
    ));
    let append = format!("SELECT caliber_turn_create('{scope}', 'user', 'x', fence => {fence})");
    let call = format!("SET ROLE {}; {append}", role.0);
    let error = t.db.refused(&call, "42501");
    assert!(error.message().contains("caliber_lock"), "{error:?}");
    t.db.run(&format!("RESET ROLE; GRANT SELECT ON caliber_lock TO {}", role.0));
    t.db.run(&call);
    t.db.run(&format!("RESET ROLE; REVOKE SELECT ON caliber_lock FROM {}", role.0));
    // The remembered one is only compared.
    t.db.run(&call);
    t.db.run("RESET ROLE");
}

#[test]
fn privileges_on_all_columns_are_as_good() {
    let mut t = Tree::new("executor");
    let role = Role::new(&mut t);
    let id = t.append("'user', 'x'");
    let columns: String = t.db.one(
        "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                  WHERE attrelid = 'caliber_turn'::regclass AND attnum > 0",
    );
    let get = format!("SET ROLE {}; SELECT caliber_turn_get('{id}')", role.0);
    t.db.run(&format!("GRANT SELECT (turn_id, content) ON caliber_turn TO {}", role.0));
    t.db.refused(&get, "42501");
    t.db.run(&format!("RESET ROLE; GRANT SELECT ({columns}) ON caliber_turn TO {}", role.0));
    t.db.run(&get);
    t.db.run("RESET ROLE");
}

#[test]
fn without_usage_of_the_schema_nothing_is_found() {
    let mut t = Tree::new("executor");
    let role = Role::new(&mut t);
    let schema = t.schema().name().to_owned();
    t.db.run(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {0}; REVOKE USAGE ON SCHEMA {schema} FROM {0}",
        role.0
    ));
    for (_, call) in reads(&t) {
        t.db.refused(&format!("SET ROLE {}; SELECT {call}", role.0), "42501");
        t.db.run("RESET ROLE");
    }
}

#[test]
fn row_level_security_is_never_bypassed() {
    let mut t = Tree::new("executor");
    let role = Role::new(&mut t);
    t.append("'user', 'secret'");
    t.db.run(&format!(
        "GRANT ALL ON caliber_trajectory, caliber_scope, caliber_turn TO {0};
         ALTER TABLE caliber_trajectory ENABLE ROW LEVEL SECURITY;
         ALTER TABLE caliber_scope ENABLE ROW LEVEL SECURITY;
         ALTER TABLE caliber_turn ENABLE ROW LEVEL SECURITY;
         CREATE POLICY all_of_it ON caliber_turn USING (true)",
        role.0
    ));
    let mut calls = writes(&t);
    calls.extend(reads(&t).into_iter().map(|(_, call)| call));
    for call in &calls {
        let error = t.db.refused(&format!("SET ROLE {}; SELECT {call}", role.0), "0A000");
        assert!(error.hint().unwrap_or_default().contains("SQL"), "{error:?}");
        assert!(error.message().contains("caliber_"), "{error:?}");
        t.db.run("RESET ROLE");
    }
    // Who bypasses policies goes on working.
    for call in &calls {
        t.db.run(&format!("SELECT {call}"));
    }
}

#[test]
fn read_only_transactions_read_only() {
    let mut t = Tree::new("executor");
    let calls = writes(&t);
    for call in &calls {
        t.refused(&format!("BEGIN READ ONLY; SELECT {call}"), "25006");
    }
    for (_, call) in reads(&t) {
        t.db.run(&format!("BEGIN READ ONLY; SELECT {call}; COMMIT"));
    }
}

#[test]
fn init_is_a_write_also_when_nothing_is_missing() {
    let mut t = Tree::new("executor");
    let schema = t.schema().name().to_owned();
    t.refused(&format!("BEGIN READ ONLY; SELECT caliber_init('{schema}', 8)"), "25006");
}

#[test]
fn tables_with_rewrite_rules_are_refused() {
    for table in TREE_TABLES {
        let mut t = Tree::new("executor");
        t.db.run(&format!("CREATE RULE quiet AS ON INSERT TO {table} DO ALSO NOTHING"));
        let calls = writes(&t);
        let call = match *table {
            "caliber_trajectory" => &calls[0],
            "caliber_scope" => &calls[2],
            _ => &calls[5],
        };
        let error = t.refused(&format!("SELECT {call}"), "0A000");
        assert!(error.message().contains(table), "{error:?}");
        for (_, call) in reads(&t) {
            t.db.run(&format!("SELECT {call}"));
        }
    }
}

#[test]
fn partitioned_tables_are_refused() {
    let mut t = Tree::new("executor");
    t.db.run(
        "ALTER TABLE caliber_turn RENAME TO old_turn;
         CREATE TABLE caliber_turn (LIKE old_turn INCLUDING DEFAULTS) PARTITION BY HASH (scope_id);
         CREATE TABLE turn_0 PARTITION OF caliber_turn FOR VALUES WITH (MODULUS 1, REMAINDER 0)
            USING caliber_am",
    );
    let calls = writes(&t);
    let mut refused = vec![calls[5].clone(), calls[6].clone(), calls[9].clone()];
    refused.extend(
        reads(&t).into_iter().filter(|(table, _)| *table == "caliber_turn").map(|(_, call)| call),
    );
    for call in refused {
        let error = t.refused(&format!("SELECT {call}"), "0A000");
        assert!(error.message().contains("partitioned"), "{error:?}");
    }
}

#[test]
fn a_missing_table_says_how_to_make_it() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    let bare = Schema::bare("executor");
    t.db.run(&format!("SET caliber.schema = {}", bare.name()));
    let mut calls = writes(&t);
    calls.extend(reads(&t).into_iter().map(|(_, call)| call));
    for call in &calls {
        let error = t.db.refused(&format!("SELECT {call}"), "42P01");
        assert!(error.hint().unwrap_or_default().contains("caliber_init()"), "{error:?}");
    }
    t.db.run("SET caliber.schema = 'there is no such schema'");
    for call in &calls {
        let sql = format!("SELECT {call}");
        let error = t.db.attempt(&sql).expect_err(&sql);
        let error = error.as_db_error().unwrap();
        assert!(["42P01", "3F000"].contains(&error.code().code()), "{error:?}");
        assert!(error.hint().unwrap_or_default().contains("caliber"), "{error:?}");
    }
    t.db.run("SET caliber.schema = ''");
    let error =
        t.db.attempt(&format!("SELECT caliber_turn_tail('{scope}')")).expect_err("no schema");
    let code = error.as_db_error().unwrap().code().code().to_owned();
    assert!(["42P01", "3F000"].contains(&&*code), "{error:?}");
    // A schema whose name needs quotes.
    t.db.run("DROP SCHEMA IF EXISTS \"O'Brien's \"\"memory\"\"\" CASCADE");
    t.db.run("SET caliber.schema = 'O''Brien''s \"memory\"'");
    t.db.run("SELECT caliber_init('O''Brien''s \"memory\"', 8)");
    let id: Uuid = t.db.one("SELECT caliber_trajectory_create('quoted')");
    assert_ne!(t.db.json(&format!("caliber_trajectory_get('{id}')")), Value::Null);
    t.db.run("SET client_min_messages = error; DROP SCHEMA \"O'Brien's \"\"memory\"\"\" CASCADE");
}

#[test]
fn a_table_of_another_shape_is_refused() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.append("'user', 'x'");
    let call = format!("SELECT caliber_turn_tail('{scope}')");
    for ddl in [
        "ALTER TABLE caliber_turn RENAME TO hidden; CREATE TABLE caliber_turn (turn_id uuid)",
        "ALTER TABLE caliber_turn RENAME TO hidden; CREATE VIEW caliber_turn AS SELECT * FROM hidden",
        "ALTER TABLE caliber_turn SET ACCESS METHOD heap",
        "ALTER TABLE caliber_turn DROP COLUMN metadata",
        "ALTER TABLE caliber_turn RENAME COLUMN metadata TO other",
    ] {
        t.refused(&format!("BEGIN; {ddl}; {call}"), "42P16");
    }
    t.db.run(&call);
}

#[test]
fn a_missing_index_is_named() {
    let mut t = Tree::new("executor");
    let (scope, trajectory) = (t.scope, t.trajectory);
    for (ddl, call) in [
        (
            "ALTER TABLE caliber_turn DROP CONSTRAINT caliber_turn_scope_sequence_key",
            format!("caliber_turn_tail('{scope}')"),
        ),
        (
            "ALTER TABLE caliber_turn DROP CONSTRAINT caliber_turn_scope_sequence_key",
            format!("caliber_turn_create('{scope}', 'user', 'x')"),
        ),
        (
            "ALTER TABLE caliber_turn DROP CONSTRAINT caliber_turn_pkey",
            format!("caliber_turn_get('{scope}')"),
        ),
        (
            "DROP INDEX caliber_trajectory_status_idx",
            "caliber_trajectory_list_by_status('active')".to_owned(),
        ),
        (
            "DROP INDEX caliber_trajectory_parent_idx",
            format!("caliber_trajectory_list_children('{trajectory}')"),
        ),
    ] {
        let error = t.refused(&format!("BEGIN; {ddl}; SELECT {call}"), "42P16");
        assert!(error.detail().unwrap_or_default().contains("index"), "{error:?}");
        assert!(error.hint().unwrap_or_default().contains("caliber_init()"), "{error:?}");
    }
    // Another index of the same columns serves as well.
    t.db.run(
        "BEGIN; DROP INDEX caliber_trajectory_status_idx;
         CREATE INDEX mine ON caliber_trajectory (status, trajectory_id, name);
         SELECT caliber_trajectory_list_by_status('active'); ROLLBACK",
    );
}

#[test]
fn a_hostile_search_path_changes_nothing() {
    let mut t = Tree::new("executor");
    let (scope, name) = (t.scope, t.schema().name().to_owned());
    let hostile = Schema::bare("hostile");
    let mut db = t.connect();
    db.run(&format!(
        "SET search_path = {hostile}, {name}, public;
         CREATE TABLE {hostile}.caliber_turn (LIKE {name}.caliber_turn INCLUDING ALL) USING caliber_am;
         CREATE TABLE {hostile}.caliber_scope (LIKE {name}.caliber_scope INCLUDING ALL) USING caliber_am;
         CREATE FUNCTION {hostile}.caliber_new_id() RETURNS uuid LANGUAGE sql AS
            $$SELECT '01920000-0000-7000-8000-00000000bad0'::uuid$$;
         CREATE FUNCTION {hostile}.lt(uuid, uuid) RETURNS bool LANGUAGE sql AS 'SELECT false';
         CREATE OPERATOR {hostile}.= (leftarg = uuid, rightarg = uuid, function = {hostile}.lt);
         SET search_path = {hostile}, pg_catalog, {name}, public",
        hostile = hostile.name()
    ));
    let id: Uuid =
        db.one(&format!("SELECT public.caliber_turn_create('{scope}', 'user', 'safe', 3)"));
    assert_ne!(id.to_string(), "01920000-0000-7000-8000-00000000bad0");
    assert_eq!(db.one::<i64>(&format!("SELECT count(*) FROM {}.caliber_turn", hostile.name())), 0);
    assert_eq!(db.all::<String>(&format!("SELECT content FROM {name}.caliber_turn")), ["safe"]);
    assert_eq!(db.json(&format!("public.caliber_turn_get('{id}')"))["content"], json!("safe"));
    // A temporary look-alike is in front of everything.
    db.run("CREATE TEMP TABLE caliber_turn (turn_id uuid)");
    assert_eq!(db.json(&format!("public.caliber_turn_get('{id}')"))["content"], json!("safe"));
    drop(db);
    assert_eq!(t.scope_row()["tokens_used"], json!(3));
}

#[test]
fn a_call_leaves_no_lock_in_the_way_of_ddl() {
    let mut t = Tree::new("executor");
    t.db.run("BEGIN");
    for call in writes(&t) {
        t.db.run(&format!("SELECT {call}"));
        for table in TREE_TABLES {
            t.db.run(&format!(
                "ALTER TABLE {table} ADD COLUMN c int; ALTER TABLE {table} DROP COLUMN c"
            ));
        }
    }
    for (table, call) in reads(&t) {
        t.db.run(&format!("SELECT {call}"));
        t.db.run(&format!("ALTER TABLE {table} SET (fillfactor = 70); TRUNCATE {table} CASCADE"));
    }
    t.db.run("DROP TABLE caliber_turn; COMMIT");
}

#[test]
fn ddl_between_calls_is_seen() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.append("'user', 'one'");
    t.db.run("BEGIN; ALTER TABLE caliber_turn ADD COLUMN extra int DEFAULT 5");
    t.append("'user', 'two'");
    t.db.run("ALTER TABLE caliber_turn ALTER COLUMN extra SET DEFAULT 6");
    t.append("'user', 'three'");
    t.db.run("ALTER TABLE caliber_turn DROP COLUMN extra");
    t.append("'user', 'four'");
    t.db.run("CLUSTER caliber_turn USING caliber_turn_pkey");
    t.append("'user', 'five'");
    t.db.run("COMMIT");
    let contents: Vec<String> =
        t.db.all(&format!("SELECT content FROM caliber_turn_tail('{scope}')"));
    assert_eq!(contents, ["one", "two", "three", "four", "five"]);
}

#[test]
fn savepoints_and_exception_blocks_undo_calls() {
    let mut t = Tree::with_budget("executor", 10);
    let scope = t.scope;
    t.db.run("BEGIN");
    t.append("'user', 'kept', 4");
    t.db.run("SAVEPOINT s");
    t.append("'user', 'undone', 4");
    t.db.run("ROLLBACK TO s");
    let over = format!("SELECT caliber_turn_create('{scope}', 'user', 'over', 7)");
    let error = t.db.attempt(&over).expect_err("over budget");
    assert_eq!(error.as_db_error().unwrap().code().code(), "54000");
    t.db.run("ROLLBACK TO s");
    t.append("'user', 'kept too', 6");
    t.db.run("COMMIT");
    let contents: Vec<String> =
        t.db.all(&format!("SELECT content FROM caliber_turn_tail('{scope}')"));
    assert_eq!(contents, ["kept", "kept too"]);
    assert_eq!(t.scope_row()["tokens_used"], json!(10));
    t.db.run(&format!(
        "DO $$
         DECLARE caught int := 0;
         BEGIN
            FOR i IN 1..200 LOOP
                BEGIN
                    PERFORM caliber_turn_create('{scope}', 'user', 'free', (i % 2));
                EXCEPTION WHEN SQLSTATE '54000' THEN caught := caught + 1;
                END;
                BEGIN
                    PERFORM caliber_scope_update('{scope}', '{{\"purpose\": \"undone\"}}');
                    RAISE EXCEPTION 'undo' USING ERRCODE = 'ZZ002';
                EXCEPTION WHEN SQLSTATE 'ZZ002' THEN NULL;
                END;
            END LOOP;
            IF caught <> 100 THEN RAISE EXCEPTION 'caught %', caught; END IF;
         END$$"
    ));
    let row = t.scope_row();
    assert_eq!((&row["turn_count"], &row["purpose"]), (&json!(102), &Value::Null));
    assert_eq!(row["version"], json!(1));
}

#[test]
fn prepared_statements_and_cursors_work() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    let append = t.db.prepare("SELECT caliber_turn_create($1::uuid, 'user', $2)").unwrap();
    let get =
        t.db.prepare("SELECT content FROM caliber_turn_get($1) WHERE turn_id IS NOT NULL").unwrap();
    for i in 0..12 {
        let id: Uuid = t.db.query_one(&append, &[&scope, &format!("turn {i}")]).unwrap().get(0);
        let content: String = t.db.query_one(&get, &[&id]).unwrap().get(0);
        assert_eq!(content, format!("turn {i}"));
    }
    t.db.run(&format!(
        "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT sequence FROM caliber_turn_get_by_scope('{scope}')"
    ));
    assert_eq!(t.db.all::<i32>("FETCH 3 FROM c"), [0, 1, 2]);
    t.append("'user', 'later'");
    assert_eq!(t.db.all::<i32>("FETCH ALL FROM c"), (3..12).collect::<Vec<_>>());
    assert_eq!(t.db.all::<i32>("FETCH BACKWARD 2 FROM c"), [11, 10]);
    t.db.run("CLOSE c");
    t.db.run(&format!(
        "DECLARE h CURSOR WITH HOLD FOR
         SELECT (caliber_turn_get(turn_id)).sequence FROM caliber_turn WHERE scope_id = '{scope}' ORDER BY sequence;
         COMMIT"
    ));
    assert_eq!(t.db.all::<i32>("FETCH ALL FROM h"), (0..13).collect::<Vec<_>>());
}

#[test]
fn reads_work_in_parallel_workers() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.db.run(&format!(
        "CREATE TABLE ids AS SELECT caliber_turn_create('{scope}', 'user', 'turn ' || i, 1) AS id
         FROM generate_series(1, 3000) i;
         ANALYZE ids;
         SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0;
         SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
         SET parallel_leader_participation = off"
    ));
    let query = "SELECT count(*) FROM ids WHERE (caliber_turn_get(id)).content LIKE 'turn %'";
    let plan =
        t.db.all::<String>(&format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query}")).join("\n");
    assert!(plan.contains("Parallel Seq Scan"), "{plan}");
    assert!(plan.contains("Workers Launched: "), "{plan}");
    assert_eq!(t.db.one::<i64>(query), 3000);
    // What the transaction has written is seen by its workers.
    t.db.run(&format!(
        "INSERT INTO ids SELECT caliber_turn_create('{scope}', 'user', 'turn x', 1)"
    ));
    t.db.run("BEGIN");
    t.db.run(&format!(
        "INSERT INTO ids SELECT caliber_turn_create('{scope}', 'user', 'turn y', 1)"
    ));
    assert_eq!(t.db.one::<i64>(query), 3002);
    t.db.run("COMMIT");
}

#[test]
fn later_calls_of_a_statement_see_earlier_ones() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    let counts: Vec<i64> = t.db.all(&format!(
        "SELECT (SELECT count(*) FROM caliber_turn_get_by_scope(
                    CASE WHEN id IS NOT NULL THEN '{scope}'::uuid END))
         FROM (SELECT caliber_turn_create('{scope}', 'user', 'x') AS id
               FROM generate_series(1, 3) OFFSET 0) q"
    ));
    assert_eq!(counts, [1, 2, 3]);
}

/// The backend's memory in kB, without what it shares.
fn resident_kb(pid: i32) -> i64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: Vec<i64> = statm.split_whitespace().map(|n| n.parse().unwrap()).collect();
    (pages[1] - pages[2]) * 4
}

#[test]
fn a_million_reads_leave_memory_flat() {
    let mut t = Tree::new("executor");
    let id = t.append("'user', 'x', tool_calls => '[1, 2, 3]'");
    let pid = t.db.pid();
    let mut run = |calls: i64| {
        let read: i64 = t.db.one(&format!(
            "SELECT count(caliber_turn_get(('{id}' || left(i::text, 0))::uuid)) FROM generate_series(1, {calls}) i"
        ));
        assert_eq!(read, calls);
        resident_kb(pid)
    };
    run(10_000);
    let before = run(10_000);
    let after = run(1_000_000);
    assert!(after - before <= 2048, "{before} kB grew to {after} kB");
}

#[test]
fn many_writes_leave_memory_flat() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    let pid = t.db.pid();
    let mut run = |calls: i64| {
        t.db.run(&format!(
            "DO $$BEGIN FOR i IN 1..{calls} LOOP
                PERFORM caliber_trajectory_create('n');
                PERFORM caliber_turn_tail('{scope}', 1);
             END LOOP; END$$"
        ));
        resident_kb(pid)
    };
    run(5_000);
    let before = run(5_000);
    let after = run(60_000);
    assert!(after - before <= 2048, "{before} kB grew to {after} kB");
}

#[test]
fn identity_and_virtual_columns_behave_as_in_sql() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    t.db.run(
        "ALTER TABLE caliber_turn ADD COLUMN number int GENERATED ALWAYS AS IDENTITY;
         CREATE DOMAIN calm AS text DEFAULT 'calm' CHECK (VALUE <> 'angry');
         ALTER TABLE caliber_turn ADD COLUMN mood calm",
    );
    t.append("'user', 'one'");
    t.append("'user', 'two'");
    let numbers: Vec<i32> = t.db.all("SELECT number FROM caliber_turn ORDER BY sequence");
    assert_eq!(numbers, [1, 2]);
    assert_eq!(t.db.all::<String>("SELECT DISTINCT mood::text FROM caliber_turn"), ["calm"]);
    if Server::get().major() < 18 {
        return;
    }
    t.db.run(
        "ALTER TABLE caliber_turn ADD COLUMN size int GENERATED ALWAYS AS (length(content)) VIRTUAL,
            ADD CONSTRAINT small CHECK (size < 9),
            ADD COLUMN answer text GENERATED ALWAYS AS (nullif(content, '')) VIRTUAL;
         ALTER TABLE caliber_turn ALTER COLUMN answer SET NOT NULL",
    );
    t.append("'user', 'three'");
    assert_eq!(t.db.one::<i32>("SELECT max(size) FROM caliber_turn"), 5);
    let insert = |content: &str| {
        format!(
            "INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
             VALUES ('{scope}', 9, 'user', '{content}', 1)"
        )
    };
    let call =
        |content: &str| format!("SELECT caliber_turn_create('{scope}', 'user', '{content}')");
    let error = same_error(&mut t, "23514", &call("much too long"), &insert("much too long"));
    assert_eq!(error.constraint(), Some("small"));
    let error = same_error(&mut t, "23502", &call(""), &insert(""));
    assert_eq!(error.column(), Some("answer"));
}

#[test]
fn a_before_trigger_that_changes_the_same_row_is_refused_as_in_sql() {
    let mut t = Tree::new("executor");
    let id = t.trajectory;
    t.db.run(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            UPDATE caliber_trajectory SET metadata = '{}' WHERE trajectory_id = OLD.trajectory_id;
            RETURN coalesce(NEW, OLD); END$$;
         CREATE TRIGGER meddle BEFORE UPDATE ON caliber_trajectory FOR EACH ROW
         WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION meddle();
         CREATE TRIGGER meddle_too BEFORE DELETE ON caliber_trajectory FOR EACH ROW
         EXECUTE FUNCTION meddle()",
    );
    for sql in [
        format!("SELECT caliber_trajectory_update('{id}', '{{\"name\": \"x\"}}')"),
        format!("UPDATE caliber_trajectory SET name = 'x' WHERE trajectory_id = '{id}'"),
        format!("SELECT caliber_trajectory_delete('{id}')"),
        format!("DELETE FROM caliber_trajectory WHERE trajectory_id = '{id}'"),
    ] {
        let error = t.refused(&sql, "27000");
        assert!(error.hint().unwrap_or_default().contains("AFTER trigger"), "{error:?}");
    }
}

#[test]
fn disabled_triggers_do_not_fire() {
    let mut t = Tree::new("executor");
    t.db.run(TRIGGERS);
    t.db.run(
        "CREATE TRIGGER a AFTER INSERT ON caliber_turn FOR EACH ROW EXECUTE FUNCTION log_row();
         CREATE TRIGGER b BEFORE INSERT ON caliber_turn FOR EACH STATEMENT EXECUTE FUNCTION log_statement();
         ALTER TABLE caliber_turn DISABLE TRIGGER a",
    );
    t.append("'user', 'x'");
    assert_eq!(fired(&mut t.db), ["BEFORE INSERT statement caliber_turn"]);
    t.db.run(
        "ALTER TABLE caliber_turn ENABLE REPLICA TRIGGER a; SET session_replication_role = replica",
    );
    t.append("'user', 'x'");
    assert_eq!(fired(&mut t.db), ["AFTER INSERT caliber_turn"]);
}

#[test]
fn a_deferred_constraint_trigger_fires_at_commit() {
    let mut t = Tree::new("executor");
    t.db.run(TRIGGERS);
    t.db.run(
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON caliber_turn DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION log_row(); BEGIN",
    );
    t.append("'user', 'x'");
    t.append("'user', 'y'");
    assert_eq!(t.db.one::<i64>("SELECT count(*) FROM fired"), 0);
    t.db.run("COMMIT");
    assert_eq!(fired(&mut t.db), ["AFTER INSERT caliber_turn"; 2]);
}

#[test]
fn a_security_definer_function_can_pin_the_schema() {
    let mut t = Tree::new("executor");
    let role = Role::new(&mut t);
    let (scope, name) = (t.scope, t.schema().name().to_owned());
    t.db.run(&format!(
        "CREATE FUNCTION say(what text) RETURNS uuid LANGUAGE sql SECURITY DEFINER
         SET search_path = pg_catalog, pg_temp SET caliber.schema = {name}
         AS $$SELECT public.caliber_turn_create('{scope}', 'user', what)$$;
         SET caliber.schema = elsewhere; SET ROLE {}",
        role.0
    ));
    let id: Uuid = t.db.one("SELECT say('hello')");
    t.db.run(&format!("RESET ROLE; SET caliber.schema = {name}"));
    assert_eq!(t.db.json(&format!("caliber_turn_get('{id}')"))["content"], json!("hello"));
}

#[test]
fn a_prepared_transaction_keeps_its_writes() {
    let mut t = Tree::new("executor");
    let scope = t.scope;
    let name = t.schema().name().to_owned();
    for (end, turns) in [("ROLLBACK", 0), ("COMMIT", 2)] {
        t.db.run("BEGIN");
        t.append("'user', 'x'");
        t.db.run(&format!(
            "SELECT caliber_turn_append_many('{scope}', '[{{\"role\": \"user\"}}]')"
        ));
        t.db.run(&format!("PREPARE TRANSACTION '{name}'"));
        assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn"), 0);
        t.db.run(&format!("{end} PREPARED '{name}'"));
        assert_eq!(t.db.one::<i64>("SELECT count(*) FROM caliber_turn"), turns);
    }
    assert_eq!(t.scope_row()["turn_count"], json!(2));
}

#[test]
fn the_statistics_count_what_calls_write() {
    let mut t = Tree::new("executor");
    t.db.run("BEGIN");
    t.append("'user', 'x'");
    t.append("'user', 'y'");
    let counted: Vec<i64> = t.db.all(
        "SELECT unnest(ARRAY[pg_stat_get_xact_tuples_inserted('caliber_turn'::regclass),
            pg_stat_get_xact_tuples_updated('caliber_scope'::regclass),
            pg_stat_get_xact_tuples_hot_updated('caliber_scope'::regclass)])",
    );
    assert_eq!(counted, [2, 2, 2], "turns inserted, scopes updated, all of them HOT");
    t.db.run("COMMIT");
}
