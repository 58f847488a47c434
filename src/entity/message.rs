//! Message: from agent to agent.

use super::entity;

entity! {
    "message";
    columns {
        MESSAGE_ID = "message_id": Key, Fixed;
        FROM_AGENT_ID = "from_agent_id": Uuid, Fixed;
        TO_AGENT_ID = "to_agent_id": Uuid, Fixed;
        TO_AGENT_TYPE = "to_agent_type": Text, Fixed;
        MESSAGE_TYPE = "message_type": Text, Fixed;
        PAYLOAD = "payload": Jsonb, Fixed;
        TRAJECTORY_ID = "trajectory_id": Uuid, Reference;
        SCOPE_ID = "scope_id": Uuid, Reference;
        ARTIFACT_IDS = "artifact_ids": UuidArray, Fixed;
        PRIORITY = "priority": Enum("caliber_message_priority"), Free;
        STATUS = "status": Enum("caliber_message_status"), State;
        VISIBLE_AT = "visible_at": Timestamptz, Free;
        DELIVERY_COUNT = "delivery_count": Int4, Free;
        MAX_DELIVERIES = "max_deliveries": Int4, Free;
        CLAIMED_BY = "claimed_by": Uuid, Reference;
        BROADCAST_ID = "broadcast_id": Uuid, Fixed;
        EXPIRES_AT = "expires_at": Timestamptz, Free;
        DELIVERED_AT = "delivered_at": Timestamptz, Free;
        ACKNOWLEDGED_AT = "acknowledged_at": Timestamptz, Free;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those waiting for an agent, most urgent first.
        TO_AGENT = Path::btree(&[TO_AGENT_ID, PRIORITY, VISIBLE_AT, MESSAGE_ID])
            .falling(&[PRIORITY])
            .restricted_to(Partial::In(STATUS, &["pending", "delivered"]));
        /// Those waiting for a type of agents, most urgent first.
        TO_TYPE = Path::btree(&[TO_AGENT_TYPE, PRIORITY, VISIBLE_AT, MESSAGE_ID])
            .falling(&[PRIORITY])
            .restricted_to(Partial::In(STATUS, &["pending", "delivered"]));
        /// The dead ones.
        DEAD = Path::btree(&[MESSAGE_ID]).restricted_to(Partial::In(STATUS, &["dead"]));
        /// Those of a broadcast.
        BY_BROADCAST = Path::btree(&[BROADCAST_ID, TO_AGENT_ID]);
    }
    states {
        "pending" => ["delivered", "dead"];
        "delivered" => ["pending", "acknowledged", "dead"];
        "acknowledged" => [];
        "dead" => ["pending"];
    }
}
