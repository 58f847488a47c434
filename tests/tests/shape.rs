//! What makes a table an entity's: the type of its key, the columns that go with it, and nothing
//! that reads what the access method assigns.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use caliber_tests::{Db, Schema, Server, psql};

const TRAJECTORY: &[(&str, &str)] = &[
    ("trajectory_id", "caliber_trajectory_id"),
    ("name", "text"),
    ("description", "text"),
    ("status", "caliber_trajectory_status"),
    ("parent_trajectory_id", "uuid"),
    ("root_trajectory_id", "uuid"),
    ("agent_id", "uuid"),
    ("fence", "bigint"),
    ("outcome", "jsonb"),
    ("completed_at", "timestamp with time zone"),
    ("metadata", "jsonb"),
    ("created_at", "timestamp with time zone"),
    ("updated_at", "timestamp with time zone"),
    ("version", "bigint"),
];

const SCOPE: &[(&str, &str)] = &[
    ("scope_id", "caliber_scope_id"),
    ("trajectory_id", "uuid"),
    ("parent_scope_id", "uuid"),
    ("name", "text"),
    ("purpose", "text"),
    ("is_active", "boolean"),
    ("token_budget", "integer"),
    ("tokens_used", "integer"),
    ("turn_count", "integer"),
    ("fence", "bigint"),
    ("checkpoint", "jsonb"),
    ("closed_at", "timestamp with time zone"),
    ("metadata", "jsonb"),
    ("created_at", "timestamp with time zone"),
    ("updated_at", "timestamp with time zone"),
    ("version", "bigint"),
];

const TURN: &[(&str, &str)] = &[
    ("turn_id", "caliber_turn_id"),
    ("scope_id", "uuid"),
    ("sequence", "integer"),
    ("role", "caliber_turn_role"),
    ("content", "text"),
    ("token_count", "integer"),
    ("tool_calls", "jsonb"),
    ("tool_results", "jsonb"),
    ("created_at", "timestamp with time zone"),
    ("metadata", "jsonb"),
];

const ENTITIES: &[(&str, &[(&str, &str)])] =
    &[("trajectory", TRAJECTORY), ("scope", SCOPE), ("turn", TURN)];

/// A row of [`SCOPE`]: what follows INSERT INTO and a table's name.
const ROW: &str = "(scope_id, trajectory_id, name, is_active, token_budget, tokens_used, turn_count, fence,
     created_at, updated_at, version)
    VALUES ('01900000-0000-7000-8000-000000000001', '01900000-0000-7000-8000-0000000000ff', 'a', true, 100, 10, 0, 0,
     '2024-01-01', '2024-01-01', 1)";

/// `a int, b text`, with some types changed; an empty type leaves the column out.
fn columns(columns: &[(&str, &str)], changed: &[(&str, &str)]) -> String {
    let list: Vec<_> = columns
        .iter()
        .map(|(name, ty)| (name, changed.iter().find(|(n, _)| n == name).map_or(ty, |(_, ty)| ty)))
        .filter(|(_, ty)| !ty.is_empty())
        .map(|(name, ty)| format!("{name} {ty}"))
        .collect();
    list.join(", ")
}

fn create(table: &str, more: &str) -> String {
    format!("CREATE TABLE {table} ({}{more}) USING caliber_am", columns(SCOPE, &[]))
}

fn entity(db: &mut Db, table: &str) -> Option<String> {
    db.one(&format!("SELECT caliber_entity('{table}'::regclass)"))
}

/// The table's rows are scopes: the fence cannot fall, and other changes are versions.
#[track_caller]
fn is_ruled(db: &mut Db, table: &str) {
    assert_eq!(entity(db, table).as_deref(), Some("scope"));
    db.run(&format!("TRUNCATE {table}; INSERT INTO {table} {ROW}"));
    db.refused_unchanged(&format!("UPDATE {table} SET fence = -1"), "55006", &[table]);
    db.refused_unchanged(&format!("UPDATE {table} SET created_at = now()"), "55000", &[table]);
    assert_eq!(db.one::<i64>(&format!("UPDATE {table} SET name = 'b' RETURNING version")), 2);
}

