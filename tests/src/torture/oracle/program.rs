//! Random statements of several sessions.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// How many sessions a program has.
pub const SESSIONS: usize = 3;

/// A statement, and the session that runs it, from 1.
pub type Step = (usize, String);

/// Statements in the order in which they are begun.
pub fn program() -> impl Strategy<Value = Vec<Step>> {
    // Mostly one session goes on for a while: the others keep their transactions open meanwhile.
    vec((1..=SESSIONS, vec(statement(), 1..5)), 10..120).prop_map(|turns| {
        let steps = turns.into_iter().flat_map(|(session, statements)| {
            statements.into_iter().map(move |statement| (session, statement))
        });
        steps.collect()
    })
}

fn statement() -> BoxedStrategy<String> {
    prop_oneof![
        6 => transaction(),
        8 => insert(),
        10 => update(),
        4 => delete(),
        3 => merge(),
        6 => read(),
        3 => lock(),
        3 => cursor(),
        2 => copy(),
        3 => partition(),
        2 => ddl(),
        1 => maintenance(),
        1 => plan(),
    ]
    .boxed()
}

/// One of these statements, as they are.
fn one_of(statements: &'static [&'static str]) -> BoxedStrategy<String> {
    select(statements).prop_map(str::to_owned).boxed()
}

fn id() -> std::ops::Range<i32> {
    1..12
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![6 => -3..12i32, 2 => 90..120i32, 1 => Just(1000)]
}

/// A text, as an expression: short, null, out of line, and what the trigger answers to.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]{0,9}".prop_map(|text| format!("'{text}'")),
        1 => Just("NULL".to_owned()),
        1 => Just("'leave out'".to_owned()),
        1 => Just("'refuse'".to_owned()),
        1 => (1..9i32).prop_map(|n| format!("repeat('toast{n}', 3000)")),
        1 => (1..9i32).prop_map(|n| {
            format!("(SELECT string_agg(md5({n} || i::text), '') FROM generate_series(1, 200) i)")
        }),
    ]
}

fn array() -> impl Strategy<Value = String> {
    (0..3i32, 0..3i32).prop_map(|(n, m)| format!("ARRAY[{n}, {m}]"))
}

fn condition() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => id().prop_map(|id| format!("id = {id}")),
        2 => number().prop_map(|a| format!("a = {a}")),
        1 => number().prop_map(|a| format!("a > {a}")),
        1 => id().prop_map(|id| format!("d = {id}")),
        1 => (0..3i32).prop_map(|n| format!("j @> ARRAY[{n}]")),
        1 => Just("true".to_owned()),
    ]
}

