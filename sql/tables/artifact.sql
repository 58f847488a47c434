-- Artifact: a typed output.

CREATE TABLE @schema@.caliber_artifact (
    artifact_id       @extschema@.caliber_artifact_id
                      DEFAULT @extschema@.caliber_new_id(),
    trajectory_id     uuid NOT NULL,
    scope_id          uuid NOT NULL,
    artifact_type     text NOT NULL,
    name              text NOT NULL,
    content           text NOT NULL,
    content_hash      bytea
                      GENERATED ALWAYS AS (@extschema@.caliber_content_hash(content)) STORED,
    embedding         @vector@.vector(@dim@),
    source_turn       int,
    extraction_method @extschema@.caliber_artifact_extraction_method NOT NULL
                      DEFAULT 'explicit'::@extschema@.caliber_artifact_extraction_method,
    confidence        real,
    expires_at        timestamptz,
    superseded_by     uuid,
    metadata          jsonb,
    created_at        timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    updated_at        timestamptz NOT NULL DEFAULT pg_catalog.transaction_timestamp(),
    version           bigint NOT NULL DEFAULT 1,
    CONSTRAINT caliber_artifact_pkey PRIMARY KEY (artifact_id),
    CONSTRAINT caliber_artifact_confidence_check CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT caliber_artifact_superseded_by_check CHECK (superseded_by <> artifact_id)
) USING caliber_am;

CREATE INDEX caliber_artifact_trajectory_type_idx
    ON @schema@.caliber_artifact (trajectory_id, artifact_type, artifact_id);

CREATE INDEX caliber_artifact_scope_idx
    ON @schema@.caliber_artifact (scope_id, artifact_id);

CREATE INDEX caliber_artifact_content_hash_idx
    ON @schema@.caliber_artifact USING hash (content_hash);

CREATE INDEX caliber_artifact_superseded_by_idx
    ON @schema@.caliber_artifact (superseded_by)
    WHERE superseded_by IS NOT NULL;

-- @when dim <= 2000
CREATE INDEX caliber_artifact_embedding_idx
    ON @schema@.caliber_artifact USING hnsw (embedding @vector@.vector_cosine_ops);

-- @when dim > 2000
CREATE INDEX caliber_artifact_embedding_idx
    ON @schema@.caliber_artifact
    USING hnsw ((embedding::@vector@.halfvec(@dim@)) @vector@.halfvec_cosine_ops);

COMMENT ON TABLE @schema@.caliber_artifact IS
'Typed outputs of trajectories.';

COMMENT ON COLUMN @schema@.caliber_artifact.artifact_type IS
'An open set; well known: error_log, code_patch, design_decision, user_preference, fact, constraint, tool_result, intermediate_output, custom.';

COMMENT ON COLUMN @schema@.caliber_artifact.content_hash IS
'SHA-256 of the content''s UTF-8 bytes.';

COMMENT ON COLUMN @schema@.caliber_artifact.source_turn IS
'Sequence number of the turn that the artifact comes from.';

COMMENT ON COLUMN @schema@.caliber_artifact.superseded_by IS
'The artifact that replaces this one.';

ALTER TABLE @schema@.caliber_artifact
    ADD CONSTRAINT caliber_artifact_trajectory_id_fkey
    FOREIGN KEY (trajectory_id) REFERENCES @schema@.caliber_trajectory (trajectory_id)
    ON DELETE CASCADE;

ALTER TABLE @schema@.caliber_artifact
    ADD CONSTRAINT caliber_artifact_scope_id_fkey
    FOREIGN KEY (scope_id, trajectory_id)
    REFERENCES @schema@.caliber_scope (scope_id, trajectory_id)
    ON DELETE CASCADE;

ALTER TABLE @schema@.caliber_artifact
    ADD CONSTRAINT caliber_artifact_superseded_by_fkey
    FOREIGN KEY (superseded_by) REFERENCES @schema@.caliber_artifact (artifact_id)
    ON DELETE SET NULL;
