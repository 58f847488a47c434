//! The one error type, and the one place where SQLSTATE, DETAIL and HINT are decided.
//!
//! Errors that PostgreSQL itself raises below this code never become a [`CaliberError`]: they
//! pass through with their own SQLSTATE, constraint, table and column names.

use thiserror::Error;
use uuid::Uuid;

/// What every fallible function returns.
pub type CaliberResult<T> = Result<T, CaliberError>;

/// Everything that this extension itself refuses. The display form is the error's message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the messages say what the fields are
pub enum CaliberError {
    #[error("column \"{column}\" of {entity} rows is fixed")]
    FixedColumn { entity: &'static str, column: &'static str },
    #[error("{entity} rows are append-only")]
    AppendOnly { entity: &'static str },
    #[error("{entity} cannot go from \"{from}\" to \"{to}\"")]
    Transition { entity: &'static str, from: String, to: String, allowed: &'static [&'static str] },
    #[error("{entity} is final in state \"{state}\"")]
    Final { entity: &'static str, state: &'static str, column: String },
    #[error("counter \"{column}\" of {entity} rows cannot fall")]
    CounterFell { entity: &'static str, column: &'static str, old: i64, new: Option<i64> },
    #[error("fence of this {entity} cannot fall")]
    FenceFell { entity: &'static str, column: &'static str, old: i64, new: Option<i64> },
    #[error("version of {entity} rows rises by exactly one with each update")]
    VersionStep { entity: &'static str, old: Option<i64>, new: Option<i64> },
    #[error("{entity} is superseded already")]
    Relinked { entity: &'static str, column: &'static str },
    #[error("{entity} row cannot move to another partition")]
    PartitionMove { entity: &'static str },

    #[error("{entity} table \"{table}\" lacks column \"{column}\"")]
    ColumnMissing { entity: &'static str, table: String, column: &'static str, ty: String },
    #[error("column \"{column}\" of {entity} table \"{table}\" has the wrong type")]
    ColumnType {
        entity: &'static str,
        table: String,
        column: &'static str,
        wanted: String,
        found: String,
    },
    #[error("table \"{table}\" has two key columns")]
    TwoKeys { table: String, first: String, second: String },
    #[error("{reader} of {entity} table \"{table}\" reads column \"{column}\"")]
    ReadsAssigned { entity: &'static str, table: String, reader: String, column: String },
    #[error("type \"{name}\" does not have the labels of {entity} states")]
    StateType { entity: &'static str, name: String, label: &'static str },

    #[error("relation \"{schema}.{table}\" does not exist")]
    TableMissing { schema: String, table: &'static str },
    #[error("\"{schema}.{table}\" stores no {entity} rows")]
    NotAnEntityTable { schema: String, table: &'static str, entity: &'static str },
    #[error("table \"{table}\" lacks the index that this function needs")]
    IndexMissing { table: String, method: &'static str, columns: String },
    #[error("row-level security is active on table \"{table}\"")]
    RowSecurity { table: String },
    #[error("table \"{table}\" is partitioned")]
    Partitioned { table: String },
    #[error("table \"{table}\" has rewrite rules")]
    RewriteRules { table: String },

    #[error("relation with OID {oid} does not exist")]
    NoSuchRelation { oid: u32 },
    #[error("\"{relation}\" is not a table of access method caliber_am")]
    NotOurs { relation: String },
    #[error("cannot access temporary tables of other sessions")]
    OtherSession,
    #[error("extension \"{extension}\" is not installed")]
    ExtensionMissing { extension: String },
    #[error("extension \"{extension}\" has no function {function} that serves")]
    FunctionMissing { extension: String, function: &'static str },

    #[error("{entity} {id} does not exist")]
    NoSuchRow { entity: &'static str, id: Uuid },
    #[error("{entity} {id} was changed by another writer")]
    StaleVersion { entity: &'static str, id: Uuid, expected: i64, current: i64 },
    #[error("sequence {given} is not the next one of scope {id}")]
    StaleSequence { id: Uuid, given: i32, next: i64 },
    #[error("scope {id} has no sequence number left")]
    SequenceExhausted { id: Uuid },
    #[error("fence is missing for {entity} {id}")]
    FenceMissing { entity: &'static str, id: Uuid, current: i64 },
    #[error("fence {fence} is stale for {entity} {id}")]
    FenceStale { entity: &'static str, id: Uuid, fence: i64, current: i64 },
    #[error("fence {fence} belongs to no live lease on {entity} {id}")]
    FenceUnknown { entity: &'static str, id: Uuid, fence: i64, current: i64 },
    #[error("{entity} {id} is not in the state needed")]
    WrongState { entity: &'static str, id: Uuid, state: &'static str, needed: String },
    #[error("{entity} {id} is over")]
    LeaseOver { entity: &'static str, id: Uuid, fence: i64 },
    #[error("receipt {receipt} is stale for message {id}")]
    StaleReceipt { id: Uuid, receipt: i32, current: i32, state: &'static str, holder: Option<Uuid> },
    #[error("agent {agent} may not act on {entity} {id}")]
    NotAddressed { entity: &'static str, id: Uuid, agent: Uuid, needed: &'static str },
    #[error("agent {agent} may not delegate to type \"{agent_type}\"")]
    MayNotDelegate { agent: Uuid, agent_type: String, allowed: Vec<String> },
    #[error("{entity} {id} would supersede itself")]
    SupersedeCycle { entity: &'static str, id: Uuid, by: Uuid },
    #[error("trajectory {id} is not a child of trajectory {parent}")]
    NotAChild { id: Uuid, parent: Uuid },
    #[error("token budget of scope {id} exceeded")]
    Budget { id: Uuid, budget: i64, used: i64, asked: i64 },
    #[error("{entity} {id} exists with other values")]
    ExistsDifferently { entity: &'static str, id: Uuid, column: &'static str },
    #[error("invalid value for argument \"{argument}\"")]
    Argument { argument: &'static str, reason: String, hint: Option<String> },
    #[error("could not serialize access due to concurrent update")]
    Serialization,
    #[error(
        "row to be changed was already modified by an operation triggered by the current command"
    )]
    ModifiedByTrigger,
    #[error("{0}")]
    Internal(String),
    #[error("heap-only tuple ({block},{offset}) in table \"{table}\" has no root")]
    BrokenHotChain { table: String, block: u32, offset: u16 },
}

impl CaliberError {
    /// A bad argument that no column constraint covers.
    pub fn argument(argument: &'static str, reason: impl Into<String>) -> Self {
        Self::Argument { argument, reason: reason.into(), hint: None }
    }

    /// The SQLSTATE, by the table in docs/sql.md.
    pub fn sqlstate(&self) -> &'static str {
        use CaliberError as E;
        match self {
            E::FixedColumn { .. }
            | E::AppendOnly { .. }
            | E::Transition { .. }
            | E::Final { .. }
            | E::CounterFell { .. }
            | E::VersionStep { .. }
            | E::Relinked { .. }
            | E::PartitionMove { .. }
            | E::NotAddressed { .. }
            | E::MayNotDelegate { .. }
            | E::SupersedeCycle { .. }
            | E::NotAChild { .. }
            | E::WrongState { .. } => "55000",
            E::FenceFell { .. }
            | E::StaleVersion { .. }
            | E::StaleSequence { .. }
            | E::FenceMissing { .. }
            | E::FenceStale { .. }
            | E::FenceUnknown { .. }
            | E::LeaseOver { .. }
            | E::StaleReceipt { .. } => "55006",
            E::ColumnMissing { .. }
            | E::ColumnType { .. }
            | E::TwoKeys { .. }
            | E::ReadsAssigned { .. }
            | E::StateType { .. }
            | E::NotAnEntityTable { .. }
            | E::IndexMissing { .. } => "42P16",
            E::TableMissing { .. } | E::NoSuchRelation { .. } => "42P01",
            E::RowSecurity { .. }
            | E::Partitioned { .. }
            | E::RewriteRules { .. }
            | E::OtherSession => "0A000",
            E::NotOurs { .. } => "42809",
            E::ExtensionMissing { .. } => "42704",
            E::FunctionMissing { .. } => "42883",
            E::NoSuchRow { .. } => "P0002",
            E::Budget { .. } | E::SequenceExhausted { .. } => "54000",
            E::ExistsDifferently { .. } => "23505",
            E::Argument { .. } => "22023",
            E::Serialization => "40001",
            E::ModifiedByTrigger => "27000",
            E::BrokenHotChain { .. } => "XX001",
            E::Internal(_) => "XX000",
        }
    }

    /// The DETAIL line: the values that led to the refusal.
    pub fn detail(&self) -> Option<String> {
        use CaliberError as E;
        let null_or = |v: &Option<i64>| v.map_or_else(|| "null".to_owned(), |v| v.to_string());
        match self {
            E::FixedColumn { entity, column } => Some(format!(
                "Column \"{column}\" keeps the value that the {entity} was inserted with."
            )),
            E::AppendOnly { entity } => {
                Some(format!("A {entity} is never updated; it can only be inserted and deleted."))
            }
            E::Transition { from, to, allowed, .. } => Some(if allowed.is_empty() {
                format!(
                    "The state is \"{from}\", the new state is \"{to}\", and \"{from}\" is final."
                )
            } else {
                let allowed = quoted_list(allowed);
                format!(
                    "The state is \"{from}\", the new state is \"{to}\"; allowed next: {allowed}."
                )
            }),
            E::Final { column, .. } => Some(format!(
                "The update changes column \"{column}\"; only \"metadata\" may change any more."
            )),
            E::CounterFell { old, new, .. } | E::FenceFell { old, new, .. } => {
                Some(format!("The current value is {old}, the new value is {}.", null_or(new)))
            }
            E::VersionStep { old, new, .. } => Some(format!(
                "The current version is {}, the new version is {}.",
                null_or(old),
                null_or(new)
            )),
            E::Relinked { column, .. } => Some(format!(
                "Column \"{column}\" goes from null to a value or back, never from one value to another."
            )),
            E::LeaseOver { fence, .. } => {
                Some(format!("It had fence {fence} and was not extended in time."))
            }
            E::StaleReceipt { current, state, holder, .. } => Some(match holder {
                Some(holder) => format!(
                    "The state is \"{state}\", the current receipt is {current}, the holder is agent {holder}."
                ),
                None => format!("The state is \"{state}\", the current receipt is {current}."),
            }),
            E::NotAddressed { needed, .. } => Some(format!("Only {needed} may.")),
            E::MayNotDelegate { allowed, .. } => Some(if allowed.is_empty() {
                "Its can_delegate_to is empty.".to_owned()
            } else {
                let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                format!("Its can_delegate_to has {}.", quoted_list(&allowed))
            }),
            E::SupersedeCycle { by, .. } => {
                Some(format!("It replaces {by}, directly or through others."))
            }
            E::PartitionMove { .. } => {
                Some("The update changes a column of the partition key.".to_owned())
            }
            E::ColumnMissing { column, ty, .. } => {
                Some(format!("Column \"{column}\" of type {ty} is required."))
            }
            E::ColumnType { column, wanted, found, .. } => {
                Some(format!("Column \"{column}\" must have type {wanted}, not {found}."))
            }
            E::TwoKeys { first, second, .. } => Some(format!(
                "Columns \"{first}\" and \"{second}\" both have a key type; a table stores one entity."
            )),
            E::ReadsAssigned { column, .. } => Some(format!(
                "The access method assigns \"{column}\" after constraints, generated columns, partition keys and policies were evaluated."
            )),
            E::StateType { label, .. } => Some(format!("Label \"{label}\" is missing.")),
            E::IndexMissing { method, columns, .. } => {
                Some(format!("A valid {method} index on ({columns}) is needed."))
            }
            E::NotAnEntityTable { entity, .. } => Some(format!(
                "It must use access method caliber_am and have a column of type caliber_{entity}_id."
            )),
            E::RowSecurity { .. } => Some(
                "This function reads and writes without SQL and cannot apply policies.".to_owned(),
            ),
            E::StaleVersion { expected, current, .. } => Some(format!(
                "The expected version is {expected}, the current version is {current}."
            )),
            E::SequenceExhausted { .. } => {
                Some(format!("The highest sequence number is {}.", i32::MAX))
            }
            E::StaleSequence { next, .. } => Some(format!("The next sequence is {next}.")),
            E::FenceMissing { current, .. } => Some(format!("The current fence is {current}.")),
            E::FenceStale { fence, current, .. } | E::FenceUnknown { fence, current, .. } => {
                Some(format!("The fence given is {fence}, the current fence is {current}."))
            }
            E::WrongState { state, needed, .. } => {
                Some(format!("The state is \"{state}\", needed is \"{needed}\"."))
            }
            E::Budget { budget, used, asked, .. } => Some(format!(
                "The budget is {budget} tokens, {used} are used, {asked} more are asked for."
            )),
            E::ExistsDifferently { column, .. } => {
                Some(format!("Column \"{column}\" of the existing row differs from the argument."))
            }
            E::Argument { reason, .. } => Some(reason.clone()),
            E::TableMissing { .. }
            | E::NoSuchRelation { .. }
            | E::NotOurs { .. }
            | E::OtherSession
            | E::ExtensionMissing { .. }
            | E::FunctionMissing { .. }
            | E::Partitioned { .. }
            | E::RewriteRules { .. }
            | E::NoSuchRow { .. }
            | E::NotAChild { .. }
            | E::Serialization
            | E::ModifiedByTrigger
            | E::Internal(_)
            | E::BrokenHotChain { .. } => None,
        }
    }

    /// The HINT line: the way out.
    pub fn hint(&self) -> Option<String> {
        use CaliberError as E;
        match self {
            E::ColumnMissing { .. } | E::ColumnType { .. } => Some(
                "Add the column, or give the key column type uuid for a plain table.".to_owned(),
            ),
            E::TableMissing { .. } => Some(
                "Create the tables with SELECT caliber_init(), or point caliber.schema at them."
                    .to_owned(),
            ),
            E::IndexMissing { .. } => {
                Some("Create it with SELECT caliber_init().".to_owned())
            }
            E::RowSecurity { table } => {
                Some(format!("Use SQL on table \"{table}\" instead, where the policies apply."))
            }
            E::Partitioned { table } | E::RewriteRules { table } => {
                Some(format!("Use SQL on table \"{table}\" instead."))
            }
            E::StaleVersion { .. } => Some("Read the row again and decide anew.".to_owned()),
            E::FenceMissing { .. } | E::FenceStale { .. } | E::FenceUnknown { .. } => {
                Some("Acquire the lease again and use its fence.".to_owned())
            }
            E::LeaseOver { .. } => Some("Acquire the lease again.".to_owned()),
            E::StaleReceipt { .. } => {
                Some("Drop the work: the message was, or will be, delivered again.".to_owned())
            }
            E::MayNotDelegate { .. } => {
                Some("Add the type, or *, with caliber_agent_update().".to_owned())
            }
            E::Relinked { .. } => Some("Set it to null first.".to_owned()),
            E::SequenceExhausted { .. } => Some("Open another scope.".to_owned()),
            E::Budget { .. } => Some(
                "Raise token_budget with caliber_scope_update(), or open another scope.".to_owned(),
            ),
            E::ModifiedByTrigger => Some(
                "Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows."
                    .to_owned(),
            ),
            E::PartitionMove { .. } => {
                Some("Partition by a fixed column.".to_owned())
            }
            E::ExtensionMissing { extension } => {
                Some(format!("Install it with CREATE EXTENSION {extension}."))
            }
            E::FunctionMissing { extension, .. } => {
                Some(format!("Update it with ALTER EXTENSION {extension} UPDATE."))
            }
            E::Argument { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

/// `"a", "b"`
fn quoted_list(labels: &[&str]) -> String {
    labels.iter().map(|label| format!("\"{label}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<CaliberError> {
        let id = Uuid::nil();
        let text = || "x".to_owned();
        vec![
            CaliberError::FixedColumn { entity: "turn", column: "role" },
            CaliberError::AppendOnly { entity: "turn" },
            CaliberError::Transition {
                entity: "trajectory",
                from: text(),
                to: text(),
                allowed: &["a", "b"],
            },
            CaliberError::Final { entity: "scope", state: "false", column: text() },
            CaliberError::CounterFell { entity: "scope", column: "c", old: 2, new: None },
            CaliberError::FenceFell { entity: "scope", column: "fence", old: 2, new: Some(1) },
            CaliberError::VersionStep { entity: "scope", old: Some(1), new: Some(3) },
            CaliberError::PartitionMove { entity: "turn" },
            CaliberError::ColumnMissing {
                entity: "turn",
                table: text(),
                column: "role",
                ty: text(),
            },
            CaliberError::TwoKeys { table: text(), first: text(), second: text() },
            CaliberError::TableMissing { schema: text(), table: "caliber_turn" },
            CaliberError::IndexMissing { table: text(), method: "B-tree", columns: text() },
            CaliberError::Relinked { entity: "note", column: "superseded_by" },
            CaliberError::LeaseOver { entity: "lock", id, fence: 7 },
            CaliberError::StaleReceipt {
                id,
                receipt: 1,
                current: 2,
                state: "pending",
                holder: Some(id),
            },
            CaliberError::NotAddressed { entity: "handoff", id, agent: id, needed: "the receiver" },
            CaliberError::MayNotDelegate { agent: id, agent_type: text(), allowed: vec![text()] },
            CaliberError::SupersedeCycle { entity: "note", id, by: id },
            CaliberError::NotAChild { id, parent: id },
            CaliberError::RowSecurity { table: text() },
            CaliberError::NoSuchRow { entity: "turn", id },
            CaliberError::StaleVersion { entity: "scope", id, expected: 1, current: 2 },
            CaliberError::StaleSequence { id, given: 7, next: 3 },
            CaliberError::SequenceExhausted { id },
            CaliberError::FenceMissing { entity: "scope", id, current: 2 },
            CaliberError::Budget { id, budget: 10, used: 9, asked: 2 },
            CaliberError::argument("max_rows", "The value is 0; it must be at least 1."),
            CaliberError::Serialization,
            CaliberError::ModifiedByTrigger,
        ]
    }

    #[test]
    fn messages_are_in_postgresql_s_style() {
        for error in samples() {
            let message = error.to_string();
            assert!(!message.ends_with('.'), "{message}");
            assert!(!message.starts_with(|c: char| c.is_ascii_uppercase()), "{message}");
            for sentence in [error.detail(), error.hint()].into_iter().flatten() {
                assert!(sentence.ends_with('.'), "{message}: {sentence}");
                assert!(sentence.starts_with(|c: char| c.is_ascii_uppercase()), "{sentence}");
            }
        }
    }

    #[test]
    fn sqlstates_are_well_formed() {
        for error in samples() {
            let state = error.sqlstate();
            assert!(state.len() == 5 && state.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert_ne!(state, "XX000", "{error}");
        }
    }

    #[test]
    fn details_give_the_values() {
        let detail = |error: CaliberError| error.detail().unwrap_or_default();
        let budget = CaliberError::Budget { id: Uuid::nil(), budget: 10, used: 9, asked: 2 };
        for value in ["10", "9", "2"] {
            assert!(detail(budget.clone()).contains(value));
        }
        let transition = CaliberError::Transition {
            entity: "trajectory",
            from: "active".to_owned(),
            to: "lost".to_owned(),
            allowed: &["suspended", "completed"],
        };
        for label in ["\"active\"", "\"lost\"", "\"suspended\", \"completed\""] {
            assert!(detail(transition.clone()).contains(label));
        }
    }
}
