SELECT caliber_agent_heartbeat(bench.client_id(:n));
