
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