/// The table's rows are any rows.
#[track_caller]
fn is_plain(db: &mut Db, table: &str) {
    assert_eq!(entity(db, table), None);
    db.run(&format!("TRUNCATE {table}; INSERT INTO {table} {ROW}"));
    let version: i64 = db.one(&format!(
        "UPDATE {table} SET name = 'b', fence = -1, created_at = now() RETURNING version"
    ));
    assert_eq!(version, 1);
}

#[test]
fn a_missing_column_is_named() {
    let schema = Schema::bare("missing");
    let mut db = schema.connect();
    for (entity, shape) in ENTITIES {
        for (column, ty) in &shape[1..] {
            let sql =
                format!("CREATE TABLE t ({}) USING caliber_am", columns(shape, &[(column, "")]));
            let error = db.refused(&sql, "42P16");
            assert!(error.message().contains(entity), "{}", error.message());
            let detail = error.detail().unwrap();
            assert!(detail.contains(&format!("\"{column}\"")) && detail.contains(ty), "{detail}");
            assert!(error.hint().unwrap().contains("uuid"), "{:?}", error.hint());
        }
        // With all of them it is one.
        db.run(&format!("CREATE TABLE whole_{entity} ({}) USING caliber_am", columns(shape, &[])));
        assert_eq!(self::entity(&mut db, &format!("whole_{entity}")).as_deref(), Some(*entity));
    }
    assert_eq!(db.one::<Option<i64>>("SELECT to_regclass('t')::oid::int8"), None);
}

#[test]
fn a_wrong_type_is_named() {
    let schema = Schema::bare("types");
    let mut db = schema.connect();
    db.run("CREATE DOMAIN words AS text");
    for (_, shape) in ENTITIES {
        for (column, ty) in &shape[1..] {
            let wrong: &[&str] = match *ty {
                "text" => &["character varying", "character varying(10)", "words", "name"],
                "integer" => &["bigint", "smallint"],
                "bigint" => &["integer", "numeric"],
                "uuid" => &["text"],
                "jsonb" => &["json"],
                "boolean" => &["integer"],
                "timestamp with time zone" => &["timestamp without time zone", "date"],
                _ => &["text"],
            };
            for wrong in wrong {
                let list = columns(shape, &[(column, wrong)]);
                let error =
                    db.refused(&format!("CREATE TABLE t ({list}) USING caliber_am"), "42P16");
                let detail = error.detail().unwrap();
                let shown = wrong.trim_end_matches("(10)");
                assert!(
                    detail.contains(&format!("\"{column}\""))
                        && detail.contains(ty)
                        && detail.contains(shown),
                    "{detail}"
                );
            }
        }
    }
}

#[test]
fn two_keys_are_refused() {
    let schema = Schema::bare("two_keys");
    let mut db = schema.connect();
    for second in ["caliber_turn_id", "caliber_scope_id", "caliber_trajectory_id"] {
        let error = db.refused(&create("t", &format!(", another {second}")), "42P16");
        let detail = error.detail().unwrap();
        assert!(detail.contains("\"scope_id\"") && detail.contains("\"another\""), "{detail}");
    }
    // A second one that comes later is noticed by the next write.
    db.run(&create("t", ""));
    db.run(&format!("INSERT INTO t {ROW}; ALTER TABLE t ADD another caliber_turn_id"));
    db.refused_unchanged("UPDATE t SET name = 'b'", "42P16", &["t"]);
    db.run("ALTER TABLE t DROP another");
    is_ruled(&mut db, "t");
}

