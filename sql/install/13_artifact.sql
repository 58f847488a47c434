
-- Artifact: a typed output.

CREATE DOMAIN caliber_artifact_id AS uuid;

COMMENT ON DOMAIN caliber_artifact_id IS
'Key of an artifact; a column of this type makes a caliber_am table an artifact table.';

CREATE TYPE caliber_artifact_extraction_method AS ENUM (
    'explicit', 'inferred', 'user_provided');

COMMENT ON TYPE caliber_artifact_extraction_method IS
'How an artifact came to be known.';

CREATE TYPE caliber_artifact_row AS (
    artifact_id       uuid,
    trajectory_id     uuid,
    scope_id          uuid,
    artifact_type     text,
    name              text,
    content           text,
    content_hash      bytea,
    embedding         @extschema:vector@.vector,
    source_turn       int,
    extraction_method caliber_artifact_extraction_method,
    confidence        real,
    expires_at        timestamptz,
    superseded_by     uuid,
    metadata          jsonb,
    created_at        timestamptz,
    updated_at        timestamptz,
    version           bigint);

COMMENT ON TYPE caliber_artifact_row IS
'An artifact as functions return it.';
