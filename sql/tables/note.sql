-- Note: knowledge across trajectories.

CREATE TABLE @schema@.caliber_note (
    note_id               @extschema@.caliber_note_id
                          DEFAULT @extschema@.caliber_new_id(),
    note_type             text NOT NULL,
    title                 text NOT NULL,
    content               text NOT NULL,
    content_hash          bytea
                          GENERATED ALWAYS AS (@extschema@.caliber_content_hash(content)) STORED,
    embedding             @vector@.vector(@dim@),
    abstraction_level     @extschema@.caliber_note_abstraction_level NOT NULL
                          DEFAULT 'raw'::@extschema@.caliber_note_abstraction_level,
    source_trajectory_ids uuid[] NOT NULL DEFAULT '{}',
    source_artifact_ids   uuid[] NOT NULL DEFAULT '{}',
    source_note_ids       uuid[] NOT NULL DEFAULT '{}',
    expires_at            timestamptz,
    superseded_by         uuid,
    accessed_at           timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    access_count          bigint NOT NULL DEFAULT 0,
    metadata              jsonb,
    created_at            timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at            timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version               bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_note_pkey PRIMARY KEY (note_id),
    CONSTRAINT caliber_note_superseded_by_check CHECK (superseded_by <> note_id)
) USING caliber_am WITH (fillfactor = 80);

CREATE INDEX caliber_note_type_idx
    ON @schema@.caliber_note (note_type, note_id);

CREATE INDEX caliber_note_source_trajectory_ids_idx
    ON @schema@.caliber_note USING gin (source_trajectory_ids);

CREATE INDEX caliber_note_content_hash_idx
    ON @schema@.caliber_note USING hash (content_hash);

CREATE INDEX caliber_note_superseded_by_idx
    ON @schema@.caliber_note (superseded_by)
    WHERE superseded_by IS NOT NULL;

-- @when dim <= 2000
CREATE INDEX caliber_note_embedding_idx
    ON @schema@.caliber_note USING hnsw (embedding @vector@.vector_cosine_ops);

-- @when dim > 2000
CREATE INDEX caliber_note_embedding_idx
    ON @schema@.caliber_note
    USING hnsw ((embedding::@vector@.halfvec(@dim@)) @vector@.halfvec_cosine_ops);

COMMENT ON TABLE @schema@.caliber_note IS
'Knowledge that outlives the trajectories it comes from.';

COMMENT ON COLUMN @schema@.caliber_note.note_type IS
'An open set; well known: convention, strategy, gotcha, fact, preference, relationship, procedure, meta, insight, correction, summary.';

COMMENT ON COLUMN @schema@.caliber_note.content_hash IS
'SHA-256 of the content''s UTF-8 bytes.';

COMMENT ON COLUMN @schema@.caliber_note.superseded_by IS
'The note that replaces this one.';

COMMENT ON COLUMN @schema@.caliber_note.accessed_at IS
'When the note was last touched; changes without version.';

ALTER TABLE @schema@.caliber_note
    ADD CONSTRAINT caliber_note_superseded_by_fkey
    FOREIGN KEY (superseded_by) REFERENCES @schema@.caliber_note (note_id)
    ON DELETE SET NULL;
