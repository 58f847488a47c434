//! Who may call what: every function needs the privileges on its tables and has them checked before
//! it waits for anything; policies are never bypassed; nothing on the caller's search_path is used;
//! and a SECURITY DEFINER function that pins `caliber.schema` stays with its owner's tables.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use caliber_tests::filled::TABLES;
use caliber_tests::ready::{Ready, ready_calls};
use caliber_tests::{Db, DbError, Schema, Server, amcheck_in, assert_sqlstate, show};
use postgres::SimpleQueryMessage;

/// What each function that works on entity tables needs, as docs/sql.md says.
const NEEDS: &[(&str, &str)] = &[
    ("trajectory_create", "trajectory INSERT SELECT"),
    ("trajectory_get", "trajectory SELECT"),
    ("trajectory_get_many", "trajectory SELECT"),
    ("trajectory_update", "trajectory SELECT UPDATE"),
    ("trajectory_set_status", "trajectory SELECT UPDATE"),
    ("trajectory_list_by_status", "trajectory SELECT"),
    ("trajectory_list_children", "trajectory SELECT"),
    ("trajectory_delete", "trajectory DELETE SELECT, scope DELETE SELECT, turn DELETE SELECT"),
    ("scope_create", "scope INSERT SELECT, trajectory SELECT UPDATE"),
    ("scope_get", "scope SELECT"),
    ("scope_get_many", "scope SELECT"),
    ("scope_get_current", "scope SELECT"),
    ("scope_list_by_trajectory", "scope SELECT"),
    ("scope_update_tokens", "scope SELECT UPDATE, trajectory SELECT UPDATE"),
    ("scope_update", "scope SELECT UPDATE, trajectory SELECT UPDATE"),
    ("scope_close", "scope SELECT UPDATE, trajectory SELECT UPDATE"),
    ("turn_create", "turn INSERT SELECT, scope SELECT UPDATE, trajectory SELECT UPDATE"),
    ("turn_append_many", "turn INSERT SELECT, scope SELECT UPDATE, trajectory SELECT UPDATE"),
    ("turn_get", "turn SELECT"),
    ("turn_get_many", "turn SELECT"),
    ("turn_get_by_scope", "turn SELECT"),
    ("turn_tail", "turn SELECT"),
    ("artifact_create", "artifact INSERT SELECT"),
    ("artifact_get", "artifact SELECT"),
    ("artifact_get_many", "artifact SELECT"),
    ("artifact_query_by_type", "artifact SELECT"),
    ("artifact_query_by_scope", "artifact SELECT"),
    ("artifact_update", "artifact SELECT UPDATE"),
    ("artifact_supersede", "artifact SELECT UPDATE"),
    ("artifact_search", "artifact SELECT"),
    ("note_create", "note INSERT SELECT"),
    ("note_get", "note SELECT"),
    ("note_get_many", "note SELECT"),
    ("note_touch", "note SELECT UPDATE"),
    ("note_query_by_trajectory", "note SELECT"),
    ("note_list_by_type", "note SELECT"),
    ("note_update", "note SELECT UPDATE"),
    ("note_supersede", "note SELECT UPDATE"),
    ("note_search", "note SELECT"),
    ("agent_register", "agent INSERT SELECT"),
    ("agent_get", "agent SELECT"),
    ("agent_get_many", "agent SELECT"),
    ("agent_heartbeat", "agent SELECT UPDATE"),
    ("agent_set_status", "agent SELECT UPDATE"),
    ("agent_update", "agent SELECT UPDATE"),
    ("agent_list_by_type", "agent SELECT"),
    ("agent_list_active", "agent SELECT"),
    ("lock_acquire", "lock SELECT INSERT UPDATE DELETE, fence USAGE"),
    ("lock_extend", "lock SELECT UPDATE"),
    ("lock_get", "lock SELECT"),
    ("lock_check", "lock SELECT"),
    ("lock_list_by_resource", "lock SELECT"),
    ("lock_release", "lock SELECT DELETE"),
    ("lock_reap", "lock SELECT DELETE"),
    ("message_send", "message INSERT SELECT"),
    ("message_send_many", "message INSERT SELECT"),
    ("message_get", "message SELECT"),
    ("message_get_many", "message SELECT"),
    ("message_list_for_agent", "message SELECT, agent SELECT"),
    ("message_receive", "message SELECT UPDATE, agent SELECT"),
    ("message_acknowledge", "message SELECT UPDATE"),
    ("message_release", "message SELECT UPDATE"),
    ("message_list_dead", "message SELECT"),
    ("message_redrive", "message SELECT UPDATE"),
    (
        "delegation_create",
        "delegation INSERT SELECT, agent SELECT, trajectory SELECT UPDATE, message INSERT SELECT",
    ),
    ("delegation_get", "delegation SELECT"),
    ("delegation_list_pending", "delegation SELECT, agent SELECT"),
    (
        "delegation_accept",
        "delegation SELECT UPDATE, agent SELECT, trajectory SELECT INSERT UPDATE",
    ),
    ("delegation_start", "delegation SELECT UPDATE"),
    ("delegation_complete", "delegation SELECT UPDATE, message INSERT SELECT"),
    ("delegation_fail", "delegation SELECT UPDATE, message INSERT SELECT"),
    ("delegation_reject", "delegation SELECT UPDATE, agent SELECT, message INSERT SELECT"),
    ("handoff_create", "handoff INSERT SELECT, trajectory SELECT UPDATE, message INSERT SELECT"),
    ("handoff_get", "handoff SELECT"),
    ("handoff_list_pending", "handoff SELECT, agent SELECT"),
    (
        "handoff_accept",
        "handoff SELECT UPDATE, trajectory SELECT UPDATE, agent SELECT, fence USAGE",
    ),
    ("handoff_complete", "handoff SELECT UPDATE"),
    ("handoff_reject", "handoff SELECT UPDATE, agent SELECT, message INSERT SELECT"),
    ("conflict_create", "conflict INSERT SELECT"),
    ("conflict_get", "conflict SELECT"),
    ("conflict_list_pending", "conflict SELECT"),
    // The two items of the conflict that is resolved are artifacts.
    ("conflict_resolve", "conflict SELECT UPDATE, artifact SELECT UPDATE"),
];

