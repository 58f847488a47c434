
-- Message: from agent to agent.

CREATE DOMAIN caliber_message_id AS uuid;

COMMENT ON DOMAIN caliber_message_id IS
'Key of a message; a column of this type makes a caliber_am table a message table.';

CREATE TYPE caliber_message_priority AS ENUM (
    'low', 'normal', 'high', 'critical');

COMMENT ON TYPE caliber_message_priority IS
'Urgency of a message, in rising order.';

CREATE TYPE caliber_message_status AS ENUM (
    'pending', 'delivered', 'acknowledged', 'dead');

COMMENT ON TYPE caliber_message_status IS
'State of a message: pending and delivered alternate, dead can return to pending; acknowledged is final.';

CREATE TYPE caliber_message_row AS (
    message_id      uuid,
    from_agent_id   uuid,
    to_agent_id     uuid,
    to_agent_type   text,
    message_type    text,
    payload         jsonb,
    trajectory_id   uuid,
    scope_id        uuid,
    artifact_ids    uuid[],
    priority        caliber_message_priority,
    status          caliber_message_status,
    visible_at      timestamptz,
    delivery_count  int,
    max_deliveries  int,
    claimed_by      uuid,
    broadcast_id    uuid,
    expires_at      timestamptz,
    delivered_at    timestamptz,
    acknowledged_at timestamptz,
    metadata        jsonb,
    created_at      timestamptz,
    updated_at      timestamptz,
    version         bigint);

COMMENT ON TYPE caliber_message_row IS
'A message as functions return it.';

CREATE FUNCTION caliber_channel(agent_id uuid)
RETURNS text
AS 'MODULE_PATHNAME', 'caliber_channel_of_agent_wrapper'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_channel(uuid) IS
'The channel to LISTEN on for messages to an agent.';

CREATE FUNCTION caliber_channel(agent_type text)
RETURNS text
AS 'MODULE_PATHNAME', 'caliber_channel_of_type_wrapper'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_channel(text) IS
'The channel to LISTEN on for messages to a type of agents.';

CREATE FUNCTION caliber_message_send(
    from_agent_id uuid,
    message_type text,
    payload jsonb,
    to_agent_id uuid DEFAULT NULL,
    to_agent_type text DEFAULT NULL,
    priority caliber_message_priority DEFAULT NULL,
    trajectory_id uuid DEFAULT NULL,
    scope_id uuid DEFAULT NULL,
    artifact_ids uuid[] DEFAULT NULL,
    ttl interval DEFAULT NULL,
    delay interval DEFAULT NULL,
    max_deliveries int DEFAULT NULL,
    message_id uuid DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'caliber_message_send_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_message_send IS
'Sends a message to an agent, to one agent of a type, or to everybody; returns its id, for everybody the broadcast_id.';

CREATE FUNCTION caliber_message_send_many(
    from_agent_id uuid,
    message_type text,
    payloads jsonb[],
    to_agent_id uuid DEFAULT NULL,
    to_agent_type text DEFAULT NULL,
    priority caliber_message_priority DEFAULT NULL,
    trajectory_id uuid DEFAULT NULL,
    scope_id uuid DEFAULT NULL,
    ttl interval DEFAULT NULL,
    delay interval DEFAULT NULL,
    max_deliveries int DEFAULT NULL)
RETURNS SETOF uuid
AS 'MODULE_PATHNAME', 'caliber_message_send_many_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;

COMMENT ON FUNCTION caliber_message_send_many IS
'Sends a message for each payload to an agent, or to agents of a type, all or none; returns the ids.';

CREATE FUNCTION caliber_message_get(id uuid)
RETURNS caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_get_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION caliber_message_get IS
'The message with this id; null for an unknown one.';

CREATE FUNCTION caliber_message_get_many(ids uuid[])
RETURNS SETOF caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_get_many_wrapper'
LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 100;

COMMENT ON FUNCTION caliber_message_get_many IS
'The messages with these ids, in the order of the ids; unknown ids have no row.';

CREATE FUNCTION caliber_message_list_for_agent(
    agent_id uuid,
    max_rows int DEFAULT 100,
    after_priority caliber_message_priority DEFAULT NULL,
    after_visible_at timestamptz DEFAULT NULL,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_list_for_agent_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_message_list_for_agent IS
'The pending and delivered messages to an agent or its type, critical first, then by visible_at.';

CREATE FUNCTION caliber_message_receive(
    agent_id uuid,
    max_messages int DEFAULT 1,
    visibility interval DEFAULT '30 seconds')
RETURNS SETOF caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_receive_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_message_receive IS
'Claims messages to an agent or its type; unless acknowledged within visibility, they become visible again.';

CREATE FUNCTION caliber_message_acknowledge(
    message_id uuid,
    agent_id uuid,
    receipt int)
RETURNS caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_acknowledge_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_message_acknowledge IS
'Marks a delivery as done; receipt is the delivery_count received. Returns the new row.';

CREATE FUNCTION caliber_message_release(
    message_id uuid,
    agent_id uuid,
    receipt int,
    delay interval DEFAULT '0')
RETURNS caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_release_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_message_release IS
'Gives a delivery back, visible again after delay; returns the new row.';

CREATE FUNCTION caliber_message_redrive(
    message_id uuid,
    deliveries int DEFAULT 5)
RETURNS caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_redrive_wrapper'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION caliber_message_redrive IS
'Makes a dead message pending again, for so many further deliveries; returns the new row.';

CREATE FUNCTION caliber_message_list_dead(
    max_rows int DEFAULT 100,
    after uuid DEFAULT NULL)
RETURNS SETOF caliber_message_row
AS 'MODULE_PATHNAME', 'caliber_message_list_dead_wrapper'
LANGUAGE C STABLE PARALLEL SAFE ROWS 100
SUPPORT caliber_rows_support;

COMMENT ON FUNCTION caliber_message_list_dead IS
'The messages that nobody acknowledged in time, oldest first.';