/// Writes of every kind to an entity table are refused with 42P16, which names the reader and
/// the column; reading and getting rid of the table is not.
#[track_caller]
fn writes_are_refused(db: &mut Db, table: &str, reader: &str, column: &str) {
    for sql in [
        format!("INSERT INTO {table} {ROW}"),
        format!("INSERT INTO {table} {ROW} ON CONFLICT DO NOTHING"),
        format!("INSERT INTO {table} TABLE source"),
        format!(
            "COPY {table} (scope_id, trajectory_id, name, is_active, token_budget, tokens_used, turn_count, fence,
                 created_at, updated_at, version)
             FROM PROGRAM 'echo 01900000-0000-7000-8000-000000000001,01900000-0000-7000-8000-0000000000ff,\
                 a,true,100,10,0,0,2024-01-01,2024-01-01,1' (FORMAT csv)"
        ),
        format!(
            "MERGE INTO {table} t USING source s ON false WHEN NOT MATCHED THEN INSERT VALUES (s.*)"
        ),
    ] {
        let error = db.refused_unchanged(&sql, "42P16", &[table]);
        assert!(error.message().contains(reader), "{}: {sql}", error.message());
        assert!(error.message().contains(column), "{}: {sql}", error.message());
    }
    assert_eq!(db.one::<i64>(&format!("SELECT count(*) FROM {table}")), 0);
}

#[test]
fn nothing_may_read_the_assigned_columns() {
    let schema = Schema::bare("readers");
    let mut db = schema.connect();
    db.run(&format!(
        "CREATE TABLE source ({}) USING heap; INSERT INTO source {ROW}",
        columns(SCOPE, &[])
    ));
    db.run(
        "CREATE FUNCTION low(bigint) RETURNS bool LANGUAGE sql IMMUTABLE RETURN $1 < 10;
         CREATE FUNCTION is_low(r source) RETURNS bool LANGUAGE sql IMMUTABLE RETURN (r).version < 10",
    );
    for (more, reader, column) in [
        (", CONSTRAINT c CHECK (version > 0)", "\"c\"", "version"),
        (", CONSTRAINT c CHECK (updated_at >= created_at)", "\"c\"", "updated_at"),
        (
            ", CONSTRAINT c CHECK (CASE WHEN name = 'x' THEN low(version) ELSE true END)",
            "\"c\"",
            "version",
        ),
        (", CONSTRAINT c CHECK (t IS NOT NULL OR name <> '')", "\"c\"", "whole row"),
        (", CONSTRAINT c CHECK (t::text <> '')", "\"c\"", "whole row"),
        (", g bigint GENERATED ALWAYS AS (version * 2) STORED", "\"g\"", "version"),
        (
            ", g text GENERATED ALWAYS AS (date_part('year', updated_at AT TIME ZONE 'UTC')::text) STORED",
            "\"g\"",
            "updated_at",
        ),
    ] {
        db.run(&create("t", more));
        writes_are_refused(&mut db, "t", reader, column);
        // Neither is misuse a trap: the table can be read, emptied, dropped.
        db.run("TRUNCATE t; DROP TABLE t");
    }
    for policy in [
        "USING (version < 100)",
        "WITH CHECK (version < 100)",
        "FOR UPDATE USING (true) WITH CHECK (updated_at > '2000-01-01')",
        "FOR INSERT WITH CHECK (t IS NOT NULL OR name <> '')",
        "USING (EXISTS (SELECT FROM source s WHERE s.version = t.version))",
        "AS RESTRICTIVE FOR DELETE USING (t.* IS DISTINCT FROM NULL)",
    ] {
        db.run(&create("t", ""));
        db.run(&format!("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t {policy}"));
        let column = if policy.contains("version") {
            "version"
        } else if policy.contains("updated_at") {
            "updated_at"
        } else {
            "whole row"
        };
        writes_are_refused(&mut db, "t", "\"p\"", column);
        db.run("DROP POLICY p ON t; ALTER TABLE t DISABLE ROW LEVEL SECURITY");
        is_ruled(&mut db, "t");
        db.run("DROP TABLE t");
    }
    for (key, bounds, column) in [
        ("RANGE (version)", "FROM (0) TO (1000)", "version"),
        ("LIST ((low(version)))", "IN (true)", "version"),
        (
            "RANGE (name, updated_at)",
            "FROM (MINVALUE, MINVALUE) TO (MAXVALUE, MAXVALUE)",
            "updated_at",
        ),
        ("HASH (version)", "WITH (MODULUS 1, REMAINDER 0)", "version"),
    ] {
        db.run(&format!("CREATE TABLE t ({}) PARTITION BY {key}", columns(SCOPE, &[])));
        db.run(&format!("CREATE TABLE p PARTITION OF t FOR VALUES {bounds} USING caliber_am"));
        writes_are_refused(&mut db, "t", "partition", column);
        db.refused_unchanged("INSERT INTO p TABLE source", "42P16", &["p"]);
        db.run("TRUNCATE t; DROP TABLE t");
    }
}

