//! What the clients work on, and how it looks at the end.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::rules::broken;
use super::super::sound::damaged;
use super::client::Logs;
use super::event::{Event, Fate, Span};
use super::{accepts, leases, queue, turns, versions};
use crate::agents::{agent, delegator};
use crate::db::{Db, show};
use crate::schema::Schema;

/// A delegation or a handoff that any client may accept.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// `delegation` or `handoff`.
    pub kind: &'static str,
    /// Its id.
    pub id: Uuid,
}

/// Rows that all clients fight for.
pub struct World {
    /// Where the rows are.
    pub schema: Schema,
    /// The agent of each client.
    pub agents: Vec<Uuid>,
    /// Versioned rows: entity and id.
    pub rows: Vec<(&'static str, Uuid)>,
    /// Scopes that turns are appended to, with little room and with much.
    pub scopes: Vec<Uuid>,
    /// Scopes that are written under a lease.
    pub resources: Vec<Uuid>,
    /// Offers.
    pub offers: Vec<Offer>,
}

impl World {
    /// A fresh one for so many clients, with so many offers.
    pub fn new(clients: usize, offers: usize) -> Self {
        let schema = Schema::new("histories");
        let mut db = schema.connect();
        let agents: Vec<Uuid> = (0..clients).map(|_| agent(&mut db, "worker")).collect();
        // Nobody changes the trajectory that all else hangs below.
        let home: Uuid = db.one("SELECT caliber_trajectory_create('home')");
        let mut scope = |budget: i32| -> Uuid {
            db.one(&format!("SELECT caliber_scope_create('{home}', 'window', {budget})"))
        };
        let scopes = [200, 2_000, 1_000_000].map(&mut scope).to_vec();
        let resources = [1_000_000; 3].map(&mut scope).to_vec();
        let versioned = [1_000; 2].map(&mut scope);
        let rows = versioned_rows(&mut db, home, versioned);
        let offers = new_offers(&mut db, offers);
        Self { schema, agents, rows, scopes, resources, offers }
    }

    /// What in the logs contradicts itself, or what is left.
    pub fn check(&self, logs: &Logs) -> Vec<String> {
        let mut db = self.schema.connect();
        let rows = self.rows.iter().map(|(entity, id)| versioned_row(&mut db, entity, *id));
        let rows: Vec<_> = rows.collect();
        let scopes: Vec<_> = self.scopes.iter().map(|id| scope(&mut db, *id)).collect();
        let leases = [logs.leases.clone(), self.fenced_writes(&mut db)].concat();
        let offers: Vec<_> =
            self.offers.iter().map(|offer| self.acceptor(&mut db, *offer)).collect();
        let first = versions::Row { version: 2, value: FIRST.to_owned() };
        [
            versions::check(&logs.versions, &rows, &first),
            leases::check(&leases),
            queue::check(&logs.queue, &messages(&mut db)),
            turns::check(&logs.turns, &scopes),
            accepts::check(&logs.accepts, &offers),
            broken(&mut db),
            misinformed(&mut db, &logs.transactions),
            damaged(&mut db),
        ]
        .concat()
    }

    /// What was written under leases: the content says the fence.
    fn fenced_writes(&self, db: &mut Db) -> Vec<Event<leases::Act>> {
        let mut events = Vec::new();
        for (resource, id) in self.resources.iter().enumerate() {
            let sql = format!(
                "SELECT content::int8, sequence::int8 FROM caliber_turn WHERE scope_id = '{id}'"
            );
            for row in query(db, &sql) {
                let (fence, place) = (row.get(0), row.get(1));
                let act = leases::Act::Write { resource, fence, place };
                let span = Span { begin: 0, end: 0 };
                events.push(Event { client: 0, span, fate: Fate::Committed, act });
            }
        }
        events
    }

