SELECT message_id AS message, delivery_count AS receipt FROM peer.message_receive(bench.client_id(:client_id + 1), 1, '1 minute') \gset
SELECT peer.message_acknowledge(:message, bench.client_id(:client_id + 1), :receipt);
