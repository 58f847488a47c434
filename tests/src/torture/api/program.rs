//! Random calls and statements. A step that begins with `@` is a call of a function, which the
//! twin has under another name; any other one is SQL for both sides as it stands. `#1` stands for
//! the call's first argument.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::Union;

use crate::fixture::UNKNOWN;

/// A step of a program.
pub type Step = String;

type Text = BoxedStrategy<String>;

/// The calls that make what each program finds: one or two of each entity.
pub const FOUND: &[&str] = &[
    "agent_register('boss', NULL, NULL, '{*}', NULL, NULL, '01920000-0000-7000-8000-000000000a01')",
    "agent_register('worker', NULL, NULL, '{worker}', NULL, NULL, '01920000-0000-7000-8000-000000000a02')",
    "agent_register('worker', NULL, NULL, NULL, NULL, NULL, '01920000-0000-7000-8000-000000000a03')",
    "trajectory_create('root', NULL, NULL, NULL, NULL, '01920000-0000-7000-8000-000000000101')",
    "trajectory_create('child', NULL, NULL, '01920000-0000-7000-8000-000000000101', NULL, '01920000-0000-7000-8000-000000000102')",
    "scope_create('01920000-0000-7000-8000-000000000101', 's', 50, NULL, NULL, NULL, NULL, '01920000-0000-7000-8000-000000000201')",
    "scope_create('01920000-0000-7000-8000-000000000102', 's', 50, NULL, NULL, NULL, NULL, '01920000-0000-7000-8000-000000000202')",
    "artifact_create('01920000-0000-7000-8000-000000000101', '01920000-0000-7000-8000-000000000201', 'fact', 'n', 'c', NULL, NULL, NULL, 0.5, NULL, NULL, '01920000-0000-7000-8000-000000000401')",
    "artifact_create('01920000-0000-7000-8000-000000000102', '01920000-0000-7000-8000-000000000202', 'fact', 'n', 'c', NULL, NULL, NULL, 0.7, NULL, NULL, '01920000-0000-7000-8000-000000000402')",
    "note_create('fact', 't', 'c', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '01920000-0000-7000-8000-000000000501')",
    "note_create('fact', 't', 'c', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '01920000-0000-7000-8000-000000000502')",
    "message_send('01920000-0000-7000-8000-000000000a01', 'm', '1', NULL, 'worker', NULL, '01920000-0000-7000-8000-000000000102', NULL, NULL, NULL, NULL, 2, '01920000-0000-7000-8000-000000000601')",
    "delegation_create('01920000-0000-7000-8000-000000000a01', 't', '01920000-0000-7000-8000-000000000101', NULL, 'worker', NULL, NULL, NULL, NULL, NULL, NULL, '01920000-0000-7000-8000-000000000801')",
    "handoff_create('01920000-0000-7000-8000-000000000a01', '01920000-0000-7000-8000-000000000102', '01920000-0000-7000-8000-000000000202', 'timeout', NULL, 'worker', NULL, NULL, NULL, NULL, NULL, NULL, '01920000-0000-7000-8000-000000000901')",
    "conflict_create('goal_conflict', 'artifact', '01920000-0000-7000-8000-000000000401', 'artifact', '01920000-0000-7000-8000-000000000402', NULL, NULL, '01920000-0000-7000-8000-000000000101', NULL, '01920000-0000-7000-8000-000000000c01')",
];

/// An id that is no UUIDv7.
const V4: &str = "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'";

/// Entities by the digit of their ids.
const AGENT: char = 'a';
const TRAJECTORY: char = '1';
const SCOPE: char = '2';
const TURN: char = '3';
const ARTIFACT: char = '4';
const NOTE: char = '5';
const MESSAGE: char = '6';
const BROADCAST: char = '7';
const DELEGATION: char = '8';
const HANDOFF: char = '9';
const CONFLICT: char = 'c';

