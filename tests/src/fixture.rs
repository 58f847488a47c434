//! A trajectory with a scope, in a schema of its own, and leases on them.

use serde_json::Value;
use uuid::Uuid;

use crate::db::Db;
use crate::schema::Schema;

/// The tables behind a [`Tree`].
pub const TREE_TABLES: &[&str] = &["caliber_trajectory", "caliber_scope", "caliber_turn"];

/// An id of version 7 that no row has.
pub const UNKNOWN: &str = "01920000-0000-7000-8000-00000000dead";

/// An active trajectory with one active scope, a connection, and the schema that they live in.
/// Declare a further connection after it, so that it is closed before the schema is dropped.
pub struct Tree {
    /// A connection that works on the schema.
    pub db: Db,
    /// The trajectory.
    pub trajectory: Uuid,
    /// Its scope.
    pub scope: Uuid,
    schema: Schema,
}

impl Tree {
    /// A tree whose scope has room for 1,000,000 tokens.
    pub fn new(name: &str) -> Self {
        Self::with_budget(name, 1_000_000)
    }

    /// A tree whose scope has this budget.
    pub fn with_budget(name: &str, budget: i32) -> Self {
        let schema = Schema::new(name);
        let mut db = schema.connect();
        let trajectory = db.one("SELECT caliber_trajectory_create('task')");
        let scope =
            db.one(&format!("SELECT caliber_scope_create('{trajectory}', 'window', {budget})"));
        Self { db, trajectory, scope, schema }
    }

    /// The schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Another connection that works on the schema.
    pub fn connect(&self) -> Db {
        self.schema.connect()
    }

    /// Another scope of the trajectory.
    #[track_caller]
    pub fn new_scope(&mut self, budget: i32) -> Uuid {
        let trajectory = self.trajectory;
        self.db.one(&format!("SELECT caliber_scope_create('{trajectory}', 'window', {budget})"))
    }

    /// Appends a turn to the scope; `arguments` come after the scope's id.
    #[track_caller]
    pub fn append(&mut self, arguments: &str) -> Uuid {
        let scope = self.scope;
        self.db.one(&format!("SELECT caliber_turn_create('{scope}', {arguments})"))
    }

    /// The scope's row.
    #[track_caller]
    pub fn scope_row(&mut self) -> Value {
        let scope = self.scope;
        self.db.json(&format!("caliber_scope_get('{scope}')"))
    }

    /// The trajectory's row.
    #[track_caller]
    pub fn trajectory_row(&mut self) -> Value {
        let trajectory = self.trajectory;
        self.db.json(&format!("caliber_trajectory_get('{trajectory}')"))
    }

    /// As [`Db::refused_unchanged`] for all tables of the tree.
    #[track_caller]
    pub fn refused(&mut self, sql: &str, sqlstate: &str) -> crate::DbError {
        self.db.refused_unchanged(sql, sqlstate, TREE_TABLES)
    }
}

/// Gives a new agent a lease on a resource for an hour, by plain SQL; its fence.
#[track_caller]
pub fn lease(db: &mut Db, resource_type: &str, resource_id: Uuid) -> i64 {
    lease_until(db, resource_type, resource_id, "'1 hour'")
}

/// As [`lease`], but the lease has been over for an hour.
#[track_caller]
pub fn expired_lease(db: &mut Db, resource_type: &str, resource_id: Uuid) -> i64 {
    lease_until(db, resource_type, resource_id, "'-1 hour'")
}

#[track_caller]
fn lease_until(db: &mut Db, resource_type: &str, resource_id: Uuid, ttl: &str) -> i64 {
    db.one(&format!(
        "WITH agent AS (
             INSERT INTO caliber_agent (agent_type) VALUES ('worker') RETURNING agent_id)
         INSERT INTO caliber_lock (resource_type, resource_id, holder_agent_id, mode, expires_at)
         SELECT '{resource_type}', '{resource_id}', agent_id, 'exclusive',
                clock_timestamp() + interval {ttl} FROM agent
         RETURNING fence"
    ))
}