/// Functions that need no privilege on an entity table, and why.
const OTHERS: &[(&str, &str)] = &[
    ("am_callbacks", "names the access method's callbacks"),
    ("am_handler", "cannot be called by SQL"),
    ("rows_support", "cannot be called by SQL"),
    ("version", "a constant of the library"),
    ("new_id", "computes"),
    ("estimate_tokens", "computes"),
    ("content_hash", "computes"),
    ("channel", "computes"),
    ("entity", "reads catalogs, as everybody may"),
    ("schema_exists", "reads catalogs, as everybody may"),
    ("check", "reads catalogs, as everybody may"),
    ("check_table", "reads catalogs, as everybody may"),
    ("init", "creates: its privileges are those of CREATE, tested below"),
    ("stat", "needs ownership: tested below"),
    ("verify", "needs ownership: tested below"),
];

/// How a call is refused that waits for a lock first.
const WAITS: &str = "waits";

/// A privilege on a table or on the sequence of fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Need {
    on: &'static str,
    privilege: &'static str,
}

impl Need {
    fn is_sequence(self) -> bool {
        self.on == "fence"
    }

    fn grant(self, role: &str) -> String {
        let kind = if self.is_sequence() { "SEQUENCE" } else { "TABLE" };
        format!("GRANT {} ON {kind} caliber_{} TO {role}", self.privilege, self.on)
    }

    /// What PostgreSQL says without it.
    fn denied(self) -> String {
        let kind = if self.is_sequence() { "sequence" } else { "table" };
        format!("permission denied for {kind} caliber_{}", self.on)
    }
}

fn needs_of(function: &str) -> Vec<Need> {
    let known = NEEDS.iter().find(|(name, _)| *name == function);
    known.map_or_else(Vec::new, |(_, needs)| parse(needs))
}

fn parse(needs: &'static str) -> Vec<Need> {
    let mut list = Vec::new();
    for table in needs.split(", ") {
        let mut words = table.split(' ');
        let on = words.next().unwrap();
        list.extend(words.map(|privilege| Need { on, privilege }));
    }
    list
}

/// A call that succeeds, of the function by its qualified name, with literals for arguments.
struct Call {
    function: String,
    sql: String,
    needs: Vec<Need>,
}

impl Call {
    fn tables(&self) -> BTreeSet<String> {
        let tables = self.needs.iter().filter(|need| !need.is_sequence());
        tables.map(|need| format!("caliber_{}", need.on)).collect()
    }
}

/// Tables with rows, and for each function a call that succeeds on them. Calls are rolled back, so
/// that each finds the rows as they are here.
struct Stage {
    db: Db,
    calls: Vec<Call>,
    /// Calls of the functions that need no privilege on a table.
    others: Vec<Call>,
    schema: Schema,
}

impl Stage {
    fn new(name: &str) -> Self {
        let schema = Schema::new(name);
        let mut db = schema.connect();
        amcheck_in(&mut db);
        let (mut calls, mut others) = (Vec::new(), Vec::new());
        for Ready { function, sql } in ready_calls(&mut db, schema.name()) {
            let short = function.name.strip_prefix("caliber_").unwrap().to_owned();
            let needs = needs_of(&short);
            let of_its_kind = if needs.is_empty() { &mut others } else { &mut calls };
            of_its_kind.push(Call { function: short, sql, needs });
        }
        assert_eq!(calls.len(), NEEDS.len(), "no function is overloaded");
        Self { db, calls, others, schema }
    }

    /// A new role that may use the schema and owns nothing.
    fn role(&mut self, suffix: &str) -> Role {
        let role = Role(format!("{}_{suffix}", self.schema.name()));
        self.db.run(&format!(
            "DROP ROLE IF EXISTS {0}; CREATE ROLE {0}; GRANT USAGE ON SCHEMA {1} TO {0}",
            role.0,
            self.schema.name()
        ));
        role
    }

    /// How a call is refused while another session holds locks; [`WAITS`] when it waits for them.
    #[track_caller]
    fn refusal(&self, user: &mut Db, call: &Call, locks: &str) -> String {
        let mut other = self.schema.connect();
        other.run(&format!("BEGIN; {locks}"));
        let error = user.attempt(&call.sql).expect_err(&call.sql);
        other.run("ROLLBACK");
        let error = error.as_db_error().expect("an error of the server");
        match error.code().code() {
            "55P03" => WAITS.to_owned(),
            "42501" => error.message().to_owned(),
            _ => panic!("{error:?}: {}", call.sql),
        }
    }

    /// A connection that acts as the role, and whose waiting shows as 55P03.
    fn connect_as(&self, role: &Role) -> Db {
        let mut db = self.schema.connect();
        db.run(&format!("SET ROLE {}; SET lock_timeout = '200ms'", role.0));
        db
    }
}

/// A role, dropped when it goes away with what it owns.
struct Role(String);

impl Drop for Role {
    fn drop(&mut self) {
        let drop = format!("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", self.0);
        if let Err(error) = Server::get().connect().attempt(&drop) {
            eprintln!("role {} stays: {error}", self.0);
        }
    }
}

