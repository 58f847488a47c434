-- Message: from agent to agent.

CREATE TABLE @schema@.caliber_message (
    message_id      @extschema@.caliber_message_id
                    DEFAULT @extschema@.caliber_new_id(),
    from_agent_id   uuid NOT NULL,
    to_agent_id     uuid,
    to_agent_type   text,
    message_type    text NOT NULL,
    payload         jsonb NOT NULL,
    trajectory_id   uuid,
    scope_id        uuid,
    artifact_ids    uuid[] NOT NULL DEFAULT '{}',
    priority        @extschema@.caliber_message_priority NOT NULL
                    DEFAULT 'normal'::@extschema@.caliber_message_priority,
    status          @extschema@.caliber_message_status NOT NULL
                    DEFAULT 'pending'::@extschema@.caliber_message_status,
    visible_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    delivery_count  int NOT NULL DEFAULT 0,
    max_deliveries  int NOT NULL DEFAULT 5,
    claimed_by      uuid,
    broadcast_id    uuid,
    expires_at      timestamptz,
    delivered_at    timestamptz,
    acknowledged_at timestamptz,
    metadata        jsonb,
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version         bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_message_pkey PRIMARY KEY (message_id),
    CONSTRAINT caliber_message_broadcast_key UNIQUE (broadcast_id, to_agent_id)
) USING caliber_am WITH (fillfactor = 70);

CREATE INDEX caliber_message_agent_queue_idx
    ON @schema@.caliber_message (to_agent_id, priority DESC, visible_at, message_id)
    WHERE to_agent_id IS NOT NULL AND status IN (
        'pending'::@extschema@.caliber_message_status,
        'delivered'::@extschema@.caliber_message_status);

CREATE INDEX caliber_message_type_queue_idx
    ON @schema@.caliber_message (to_agent_type, priority DESC, visible_at, message_id)
    WHERE to_agent_type IS NOT NULL AND status IN (
        'pending'::@extschema@.caliber_message_status,
        'delivered'::@extschema@.caliber_message_status);

CREATE INDEX caliber_message_dead_idx
    ON @schema@.caliber_message (message_id)
    WHERE status = 'dead'::@extschema@.caliber_message_status;

CREATE INDEX caliber_message_from_agent_idx
    ON @schema@.caliber_message (from_agent_id);

CREATE INDEX caliber_message_to_agent_idx
    ON @schema@.caliber_message (to_agent_id)
    WHERE to_agent_id IS NOT NULL;

CREATE INDEX caliber_message_trajectory_idx
    ON @schema@.caliber_message (trajectory_id)
    WHERE trajectory_id IS NOT NULL;

CREATE INDEX caliber_message_scope_idx
    ON @schema@.caliber_message (scope_id)
    WHERE scope_id IS NOT NULL;

CREATE INDEX caliber_message_claimed_by_idx
    ON @schema@.caliber_message (claimed_by)
    WHERE claimed_by IS NOT NULL;

COMMENT ON TABLE @schema@.caliber_message IS
'Messages from agent to agent, delivered at least once.';

COMMENT ON COLUMN @schema@.caliber_message.to_agent_type IS
'One agent of this type takes the message.';

COMMENT ON COLUMN @schema@.caliber_message.message_type IS
'An open set; well known: task_delegation, task_result, context_request, context_share, coordination_signal, handoff, interrupt, heartbeat.';

COMMENT ON COLUMN @schema@.caliber_message.visible_at IS
'The message can be received from this time on.';

COMMENT ON COLUMN @schema@.caliber_message.delivery_count IS
'How often the message was received; the receipt of the current delivery.';

COMMENT ON COLUMN @schema@.caliber_message.max_deliveries IS
'After so many deliveries without acknowledgement the message is dead.';

COMMENT ON COLUMN @schema@.caliber_message.claimed_by IS
'The agent of the current delivery.';

COMMENT ON COLUMN @schema@.caliber_message.broadcast_id IS
'The same for all rows of one message to everybody.';

ALTER TABLE @schema@.caliber_message
    ADD CONSTRAINT caliber_message_from_agent_id_fkey
    FOREIGN KEY (from_agent_id) REFERENCES @schema@.caliber_agent (agent_id);

ALTER TABLE @schema@.caliber_message
    ADD CONSTRAINT caliber_message_to_agent_id_fkey
    FOREIGN KEY (to_agent_id) REFERENCES @schema@.caliber_agent (agent_id);

ALTER TABLE @schema@.caliber_message
    ADD CONSTRAINT caliber_message_trajectory_id_fkey
    FOREIGN KEY (trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE SET NULL;

ALTER TABLE @schema@.caliber_message
    ADD CONSTRAINT caliber_message_scope_id_fkey
    FOREIGN KEY (scope_id) REFERENCES @schema@.caliber_scope (scope_id)
    ON DELETE SET NULL;

ALTER TABLE @schema@.caliber_message
    ADD CONSTRAINT caliber_message_claimed_by_fkey
    FOREIGN KEY (claimed_by) REFERENCES @schema@.caliber_agent (agent_id)
    ON DELETE SET NULL;
