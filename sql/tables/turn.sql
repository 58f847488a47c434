-- Turn: one message of a conversation, append-only.

CREATE TABLE @schema@.caliber_turn (
    turn_id      @extschema@.caliber_turn_id
                 DEFAULT @extschema@.caliber_new_id(),
    scope_id     uuid NOT NULL,
    sequence     int NOT NULL,
    role         @extschema@.caliber_turn_role NOT NULL,
    content      text NOT NULL,
    token_count  int NOT NULL,
    tool_calls   jsonb,
    tool_results jsonb,
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    metadata     jsonb,
    CONSTRAINT caliber_turn_pkey PRIMARY KEY (turn_id),
    CONSTRAINT caliber_turn_scope_sequence_key UNIQUE (scope_id, sequence),
    CONSTRAINT caliber_turn_sequence_check CHECK (sequence >= 0),
    CONSTRAINT caliber_turn_token_count_check CHECK (token_count >= 0)
) USING caliber_am;

COMMENT ON TABLE @schema@.caliber_turn IS
'Messages of conversations; rows are appended and deleted, never updated.';

COMMENT ON COLUMN @schema@.caliber_turn.sequence IS
'Place in the scope, from 0.';

COMMENT ON COLUMN @schema@.caliber_turn.token_count IS
'Tokens that the turn costs, as told by the writer or estimated.';

ALTER TABLE @schema@.caliber_turn
    ADD CONSTRAINT caliber_turn_scope_id_fkey
    FOREIGN KEY (scope_id) REFERENCES @schema@.caliber_scope (scope_id)
    ON DELETE CASCADE;
