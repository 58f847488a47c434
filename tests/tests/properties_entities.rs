//! The eight properties for the entities that came after trajectory, scope and turn. What they
//! have in common is said once; [`Entity`] describes what is theirs.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use caliber_tests::gen_values::{check, json, text};
use caliber_tests::indexes::{Index, indexes, indexes_agree, indexes_are_used};
use caliber_tests::{Db, Tree, UNKNOWN, lit, show};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use uuid::Uuid;

// What entities are made of

/// What a column shows.
#[derive(Debug, Clone)]
enum Shown {
    Json(Value),
    /// What the server says that this expression is.
    Sql(String),
}

/// Random values for one or more arguments, or for one column to be changed.
#[derive(Debug, Clone)]
struct Sample {
    /// Names and SQL literals.
    given: Vec<(&'static str, String)>,
    /// What the row shows for them.
    shown: Vec<(&'static str, Shown)>,
}

/// An entity, in terms of what is random about its rows.
struct Entity {
    name: &'static str,
    /// The arguments of its create function.
    create: Vec<BoxedStrategy<Sample>>,
    /// The columns of a new row that no argument gives.
    rest: Value,
    /// Columns that carry the database's clock or a number from a sequence.
    clocks: &'static [&'static str],
    /// The columns that an update may change, and by `<entity>_update`, where there is one.
    update: Vec<BoxedStrategy<Sample>>,
    has_update: bool,
    /// Calls whose rows include each live row with these values.
    lists: fn(&Value) -> Vec<String>,
}

/// A tree, and agents that it knows.
struct World {
    t: Tree,
    /// The first may delegate to anybody.
    agents: Vec<Uuid>,
}

impl World {
    fn new(name: &str) -> Self {
        let mut t = Tree::new(name);
        t.db.run("SET timezone = 'UTC'");
        let agents = t.db.all(
            "INSERT INTO caliber_agent (agent_type, can_delegate_to)
             VALUES ('boss', '{*}'), ('a', '{}'), ('b', '{}') RETURNING agent_id::uuid",
        );
        Self { t, agents }
    }

    /// Leaves nothing behind but the tree and the agents.
    fn clear(&mut self) {
        let agents: Vec<_> = self.agents.iter().map(Uuid::to_string).collect();
        // A truncated index has no dead entries, which an HNSW scan would count.
        self.t.db.run(&format!(
            "ROLLBACK; TRUNCATE caliber_artifact, caliber_note, caliber_conflict;
             DELETE FROM caliber_agent WHERE agent_id <> ALL ('{{{}}}')",
            agents.join(",")
        ));
    }

    fn begin(&mut self) -> Value {
        self.t.db.run("ROLLBACK; BEGIN");
        self.t.db.json("transaction_timestamp()")
    }

    /// The call that creates a row, and returns its id.
    fn create_sql(entity: &Entity, samples: &[Sample], id: Option<Uuid>) -> String {
        let name = entity.name;
        let mut arguments: Vec<String> =
            given(samples).map(|(n, v)| format!("{n} => {v}")).collect();
        arguments.extend(id.map(|id| format!("{name}_id => '{id}'")));
        let arguments = arguments.join(", ");
        match name {
            "agent" => format!("SELECT caliber_agent_register({arguments})"),
            "message" => format!("SELECT caliber_message_send({arguments})"),
            "lock" => format!("SELECT (caliber_lock_acquire({arguments})).lock_id"),
            _ => format!("SELECT caliber_{name}_create({arguments})"),
        }
    }

    #[track_caller]
    fn create(&mut self, entity: &Entity, samples: &[Sample]) -> Uuid {
        self.t.db.one(&Self::create_sql(entity, samples, None))
    }

    #[track_caller]
    fn get(&mut self, entity: &Entity, id: Uuid) -> Value {
        self.t.db.json(&format!("caliber_{}_get('{id}')", entity.name))
    }

    /// The row as a plain query shows it.
    #[track_caller]
    fn raw(&mut self, entity: &Entity, id: Uuid) -> Value {
        self.t.db.one(&format!(
            "SELECT to_jsonb(r) FROM caliber_{0} r WHERE {0}_id = '{id}'",
            entity.name
        ))
    }

    /// Lets a row show what the samples say.
    fn show(&mut self, row: &mut Value, samples: &[Sample]) {
        for (column, shown) in samples.iter().flat_map(|sample| &sample.shown) {
            row[column] = match shown {
                Shown::Json(value) => value.clone(),
                Shown::Sql(expression) => self.t.db.json(expression),
            };
        }
    }

    /// What changes a row by its update function, or by plain SQL, and returns it.
    fn update_sql(entity: &Entity, id: Uuid, samples: &[Sample], function: bool) -> String {
        let name = entity.name;
        if entity.has_update && function {
            let mut changes = Map::new();
            let mut embedding = String::new();
            for sample in samples {
                let (column, literal) = &sample.given[0];
                match &sample.shown[0].1 {
                    _ if *column == "embedding" => embedding = format!(", embedding => {literal}"),
                    Shown::Json(value) => _ = changes.insert((*column).to_owned(), value.clone()),
                    Shown::Sql(_) => unreachable!("{column}"),
                }
            }
            let changes = lit(&Value::from(changes).to_string());
            return format!("SELECT to_jsonb(caliber_{name}_update('{id}', {changes}{embedding}))");
        }
        let mut set: Vec<_> = given(samples).map(|(c, v)| format!("{c} = {v}")).collect();
        if set.is_empty() {
            set.push("metadata = metadata".to_owned());
        }
        format!(
            "UPDATE caliber_{name} r SET {} WHERE {name}_id = '{id}' RETURNING to_jsonb(r)",
            set.join(", ")
        )
    }

    #[track_caller]
    fn update(&mut self, entity: &Entity, id: Uuid, samples: &[Sample], function: bool) -> Value {
        self.t.db.one(&Self::update_sql(entity, id, samples, function))
    }

    /// Whether all lists that should show a row, and a search by its embedding, do so; fails when
    /// they differ.
    #[track_caller]
    fn is_listed(&mut self, entity: &Entity, row: &Value) -> bool {
        let name = entity.name;
        let id = row[format!("{name}_id")].as_str().unwrap();
        let key = format!("{name}_id");
        let mut calls: Vec<String> = (entity.lists)(row)
            .iter()
            .map(|call| format!("SELECT count(*) FROM caliber_{name}_{call} WHERE {key} = '{id}'"))
            .collect();
        let embedding = row.get("embedding").and_then(Value::as_str).unwrap_or(ZERO);
        if embedding != ZERO {
            calls.push(format!(
                "SELECT count(*) FROM caliber_{name}_search('{embedding}', 100000) s WHERE (s.{name}).{key} = '{id}'"
            ));
        }
        calls.push(format!("SELECT count(*) FROM caliber_{name} WHERE {key} = '{id}'"));
        calls.push(format!(
            "SELECT count(*) FROM caliber_{name}_get('{id}') WHERE {key} IS NOT NULL"
        ));
        let counts: Vec<i64> = calls.iter().map(|sql| self.t.db.one(sql)).collect();
        assert!(counts[0] <= 1 && counts.iter().all(|n| n == &counts[0]), "{counts:?} {calls:#?}");
        counts[0] == 1
    }
}

fn given(samples: &[Sample]) -> impl Iterator<Item = &(&'static str, String)> {
    samples.iter().flat_map(|sample| &sample.given)
}

const ZERO: &str = "[0,0,0,0,0,0,0,0]";

// Values: an SQL literal, and what a column with it shows

type Literal = (String, Value);

fn texts() -> impl Strategy<Value = Literal> {
    text().prop_map(|text| (lit(&text), json!(text)))
}

/// For an indexed column, which does not take any length.
fn words() -> impl Strategy<Value = Literal> {
    "\\PC{0,20}".prop_map(|text| (lit(&text), json!(text)))
}

fn jsons() -> impl Strategy<Value = Literal> {
    // In `changes`, null stands for SQL null.
    json()
        .prop_map(|value| if value.is_null() { json!({}) } else { value })
        .prop_map(|value| (lit(&value.to_string()), value))
}

fn labels(labels: &'static [&'static str]) -> impl Strategy<Value = Literal> {
    select(labels).prop_map(|label| (lit(label), json!(label)))
}

