-- Delegation: a sub-task.

CREATE TABLE @schema@.caliber_delegation (
    delegation_id        @extschema@.caliber_delegation_id
                         DEFAULT @extschema@.caliber_new_id(),
    delegator_agent_id   uuid NOT NULL,
    delegatee_agent_id   uuid,
    delegatee_agent_type text,
    task_description     text NOT NULL,
    parent_trajectory_id uuid NOT NULL,
    child_trajectory_id  uuid,
    shared_artifacts     uuid[] NOT NULL DEFAULT '{}',
    shared_notes         uuid[] NOT NULL DEFAULT '{}',
    additional_context   text,
    constraints          jsonb NOT NULL DEFAULT '{}',
    deadline             timestamptz,
    status               @extschema@.caliber_delegation_status NOT NULL
                         DEFAULT 'pending'::@extschema@.caliber_delegation_status,
    result               jsonb,
    accepted_at          timestamptz,
    completed_at         timestamptz,
    metadata             jsonb,
    created_at           timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at           timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version              bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_delegation_pkey PRIMARY KEY (delegation_id)
) USING caliber_am;

CREATE INDEX caliber_delegation_delegator_idx
    ON @schema@.caliber_delegation (delegator_agent_id);

CREATE INDEX caliber_delegation_delegatee_idx
    ON @schema@.caliber_delegation (delegatee_agent_id, status, delegation_id);

CREATE INDEX caliber_delegation_delegatee_type_idx
    ON @schema@.caliber_delegation (status, delegatee_agent_type, delegation_id);

CREATE INDEX caliber_delegation_parent_idx
    ON @schema@.caliber_delegation (parent_trajectory_id);

CREATE INDEX caliber_delegation_child_idx
    ON @schema@.caliber_delegation (child_trajectory_id)
    WHERE child_trajectory_id IS NOT NULL;

COMMENT ON TABLE @schema@.caliber_delegation IS
'Sub-tasks that one agent gives to another.';

COMMENT ON COLUMN @schema@.caliber_delegation.delegatee_agent_type IS
'Any agent of this type may accept; * stands for any type.';

COMMENT ON COLUMN @schema@.caliber_delegation.child_trajectory_id IS
'The trajectory in which the delegatee works, known from acceptance on.';

ALTER TABLE @schema@.caliber_delegation
    ADD CONSTRAINT caliber_delegation_delegator_agent_id_fkey
    FOREIGN KEY (delegator_agent_id) REFERENCES @schema@.caliber_agent (agent_id);

ALTER TABLE @schema@.caliber_delegation
    ADD CONSTRAINT caliber_delegation_delegatee_agent_id_fkey
    FOREIGN KEY (delegatee_agent_id) REFERENCES @schema@.caliber_agent (agent_id);

ALTER TABLE @schema@.caliber_delegation
    ADD CONSTRAINT caliber_delegation_parent_trajectory_id_fkey
    FOREIGN KEY (parent_trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE CASCADE;

ALTER TABLE @schema@.caliber_delegation
    ADD CONSTRAINT caliber_delegation_child_trajectory_id_fkey
    FOREIGN KEY (child_trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE CASCADE;