#[track_caller]
fn denied(db: &mut Db, sql: &str) -> DbError {
    assert_sqlstate(db.attempt(sql), "42501", sql)
}

/// Runs a call that must succeed and leaves nothing of it.
#[track_caller]
fn passes(db: &mut Db, sql: &str, when: &str) {
    if let Err(error) = db.attempt(&format!("BEGIN; {sql}; ROLLBACK")) {
        panic!("{when}: {}", show(&error, sql));
    }
}

#[test]
fn every_function_is_said_to_need_privileges_or_not_to() {
    let mut db = Server::get().connect();
    let there: BTreeSet<String> = db
        .all::<String>(
            "SELECT DISTINCT p.proname::text FROM pg_proc p
             JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
                 AND d.deptype = 'e'
             JOIN pg_extension e ON e.oid = d.refobjid
                 AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'caliber-pg'",
        )
        .into_iter()
        .collect();
    let named: Vec<String> =
        NEEDS.iter().chain(OTHERS).map(|(name, _)| format!("caliber_{name}")).collect();
    assert_eq!(named.iter().cloned().collect::<BTreeSet<_>>(), there);
    assert_eq!(named.len(), there.len(), "each once");
}

#[test]
fn without_privileges_every_call_is_refused_at_once_while_the_tables_are_locked() {
    let mut stage = Stage::new("privileges");
    let role = stage.role("nobody");
    let mut user = stage.connect_as(&role);
    stage.db.run(&format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", TABLES.join(", ")));
    for call in &stage.calls {
        let error = denied(&mut user, &call.sql);
        let possible: Vec<String> = call.needs.iter().map(|need| need.denied()).collect();
        assert!(possible.iter().any(|message| message == error.message()), "{error:?}");
    }
    // Else the locks would prove nothing: who may read waits for them.
    stage.db.run(&format!(
        "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}",
        stage.schema.name(),
        role.0
    ));
    stage.db.run("COMMIT");
    stage.db.run("BEGIN; LOCK TABLE caliber_turn IN ACCESS EXCLUSIVE MODE");
    let get = stage.calls.iter().find(|call| call.function == "turn_get").unwrap();
    assert_sqlstate(user.attempt(&get.sql), "55P03", &get.sql);
    stage.db.run("ROLLBACK");
    passes(&mut user, &get.sql, "with the privilege and without the lock");
}

#[test]
fn each_function_needs_each_of_its_privileges_and_no_other() {
    let mut stage = Stage::new("privileges");
    let role = stage.role("least");
    let mut user = stage.connect_as(&role);
    let revoke = format!(
        "REVOKE ALL ON ALL TABLES IN SCHEMA {0} FROM {1};
         REVOKE ALL ON ALL SEQUENCES IN SCHEMA {0} FROM {1}",
        stage.schema.name(),
        role.0
    );
    for call in &stage.calls {
        for missing in &call.needs {
            let others = call.needs.iter().filter(|need| *need != missing);
            for need in others {
                stage.db.run(&need.grant(&role.0));
            }
            let needed = (call.function.as_str(), missing.on, missing.privilege);
            let refused = || (missing.denied(), needed);
            let locked: Vec<String> = match needed {
                // Which table the items are in is known only once the conflict is read.
                ("conflict_resolve", "artifact", _) => vec!["caliber_artifact".to_owned()],
                _ => call.tables().into_iter().collect(),
            };
            let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", locked.join(", "));
            assert_eq!((stage.refusal(&mut user, call, &lock), needed), refused());
            let rows = call
                .tables()
                .iter()
                .map(|table| format!("SELECT FROM {table} FOR UPDATE;"))
                .collect::<String>();
            assert_eq!((stage.refusal(&mut user, call, &rows), needed), refused());
            assert_eq!((stage.refusal(&mut user, call, ""), needed), refused());
            // The same session, which has just failed, is served once it may.
            stage.db.run(&missing.grant(&role.0));
            passes(&mut user, &call.sql, &format!("with {missing:?} too"));
            // And refused again, though the session remembers the table.
            stage.db.run(&revoke);
            denied(&mut user, &call.sql);
        }
    }
}

#[test]
fn privileges_on_every_column_serve_every_function_and_on_all_but_one_none() {
    let mut stage = Stage::new("privileges");
    let role = stage.role("columns");
    let mut user = stage.connect_as(&role);
    let mut columns = BTreeMap::new();
    for table in TABLES {
        let names: Vec<String> = stage.db.all(&format!(
            "SELECT quote_ident(attname) FROM pg_attribute
             WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped
             ORDER BY attnum"
        ));
        columns.insert(table.to_owned(), names);
    }
    let grant = |need: &Need, skip: usize| match columns.get(&format!("caliber_{}", need.on)) {
        Some(names) if need.privilege != "DELETE" => {
            let names = names[skip..].join(", ");
            format!("GRANT {} ({names}) ON caliber_{} TO {}", need.privilege, need.on, role.0)
        }
        _ => need.grant(&role.0),
    };
    let revoke_all =
        format!("DROP OWNED BY {}; GRANT USAGE ON SCHEMA {} TO {0}", role.0, stage.schema.name());
    for call in &stage.calls {
        for need in &call.needs {
            stage.db.run(&grant(need, 0));
        }
        passes(&mut user, &call.sql, "with privileges on every column");
        stage.db.run(&revoke_all);
        for incomplete in &call.needs {
            if incomplete.is_sequence() || incomplete.privilege == "DELETE" {
                continue;
            }
            for need in &call.needs {
                stage.db.run(&grant(need, usize::from(need == incomplete)));
            }
            let error = denied(&mut user, &call.sql);
            assert_eq!(error.message(), incomplete.denied(), "{incomplete:?} {}", call.sql);
            stage.db.run(&revoke_all);
        }
    }
}

#[test]
fn what_touches_no_rows_needs_no_privilege() {
    let mut stage = Stage::new("privileges");
    let role = stage.role("nobody");
    let mut user = stage.connect_as(&role);
    let mut called = 0;
    for call in &stage.others {
        if !matches!(call.function.as_str(), "init" | "stat" | "verify") {
            passes(&mut user, &call.sql, "without any privilege");
            called += 1;
        }
    }
    // Those of OTHERS that SQL can call, caliber_channel twice.
    assert_eq!(called, 11);
}

#[test]
fn some_privileges_are_needed_for_some_arguments_only() {
    let mut stage = Stage::new("privileges");
    let role = stage.role("some");
    let mut user = stage.connect_as(&role);
    let notes: Vec<String> = stage.db.all("SELECT note_id::text FROM caliber_note");
    let disputed: String = stage.db.one(&format!(
        "SELECT caliber_conflict_create('goal_conflict', 'note', '{}', 'note', '{}')::text",
        notes[0], notes[1]
    ));
    let one = |db: &mut Db, sql: &str| db.one::<String>(&format!("SELECT ({sql})::text"));
    let boss = one(&mut stage.db, "SELECT agent_id FROM caliber_agent WHERE agent_type = 'boss'");
    let worker =
        one(&mut stage.db, "SELECT agent_id FROM caliber_agent WHERE agent_type = 'worker'");
    let offer = "FROM caliber_delegation WHERE status = 'pending'";
    let delegation = one(&mut stage.db, &format!("SELECT delegation_id {offer}"));
    let parent = one(&mut stage.db, &format!("SELECT parent_trajectory_id {offer}"));
    let child = one(
        &mut stage.db,
        &format!("caliber_trajectory_create('part', parent_trajectory_id => '{parent}')"),
    );
    let leased = "FROM caliber_lock WHERE resource_type = 'scope'";
    let scope = one(&mut stage.db, &format!("SELECT resource_id {leased}"));
    let fence = one(&mut stage.db, &format!("SELECT fence {leased}"));
    // What is called, with which privileges, and which one it needs beyond them, if any.
    let cases = [
        (
            format!("message_send('{boss}', 'm', '{{}}')"),
            "message INSERT SELECT",
            Some("agent SELECT"),
        ),
        (
            format!("message_send('{boss}', 'm', '{{}}', to_agent_type => 'worker')"),
            "message INSERT SELECT",
            None,
        ),
        ("delegation_list_pending(agent_type => 'worker')".into(), "delegation SELECT", None),
        ("handoff_list_pending(agent_type => 'worker')".into(), "handoff SELECT", None),
        (
            format!("delegation_accept('{delegation}', '{worker}', '{child}')"),
            "delegation SELECT UPDATE, agent SELECT, trajectory SELECT UPDATE",
            None,
        ),
        // Who ends what he delegated himself tells nobody; that it needs no message is known only
        // once the row is read, which is too late to ask for the privilege.
        (
            format!("delegation_fail('{delegation}', '{boss}')"),
            "delegation SELECT UPDATE, message SELECT",
            Some("message INSERT"),
        ),
        (
            format!("turn_create('{scope}', 'user', 'x', fence => {fence})"),
            "turn INSERT SELECT, scope SELECT UPDATE, trajectory SELECT UPDATE",
            Some("lock SELECT"),
        ),
        (
            format!("conflict_resolve('{disputed}', 'last_write_wins')"),
            "conflict SELECT UPDATE, note SELECT",
            Some("note UPDATE"),
        ),
        // The items are not looked at.
        (format!("conflict_resolve('{disputed}', 'escalate')"), "conflict SELECT UPDATE", None),
        (
            format!("trajectory_create('x', parent_trajectory_id => '{parent}')"),
            "trajectory INSERT SELECT",
            None,
        ),
    ];
    for (call, needs, one_more) in cases {
        let call = format!("SELECT public.caliber_{call}");
        for need in parse(needs) {
            stage.db.run(&need.grant(&role.0));
        }
        if let Some(one_more) = one_more {
            let one_more = parse(one_more)[0];
            assert_eq!(denied(&mut user, &call).message(), one_more.denied(), "{call}");
            stage.db.run(&one_more.grant(&role.0));
        }
        passes(&mut user, &call, needs);
        stage.db.run(&format!(
            "REVOKE ALL ON ALL TABLES IN SCHEMA {} FROM {}",
            stage.schema.name(),
            role.0
        ));
    }
}

#[test]
fn what_needs_ownership_is_refused_at_once_to_others() {
    let mut stage = Stage::new("privileges");
    let role = stage.role("reader");
    stage.db.run(&format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER
         ON ALL TABLES IN SCHEMA {} TO {}",
        stage.schema.name(),
        role.0
    ));
    let mut user = stage.connect_as(&role);
    let mut calls: Vec<&Call> = stage.others.iter().collect();
    calls.retain(|call| matches!(call.function.as_str(), "stat" | "verify"));
    assert!(!calls.is_empty());
    stage.db.run("BEGIN; LOCK TABLE caliber_turn IN ACCESS EXCLUSIVE MODE");
    for call in &calls {
        let error = denied(&mut user, &call.sql);
        assert_eq!(error.message(), "must be owner of table caliber_turn");
    }
    stage.db.run(&format!("COMMIT; ALTER TABLE caliber_turn OWNER TO {}", role.0));
    for call in &calls {
        passes(&mut user, &call.sql, "as the owner");
    }
    stage.db.run("ALTER TABLE caliber_turn OWNER TO CURRENT_USER");
}