/// Steps in their order: mostly about a few entities, so that they meet the same rows.
pub fn program() -> impl Strategy<Value = Vec<Step>> {
    let about: [fn() -> Text; 11] = [
        trajectory, scope, turn, artifact, note, agent, lease, message, delegation, handoff,
        conflict,
    ];
    let few = subsequence(about.to_vec(), 1..=3).prop_flat_map(|about| {
        let about = Union::new(about.into_iter().map(|steps| steps()));
        let step = prop_oneof![12 => about, 3 => other(), 2 => anything()];
        vec(step, 1..40)
    });
    prop_oneof![4 => few, 1 => vec(anything(), 1..40)]
}

fn other() -> Text {
    prop_oneof![4 => transaction(), 5 => update(), 1 => delete()].boxed()
}

fn anything() -> Text {
    prop_oneof![
        10 => other(),
        9 => trajectory(),
        10 => scope(),
        9 => turn(),
        9 => artifact(),
        8 => note(),
        6 => agent(),
        8 => lease(),
        12 => message(),
        11 => delegation(),
        9 => handoff(),
        9 => conflict(),
    ]
    .boxed()
}

fn known(entity: char) -> Text {
    let count = match entity {
        AGENT => 4,
        MESSAGE | DELEGATION | HANDOFF | CONFLICT => 2,
        _ => 3,
    };
    (1..=count)
        .prop_map(move |n| format!("'01920000-0000-7000-8000-000000000{entity}0{n}'"))
        .boxed()
}

/// The id of a row, which may be there.
fn id(entity: char) -> Text {
    prop_oneof![
        90 => known(entity),
        1 => Just(format!("'{UNKNOWN}'")),
        1 => null(),
    ]
    .boxed()
}

/// The id for a new row.
fn new_id(entity: char) -> Text {
    prop_oneof![60 => known(entity), 1 => Just(V4.to_owned()), 2 => null()].boxed()
}

fn null() -> Text {
    Just("NULL".to_owned()).boxed()
}

fn one_of(values: &'static [&'static str]) -> Text {
    select(values).prop_map(str::to_owned).boxed()
}

/// One of these, or null more often.
fn maybe(value: Text) -> Text {
    prop_oneof![4 => null(), 1 => value].boxed()
}

/// One of these, or null now and then.
fn mostly(value: Text) -> Text {
    prop_oneof![1 => null(), 60 => value].boxed()
}

fn text() -> Text {
    mostly(one_of(&["'x'", "'some more text'", "'ü'", "'x'", "'y'", "''"]))
}

fn json() -> Text {
    maybe(one_of(&["'{}'", "'{\"k\": [1, null]}'", "'\"s\"'", "'1.50'"]))
}

fn version() -> Text {
    prop_oneof![8 => null(), 1 => one_of(&["1", "2", "3", "0"])].boxed()
}

fn embedding() -> Text {
    maybe(one_of(&["'[1,0,0,0,0,0,0,0]'", "'[1,2,3,4,5,6,7,8]'", "'[0,0,0,0,0,0,0,1]'", "'[1,2]'"]))
}

fn ttl() -> Text {
    maybe(one_of(&["'1 hour'", "'1 month'", "'1 microsecond'", "'1 hour'", "'0'", "'-1 second'"]))
}

fn agent_types() -> Text {
    one_of(&["'worker'", "'boss'", "'worker'", "'*'", "'nobody'", "''"])
}

/// A fence for a call about the trajectory or the scope that is its first argument.
fn fence(kind: &str) -> Text {
    let remembered = if kind == "scope" {
        "(SELECT nullif(greatest(s.fence, t.fence), 0) FROM caliber_scope s
          JOIN caliber_trajectory t USING (trajectory_id) WHERE scope_id = #1)"
    } else {
        "(SELECT nullif(fence, 0) FROM caliber_trajectory WHERE trajectory_id = #1)"
    };
    let latest = format!(
        "(SELECT max(fence) FROM caliber_lock WHERE resource_type = '{kind}' AND resource_id = #1)"
    );
    prop_oneof![
        14 => Just(remembered.to_owned()),
        6 => Just(latest),
        2 => null(),
        1 => Just("(SELECT max(fence) FROM caliber_lock)".to_owned()),
        1 => Just("(SELECT min(fence) FROM caliber_lock)".to_owned()),
        1 => one_of(&["0", "-1", "1000000"]),
    ]
    .boxed()
}

