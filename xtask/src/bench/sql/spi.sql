-- The functions of bench/spi. {library} is where its library was built.

CREATE FUNCTION peer.spi_turn_get(uuid) RETURNS peer.caliber_turn
AS '{library}', 'spi_turn_get_wrapper' LANGUAGE C STABLE STRICT;

CREATE FUNCTION peer.spi_turn_list(uuid) RETURNS SETOF peer.caliber_turn
AS '{library}', 'spi_turn_list_wrapper' LANGUAGE C STABLE STRICT;

CREATE FUNCTION peer.spi_turn_create(uuid, text, text, int) RETURNS uuid
AS '{library}', 'spi_turn_create_wrapper' LANGUAGE C STRICT;

CREATE FUNCTION peer.spi_turn_append_many(uuid, jsonb) RETURNS SETOF uuid
AS '{library}', 'spi_turn_append_many_wrapper' LANGUAGE C STRICT;

CREATE FUNCTION peer.spi_set_status(uuid, text) RETURNS peer.caliber_trajectory
AS '{library}', 'spi_set_status_wrapper' LANGUAGE C STRICT;

CREATE FUNCTION peer.spi_heartbeat(uuid) RETURNS timestamptz
AS '{library}', 'spi_heartbeat_wrapper' LANGUAGE C STRICT;

CREATE FUNCTION peer.spi_lock_acquire(uuid, text, uuid, interval) RETURNS peer.caliber_lock
AS '{library}', 'spi_lock_acquire_wrapper' LANGUAGE C STRICT;

CREATE FUNCTION peer.spi_lock_release(uuid, bigint) RETURNS boolean
AS '{library}', 'spi_lock_release_wrapper' LANGUAGE C STRICT;

CREATE FUNCTION peer.spi_message_send(uuid, text, jsonb, uuid) RETURNS uuid
AS '{library}', 'spi_message_send_wrapper' LANGUAGE C STRICT;

CREATE FUNCTION peer.spi_message_receive(uuid, int, interval) RETURNS SETOF peer.caliber_message
AS '{library}', 'spi_message_receive_wrapper' LANGUAGE C STRICT;

CREATE FUNCTION peer.spi_message_acknowledge(uuid, uuid, int) RETURNS peer.caliber_message
AS '{library}', 'spi_message_acknowledge_wrapper' LANGUAGE C STRICT;
