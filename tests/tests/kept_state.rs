//! What a write keeps for the next write never outlives what it was made from, and a foreign key
//! that is settled without its trigger holds.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::thread;

use caliber_tests::agents::agent;
use caliber_tests::{Db, DbError, Schema, Tree, UNKNOWN, assert_sqlstate};

fn register(db: &mut Db, agent_type: &str) -> Result<(), postgres::Error> {
    db.attempt(&format!("SELECT caliber_agent_register('{agent_type}')"))
}

/// A session that has registered an agent, and with that keeps what the next one needs.
fn warm(name: &str) -> (Schema, Db) {
    let schema = Schema::new(name);
    let mut db = schema.connect();
    register(&mut db, "first").unwrap();
    (schema, db)
}

#[test]
fn a_changed_default_is_used() {
    let (_schema, mut db) = warm("kept_default");
    db.run("ALTER TABLE caliber_agent ALTER capabilities SET DEFAULT '{new}'");
    register(&mut db, "second").unwrap();
    let capabilities: Vec<String> =
        db.one("SELECT capabilities FROM caliber_agent WHERE agent_type = 'second'");
    assert_eq!(capabilities, ["new"]);
}

#[test]
fn a_constraint_holds_from_when_it_is_made_until_it_is_dropped() {
    let (schema, mut db) = warm("kept_check");
    // Another session, so that the news comes as an invalidation.
    let mut other = schema.connect();
    other.run("ALTER TABLE caliber_agent ADD CONSTRAINT typed CHECK (agent_type <> 'bad')");
    assert_sqlstate(register(&mut db, "bad"), "23514", "with the constraint");
    other.run("ALTER TABLE caliber_agent DROP CONSTRAINT typed");
    register(&mut db, "bad").unwrap();
}

#[test]
fn a_function_in_a_constraint_is_the_current_one() {
    let (schema, mut db) = warm("kept_function");
    let mut other = schema.connect();
    let function = |says: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION fits(text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN {says}"
        )
    };
    other.run(&function("true"));
    other.run("ALTER TABLE caliber_agent ADD CONSTRAINT fitting CHECK (fits(agent_type))");
    register(&mut db, "second").unwrap();
    other.run(&function("$1 <> 'third'"));
    assert_sqlstate(register(&mut db, "third"), "23514", "the function was replaced");
    register(&mut db, "fourth").unwrap();
}

