-- Trajectory: a task.

CREATE TABLE @schema@.caliber_trajectory (
    trajectory_id        @extschema@.caliber_trajectory_id
                         DEFAULT @extschema@.caliber_new_id(),
    name                 text NOT NULL,
    description          text,
    status               @extschema@.caliber_trajectory_status NOT NULL
                         DEFAULT 'active'::@extschema@.caliber_trajectory_status,
    parent_trajectory_id uuid,
    root_trajectory_id   uuid NOT NULL,
    agent_id             uuid,
    fence                bigint NOT NULL DEFAULT 0,
    outcome              jsonb,
    completed_at         timestamptz,
    metadata             jsonb,
    created_at           timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at           timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version              bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_trajectory_pkey PRIMARY KEY (trajectory_id),
    CONSTRAINT caliber_trajectory_name_check CHECK (name <> ''),
    CONSTRAINT caliber_trajectory_root_check
        CHECK (parent_trajectory_id IS NOT NULL OR root_trajectory_id = trajectory_id),
    CONSTRAINT caliber_trajectory_completed_at_check
        CHECK ((completed_at IS NOT NULL) = (status IN (
            'completed'::@extschema@.caliber_trajectory_status,
            'failed'::@extschema@.caliber_trajectory_status)))
) USING caliber_am WITH (fillfactor = 80);

CREATE INDEX caliber_trajectory_status_idx
    ON @schema@.caliber_trajectory (status, trajectory_id);

CREATE INDEX caliber_trajectory_agent_idx
    ON @schema@.caliber_trajectory (agent_id, trajectory_id)
    WHERE agent_id IS NOT NULL;

CREATE INDEX caliber_trajectory_parent_idx
    ON @schema@.caliber_trajectory (parent_trajectory_id, trajectory_id)
    WHERE parent_trajectory_id IS NOT NULL;

CREATE INDEX caliber_trajectory_root_idx
    ON @schema@.caliber_trajectory (root_trajectory_id);

COMMENT ON TABLE @schema@.caliber_trajectory IS
'Tasks, each at its place in a tree of tasks.';

COMMENT ON COLUMN @schema@.caliber_trajectory.root_trajectory_id IS
'The top of the tree; the trajectory itself for a root.';

COMMENT ON COLUMN @schema@.caliber_trajectory.fence IS
'Highest fencing token used on the trajectory; writers with a lower one are refused.';

COMMENT ON COLUMN @schema@.caliber_trajectory.completed_at IS
'Set exactly when the status is completed or failed.';

ALTER TABLE @schema@.caliber_trajectory
    ADD CONSTRAINT caliber_trajectory_parent_trajectory_id_fkey
    FOREIGN KEY (parent_trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE CASCADE;

ALTER TABLE @schema@.caliber_trajectory
    ADD CONSTRAINT caliber_trajectory_root_trajectory_id_fkey
    FOREIGN KEY (root_trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE CASCADE;

ALTER TABLE @schema@.caliber_trajectory
    ADD CONSTRAINT caliber_trajectory_agent_id_fkey
    FOREIGN KEY (agent_id) REFERENCES @schema@.caliber_agent (agent_id);
