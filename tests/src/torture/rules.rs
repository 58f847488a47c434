//! The rules of the entities, as queries over their tables: what a crash or a race must not break.

use crate::db::{Db, show};

/// What breaks a rule, each with a query for it. The tables are found by `search_path`.
const RULES: &[(&str, &str)] = &[
    (
        "a scope's counters are those of its turns, which have no gap",
        "SELECT format('%s: %s turns up to %s cost %s, said %s and %s', s.scope_id, count(t.turn_id),
                max(t.sequence), sum(t.token_count), s.turn_count, s.tokens_used)
         FROM caliber_scope s LEFT JOIN caliber_turn t ON t.scope_id = s.scope_id
         GROUP BY s.scope_id, s.turn_count, s.tokens_used
         HAVING count(t.turn_id) <> s.turn_count OR coalesce(max(t.sequence) + 1, 0) <> s.turn_count
             OR coalesce(sum(t.token_count), 0) <> s.tokens_used",
    ),
    (
        "no fence is higher than the sequence that gives them",
        "SELECT f::text FROM (SELECT fence FROM caliber_lock UNION ALL SELECT fence FROM caliber_scope
                UNION ALL SELECT fence FROM caliber_trajectory) AS used (f)
         WHERE f > (SELECT last_value FROM caliber_fence)",
    ),
    (
        "an exclusive lease is alone",
        "SELECT format('%s and %s', a, b) FROM caliber_lock a JOIN caliber_lock b
             ON a.resource_type = b.resource_type AND a.resource_id = b.resource_id
                AND a.lock_id <> b.lock_id
         WHERE a.mode = 'exclusive' AND a.acquired_at < b.expires_at AND b.acquired_at < a.expires_at",
    ),
    (
        "a message's columns fit its state",
        "SELECT m::text FROM caliber_message m
         WHERE delivery_count > max_deliveries OR (status = 'delivered' AND claimed_by IS NULL)
            OR (status = 'acknowledged') <> (acknowledged_at IS NOT NULL)",
    ),
    (
        "an accepted delegation has an agent, and a child of its parent",
        "SELECT d::text FROM caliber_delegation d
             LEFT JOIN caliber_trajectory t ON t.trajectory_id = d.child_trajectory_id
         WHERE (d.status IN ('accepted', 'in_progress', 'completed') OR d.accepted_at IS NOT NULL)
            AND (d.delegatee_agent_id IS NULL
                 OR t.parent_trajectory_id IS DISTINCT FROM d.parent_trajectory_id)",
    ),
    (
        "an accepted handoff has an agent, and a trajectory with a fence",
        "SELECT h::text FROM caliber_handoff h JOIN caliber_trajectory t USING (trajectory_id)
         WHERE h.status IN ('accepted', 'completed') AND (h.to_agent_id IS NULL OR t.fence = 0)",
    ),
    (
        "a trajectory's root is its parent's",
        "SELECT t::text FROM caliber_trajectory t
             LEFT JOIN caliber_trajectory p ON p.trajectory_id = t.parent_trajectory_id
         WHERE t.root_trajectory_id <> coalesce(p.root_trajectory_id, t.trajectory_id)",
    ),
];

/// Queries for the rows that break a foreign key or a CHECK of the current schema.
const CONSTRAINTS: &str = "
    SELECT c.conname::text, CASE c.contype
        WHEN 'c' THEN format('SELECT t::text FROM %s t WHERE NOT (%s)', c.conrelid::regclass,
            pg_get_expr(c.conbin, c.conrelid))
        ELSE format('SELECT t::text FROM %s t WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)',
            c.conrelid::regclass, columns.given, c.confrelid::regclass, columns.equal)
        END
    FROM pg_constraint c CROSS JOIN LATERAL (
        SELECT string_agg(format('t.%I IS NOT NULL', a.attname), ' AND ') AS given,
            string_agg('t.' || quote_ident(a.attname) || ' = p.' || quote_ident(b.attname), ' AND ')
                AS equal
        FROM unnest(c.conkey, c.confkey) AS k (own, other)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.own
        LEFT JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.other) AS columns
    WHERE c.contype IN ('c', 'f') AND c.conrelid <> 0
        AND c.connamespace = current_schema::regnamespace
    ORDER BY 1";

/// The rows that break a rule of the entities or a constraint, each with its rule.
///
/// # Panics
/// When a table cannot be read.
#[track_caller]
pub fn broken(db: &mut Db) -> Vec<String> {
    let mut found = broken_constraints(db);
    for (rule, sql) in RULES {
        found.extend(db.all::<String>(sql).into_iter().map(|row| format!("{rule}: {row}")));
    }
    found
}

/// The rows that break a constraint, each with it.
///
/// # Panics
/// When a table cannot be read.
#[track_caller]
pub fn broken_constraints(db: &mut Db) -> Vec<String> {
    let constraints =
        db.query(CONSTRAINTS, &[]).unwrap_or_else(|error| panic!("{}", show(&error, CONSTRAINTS)));
    assert!(constraints.len() > 20, "the constraints of the entity tables");
    let mut found = Vec::new();
    for row in constraints {
        let (name, sql): (String, String) = (row.get(0), row.get(1));
        found.extend(db.all::<String>(&sql).into_iter().map(|row| format!("{name}: {row}")));
    }
    found
}
