//! Scope: a context window with a token budget.

use super::entity;

entity! {
    "scope";
    columns {
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
    paths {
        /// Those of a trajectory.
        BY_TRAJECTORY = Path::btree(&[TRAJECTORY_ID, SCOPE_ID]);
        /// The active ones of a trajectory.
        ACTIVE_BY_TRAJECTORY = Path::btree(&[TRAJECTORY_ID, SCOPE_ID]).restricted_to(Partial::True(IS_ACTIVE));
    }
    states {
        "false" => [];
        "true" => ["false"];
    }
}
