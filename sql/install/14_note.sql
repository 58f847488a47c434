
-- Note: knowledge across trajectories.

CREATE DOMAIN caliber_note_id AS uuid;

COMMENT ON DOMAIN caliber_note_id IS
'Key of a note; a column of this type makes a caliber_am table a note table.';

CREATE TYPE caliber_note_abstraction_level AS ENUM (
    'raw', 'summary', 'principle');

COMMENT ON TYPE caliber_note_abstraction_level IS
'How far a note stands above what was observed.';

CREATE TYPE caliber_note_row AS (
    note_id               uuid,
    note_type             text,
    title                 text,
    content               text,
    content_hash          bytea,
    embedding             @extschema:vector@.vector,
    abstraction_level     caliber_note_abstraction_level,
    source_trajectory_ids uuid[],
    source_artifact_ids   uuid[],
    source_note_ids       uuid[],
    expires_at            timestamptz,
    superseded_by         uuid,
    accessed_at           timestamptz,
    access_count          bigint,
    metadata              jsonb,
    created_at            timestamptz,
    updated_at            timestamptz,
    version               bigint);

COMMENT ON TYPE caliber_note_row IS
'A note as functions return it.';