fn transaction() -> BoxedStrategy<String> {
    let level = one_of(&["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]);
    prop_oneof![
        4 => level.prop_map(|level| format!("BEGIN ISOLATION LEVEL {level}")),
        4 => Just("COMMIT".to_owned()),
        1 => Just("ROLLBACK".to_owned()),
        2 => select(&["x", "y"][..]).prop_map(|name| format!("SAVEPOINT {name}")),
        2 => select(&["x", "y"][..]).prop_map(|name| format!("ROLLBACK TO {name}")),
        1 => select(&["x", "y"][..]).prop_map(|name| format!("RELEASE {name}")),
        1 => Just("SET CONSTRAINTS ALL DEFERRED".to_owned()),
    ]
    .boxed()
}

fn insert() -> BoxedStrategy<String> {
    let row = || (id(), number(), text(), id(), array());
    let values =
        |(id, a, b, d, j): (i32, i32, String, i32, String)| format!("({id}, {a}, {b}, {d}, {j})");
    let one = row().prop_map(values);
    let conflict = prop_oneof![
        Just("DO NOTHING".to_owned()),
        Just("(id) DO NOTHING".to_owned()),
        Just("(id) DO UPDATE SET a = t.a + excluded.a, b = excluded.b".to_owned()),
        Just("(id) DO UPDATE SET d = excluded.d WHERE t.a < 9".to_owned()),
        Just("(id) DO UPDATE SET id = t.id + 1, b = 'moved'".to_owned()),
    ];
    prop_oneof![
        4 => one.prop_map(|row| {
            format!("INSERT INTO t (id, a, b, d, j) VALUES {row} RETURNING id, a, left(b, 30), c, d")
        }),
        2 => vec(row().prop_map(values), 2..6).prop_map(|rows| {
            format!("INSERT INTO t (id, a, b, d, j) VALUES {}", rows.join(", "))
        }),
        3 => (row().prop_map(values), conflict).prop_map(|(row, conflict)| {
            format!(
                "INSERT INTO t (id, a, b, d, j) VALUES {row} ON CONFLICT {conflict}
                 RETURNING id, a, left(b, 30), c, d"
            )
        }),
        1 => id().prop_map(|n| {
            format!("INSERT INTO t (id, a, b) SELECT id + {n}, a, b FROM t WHERE id > 4")
        }),
        3 => (id(), id(), text()).prop_map(|(id, t, v)| {
            format!("INSERT INTO u VALUES ({id}, {t}, {v}) RETURNING id, t_id")
        }),
        2 => (id(), id(), number()).prop_map(|(id, t, e)| {
            format!("INSERT INTO s VALUES ({id}, {t}, {e}) ON CONFLICT DO NOTHING RETURNING *")
        }),
        1 => (id(), number()).prop_map(|(id, a)| format!("INSERT INTO seen VALUES ({id}, {a}, 'v')")),
        1 => number().prop_map(|a| {
            format!(
                "WITH gone AS (DELETE FROM u WHERE id < 3 RETURNING id)
                 INSERT INTO t (id, a, b) SELECT id + 20, {a}, 'with' FROM gone RETURNING id"
            )
        }),
    ]
    .boxed()
}

fn update() -> BoxedStrategy<String> {
    let change = prop_oneof![
        4 => number().prop_map(|n| format!("a = a + {n}")),
        3 => text().prop_map(|b| format!("b = {b}")),
        2 => number().prop_map(|a| format!("a = {a}")),
        2 => id().prop_map(|d| format!("d = {d}")),
        1 => Just("d = d + 1".to_owned()),
        1 => id().prop_map(|id| format!("id = {id}")),
        1 => Just("id = id + 1".to_owned()),
        1 => array().prop_map(|j| format!("j = {j}")),
        1 => (number(), text()).prop_map(|(a, b)| format!("(a, b) = (SELECT {a}, {b})")),
    ];
    prop_oneof![
        8 => (change, condition(), any::<bool>()).prop_map(|(change, condition, returning)| {
            let returning = if returning { " RETURNING id, a, left(b, 30), c, d" } else { "" };
            format!("UPDATE t SET {change} WHERE {condition}{returning}")
        }),
        1 => id().prop_map(|n| format!("UPDATE t SET a = u.id + {n} FROM u WHERE u.t_id = t.id")),
        2 => (id(), id()).prop_map(|(id, t)| format!("UPDATE u SET t_id = {t} WHERE id = {id}")),
        1 => text().prop_map(|v| format!("UPDATE u SET v = {v} WHERE id % 2 = 0")),
        1 => (id(), number()).prop_map(|(id, e)| format!("UPDATE s SET e = {e} WHERE id = {id}")),
        1 => (id(), number()).prop_map(|(id, a)| format!("UPDATE seen SET a = {a} WHERE id = {id}")),
    ]
    .boxed()
}

fn delete() -> BoxedStrategy<String> {
    prop_oneof![
        4 => condition().prop_map(|condition| format!("DELETE FROM t WHERE {condition} RETURNING id")),
        1 => Just("DELETE FROM t USING u WHERE u.t_id = t.id AND u.id % 2 = 0".to_owned()),
        2 => id().prop_map(|id| format!("DELETE FROM u WHERE id = {id}")),
        1 => id().prop_map(|id| format!("DELETE FROM s WHERE t_id = {id}")),
        1 => Just("TRUNCATE u".to_owned()),
    ]
    .boxed()
}

fn merge() -> BoxedStrategy<String> {
    let arms = one_of(&[
        "WHEN MATCHED THEN UPDATE SET a = t.a + 1",
        "WHEN MATCHED AND t.a > 50 THEN DELETE WHEN MATCHED THEN DO NOTHING",
        "WHEN NOT MATCHED THEN INSERT (id, a, b) VALUES (n, n, 'merged')",
        "WHEN MATCHED THEN UPDATE SET b = 'merged'
         WHEN NOT MATCHED THEN INSERT (id, a, b) VALUES (n, n, 'merged')",
        "WHEN MATCHED THEN UPDATE SET id = n + 1",
    ]);
    (id(), 1..4i32, arms)
        .prop_map(|(from, count, arms)| {
            let to = from + count;
            format!("MERGE INTO t USING generate_series({from}, {to}) n ON t.id = n {arms}")
        })
        .boxed()
}

fn read() -> BoxedStrategy<String> {
    let settings = one_of(&[
        "",
        "SET LOCAL enable_seqscan = off; ",
        "SET LOCAL enable_indexscan = off; ",
        "SET LOCAL enable_bitmapscan = off; ",
    ]);
    prop_oneof![
        4 => (settings, condition()).prop_map(|(settings, condition)| {
            format!("{settings}SELECT id, a, md5(b), c, d, j FROM t WHERE {condition} ORDER BY id")
        }),
        2 => one_of(&[
            "SELECT t.id, u.id, md5(v) FROM t JOIN u ON u.t_id = t.id ORDER BY 1, 2",
            "SELECT id, t_id, e FROM s ORDER BY id",
            "SELECT tableoid::regclass, id, k, md5(v) FROM p ORDER BY id, k",
            "SELECT count(*), sum(a) FROM t TABLESAMPLE BERNOULLI (100)",
            "SELECT id FROM t WHERE ctid >= '(0,0)' ORDER BY id",
            "SELECT what FROM log ORDER BY n DESC LIMIT 5",
        ]),
    ]
    .boxed()
}

fn lock() -> BoxedStrategy<String> {
    let strength = one_of(&["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"]);
    let how = one_of(&["", " NOWAIT", " SKIP LOCKED"]);
    prop_oneof![
        4 => (condition(), strength, how).prop_map(|(condition, strength, how)| {
            format!("SELECT id, a FROM t WHERE {condition} ORDER BY id FOR {strength}{how}")
        }),
        1 => one_of(&[
            "LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE NOWAIT",
            "LOCK TABLE u IN ROW EXCLUSIVE MODE",
        ]),
    ]
    .boxed()
}

fn cursor() -> BoxedStrategy<String> {
    one_of(&[
        "DECLARE c CURSOR FOR SELECT id, a FROM t ORDER BY id FOR UPDATE",
        "DECLARE c SCROLL CURSOR FOR SELECT id, md5(b) FROM t ORDER BY id",
        "DECLARE c CURSOR WITH HOLD FOR SELECT id, a FROM t ORDER BY id",
        "FETCH 2 FROM c",
        "FETCH BACKWARD 1 FROM c",
        "UPDATE t SET a = a + 1 WHERE CURRENT OF c",
        "DELETE FROM t WHERE CURRENT OF c",
        "CLOSE c",
    ])
}

/// COPY with its data behind a line break.
fn copy() -> BoxedStrategy<String> {
    let row = (id(), number(), "[a-z]{0,5}").prop_map(|(id, a, b)| format!("{id}\t{a}\t{b}\n"));
    prop_oneof![
        3 => vec(row, 0..8).prop_map(|rows| format!("COPY t (id, a, b) FROM STDIN\n{}", rows.concat())),
        1 => (id(), 0..4i32).prop_map(|(id, k)| format!("COPY p FROM STDIN\n{id}\t{k}\tcopied\n")),
        1 => many(),
    ]
    .boxed()
}

/// More rows than fit into one page or one batch, in a table without row triggers.
fn many() -> BoxedStrategy<String> {
    let from = 1..2000i32;
    prop_oneof![
        2 => (from.clone(), 100..400i32, "[a-z]{0,40}").prop_map(|(from, count, text)| {
            let rows: String = (from..from + count).map(|n| format!("{n}\t{text}{n}\n")).collect();
            format!("COPY many FROM STDIN\n{rows}")
        }),
        1 => from.clone().prop_map(|n| format!(
            "INSERT INTO many SELECT g, 'again' FROM generate_series({n}, {n} + 300) g ON CONFLICT DO NOTHING"
        )),
        1 => from.clone().prop_map(|n| format!("UPDATE many SET v = v || '+' WHERE n > {n} AND n % 3 = 0")),
        1 => from.prop_map(|n| format!("DELETE FROM many WHERE n BETWEEN {n} AND {n} + 500")),
        1 => Just("SELECT count(*), sum(n), md5(string_agg(v, ',' ORDER BY n)) FROM many".to_owned()),
    ]
    .boxed()
}

fn partition() -> BoxedStrategy<String> {
    prop_oneof![
        3 => (id(), 0..4i32).prop_map(|(id, k)| {
            format!("INSERT INTO p VALUES ({id}, {k}, 'new') RETURNING tableoid::regclass, *")
        }),
        3 => (id(), 0..4i32).prop_map(|(id, k)| {
            format!("UPDATE p SET k = {k} WHERE id = {id} RETURNING tableoid::regclass, *")
        }),
        2 => (id(), 0..3i32).prop_map(|(id, k)| {
            format!(
                "INSERT INTO p VALUES ({id}, {k}, 'x') ON CONFLICT (id, k) DO UPDATE SET v = p.v || '+'"
            )
        }),
        1 => id().prop_map(|id| format!("DELETE FROM p WHERE id = {id}")),
        1 => one_of(&[
            "ALTER TABLE p DETACH PARTITION p1",
            "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)",
            "CREATE TABLE p3 PARTITION OF p FOR VALUES IN (3)",
            "DROP TABLE p3",
        ]),
    ]
    .boxed()
}

fn ddl() -> BoxedStrategy<String> {
    one_of(&[
        "ALTER TABLE t ADD COLUMN extra int DEFAULT 5",
        "ALTER TABLE t ADD COLUMN stamp bigint DEFAULT txid_current_if_assigned() % 1",
        "ALTER TABLE t DROP COLUMN IF EXISTS extra",
        "ALTER TABLE t ALTER COLUMN a TYPE bigint",
        "ALTER TABLE t ALTER COLUMN b SET NOT NULL",
        "ALTER TABLE t ADD CONSTRAINT big CHECK (a < 100) NOT VALID",
        "ALTER TABLE t VALIDATE CONSTRAINT big",
        "ALTER TABLE t DISABLE TRIGGER before_t",
        "ALTER TABLE t ENABLE TRIGGER before_t",
        "CREATE UNIQUE INDEX t_unique ON t (a)",
        "CREATE INDEX t_brin ON t USING brin (id)",
        "CREATE INDEX CONCURRENTLY t_later ON t (d, a)",
        "DROP INDEX IF EXISTS t_unique, t_brin, t_later",
        "CREATE TABLE copied AS SELECT * FROM t",
        "INSERT INTO copied SELECT * FROM t",
        "SELECT count(*), sum(a) FROM copied",
        "DROP TABLE IF EXISTS copied",
        "CREATE MATERIALIZED VIEW seen_then AS SELECT id, a FROM t",
        "REFRESH MATERIALIZED VIEW seen_then",
        "SELECT * FROM seen_then ORDER BY id",
        "DROP MATERIALIZED VIEW IF EXISTS seen_then",
        "SELECT id, a INTO TEMP mine FROM t",
        "UPDATE mine SET a = a + 1 RETURNING id, a",
        "DROP TABLE IF EXISTS mine",
        "TRUNCATE t, u, s RESTART IDENTITY",
    ])
}

fn maintenance() -> BoxedStrategy<String> {
    one_of(&[
        "VACUUM t",
        "VACUUM (FREEZE, INDEX_CLEANUP ON) u",
        "VACUUM FULL t",
        "CLUSTER t USING t_pkey",
        "REINDEX TABLE t",
        "REINDEX INDEX CONCURRENTLY t_a",
        "ANALYZE t",
        "CHECKPOINT",
    ])
}

fn plan() -> BoxedStrategy<String> {
    one_of(&[
        "EXPLAIN (COSTS OFF) SELECT * FROM t WHERE id = 1",
        "EXPLAIN (COSTS OFF) SELECT * FROM t WHERE a = 5 ORDER BY id",
        "EXPLAIN (COSTS OFF) SELECT * FROM p WHERE k = 1",
        "EXPLAIN (COSTS OFF) UPDATE t SET a = 1 WHERE j @> ARRAY[1]",
    ])
}
