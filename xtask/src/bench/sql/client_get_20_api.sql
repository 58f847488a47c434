SELECT agent_id FROM caliber_agent_get_many((SELECT array_agg(bench.client_id((:n + 997 * i) % 1000 + 1)) FROM generate_series(1, 20) i));
