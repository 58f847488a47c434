//! The read phenomena of the literature, from dirty write (G0) to write skew (G2), as small
//! interleavings: on a caliber_am table, plain or an entity's, each isolation level allows what it
//! allows on heap, which is what PostgreSQL documents.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use caliber_tests::interleave::{Trace, interleave};
use caliber_tests::{Db, Tree};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// A phenomenon, and what the sessions see of it at each level.
struct Phenomenon {
    name: &'static str,
    /// Lines of a session's number and a statement, of which these stand for whole ones:
    /// `set ID VALUE`, `read CONDITION`, `commit`, `rollback`.
    script: &'static str,
    /// What they see, and the rows at the end.
    outcome: [&'static str; 3],
}

/// The rows at the beginning are 1 = 10 and 2 = 20.
const PHENOMENA: &[Phenomenon] = &[
    Phenomenon {
        name: "G0, dirty write",
        script: "1 set 1 11; 2 set 1 12; 1 set 2 21; 1 commit; 2 set 2 22; 2 commit",
        outcome: [
            "2 waits; 1=12 2=22",
            "2 waits, 2 40001; 1=11 2=21",
            "2 waits, 2 40001; 1=11 2=21",
        ],
    },
    Phenomenon {
        name: "G1a, aborted read",
        script: "1 set 1 101; 2 read true; 1 rollback; 2 read true; 2 commit",
        outcome: ["2 sees 1=10 2=20, 2 sees 1=10 2=20; 1=10 2=20"; 3],
    },
    Phenomenon {
        name: "G1b, intermediate read",
        script: "1 set 1 101; 2 read true; 1 set 1 11; 1 commit; 2 read true; 2 commit",
        outcome: [
            "2 sees 1=10 2=20, 2 sees 1=11 2=20; 1=11 2=20",
            "2 sees 1=10 2=20, 2 sees 1=10 2=20; 1=11 2=20",
            "2 sees 1=10 2=20, 2 sees 1=10 2=20; 1=11 2=20",
        ],
    },
    Phenomenon {
        name: "G1c, circular information flow",
        script: "1 set 1 11; 2 set 2 22; 1 read id = '2'; 2 read id = '1'; 1 commit; 2 commit",
        outcome: [
            "1 sees 2=20, 2 sees 1=10; 1=11 2=22",
            "1 sees 2=20, 2 sees 1=10; 1=11 2=22",
            "1 sees 2=20, 2 sees 1=10, 2 40001; 1=11 2=20",
        ],
    },
    Phenomenon {
        name: "OTV, observed transaction vanishes",
        script: "1 set 1 11; 1 set 2 19; 2 set 1 12; 1 commit; 3 read id = '1'; 2 set 2 18;
                 3 read id = '2'; 2 commit; 3 read id = '2'; 3 read id = '1'; 3 commit",
        outcome: [
            "2 waits, 3 sees 1=11, 3 sees 2=19, 3 sees 2=18, 3 sees 1=12; 1=12 2=18",
            "2 waits, 2 40001, 3 sees 1=11, 3 sees 2=19, 3 sees 2=19, 3 sees 1=11; 1=11 2=19",
            "2 waits, 2 40001, 3 sees 1=11, 3 sees 2=19, 3 sees 2=19, 3 sees 1=11; 1=11 2=19",
        ],
    },
    Phenomenon {
        name: "PMP, predicate-many-preceders",
        script: "1 read value = 30; 2 add 3 30; 2 commit; 1 read value % 3 = 0; 1 commit",
        outcome: [
            "1 sees nothing, 1 sees 3=30; 1=10 2=20 3=30",
            "1 sees nothing, 1 sees nothing; 1=10 2=20 3=30",
            "1 sees nothing, 1 sees nothing; 1=10 2=20 3=30",
        ],
    },
    Phenomenon {
        name: "PMP for write predicates",
        script: "1 UPDATE t SET value = value + 10; 2 DELETE FROM t WHERE value = 20; 1 commit;
                 2 read value = 20; 2 commit",
        outcome: [
            "2 waits, 2 sees 1=20; 1=20 2=30",
            "2 waits, 2 40001; 1=20 2=30",
            "2 waits, 2 40001; 1=20 2=30",
        ],
    },
    Phenomenon {
        name: "P4, lost update",
        script: "1 read id = '1'; 2 read id = '1'; 1 set 1 11; 2 set 1 12; 1 commit; 2 commit",
        outcome: [
            "1 sees 1=10, 2 sees 1=10, 2 waits; 1=12 2=20",
            "1 sees 1=10, 2 sees 1=10, 2 waits, 2 40001; 1=11 2=20",
            "1 sees 1=10, 2 sees 1=10, 2 waits, 2 40001; 1=11 2=20",
        ],
    },
    Phenomenon {
        name: "P4 with a new value made from the old one",
        script: "1 read id = '1'; 2 read id = '1'; 1 UPDATE t SET value = value + 1 WHERE id = '1';
                 2 UPDATE t SET value = value + 1 WHERE id = '1'; 1 commit; 2 commit",
        outcome: [
            "1 sees 1=10, 2 sees 1=10, 2 waits; 1=12 2=20",
            "1 sees 1=10, 2 sees 1=10, 2 waits, 2 40001; 1=11 2=20",
            "1 sees 1=10, 2 sees 1=10, 2 waits, 2 40001; 1=11 2=20",
        ],
    },
    Phenomenon {
        name: "P4 kept off by FOR UPDATE",
        script: "1 SELECT id, value FROM t WHERE id = '1' FOR UPDATE;
                 2 SELECT id, value FROM t WHERE id = '1' FOR UPDATE; 1 set 1 11; 1 commit;
                 2 UPDATE t SET value = value + 1 WHERE id = '1'; 2 commit",
        outcome: [
            "1 sees 1=10, 2 waits, 2 sees 1=11; 1=12 2=20",
            "1 sees 1=10, 2 waits, 2 40001; 1=11 2=20",
            "1 sees 1=10, 2 waits, 2 40001; 1=11 2=20",
        ],
    },
    Phenomenon {
        name: "G-single, read skew",
        script: "1 read id = '1'; 2 read true; 2 set 1 12; 2 set 2 18; 2 commit; 1 read id = '2';
                 1 commit",
        outcome: [
            "1 sees 1=10, 2 sees 1=10 2=20, 1 sees 2=18; 1=12 2=18",
            "1 sees 1=10, 2 sees 1=10 2=20, 1 sees 2=20; 1=12 2=18",
            "1 sees 1=10, 2 sees 1=10 2=20, 1 sees 2=20; 1=12 2=18",
        ],
    },
    Phenomenon {
        name: "G-single with dependencies",
        script: "1 read value % 5 = 0; 2 UPDATE t SET value = 12 WHERE value = 10; 2 commit;
                 1 read value % 3 = 0; 1 commit",
        outcome: [
            "1 sees 1=10 2=20, 1 sees 1=12; 1=12 2=20",
            "1 sees 1=10 2=20, 1 sees nothing; 1=12 2=20",
            "1 sees 1=10 2=20, 1 sees nothing; 1=12 2=20",
        ],
    },
    Phenomenon {
        name: "G-single with a write predicate",
        script: "1 read id = '1'; 2 read true; 2 set 1 12; 2 set 2 18; 2 commit;
                 1 DELETE FROM t WHERE value = 20; 1 commit",
        outcome: [
            "1 sees 1=10, 2 sees 1=10 2=20; 1=12 2=18",
            "1 sees 1=10, 2 sees 1=10 2=20, 1 40001; 1=12 2=18",
            "1 sees 1=10, 2 sees 1=10 2=20, 1 40001; 1=12 2=18",
        ],
    },
    Phenomenon {
        name: "G-single with a write predicate that is rolled back",
        script: "1 read id = '1'; 2 read true; 2 set 1 12; 1 DELETE FROM t WHERE value = 20;
                 2 set 2 18; 1 rollback; 2 commit",
        outcome: ["1 sees 1=10, 2 sees 1=10 2=20, 2 waits; 1=12 2=18"; 3],
    },
    Phenomenon {
        name: "G2-item, write skew",
        script: "1 read true; 2 read true; 1 set 1 11; 2 set 2 21; 1 commit; 2 commit",
        outcome: [
            "1 sees 1=10 2=20, 2 sees 1=10 2=20; 1=11 2=21",
            "1 sees 1=10 2=20, 2 sees 1=10 2=20; 1=11 2=21",
            "1 sees 1=10 2=20, 2 sees 1=10 2=20, 2 40001; 1=11 2=20",
        ],
    },
    Phenomenon {
        name: "G2, write skew on predicates",
        script: "1 read value % 3 = 0; 2 read value % 3 = 0; 1 add 3 30; 2 add 4 42; 1 commit;
                 2 commit",
        outcome: [
            "1 sees nothing, 2 sees nothing; 1=10 2=20 3=30 4=42",
            "1 sees nothing, 2 sees nothing; 1=10 2=20 3=30 4=42",
            "1 sees nothing, 2 sees nothing, 2 40001; 1=10 2=20 3=30",
        ],
    },
    Phenomenon {
        name: "G2 by two edges, a reader makes the cycle",
        script: "1 read true; 2 UPDATE t SET value = value + 5 WHERE id = '2'; 2 commit;
                 3 read true; 3 commit; 1 set 1 1; 1 commit",
        outcome: [
            "1 sees 1=10 2=20, 3 sees 1=10 2=25; 1=1 2=25",
            "1 sees 1=10 2=20, 3 sees 1=10 2=25; 1=1 2=25",
            "1 sees 1=10 2=20, 3 sees 1=10 2=25, 1 40001; 1=10 2=25",
        ],
    },
];

/// Relations `t` with the columns `id` and `value`: a heap table, a plain table of ours, and a view
/// of an entity table, through which PostgreSQL writes the table itself.
const TABLES: &[(&str, &str)] = &[
    ("heap", "CREATE TABLE t (id text PRIMARY KEY, value int) USING heap"),
    ("caliber_am", "CREATE TABLE t (id text PRIMARY KEY, value int) USING caliber_am"),
    (
        "caliber_scope",
        "ALTER TABLE caliber_scope ADD UNIQUE (name);
         CREATE VIEW t AS SELECT name AS id, token_budget AS value, trajectory_id FROM caliber_scope;
         ALTER VIEW t ALTER COLUMN trajectory_id SET DEFAULT '{trajectory}'",
    ),
];

const PATHS: [&str; 2] = ["enable_indexscan = off", "enable_seqscan = off"];

const READ: &str = "SELECT id, value FROM t WHERE";

fn statement(shorthand: &str) -> String {
    let words: Vec<_> = shorthand.splitn(3, ' ').collect();
    match *words {
        ["set", id, value] => format!("UPDATE t SET value = {value} WHERE id = '{id}'"),
        ["add", id, value] => format!("INSERT INTO t (id, value) VALUES ('{id}', {value})"),
        ["read", ..] => format!("{READ} {} ORDER BY id", &shorthand["read ".len()..]),
        _ => shorthand.to_owned(),
    }
}

fn script(text: &str) -> Vec<(usize, String)> {
    let steps = text.split(';').map(str::trim);
    steps
        .map(|step| {
            let (session, shorthand) = step.split_once(' ').unwrap();
            (session.parse().unwrap(), statement(shorthand))
        })
        .collect()
}

fn outcome(t: &mut Tree, sessions: &mut [Db], level: &str, of: &Phenomenon) -> (Trace, String) {
    t.db.run("DELETE FROM t; INSERT INTO t (id, value) VALUES ('1', 10), ('2', 20)");
    let trace = interleave(&mut t.db, sessions, level, &script(of.script));
    let rows: Vec<String> = t.db.all("SELECT id || '=' || value FROM t ORDER BY id");
    let seen = trace.summary();
    let rows = rows.join(" ");
    (trace, if seen.is_empty() { rows } else { format!("{seen}; {rows}") })
}

#[test]
fn phenomena_are_those_of_heap_and_as_documented() {
    let mut on_heap = Vec::new();
    for (table, create) in TABLES {
        let mut t = Tree::new("isolation");
        let trajectory = t.trajectory;
        t.db.run("DELETE FROM caliber_scope");
        t.db.run(&create.replace("{trajectory}", &trajectory.to_string()));
        let mut sessions: Vec<Db> = (0..3).map(|_| t.connect()).collect();
        let mut traces = Vec::new();
        for path in PATHS {
            for db in &mut sessions {
                db.run(&format!("RESET enable_seqscan; RESET enable_indexscan; SET {path}"));
            }
            for phenomenon in PHENOMENA {
                for (level, expected) in LEVELS.into_iter().zip(phenomenon.outcome) {
                    let (trace, seen) = outcome(&mut t, &mut sessions, level, phenomenon);
                    let which = format!("{} at {level} on {table}, {path}", phenomenon.name);
                    assert_eq!(seen, expected, "{which}");
                    traces.push((which.replace(table, ""), trace));
                }
            }
        }
        if on_heap.is_empty() {
            on_heap = traces;
        } else {
            assert_eq!(traces, on_heap, "{table}");
        }
    }
}
