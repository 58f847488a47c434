//! What the clients work on, and how it looks at the end.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::event::{Event, Fate, Span};
use super::{accepts, leases, queue, turns, versions};
use crate::agents::{agent, delegator};
use crate::db::Db;
use crate::schema::Schema;

/// The value of each versioned row at the beginning.
pub const FIRST: &str = "first";

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
    /// A connection that is declared first is closed first.
    db: Db,
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
    /// A fresh one for so many clients.
    pub fn new(clients: usize, offers: usize) -> Self {
        let schema = Schema::new("histories");
        let mut db = schema.connect();
        let agents: Vec<Uuid> = (0..clients).map(|_| agent(&mut db, "worker")).collect();
        let boss = delegator(&mut db, "boss", "{worker}");
        // Nobody changes the trajectory that all else hangs below.
        let home: Uuid = db.one("SELECT caliber_trajectory_create('home')");
        let mut scope = |db: &mut Db, trajectory: Uuid, budget: i32| -> Uuid {
            db.one(&format!("SELECT caliber_scope_create('{trajectory}', 'window', {budget})"))
        };
        let scopes = [200, 2_000, 1_000_000].map(|budget| scope(&mut db, home, budget)).to_vec();
        let resources = [(); 3].map(|()| scope(&mut db, home, 1_000_000)).to_vec();
        let mut rows: Vec<(&'static str, Uuid)> = Vec::new();
        for _ in 0..2 {
            let versioned = scope(&mut db, home, 1_000);
            let creates = [
                ("trajectory", "caliber_trajectory_create('task')".to_owned()),
                ("agent", "caliber_agent_register('row')".to_owned()),
                ("note", "caliber_note_create('fact', 't', 'c')".to_owned()),
                (
                    "artifact",
                    format!("caliber_artifact_create('{home}', '{versioned}', 'fact', 'n', 'c')"),
                ),
            ];
            rows.push(("scope", versioned));
            for (entity, create) in creates {
                rows.push((entity, db.one(&format!("SELECT {create}"))));
            }
        }
        for (entity, id) in &rows {
            // Without a version: a change in the place of the first value.
            let key = format!("{entity}_id");
            db.run(&format!(
                "CREATE TEMP TABLE one AS SELECT * FROM caliber_{entity} WHERE {key} = '{id}';
                 DELETE FROM caliber_{entity} WHERE {key} = '{id}' AND false; DROP TABLE one"
            ));
        }
        let offers = (0..offers)
            .map(|number| {
                let task: Uuid = db.one("SELECT caliber_trajectory_create('task')");
                if number % 2 == 0 {
                    let id = db.one(&format!(
                        "SELECT caliber_delegation_create('{boss}', 't', '{task}', delegatee_agent_type => 'worker')"
                    ));
                    return Offer { kind: "delegation", id };
                }
                let window = scope(&mut db, task, 100);
                let id = db.one(&format!(
                    "SELECT caliber_handoff_create('{boss}', '{task}', '{window}', 'timeout', to_agent_type => 'worker')"
                ));
                Offer { kind: "handoff", id }
            })
            .collect();
        Self { db, schema, agents, rows, scopes, resources, offers }
    }
}