#[test]
fn what_reads_other_columns_is_welcome() {
    let schema = Schema::bare("good_readers");
    let mut db = schema.connect();
    db.run(&create(
        "t",
        ", g int GENERATED ALWAYS AS (token_budget * 2) STORED, CHECK (created_at > '2000-01-01' AND fence < 100),
         CHECK (name <> 'version' AND name <> 'updated_at')",
    ));
    db.run(
        "CREATE INDEX ON t (version); CREATE UNIQUE INDEX ON t (scope_id, version);
         ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON t USING (EXISTS (SELECT version FROM t x WHERE false) OR is_active)",
    );
    is_ruled(&mut db, "t");
    // A table that its schema's other tables read freely.
    db.run("CREATE TABLE plain (id uuid, version bigint CHECK (version > 0), updated_at timestamptz) USING caliber_am");
    db.run("INSERT INTO plain VALUES (NULL, 1, now()); UPDATE plain SET version = 7");
}

#[test]
fn a_reader_that_comes_later_stops_the_next_write() {
    let schema = Schema::bare("later");
    let mut db = schema.connect();
    db.run(&create("t", ""));
    is_ruled(&mut db, "t");
    for (add, remove) in [
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (version > 0)", "ALTER TABLE t DROP CONSTRAINT c"),
        (
            "ALTER TABLE t ADD CONSTRAINT c CHECK (updated_at > '2000-01-01') NOT VALID",
            "ALTER TABLE t DROP CONSTRAINT c",
        ),
        (
            "ALTER TABLE t ADD g bigint GENERATED ALWAYS AS (version + 1) STORED",
            "ALTER TABLE t DROP g",
        ),
        (
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (version > 0)",
            "DROP POLICY p ON t",
        ),
    ] {
        db.run(add);
        for sql in ["UPDATE t SET name = 'c'", "UPDATE t SET fence = fence + 1"] {
            db.refused_unchanged(sql, "42P16", &["t"]);
        }
        // In another session, too.
        schema.connect().refused_unchanged("UPDATE t SET name = 'c'", "42P16", &["t"]);
        db.run(remove);
        db.run("UPDATE t SET name = 'd' || version");
    }
    is_ruled(&mut db, "t");
}

#[test]
fn a_lost_column_stops_the_next_write() {
    let schema = Schema::bare("lost");
    let mut db = schema.connect();
    db.run(&create("t", ""));
    db.run(&format!("INSERT INTO t {ROW}"));
    for (lose, column, give_back) in [
        ("ALTER TABLE t DROP checkpoint", "checkpoint", "ALTER TABLE t ADD checkpoint jsonb"),
        ("ALTER TABLE t DROP version", "version", "ALTER TABLE t ADD version bigint DEFAULT 1"),
        (
            "ALTER TABLE t RENAME purpose TO reason",
            "purpose",
            "ALTER TABLE t RENAME reason TO purpose",
        ),
        ("ALTER TABLE t ALTER name TYPE varchar", "name", "ALTER TABLE t ALTER name TYPE text"),
    ] {
        db.run(lose);
        for sql in
            ["UPDATE t SET turn_count = 1", "INSERT INTO t (scope_id) VALUES (caliber_new_id())"]
        {
            let error = db.refused_unchanged(sql, "42P16", &["t"]);
            assert!(
                error.detail().unwrap().contains(&format!("\"{column}\"")),
                "{:?}",
                error.detail()
            );
        }
        // Its rows can still be read.
        assert_eq!(db.one::<i64>("SELECT count(*) FROM t"), 1);
        db.run(give_back);
        db.run("UPDATE t SET turn_count = turn_count + 1");
    }
    is_ruled(&mut db, "t");
}

