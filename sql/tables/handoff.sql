-- Handoff: the whole task changes hands.

CREATE TABLE @schema@.caliber_handoff (
    handoff_id          @extschema@.caliber_handoff_id
                        DEFAULT @extschema@.caliber_new_id(),
    from_agent_id       uuid NOT NULL,
    to_agent_id         uuid,
    to_agent_type       text,
    trajectory_id       uuid NOT NULL,
    scope_id            uuid NOT NULL,
    context_snapshot_id uuid,
    handoff_notes       text NOT NULL DEFAULT '',
    next_steps          text[] NOT NULL DEFAULT '{}',
    blockers            text[] NOT NULL DEFAULT '{}',
    open_questions      text[] NOT NULL DEFAULT '{}',
    reason              @extschema@.caliber_handoff_reason NOT NULL,
    status              @extschema@.caliber_handoff_status NOT NULL
                        DEFAULT 'initiated'::@extschema@.caliber_handoff_status,
    initiated_at        timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    accepted_at         timestamptz,
    completed_at        timestamptz,
    metadata            jsonb,
    created_at          timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at          timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version             bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_handoff_pkey PRIMARY KEY (handoff_id)
) USING caliber_am;

CREATE INDEX caliber_handoff_to_agent_idx
    ON @schema@.caliber_handoff (to_agent_id, status, handoff_id);

CREATE INDEX caliber_handoff_to_agent_type_idx
    ON @schema@.caliber_handoff (status, to_agent_type, handoff_id);

CREATE INDEX caliber_handoff_from_agent_idx
    ON @schema@.caliber_handoff (from_agent_id);

CREATE INDEX caliber_handoff_trajectory_idx
    ON @schema@.caliber_handoff (trajectory_id);

CREATE INDEX caliber_handoff_scope_idx
    ON @schema@.caliber_handoff (scope_id);

COMMENT ON TABLE @schema@.caliber_handoff IS
'Tasks that change hands as a whole.';

COMMENT ON COLUMN @schema@.caliber_handoff.to_agent_type IS
'Any agent of this type may accept.';

COMMENT ON COLUMN @schema@.caliber_handoff.context_snapshot_id IS
'Where the giver left a snapshot of its context; kept outside these tables.';

ALTER TABLE @schema@.caliber_handoff
    ADD CONSTRAINT caliber_handoff_from_agent_id_fkey
    FOREIGN KEY (from_agent_id) REFERENCES @schema@.caliber_agent (agent_id);

ALTER TABLE @schema@.caliber_handoff
    ADD CONSTRAINT caliber_handoff_to_agent_id_fkey
    FOREIGN KEY (to_agent_id) REFERENCES @schema@.caliber_agent (agent_id);

ALTER TABLE @schema@.caliber_handoff
    ADD CONSTRAINT caliber_handoff_trajectory_id_fkey
    FOREIGN KEY (trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE CASCADE;

ALTER TABLE @schema@.caliber_handoff
    ADD CONSTRAINT caliber_handoff_scope_id_fkey
    FOREIGN KEY (scope_id, trajectory_id)
    REFERENCES @schema@.caliber_scope (scope_id, trajectory_id)
    ON DELETE CASCADE;