fn ids() -> impl Strategy<Value = Literal> {
    any::<u128>().prop_map(|bits| id(Uuid::from_u128(bits)))
}

fn id(id: Uuid) -> Literal {
    (format!("'{id}'"), json!(id.to_string()))
}

fn one_of(ids: &[Uuid]) -> impl Strategy<Value = Literal> + use<> {
    select(ids.to_vec()).prop_map(id)
}

fn whole(range: std::ops::Range<i32>) -> impl Strategy<Value = Literal> {
    range.prop_map(|n| (n.to_string(), json!(n)))
}

fn fractions() -> impl Strategy<Value = Literal> {
    (0..=8).prop_map(|n| {
        let shown = if n % 8 == 0 { json!(n / 8) } else { json!(f64::from(n) / 8.0) };
        (format!("{}", f64::from(n) / 8.0), shown)
    })
}

fn moments() -> impl Strategy<Value = Literal> {
    labels(&[
        "2100-01-02T03:04:05+00:00",
        "9999-12-31T23:59:59.999999+00:00",
        "2050-06-30T00:00:00.5+00:00",
    ])
}

fn vectors() -> impl Strategy<Value = Literal> {
    vec(-4..5i32, 8).prop_map(|values| {
        let values: Vec<_> = values.iter().map(i32::to_string).collect();
        let vector = format!("[{}]", values.join(","));
        (lit(&vector), json!(vector))
    })
}

fn arrays(
    ty: &'static str,
    element: impl Strategy<Value = Literal>,
) -> impl Strategy<Value = Literal> {
    vec(element, 0..4).prop_map(move |elements| {
        let (literals, values): (Vec<_>, Vec<_>) = elements.into_iter().unzip();
        (format!("ARRAY[{}]::{ty}[]", literals.join(", ")), Value::from(values))
    })
}

/// Null, which the column shows as `shown`, or a value.
fn or_null(
    value: impl Strategy<Value = Literal> + 'static,
    shown: Value,
) -> impl Strategy<Value = Literal> {
    prop_oneof![1 => Just(("NULL".to_owned(), shown)), 3 => value]
}

fn or<S: Strategy<Value = Literal> + 'static>(value: S) -> impl Strategy<Value = Literal> {
    or_null(value, Value::Null)
}

/// An argument or column, and the column that shows it.
fn as_column(
    name: &'static str,
    column: &'static str,
    value: impl Strategy<Value = Literal> + 'static,
) -> BoxedStrategy<Sample> {
    value
        .prop_map(move |(literal, shown)| Sample {
            given: vec![(name, literal)],
            shown: vec![(column, Shown::Json(shown))],
        })
        .boxed()
}

fn as_is(
    name: &'static str,
    value: impl Strategy<Value = Literal> + 'static,
) -> BoxedStrategy<Sample> {
    as_column(name, name, value)
}

/// A content, and its hash.
fn content() -> BoxedStrategy<Sample> {
    texts()
        .prop_map(|(literal, shown)| Sample {
            shown: vec![
                ("content", Shown::Json(shown)),
                ("content_hash", Shown::Sql(format!("sha256(convert_to({literal}, 'UTF8'))"))),
            ],
            given: vec![("content", literal)],
        })
        .boxed()
}

/// A time to live that does not end in this test.
fn ttl() -> BoxedStrategy<Sample> {
    proptest::option::of(3_600..1_000_000_000)
        .prop_map(|seconds| {
            let Some(seconds) = seconds else {
                return Sample {
                    given: vec![("ttl", "NULL".to_owned())],
                    shown: vec![("expires_at", Shown::Json(Value::Null))],
                };
            };
            let ttl = format!("interval '{seconds} seconds'");
            let end = format!("transaction_timestamp() + {ttl}");
            Sample { given: vec![("ttl", ttl)], shown: vec![("expires_at", Shown::Sql(end))] }
        })
        .boxed()
}

/// An agent or a type of agents, each in the argument and column of its name.
fn receiver(
    agent: &'static str,
    agent_type: &'static str,
    agents: &[Uuid],
) -> BoxedStrategy<Sample> {
    let other = |column| (column, Shown::Json(Value::Null));
    prop_oneof![
        one_of(agents).prop_map(move |(literal, shown)| Sample {
            given: vec![(agent, literal)],
            shown: vec![(agent, Shown::Json(shown)), other(agent_type)],
        }),
        words().prop_map(move |(literal, shown)| Sample {
            given: vec![(agent_type, literal)],
            shown: vec![(agent_type, Shown::Json(shown)), other(agent)],
        }),
    ]
    .boxed()
}

// The entities

fn artifact(w: &World) -> Entity {
    let changes = || {
        vec![
            content(),
            as_is("name", texts()),
            as_is("confidence", or(fractions())),
            as_is("metadata", or(jsons())),
        ]
    };
    Entity {
        name: "artifact",
        create: [
            changes(),
            vec![
                as_is("trajectory_id", Just(id(w.t.trajectory))),
                as_is("scope_id", Just(id(w.t.scope))),
                as_is("artifact_type", words()),
                as_is("embedding", or(vectors())),
                as_is("source_turn", or(whole(0..i32::MAX))),
                as_is(
                    "extraction_method",
                    or_null(labels(&["explicit", "inferred", "user_provided"]), json!("explicit")),
                ),
                ttl(),
            ],
        ]
        .concat(),
        rest: json!({"superseded_by": null}),
        clocks: &[],
        update: [
            changes(),
            vec![as_is("embedding", vectors()), as_is("expires_at", or(moments()))],
        ]
        .concat(),
        has_update: true,
        lists: |row| {
            vec![
                format!(
                    "query_by_type({}, {}, true, 100000)",
                    sql(&row["trajectory_id"]),
                    sql(&row["artifact_type"])
                ),
                format!("query_by_scope({}, max_rows => 100000)", sql(&row["scope_id"])),
            ]
        },
    }
}

