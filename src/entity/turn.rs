//! Turn: one message of a conversation, append-only.

use super::entity;

entity! {
    "turn" append_only;
    columns {
        TURN_ID = "turn_id": Key, Fixed;
        SCOPE_ID = "scope_id": Uuid, Fixed;
        SEQUENCE = "sequence": Int4, Fixed;
        ROLE = "role": Enum("caliber_turn_role"), Fixed;
        CONTENT = "content": Text, Fixed;
        TOKEN_COUNT = "token_count": Int4, Fixed;
        TOOL_CALLS = "tool_calls": Jsonb, Fixed;
        TOOL_RESULTS = "tool_results": Jsonb, Fixed;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        METADATA = "metadata": Jsonb, Fixed;
    }
    paths {
        /// Those of a scope, in sequence order.
        BY_SCOPE = Path::btree(&[SCOPE_ID, SEQUENCE]);
    }
}
