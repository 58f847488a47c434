//! A state machine: random sequences of function calls and plain SQL leave the tables as a plain
//! model of them says, and are refused with the SQLSTATE that it expects.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use caliber_tests::gen_values::check;
use caliber_tests::{Db, Schema, show};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// The agents: the first gives work away, the others are of the type that may take it.
const AGENTS: usize = 3;
const MAX_DELIVERIES: i32 = 2;
const BUDGET: i32 = 100;

/// What is done.
#[derive(Debug, Clone)]
enum Op {
    /// `caliber_trajectory_set_status`, with the current fence or without.
    SetStatus {
        status: &'static str,
        fenced: bool,
    },
    /// An UPDATE of an entity's status.
    Raw {
        entity: &'static str,
        status: &'static str,
    },
    Append {
        tokens: i32,
        fenced: bool,
    },
    UpdateTokens {
        tokens: i32,
        fenced: bool,
    },
    Close {
        fenced: bool,
    },
    Reopen,
    Receive {
        agent: usize,
    },
    /// Aimed: by the agent that holds the delivery, with its receipt.
    Acknowledge {
        aimed: bool,
        agent: usize,
        receipt: i32,
    },
    Release {
        aimed: bool,
        agent: usize,
        receipt: i32,
    },
    Redrive,
    /// A step of a delegation or a handoff.
    Step {
        entity: &'static str,
        verb: &'static str,
        agent: usize,
    },
    Resolve {
        escalate: bool,
    },
    Acquire {
        agent: usize,
        exclusive: bool,
    },
    GiveBack {
        agent: usize,
    },
}

fn ops() -> impl Strategy<Value = Op> {
    let agent = 0..AGENTS;
    let raw = |entity: &'static str| {
        select(states(entity)).prop_map(move |status| Op::Raw { entity, status })
    };
    let step = |entity: &'static str, verbs: &'static [&'static str]| {
        (select(verbs), 0..AGENTS).prop_map(move |(verb, agent)| Op::Step { entity, verb, agent })
    };
    prop_oneof![
        2 => (select(states("trajectory")), any::<bool>())
            .prop_map(|(status, fenced)| Op::SetStatus { status, fenced }),
        1 => raw("trajectory"),
        1 => raw("message"),
        1 => raw("delegation"),
        1 => raw("handoff"),
        1 => raw("conflict"),
        3 => (0..60, any::<bool>()).prop_map(|(tokens, fenced)| Op::Append { tokens, fenced }),
        1 => (-5..120, any::<bool>())
            .prop_map(|(tokens, fenced)| Op::UpdateTokens { tokens, fenced }),
        1 => any::<bool>().prop_map(|fenced| Op::Close { fenced }),
        1 => Just(Op::Reopen),
        6 => agent.clone().prop_map(|agent| Op::Receive { agent }),
        1 => (any::<bool>(), agent.clone(), 0..4)
            .prop_map(|(aimed, agent, receipt)| Op::Acknowledge { aimed, agent, receipt }),
        4 => (proptest::bool::weighted(0.8), agent.clone(), 0..4)
            .prop_map(|(aimed, agent, receipt)| Op::Release { aimed, agent, receipt }),
        3 => Just(Op::Redrive),
        4 => step("delegation", &["accept", "start", "complete", "fail", "reject"]),
        3 => step("handoff", &["accept", "complete", "reject"]),
        2 => any::<bool>().prop_map(|escalate| Op::Resolve { escalate }),
        3 => (agent.clone(), any::<bool>())
            .prop_map(|(agent, exclusive)| Op::Acquire { agent, exclusive }),
        1 => agent.prop_map(|agent| Op::GiveBack { agent }),
    ]
}

/// The states of an entity.
fn states(entity: &str) -> &'static [&'static str] {
    match entity {
        "trajectory" => &["active", "suspended", "completed", "failed"],
        "message" => &["pending", "delivered", "acknowledged", "dead"],
        "delegation" => &["pending", "accepted", "in_progress", "rejected", "completed", "failed"],
        "handoff" => &["initiated", "accepted", "rejected", "completed"],
        _ => &["detected", "resolving", "resolved", "escalated"],
    }
}

