//! No way around: the rules of all entities hold on every path by which SQL can reach a row.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use caliber_tests::filled::{Filled, TABLES, all_rows, insert_from, written_columns};
use caliber_tests::{Db, Server, lit, show};

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
const BENT: &str = "is superseded already";

/// A change that a rule refuses with 55000: column and literal, each for itself.
macro_rules! forbid {
    ($table:expr, $row:expr, $says:expr; $($column:ident = $value:expr),+ $(,)?) => {
        [$(forbidden($table, $row, &[(stringify!($column), $value)], "55000", $says)),+]
    };
}

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
        forbidden(
            T,
            "02",
            &[("agent_id", "'01900000-0000-7000-8000-0000000000a2'")],
            "55000",
            FINAL,
        ),
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

/// As [`FORBIDDEN`], for the entities whose every rule is refused with 55000; a lock's fence alone
/// is refused otherwise.
const FORBIDDEN_ELSEWHERE: &[&[Forbidden]] = {
    const A: &str = "caliber_artifact";
    const N: &str = "caliber_note";
    const G: &str = "caliber_agent";
    const L: &str = "caliber_lock";
    const M: &str = "caliber_message";
    const D: &str = "caliber_delegation";
    const H: &str = "caliber_handoff";
    const C: &str = "caliber_conflict";
    const NEW_ID: &str = "'01900000-0000-7000-8000-0000000000ff'";
    const NEW_IDS: &str = "'{01900000-0000-7000-8000-0000000000ff}'";
    const TRAJECTORY: &str = "'01900000-0000-7000-8000-000000000002'";
    const SCOPE: &str = "'01900000-0000-7000-8000-000000000012'";
    const AGENT: &str = "'01900000-0000-7000-8000-0000000000a2'";
    const ANOTHER: &str = "'01900000-0000-7000-8000-0000000000a3'";
    const PAST: &str = "'2001-01-01'";
    &[
        &forbid!(A, "31", FIXED; artifact_id = NEW_ID, trajectory_id = TRAJECTORY, scope_id = SCOPE,
            created_at = PAST),
        &forbid!(A, "31", STEP; version = "4", version = "7"),
        &forbid!(A, "32", BENT; superseded_by = "'01900000-0000-7000-8000-000000000033'"),
        &forbid!(N, "41", FIXED; note_id = NEW_ID, created_at = PAST),
        &forbid!(N, "41", STEP; version = "4", version = "7"),
        &forbid!(N, "42", BENT; superseded_by = "'01900000-0000-7000-8000-000000000043'"),
        &forbid!(G, "a1", FIXED; agent_id = NEW_ID, created_at = PAST),
        &forbid!(G, "a1", STEP; version = "4", version = "7"),
        &[forbidden(G, "a1", &[("last_heartbeat", PAST), ("version", "7")], "55000", STEP)],
        &forbid!(L, "51", FIXED; lock_id = NEW_ID, holder_agent_id = AGENT, mode = "'shared'",
            created_at = PAST),
        &forbid!(L, "51", STEP; version = "4", version = "7"),
        &[
            forbidden(L, "51", &[("fence", "6")], "55006", FALLS),
            forbidden(L, "51", &[("fence", "0"), ("expires_at", "'2031-01-01'")], "55006", FALLS),
        ],
        &forbid!(M, "61", FIXED; message_id = NEW_ID, from_agent_id = AGENT, to_agent_id = ANOTHER,
            to_agent_id = "NULL", message_type = "'x'", payload = "'{}'", artifact_ids = NEW_IDS,
            broadcast_id = NEW_ID, broadcast_id = "NULL", created_at = PAST),
        &forbid!(M, "62", FIXED; to_agent_type = "'x'", to_agent_type = "NULL"),
        &forbid!(M, "61", STEP; version = "4", version = "7"),
        &forbid!(M, "61", MOVES; status = "'acknowledged'"),
        &forbid!(M, "63", MOVES; status = "'pending'", status = "'delivered'", status = "'dead'"),
        &forbid!(M, "64", MOVES; status = "'delivered'", status = "'acknowledged'"),
        &forbid!(M, "63", FINAL; trajectory_id = TRAJECTORY, scope_id = SCOPE, priority = "'low'",
            visible_at = PAST, delivery_count = "4", max_deliveries = "9", claimed_by = AGENT,
            expires_at = PAST, expires_at = "NULL", delivered_at = PAST, acknowledged_at = PAST),
        &[forbidden(M, "63", &[("metadata", "'{}'"), ("priority", "'high'")], "55000", FINAL)],
        &forbid!(D, "71", FIXED; delegation_id = NEW_ID, delegator_agent_id = AGENT,
            delegatee_agent_type = "'x'", delegatee_agent_type = "NULL", task_description = "'x'",
            parent_trajectory_id = TRAJECTORY, created_at = PAST),
        &forbid!(D, "72", STEP; version = "4", version = "7"),
        &forbid!(D, "71", MOVES; status = "'in_progress'", status = "'completed'"),
        &forbid!(D, "72", MOVES; status = "'pending'", status = "'rejected'"),
        &forbid!(D, "73", MOVES; status = "'pending'", status = "'accepted'", status = "'rejected'"),
        &forbid!(D, "74", MOVES; status = "'pending'", status = "'accepted'", status = "'in_progress'",
            status = "'completed'", status = "'failed'"),
        &forbid!(D, "75", MOVES; status = "'pending'", status = "'accepted'", status = "'in_progress'",
            status = "'rejected'", status = "'failed'"),
        &forbid!(D, "76", MOVES; status = "'pending'", status = "'accepted'", status = "'in_progress'",
            status = "'rejected'", status = "'completed'"),
        &forbid!(D, "74", FINAL; delegatee_agent_id = ANOTHER, additional_context = "'x'"),
        &forbid!(D, "75", FINAL; child_trajectory_id = TRAJECTORY, shared_artifacts = NEW_IDS,
            shared_notes = NEW_IDS, constraints = "'{}'", deadline = PAST, result = "'{}'",
            accepted_at = PAST),
        &forbid!(D, "76", FINAL; result = "'{}'", completed_at = PAST),
        &forbid!(H, "81", FIXED; handoff_id = NEW_ID, from_agent_id = AGENT, to_agent_type = "'x'",
            to_agent_type = "NULL", trajectory_id = TRAJECTORY, scope_id = SCOPE, created_at = PAST),
        &forbid!(H, "82", STEP; version = "4", version = "7"),
        &forbid!(H, "81", MOVES; status = "'completed'"),
        &forbid!(H, "82", MOVES; status = "'initiated'", status = "'rejected'"),
        &forbid!(H, "83", MOVES; status = "'initiated'", status = "'accepted'", status = "'completed'"),
        &forbid!(H, "84", MOVES; status = "'initiated'", status = "'accepted'", status = "'rejected'"),
        &forbid!(H, "83", FINAL; to_agent_id = ANOTHER, context_snapshot_id = NEW_ID,
            handoff_notes = "'x'", next_steps = "'{}'", blockers = "'{}'"),
        &forbid!(H, "84", FINAL; open_questions = "'{}'", reason = "'failure'", initiated_at = PAST,
            accepted_at = PAST, completed_at = PAST),
        &forbid!(C, "91", FIXED; conflict_id = NEW_ID, item_a_type = "'x'", item_a_id = NEW_ID,
            item_b_type = "'x'", item_b_id = NEW_ID, created_at = PAST),
        &forbid!(C, "92", STEP; version = "4", version = "7"),
        &forbid!(C, "92", MOVES; status = "'detected'"),
        &forbid!(C, "93", MOVES; status = "'detected'", status = "'resolving'", status = "'escalated'"),
        &forbid!(C, "94", MOVES; status = "'detected'"),
        &forbid!(C, "93", FINAL; conflict_type = "'contradicting_fact'", agent_a_id = ANOTHER,
            agent_b_id = ANOTHER, trajectory_id = TRAJECTORY, resolution = "'{}'", detected_at = PAST,
            resolved_at = PAST),
    ]
};