#[test]
fn a_function_in_a_constraint_needs_the_right_to_execute_it() {
    let (schema, mut db) = warm("kept_rights");
    let role = format!("{}_user", schema.name());
    db.run(&format!(
        "CREATE ROLE {role};
         GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {schema} TO {role};
         CREATE FUNCTION fits(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
             AS $$ BEGIN RETURN true; END $$;
         ALTER TABLE caliber_agent ADD CONSTRAINT fitting CHECK (fits(agent_type));
         REVOKE EXECUTE ON FUNCTION fits FROM PUBLIC",
        schema = schema.name()
    ));
    register(&mut db, "as the owner").unwrap();
    db.run(&format!("SET ROLE {role}"));
    assert_sqlstate(register(&mut db, "as the other"), "42501", "the other may not call it");
    db.run("RESET ROLE");
    register(&mut db, "as the owner again").unwrap();
    db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn tables_and_indexes_can_be_altered_after_a_call_in_the_same_transaction() {
    let (_schema, mut db) = warm("kept_ddl");
    db.run(
        "BEGIN;
         SELECT caliber_agent_register('second');
         ALTER TABLE caliber_agent ADD COLUMN extra int NOT NULL DEFAULT 7;
         CREATE UNIQUE INDEX one_of_a_type ON caliber_agent (agent_type)",
    );
    register(&mut db, "third").unwrap();
    let extra: i64 = db.one("SELECT sum(extra) FROM caliber_agent");
    assert_eq!(extra, 21);
    db.run("SAVEPOINT a");
    assert_sqlstate(register(&mut db, "third"), "23505", "the new index");
    db.run("ROLLBACK TO a; DROP INDEX one_of_a_type");
    register(&mut db, "third").unwrap();
    db.run("ROLLBACK");
    // The rolled back column and index are forgotten, too.
    register(&mut db, "third").unwrap();
    register(&mut db, "third").unwrap();
}

#[test]
fn after_an_error_the_next_call_is_like_any_other() {
    let (_schema, mut db) = warm("kept_error");
    for _ in 0..3 {
        let failed = db.attempt("SELECT caliber_agent_register(NULL)");
        assert_sqlstate(failed, "23502", "no type");
        register(&mut db, "good").unwrap();
    }
    let agents: i64 = db.one("SELECT count(*) FROM caliber_agent");
    assert_eq!(agents, 4);
}

/// The first update enters indexes, the second is HOT and too large for its state to be kept.
///
/// Both are in one statement, several times: DDL of other sessions ends what is kept, and the second
/// update is to find what the first one left.
#[test]
fn a_large_row_after_one_that_entered_indexes() {
    let (_schema, mut db) = warm("kept_large");
    let id = agent(&mut db, "old");
    for round in 0..10 {
        let update = |size: usize| {
            format!(
                "caliber_agent_update('{id}', jsonb_build_object(
                     'agent_type', 'round {round}', 'capabilities', jsonb_build_array(
                         (SELECT string_agg(md5(n::text), '')
                          FROM generate_series(1, {size} / 32) n))))"
            )
        };
        db.run(&format!("SELECT {}, {}", update(32), update(640_000)));
        let stored: bool = db.one(&format!(
            "SELECT agent_type = 'round {round}' AND length(capabilities[1]) = 640000
             FROM caliber_agent WHERE agent_id = '{id}'"
        ));
        assert!(stored, "round {round}");
    }
}

#[test]
fn a_parent_that_a_default_deletes_is_missed() {
    let mut t = Tree::new("kept_parent");
    t.append("'user', 'first'");
    t.db.run(
        "CREATE FUNCTION delete_all_scopes() RETURNS jsonb LANGUAGE plpgsql AS $$
         BEGIN DELETE FROM caliber_scope; RETURN '{}'; END $$;
         ALTER TABLE caliber_turn ALTER metadata SET DEFAULT delete_all_scopes()",
    );
    let before = t.db.rows_of("caliber_turn");
    let scope = t.scope;
    let call = format!("SELECT caliber_turn_create('{scope}', 'user', 'second')");
    t.db.attempt(&call).expect_err("the scope is gone");
    assert_eq!(t.db.rows_of("caliber_turn"), before);
    let orphans: i64 = t.db.one(
        "SELECT count(*) FROM caliber_turn t
         WHERE NOT EXISTS (SELECT FROM caliber_scope s WHERE s.scope_id = t.scope_id)",
    );
    assert_eq!(orphans, 0);
}

#[test]
fn a_key_is_refused_as_its_trigger_refuses_it() {
    let (_schema, mut db) = warm("kept_key");
    let call = format!("SELECT caliber_agent_register('lost', reports_to => '{UNKNOWN}')");
    let by_call = db.refused(&call, "23503");
    let insert =
        format!("INSERT INTO caliber_agent (agent_type, reports_to) VALUES ('lost', '{UNKNOWN}')");
    let by_insert = db.refused(&insert, "23503");
    let told = |e: &DbError| {
        (e.message().to_owned(), e.detail().map(str::to_owned), e.constraint().map(str::to_owned))
    };
    assert_eq!(told(&by_call), told(&by_insert));
}

