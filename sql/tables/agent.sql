-- Agent: who works here.

-- Heartbeats update the row all the time and touch no index: a full page has room for a second
-- version of each row.
CREATE TABLE @schema@.caliber_agent (
    agent_id              @extschema@.caliber_agent_id
                          DEFAULT @extschema@.caliber_new_id(),
    agent_type            text NOT NULL,
    capabilities          text[] NOT NULL DEFAULT '{}',
    memory_access         jsonb NOT NULL DEFAULT '{}',
    status                @extschema@.caliber_agent_status NOT NULL
                          DEFAULT 'idle'::@extschema@.caliber_agent_status,
    current_trajectory_id uuid,
    current_scope_id      uuid,
    can_delegate_to       text[] NOT NULL DEFAULT '{}',
    reports_to            uuid,
    last_heartbeat        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    metadata              jsonb,
    created_at            timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at            timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version               bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_agent_pkey PRIMARY KEY (agent_id)
) USING caliber_am WITH (fillfactor = 50);

CREATE INDEX caliber_agent_type_idx
    ON @schema@.caliber_agent (agent_type, agent_id);

CREATE INDEX caliber_agent_status_idx
    ON @schema@.caliber_agent (status, agent_id);

CREATE INDEX caliber_agent_current_trajectory_idx
    ON @schema@.caliber_agent (current_trajectory_id)
    WHERE current_trajectory_id IS NOT NULL;

CREATE INDEX caliber_agent_current_scope_idx
    ON @schema@.caliber_agent (current_scope_id)
    WHERE current_scope_id IS NOT NULL;

CREATE INDEX caliber_agent_reports_to_idx
    ON @schema@.caliber_agent (reports_to)
    WHERE reports_to IS NOT NULL;

COMMENT ON TABLE @schema@.caliber_agent IS
'Who works here.';

COMMENT ON COLUMN @schema@.caliber_agent.can_delegate_to IS
'Agent types that the agent may delegate to; * stands for any type.';

COMMENT ON COLUMN @schema@.caliber_agent.last_heartbeat IS
'When the agent last showed that it lives; changes without version.';

ALTER TABLE @schema@.caliber_agent
    ADD CONSTRAINT caliber_agent_current_trajectory_id_fkey
    FOREIGN KEY (current_trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE SET NULL;

ALTER TABLE @schema@.caliber_agent
    ADD CONSTRAINT caliber_agent_current_scope_id_fkey
    FOREIGN KEY (current_scope_id) REFERENCES @schema@.caliber_scope (scope_id)
    ON DELETE SET NULL;

ALTER TABLE @schema@.caliber_agent
    ADD CONSTRAINT caliber_agent_reports_to_fkey
    FOREIGN KEY (reports_to) REFERENCES @schema@.caliber_agent (agent_id)
    ON DELETE SET NULL;
