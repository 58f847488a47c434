//! Agent: who works here.

use super::entity;

entity! {
    "agent";
    columns {
        AGENT_ID = "agent_id": Key, Fixed;
        AGENT_TYPE = "agent_type": Text, Free;
        CAPABILITIES = "capabilities": TextArray, Free;
        MEMORY_ACCESS = "memory_access": Jsonb, Free;
        STATUS = "status": Enum("caliber_agent_status"), Free;
        CURRENT_TRAJECTORY_ID = "current_trajectory_id": Uuid, Free;
        CURRENT_SCOPE_ID = "current_scope_id": Uuid, Free;
        CAN_DELEGATE_TO = "can_delegate_to": TextArray, Free;
        REPORTS_TO = "reports_to": Uuid, Free;
        LAST_HEARTBEAT = "last_heartbeat": Timestamptz, Touch;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those of a type.
        BY_TYPE = Path::btree(&[AGENT_TYPE, AGENT_ID]);
        /// Those in one state.
        BY_STATUS = Path::btree(&[STATUS, AGENT_ID]);
    }
}