fn call(function: &'static str, arguments: Vec<Text>) -> Text {
    arguments
        .prop_map(move |arguments| {
            let first = arguments.first().cloned().unwrap_or_default();
            format!("@{function}({})", arguments.join(", ").replace("#1", &first))
        })
        .boxed()
}

/// An object of some of these members.
fn changes(members: &'static [&'static str]) -> Text {
    prop_oneof![
        1 => one_of(&["NULL", "'[]'", "'{}'", "'null'", "'{\"version\": 7}'", "'{\"nmae\": 1}'"]),
        14 => vec(select(members), 1..3).prop_map(|members| format!("'{{{}}}'", members.join(", "))),
    ]
    .boxed()
}

fn transaction() -> Text {
    one_of(&[
        "BEGIN",
        "BEGIN",
        "COMMIT",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT x",
        "SAVEPOINT x",
        "ROLLBACK TO x",
        "RELEASE x",
    ])
}

fn trajectory() -> Text {
    let status =
        || mostly(one_of(&["'active'", "'suspended'", "'active'", "'completed'", "'failed'"]));
    prop_oneof![
        4 => call("trajectory_create", vec![text(), maybe(text()), maybe(id(AGENT)),
            maybe(id(TRAJECTORY)), json(), new_id(TRAJECTORY)]),
        4 => call("trajectory_update", vec![id(TRAJECTORY), changes(&[
            "\"name\": \"n\"", "\"name\": \"\"", "\"name\": null", "\"name\": 5",
            "\"description\": \"d\"", "\"description\": null", "\"outcome\": {\"a\": 1}",
            "\"outcome\": null", "\"metadata\": {\"m\": 1}", "\"metadata\": null",
            "\"agent_id\": \"01920000-0000-7000-8000-000000000a02\"", "\"agent_id\": null",
            "\"agent_id\": \"01920000-0000-7000-8000-00000000dead\"", "\"agent_id\": \"x\"",
            "\"status\": \"failed\"",
        ]), version(), fence("trajectory")]),
        3 => call("trajectory_set_status", vec![id(TRAJECTORY), status(), json(), version(),
            fence("trajectory")]),
        1 => call("trajectory_delete", vec![id(TRAJECTORY), fence("trajectory")]),
    ]
    .boxed()
}

fn scope() -> Text {
    let budget = || mostly(one_of(&["5", "20", "100", "100", "0", "-1"]));
    prop_oneof![
        4 => call("scope_create", vec![id(TRAJECTORY), text(), budget(), maybe(text()),
            maybe(id(SCOPE)), json(), fence("trajectory"), new_id(SCOPE)]),
        4 => call("scope_update", vec![id(SCOPE), changes(&[
            "\"name\": \"n\"", "\"name\": null", "\"purpose\": \"p\"", "\"purpose\": null",
            "\"token_budget\": 50", "\"token_budget\": 1", "\"token_budget\": 0",
            "\"token_budget\": \"5\"", "\"token_budget\": null", "\"checkpoint\": [1]",
            "\"checkpoint\": null", "\"metadata\": {\"m\": 1}", "\"metadata\": null",
            "\"tokens_used\": 1",
        ]), version(), fence("scope")]),
        3 => call("scope_update_tokens", vec![id(SCOPE),
            mostly(one_of(&["0", "3", "7", "20", "21", "-1"])), fence("scope")]),
        2 => call("scope_close", vec![id(SCOPE), version(), fence("scope")]),
    ]
    .boxed()
}