#[test]
fn a_misshapen_table_can_be_emptied_and_dropped() {
    let schema = Schema::bare("misshapen");
    let mut db = schema.connect();
    for how in [
        "TRUNCATE t; DROP TABLE t",
        "BEGIN; TRUNCATE t; ROLLBACK; DROP TABLE t",
        "VACUUM t; ANALYZE t; VACUUM FULL t",
        "DROP TABLE t",
    ] {
        db.run("DROP TABLE IF EXISTS t");
        db.run(&create("t", ""));
        db.run(&format!("INSERT INTO t {ROW}; ALTER TABLE t DROP fence"));
        // VACUUM cannot run in a batch.
        for sql in how.split("; ") {
            db.run(sql);
        }
    }
    db.run(&create("u", ", CHECK (version > 0)"));
    db.run("TRUNCATE u; DROP TABLE u");
}

#[test]
fn a_key_column_can_come_and_go() {
    let schema = Schema::bare("come_and_go");
    let mut db = schema.connect();
    db.run(&format!(
        "CREATE TABLE t ({}) USING caliber_am",
        columns(SCOPE, &[("scope_id", "uuid")])
    ));
    is_plain(&mut db, "t");
    db.run("ALTER TABLE t ALTER scope_id TYPE caliber_scope_id");
    is_ruled(&mut db, "t");
    db.run("ALTER TABLE t ALTER scope_id TYPE uuid");
    is_plain(&mut db, "t");
    db.run("ALTER TABLE t ADD key caliber_scope_id");
    assert_eq!(entity(&mut db, "t").as_deref(), Some("scope"));
    db.refused_unchanged("UPDATE t SET fence = -100", "55006", &["t"]);
    db.run("ALTER TABLE t DROP key");
    is_plain(&mut db, "t");
    db.run("ALTER TABLE t ALTER scope_id TYPE caliber_scope_id; ALTER TABLE t RENAME scope_id TO whatever");
    assert_eq!(entity(&mut db, "t").as_deref(), Some("scope"));
    db.refused_unchanged("UPDATE t SET fence = -100", "55006", &["t"]);
}

#[test]
fn a_copy_by_like_is_an_entity() {
    let schema = Schema::new("like");
    let mut db = schema.connect();
    db.run("CREATE TABLE turns (LIKE caliber_turn INCLUDING ALL) USING caliber_am");
    assert_eq!(entity(&mut db, "turns").as_deref(), Some("turn"));
    db.run("INSERT INTO turns (scope_id, sequence, role, content, token_count) VALUES (caliber_new_id(), 0, 'user', 'x', 1)");
    db.refused_unchanged("UPDATE turns SET content = 'y'", "55000", &["turns"]);
    db.refused_unchanged(
        "INSERT INTO turns (scope_id, sequence, role, content, token_count) SELECT scope_id, 0, 'user', 'x', 1 FROM turns",
        "23505",
        &["turns"],
    );
    db.run("CREATE TABLE scopes (LIKE caliber_scope) USING caliber_am");
    is_ruled(&mut db, "scopes");
    db.run("CREATE TABLE children () INHERITS (scopes) USING caliber_am");
    is_ruled(&mut db, "children");
    db.run("CREATE TABLE copied USING caliber_am AS TABLE scopes");
    is_ruled(&mut db, "copied");
    db.run("CREATE UNLOGGED TABLE unlogged (LIKE caliber_scope) USING caliber_am");
    is_ruled(&mut db, "unlogged");
    // Not without the access method.
    db.run("CREATE TABLE on_heap (LIKE caliber_scope) USING heap");
    is_plain(&mut db, "on_heap");
    db.run("ALTER TABLE on_heap SET ACCESS METHOD caliber_am");
    is_ruled(&mut db, "on_heap");
    db.run("ALTER TABLE on_heap SET ACCESS METHOD heap");
    is_plain(&mut db, "on_heap");
}