#[test]
fn init_needs_the_right_to_create() {
    let mut stage = Stage::new("privileges");
    let role = stage.role("creator");
    let mut user = stage.connect_as(&role);
    let empty = Schema::bare("privileges");
    let new = format!("{}_new", stage.schema.name());
    let error = denied(&mut user, &format!("SELECT public.caliber_init('{new}', 8)"));
    assert!(error.message().starts_with("permission denied for database"), "{error:?}");
    assert!(!stage.db.one::<bool>(&format!("SELECT to_regnamespace('{new}') IS NOT NULL")));
    let into_empty = format!("SELECT public.caliber_init('{}', 8)", empty.name());
    // The advisory lock of those who do create, which anybody may take.
    stage.db.run("SELECT pg_advisory_lock(x'63616c69626572'::bigint)");
    let error = denied(&mut user, &format!("SELECT public.caliber_init('{new}', 8)"));
    assert!(error.message().starts_with("permission denied for database"), "{error:?}");
    let complete = format!("SELECT public.caliber_init('{}', 8)", stage.schema.name());
    assert!(user.all::<String>(&complete).is_empty(), "nothing is missing");
    stage.db.run("SELECT pg_advisory_unlock(x'63616c69626572'::bigint)");
    stage.db.run(&format!("GRANT USAGE ON SCHEMA {} TO {}", empty.name(), role.0));
    let error = denied(&mut user, &into_empty);
    assert_eq!(error.message(), format!("permission denied for schema {}", empty.name()));
    stage.db.run(&format!("GRANT CREATE ON SCHEMA {} TO {}", empty.name(), role.0));
    user.run(&into_empty);
    // What one has created one can use.
    user.run(&format!(
        "SET caliber.schema = {}; SELECT public.caliber_agent_register('x')",
        empty.name()
    ));
    // Completing another's table needs to own it.
    stage.db.run(&format!(
        "DROP INDEX {}.caliber_trajectory_status_idx;
         ALTER TABLE {0}.caliber_trajectory OWNER TO CURRENT_USER",
        empty.name()
    ));
    let error = denied(&mut user, &into_empty);
    assert_eq!(error.message(), "must be owner of table caliber_trajectory");
}