fn turn() -> Text {
    let role = || mostly(one_of(&["'system'", "'user'", "'assistant'", "'tool'"]));
    let tokens = || maybe(one_of(&["0", "1", "3", "30", "-1", "2147483647"]));
    let sequence = || {
        prop_oneof![
            6 => null(),
            2 => Just("(SELECT turn_count FROM caliber_scope WHERE scope_id = #1)".to_owned()),
            1 => one_of(&["0", "1", "2", "-1", "9"]),
        ]
        .boxed()
    };
    let messages = one_of(&[
        "NULL",
        "'[]'",
        "'{}'",
        "'[1]'",
        "'[{\"role\": \"user\", \"content\": \"x\"}]'",
        "'[{\"role\": \"developer\", \"content\": \"be brief\"}, {\"role\": \"user\", \"content\": null}]'",
        "'[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"one\"},
            {\"type\": \"image_url\"}, {\"type\": \"text\", \"text\": \"two\"}]}]'",
        "'[{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"c1\"}]},
            {\"role\": \"tool\", \"tool_call_id\": \"c1\", \"name\": \"f\", \"content\": \"42\"}]'",
        "'[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"nobody\"}]'",
        "'[{\"role\": \"user\", \"content\": 5}]'",
        "'[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]'",
    ]);
    prop_oneof![
        4 => call("turn_create", vec![id(SCOPE), role(), text(), tokens(), json(), json(), json(),
            sequence(), fence("scope"), new_id(TURN)]),
        3 => call("turn_append_many", vec![id(SCOPE), messages, fence("scope")]),
    ]
    .boxed()
}

fn artifact() -> Text {
    let method = || maybe(one_of(&["'explicit'", "'inferred'", "'user_provided'"]));
    let confidence = || maybe(one_of(&["0", "0.5", "0.9", "1", "1.5", "-0.1"]));
    prop_oneof![
        6 => call("artifact_create", vec![known(TRAJECTORY), scope_of_first(), text(), text(),
            text(), embedding(), maybe(one_of(&["0", "1"])), method(), confidence(), ttl(), json(),
            new_id(ARTIFACT)]),
        3 => call("artifact_update", vec![id(ARTIFACT), changes(&[
            "\"name\": \"n\"", "\"name\": null", "\"content\": \"new\"", "\"content\": \"\"",
            "\"confidence\": 0.25", "\"confidence\": 2", "\"confidence\": null",
            "\"confidence\": \"0.5\"", "\"metadata\": {\"m\": 1}", "\"metadata\": null",
            "\"expires_at\": \"2100-01-01T00:00:00+00:00\"", "\"expires_at\": null",
            "\"expires_at\": \"2020-01-01T00:00:00+00:00\"", "\"expires_at\": 7",
            "\"scope_id\": null",
        ]), embedding(), version()]),
        3 => call("artifact_supersede", vec![id(ARTIFACT), id(ARTIFACT)]),
    ]
    .boxed()
}

/// Mostly a scope of the trajectory that is the first argument.
fn scope_of_first() -> Text {
    prop_oneof![
        12 => Just("(SELECT min(scope_id::text)::uuid FROM caliber_scope
                     WHERE trajectory_id = #1 AND scope_id::text LIKE '01920000%')".to_owned()),
        1 => id(SCOPE),
    ]
    .boxed()
}

fn note() -> Text {
    let level = || maybe(one_of(&["'raw'", "'summary'", "'principle'"]));
    let ids = || maybe(one_of(&["'{}'", "'{01920000-0000-7000-8000-000000000101}'", "'{NULL}'"]));
    prop_oneof![
        5 => call("note_create", vec![text(), text(), text(), ids(), ids(), ids(), level(),
            embedding(), ttl(), json(), new_id(NOTE)]),
        3 => call("note_update", vec![id(NOTE), changes(&[
            "\"title\": \"t\"", "\"title\": null", "\"content\": \"new\"", "\"content\": 1",
            "\"abstraction_level\": \"summary\"", "\"abstraction_level\": \"principle\"",
            "\"abstraction_level\": null", "\"source_trajectory_ids\": []",
            "\"source_note_ids\": [\"01920000-0000-7000-8000-000000000501\"]",
            "\"source_note_ids\": [1]", "\"source_artifact_ids\": null",
            "\"metadata\": {\"m\": 1}", "\"metadata\": null", "\"access_count\": 3",
            "\"expires_at\": \"2100-01-01T00:00:00+00:00\"", "\"expires_at\": null",
        ]), embedding(), version()]),
        2 => call("note_touch", vec![id(NOTE)]),
        3 => call("note_supersede", vec![id(NOTE), id(NOTE)]),
    ]
    .boxed()
}

fn agent() -> Text {
    let types = || maybe(one_of(&["'{}'", "'{worker}'", "'{*}'", "'{boss,nobody}'"]));
    let status = || mostly(one_of(&["'idle'", "'active'", "'blocked'", "'failed'", "'offline'"]));
    prop_oneof![
        2 => call("agent_register", vec![mostly(agent_types()), types(), json(), types(),
            maybe(id(AGENT)), json(), new_id(AGENT)]),
        1 => call("agent_heartbeat", vec![id(AGENT)]),
        2 => call("agent_set_status", vec![id(AGENT), status(), version()]),
        4 => call("agent_update", vec![id(AGENT), changes(&[
            "\"agent_type\": \"worker\"", "\"agent_type\": \"nobody\"", "\"agent_type\": null",
            "\"capabilities\": [\"a\"]", "\"capabilities\": \"a\"", "\"capabilities\": null",
            "\"memory_access\": {}", "\"memory_access\": null", "\"can_delegate_to\": [\"*\"]",
            "\"can_delegate_to\": []", "\"can_delegate_to\": [null]", "\"can_delegate_to\": [7]",
            "\"reports_to\": \"01920000-0000-7000-8000-000000000a01\"", "\"reports_to\": null",
            "\"current_trajectory_id\": \"01920000-0000-7000-8000-000000000102\"",
            "\"current_trajectory_id\": \"01920000-0000-7000-8000-000000000103\"",
            "\"current_scope_id\": \"01920000-0000-7000-8000-000000000202\"",
            "\"current_scope_id\": \"01920000-0000-7000-8000-00000000dead\"",
            "\"metadata\": {\"m\": 1}", "\"metadata\": null", "\"status\": \"idle\"",
        ]), version()]),
    ]
    .boxed()
}

fn lease() -> Text {
    let resource = prop_oneof![
        3 => known(TRAJECTORY).prop_map(|id| ("'trajectory'".to_owned(), id)),
        3 => known(SCOPE).prop_map(|id| ("'scope'".to_owned(), id)),
        1 => Just(("''".to_owned(), V4.to_owned())),
    ]
    .boxed();
    let acquire = (
        id(AGENT),
        resource.clone(),
        mostly(one_of(&["'1 hour'", "'1 day'", "'1 microsecond'", "'0'", "'1 hour'"])),
        mostly(one_of(&["'exclusive'", "'exclusive'", "'shared'"])),
        one_of(&["'0'", "'0'", "'0'", "'0'", "'-1 second'", "NULL"]),
    );
    let acquire = acquire.prop_map(|(agent, (kind, id), ttl, mode, wait)| {
        format!("@lock_acquire({agent}, {kind}, {id}, {ttl}, {mode}, {wait})")
    });
    let held = (resource, one_of(&["", "", "", " - 1", " + 1"]));
    let held = held.prop_map(|((kind, id), more)| {
        let the = |column: &str| {
            format!(
                "(SELECT {column} FROM caliber_lock
                  WHERE resource_type = {kind} AND resource_id = {id} ORDER BY fence LIMIT 1)"
            )
        };
        (format!("{}::uuid", the("lock_id")), format!("{}{more}", the("fence")))
    });
    let unknown = Just((format!("'{UNKNOWN}'"), "5".to_owned()));
    let held = prop_oneof![12 => held, 1 => unknown].boxed();
    let extend = (held.clone(), mostly(one_of(&["'1 hour'", "'1 day'", "'1 microsecond'", "'0'"])));
    prop_oneof![
        6 => acquire,
        2 => extend.prop_map(|((lock, fence), ttl)| format!("@lock_extend({lock}, {fence}, {ttl})")),
        2 => held.prop_map(|(lock, fence)| format!("@lock_release({lock}, {fence})")),
        1 => Just("@lock_reap()".to_owned()),
    ]
    .boxed()
}

fn message() -> Text {
    let priority = || maybe(one_of(&["'low'", "'normal'", "'high'", "'critical'"]));
    let delay = || maybe(one_of(&["'0'", "'1 hour'", "'-1 second'"]));
    let most = || maybe(one_of(&["1", "2", "1", "0"]));
    let payload = || mostly(one_of(&["'{}'", "'{\"a\": 1}'", "'[]'"]));
    let artifacts = || maybe(one_of(&["'{}'", "'{01920000-0000-7000-8000-000000000401}'"]));
    // With a receiver of its own, which has always the same kind of id.
    let send = |to: Text, to_type: Text, new: Text| {
        call(
            "message_send",
            vec![
                id(AGENT),
                text(),
                payload(),
                to,
                to_type,
                priority(),
                maybe(id(TRAJECTORY)),
                maybe(id(SCOPE)),
                artifacts(),
                ttl(),
                delay(),
                most(),
                new,
            ],
        )
    };
    let the = |column: &str| {
        prop_oneof![
            8 => Just(format!("(SELECT {column} FROM caliber_message WHERE message_id = #1)")),
            1 => if column == "claimed_by" { id(AGENT) } else { one_of(&["0", "1", "2", "NULL"]) },
        ]
        .boxed()
    };
    prop_oneof![
        3 => send(known(AGENT), null(), new_id(MESSAGE)),
        3 => send(null(), agent_types(), new_id(MESSAGE)),
        1 => send(null(), null(), new_id(BROADCAST)),
        1 => send(id(AGENT), agent_types(), new_id(MESSAGE)),
        8 => call("message_receive", vec![id(AGENT), mostly(one_of(&["1", "1", "2", "10", "0"])),
            mostly(one_of(&["'1 hour'", "'1 microsecond'", "'1 microsecond'", "'0'"]))]),
        4 => call("message_acknowledge", vec![id(MESSAGE), the("claimed_by"), the("delivery_count")]),
        3 => call("message_release", vec![id(MESSAGE), the("claimed_by"), the("delivery_count"),
            mostly(one_of(&["'0'", "'0'", "'1 hour'", "'-1 second'"]))]),
        2 => call("message_redrive", vec![id(MESSAGE), mostly(one_of(&["1", "5", "0"]))]),
    ]
    .boxed()
}

/// An agent and a type, mostly one of the two.
fn receiver() -> impl Strategy<Value = [String; 2]> {
    prop_oneof![
        6 => known(AGENT).prop_map(|id| [id, "NULL".to_owned()]),
        6 => agent_types().prop_map(|ty| ["NULL".to_owned(), ty]),
        1 => (maybe(id(AGENT)), maybe(agent_types())).prop_map(|(id, ty)| [id, ty]),
    ]
}

fn delegation() -> Text {
    let ids = || maybe(one_of(&["'{}'", "'{01920000-0000-7000-8000-000000000401}'"]));
    let deadline = || maybe(one_of(&["'2100-01-01 00:00:00+00'"]));
    let create = (
        (id(AGENT), text(), id(TRAJECTORY)),
        receiver(),
        vec![ids(), ids(), maybe(text()), json(), deadline(), json(), new_id(DELEGATION)],
    );
    let create = create.prop_map(|((from, task, parent), [to, ty], rest)| {
        format!("@delegation_create({from}, {task}, {parent}, {to}, {ty}, {})", rest.join(", "))
    });
    let child = || maybe(id(TRAJECTORY));
    let delegatee = || {
        prop_oneof![
            3 => Just("(SELECT delegatee_agent_id FROM caliber_delegation
                        WHERE delegation_id = #1)".to_owned()),
            1 => id(AGENT),
        ]
        .boxed()
    };
    prop_oneof![
        6 => create,
        5 => call("delegation_accept", vec![id(DELEGATION), id(AGENT), child()]),
        3 => call("delegation_start", vec![id(DELEGATION), delegatee()]),
        3 => call("delegation_complete", vec![id(DELEGATION), delegatee(), json()]),
        2 => call("delegation_fail", vec![id(DELEGATION), id(AGENT), text()]),
        1 => call("delegation_reject", vec![id(DELEGATION), id(AGENT), text()]),
    ]
    .boxed()
}

fn handoff() -> Text {
    let words = || maybe(one_of(&["'{}'", "'{a,NULL}'"]));
    let reason = mostly(one_of(&["'escalation'", "'timeout'", "'scheduled'"]));
    let create = (
        (id(AGENT), id(TRAJECTORY), scope_of_first(), reason),
        receiver(),
        vec![
            maybe(text()),
            words(),
            words(),
            words(),
            maybe(Just(V4.to_owned()).boxed()),
            json(),
            new_id(HANDOFF),
        ],
    );
    let create = create.prop_map(|((from, trajectory, scope, reason), [to, ty], rest)| {
        let scope = scope.replace("#1", &trajectory);
        format!(
            "@handoff_create({from}, {trajectory}, {scope}, {reason}, {to}, {ty}, {})",
            rest.join(", ")
        )
    });
    let acceptor = prop_oneof![
        3 => Just("(SELECT to_agent_id FROM caliber_handoff WHERE handoff_id = #1)".to_owned()),
        1 => id(AGENT),
    ]
    .boxed();
    prop_oneof![
        5 => create,
        4 => call("handoff_accept", vec![id(HANDOFF), id(AGENT)]),
        2 => call("handoff_complete", vec![id(HANDOFF), acceptor]),
        1 => call("handoff_reject", vec![id(HANDOFF), id(AGENT), text()]),
    ]
    .boxed()
}

fn conflict() -> Text {
    let item = || {
        prop_oneof![
            8 => known(ARTIFACT).prop_map(|id| ("'artifact'".to_owned(), id)),
            8 => known(NOTE).prop_map(|id| ("'note'".to_owned(), id)),
            2 => known(TRAJECTORY).prop_map(|id| ("'file'".to_owned(), id)),
            1 => Just(("NULL".to_owned(), "NULL".to_owned())),
        ]
    };
    let kind = mostly(one_of(&["'concurrent_write'", "'goal_conflict'"]));
    let two = prop_oneof![
        1 => (item(), item()),
        3 => (known(ARTIFACT), known(ARTIFACT))
            .prop_map(|(a, b)| (("'artifact'".to_owned(), a), ("'artifact'".to_owned(), b))),
        3 => (known(NOTE), known(NOTE))
            .prop_map(|(a, b)| (("'note'".to_owned(), a), ("'note'".to_owned(), b))),
    ];
    let rest =
        vec![maybe(id(AGENT)), maybe(id(AGENT)), maybe(id(TRAJECTORY)), json(), new_id(CONFLICT)];
    let create = (kind, two, rest).prop_map(|(kind, ((a_type, a), (b_type, b)), rest)| {
        format!("@conflict_create({kind}, {a_type}, {a}, {b_type}, {b}, {})", rest.join(", "))
    });
    let strategy = || {
        mostly(one_of(&[
            "'last_write_wins'",
            "'first_write_wins'",
            "'highest_confidence'",
            "'merge'",
            "'reject_both'",
            "'escalate'",
        ]))
    };
    let the = |column: &str| {
        Just(format!("(SELECT {column} FROM caliber_conflict WHERE conflict_id = #1)"))
    };
    let winner = prop_oneof![
        5 => null(),
        2 => the("item_a_id"),
        2 => the("item_b_id"),
        1 => id(ARTIFACT),
        1 => id(NOTE),
    ]
    .boxed();
    prop_oneof![
        4 => create,
        5 => call("conflict_resolve", vec![id(CONFLICT), strategy(), winner, maybe(text()),
            maybe(id(AGENT)), version()]),
    ]
    .boxed()
}

/// A plain UPDATE, which the access method judges on one side and triggers on the other.
fn update() -> Text {
    let of = |entity: char, table: &'static str, sets: &'static [&'static str]| {
        (known(entity), select(sets)).prop_map(move |(id, set)| {
            format!("UPDATE caliber_{table} SET {set} WHERE {table}_id = {id}")
        })
    };
    prop_oneof![
        of(
            TRAJECTORY,
            "trajectory",
            &[
                "status = 'suspended'",
                "status = 'active'",
                "status = 'completed', completed_at = now()",
                "status = 'failed'",
                "status = 'active', completed_at = NULL",
                "name = 'sql'",
                "name = name",
                "name = 'next', version = version + 1",
                "name = 'skip', version = version + 2",
                "version = version - 1",
                "fence = fence - 1",
                "fence = fence",
                "root_trajectory_id = '01920000-0000-7000-8000-000000000103'",
                "created_at = created_at - interval '1 day'",
                "metadata = '{\"by\": \"sql\"}'",
                "name = 'then', updated_at = '2020-01-01 00:00:00+00'",
            ]
        ),
        of(
            SCOPE,
            "scope",
            &[
                "tokens_used = tokens_used + 1",
                "tokens_used = tokens_used - 1",
                "turn_count = 0",
                "turn_count = turn_count + 2",
                "is_active = false, closed_at = now()",
                "is_active = true, closed_at = NULL",
                "is_active = false",
                "purpose = 'sql'",
                "trajectory_id = '01920000-0000-7000-8000-000000000103'",
                "token_budget = 3",
                "fence = fence - 1",
                "metadata = '[]'",
            ]
        ),
        of(TURN, "turn", &["content = 'x'", "metadata = '{}'", "content = content"]),
        of(
            ARTIFACT,
            "artifact",
            &[
                "superseded_by = NULL",
                "superseded_by = artifact_id",
                "artifact_type = 'fact'",
                "content = 'sql'",
                "confidence = 7",
                "scope_id = '01920000-0000-7000-8000-000000000203'",
            ]
        ),
        of(
            NOTE,
            "note",
            &[
                "superseded_by = NULL",
                "note_type = 'fact'",
                "access_count = access_count + 3",
                "access_count = access_count + 1, title = 'sql'",
                "accessed_at = accessed_at",
            ]
        ),
        of(
            AGENT,
            "agent",
            &["status = 'offline'", "last_heartbeat = clock_timestamp()", "agent_type = NULL"]
        ),
        of(
            MESSAGE,
            "message",
            &[
                "status = 'dead'",
                "status = 'acknowledged'",
                "status = 'pending'",
                "payload = '\"other\"'",
                "metadata = '{}'",
                "visible_at = clock_timestamp()",
                "status = 'delivered'",
                "priority = 'critical'",
                "expires_at = clock_timestamp() + interval '1 microsecond'",
            ]
        ),
        of(
            DELEGATION,
            "delegation",
            &[
                "status = 'accepted'",
                "status = 'in_progress'",
                "status = 'completed'",
                "status = 'rejected'",
                "status = 'pending'",
                "result = '1'",
                "metadata = '1'",
                "delegatee_agent_type = 'boss'",
                "task_description = 'other'",
                "delegatee_agent_id = '01920000-0000-7000-8000-000000000a02'",
            ]
        ),
        of(
            HANDOFF,
            "handoff",
            &[
                "status = 'accepted'",
                "status = 'completed'",
                "status = 'rejected'",
                "status = 'initiated'",
                "handoff_notes = 'sql'",
                "metadata = '1'",
                "from_agent_id = '01920000-0000-7000-8000-000000000a03'",
            ]
        ),
        of(
            CONFLICT,
            "conflict",
            &[
                "status = 'resolving'",
                "status = 'resolving'",
                "status = 'detected'",
                "status = 'resolved'",
                "status = 'escalated'",
                "metadata = '1'",
                "item_a_type = 'other'",
                "resolution = '{}'",
            ]
        ),
        Just("UPDATE caliber_lock SET mode = 'shared'".to_owned()),
        Just("UPDATE caliber_lock SET metadata = '{}'".to_owned()),
    ]
    .boxed()
}

fn delete() -> Text {
    let of = |entity: char, table: &'static str| {
        known(entity)
            .prop_map(move |id| format!("DELETE FROM caliber_{table} WHERE {table}_id = {id}"))
    };
    prop_oneof![
        of(AGENT, "agent"),
        of(TRAJECTORY, "trajectory"),
        of(SCOPE, "scope"),
        of(TURN, "turn"),
        of(ARTIFACT, "artifact"),
        of(NOTE, "note"),
        of(MESSAGE, "message"),
        of(DELEGATION, "delegation"),
    ]
    .boxed()
}
