
-- Lock: a lease with a fencing token.

CREATE DOMAIN caliber_lock_id AS uuid;

COMMENT ON DOMAIN caliber_lock_id IS
'Key of a lock; a column of this type makes a caliber_am table a lock table.';

CREATE TYPE caliber_lock_mode AS ENUM (
    'exclusive', 'shared');

COMMENT ON TYPE caliber_lock_mode IS
'Whether a lease tolerates other shared leases on its resource.';

CREATE TYPE caliber_lock_row AS (
    lock_id         uuid,
    resource_type   text,
    resource_id     uuid,
    holder_agent_id uuid,
    mode            caliber_lock_mode,
    fence           bigint,
    acquired_at     timestamptz,
    expires_at      timestamptz,
    metadata        jsonb,
    created_at      timestamptz,
    updated_at      timestamptz,
    version         bigint);

COMMENT ON TYPE caliber_lock_row IS
'A lock as functions return it.';
