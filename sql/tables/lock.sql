-- Lock: a lease with a fencing token.

-- The sequence is not owned by the table: fences must go on rising when the table is made anew.
CREATE SEQUENCE @schema@.caliber_fence;

-- The sequence's name is dollar-quoted because the schema's name may hold a quote.
CREATE TABLE @schema@.caliber_lock (
    lock_id         @extschema@.caliber_lock_id
                    DEFAULT @extschema@.caliber_new_id(),
    resource_type   text NOT NULL,
    resource_id     uuid NOT NULL,
    holder_agent_id uuid NOT NULL,
    mode            @extschema@.caliber_lock_mode NOT NULL,
    fence           bigint NOT NULL
                    DEFAULT pg_catalog.nextval($name$@schema@.caliber_fence$name$::pg_catalog.regclass),
    acquired_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    expires_at      timestamptz NOT NULL,
    metadata        jsonb,
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version         bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_lock_pkey PRIMARY KEY (lock_id)
) USING caliber_am WITH (fillfactor = 80);

CREATE INDEX caliber_lock_resource_idx
    ON @schema@.caliber_lock (resource_type, resource_id);

CREATE INDEX caliber_lock_holder_idx
    ON @schema@.caliber_lock (holder_agent_id);

CREATE INDEX caliber_lock_expires_at_idx
    ON @schema@.caliber_lock (expires_at);

COMMENT ON SEQUENCE @schema@.caliber_fence IS
'Fencing tokens of leases and handoffs.';

COMMENT ON TABLE @schema@.caliber_lock IS
'Leases on resources; a lease holds while expires_at is in the future.';

COMMENT ON COLUMN @schema@.caliber_lock.fence IS
'Fencing token: a later lease on the same resource has a higher one.';

ALTER TABLE @schema@.caliber_lock
    ADD CONSTRAINT caliber_lock_holder_agent_id_fkey
    FOREIGN KEY (holder_agent_id) REFERENCES @schema@.caliber_agent (agent_id)
    ON DELETE CASCADE;
