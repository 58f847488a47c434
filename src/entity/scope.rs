//! Scope: a context window with a token budget.

use super::columns;
use caliber_am::model::{Entity, State};

columns! {
    SCOPE_ID = "scope_id": Key, Fixed;
    TRAJECTORY_ID = "trajectory_id": Uuid, Fixed;
    PARENT_SCOPE_ID = "parent_scope_id": Uuid, Fixed;
    NAME = "name": Text, Free;
    PURPOSE = "purpose": Text, Free;
    IS_ACTIVE = "is_active": Bool, State;
    TOKEN_BUDGET = "token_budget": Int4, Free;
    TOKENS_USED = "tokens_used": Int4, Counter;
    TURN_COUNT = "turn_count": Int4, Counter;
    FENCE = "fence": Int8, Fence;
    CHECKPOINT = "checkpoint": Jsonb, Free;
    CLOSED_AT = "closed_at": Timestamptz, Free;
    METADATA = "metadata": Jsonb, Metadata;
    CREATED_AT = "created_at": Timestamptz, Fixed;
    UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
    VERSION = "version": Int8, Version;
}

/// The definition of scopes.
pub const ENTITY: Entity = Entity {
    name: "scope",
    domain: "caliber_scope_id",
    table: "caliber_scope",
    row_type: "caliber_scope_row",
    columns: COLUMNS,
    states: &[State { label: "false", next: &[] }, State { label: "true", next: &["false"] }],
    append_only: false,
};