fn note(_: &World) -> Entity {
    let changes = || vec![content(), as_is("title", texts()), as_is("metadata", or(jsons()))];
    let sources = ["source_trajectory_ids", "source_artifact_ids", "source_note_ids"];
    let levels = || labels(&["raw", "summary", "principle"]);
    let new_sources =
        sources.map(|column| as_is(column, or_null(arrays("uuid", ids()), json!([]))));
    let other_sources = sources.map(|column| as_is(column, arrays("uuid", ids())));
    Entity {
        name: "note",
        create: [
            changes(),
            new_sources.to_vec(),
            vec![
                as_is("note_type", words()),
                as_is("abstraction_level", or_null(levels(), json!("raw"))),
                as_is("embedding", or(vectors())),
                ttl(),
            ],
        ]
        .concat(),
        rest: json!({"superseded_by": null, "access_count": 0}),
        clocks: &["accessed_at"],
        update: [
            changes(),
            other_sources.to_vec(),
            vec![
                as_is("abstraction_level", levels()),
                as_is("embedding", vectors()),
                as_is("expires_at", or(moments())),
            ],
        ]
        .concat(),
        has_update: true,
        lists: |row| {
            let mut lists = vec![format!("list_by_type({}, true, 100000)", sql(&row["note_type"]))];
            for source in row["source_trajectory_ids"].as_array().unwrap() {
                lists.push(format!("query_by_trajectory({}, max_rows => 100000)", sql(source)));
            }
            lists
        },
    }
}

fn agent(w: &World) -> Entity {
    let types = || arrays("text", words());
    Entity {
        name: "agent",
        create: vec![
            as_is("agent_type", words()),
            as_is("capabilities", or_null(arrays("text", texts()), json!([]))),
            as_is("memory_access", or_null(jsons(), json!({}))),
            as_is("can_delegate_to", or_null(types(), json!([]))),
            as_is("reports_to", or(one_of(&w.agents))),
            as_is("metadata", or(jsons())),
        ],
        rest: json!({"status": "idle", "current_trajectory_id": null, "current_scope_id": null}),
        clocks: &["last_heartbeat"],
        update: vec![
            as_is("agent_type", words()),
            as_is("capabilities", arrays("text", texts())),
            as_is("memory_access", jsons()),
            as_is("can_delegate_to", types()),
            as_is("reports_to", or(one_of(&w.agents))),
            as_is("current_trajectory_id", or(Just(id(w.t.trajectory)))),
            as_is("current_scope_id", or(Just(id(w.t.scope)))),
            as_is("metadata", or(jsons())),
        ],
        has_update: true,
        lists: |row| {
            vec![
                format!("list_by_type({}, 100000)", sql(&row["agent_type"])),
                "list_active('1 day', 100000)".to_owned(),
            ]
        },
    }
}

const CONFLICTS: &[&str] = &[
    "concurrent_write",
    "contradicting_fact",
    "incompatible_decision",
    "resource_contention",
    "goal_conflict",
];

fn conflict(w: &World) -> Entity {
    let changes = || {
        vec![
            as_is("conflict_type", labels(CONFLICTS)),
            as_is("agent_a_id", or(one_of(&w.agents))),
            as_is("agent_b_id", or(one_of(&w.agents))),
            as_is("trajectory_id", or(Just(id(w.t.trajectory)))),
            as_is("metadata", or(jsons())),
        ]
    };
    Entity {
        name: "conflict",
        create: [
            changes(),
            vec![
                as_is("item_a_type", texts()),
                as_is("item_a_id", ids()),
                as_is("item_b_type", texts()),
                as_is("item_b_id", ids()),
            ],
        ]
        .concat(),
        rest: json!({"status": "detected", "resolution": null, "resolved_at": null}),
        clocks: &[],
        update: [changes(), vec![as_is("resolution", or(jsons()))]].concat(),
        has_update: false,
        lists: |_| vec!["list_pending(100000)".to_owned()],
    }
}

fn lock(w: &World) -> Entity {
    Entity {
        name: "lock",
        create: vec![
            as_column("agent_id", "holder_agent_id", one_of(&w.agents)),
            as_is("resource_type", words()),
            as_is("resource_id", ids()),
            as_is("mode", labels(&["exclusive", "shared"])),
            (1..1_000_000_000)
                .prop_map(|seconds| Sample {
                    given: vec![("ttl", format!("interval '{seconds} seconds'"))],
                    shown: vec![],
                })
                .boxed(),
        ],
        rest: json!({"metadata": null}),
        clocks: &["fence", "acquired_at", "expires_at"],
        update: vec![as_is("metadata", or(jsons()))],
        has_update: false,
        lists: |row| {
            let resource = [&row["resource_type"], &row["resource_id"]].map(sql).join(", ");
            vec![format!("list_by_resource({resource})")]
        },
    }
}

const PRIORITIES: &[&str] = &["low", "normal", "high", "critical"];

fn message(w: &World) -> Entity {
    Entity {
        name: "message",
        create: vec![
            as_is("from_agent_id", one_of(&w.agents)),
            receiver("to_agent_id", "to_agent_type", &w.agents),
            as_is("message_type", texts()),
            as_is("payload", jsons()),
            as_is("priority", or_null(labels(PRIORITIES), json!("normal"))),
            as_is("trajectory_id", or(Just(id(w.t.trajectory)))),
            as_is("scope_id", or(Just(id(w.t.scope)))),
            as_is("artifact_ids", or_null(arrays("uuid", ids()), json!([]))),
            as_is("max_deliveries", or_null(whole(1..1_000), json!(5))),
        ],
        rest: json!({"status": "pending", "delivery_count": 0, "claimed_by": null,
                     "broadcast_id": null, "expires_at": null, "delivered_at": null,
                     "acknowledged_at": null, "metadata": null}),
        clocks: &["visible_at"],
        update: vec![
            as_is("priority", labels(PRIORITIES)),
            as_is("max_deliveries", whole(1..1_000)),
            as_is("expires_at", or(moments())),
            as_is("metadata", or(jsons())),
        ],
        has_update: false,
        lists: |row| match &row["to_agent_id"] {
            Value::Null => vec![],
            agent => vec![format!("list_for_agent({}, 100000)", sql(agent))],
        },
    }
}

fn delegation(w: &World) -> Entity {
    let context = || or(texts());
    Entity {
        name: "delegation",
        create: vec![
            as_is("delegator_agent_id", Just(id(w.agents[0]))),
            as_is("task_description", texts()),
            as_is("parent_trajectory_id", Just(id(w.t.trajectory))),
            receiver("delegatee_agent_id", "delegatee_agent_type", &w.agents[1..]),
            as_is("shared_artifacts", or_null(arrays("uuid", ids()), json!([]))),
            as_is("shared_notes", or_null(arrays("uuid", ids()), json!([]))),
            as_is("additional_context", context()),
            as_is("constraints", or_null(jsons(), json!({}))),
            as_is("deadline", or(moments())),
            as_is("metadata", or(jsons())),
        ],
        rest: json!({"child_trajectory_id": null, "status": "pending", "result": null,
                     "accepted_at": null, "completed_at": null}),
        clocks: &[],
        update: vec![
            as_is("shared_artifacts", arrays("uuid", ids())),
            as_is("shared_notes", arrays("uuid", ids())),
            as_is("additional_context", context()),
            as_is("constraints", jsons()),
            as_is("deadline", or(moments())),
            as_is("metadata", or(jsons())),
        ],
        has_update: false,
        lists: |row| {
            let [agent, agent_type] =
                ["delegatee_agent_id", "delegatee_agent_type"].map(|c| sql(&row[c]));
            vec![format!("list_pending({agent}, {agent_type}, 100000)")]
        },
    }
}