/// The arrows of the specification.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("trajectory", "active", &["suspended", "completed", "failed"]),
    ("trajectory", "suspended", &["active", "completed", "failed"]),
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

fn may_go(entity: &str, from: &str, to: &str) -> bool {
    from == to || ARROWS.iter().any(|&(e, f, next)| e == entity && f == from && next.contains(&to))
}

type Answer = Result<(), &'static str>;

fn need(holds: bool, sqlstate: &'static str) -> Answer {
    if holds { Ok(()) } else { Err(sqlstate) }
}

/// What the tables should hold.
#[derive(Debug, Clone)]
struct Model {
    status: BTreeMap<&'static str, &'static str>,
    /// Whether the trajectory remembers a fence, which a handoff gave it.
    fenced: bool,
    open: bool,
    used: i32,
    turns: i32,
    visible: bool,
    deliveries: i32,
    max_deliveries: i32,
    claimed_by: Option<usize>,
    /// Who took the delegation and the handoff.
    taken_by: BTreeMap<&'static str, usize>,
    /// Who holds the lease, and whether exclusively.
    leases: BTreeMap<usize, bool>,
}

impl Model {
    fn new() -> Self {
        let status = [
            ("trajectory", "active"),
            ("message", "pending"),
            ("delegation", "pending"),
            ("handoff", "initiated"),
            ("conflict", "detected"),
        ];
        Self {
            status: status.into(),
            fenced: false,
            open: true,
            used: 0,
            turns: 0,
            visible: true,
            deliveries: 0,
            max_deliveries: MAX_DELIVERIES,
            claimed_by: None,
            taken_by: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }

    fn go(&mut self, entity: &'static str, to: &'static str) -> Answer {
        need(may_go(entity, self.status[entity], to), "55000")?;
        self.status.insert(entity, to);
        Ok(())
    }

    /// A write below the trajectory needs its fence once it has one.
    fn check_fence(&self, given: bool) -> Answer {
        need(given || !self.fenced, "55006")
    }

    /// The answer that is due; the model changes only when it is no refusal.
    fn apply(&mut self, op: &Op) -> Answer {
        match *op {
            Op::SetStatus { status, fenced } => {
                self.check_fence(fenced)?;
                self.go("trajectory", status)
            }
            Op::Raw { entity, status } => self.go(entity, status),
            Op::Append { tokens, fenced } => {
                self.check_fence(fenced)?;
                need(self.open, "55000")?;
                need(tokens == 0 || self.used + tokens <= BUDGET, "54000")?;
                (self.used, self.turns) = (self.used + tokens, self.turns + 1);
                Ok(())
            }
            Op::UpdateTokens { tokens, fenced } => {
                self.check_fence(fenced)?;
                need((0..=BUDGET).contains(&tokens), "23514")?;
                need(tokens == self.used || self.open && tokens > self.used, "55000")?;
                self.used = tokens;
                Ok(())
            }
            Op::Close { fenced } => {
                self.check_fence(fenced)?;
                need(self.open, "55000")?;
                self.open = false;
                Ok(())
            }
            Op::Reopen => need(self.open, "55000"),
            Op::Receive { agent } => {
                let waits = matches!(self.status["message"], "pending" | "delivered");
                if !(waits && self.visible && agent != 0) {
                    return Ok(());
                }
                if self.deliveries >= self.max_deliveries {
                    self.status.insert("message", "dead");
                    self.claimed_by = None;
                } else {
                    self.status.insert("message", "delivered");
                    self.deliveries += 1;
                    (self.claimed_by, self.visible) = (Some(agent), false);
                }
                Ok(())
            }
            Op::Acknowledge { agent, receipt, .. } => {
                if self.holds("acknowledged", agent, receipt) {
                    return Ok(());
                }
                need(self.holds("delivered", agent, receipt), "55006")?;
                self.go("message", "acknowledged")
            }
            Op::Release { agent, receipt, .. } => {
                need(self.holds("delivered", agent, receipt), "55006")?;
                (self.claimed_by, self.visible) = (None, true);
                self.go("message", "pending")
            }
            Op::Redrive => {
                need(self.status["message"] == "dead", "55000")?;
                (self.claimed_by, self.visible) = (None, true);
                self.max_deliveries = self.deliveries + 1;
                self.go("message", "pending")
            }
            Op::Step { entity: "delegation", verb, agent } => self.delegation(verb, agent),
            Op::Step { verb, agent, .. } => self.handoff(verb, agent),
            Op::Resolve { escalate } => {
                need(self.status["conflict"] != "resolved", "55000")?;
                self.status.insert("conflict", if escalate { "escalated" } else { "resolved" });
                Ok(())
            }
            Op::Acquire { agent, exclusive } => {
                if !self.is_busy_for(agent, exclusive) {
                    self.leases.insert(agent, exclusive);
                }
                Ok(())
            }
            Op::GiveBack { agent } => {
                self.leases.remove(&agent);
                Ok(())
            }
        }
    }

    /// The operation with the holder and the receipt that it is aimed at.
    fn aim(&self, op: &Op) -> Op {
        let mut op = op.clone();
        if let Op::Acknowledge { aimed: true, agent, receipt }
        | Op::Release { aimed: true, agent, receipt } = &mut op
        {
            (*agent, *receipt) = (self.claimed_by.unwrap_or(*agent), self.deliveries);
        }
        op
    }

    fn holds(&self, status: &str, agent: usize, receipt: i32) -> bool {
        self.status["message"] == status
            && self.claimed_by == Some(agent)
            && self.deliveries == receipt
    }

    fn is_busy_for(&self, agent: usize, exclusive: bool) -> bool {
        self.leases.iter().any(|(&holder, &theirs)| holder != agent && (exclusive || theirs))
    }

    fn delegation(&mut self, verb: &str, agent: usize) -> Answer {
        let status = self.status["delegation"];
        let took = self.taken_by.get("delegation") == Some(&agent);
        let addressed = match self.taken_by.get("delegation") {
            Some(&taken_by) => taken_by == agent,
            None => agent != 0,
        };
        let (from, may, to): (&[&str], bool, _) = match verb {
            "accept" => (&["pending"], addressed, "accepted"),
            "start" => (&["accepted"], took, "in_progress"),
            "complete" => (&["accepted", "in_progress"], took, "completed"),
            "fail" => (&["pending", "accepted", "in_progress"], took || agent == 0, "failed"),
            _ => (&["pending"], addressed, "rejected"),
        };
        need(from.contains(&status) && may, "55000")?;
        if verb == "accept" {
            self.taken_by.insert("delegation", agent);
        }
        self.go("delegation", to)
    }

    fn handoff(&mut self, verb: &str, agent: usize) -> Answer {
        let status = self.status["handoff"];
        let took = self.taken_by.get("handoff") == Some(&agent);
        match verb {
            "accept" => {
                need(status == "initiated" && agent != 0, "55000")?;
                // A finished task cannot change hands.
                let finished = matches!(self.status["trajectory"], "completed" | "failed");
                need(!finished, "55000")?;
                self.taken_by.insert("handoff", agent);
                self.fenced = true;
                self.go("handoff", "accepted")
            }
            "complete" => {
                need(status == "accepted" && took, "55000")?;
                self.go("handoff", "completed")
            }
            _ => {
                need(status == "initiated" && agent != 0, "55000")?;
                self.go("handoff", "rejected")
            }
        }
    }

    /// The model as [`Rows::seen`] reads the tables.
    fn expected(&self) -> Value {
        json!({
            "trajectory": self.status["trajectory"],
            "message": self.status["message"],
            "delegation": self.status["delegation"],
            "handoff": self.status["handoff"],
            "conflict": self.status["conflict"],
            "fenced": self.fenced,
            "open": self.open,
            "used": self.used,
            "turns": self.turns,
            "deliveries": self.deliveries,
            "claimed_by": self.claimed_by,
            "delegatee": self.taken_by.get("delegation"),
            "receiver": self.taken_by.get("handoff"),
            "leases": self.leases.iter().map(|(agent, exclusive)| json!([agent, exclusive]))
                .collect::<Vec<_>>(),
        })
    }
}

/// One of each entity, by its id.
struct Rows {
    agents: Vec<String>,
    ids: BTreeMap<&'static str, String>,
}

impl Rows {
    fn create(db: &mut Db) -> Self {
        let text = |db: &mut Db, call: &str| db.one::<String>(&format!("SELECT ({call})::text"));
        let mut agents = vec![text(db, "caliber_agent_register('boss', can_delegate_to => '{*}')")];
        // The queue is one type's: a type of its own keeps the cases apart.
        let worker = format!("worker {}", agents[0]);
        for _ in 1..AGENTS {
            agents.push(text(db, &format!("caliber_agent_register('{worker}')")));
        }
        let boss = agents[0].clone();
        let trajectory = text(db, "caliber_trajectory_create('task')");
        let scope = text(db, &format!("caliber_scope_create('{trajectory}', 'window', {BUDGET})"));
        let delegation = text(
            db,
            &format!(
                "caliber_delegation_create('{boss}', 'part', '{trajectory}',
                 delegatee_agent_type => '{worker}')"
            ),
        );
        let handoff = text(
            db,
            &format!(
                "caliber_handoff_create('{boss}', '{trajectory}', '{scope}', 'escalation',
                 to_agent_type => '{worker}')"
            ),
        );
        let conflict = text(
            db,
            "caliber_conflict_create('goal_conflict', 'goal', caliber_new_id(), 'goal',
             caliber_new_id())",
        );
        // The messages about the delegation and the handoff are none of the model's.
        db.run("DELETE FROM caliber_message");
        let message = text(
            db,
            &format!(
                "caliber_message_send('{boss}', 'task', '{{}}', to_agent_type => '{worker}',
                 max_deliveries => {MAX_DELIVERIES})"
            ),
        );
        let ids = [
            ("trajectory", trajectory),
            ("scope", scope),
            ("message", message),
            ("delegation", delegation),
            ("handoff", handoff),
            ("conflict", conflict),
        ];
        Self { agents, ids: ids.into() }
    }

    /// The operation as SQL.
    fn sql(&self, op: &Op) -> String {
        let id = |entity: &str| format!("'{}'", self.ids[entity]);
        let agent = |agent: usize| format!("'{}'", self.agents[agent]);
        let fence = |given: bool| {
            let trajectory = id("trajectory");
            if given {
                format!(
                    "(SELECT nullif(fence, 0) FROM caliber_trajectory WHERE trajectory_id = {trajectory})"
                )
            } else {
                "NULL".to_owned()
            }
        };
        match *op {
            Op::SetStatus { status, fenced } => format!(
                "SELECT caliber_trajectory_set_status({}, '{status}', fence => {})",
                id("trajectory"),
                fence(fenced)
            ),
            Op::Raw { entity, status } => {
                let also = match (entity, status) {
                    ("trajectory", "completed" | "failed") => {
                        ", completed_at = coalesce(completed_at, now())"
                    }
                    ("trajectory", _) => ", completed_at = NULL",
                    _ => "",
                };
                format!(
                    "UPDATE caliber_{entity} SET status = '{status}'{also} WHERE {entity}_id = {}",
                    id(entity)
                )
            }
            Op::Append { tokens, fenced } => format!(
                "SELECT caliber_turn_create({}, 'user', 'x', {tokens}, fence => {})",
                id("scope"),
                fence(fenced)
            ),
            Op::UpdateTokens { tokens, fenced } => format!(
                "SELECT caliber_scope_update_tokens({}, {tokens}, fence => {})",
                id("scope"),
                fence(fenced)
            ),
            Op::Close { fenced } => {
                format!("SELECT caliber_scope_close({}, fence => {})", id("scope"), fence(fenced))
            }
            Op::Reopen => format!(
                "UPDATE caliber_scope SET is_active = true, closed_at = NULL WHERE scope_id = {}",
                id("scope")
            ),
            Op::Receive { agent: receiver } => {
                format!("SELECT caliber_message_receive({}, 5, '1 day')", agent(receiver))
            }
            Op::Acknowledge { agent: holder, receipt, .. } => format!(
                "SELECT caliber_message_acknowledge({}, {}, {receipt})",
                id("message"),
                agent(holder)
            ),
            Op::Release { agent: holder, receipt, .. } => format!(
                "SELECT caliber_message_release({}, {}, {receipt})",
                id("message"),
                agent(holder)
            ),
            Op::Redrive => format!("SELECT caliber_message_redrive({}, 1)", id("message")),
            Op::Step { entity, verb, agent: actor } => {
                format!("SELECT caliber_{entity}_{verb}({}, {})", id(entity), agent(actor))
            }
            Op::Resolve { escalate: true } => {
                format!("SELECT caliber_conflict_resolve({}, 'escalate')", id("conflict"))
            }
            Op::Resolve { escalate: false } => format!(
                "SELECT caliber_conflict_resolve({0}, 'last_write_wins',
                 (SELECT item_a_id FROM caliber_conflict WHERE conflict_id = {0}))",
                id("conflict")
            ),
            Op::Acquire { agent: holder, exclusive } => format!(
                "SELECT caliber_lock_acquire({}, 'trajectory', {}, '1 day', '{}')",
                agent(holder),
                id("trajectory"),
                if exclusive { "exclusive" } else { "shared" }
            ),
            Op::GiveBack { agent: holder } => format!(
                "SELECT caliber_lock_release(lock_id, fence) FROM caliber_lock
                 WHERE holder_agent_id = {} AND resource_id = {}",
                agent(holder),
                id("trajectory")
            ),
        }
    }

    /// What the tables hold, as [`Model::expected`] says it.
    fn seen(&self, db: &mut Db) -> Value {
        let status = |entity: &str| {
            format!(
                "'{entity}', (SELECT status FROM caliber_{entity} WHERE {entity}_id = '{}')",
                self.ids[entity]
            )
        };
        let agents = self.agents.join("', '");
        let number = |column: &str, entity: &str| {
            format!(
                "(SELECT array_position(ARRAY['{agents}']::uuid[], {column}) - 1
                  FROM caliber_{entity} WHERE {entity}_id = '{}')",
                self.ids[entity]
            )
        };
        let (trajectory, scope, message) =
            (&self.ids["trajectory"], &self.ids["scope"], &self.ids["message"]);
        let sql = format!(
            "SELECT jsonb_build_object({}, {}, {}, {}, {},
             'fenced', (SELECT fence > 0 FROM caliber_trajectory WHERE trajectory_id = '{trajectory}'),
             'open', s.is_active, 'used', s.tokens_used, 'turns', s.turn_count,
             'deliveries', (SELECT delivery_count FROM caliber_message WHERE message_id = '{message}'),
             'claimed_by', {}, 'delegatee', {}, 'receiver', {},
             'leases', (SELECT coalesce(jsonb_agg(jsonb_build_array(n, mode = 'exclusive') ORDER BY n), '[]')
                 FROM (SELECT array_position(ARRAY['{agents}']::uuid[], holder_agent_id) - 1 AS n, mode
                       FROM caliber_lock WHERE resource_id = '{trajectory}') l))
             FROM caliber_scope s WHERE s.scope_id = '{scope}'",
            status("trajectory"),
            status("message"),
            status("delegation"),
            status("handoff"),
            status("conflict"),
            number("claimed_by", "message"),
            number("delegatee_agent_id", "delegation"),
            number("to_agent_id", "handoff"),
        );
        db.one(&sql)
    }
}

#[test]
fn functions_and_sql_do_what_a_plain_model_does() {
    let schema = Schema::new("state_machine");
    let db = RefCell::new(schema.connect());
    check(vec(ops(), 1..60), |ops| {
        let db = &mut *db.borrow_mut();
        let rows = Rows::create(db);
        let mut model = Model::new();
        for op in &ops {
            let op = &model.aim(op);
            let sql = rows.sql(op);
            let mut after = model.clone();
            let due = after.apply(op);
            if due.is_ok() {
                model = after;
            }
            match (due, db.attempt(&sql)) {
                (Ok(()), Ok(())) => {}
                (Err(sqlstate), Err(error)) => {
                    let code = error.code().map(|code| code.code().to_owned());
                    assert_eq!(code.as_deref(), Some(sqlstate), "{}", show(&error, &sql));
                }
                (Ok(()), Err(error)) => panic!("refused: {}", show(&error, &sql)),
                (Err(sqlstate), Ok(())) => panic!("not refused with {sqlstate}: {sql}"),
            }
            assert_eq!(rows.seen(db), model.expected(), "after {op:?}");
        }
        // A refusal leaves no lease or message behind either.
        db.run("DELETE FROM caliber_lock; DELETE FROM caliber_message");
    });
}
