BEGIN;
UPDATE peer.caliber_scope SET tokens_used = tokens_used + 6, turn_count = turn_count + 1 WHERE scope_id = bench.client_id(:n) AND is_active AND tokens_used + 6 <= token_budget RETURNING turn_count - 1 AS sequence \gset
INSERT INTO peer.caliber_turn (scope_id, sequence, role, content, token_count) VALUES (bench.client_id(:n), :sequence, 'user', 'a message of some length', 6) RETURNING turn_id;
COMMIT;