/// All that is forbidden.
fn all_forbidden() -> impl Iterator<Item = &'static Forbidden> {
    FORBIDDEN.iter().chain(FORBIDDEN_ELSEWHERE.iter().copied().flatten())
}

/// Updates that raise the version.
const MAJOR: &[Change] = &[
    Change { table: "caliber_trajectory", row: "01", set: &[("name", "'renamed'")] },
    Change { table: "caliber_trajectory", row: "01", set: &[("status", "'suspended'")] },
    Change { table: "caliber_trajectory", row: "02", set: &[("metadata", "'{\"k\": 2}'")] },
    Change {
        table: "caliber_scope",
        row: "11",
        set: &[("token_budget", "1000"), ("tokens_used", "20")],
    },
    Change {
        table: "caliber_scope",
        row: "11",
        set: &[("is_active", "false"), ("closed_at", "'2024-02-02'")],
    },
    Change { table: "caliber_scope", row: "11", set: &[("purpose", "'x'"), ("version", "6")] },
    Change { table: "caliber_scope", row: "11", set: &[("checkpoint", "NULL")] },
    Change { table: "caliber_artifact", row: "31", set: &[("content", "'naïve ☃'")] },
    Change {
        table: "caliber_artifact",
        row: "31",
        set: &[("superseded_by", "'01900000-0000-7000-8000-000000000033'")],
    },
    Change { table: "caliber_artifact", row: "32", set: &[("superseded_by", "NULL")] },
    Change { table: "caliber_note", row: "41", set: &[("title", "'x'"), ("access_count", "4")] },
    Change { table: "caliber_note", row: "42", set: &[("superseded_by", "NULL")] },
    Change { table: "caliber_agent", row: "a1", set: &[("status", "'offline'")] },
    Change {
        table: "caliber_agent",
        row: "a2",
        set: &[("capabilities", "'{c}'"), ("last_heartbeat", "'2024-03-03'")],
    },
    Change {
        table: "caliber_lock",
        row: "51",
        set: &[("expires_at", "'2031-01-01'"), ("fence", "8")],
    },
    Change {
        table: "caliber_message",
        row: "61",
        set: &[("status", "'delivered'"), ("delivery_count", "4")],
    },
    Change { table: "caliber_message", row: "64", set: &[("status", "'pending'")] },
    Change { table: "caliber_message", row: "63", set: &[("metadata", "'[]'")] },
    Change { table: "caliber_message", row: "63", set: &[("trajectory_id", "NULL")] },
    Change {
        table: "caliber_message",
        row: "63",
        set: &[("claimed_by", "NULL"), ("scope_id", "NULL")],
    },
    Change {
        table: "caliber_delegation",
        row: "71",
        set: &[("status", "'failed'"), ("result", "'{}'")],
    },
    Change { table: "caliber_delegation", row: "75", set: &[("metadata", "'[]'")] },
    Change { table: "caliber_handoff", row: "82", set: &[("status", "'completed'")] },
    Change { table: "caliber_handoff", row: "83", set: &[("metadata", "'[]'")] },
    Change { table: "caliber_conflict", row: "94", set: &[("status", "'resolving'")] },
    Change { table: "caliber_conflict", row: "93", set: &[("metadata", "'[]'")] },
];

