SELECT caliber_turn_create(bench.client_id(:n), 'user', 'a message of some length', 6);
