//! Trajectory: a task.

use super::columns;
use caliber_am::model::{Entity, State};

columns! {
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

/// The definition of trajectories.
pub const ENTITY: Entity = Entity {
    name: "trajectory",
    domain: "caliber_trajectory_id",
    table: "caliber_trajectory",
    row_type: "caliber_trajectory_row",
    columns: COLUMNS,
    states: &[
        State { label: "active", next: &["suspended", "completed", "failed"] },
        State { label: "suspended", next: &["active", "completed", "failed"] },
        State { label: "completed", next: &[] },
        State { label: "failed", next: &[] },
    ],
    append_only: false,
};