#[test]
fn the_tables_of_init_are_entities() {
    let schema = Schema::new("of_init");
    let mut db = schema.connect();
    let found: Vec<String> = db.all(&format!(
        "SELECT relname || ' ' || caliber_entity(oid) FROM pg_class
         WHERE relnamespace = '{}'::regnamespace AND relkind = 'r' AND relname IN
             ('caliber_trajectory', 'caliber_scope', 'caliber_turn') ORDER BY 1",
        schema.name()
    ));
    assert_eq!(
        found,
        ["caliber_scope scope", "caliber_trajectory trajectory", "caliber_turn turn"]
    );
}

#[test]
fn temporary_tables_views_and_heap_tables_are_none() {
    let schema = Schema::new("none");
    let mut db = schema.connect();
    db.run("CREATE TEMP TABLE temporary (LIKE caliber_scope) USING caliber_am");
    is_plain(&mut db, "temporary");
    // Nor must a temporary table have the shape.
    db.run("CREATE TEMP TABLE ids (id caliber_turn_id, version int CHECK (version > 0)) USING caliber_am");
    db.run("INSERT INTO ids VALUES (caliber_new_id(), 1); UPDATE ids SET id = caliber_new_id()");
    db.run("CREATE TEMP TABLE temporary_copy USING caliber_am AS TABLE caliber_turn");
    assert_eq!(entity(&mut db, "temporary_copy"), None);

    db.run(
        "CREATE MATERIALIZED VIEW m USING caliber_am AS SELECT * FROM caliber_scope;
         CREATE MATERIALIZED VIEW narrow USING caliber_am AS SELECT scope_id, fence FROM caliber_scope;
         CREATE UNIQUE INDEX ON m (scope_id);
         CREATE VIEW v AS SELECT * FROM caliber_scope",
    );
    for none in ["m", "narrow", "v", "caliber_scope_pkey", "pg_class"] {
        assert_eq!(entity(&mut db, none), None, "{none}");
    }
    // A refresh may turn its rows into any others.
    db.run("CREATE TABLE source (LIKE caliber_scope) USING heap");
    db.run(&format!(
        "INSERT INTO source {ROW};
         CREATE MATERIALIZED VIEW changing USING caliber_am AS SELECT * FROM source;
         CREATE UNIQUE INDEX ON changing (scope_id);
         UPDATE source SET fence = -5, created_at = now(), version = 100;
         REFRESH MATERIALIZED VIEW CONCURRENTLY changing;
         UPDATE source SET fence = -6, name = 'b';
         REFRESH MATERIALIZED VIEW changing"
    ));
    assert_eq!(db.rows_of("changing"), db.rows_of("source"));
    assert_eq!(db.one::<i64>("SELECT fence FROM changing"), -6);

    db.run("CREATE TABLE plain (scope_id uuid, fence bigint, version bigint) USING caliber_am");
    assert_eq!(entity(&mut db, "plain"), None);
    assert_eq!(db.one::<Option<String>>("SELECT caliber_entity(NULL)"), None);
    // An array of keys, or a composite with one, is no key.
    db.run("CREATE TABLE arrays (ids caliber_scope_id[], fence text) USING caliber_am");
    assert_eq!(entity(&mut db, "arrays"), None);
}

#[test]
fn a_domain_of_the_same_name_elsewhere_is_no_key() {
    let schema = Schema::bare("alike");
    let mut db = schema.connect();
    db.run(
        "CREATE DOMAIN caliber_scope_id AS uuid;
         CREATE DOMAIN over_it AS public.caliber_scope_id;
         CREATE TABLE t (scope_id caliber_scope_id, fence int) USING caliber_am;
         CREATE TABLE u (scope_id over_it, fence int) USING caliber_am;
         INSERT INTO t VALUES (caliber_new_id(), 1); UPDATE t SET fence = 0, scope_id = caliber_new_id()",
    );
    assert_eq!(entity(&mut db, "t"), None);
    assert_eq!(entity(&mut db, "u"), None);
    // The type counts, not what the search path finds by its name.
    let qualified = columns(SCOPE, &[("scope_id", "public.caliber_scope_id")]);
    db.run(&format!("CREATE TABLE ours ({qualified}) USING caliber_am"));
    is_ruled(&mut db, "ours");
}

