-- Conflict: two items disagree.

CREATE TABLE @schema@.caliber_conflict (
    conflict_id   @extschema@.caliber_conflict_id
                  DEFAULT @extschema@.caliber_new_id(),
    conflict_type @extschema@.caliber_conflict_conflict_type NOT NULL,
    item_a_type   text NOT NULL,
    item_a_id     uuid NOT NULL,
    item_b_type   text NOT NULL,
    item_b_id     uuid NOT NULL,
    agent_a_id    uuid,
    agent_b_id    uuid,
    trajectory_id uuid,
    status        @extschema@.caliber_conflict_status NOT NULL
                  DEFAULT 'detected'::@extschema@.caliber_conflict_status,
    resolution    jsonb,
    detected_at   timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    resolved_at   timestamptz,
    metadata      jsonb,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version       bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_conflict_pkey PRIMARY KEY (conflict_id),
    CONSTRAINT caliber_conflict_items_check
        CHECK (item_a_id <> item_b_id OR item_a_type <> item_b_type)
) USING caliber_am;

CREATE INDEX caliber_conflict_status_idx
    ON @schema@.caliber_conflict (status, conflict_id);

CREATE INDEX caliber_conflict_items_idx
    ON @schema@.caliber_conflict (item_a_id, item_b_id);

CREATE INDEX caliber_conflict_agent_a_idx
    ON @schema@.caliber_conflict (agent_a_id)
    WHERE agent_a_id IS NOT NULL;

CREATE INDEX caliber_conflict_agent_b_idx
    ON @schema@.caliber_conflict (agent_b_id)
    WHERE agent_b_id IS NOT NULL;

CREATE INDEX caliber_conflict_trajectory_idx
    ON @schema@.caliber_conflict (trajectory_id)
    WHERE trajectory_id IS NOT NULL;

COMMENT ON TABLE @schema@.caliber_conflict IS
'Pairs of items that disagree, and what was decided.';

COMMENT ON COLUMN @schema@.caliber_conflict.item_a_type IS
'What kind of item item_a_id names: artifact or note, for instance.';

COMMENT ON COLUMN @schema@.caliber_conflict.item_b_type IS
'What kind of item item_b_id names: artifact or note, for instance.';

ALTER TABLE @schema@.caliber_conflict
    ADD CONSTRAINT caliber_conflict_agent_a_id_fkey
    FOREIGN KEY (agent_a_id) REFERENCES @schema@.caliber_agent (agent_id);

ALTER TABLE @schema@.caliber_conflict
    ADD CONSTRAINT caliber_conflict_agent_b_id_fkey
    FOREIGN KEY (agent_b_id) REFERENCES @schema@.caliber_agent (agent_id);

ALTER TABLE @schema@.caliber_conflict
    ADD CONSTRAINT caliber_conflict_trajectory_id_fkey
    FOREIGN KEY (trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE CASCADE;
