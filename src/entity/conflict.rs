//! Conflict: two items disagree.

use super::entity;

entity! {
    "conflict";
    columns {
        CONFLICT_ID = "conflict_id": Key, Fixed;
        CONFLICT_TYPE = "conflict_type": Enum("caliber_conflict_conflict_type"), Free;
        ITEM_A_TYPE = "item_a_type": Text, Fixed;
        ITEM_A_ID = "item_a_id": Uuid, Fixed;
        ITEM_B_TYPE = "item_b_type": Text, Fixed;
        ITEM_B_ID = "item_b_id": Uuid, Fixed;
        AGENT_A_ID = "agent_a_id": Uuid, Free;
        AGENT_B_ID = "agent_b_id": Uuid, Free;
        TRAJECTORY_ID = "trajectory_id": Uuid, Free;
        STATUS = "status": Enum("caliber_conflict_status"), State;
        RESOLUTION = "resolution": Jsonb, Free;
        DETECTED_AT = "detected_at": Timestamptz, Free;
        RESOLVED_AT = "resolved_at": Timestamptz, Free;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those in one state.
        BY_STATUS = Path::btree(&[STATUS, CONFLICT_ID]);
    }
    states {
        "detected" => ["resolving", "resolved", "escalated"];
        "resolving" => ["resolved", "escalated"];
        "resolved" => [];
        "escalated" => ["resolving", "resolved"];
    }
}