#[test]
fn a_policy_on_any_of_its_tables_has_a_function_refuse() {
    let mut stage = Stage::new("privileges");
    let role = stage.role("user");
    stage.db.run(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA {0} TO {1};
         GRANT ALL ON ALL SEQUENCES IN SCHEMA {0} TO {1}",
        stage.schema.name(),
        role.0
    ));
    let mut user = stage.connect_as(&role);
    for table in TABLES {
        stage.db.run(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
             CREATE POLICY all_rows ON {table} USING (true) WITH CHECK (true)"
        ));
        for call in &stage.calls {
            if !call.tables().contains(table) {
                passes(&mut user, &call.sql, &format!("with a policy on {table} only"));
                continue;
            }
            // Nothing is read, so nobody waits for it either.
            stage.db.run(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
            let error = assert_sqlstate(user.attempt(&call.sql), "0A000", &call.sql);
            stage.db.run("ROLLBACK");
            assert!(error.message().contains(table), "{error:?}");
            assert!(error.hint().unwrap_or_default().contains("SQL"), "{error:?}");
        }
        stage.db.run(&format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"));
    }
    for call in &stage.calls {
        passes(&mut user, &call.sql, "once row security is off again");
    }
}

#[test]
fn a_policy_does_not_concern_the_owner_and_who_bypasses_it() {
    let mut stage = Stage::new("privileges");
    let owner = stage.role("owner");
    let bypassing = stage.role("bypassing");
    let alter =
        |change: &str| TABLES.map(|table| format!("ALTER TABLE {table} {change};")).concat();
    stage.db.run(&alter("ENABLE ROW LEVEL SECURITY"));
    // A policy that lets no row pass would show if it were applied.
    stage.db.run(&TABLES.map(|t| format!("CREATE POLICY none ON {t} USING (false);")).concat());
    stage.db.run(&format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA {0} TO {1};
         GRANT ALL ON ALL SEQUENCES IN SCHEMA {0} TO {1};
         ALTER ROLE {1} BYPASSRLS",
        stage.schema.name(),
        bypassing.0
    ));
    let mut user = stage.connect_as(&bypassing);
    for call in &stage.calls {
        passes(&mut user, &call.sql, "as a role that bypasses policies");
    }
    stage.db.run(&alter(&format!("OWNER TO {}", owner.0)));
    stage.db.run(&format!("ALTER SEQUENCE caliber_fence OWNER TO {}", owner.0));
    let mut user = stage.connect_as(&owner);
    for call in &stage.calls {
        passes(&mut user, &call.sql, "as the owner");
    }
    stage.db.run(&alter("FORCE ROW LEVEL SECURITY"));
    for setting in ["on", "off"] {
        user.run(&format!("SET row_security = {setting}"));
        for call in &stage.calls {
            assert_sqlstate(user.attempt(&call.sql), "0A000", &call.sql);
        }
    }
    stage.db.run(&alter("OWNER TO CURRENT_USER"));
    stage.db.run("ALTER SEQUENCE caliber_fence OWNER TO CURRENT_USER");
}