#[test]
fn a_deferred_key_is_checked_at_the_end() {
    let (_schema, mut db) = warm("kept_deferred");
    db.run(
        "ALTER TABLE caliber_agent ALTER CONSTRAINT caliber_agent_reports_to_fkey
             DEFERRABLE INITIALLY DEFERRED",
    );
    let boss = "'01900000-0000-7000-8000-0000000000b0'";
    let lost = format!("SELECT caliber_agent_register('lost', reports_to => {boss})");
    db.run(&format!("BEGIN; {lost}"));
    assert_sqlstate(db.attempt("COMMIT"), "23503", "nobody came");
    db.run(&format!(
        "BEGIN; {lost}; SELECT caliber_agent_register('boss', agent_id => {boss}); COMMIT"
    ));
    let agents: i64 = db.one("SELECT count(*) FROM caliber_agent");
    assert_eq!(agents, 3);
}

#[test]
fn a_key_is_checked_with_the_rights_of_the_owner() {
    let (schema, mut db) = warm("kept_owner");
    let first = agent(&mut db, "boss");
    let role = format!("{}_owner", schema.name());
    db.run(&format!(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA {} TO {role};
         ALTER TABLE caliber_agent OWNER TO {role}",
        schema.name()
    ));
    let call = format!("SELECT caliber_agent_register('second', reports_to => '{first}')");
    db.run(&call);
    db.run(&format!("REVOKE ALL ON caliber_agent FROM {role}"));
    let insert =
        format!("INSERT INTO caliber_agent (agent_type, reports_to) VALUES ('third', '{first}')");
    db.refused(&insert, "42501");
    db.refused(&call, "42501");
    db.run(&format!(
        "ALTER TABLE caliber_agent OWNER TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
}

#[test]
fn a_key_waits_for_the_deletion_of_its_parent() {
    let (schema, mut db) = warm("kept_deletion");
    for (end, expected) in [("COMMIT", Err("23503")), ("ROLLBACK", Ok(()))] {
        let boss = agent(&mut db, "boss");
        db.run(&format!("BEGIN; DELETE FROM caliber_agent WHERE agent_id = '{boss}'"));
        let mut waiting = schema.connect();
        let pid = waiting.pid();
        let call = format!("SELECT caliber_agent_register('late', reports_to => '{boss}')");
        let late = thread::spawn(move || waiting.attempt(&call));
        db.wait_until_blocked(pid);
        db.run(end);
        match (late.join().unwrap(), expected) {
            (result, Err(sqlstate)) => drop(assert_sqlstate(result, sqlstate, end)),
            (result, Ok(())) => result.unwrap(),
        }
    }
}

#[test]
fn an_agent_cannot_be_deleted_under_a_key_that_is_not_committed() {
    let (schema, mut db) = warm("kept_child");
    let boss = agent(&mut db, "boss");
    db.run(&format!("BEGIN; SELECT caliber_agent_register('late', reports_to => '{boss}')"));
    let mut deleting = schema.connect();
    let pid = deleting.pid();
    let delete = format!("DELETE FROM caliber_agent WHERE agent_id = '{boss}'");
    let deletion = thread::spawn(move || deleting.attempt(&delete));
    db.wait_until_blocked(pid);
    db.run("COMMIT");
    deletion.join().unwrap().unwrap();
    let lost: i64 = db.one(
        "SELECT count(*) FROM caliber_agent a WHERE reports_to IS NOT NULL
             AND NOT EXISTS (SELECT FROM caliber_agent b WHERE b.agent_id = a.reports_to)",
    );
    assert_eq!(lost, 0);
}

#[test]
fn statement_triggers_see_the_rows_of_a_call() {
    let (_schema, mut db) = warm("kept_transition");
    db.run(
        "CREATE TABLE seen (agent_type text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO seen SELECT agent_type FROM new_rows; RETURN NULL; END $$;
         CREATE TRIGGER see AFTER INSERT ON caliber_agent REFERENCING NEW TABLE AS new_rows
             FOR EACH STATEMENT EXECUTE FUNCTION see()",
    );
    register(&mut db, "second").unwrap();
    let seen: Vec<String> = db.all("SELECT agent_type FROM seen");
    assert_eq!(seen, ["second"]);
}
