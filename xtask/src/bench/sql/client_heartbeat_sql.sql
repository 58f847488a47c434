UPDATE peer.caliber_agent SET last_heartbeat = clock_timestamp() WHERE agent_id = bench.client_id(:n) RETURNING last_heartbeat;