fn handoff(w: &World) -> Entity {
    let steps = ["next_steps", "blockers", "open_questions"];
    let new_steps = steps.map(|column| as_is(column, or_null(arrays("text", texts()), json!([]))));
    let other_steps = steps.map(|column| as_is(column, arrays("text", texts())));
    Entity {
        name: "handoff",
        create: [
            new_steps.to_vec(),
            vec![
                as_is("from_agent_id", Just(id(w.agents[0]))),
                as_is("trajectory_id", Just(id(w.t.trajectory))),
                as_is("scope_id", Just(id(w.t.scope))),
                as_is("reason", labels(&["capability_mismatch", "timeout", "scheduled"])),
                receiver("to_agent_id", "to_agent_type", &w.agents[1..]),
                as_is("handoff_notes", or_null(texts(), json!(""))),
                as_is("context_snapshot_id", or(ids())),
                as_is("metadata", or(jsons())),
            ],
        ]
        .concat(),
        rest: json!({"status": "initiated", "accepted_at": null, "completed_at": null}),
        clocks: &[],
        update: [
            other_steps.to_vec(),
            vec![
                as_is("handoff_notes", texts()),
                as_is("context_snapshot_id", or(ids())),
                as_is("metadata", or(jsons())),
            ],
        ]
        .concat(),
        has_update: false,
        lists: |row| {
            let [agent, agent_type] = ["to_agent_id", "to_agent_type"].map(|c| sql(&row[c]));
            vec![format!("list_pending({agent}, {agent_type}, 100000)")]
        },
    }
}

/// A shown text as an SQL literal.
fn sql(value: &Value) -> String {
    value.as_str().map_or("NULL".to_owned(), lit)
}

/// Some of the samples, each perhaps.
fn some(samples: &[BoxedStrategy<Sample>]) -> impl Strategy<Value = Vec<Sample>> + use<> {
    let samples: Vec<_> = samples.iter().cloned().map(proptest::option::of).collect();
    samples.prop_map(|samples| samples.into_iter().flatten().collect())
}

type Describe = fn(&World) -> Entity;

/// A test of the property for each of the entities.
macro_rules! hold {
    ($($property:ident: $($entity:ident),+;)+) => {$(
        mod $property {
            $(
                #[test]
                fn $entity() {
                    super::$property(super::$entity);
                }
            )+
        }
    )+};
}

hold! {
    p1_what_was_created_is_returned:
        artifact, note, agent, conflict, lock, message, delegation, handoff;
    p2_an_update_persists:
        artifact, note, agent, conflict, lock, message, delegation, handoff;
    p4_what_is_deleted_is_found_through_no_index:
        artifact, note, agent, conflict, lock, message, delegation, handoff;
    p5_a_transaction_sees_its_own_writes: artifact, note, agent, conflict;
    p6_times_are_those_of_the_transaction: artifact, note, agent, conflict;
    p8_what_does_not_exist_is_null:
        artifact, note, agent, conflict, lock, message, delegation, handoff;
}

// 1. Insert-get round trip

fn p1_what_was_created_is_returned(describe: Describe) {
    let mut w = World::new("q1");
    let entity = describe(&w);
    let w = RefCell::new(&mut w);
    check((entity.create.clone(), any::<bool>()), |(samples, gives_id)| {
        let w = &mut *w.borrow_mut();
        let now = w.begin();
        let given: Option<Uuid> =
            (gives_id && entity.name != "lock").then(|| w.t.db.one("SELECT caliber_new_id()"));
        let id: Uuid = w.t.db.one(&World::create_sql(&entity, &samples, given));
        assert_eq!(id, given.unwrap_or(id));
        let row = w.get(&entity, id);
        let mut expected = entity.rest.clone();
        w.show(&mut expected, &samples);
        expected[format!("{}_id", entity.name)] = json!(id.to_string());
        expected["version"] = json!(1);
        for column in ["created_at", "updated_at", "initiated_at", "detected_at"] {
            if row.get(column).is_some() {
                expected[column] = now.clone();
            }
        }
        for clock in entity.clocks {
            assert!(!row[clock].is_null(), "{clock}");
            expected[*clock] = row[clock].clone();
        }
        assert_eq!(row, expected);
        assert_eq!(w.raw(&entity, id), row);
        assert!(w.is_listed(&entity, &row));
        w.t.db.run("COMMIT");
        assert_eq!(w.get(&entity, id), row);
    });
}

// 2. Update persistence

fn p2_an_update_persists(describe: Describe) {
    let mut w = World::new("q2");
    let entity = describe(&w);
    let w = RefCell::new(&mut w);
    let values = (entity.create.clone(), some(&entity.update), any::<bool>());
    check(values, |(samples, changes, function)| {
        let w = &mut *w.borrow_mut();
        w.t.db.run("ROLLBACK");
        let id = w.create(&entity, &samples);
        let before = w.get(&entity, id);
        let now = w.begin();
        let returned = w.update(&entity, id, &changes, function);
        let mut expected = before.clone();
        w.show(&mut expected, &changes);
        if expected != before {
            expected["version"] = json!(2);
            expected["updated_at"] = now;
        }
        assert_eq!(returned, expected);
        assert_eq!(w.get(&entity, id), expected);
        w.t.db.run("COMMIT");
        assert_eq!(w.get(&entity, id), expected);
        assert_eq!(w.raw(&entity, id), expected);
        assert!(w.is_listed(&entity, &expected));
    });
}

// 3. Indexes

const TABLES: [&str; 4] = ["caliber_artifact", "caliber_note", "caliber_agent", "caliber_conflict"];

