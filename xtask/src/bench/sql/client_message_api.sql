SELECT message_id AS message, delivery_count AS receipt FROM caliber_message_receive(bench.client_id(:client_id + 1), 1, '1 minute') \gset
SELECT caliber_message_acknowledge(:message, bench.client_id(:client_id + 1), :receipt);