/// Look-alikes of everything that a call may name, in a schema of their own. Whoever uses one gets
/// an error, and the sequence `calls` counts it, rollback or not.
const LOOK_ALIKES: &str = r"
    CREATE SEQUENCE evil.calls;
    CREATE FUNCTION evil.spring() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        PERFORM pg_catalog.nextval('evil.calls'::pg_catalog.regclass);
        RAISE EXCEPTION 'a look-alike was used';
    END $$;
    DO $do$
    DECLARE
        body text := 'BEGIN PERFORM evil.spring(); END';
        r record;
        made int := 0;
    BEGIN
        -- The extension's functions, with the same arguments.
        FOR r IN
            SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments,
                   pg_get_function_result(p.oid) AS result
            FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid
                AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
            WHERE p.proname ^@ 'caliber_' AND NOT 'internal'::regtype = ANY (p.proargtypes)
        LOOP
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                r.proname, r.arguments, r.result, body);
            made := made + 1;
        END LOOP;
        IF made < 80 THEN RAISE 'only % functions of the extension', made; END IF;
        -- Functions of PostgreSQL and pgvector that defaults, constraints and code may call.
        FOR r IN
            SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments,
                   format_type(p.prorettype, NULL) AS result
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname IN ('pg_catalog', 'public') AND p.prokind = 'f' AND NOT p.proretset
                AND p.provariadic = 0 AND p.proallargtypes IS NULL
                AND (p.proname IN ('now', 'clock_timestamp', 'transaction_timestamp',
                    'statement_timestamp', 'length', 'octet_length', 'char_length', 'lower',
                    'upper', 'md5', 'sha256', 'convert_to', 'gen_random_uuid', 'uuidv7', 'nextval',
                    'isfinite', 'abs', 'greatest', 'int4', 'int8', 'text', 'numeric',
                    'pg_advisory_xact_lock', 'quote_ident', 'format_type', 'vector_dims',
                    'cosine_distance', 'vector_norm')
                    OR p.proname ^@ 'jsonb_' OR p.proname ^@ 'array_')
                AND NOT EXISTS (
                    SELECT FROM unnest(p.proargtypes::oid[] || p.prorettype) a(oid)
                    JOIN pg_type t ON t.oid = a.oid WHERE t.typtype = 'p')
        LOOP
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                r.proname, r.arguments, r.result, body);
        END LOOP;
        -- Operators of the types that entities have, and of the extension's enums.
        FOR r IN
            SELECT o.oprname, lt.oid::regtype AS l, rt.oid::regtype AS r,
                   o.oprresult::regtype AS result
            FROM pg_operator o JOIN pg_type lt ON lt.oid = o.oprleft
            JOIN pg_type rt ON rt.oid = o.oprright
            WHERE (lt.typname IN ('uuid', 'text', 'name', 'int4', 'int8', 'bool', 'float4',
                    'float8', 'interval', 'timestamptz', 'jsonb', 'bytea', 'vector', 'halfvec')
                   AND rt.typtype = 'b')
            UNION ALL
            SELECT o.name, t.oid::regtype, t.oid::regtype, 'bool'::regtype
            FROM pg_type t, unnest('{=,<>,<,<=,>,>=}'::text[]) o(name)
            WHERE t.typtype = 'e' AND t.typname ^@ 'caliber_'
        LOOP
            made := made + 1;
            EXECUTE format('CREATE FUNCTION evil.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L',
                'operator_' || made, r.l, r.r, r.result, body);
            EXECUTE format(
                'CREATE OPERATOR evil.%s (leftarg = %s, rightarg = %s, function = evil.%I)',
                r.oprname, r.l, r.r, 'operator_' || made);
        END LOOP;
        -- Tables of the catalogs, empty, and the entities'.
        FOR r IN
            SELECT c.oid::regclass AS like_this, c.relname FROM pg_class c
            WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname IN ('pg_namespace',
                'pg_class', 'pg_constraint', 'pg_extension', 'pg_type', 'pg_enum', 'pg_am')
                OR c.relnamespace = current_setting('caliber.schema')::regnamespace
                AND c.relkind = 'r'
        LOOP
            EXECUTE format('CREATE TABLE evil.%I AS TABLE %s WITH NO DATA', r.relname, r.like_this);
        END LOOP;
        EXECUTE 'CREATE SEQUENCE evil.caliber_fence';
        -- Last, because the statements above name types: those of columns, arguments and results.
        FOR r IN
            SELECT typname FROM pg_type
            WHERE typnamespace = 'pg_catalog'::regnamespace AND typname IN ('uuid', 'text', 'name',
                'jsonb', 'int4', 'int8', 'bool', 'float4', 'float8', 'interval', 'timestamptz',
                'bytea', 'regclass', '_uuid', '_text', '_jsonb')
            UNION
            SELECT typname FROM pg_type
            WHERE typnamespace = 'public'::regnamespace AND typname IN ('vector', 'halfvec')
            UNION
            SELECT t.typname FROM pg_type t JOIN pg_depend d ON d.objid = t.oid
                AND d.classid = 'pg_type'::regclass AND d.deptype = 'e'
            WHERE t.typname ^@ 'caliber_'
            EXCEPT
            SELECT typname FROM pg_type WHERE typnamespace = 'evil'::regnamespace
        LOOP
            EXECUTE format('CREATE TYPE evil.%I AS ENUM (%L)', r.typname, 'look-alike');
        END LOOP;
    END $do$";

/// What a query returns, by the simple protocol: the client asks the catalogs nothing. Ids that
/// `known` does not name and times differ from call to call and are left out.
#[track_caller]
fn answer(db: &mut Db, sql: &str, known: &str) -> Vec<String> {
    let messages = match db.simple_query(sql) {
        Ok(messages) => messages,
        Err(error) => panic!("{}", show(&error, sql)),
    };
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let values = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL"));
            rows.push(without_chance(&values.collect::<Vec<_>>().join("|"), known));
        }
    }
    rows
}

