SELECT peer.heartbeat(bench.client_id(:n));
