BEGIN;
SELECT message_id AS message FROM peer.caliber_message WHERE to_agent_type = 'client' AND status IN ('pending', 'delivered') AND visible_at <= clock_timestamp() AND delivery_count < max_deliveries AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY priority DESC, visible_at, message_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED \gset
UPDATE peer.caliber_message SET status = 'delivered', visible_at = clock_timestamp() + interval '1 minute', delivery_count = delivery_count + 1, claimed_by = bench.client_id(:client_id + 1), delivered_at = clock_timestamp(), updated_at = now(), version = version + 1 WHERE message_id = :message RETURNING delivery_count AS receipt \gset
COMMIT;
UPDATE peer.caliber_message SET status = 'acknowledged', acknowledged_at = clock_timestamp(), updated_at = now(), version = version + 1 WHERE message_id = :message AND status = 'delivered' AND claimed_by = bench.client_id(:client_id + 1) AND delivery_count = :receipt RETURNING message_id;
