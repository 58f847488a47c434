//! Delegation: a sub-task.

use super::entity;

entity! {
    "delegation";
    columns {
        DELEGATION_ID = "delegation_id": Key, Fixed;
        DELEGATOR_AGENT_ID = "delegator_agent_id": Uuid, Fixed;
        DELEGATEE_AGENT_ID = "delegatee_agent_id": Uuid, Free;
        DELEGATEE_AGENT_TYPE = "delegatee_agent_type": Text, Fixed;
        TASK_DESCRIPTION = "task_description": Text, Fixed;
        PARENT_TRAJECTORY_ID = "parent_trajectory_id": Uuid, Fixed;
        CHILD_TRAJECTORY_ID = "child_trajectory_id": Uuid, Free;
        SHARED_ARTIFACTS = "shared_artifacts": UuidArray, Free;
        SHARED_NOTES = "shared_notes": UuidArray, Free;
        ADDITIONAL_CONTEXT = "additional_context": Text, Free;
        CONSTRAINTS = "constraints": Jsonb, Free;
        DEADLINE = "deadline": Timestamptz, Free;
        STATUS = "status": Enum("caliber_delegation_status"), State;
        RESULT = "result": Jsonb, Free;
        ACCEPTED_AT = "accepted_at": Timestamptz, Free;
        COMPLETED_AT = "completed_at": Timestamptz, Free;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those of a delegatee in one state.
        TO_AGENT = Path::btree(&[DELEGATEE_AGENT_ID, STATUS, DELEGATION_ID]);
        /// Those in one state for a type of agents.
        TO_TYPE = Path::btree(&[STATUS, DELEGATEE_AGENT_TYPE, DELEGATION_ID]);
    }
    states {
        "pending" => ["accepted", "rejected", "failed"];
        "accepted" => ["in_progress", "completed", "failed"];
        "in_progress" => ["completed", "failed"];
        "rejected" => [];
        "completed" => [];
        "failed" => [];
    }
}