#[test]
fn a_users_own_table_may_have_more_columns() {
    let schema = Schema::bare("own");
    let mut db = schema.connect();
    let mut reversed = SCOPE.to_vec();
    reversed.reverse();
    db.run(&format!(
        "CREATE TABLE \"My Scopes\" (gone int, mood text, {}, tags text[] DEFAULT '{{}}', \"Weird \"\"name\" int,
             loud text GENERATED ALWAYS AS (upper(mood)) STORED, PRIMARY KEY (scope_id)) USING caliber_am;
         ALTER TABLE \"My Scopes\" DROP gone",
        columns(&reversed, &[])
    ));
    is_ruled(&mut db, "\"My Scopes\"");
    db.run(&format!("TRUNCATE \"My Scopes\"; INSERT INTO \"My Scopes\" {ROW}"));
    let mut version = |set: &str| -> i64 {
        db.one(&format!(
            "UPDATE \"My Scopes\" SET {set} WHERE loud IS NOT DISTINCT FROM upper(mood)
             RETURNING version"
        ))
    };
    assert_eq!(version("mood = mood"), 1);
    assert_eq!(version("mood = 'good'"), 2);
    assert_eq!(version("tags = tags || 'x'::text"), 3);
    assert_eq!(version("\"Weird \"\"name\" = 5, tokens_used = 11"), 4);
    assert_eq!(version("tokens_used = 12"), 4);
    assert_eq!(version("mood = repeat('x', 100000)"), 5);
    assert_eq!(version("mood = mood || ''"), 5);
    assert_eq!(version("mood = NULL"), 6);
    assert_eq!(version("is_active = false, closed_at = now()"), 7);
    db.refused_unchanged("UPDATE \"My Scopes\" SET mood = 'late'", "55000", &["\"My Scopes\""]);
    db.run("UPDATE \"My Scopes\" SET metadata = '{}'");
    // A column that comes later is one more.
    db.run("ALTER TABLE \"My Scopes\" ADD later int DEFAULT 3");
    db.refused_unchanged("UPDATE \"My Scopes\" SET later = 4", "55000", &["\"My Scopes\""]);
    db.run("UPDATE \"My Scopes\" SET later = 3");
    assert_eq!(db.one::<i64>("SELECT version FROM \"My Scopes\""), 8);
}

#[test]
fn a_partition_is_an_entity() {
    let schema = Schema::bare("partition");
    let mut db = schema.connect();
    db.run(&format!(
        "CREATE TABLE parent ({}, own text) PARTITION BY RANGE (created_at);
         CREATE TABLE old PARTITION OF parent FOR VALUES FROM ('2000-01-01') TO ('2020-01-01') USING caliber_am;
         CREATE TABLE now PARTITION OF parent FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)
             PARTITION BY HASH (trajectory_id);
         CREATE TABLE now_0 PARTITION OF now FOR VALUES WITH (MODULUS 1, REMAINDER 0) USING caliber_am",
        columns(SCOPE, &[])
    ));
    for partition in ["old", "now_0"] {
        assert_eq!(entity(&mut db, partition).as_deref(), Some("scope"));
    }
    db.run(&format!("INSERT INTO parent {ROW}"));
    db.refused_unchanged("UPDATE parent SET fence = -1", "55006", &["parent"]);
    assert_eq!(db.one::<i64>("UPDATE parent SET own = 'x' RETURNING version"), 2);
    // A table with its columns in another order, attached.
    let mut reversed = SCOPE.to_vec();
    reversed.reverse();
    db.run(&format!(
        "CREATE TABLE attached (own text, {}) USING caliber_am;
         ALTER TABLE parent ATTACH PARTITION attached FOR VALUES FROM ('1990-01-01') TO ('2000-01-01')",
        columns(&reversed, &[])
    ));
    db.run(&format!("INSERT INTO parent {}", ROW.replace("2024-01-01", "1995-01-01")));
    db.refused_unchanged(
        "UPDATE parent SET fence = -1 WHERE created_at < '2000-01-01'",
        "55006",
        &["parent"],
    );
    let version: i64 =
        db.one("UPDATE parent SET own = 'y' WHERE created_at < '2000-01-01' RETURNING version");
    assert_eq!(version, 2);
    // A policy of the parent counts, because it is the one that is applied.
    db.run("CREATE POLICY p ON parent USING (version > 0); ALTER TABLE parent ENABLE ROW LEVEL SECURITY");
    db.refused_unchanged("UPDATE parent SET own = 'z'", "42P16", &["parent"]);
}

