//! Errors, timeouts and cancels in the middle of a write: at each place where PostgreSQL calls what
//! a user has put into a table. Nothing is changed, the same transaction can go on after a
//! savepoint, and the rules still hold. (A leak would be a WARNING in the server's log, which fails
//! the run.)

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::filled::{Filled, TABLES, all_rows};
use caliber_tests::ready::ready_calls;
use caliber_tests::steps::{FUNCTIONS, How, Steps};
use caliber_tests::torture::rules;
use caliber_tests::{Db, Schema};

/// What a user may put on a table, with a step in each; `@` is the table and `#` its key.
const STEPS: &str = "
    ALTER TABLE @ ADD step_default text DEFAULT step_default();
    ALTER TABLE @ ADD step_made text GENERATED ALWAYS AS (step_of('generated', #::text)) STORED;
    ALTER TABLE @ ADD CONSTRAINT step CHECK (step_check('check', #::text));
    CREATE INDEX ON @ (step_of('expression', metadata::text));
    CREATE INDEX ON @ (#) WHERE step_check('predicate', metadata::text)";

/// Triggers, with which a table keeps no state from call to call.
const TRIGGERS: &str = "
    CREATE TRIGGER step_bs BEFORE INSERT OR UPDATE OR DELETE ON @ EXECUTE FUNCTION step_trigger();
    CREATE TRIGGER step_br BEFORE INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW EXECUTE FUNCTION step_trigger();
    CREATE TRIGGER step_ar AFTER INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW EXECUTE FUNCTION step_trigger();
    CREATE TRIGGER step_as AFTER INSERT OR UPDATE OR DELETE ON @ EXECUTE FUNCTION step_trigger();
    CREATE CONSTRAINT TRIGGER step_c AFTER INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW
        EXECUTE FUNCTION step_trigger()";

#[track_caller]
fn put_steps(db: &mut Db, steps: &str) {
    for table in TABLES {
        let key = format!("{}_id", table.strip_prefix("caliber_").unwrap());
        db.run(&steps.replace('@', table).replace('#', &key));
    }
}

/// A digest of all rows.
#[track_caller]
fn digest(db: &mut Db) -> String {
    db.one(&format!("SELECT md5(string_agg(a::text, ',' ORDER BY a::text)) FROM {} a", all_rows()))
}

/// Has each step of the write fail, some of them in all ways; how many steps there are.
#[track_caller]
fn each_step_fails(
    db: &mut Db,
    steps: &mut Steps,
    what: &str,
    mut write: impl FnMut(&mut Db) -> Result<(), postgres::Error>,
) -> u32 {
    let before = digest(db);
    let (constraints, plain) =
        (rules::broken_constraints(db), "RESET lock_timeout; RESET statement_timeout");
    db.run("BEGIN");
    let met = Steps::met(db, what, &mut write);
    let count = met.len() as u32;
    assert_eq!(rules::broken_constraints(db), constraints, "{what}");
    db.run("ROLLBACK");
    assert_eq!(digest(db), before);
    for n in 1..=count {
        for how in How::ALL {
            if how != How::Error && ![1, count.div_ceil(2), count].contains(&n) {
                continue;
            }
            db.run("BEGIN");
            steps.fails(db, how, n, what, &mut write);
            db.run(&format!("ROLLBACK; {plain}"));
            assert_eq!(digest(db), before, "{what}: step {n} by {how:?}");
            // In a transaction that goes on.
            db.run("BEGIN; SAVEPOINT s");
            steps.fails(db, how, n, what, &mut write);
            db.run(&format!("ROLLBACK TO s; {plain}"));
            assert_eq!(digest(db), before, "{what}: step {n} by {how:?}");
            assert_eq!(Steps::met(db, what, &mut write), met, "{what}: step {n} by {how:?}");
            db.run("ROLLBACK");
        }
        let rewrite = "UPDATE caliber_turn SET content = 'rewritten'";
        assert!(db.refused(rewrite, "55000").message().contains("append-only"));
    }
    count
}

/// The steps of all functions that write.
#[track_caller]
fn functions(name: &str, triggers: &str, without_steps: &[&str]) {
    let schema = Schema::new(name);
    let mut db = schema.connect();
    let calls = ready_calls(&mut db, schema.name());
    db.run(FUNCTIONS);
    put_steps(&mut db, STEPS);
    if !triggers.is_empty() {
        put_steps(&mut db, triggers);
    }
    let mut steps = Steps::new(schema.connect());
    let mut without = Vec::new();
    for call in calls.iter().filter(|call| call.function.writes) {
        let met = each_step_fails(&mut db, &mut steps, &call.sql, |db| db.attempt(&call.sql));
        if met == 0 {
            without.push(call.function.name.as_str());
        }
    }
    assert_eq!(without, without_steps);
    for sql in MORE {
        assert!(each_step_fails(&mut db, &mut steps, sql, |db| db.attempt(sql)) > 0, "{sql}");
    }
}

/// Functions whose calls here write no row.
const WRITE_NOTHING: &[&str] = &[
    "caliber_agent_register",
    "caliber_agent_set_status",
    "caliber_init",
    "caliber_lock_reap",
    "caliber_trajectory_set_status",
];

/// Functions whose calls here write no row, or only delete.
const WITHOUT_STEPS: &[&str] = &[
    "caliber_agent_register",
    "caliber_agent_set_status",
    "caliber_init",
    "caliber_lock_reap",
    "caliber_lock_release",
    "caliber_trajectory_set_status",
];

/// Calls of those functions that do write.
const MORE: &[&str] = &[
    "SELECT caliber_agent_register('new')",
    "SELECT caliber_agent_set_status(agent_id, 'active') FROM caliber_agent LIMIT 1",
    "SELECT caliber_trajectory_set_status(trajectory_id, 'completed') FROM caliber_trajectory LIMIT 1",
];

#[test]
fn at_each_step_of_each_function() {
    functions("errors", "", WITHOUT_STEPS);
}

#[test]
fn at_each_step_of_each_function_with_triggers() {
    functions("errors_triggers", TRIGGERS, WRITE_NOTHING);
}

#[test]
fn at_each_step_of_plain_sql() {
    let mut filled = Filled::new("errors_sql");
    let db = &mut filled.db;
    db.run(FUNCTIONS);
    put_steps(db, STEPS);
    put_steps(db, TRIGGERS);
    let mut steps = Steps::new(filled.schema.connect());
    let insert = "INSERT INTO caliber_scope (trajectory_id, name, token_budget)
        SELECT trajectory_id, 'more', 5 FROM caliber_trajectory WHERE status = 'active'";
    for (sql, at_least) in [
        (insert.to_owned(), 9),
        (
            "INSERT INTO caliber_agent (agent_id, agent_type)
             SELECT agent_id, 'again' FROM caliber_agent
             ON CONFLICT (agent_id) DO UPDATE SET metadata = '{\"again\": true}'"
                .to_owned(),
            20,
        ),
        ("UPDATE caliber_scope SET metadata = '{\"x\": 1}'".to_owned(), 20),
        (
            "MERGE INTO caliber_scope s USING caliber_trajectory t ON s.trajectory_id = t.trajectory_id
             WHEN MATCHED AND s.name = 'inner' THEN DELETE
             WHEN MATCHED THEN UPDATE SET metadata = '{\"merged\": true}'
             WHEN NOT MATCHED THEN INSERT (trajectory_id, name, token_budget) VALUES (t.trajectory_id, 'm', 1)"
                .to_owned(),
            20,
        ),
        ("DELETE FROM caliber_trajectory WHERE name = 'completed'".to_owned(), 4),
        (
            "DO 'BEGIN PERFORM caliber_agent_register(''a''); PERFORM caliber_agent_register(''b''); END'"
                .to_owned(),
            10,
        ),
        (
            r#"COPY caliber_agent (agent_id, agent_type) FROM PROGRAM
               'printf "01900000-0000-7000-8000-0000000000b%d\tcopied\n" 1 2'"#
                .to_owned(),
            15,
        ),
        (
            format!("DO $$ BEGIN {insert}; EXCEPTION WHEN not_null_violation THEN NULL; END $$"),
            10,
        ),
    ] {
        let met = each_step_fails(db, &mut steps, &sql, |db| db.attempt(&sql));
        assert!(met >= at_least, "{met} steps: {sql}");
    }
}

/// What others may do to a table while a write is in the middle of it.
#[test]
fn invalidations_in_the_middle_of_a_write() {
    let schema = Schema::new("invalidated");
    let mut db = schema.connect();
    let calls = ready_calls(&mut db, schema.name());
    db.run(FUNCTIONS);
    put_steps(&mut db, STEPS);
    let mut steps = Steps::new(schema.connect());
    for call in calls.iter().filter(|call| call.function.writes) {
        db.run("BEGIN");
        let count = Steps::met(&mut db, &call.sql, |db| db.attempt(&call.sql)).len() as u32;
        db.run("ROLLBACK");
        if count == 0 {
            continue;
        }
        db.run("BEGIN");
        steps.meanwhile(&mut db, count.div_ceil(2), &call.sql, |other| {
            for table in TABLES {
                other.run(&format!(
                    "GRANT SELECT ON {table} TO public; REVOKE SELECT ON {table} FROM public;
                     COMMENT ON TABLE {table} IS 'changed'; ALTER TABLE {table} SET (fillfactor = 70)"
                ));
            }
            other.run("CREATE OR REPLACE FUNCTION step_default() RETURNS text LANGUAGE sql AS 'SELECT ''new'''");
        });
        let broken = rules::broken_constraints(&mut db);
        assert!(broken.is_empty(), "{}: {broken:?}", call.sql);
        db.run("ROLLBACK");
    }
}