/// One step of a random program on the four entities. Numbers choose among what exists.
#[derive(Debug, Clone)]
enum Step {
    Create(usize, Vec<Sample>),
    Update(usize, usize, Vec<Sample>, bool),
    Supersede(usize, usize, usize),
    /// What leaves the version as it is.
    Touch(usize),
    Heartbeat(usize),
    Status(usize, &'static str),
    Resolve(usize, &'static str),
    Delete(usize, usize),
    Savepoint,
    RollbackTo,
    Commit,
    Rollback,
}

fn step(entities: &[Entity]) -> impl Strategy<Value = Step> + use<> {
    let which = || any::<usize>();
    let creates = entities.iter().enumerate().map(|(e, entity)| {
        entity.create.clone().prop_map(move |samples| Step::Create(e, samples)).boxed()
    });
    let updates = entities.iter().enumerate().map(|(e, entity)| {
        (which(), some(&entity.update), any::<bool>())
            .prop_map(move |(i, samples, function)| Step::Update(e, i, samples, function))
            .boxed()
    });
    prop_oneof![
        6 => proptest::strategy::Union::new(creates),
        5 => proptest::strategy::Union::new(updates),
        3 => (0..2usize, which(), which()).prop_map(|(e, i, j)| Step::Supersede(e, i, j)),
        1 => which().prop_map(Step::Touch),
        1 => which().prop_map(Step::Heartbeat),
        1 => (which(), select(&["idle", "active", "offline"][..]))
            .prop_map(|(i, status)| Step::Status(i, status)),
        1 => (which(), select(&["escalate", "reject_both"][..]))
            .prop_map(|(i, strategy)| Step::Resolve(i, strategy)),
        2 => (0..4usize, which()).prop_map(|(e, i)| Step::Delete(e, i)),
        2 => Just(Step::Savepoint),
        2 => Just(Step::RollbackTo),
        1 => Just(Step::Commit),
        1 => Just(Step::Rollback),
    ]
}

/// Runs a step in the open transaction; one that is refused is undone.
fn run(w: &mut World, entities: &[Entity], step: &Step) {
    let pick = |w: &mut World, e: usize, i: usize| -> Option<Uuid> {
        let name = entities[e].name;
        let mut ids: Vec<Uuid> =
            w.t.db.all(&format!("SELECT {name}_id::uuid FROM caliber_{name} ORDER BY 1"));
        // Other rows of the program refer to the world's agents.
        ids.retain(|id| !w.agents.contains(id));
        (!ids.is_empty()).then(|| ids[i % ids.len()])
    };
    let call = |id: Option<Uuid>, call: &str, more: &str| {
        id.map(|id| format!("SELECT caliber_{call}('{id}'{more})"))
    };
    let sql = match step {
        Step::Create(e, samples) => Some(World::create_sql(&entities[*e], samples, None)),
        Step::Update(e, i, samples, function) => {
            pick(w, *e, *i).map(|id| World::update_sql(&entities[*e], id, samples, *function))
        }
        Step::Supersede(e, i, j) => pick(w, *e, *j).and_then(|by| {
            let function = format!("{}_supersede", entities[*e].name);
            call(pick(w, *e, *i), &function, &format!(", '{by}'"))
        }),
        Step::Touch(i) => call(pick(w, 1, *i), "note_touch", ""),
        Step::Heartbeat(i) => call(pick(w, 2, *i), "agent_heartbeat", ""),
        Step::Status(i, status) => {
            call(pick(w, 2, *i), "agent_set_status", &format!(", '{status}'"))
        }
        Step::Resolve(i, strategy) => {
            call(pick(w, 3, *i), "conflict_resolve", &format!(", '{strategy}'"))
        }
        Step::Delete(e, i) => pick(w, *e, *i)
            .map(|id| format!("DELETE FROM caliber_{0} WHERE {0}_id = '{id}'", entities[*e].name)),
        Step::Savepoint => return w.t.db.run("SAVEPOINT s"),
        Step::RollbackTo => return w.t.db.run("ROLLBACK TO s"),
        Step::Commit => return w.t.db.run("COMMIT; BEGIN; SAVEPOINT s"),
        Step::Rollback => return w.t.db.run("ROLLBACK; BEGIN; SAVEPOINT s"),
    };
    let Some(sql) = sql else { return };
    w.t.db.run("SAVEPOINT step");
    match w.t.db.attempt(&sql) {
        Ok(()) => w.t.db.run("RELEASE step"),
        Err(error) => {
            // Superseded twice, in a circle or by itself; resolved and so final.
            let code = error.as_db_error().unwrap_or_else(|| panic!("{}", show(&error, &sql)));
            let known = ["55000", "23514"].contains(&code.code().code());
            assert!(known, "{}", show(&error, &sql));
            w.t.db.run("ROLLBACK TO step; RELEASE step");
        }
    }
}

/// The index over embeddings finds each row that has one, and no other.
#[track_caller]
fn embeddings_agree(db: &mut Db, table: &str) {
    db.run("SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on");
    let mut by_table: Vec<String> =
        db.all(&format!("SELECT r::text FROM {table} r WHERE vector_norm(embedding) > 0"));
    db.run("SET LOCAL enable_indexscan = on; SET LOCAL enable_seqscan = off");
    let mut by_index: Vec<String> = db.all(&by_embedding(table));
    by_table.sort();
    by_index.sort();
    assert_eq!(by_index, by_table, "{table}");
}

fn by_embedding(table: &str) -> String {
    format!("SELECT r::text FROM {table} r ORDER BY embedding <=> '[1,-1,1,1,1,1,1,1]' LIMIT 1000")
}

#[test]
fn p3_indexes_find_what_a_sequential_scan_finds() {
    let mut w = World::new("q3");
    w.t.db.run("SELECT '[1]'::vector; SET hnsw.ef_search = 1000");
    let entities: Vec<Entity> =
        [artifact, note, agent, conflict].map(|describe| describe(&w)).into();
    let indexes: Vec<Index> = indexes(&mut w.t.db, &TABLES);
    assert!(indexes.len() >= 22, "{indexes:?}");
    let steps = vec(step(&entities), 1..20);
    let w = RefCell::new(&mut w);
    check(steps, |steps| {
        let w = &mut *w.borrow_mut();
        w.clear();
        w.t.db.run("BEGIN; SAVEPOINT s");
        for step in &steps {
            run(w, &entities, step);
        }
        for end in ["COMMIT; BEGIN", "COMMIT"] {
            indexes_agree(&mut w.t.db, &indexes);
            for table in &TABLES[..2] {
                embeddings_agree(&mut w.t.db, table);
            }
            w.t.db.run(end);
        }
    });
}

#[test]
fn p3_the_scans_of_this_test_use_the_index_that_they_test() {
    let mut w = World::new("q3");
    let indexes = indexes(&mut w.t.db, &TABLES);
    indexes_are_used(&mut w.t.db, &indexes);
    w.t.db.run("SET enable_seqscan = off");
    for table in &TABLES[..2] {
        let plan = w.t.db.all::<String>(&format!("EXPLAIN {}", by_embedding(table))).join("\n");
        assert!(plan.contains("embedding_idx"), "{plan}");
    }
}

// 4. Deleted rows

fn p4_what_is_deleted_is_found_through_no_index(describe: Describe) {
    let mut w = World::new("q4");
    let entity = describe(&w);
    let table = format!("caliber_{}", entity.name);
    let indexes = indexes(&mut w.t.db, &[&table]);
    let w = RefCell::new(&mut w);
    check((vec(entity.create.clone(), 1..4), any::<usize>()), |(rows, pick)| {
        let w = &mut *w.borrow_mut();
        w.clear();
        let ids: Vec<Uuid> = rows.iter().map(|samples| w.create(&entity, samples)).collect();
        let rows: Vec<Value> = ids.iter().map(|id| w.get(&entity, *id)).collect();
        let gone = pick % ids.len();
        w.t.db.run(&format!("DELETE FROM {table} WHERE {}_id = '{}'", entity.name, ids[gone]));
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(w.is_listed(&entity, row), i != gone, "{row}");
        }
        w.t.db.run("BEGIN");
        indexes_agree(&mut w.t.db, &indexes);
        w.t.db.run("COMMIT");
    });
}

// 5. Transaction visibility

#[derive(Debug, Clone)]
enum Act {
    Create(Vec<Sample>),
    Update(usize, Vec<Sample>, bool),
    Delete(usize),
    Savepoint,
    RollbackTo,
    Release,
}

fn p5_a_transaction_sees_its_own_writes(describe: Describe) {
    let mut w = World::new("q5");
    let entity = describe(&w);
    let mut other = w.t.connect();
    other.run("SET timezone = 'UTC'");
    let act = prop_oneof![
        4 => entity.create.clone().prop_map(Act::Create),
        3 => (any::<usize>(), some(&entity.update), any::<bool>())
            .prop_map(|(i, samples, function)| Act::Update(i, samples, function)),
        1 => any::<usize>().prop_map(Act::Delete),
        2 => Just(Act::Savepoint),
        2 => Just(Act::RollbackTo),
        1 => Just(Act::Release),
    ];
    let get = format!("caliber_{}_get", entity.name);
    let all = format!(
        "SELECT to_jsonb(r) FROM caliber_{0} r WHERE {0}_id::text >= $$@$$ ORDER BY {0}_id",
        entity.name
    );
    let w = RefCell::new((&mut w, &mut other));
    check((vec(act, 1..12), any::<bool>()), |(acts, commits)| {
        let (w, other) = &mut *w.borrow_mut();
        w.clear();
        // Only rows of this case: the agents of the world come before.
        let all = all.replace('@', &w.t.db.one::<Uuid>("SELECT caliber_new_id()").to_string());
        let (mut seen, mut saved) = (BTreeMap::<Uuid, Value>::new(), Vec::new());
        let mut ever: Vec<Uuid> = Vec::new();
        w.t.db.run("BEGIN");
        for act in acts {
            let nth = |seen: &BTreeMap<Uuid, Value>, i: usize| {
                (!seen.is_empty()).then(|| *seen.keys().nth(i % seen.len()).unwrap())
            };
            match act {
                Act::Create(samples) => {
                    // Seen by the same statement, as an argument of the next call.
                    let create = World::create_sql(&entity, &samples, None);
                    let create = create.strip_prefix("SELECT ").unwrap();
                    let row = w.t.db.json(&format!("{get}({create})"));
                    let id = row[format!("{}_id", entity.name)].as_str().unwrap().parse().unwrap();
                    seen.insert(id, row);
                    ever.push(id);
                }
                Act::Update(i, samples, function) => {
                    if let Some(id) = nth(&seen, i) {
                        seen.insert(id, w.update(&entity, id, &samples, function));
                    }
                }
                Act::Delete(i) => {
                    if let Some(id) = nth(&seen, i) {
                        w.t.db.run(&format!(
                            "DELETE FROM caliber_{0} WHERE {0}_id = '{id}'",
                            entity.name
                        ));
                        seen.remove(&id);
                    }
                }
                Act::Savepoint => {
                    w.t.db.run("SAVEPOINT s");
                    saved.push(seen.clone());
                }
                Act::RollbackTo => {
                    if let Some(before) = saved.last() {
                        w.t.db.run("ROLLBACK TO s");
                        seen = before.clone();
                    }
                }
                Act::Release => {
                    if saved.pop().is_some() {
                        w.t.db.run("RELEASE s");
                    }
                }
            }
            assert_eq!(w.t.db.all::<Value>(&all), seen.values().cloned().collect::<Vec<_>>());
            for id in &ever {
                assert_eq!(&w.get(&entity, *id), seen.get(id).unwrap_or(&Value::Null));
            }
        }
        for row in seen.values() {
            assert!(w.is_listed(&entity, row));
        }
        assert!(other.all::<Value>(&all).is_empty(), "nobody else sees it before the commit");
        w.t.db.run(if commits { "COMMIT" } else { "ROLLBACK" });
        if !commits {
            seen.clear();
        }
        for db in [&mut w.t.db, &mut **other] {
            assert_eq!(db.all::<Value>(&all), seen.values().cloned().collect::<Vec<_>>());
            for id in &ever {
                assert_eq!(
                    &db.json(&format!("{get}('{id}')")),
                    seen.get(id).unwrap_or(&Value::Null)
                );
            }
        }
    });
}

// 6. Timestamps

fn p6_times_are_those_of_the_transaction(describe: Describe) {
    let mut w = World::new("q6");
    let entity = describe(&w);
    let w = RefCell::new(&mut w);
    let changes = || some(&entity.update);
    let values = (vec(entity.create.clone(), 1..4), changes(), changes(), any::<bool>());
    check(values, |(rows, first, second, function)| {
        let w = &mut *w.borrow_mut();
        let now = w.begin();
        let ids: Vec<Uuid> = rows.iter().map(|samples| w.create(&entity, samples)).collect();
        // Again in the same transaction.
        w.update(&entity, ids[0], &first, function);
        for id in &ids {
            let row = w.get(&entity, *id);
            assert_eq!((&row["created_at"], &row["updated_at"]), (&now, &now));
        }
        w.t.db.run("COMMIT");
        let later = w.begin();
        let before = w.get(&entity, ids[0]);
        let row = w.update(&entity, ids[0], &second, function);
        let changed = row["version"] != before["version"];
        assert_eq!(row["created_at"], now);
        assert_eq!(row["updated_at"], if changed { later } else { now });
        w.t.db.run("COMMIT");
    });
}

// 7. Errors

/// The documented SQLSTATEs, and those of input functions and of pgvector.
const DOCUMENTED: &[&str] = &[
    "22023", "P0002", "55000", "55006", "23502", "23503", "23505", "23514", "22P02", "22007",
    "22008", "22000", "22003",
];

/// The functions of the entities, with the types of their arguments, and the labels of the enums.
struct Catalog {
    functions: Vec<(String, Vec<String>)>,
    labels: BTreeMap<String, Vec<String>>,
}

impl Catalog {
    /// Functions that wait for locks wait for as long as they are told, so not these.
    fn read(db: &mut Db) -> Self {
        let functions = db
            .query(
                "SELECT proname::text, ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) t)
                 FROM pg_proc WHERE proname ~ '^caliber_(artifact|note|agent|conflict|lock|message|delegation|handoff)_'
                     AND NOT coalesce('wait' = ANY (proargnames), false) ORDER BY oid",
                &[],
            )
            .unwrap();
        let labels = db
            .query(
                "SELECT format_type(enumtypid, NULL), array_agg(enumlabel::text ORDER BY enumsortorder)
                 FROM pg_enum GROUP BY enumtypid",
                &[],
            )
            .unwrap();
        Self {
            functions: functions.iter().map(|row| (row.get(0), row.get(1))).collect(),
            labels: labels.iter().map(|row| (row.get(0), row.get(1))).collect(),
        }
    }