fn without_chance(row: &str, known: &str) -> String {
    let is_date = |word: &str| {
        word.len() >= 19 && word.is_char_boundary(11) && {
            let bytes = word.as_bytes();
            bytes[4] == b'-' && bytes[7] == b'-' && bytes[10] == b' ' && bytes[13] == b':'
        }
    };
    let is_id = |word: &str| word.len() == 36 && word.bytes().filter(|b| *b == b'-').count() == 4;
    let mut result = String::new();
    for part in row.split_inclusive(['|', ',', '(', ')', '"', '{', '}']) {
        let end = part.trim_end_matches(['|', ',', '(', ')', '"', '{', '}']).len();
        let (word, separator) = part.split_at(end);
        result += match word {
            _ if is_date(word) => "<time>",
            _ if is_id(word) && !known.contains(word) => "<id>",
            _ => word,
        };
        result += separator;
    }
    result
}

/// The columns, defaults, constraints, indexes and views of a schema, without its name.
fn description(db: &mut Db, schema: &str) -> Vec<String> {
    // Names are qualified whoever looks.
    db.run("SET search_path = pg_catalog");
    let rows = db.all::<String>(&format!(
        "SELECT format('%s.%s %s.%s %s', c.relname, a.attname, tn.nspname,
             format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid))
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relnamespace = '{schema}'::regnamespace
         UNION ALL
         SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
         WHERE connamespace = '{schema}'::regnamespace
         UNION ALL
         SELECT indexdef FROM pg_indexes WHERE schemaname = '{schema}'
         UNION ALL
         SELECT format('%s %s', viewname, definition) FROM pg_views WHERE schemaname = '{schema}'
         ORDER BY 1"
    ));
    rows.iter().map(|row| row.replace(schema, "<schema>")).collect()
}

#[test]
fn look_alikes_on_the_search_path_are_never_used() {
    let mut stage = Stage::new("privileges");
    let evil = Schema::bare("evil");
    let name = evil.name().to_owned();
    stage.db.run(&LOOK_ALIKES.replace("evil", &name));
    let mut hostile = stage.schema.connect();
    hostile
        .run("CREATE TEMP TABLE caliber_turn (turn_id uuid); CREATE TEMP TABLE caliber_agent ()");
    hostile.run(&format!(
        "SET search_path = {name}, pg_temp, pg_catalog, {}, public",
        stage.schema.name()
    ));
    let used = format!("SELECT last_value::bigint FROM {name}.calls WHERE is_called");
    let known: String = stage.calls.iter().map(|call| call.sql.as_str()).collect();
    let mut answers = 0;
    for call in stage.calls.iter().chain(&stage.others) {
        // Each of the two takes the same fence.
        let begin = "SELECT pg_catalog.setval('caliber_fence', 1000); BEGIN";
        stage.db.run(begin);
        let usual = answer(&mut stage.db, &call.sql, &known);
        stage.db.run("ROLLBACK");
        stage.db.run("SELECT pg_catalog.setval('caliber_fence', 1000)");
        hostile.run("BEGIN");
        let with_look_alikes = answer(&mut hostile, &call.sql, &known);
        hostile.run("ROLLBACK");
        assert_eq!(with_look_alikes, usual, "{}", call.sql);
        answers += usize::from(!usual.is_empty());
    }
    assert!(answers > 70, "{answers} calls returned rows");
    assert_eq!(stage.db.all::<i64>(&used), [0; 0]);

    // The tables made under that path are those made under any other, and the functions work there.
    let new = format!("{}_hostile", stage.schema.name());
    let made = answer(&mut hostile, &format!("SELECT public.caliber_init('{new}', 8)"), "");
    assert!(made.len() > 80, "{made:?}");
    hostile.run(&format!("SET caliber.schema = {new}"));
    hostile.run("SELECT public.caliber_agent_register('x')");
    assert_eq!(stage.db.all::<i64>(&used), [0; 0]);
    let mut plain = Server::get().connect();
    let wanted = description(&mut plain, stage.schema.name());
    assert!(wanted.len() > 200, "{} objects", wanted.len());
    assert_eq!(description(&mut plain, &new), wanted);
    assert_eq!(
        stage.db.all::<String>(&format!("SELECT problem FROM caliber_check('{new}')")),
        [""; 0]
    );
    stage.db.run(&format!("DROP SCHEMA {name} CASCADE"));
    assert_eq!(description(&mut plain, &new), wanted, "nothing of it came from there");
    stage.db.run(&format!("DROP SCHEMA {new} CASCADE; CREATE SCHEMA {name}"));
}

#[test]
fn the_look_alikes_would_be_used_by_who_does_not_qualify() {
    let mut stage = Stage::new("privileges");
    let evil = Schema::bare("evil");
    let name = evil.name().to_owned();
    stage.db.run(&LOOK_ALIKES.replace("evil", &name));
    let mut db = stage.schema.connect();
    db.run(&format!("SET search_path = {name}, pg_catalog, {}, public", stage.schema.name()));
    for sql in [
        "SELECT now()",
        "SELECT caliber_version()",
        "SELECT caliber_turn_get('01920000-0000-7000-8000-00000000dead'::pg_catalog.uuid)",
        "SELECT 'a'::pg_catalog.text = 'b'::pg_catalog.text",
        "SELECT role = role FROM public.caliber_turn_tail(
             (SELECT scope_id FROM public.caliber_scope_list_by_trajectory(
                 (SELECT trajectory_id FROM public.caliber_trajectory_list_by_status('active')
                  LIMIT 1)) LIMIT 1))",
        "SELECT pg_catalog.now() > pg_catalog.now()",
    ] {
        let error = assert_sqlstate(db.attempt(sql), "P0001", sql);
        assert_eq!(error.message(), "a look-alike was used");
    }
    assert_eq!(
        stage
            .db
            .all::<i64>(&format!("SELECT last_value::bigint FROM {name}.calls WHERE is_called")),
        [6]
    );
    assert_sqlstate(db.attempt("SELECT '1'::uuid"), "22P02", "an enum");
    drop(db);
}

