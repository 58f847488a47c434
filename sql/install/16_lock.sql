
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

CREATE FUNCTION caliber_lock_acquire(
    agent_id uuid,
    resource_type text,
    resource_id uuid,
    ttl interval,
    mode caliber_lock_mode DEFAULT 'exclusive',
    wait interval DEFAULT '0')
RETURNS caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_acquire_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_lock_acquire IS
'Takes a lease on a resource; null when the resource is busy for the whole wait.';

CREATE FUNCTION caliber_lock_extend(
    lock_id uuid,
    fence bigint,
    ttl interval)
RETURNS caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_extend_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_lock_extend IS
'Lets a live lease end ttl from now, with the fence it has; returns the new row.';

CREATE FUNCTION caliber_lock_release(
    lock_id uuid,
    fence bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'caliber_lock_release_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_lock_release IS
'Gives a lease back, with its current fence; false when there is no such lease any more.';

CREATE FUNCTION caliber_lock_get(id uuid)
RETURNS caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_lock_get IS
'The lease with this id, live or expired; null for an unknown one.';

CREATE FUNCTION caliber_lock_check(
    resource_type text,
    resource_id uuid)
RETURNS SETOF caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_check_wrapper'
LANGUAGE C VOLATILE PARALLEL SAFE ROWS 1;

COMMENT ON FUNCTION caliber_lock_check IS
'The live leases on a resource.';

CREATE FUNCTION caliber_lock_list_by_resource(
    resource_type text,
    resource_id uuid)
RETURNS SETOF caliber_lock_row
AS 'MODULE_PATHNAME', 'caliber_lock_list_by_resource_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 10;

COMMENT ON FUNCTION caliber_lock_list_by_resource IS
'All leases on a resource, expired ones too, oldest fence first.';

CREATE FUNCTION caliber_lock_reap()
RETURNS bigint
AS 'MODULE_PATHNAME', 'caliber_lock_reap_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_lock_reap IS
'Removes expired leases; returns how many.';