    /// Literals for an argument of this type: usual, unusual and invalid ones.
    fn argument(&self, ty: &str, ids: &[Uuid]) -> BoxedStrategy<String> {
        let any_id = || {
            prop_oneof![
                9 => select(ids.to_vec()).prop_map(id),
                1 => self::ids(),
            ]
        };
        let value: BoxedStrategy<Literal> = match ty {
            "uuid" => prop_oneof![
                9 => any_id(),
                1 => Just(("caliber_new_id()".to_owned(), Value::Null)),
            ]
            .boxed(),
            "uuid[]" => arrays("uuid", any_id()).boxed(),
            "text[]" => arrays("text", or(texts())).boxed(),
            "jsonb[]" => arrays("jsonb", or(jsons())).boxed(),
            "text" => prop_oneof![
                3 => words(),
                1 => labels(&["fact", "artifact", "note", "boss", "*"])
            ]
            .boxed(),
            "jsonb" => prop_oneof![
                1 => jsons(),
                3 => near_changes().prop_map(|value| (lit(&value.to_string()), value)),
            ]
            .boxed(),
            "integer" | "bigint" => prop_oneof![
                3 => whole(-3..20),
                1 => labels(&["-2147483648", "2147483647"]),
            ]
            .boxed(),
            "real" => labels(&["0", "0.5", "1", "-0.1", "1.1", "NaN", "Infinity"]).boxed(),
            "boolean" => labels(&["true", "false"]).boxed(),
            "interval" => {
                labels(&["1 hour", "0", "-1 day", "100000 years", "1 month -30 days"]).boxed()
            }
            "timestamp with time zone" => labels(&["now", "2000-01-01", "infinity"]).boxed(),
            "vector" => prop_oneof![
                6 => vectors(),
                1 => labels(&[ZERO, "[1,2,3]", "[1e38,1e38,1e38,1e38,1e38,1e38,1e38,1e38]"]),
            ]
            .boxed(),
            _ => {
                select(self.labels[ty].clone()).prop_map(|label| (lit(&label), Value::Null)).boxed()
            }
        };
        let ty = ty.to_owned();
        or(value).prop_map(move |(literal, _)| format!("({literal})::{ty}")).boxed()
    }