/// A schema whose owner lets a role call functions that write to it, and the caller's own schema
/// of the same tables, which everybody may use, with a trigger that notes on whose behalf it runs.
struct Definer {
    db: Db,
    caller: Db,
    owner: Role,
    theirs: Schema,
    stage: Stage,
    _caller_role: Role,
}

impl Definer {
    fn new() -> Self {
        let mut stage = Stage::new("definer");
        let (owner, caller) = (stage.role("owner"), stage.role("caller"));
        let theirs = Schema::new("definer_theirs");
        let mut db = stage.schema.connect();
        let (ours_name, theirs_name) = (stage.schema.name(), theirs.name());
        db.run(&format!(
            "GRANT SELECT, INSERT ON caliber_note TO {owner};
             GRANT CREATE ON SCHEMA {ours_name} TO {owner};
             GRANT USAGE, CREATE ON SCHEMA {theirs_name} TO PUBLIC;
             GRANT ALL ON ALL TABLES IN SCHEMA {theirs_name} TO PUBLIC;
             ALTER TABLE {theirs_name}.caliber_note OWNER TO {caller};
             SET ROLE {caller};
             CREATE TABLE {theirs_name}.ran_as (who text);
             GRANT INSERT ON {theirs_name}.ran_as TO PUBLIC;
             CREATE FUNCTION {theirs_name}.note_who() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO {theirs_name}.ran_as VALUES (current_user); RETURN NULL; END $$;
             CREATE TRIGGER who AFTER INSERT ON {theirs_name}.caliber_note
                 FOR EACH ROW EXECUTE FUNCTION {theirs_name}.note_who();
             SET ROLE {owner};
             CREATE FUNCTION {ours_name}.pinned(content text) RETURNS uuid
                 LANGUAGE sql SECURITY DEFINER
                 SET search_path = pg_catalog, pg_temp SET caliber.schema = {ours_name}
                 AS $$SELECT public.caliber_note_create('said', 'said', content)$$;
             CREATE FUNCTION {ours_name}.not_pinned(content text) RETURNS uuid
                 LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
                 AS $$SELECT public.caliber_note_create('said', 'said', content)$$;
             RESET ROLE",
            owner = owner.0,
            caller = caller.0,
        ));
        let mut session = Server::get().connect();
        // The setting is made before the library is loaded, by a name that is unknown until then.
        session.run(&format!("SET ROLE {}; SET caliber.schema = {theirs_name}", caller.0));
        Self { db, caller: session, owner, theirs, stage, _caller_role: caller }
    }

    /// The contents of the notes said, ours and theirs.
    fn said(&mut self) -> [Vec<String>; 2] {
        [self.stage.schema.name(), self.theirs.name()].map(|schema| {
            self.db.all(&format!(
                "SELECT content FROM {schema}.caliber_note WHERE note_type = 'said'
                 ORDER BY note_id"
            ))
        })
    }
}

#[test]
fn a_definer_that_pins_the_schema_writes_to_its_owners_tables() {
    let mut d = Definer::new();
    let (ours, theirs) = (d.stage.schema.name().to_owned(), d.theirs.name().to_owned());
    let directly = "SELECT public.caliber_note_create('said', 'said', 'directly')";
    d.caller.run(&format!("SELECT {ours}.pinned('first')"));
    assert_eq!(d.said(), [vec!["first"], vec![]]);
    let schema: String = d.caller.one("SELECT current_setting('caliber.schema')");
    assert_eq!(schema, theirs, "the caller's setting is back");
    // Calls of both kinds in turn: what a session remembers belongs to a user and a schema.
    d.caller.run(directly);
    d.caller.run(&format!("SELECT {ours}.pinned('second')"));
    d.caller.run(directly);
    assert_eq!(d.said(), [vec!["first", "second"], vec!["directly", "directly"]]);
    let ran_as: Vec<String> = d.db.all(&format!("SELECT DISTINCT who FROM {theirs}.ran_as"));
    assert_eq!(ran_as, [format!("{}_caller", ours)]);
    // The caller gets nothing but the function: not the tables that it has just written to.
    d.caller.run(&format!("SET caliber.schema = {ours}"));
    denied(&mut d.caller, directly);
    d.caller.run(&format!("SELECT {ours}.pinned('third')"));
    denied(&mut d.caller, directly);
    // In one transaction, too.
    d.caller.run(&format!("BEGIN; SELECT {ours}.pinned('fourth')"));
    denied(&mut d.caller, directly);
    d.caller.run("ROLLBACK");
    assert_eq!(d.said()[0], ["first", "second", "third"]);
}

#[test]
fn a_definer_that_does_not_pin_it_follows_its_caller() {
    let mut d = Definer::new();
    let (ours, theirs) = (d.stage.schema.name().to_owned(), d.theirs.name().to_owned());
    d.caller.run(&format!("SELECT {ours}.not_pinned('astray')"));
    assert_eq!(d.said(), [vec![], vec!["astray"]]);
    // What the caller's trigger does there, it does as the function's owner.
    let ran_as: Vec<String> = d.db.all(&format!("SELECT who FROM {theirs}.ran_as"));
    assert_eq!(ran_as, [d.owner.0.clone()]);
}