/// Updates that do not.
const QUIET: &[Change] = &[
    Change { table: "caliber_trajectory", row: "01", set: &[("fence", "8")] },
    Change { table: "caliber_scope", row: "11", set: &[("tokens_used", "11")] },
    Change {
        table: "caliber_scope",
        row: "11",
        set: &[("turn_count", "4"), ("fence", "9"), ("tokens_used", "10")],
    },
    Change { table: "caliber_scope", row: "11", set: &[("name", "'open'")] },
    Change { table: "caliber_agent", row: "a1", set: &[("last_heartbeat", "'2024-03-03'")] },
    Change {
        table: "caliber_note",
        row: "41",
        set: &[("accessed_at", "'2024-03-03'"), ("access_count", "4")],
    },
    Change { table: "caliber_lock", row: "51", set: &[("fence", "8")] },
    Change { table: "caliber_message", row: "63", set: &[("status", "'acknowledged'")] },
    Change {
        table: "caliber_conflict",
        row: "93",
        set: &[("agent_a_id", "'01900000-0000-7000-8000-0000000000a1'")],
    },
];

impl Change {
    fn key(&self) -> String {
        format!("{}_id", self.table.trim_start_matches("caliber_"))
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
                super::every_rule_holds(super::path(stringify!($name)));
            })*
        }

        mod carried_out_by {
            $(#[test]
            fn $name() {
                super::allowed_changes_work(super::path(stringify!($name)));
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
        "{} WHERE {} ON CONFLICT ({}) DO UPDATE SET {}",
        insert_from(c.table, c.table, c.table), c.find(), c.key(), c.assignments()
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
         {} WHERE {} ON CONFLICT ({}) DO UPDATE SET {}",
        insert_from("w", c.table, c.table), c.find(), c.key(), c.assignments(), table = c.table
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
        // A key with a null in it refers to nothing and follows nothing.
        let is_null = [("11", "closed_at"), ("31", "superseded_by")];
        let old_is_null = c.set.iter().any(|(column, _)| is_null.contains(&(c.row, column)));
        let same_value = c.row == "22";
        if old_is_null || same_value {
            return None;
        }
        let key = c.key();
        let columns = c.set.iter().map(|(column, _)| *column).filter(|column| *column != key);
        let columns = std::iter::once(&*key).chain(columns).collect::<Vec<_>>().join(", ");
        Some(format!(
            "CREATE TABLE ref AS SELECT {columns} FROM {table};
             ALTER TABLE ref ADD UNIQUE ({columns});
             ALTER TABLE {table} ADD FOREIGN KEY ({columns}) REFERENCES ref ({columns}) ON UPDATE CASCADE;
             UPDATE ref SET {} WHERE {}",
            c.assignments(), c.find(), table = c.table
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
        "DEALLOCATE ALL; PREPARE p (uuid) AS UPDATE {} SET {} WHERE {} = $1; EXECUTE p ({})",
        c.table, c.assignments(), c.key(), c.id()
    ));
    copy_of_an_update: |c| Some(format!(
        "COPY ({} RETURNING {}) TO PROGRAM 'cat > /dev/null'", c.update(), c.key()
    ));
    savepoint: |c| Some(format!("SAVEPOINT a; {}; RELEASE a", c.update()));
    locked_row: |c| Some(format!(
        "SELECT FROM {} WHERE {} FOR UPDATE; {}", c.table, c.find(), c.update()
    ));
    // Generated columns would have to be generated by the parent, too.
    inheritance: |c| written_columns(c.table).is_none().then(|| format!(
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

fn path(name: &str) -> Path {
    PATHS.iter().find(|(n, _)| *n == name).unwrap().1
}

fn every_rule_holds(path: Path) {
    let mut filled = Filled::new("no_way");
    let mut tried = 0;
    let everything = all_rows();
    for rule in all_forbidden() {
        let Some(sql) = path(&rule.change) else { continue };
        let sql = format!("BEGIN; {sql}; COMMIT");
        let error = filled.db.refused_unchanged(&sql, rule.sqlstate, &[&everything]);
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
    let mut tried = 0;
    for (change, version) in MAJOR.iter().map(|c| (c, 6)).chain(QUIET.iter().map(|c| (c, 5))) {
        let Some(sql) = path(change) else { continue };
        db.run("BEGIN");
        db.run(&sql);
        let updated_at = if version == 6 {
            "transaction_timestamp()"
        } else {
            "timestamptz '2024-01-02 00:00:00.654321+00'"
        };
        let set: Vec<_> =
            change.set.iter().map(|(c, v)| format!(" AND {c} IS NOT DISTINCT FROM {v}")).collect();
        let found: i64 = db.one(&format!(
            "SELECT count(*) FROM {} WHERE {} AND version = {version} AND updated_at = {updated_at}{}",
            change.table,
            change.find(),
            set.concat()
        ));
        let seen = db.rows_of(change.table);
        assert_eq!(
            found, 1,
            "{sql}\nversion should be {version}, updated_at {updated_at}: {seen:#?}"
        );
        db.run("ROLLBACK");
        tried += 1;
    }
    assert!(tried > 0);
}

/// A refusal that the transaction survives leaves the row and its indexes as they were.
#[test]
fn a_caught_refusal_changes_nothing() {
    let mut filled = Filled::new("caught");
    let db = &mut filled.db;
    let before: Vec<_> = TABLES.iter().map(|t| db.rows_of(t)).collect();
    for rule in all_forbidden() {
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
    for rule in all_forbidden() {
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
        (
            "UPDATE caliber_scope SET tokens_used = CASE scope_id
              WHEN '01900000-0000-7000-8000-000000000013' THEN 5 ELSE tokens_used END",
            "55000",
        ),
        (
            "UPDATE caliber_trajectory SET fence = CASE name WHEN 'active' THEN 8 WHEN 'child' THEN 0 ELSE fence END",
            "55006",
        ),
        (
            "MERGE INTO caliber_scope s USING caliber_scope v ON s.scope_id = v.scope_id
          WHEN MATCHED AND v.is_active THEN DELETE
          WHEN MATCHED THEN UPDATE SET name = 'x'",
            "55000",
        ),
        (
            "WITH gone AS (DELETE FROM caliber_turn WHERE sequence = 0)
          UPDATE caliber_turn SET token_count = 0 WHERE sequence = 1",
            "55000",
        ),
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
    let error =
        filled.db.refused("UPDATE caliber_scope SET fence = 3 WHERE name = 'open'", "55006");
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

/// The arrows of the other entities.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("message", "pending", &["delivered", "dead"]),
    ("message", "delivered", &["pending", "acknowledged", "dead"]),
    ("message", "dead", &["pending"]),
    ("delegation", "pending", &["accepted", "rejected", "failed"]),
    ("delegation", "accepted", &["in_progress", "completed", "failed"]),
    ("delegation", "in_progress", &["completed", "failed"]),
    ("handoff", "initiated", &["accepted", "rejected"]),
    ("handoff", "accepted", &["completed"]),
    ("conflict", "detected", &["resolving", "resolved", "escalated"]),
    ("conflict", "resolving", &["resolved", "escalated"]),
    ("conflict", "escalated", &["resolving", "resolved"]),
];

#[test]
fn the_arrows_of_all_entities_can_be_followed_and_no_others() {
    let mut filled = Filled::new("all_arrows");
    let db = &mut filled.db;
    for entity in ["message", "delegation", "handoff", "conflict"] {
        let states: Vec<String> =
            db.all(&format!("SELECT unnest(enum_range(NULL::caliber_{entity}_status))::text"));
        for (from, to) in states.iter().flat_map(|from| states.iter().map(move |to| (from, to))) {
            let update = format!(
                "UPDATE caliber_{entity} SET status = '{to}' WHERE status = '{from}' RETURNING version"
            );
            let allowed =
                ARROWS.iter().any(|(e, f, t)| *e == entity && f == from && t.contains(&&**to));
            if allowed || from == to {
                db.run("BEGIN");
                let version = if allowed { 6 } else { 5 };
                assert_eq!(db.one::<i64>(&update), version, "{entity}: {from} -> {to}");
                db.run("ROLLBACK");
            } else {
                let error = db.refused(&update, "55000");
                let detail = error.detail().unwrap();
                assert!(detail.contains(&**from) && detail.contains(&**to), "{detail}");
            }
        }
    }
    for (from, to) in ["idle", "active", "blocked", "failed", "offline"]
        .iter()
        .flat_map(|from| ["idle", "active", "blocked", "failed", "offline"].map(|to| (from, to)))
    {
        db.run(&format!(
            "BEGIN; UPDATE caliber_agent SET status = '{from}'; UPDATE caliber_agent SET status = '{to}'; ROLLBACK"
        ));
    }
}

/// A final row outlives what it refers to.
#[test]
fn a_final_message_survives_the_deletion_of_what_it_is_about() {
    let mut filled = Filled::new("outlives");
    let db = &mut filled.db;
    let before: Vec<String> = db.all(
        "SELECT concat_ws(' ', status, payload, metadata) FROM caliber_message ORDER BY message_id",
    );
    db.run("DELETE FROM caliber_trajectory WHERE name = 'active'");
    let rows: Vec<String> = db.all(
        "SELECT concat_ws(' ', status, payload, metadata) FROM caliber_message
         WHERE trajectory_id IS NULL AND scope_id IS NULL ORDER BY message_id",
    );
    assert_eq!(rows, before);
    let left: i64 = db.one(
        "SELECT (SELECT count(*) FROM caliber_artifact) + (SELECT count(*) FROM caliber_delegation)
              + (SELECT count(*) FROM caliber_handoff) + (SELECT count(*) FROM caliber_conflict)",
    );
    assert_eq!(left, 0, "what belongs to the trajectory goes with it");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_note"), 3, "knowledge stays");
    // The agent of the last delivery.
    db.run("DELETE FROM caliber_agent WHERE agent_type = 'helper'");
    let claimed: i64 = db.one("SELECT count(*) FROM caliber_message WHERE claimed_by IS NOT NULL");
    assert_eq!(claimed, 0);
    db.refused_unchanged(
        "UPDATE caliber_message SET priority = 'low' WHERE status = 'acknowledged'",
        "55000",
        &["caliber_message"],
    );
}

/// Who a message, a delegation or a handoff is from cannot be deleted; a lease goes with its holder.
#[test]
fn deleting_an_agent_spares_what_it_did() {
    let mut filled = Filled::new("agents");
    let db = &mut filled.db;
    for agent in ["a1", "a2"] {
        let sql = format!(
            "DELETE FROM caliber_agent WHERE agent_id = '01900000-0000-7000-8000-0000000000{agent}'"
        );
        db.refused_unchanged(&sql, "23503", &[&all_rows()]);
    }
    db.run(
        "INSERT INTO caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
         SELECT 'file', agent_id, agent_id, 'shared', 'infinity' FROM caliber_agent WHERE agent_type = 'helper';
         DELETE FROM caliber_agent WHERE agent_type = 'helper'",
    );
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caliber_lock"), 1);
}

#[test]
fn superseding_can_be_taken_back_but_not_bent() {
    let mut filled = Filled::new("superseded");
    let db = &mut filled.db;
    for (table, key, digit) in
        [("caliber_artifact", "artifact_id", 3), ("caliber_note", "note_id", 4)]
    {
        let id = |n: i32| format!("'01900000-0000-7000-8000-0000000000{digit}{n}'");
        let set = |of: i32, by: &str| {
            format!("UPDATE {table} SET superseded_by = {by} WHERE {key} = {}", id(of))
        };
        db.refused_unchanged(&set(2, &id(3)), "55000", &[table]);
        let error = db.refused_unchanged(&set(1, &id(1)), "23514", &[table]);
        assert_eq!(error.constraint(), Some(&*format!("{table}_superseded_by_check")));
        db.refused_unchanged(&set(1, "'01900000-0000-7000-8000-00000000dead'"), "23503", &[table]);
        // The same value again is no change.
        db.run(&format!("{}; {}; {}", set(2, &id(1)), set(2, "NULL"), set(2, &id(3))));
        let version: i64 = db.one(&format!("SELECT version FROM {table} WHERE {key} = {}", id(2)));
        assert_eq!(version, 7);
        // What replaces it is deleted: it counts again.
        db.run(&format!("DELETE FROM {table} WHERE {key} = {}", id(3)));
        let free: bool =
            db.one(&format!("SELECT superseded_by IS NULL FROM {table} WHERE {key} = {}", id(2)));
        assert!(free);
    }
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

/// Indexes and view checks work on what was assigned, not on what was written.
#[test]
fn indexes_and_views_follow_what_was_assigned() {
    let mut filled = Filled::new("assigned_indexes");
    let db = &mut filled.db;
    db.run(
        "CREATE INDEX by_version ON caliber_scope (version);
         CREATE UNIQUE INDEX by_both ON caliber_scope (scope_id, version) WHERE version > 5;
         CREATE INDEX by_time ON caliber_scope ((date_part('year', updated_at AT TIME ZONE 'UTC')));
         CREATE VIEW young AS SELECT * FROM caliber_scope WHERE version < 7 WITH CHECK OPTION;
         UPDATE young SET purpose = 'x' WHERE name = 'open';
         UPDATE caliber_scope SET tokens_used = 20 WHERE name = 'inner';
         SET enable_seqscan = off",
    );
    let by = |db: &mut Db, condition: &str| -> Vec<String> {
        db.all(&format!("SELECT name FROM caliber_scope WHERE {condition} ORDER BY name"))
    };
    assert_eq!(by(db, "version = 5"), ["closed", "inner"]);
    assert_eq!(by(db, "version = 6"), ["open"]);
    assert_eq!(
        by(db, "version > 5 AND scope_id = '01900000-0000-7000-8000-000000000011'"),
        ["open"]
    );
    assert_eq!(
        by(db, "date_part('year', updated_at AT TIME ZONE 'UTC') = 2024"),
        ["closed", "inner"]
    );
    db.refused_unchanged("UPDATE young SET purpose = 'y' WHERE name = 'open'", "44000", &TABLES);
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
    assert_eq!(
        after("purpose = purpose || '', version = version, updated_at = updated_at"),
        "5 as before"
    );
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
         UPDATE caliber_trajectory SET fence = fence + 1 WHERE name = 'active';
         UPDATE caliber_lock SET fence = fence + 1;
         UPDATE caliber_note SET access_count = access_count + 1, accessed_at = now() WHERE title = 'new';
         UPDATE caliber_agent SET last_heartbeat = now() WHERE agent_type = 'coder'",
    );
    for table in
        ["caliber_scope", "caliber_trajectory", "caliber_lock", "caliber_note", "caliber_agent"]
    {
        let hot: i64 =
            db.one(&format!("SELECT pg_stat_get_xact_tuples_hot_updated('{table}'::regclass)"));
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

/// A user's own scope table, partitioned by a column that may change.
fn partitioned_scopes(name: &str) -> Filled {
    let mut filled = Filled::new(name);
    filled.db.run(
        "CREATE TABLE mine (LIKE caliber_scope INCLUDING DEFAULTS) PARTITION BY LIST (name);
         CREATE TABLE mine_open PARTITION OF mine FOR VALUES IN ('open', 'reopened') USING caliber_am;
         CREATE TABLE mine_rest PARTITION OF mine DEFAULT USING caliber_am;
         INSERT INTO mine TABLE caliber_scope",
    );
    filled
}

#[test]
fn a_row_does_not_move_to_another_partition() {
    let mut filled = partitioned_scopes("moves");
    let db = &mut filled.db;
    for sql in [
        "UPDATE mine SET name = 'inner' WHERE name = 'open'",
        "UPDATE mine SET name = 'open' WHERE name = 'inner'",
        "UPDATE mine SET name = 'open', purpose = 'x', version = version + 1 WHERE name = 'inner'",
        "UPDATE mine m SET name = 'open' FROM (VALUES (1)) v WHERE m.name = 'inner'",
        "MERGE INTO mine USING (VALUES ('inner')) v (name) ON mine.name = v.name
         WHEN MATCHED THEN UPDATE SET name = 'open'",
        "WITH moved AS (UPDATE mine SET name = 'elsewhere' WHERE name = 'open' RETURNING *) SELECT * FROM moved",
        "CREATE VIEW w AS SELECT * FROM mine; UPDATE w SET name = 'inner' WHERE name = 'open'",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM mine WHERE name = 'open' FOR UPDATE; FETCH c;
         UPDATE mine SET name = 'inner' WHERE CURRENT OF c",
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE mine SET name = 'inner' WHERE name = 'open'",
        "DO $$ BEGIN UPDATE mine SET name = 'inner' WHERE name = 'open'; END $$",
    ] {
        let error = db.refused_unchanged(sql, "55000", &["mine", "mine_open", "mine_rest"]);
        assert!(
            error.message().contains("cannot move to another partition"),
            "{}: {sql}",
            error.message()
        );
    }
}

#[test]
fn partitions_keep_the_rules() {
    let mut filled = partitioned_scopes("partitions");
    let db = &mut filled.db;
    let tables = ["mine", "mine_open", "mine_rest"];
    for (sql, sqlstate) in [
        ("UPDATE mine SET created_at = now() WHERE name = 'open'", "55000"),
        ("UPDATE mine SET fence = 1 WHERE name = 'inner'", "55006"),
        ("UPDATE mine SET purpose = 'x' WHERE name = 'closed'", "55000"),
        ("UPDATE mine_open SET tokens_used = 0", "55000"),
        ("UPDATE mine SET name = 'reopened', version = 9 WHERE name = 'open'", "55000"),
    ] {
        db.refused_unchanged(sql, sqlstate, &tables);
    }
    // Within its partition the row may change, in what its partition is chosen by, too.
    let version: i64 =
        db.one("UPDATE mine SET name = 'reopened' WHERE name = 'open' RETURNING version");
    assert_eq!(version, 6);
    db.run("INSERT INTO mine SELECT * FROM caliber_scope WHERE name = 'open'; DELETE FROM mine WHERE name = 'open'");
    db.run("ALTER TABLE mine DETACH PARTITION mine_rest");
    db.refused_unchanged(
        "UPDATE mine_rest SET purpose = 'x' WHERE name = 'closed'",
        "55000",
        &["mine_rest"],
    );
    let version: i64 =
        db.one("UPDATE mine_rest SET name = 'free' WHERE name = 'inner' RETURNING version");
    assert_eq!(version, 6);
}

#[test]
fn partitioned_by_a_fixed_column_all_changes_work() {
    let mut filled = Filled::new("fixed_partitions");
    let db = &mut filled.db;
    db.run(
        "CREATE TABLE mine (LIKE caliber_scope INCLUDING DEFAULTS, PRIMARY KEY (scope_id)) PARTITION BY HASH (scope_id);
         CREATE TABLE mine_0 PARTITION OF mine FOR VALUES WITH (MODULUS 2, REMAINDER 0) USING caliber_am;
         CREATE TABLE mine_1 PARTITION OF mine FOR VALUES WITH (MODULUS 2, REMAINDER 1) USING caliber_am;
         INSERT INTO mine TABLE caliber_scope",
    );
    assert_eq!(db.rows_of("mine"), db.rows_of("caliber_scope"));
    db.run("UPDATE mine SET token_budget = 1000 WHERE is_active");
    db.run(
        "INSERT INTO mine SELECT * FROM caliber_scope WHERE name = 'open'
            ON CONFLICT (scope_id) DO UPDATE SET token_budget = mine.token_budget + 1",
    );
    let versions: Vec<String> =
        db.all("SELECT name || ' ' || version || ' ' || token_budget FROM mine ORDER BY name");
    assert_eq!(versions, ["closed 5 200", "inner 6 1000", "open 7 1001"]);
    for id in ["'01900000-0000-7000-8000-000000000019'", "'01900000-0000-7000-8000-00000000001a'"] {
        // To the other partition or within its own.
        db.refused_unchanged(
            &format!("UPDATE mine SET scope_id = {id} WHERE name = 'open'"),
            "55000",
            &["mine"],
        );
    }
}
