//! Handoff: the whole task changes hands.

use super::entity;

entity! {
    "handoff";
    columns {
        HANDOFF_ID = "handoff_id": Key, Fixed;
        FROM_AGENT_ID = "from_agent_id": Uuid, Fixed;
        TO_AGENT_ID = "to_agent_id": Uuid, Free;
        TO_AGENT_TYPE = "to_agent_type": Text, Fixed;
        TRAJECTORY_ID = "trajectory_id": Uuid, Fixed;
        SCOPE_ID = "scope_id": Uuid, Fixed;
        CONTEXT_SNAPSHOT_ID = "context_snapshot_id": Uuid, Free;
        HANDOFF_NOTES = "handoff_notes": Text, Free;
        NEXT_STEPS = "next_steps": TextArray, Free;
        BLOCKERS = "blockers": TextArray, Free;
        OPEN_QUESTIONS = "open_questions": TextArray, Free;
        REASON = "reason": Enum("caliber_handoff_reason"), Free;
        STATUS = "status": Enum("caliber_handoff_status"), State;
        INITIATED_AT = "initiated_at": Timestamptz, Free;
        ACCEPTED_AT = "accepted_at": Timestamptz, Free;
        COMPLETED_AT = "completed_at": Timestamptz, Free;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those to an agent in one state.
        TO_AGENT = Path::btree(&[TO_AGENT_ID, STATUS, HANDOFF_ID]);
        /// Those in one state to a type of agents.
        TO_TYPE = Path::btree(&[STATUS, TO_AGENT_TYPE, HANDOFF_ID]);
    }
    states {
        "initiated" => ["accepted", "rejected"];
        "accepted" => ["completed"];
        "rejected" => [];
        "completed" => [];
    }
}