    /// A call of any function with any arguments, some of them left out.
    fn call(&self, ids: &[Uuid]) -> impl Strategy<Value = String> + use<> {
        let calls: Vec<_> = self
            .functions
            .iter()
            .map(|(function, types)| {
                let function = function.clone();
                let arguments: Vec<_> = types.iter().map(|ty| self.argument(ty, ids)).collect();
                arguments.prop_map(move |arguments| format!("{function}({})", arguments.join(", ")))
            })
            .collect();
        select((0..calls.len()).collect::<Vec<_>>()).prop_flat_map(move |i| calls[i].clone())
    }
}

/// Objects that look like changes.
fn near_changes() -> impl Strategy<Value = Value> {
    let columns = [
        "name",
        "title",
        "content",
        "confidence",
        "expires_at",
        "metadata",
        "abstraction_level",
        "source_note_ids",
        "agent_type",
        "capabilities",
        "memory_access",
        "reports_to",
        "version",
        "current_scope_id",
    ];
    let value = prop_oneof![
        json(),
        Just(json!("summary")),
        Just(json!("2000-01-01")),
        Just(json!(["x", null])),
        Just(json!([UNKNOWN])),
        Just(json!(UNKNOWN)),
        (-1..3i32).prop_map(Value::from),
        Just(json!(1e300)),
    ];
    vec((select(columns.map(str::to_owned).to_vec()), value), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

const ALL: [Describe; 8] = [artifact, note, agent, conflict, lock, message, delegation, handoff];

/// One row of each of the entities.
fn populate(w: &mut World) -> Vec<Uuid> {
    let mut ids = w.agents.clone();
    ids.extend([w.t.trajectory, w.t.scope]);
    let (scope, trajectory, boss) = (w.t.scope, w.t.trajectory, w.agents[0]);
    for call in [
        format!(
            "caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'n', 'c', '[1,0,0,0,0,0,0,0]')"
        ),
        format!("caliber_artifact_create('{trajectory}', '{scope}', 'fact', 'n', 'c')"),
        "caliber_note_create('fact', 't', 'c', embedding => '[1,0,0,0,0,0,0,0]')".to_owned(),
        "caliber_note_create('fact', 't', 'c')".to_owned(),
        format!("(caliber_lock_acquire('{boss}', 'file', '{scope}', '1 hour')).lock_id"),
        format!("caliber_message_send('{boss}', 'heartbeat', '{{}}', '{boss}')"),
        format!("caliber_delegation_create('{boss}', 'task', '{trajectory}', '{}')", w.agents[1]),
        format!(
            "caliber_handoff_create('{boss}', '{trajectory}', '{scope}', 'timeout', '{}')",
            w.agents[1]
        ),
    ] {
        ids.push(w.t.db.one(&format!("SELECT {call}")));
    }
    for kind in ["note", "artifact"] {
        ids.push(w.t.db.one(&format!(
            "SELECT caliber_conflict_create('goal_conflict', '{kind}', a, '{kind}', b)
             FROM (SELECT min({kind}_id::text)::uuid a, max({kind}_id::text)::uuid b FROM caliber_{kind}) x"
        )));
    }
    ids
}

#[test]
fn p7_any_call_succeeds_or_fails_as_documented_and_then_changes_nothing() {
    let mut w = World::new("q7");
    let ids = populate(&mut w);
    let catalog = Catalog::read(&mut w.t.db);
    assert!(catalog.functions.len() > 45, "{:?}", catalog.functions);
    let tables: Vec<String> = ALL.map(|describe| format!("caliber_{}", describe(&w).name)).to_vec();
    let tables: Vec<&str> =
        tables.iter().map(|table| &**table).chain(["caliber_trajectory"]).collect();
    let before: Vec<_> = tables.iter().map(|table| w.t.db.rows_of(table)).collect();
    let w = RefCell::new(&mut w);
    check(vec(catalog.call(&ids), 6), |calls| {
        let w = &mut *w.borrow_mut();
        for call in calls {
            let sql = format!("SELECT {call}");
            w.t.db.run("ROLLBACK; BEGIN; SAVEPOINT call");
            if let Err(error) = w.t.db.attempt(&sql) {
                let db = error.as_db_error().unwrap_or_else(|| panic!("{}", show(&error, &sql)));
                assert!(DOCUMENTED.contains(&db.code().code()), "{}", show(&error, &sql));
                w.t.db.run("ROLLBACK TO call");
                for (table, before) in tables.iter().zip(&before) {
                    assert_eq!(&w.t.db.rows_of(table), before, "{table} after {sql}");
                }
            }
            w.t.db.run("ROLLBACK");
        }
    });
}

/// An invalid call of a function of the entities, and its SQLSTATE.
fn invalid_call(entities: Vec<Entity>) -> impl Strategy<Value = (String, &'static str)> {
    /// Arguments that may not be null, and those that refer to a row.
    const COLUMNS: [(&[&str], &[&str]); 4] = [
        (
            &["trajectory_id", "scope_id", "artifact_type", "name", "content"],
            &["trajectory_id", "scope_id"],
        ),
        (&["note_type", "title", "content"], &[]),
        (&["agent_type"], &["reports_to"]),
        (
            &["conflict_type", "item_a_type", "item_a_id", "item_b_type", "item_b_id"],
            &["agent_a_id", "agent_b_id", "trajectory_id"],
        ),
    ];
    let not_v7 = any::<u128>().prop_map(|bits| Uuid::from_u128(bits & !(0xF << 76) | 0x4 << 76));
    let unknown = || {
        any::<u128>().prop_map(|bits| {
            Uuid::from_u128(bits & !(0xF << 76) & !(0x3 << 62) | 0x7 << 76 | 0x2 << 62)
        })
    };
    let create = |e: usize, argument: &str, literal: &str, samples: Vec<Sample>, entity: &str| {
        // A named argument may be given once.
        let samples: Vec<Sample> =
            samples.into_iter().filter(|sample| sample.given[0].0 != argument).collect();
        let mut arguments: Vec<String> =
            given(&samples).map(|(n, v)| format!("{n} => {v}")).collect();
        arguments.push(format!("{argument} => {literal}"));
        let function = if e == 2 { "register" } else { "create" };
        format!("{entity}_{function}({})", arguments.join(", "))
    };
    let mut calls: Vec<BoxedStrategy<(String, &'static str)>> = Vec::new();
    for (e, entity) in entities.iter().enumerate() {
        let (name, samples) = (entity.name, entity.create.clone());
        let key = format!("{name}_id");
        calls.push(
            (samples.clone(), not_v7.clone())
                .prop_map(move |(samples, id)| {
                    (create(e, &key, &format!("'{id}'"), samples, name), "22023")
                })
                .boxed(),
        );
        for (columns, literal, sqlstate) in
            [(COLUMNS[e].0, "NULL", "23502"), (COLUMNS[e].1, "caliber_new_id()", "23503")]
        {
            if columns.is_empty() {
                continue;
            }
            calls.push(
                (samples.clone(), select(columns))
                    .prop_map(move |(samples, column)| {
                        (create(e, column, literal, samples, name), sqlstate)
                    })
                    .boxed(),
            );
        }
        if !entity.has_update {
            continue;
        }
        let key = "[a-z_]{1,12}".prop_filter("not a column", |key| {
            !["name", "title", "content", "confidence", "metadata"].contains(&&**key)
        });
        let not_object = json().prop_filter("not an object", |value| !value.is_object());
        calls.extend([
            unknown()
                .prop_map(move |id| (format!("{name}_update('{id}', '{{}}')"), "P0002"))
                .boxed(),
            (key, json())
                .prop_map(move |(key, value)| {
                    let changes = lit(&json!({key: value}).to_string());
                    (format!("{name}_update('@{name}@', {changes})"), "22023")
                })
                .boxed(),
            not_object
                .prop_map(move |value| {
                    (format!("{name}_update('@{name}@', {})", lit(&value.to_string())), "22023")
                })
                .boxed(),
            any::<i64>()
                .prop_filter("not the version", |version| *version != 1)
                .prop_map(move |version| {
                    let call =
                        format!("{name}_update('@{name}@', '{{}}', expected_version => {version})");
                    (call, "55006")
                })
                .boxed(),
        ]);
    }
    let too_few = || i32::MIN..1;
    let lists = [
        "artifact_query_by_type('@trajectory@', 'fact', max_rows => ",
        "artifact_query_by_scope('@scope@', max_rows => ",
        "artifact_search('[1,1,1,1,1,1,1,1]', ",
        "note_list_by_type('fact', max_rows => ",
        "note_query_by_trajectory('@trajectory@', max_rows => ",
        "note_search('[1,1,1,1,1,1,1,1]', ",
        "agent_list_by_type('boss', ",
        "agent_list_active('1 hour', ",
        "conflict_list_pending(",
    ];
    calls.push(
        (select(lists.to_vec()), too_few())
            .prop_map(|(list, n)| (format!("{list}{n})"), "22023"))
            .boxed(),
    );
    let functions = [
        "note_touch(",
        "agent_heartbeat(",
        "agent_set_status(@, 'idle'",
        "conflict_resolve(@, 'escalate'",
        "note_supersede(@, '@note@'",
        "artifact_supersede('@artifact@', @",
    ];
    calls.push(
        (select(functions.to_vec()), unknown())
            .prop_map(|(call, id)| {
                let id = format!("'{id}'");
                let call = match call.ends_with('(') {
                    true => format!("{call}{id})"),
                    // The one @ that stands alone.
                    false => format!("{call})")
                        .replace("(@,", &format!("({id},"))
                        .replace(", @)", &format!(", {id})")),
                };
                (call, "P0002")
            })
            .boxed(),
    );
    let dimensions = (1..20usize).prop_filter("not 8", |n| *n != 8);
    calls.push(
        (dimensions, select(&["artifact_search(", "note_search(", "note_create('t', 't', 'c', embedding => "][..]))
            .prop_map(|(n, call)| (format!("{call}'{}')", json!(vec![1; n])), "22000"))
            .boxed(),
    );
    calls.push(
        (i32::MIN..1, select(&["artifact", "note"][..]))
            .prop_map(|(seconds, entity)| {
                let first = if entity == "artifact" { "'@trajectory@', '@scope@', " } else { "" };
                let ttl = format!("make_interval(secs => {seconds})");
                (format!("{entity}_create({first}'t', 't', 'c', ttl => {ttl})"), "22023")
            })
            .boxed(),
    );
    proptest::strategy::Union::new(calls)
}

#[test]
fn p7_every_invalid_call_gets_its_sqlstate() {
    let mut w = World::new("q7");
    let ids = populate(&mut w);
    let entities: Vec<Entity> =
        [artifact, note, agent, conflict].map(|describe| describe(&w)).into();
    // In the order in which `populate` makes them, after three agents, trajectory and scope.
    let names =
        [("@agent@", 0), ("@trajectory@", 3), ("@scope@", 4), ("@artifact@", 5), ("@note@", 7)];
    let w = RefCell::new(&mut w);
    check(invalid_call(entities), |(call, sqlstate)| {
        let w = &mut *w.borrow_mut();
        let mut sql = format!("SELECT caliber_{call}");
        for (name, i) in names {
            sql = sql.replace(name, &ids[i].to_string());
        }
        w.t.db.refused_unchanged(&sql, sqlstate, &TABLES);
    });
}

// 8. Not found

fn p8_what_does_not_exist_is_null(describe: Describe) {
    let mut w = World::new("q8");
    let entity = describe(&w);
    populate(&mut w);
    let w = RefCell::new(&mut w);
    check((any::<u128>(), entity.create.clone()), |(bits, samples)| {
        let w = &mut *w.borrow_mut();
        w.begin();
        let id = Uuid::from_u128(bits);
        assert_eq!(w.get(&entity, id), Value::Null);
        // A row that was there a moment ago, in lists that others are in.
        w.t.db.run("SAVEPOINT s");
        let id = w.create(&entity, &samples);
        let row = w.get(&entity, id);
        w.t.db.run("ROLLBACK TO s");
        assert!(!w.is_listed(&entity, &row));
        w.t.db.run("ROLLBACK");
    });
}