/// Every read is heap's own code, every write goes through ours.
#[test]
fn writes_are_ours_and_reads_are_heaps() {
    let mut db = Server::get().connect();
    let heap: Vec<String> =
        db.all("SELECT callback FROM caliber_am_callbacks() WHERE provider = 'heap' ORDER BY 1");
    let ours: Vec<String> =
        db.all("SELECT callback FROM caliber_am_callbacks() WHERE provider <> 'heap' ORDER BY 1");
    for door in [
        "tuple_insert",
        "tuple_insert_speculative",
        "tuple_complete_speculative",
        "multi_insert",
        "tuple_update",
        "tuple_delete",
    ] {
        assert!(ours.iter().any(|c| c == door), "{door} is not ours: {ours:?}");
    }
    for read in [
        "slot_callbacks",
        "scan_begin",
        "scan_end",
        "scan_rescan",
        "scan_getnextslot",
        "scan_set_tidrange",
        "scan_getnextslot_tidrange",
        "parallelscan_estimate",
        "parallelscan_initialize",
        "parallelscan_reinitialize",
        "index_fetch_begin",
        "index_fetch_reset",
        "index_fetch_end",
        "index_fetch_tuple",
        "tuple_fetch_row_version",
        "tuple_tid_valid",
        "tuple_get_latest_tid",
        "tuple_satisfies_snapshot",
        "tuple_lock",
        "scan_bitmap_next_tuple",
        "scan_sample_next_block",
        "scan_sample_next_tuple",
        "scan_analyze_next_block",
        "scan_analyze_next_tuple",
        "relation_vacuum",
        "relation_fetch_toast_slice",
        "index_delete_tuples",
    ] {
        assert!(heap.iter().any(|c| c == read), "{read} is not heap's: {heap:?}");
    }
    // Nothing is left out, and what is ours is known.
    let known = [
        "index_build_range_scan",
        "index_validate_scan",
        "multi_insert",
        "relation_set_new_filelocator",
        "relation_toast_am",
        "tuple_complete_speculative",
        "tuple_delete",
        "tuple_insert",
        "tuple_insert_speculative",
        "tuple_update",
    ];
    assert_eq!(ours, known);
}

/// A restored table is the entity again, by its key alone.
#[test]
fn a_dump_brings_the_shape_back() {
    let schema = Schema::bare("dumped");
    let mut db = schema.connect();
    db.run(&create("t", ", mood text, PRIMARY KEY (scope_id)"));
    db.run(&format!("INSERT INTO t {ROW}; UPDATE t SET mood = 'x'"));
    let rows = db.rows_of("t");
    let mut dump = psql::program("pg_dump", &Server::get().db);
    let text = psql::output(dump.args(["-n", schema.name()]));
    db.run(&format!("DROP SCHEMA {} CASCADE", schema.name()));
    psql::feed(&Server::get().db, &text);
    let mut db = schema.connect();
    assert_eq!(db.rows_of("t"), rows);
    is_ruled(&mut db, "t");
}
