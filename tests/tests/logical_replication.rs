//! Logical replication of entity tables: from and to heap, and while functions write.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::calls::fixtures;
use caliber_tests::database::Database;
use caliber_tests::filled::{Filled, TABLES, rules_are_in_force};
use caliber_tests::{Db, Server, lit};

/// A publication, its slot, and the subscription in another database, all dropped at the end.
struct Replication {
    name: String,
    subscriber: Database,
}

impl Replication {
    /// Publishes the tables of the schema and subscribes to them from a new database where the
    /// same schema has just been initialised, and stored by this access method.
    fn new(filled: &mut Filled, access_method: &str) -> Self {
        let schema = filled.schema.name();
        let name = format!("{schema}_repl");
        let replication = Self { name: name.clone(), subscriber: Database::new("subscriber") };
        let mut there = replication.subscriber.connect();
        there.run(&format!("CREATE SCHEMA {schema}"));
        there.run(&format!("SELECT caliber_init('{schema}', 8); SET search_path = {schema}"));
        stored_by(&mut there, access_method);
        filled.db.run(&format!("CREATE PUBLICATION {name} FOR TABLE {}", TABLES.join(", ")));
        filled.db.run(&format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"));
        let server = Server::get();
        let connection = format!(
            "host={} port={} user={} dbname={}",
            server.socket.display(),
            server.port,
            server.user,
            server.db
        );
        there.run(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION {} PUBLICATION {name}
             WITH (create_slot = false, slot_name = {name}, copy_data = true)",
            lit(&connection)
        ));
        // Nothing may touch the subscription before: on one server, the slots of the initial copy
        // wait for all transactions, that of a DROP SUBSCRIPTION included.
        there.wait_until(&format!(
            "(SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r') = {}",
            TABLES.len()
        ));
        replication
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        let name = &self.name;
        let mut there = self.subscriber.connect();
        for sql in [
            "SET statement_timeout = '20s'".to_owned(),
            format!("ALTER SUBSCRIPTION {name} DISABLE"),
            format!("DROP SUBSCRIPTION {name}"),
        ] {
            if let Err(e) = there.attempt(&sql) {
                eprintln!("{sql}: {e}");
            }
        }
        let publisher = format!("DROP PUBLICATION {name}");
        if let Err(e) = Server::get().connect().attempt(&publisher) {
            eprintln!("{publisher}: {e}");
        }
    }
}

/// Stores the tables by this access method.
#[track_caller]
fn stored_by(db: &mut Db, access_method: &str) {
    for table in TABLES {
        db.run(&format!("ALTER TABLE {table} SET ACCESS METHOD {access_method}"));
    }
}

/// Waits until the subscriber has the same rows.
#[track_caller]
fn become_the_same(here: &mut Db, there: &mut Db) {
    for table in TABLES {
        let digest = format!(
            "(SELECT coalesce(md5(string_agg(md5(t::text), '' ORDER BY t::text)), '') FROM {table} t)"
        );
        let wanted: String = here.one(&format!("SELECT {digest}"));
        there.wait_until(&format!("{digest} = '{wanted}'"));
        assert_eq!(here.rows_of(table), there.rows_of(table));
    }
}

/// Every kind of change.
const CHANGES: &str = "
    UPDATE caliber_trajectory SET description = 'changed' WHERE name = 'active';
    UPDATE caliber_scope SET tokens_used = tokens_used + 5, fence = fence + 1 WHERE name = 'open';
    UPDATE caliber_scope SET token_budget = 5000 WHERE name = 'open';
    UPDATE caliber_trajectory SET status = 'active' WHERE name = 'child';
    UPDATE caliber_scope SET purpose = repeat('big', 5000), version = version + 1,
        updated_at = '2023-03-03 03:03:03+00' WHERE name = 'inner';
    DELETE FROM caliber_turn WHERE sequence = 0;
    INSERT INTO caliber_turn (scope_id, sequence, role, content, token_count)
    SELECT scope_id, 5, 'system', 'new', 0 FROM caliber_scope WHERE name = 'open'";

/// Copies the rows, applies the changes as they were made, and has the rules where they belong.
#[track_caller]
fn replicates(from: &str, to: &str) {
    let mut filled = Filled::new(&format!("{from}_to_{to}"));
    stored_by(&mut filled.db, from);
    let replication = Replication::new(&mut filled, to);
    let mut there = replication.subscriber.connect_to_schema(filled.schema.name());
    let here = &mut filled.db;
    become_the_same(here, &mut there);
    here.run(CHANGES);
    become_the_same(here, &mut there);
    if from == "caliber_am" {
        // The functions write while their changes are applied.
        fixtures(here);
        here.run(
            "SELECT caliber_scope_close(caliber_scope_create(t, 'short', 10))
             FROM caliber_trajectory_create('more') t;
             SELECT caliber_agent_heartbeat(agent_id) FROM caliber_agent",
        );
        become_the_same(here, &mut there);
    }
    if to == "caliber_am" {
        rules_are_in_force(&mut there);
    }
}

#[test]
fn replicated_rows_are_the_same_and_local_writes_still_ruled() {
    replicates("caliber_am", "caliber_am");
}

#[test]
fn heap_is_replicated_to_caliber_am() {
    replicates("heap", "caliber_am");
}

#[test]
fn caliber_am_is_replicated_to_heap() {
    replicates("caliber_am", "heap");
}

/// `caliber_fence` does not travel: fences of a former publisher must be given on from there.
#[test]
fn a_former_subscriber_gives_high_fences_after_setval() {
    let mut filled = Filled::new("former");
    filled.db.run("SELECT setval('caliber_fence', 1000)");
    let replication = Replication::new(&mut filled, "caliber_am");
    let mut there = replication.subscriber.connect_to_schema(filled.schema.name());
    become_the_same(&mut filled.db, &mut there);
    let next = "SELECT nextval('caliber_fence')";
    assert_eq!(there.one::<i64>(next), 1, "a sequence is not replicated");
    let last: i64 = filled.db.one("SELECT last_value FROM caliber_fence");
    there.run(&format!("SELECT setval('caliber_fence', {last})"));
    assert_eq!(there.one::<i64>(next), 1001);
}

/// The publisher decides: what it sends is stored even where the subscriber's own row went on.
#[test]
fn a_replicated_change_overrides_a_local_one() {
    let mut filled = Filled::new("overridden");
    let replication = Replication::new(&mut filled, "caliber_am");
    let mut there = replication.subscriber.connect_to_schema(filled.schema.name());
    there.wait_until("(SELECT count(*) FROM caliber_scope) = 3");
    there.run(
        "UPDATE caliber_scope SET name = 'local 1', fence = 100 WHERE token_budget = 100;
         UPDATE caliber_scope SET name = 'local 2' WHERE token_budget = 100;
         UPDATE caliber_scope SET is_active = false, closed_at = now() WHERE token_budget = 100",
    );
    assert_eq!(there.one::<i64>("SELECT version FROM caliber_scope WHERE token_budget = 100"), 8);
    filled.db.run(
        "UPDATE caliber_scope SET checkpoint = '{\"from\": \"publisher\"}' WHERE name = 'open'",
    );
    there.wait_until(
        "EXISTS (SELECT FROM caliber_scope WHERE checkpoint = '{\"from\": \"publisher\"}')",
    );
    assert_eq!(filled.db.rows_of("caliber_scope"), there.rows_of("caliber_scope"));
}
