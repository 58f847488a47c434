
-- Trajectory: a task.

CREATE DOMAIN caliber_trajectory_id AS uuid;

COMMENT ON DOMAIN caliber_trajectory_id IS
'Key of a trajectory; a column of this type makes a caliber_am table a trajectory table.';

CREATE TYPE caliber_trajectory_status AS ENUM (
    'active', 'suspended', 'completed', 'failed');

COMMENT ON TYPE caliber_trajectory_status IS
'State of a trajectory: active and suspended alternate; completed and failed are final.';

CREATE TYPE caliber_trajectory_row AS (
    trajectory_id        uuid,
    name                 text,
    description          text,
    status               caliber_trajectory_status,
    parent_trajectory_id uuid,
    root_trajectory_id   uuid,
    agent_id             uuid,
    fence                bigint,
    outcome              jsonb,
    completed_at         timestamptz,
    metadata             jsonb,
    created_at           timestamptz,
    updated_at           timestamptz,
    version              bigint);

COMMENT ON TYPE caliber_trajectory_row IS
'A trajectory as functions return it.';

CREATE FUNCTION caliber_trajectory_create(
    name text,
    description text DEFAULT NULL,
    agent_id uuid DEFAULT NULL,
    parent_trajectory_id uuid DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    trajectory_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_trajectory_create_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_trajectory_create IS
'Creates an active trajectory and returns its id.';

CREATE FUNCTION caliber_trajectory_get(id uuid)
RETURNS caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_trajectory_get IS
'The trajectory with this id; null for an unknown one.';

CREATE FUNCTION caliber_trajectory_get_many(ids uuid[])
RETURNS SETOF caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_trajectory_get_many IS
'The trajectories with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_trajectory_update(
    id uuid,
    changes jsonb,
    expected_version bigint DEFAULT NULL,
    fence bigint DEFAULT NULL)
RETURNS caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_update_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_trajectory_update IS
'Changes name, description, agent_id, outcome, metadata of a trajectory; returns the new row.';

CREATE FUNCTION caliber_trajectory_set_status(
    id uuid,
    status caliber_trajectory_status,
    outcome jsonb DEFAULT NULL,
    expected_version bigint DEFAULT NULL,
    fence bigint DEFAULT NULL)
RETURNS caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_set_status_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_trajectory_set_status IS
'Moves a trajectory to another state, with its outcome; returns the new row.';

CREATE FUNCTION caliber_trajectory_list_by_status(
    status caliber_trajectory_status,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_list_by_status_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_trajectory_list_by_status IS
'The trajectories in a state, oldest first.';

CREATE FUNCTION caliber_trajectory_list_children(
    id uuid,
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_trajectory_row
AS 'MODULE_PATHNAME', 'caliber_trajectory_list_children_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_trajectory_list_children IS
'The trajectories directly below a trajectory, oldest first.';

CREATE FUNCTION caliber_trajectory_delete(
    id uuid,
    fence bigint DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'caliber_trajectory_delete_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_trajectory_delete IS
'Deletes a trajectory and the tree below it; returns how many trajectories were deleted.';