    fn acceptor(&self, db: &mut Db, offer: Offer) -> Option<usize> {
        let Offer { kind, id } = offer;
        let column = if kind == "delegation" { "delegatee_agent_id" } else { "to_agent_id" };
        let agent: Option<Uuid> =
            db.one(&format!("SELECT {column} FROM caliber_{kind}_get('{id}')"));
        agent.and_then(|agent| self.agents.iter().position(|known| *known == agent))
    }
}

/// The value of each versioned row at the beginning.
const FIRST: &str = "first";

fn versioned_rows(db: &mut Db, home: Uuid, scopes: [Uuid; 2]) -> Vec<(&'static str, Uuid)> {
    let mut rows = Vec::new();
    for scope in scopes {
        let artifact = format!("caliber_artifact_create('{home}', '{scope}', 'fact', 'n', 'c')");
        let creates = [
            ("trajectory", "caliber_trajectory_create('task')"),
            ("agent", "caliber_agent_register('row')"),
            ("note", "caliber_note_create('fact', 't', 'c')"),
            ("artifact", &artifact),
        ];
        rows.push(("scope", scope));
        for (entity, create) in creates {
            rows.push((entity, db.one(&format!("SELECT {create}"))));
        }
    }
    for (entity, id) in &rows {
        db.run(&format!(
            "UPDATE caliber_{entity} SET metadata = '\"{FIRST}\"' WHERE {entity}_id = '{id}'"
        ));
    }
    rows
}

fn new_offers(db: &mut Db, count: usize) -> Vec<Offer> {
    let boss = delegator(db, "boss", "{worker}");
    let mut offers = Vec::new();
    for number in 0..count {
        let task: Uuid = db.one("SELECT caliber_trajectory_create('task')");
        let (kind, create) = if number % 2 == 0 {
            let create = format!(
                "caliber_delegation_create('{boss}', 't', '{task}', delegatee_agent_type => 'worker')"
            );
            ("delegation", create)
        } else {
            let scope: Uuid =
                db.one(&format!("SELECT caliber_scope_create('{task}', 'window', 9)"));
            let create = format!(
                "caliber_handoff_create('{boss}', '{task}', '{scope}', 'timeout', to_agent_type => 'worker')"
            );
            ("handoff", create)
        };
        offers.push(Offer { kind, id: db.one(&format!("SELECT {create}")) });
    }
    // These offers' messages are nobody's: the clients count their own.
    db.run("DELETE FROM caliber_message");
    offers
}

fn query(db: &mut Db, sql: &str) -> Vec<postgres::Row> {
    db.query(sql, &[]).unwrap_or_else(|error| panic!("{}", show(&error, sql)))
}

fn versioned_row(db: &mut Db, entity: &str, id: Uuid) -> versions::Row {
    let sql = format!("SELECT version, metadata #>> '{{}}' FROM caliber_{entity}_get('{id}')");
    let row = &query(db, &sql)[0];
    versions::Row { version: row.get(0), value: row.get(1) }
}

fn scope(db: &mut Db, id: Uuid) -> turns::Scope {
    let counters = format!(
        "SELECT token_budget::int8, tokens_used::int8, turn_count::int8 FROM caliber_scope_get('{id}')"
    );
    let row = &query(db, &counters)[0];
    let (budget, used, count) = (row.get(0), row.get(1), row.get(2));
    let turns = format!(
        "SELECT sequence::int8, token_count::int8, content FROM caliber_turn
         WHERE scope_id = '{id}' ORDER BY sequence"
    );
    let turns = query(db, &turns)
        .iter()
        .map(|row| turns::Turn { sequence: row.get(0), tokens: row.get(1), content: row.get(2) })
        .collect();
    turns::Scope { budget, used, count, turns }
}

fn messages(db: &mut Db) -> BTreeMap<Uuid, queue::Row> {
    let sql =
        "SELECT message_id::uuid, status = 'acknowledged', delivery_count FROM caliber_message";
    query(db, sql)
        .iter()
        .map(|row| (row.get(0), queue::Row { acknowledged: row.get(1), deliveries: row.get(2) }))
        .collect()
}

/// Transactions of which a client was told another end than the server's.
fn misinformed(db: &mut Db, transactions: &[(String, Fate)]) -> Vec<String> {
    let told = transactions.iter().filter(|(_, fate)| *fate != Fate::Unknown);
    let wrong = told.filter_map(|(id, fate)| {
        let status: Option<String> = db.one(&format!("SELECT pg_xact_status('{id}')"));
        let right = if *fate == Fate::Committed { "committed" } else { "aborted" };
        (status.as_deref() != Some(right))
            .then(|| format!("transaction {id} is {status:?}, its client was told {fate:?}"))
    });
    wrong.collect()
}
