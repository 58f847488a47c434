//! A call of each function that succeeds, each on its own.

use std::collections::BTreeMap;

use crate::calls::{Function, fixtures, functions, valid};
use crate::db::Db;

/// A call that succeeds.
#[derive(Debug)]
pub struct Ready {
    /// The function.
    pub function: Function,
    /// The call. It depends on no `search_path` and on no privilege but those of the function.
    pub sql: String,
}

/// Creates rows in the schema, which is the connection's, and makes a call of each function that
/// succeeds with them as they are; after one has been made the others may not.
///
/// # Panics
/// When a call fails.
#[track_caller]
pub fn ready_calls(db: &mut Db, schema: &str) -> Vec<Ready> {
    let usual = fixtures(db);
    let rows = Rows::new(db, usual);
    let has_amcheck: bool =
        db.one("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'amcheck')");
    let mut calls = Vec::new();
    for function in functions(db) {
        if function.name == "caliber_verify" && !has_amcheck {
            continue;
        }
        let sql = call_of(db, &function, rows.of(&function.name), schema);
        db.run(&format!("BEGIN; {sql}; ROLLBACK"));
        calls.push(Ready { function, sql });
    }
    calls
}

/// Rows in the state that a call needs.
struct Rows {
    usual: BTreeMap<&'static str, String>,
    accepted: BTreeMap<&'static str, String>,
    dead: BTreeMap<&'static str, String>,
}

impl Rows {
    #[track_caller]
    fn new(db: &mut Db, usual: BTreeMap<&'static str, String>) -> Self {
        let (agent, worker) = (usual["agent"].clone(), usual["worker"].clone());
        let mut create =
            |call: &str| format!("'{}'", db.one::<String>(&format!("SELECT ({call})::text")));
        // Accepting a handoff raises the fence of its trajectory.
        let task = create("caliber_trajectory_create('another task')");
        let scope = create(&format!("caliber_scope_create({task}, 'window', 1000)"));
        let delegation = create(&format!(
            "caliber_delegation_create({agent}, 'part', {task}, delegatee_agent_id => {worker})"
        ));
        let handoff = create(&format!(
            "caliber_handoff_create({agent}, {task}, {scope}, 'escalation', {worker})"
        ));
        let dead = create(&format!("caliber_message_send({agent}, 'm', '{{}}', {worker})"));
        db.run(&format!(
            "SELECT caliber_delegation_accept({delegation}, {worker});
             SELECT caliber_handoff_accept({handoff}, {worker});
             UPDATE caliber_message SET expires_at = clock_timestamp() - interval '1 second'
                 WHERE message_id = {dead};
             SELECT caliber_message_receive({worker}, 100, '1 day');
             SELECT caliber_message_send({agent}, 'to be received', '{{}}', {worker})"
        ));
        let message = &usual["message"];
        let states: Vec<String> = db.all(&format!(
            "SELECT status::text FROM caliber_message WHERE message_id IN ({message}, {dead})
             ORDER BY message_id"
        ));
        assert_eq!(states, ["delivered", "dead"]);
        let mut accepted = usual.clone();
        accepted.insert("delegation", delegation);
        accepted.insert("handoff", handoff);
        let mut with_dead = usual.clone();
        with_dead.insert("message", dead);
        Self { usual, accepted, dead: with_dead }
    }

    fn of(&self, function: &str) -> &BTreeMap<&'static str, String> {
        match function {
            "caliber_delegation_start"
            | "caliber_delegation_complete"
            | "caliber_handoff_complete" => &self.accepted,
            "caliber_message_redrive" => &self.dead,
            _ => &self.usual,
        }
    }
}

/// A call whose text depends on no search_path and no privilege: names are qualified, and what
/// arguments are computed from is read here.
fn call_of(
    db: &mut Db,
    function: &Function,
    rows: &BTreeMap<&'static str, String>,
    schema: &str,
) -> String {
    let mut list = Vec::new();
    for (argument, ty, _) in &function.arguments {
        let other = argument.strip_suffix("agent_type").map(|whose| format!("{whose}agent_id"));
        // A receiver is an agent or a type of agents.
        let is_given = other.is_some_and(|other| function.arguments.iter().any(|a| a.0 == other));
        let value = match argument.as_str() {
            "relation" => format!("'{schema}.caliber_turn'"),
            "schema" => format!("'{schema}'"),
            _ if is_given => "NULL".to_owned(),
            _ => valid(&function.name, argument, ty, rows),
        };
        let literal: String = db.one(&format!("SELECT quote_nullable(({value})::{ty})"));
        let ty: String = db.one(&format!(
            "SELECT format('%I.%I', n.nspname, t.typname)
             FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
             WHERE t.oid = '{ty}'::regtype"
        ));
        let literal = if argument == "relation" { value } else { literal };
        list.push(format!("{argument} => {literal}::{ty}"));
    }
    format!("SELECT * FROM public.{}({})", function.name, list.join(", "))
}
