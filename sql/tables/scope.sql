-- Scope: a context window with a token budget.

-- Every appended turn updates its scope: a full page has room for a second version of each row.
CREATE TABLE @schema@.caliber_scope (
    scope_id        @extschema@.caliber_scope_id
                    DEFAULT @extschema@.caliber_new_id(),
    trajectory_id   uuid NOT NULL,
    parent_scope_id uuid,
    name            text NOT NULL,
    purpose         text,
    is_active       boolean NOT NULL DEFAULT true,
    token_budget    int NOT NULL,
    tokens_used     int NOT NULL DEFAULT 0,
    turn_count      int NOT NULL DEFAULT 0,
    fence           bigint NOT NULL DEFAULT 0,
    checkpoint      jsonb,
    closed_at       timestamptz,
    metadata        jsonb,
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version         bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_scope_pkey PRIMARY KEY (scope_id),
    CONSTRAINT caliber_scope_scope_trajectory_key UNIQUE (scope_id, trajectory_id),
    CONSTRAINT caliber_scope_token_budget_check CHECK (token_budget > 0),
    CONSTRAINT caliber_scope_tokens_used_check
        CHECK (tokens_used >= 0 AND tokens_used <= token_budget),
    CONSTRAINT caliber_scope_closed_at_check CHECK ((closed_at IS NULL) = is_active)
) USING caliber_am WITH (fillfactor = 50);

CREATE INDEX caliber_scope_trajectory_idx
    ON @schema@.caliber_scope (trajectory_id, scope_id);

CREATE INDEX caliber_scope_active_idx
    ON @schema@.caliber_scope (trajectory_id, scope_id)
    WHERE is_active;

CREATE INDEX caliber_scope_parent_idx
    ON @schema@.caliber_scope (parent_scope_id)
    WHERE parent_scope_id IS NOT NULL;

COMMENT ON TABLE @schema@.caliber_scope IS
'Context windows of trajectories, each with a token budget.';

COMMENT ON COLUMN @schema@.caliber_scope.turn_count IS
'One past the highest sequence number ever given to a turn.';

COMMENT ON COLUMN @schema@.caliber_scope.fence IS
'Highest fencing token used on the scope; writers with a lower one are refused.';

COMMENT ON COLUMN @schema@.caliber_scope.closed_at IS
'Set exactly when the scope is not active.';

ALTER TABLE @schema@.caliber_scope
    ADD CONSTRAINT caliber_scope_trajectory_id_fkey
    FOREIGN KEY (trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE CASCADE;

ALTER TABLE @schema@.caliber_scope
    ADD CONSTRAINT caliber_scope_parent_scope_id_fkey
    FOREIGN KEY (parent_scope_id, trajectory_id)
    REFERENCES @schema@.caliber_scope (scope_id, trajectory_id)
    ON DELETE CASCADE;
