//! Trajectory: a task.

use super::entity;

entity! {
    "trajectory";
    columns {
        TRAJECTORY_ID = "trajectory_id": Key, Fixed;
        NAME = "name": Text, Free;
        DESCRIPTION = "description": Text, Free;
        STATUS = "status": Enum("caliber_trajectory_status"), State;
        PARENT_TRAJECTORY_ID = "parent_trajectory_id": Uuid, Fixed;
        ROOT_TRAJECTORY_ID = "root_trajectory_id": Uuid, Fixed;
        AGENT_ID = "agent_id": Uuid, Free;
        FENCE = "fence": Int8, Fence;
        OUTCOME = "outcome": Jsonb, Free;
        COMPLETED_AT = "completed_at": Timestamptz, Free;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those in one state.
        BY_STATUS = Path::btree(&[STATUS, TRAJECTORY_ID]);
        /// The children of one.
        BY_PARENT = Path::btree(&[PARENT_TRAJECTORY_ID, TRAJECTORY_ID]);
    }
    states {
        "active" => ["suspended", "completed", "failed"];
        "suspended" => ["active", "completed", "failed"];
        "completed" => [];
        "failed" => [];
    }
}
