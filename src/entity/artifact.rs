//! Artifact: a typed output.

use super::entity;

entity! {
    "artifact";
    columns {
        ARTIFACT_ID = "artifact_id": Key, Fixed;
        TRAJECTORY_ID = "trajectory_id": Uuid, Fixed;
        SCOPE_ID = "scope_id": Uuid, Fixed;
        ARTIFACT_TYPE = "artifact_type": Text, Free;
        NAME = "name": Text, Free;
        CONTENT = "content": Text, Free;
        CONTENT_HASH = "content_hash": Bytea, Free;
        EMBEDDING = "embedding": Vector, Free;
        SOURCE_TURN = "source_turn": Int4, Free;
        EXTRACTION_METHOD = "extraction_method": Enum("caliber_artifact_extraction_method"), Free;
        CONFIDENCE = "confidence": Float4, Free;
        EXPIRES_AT = "expires_at": Timestamptz, Free;
        SUPERSEDED_BY = "superseded_by": Uuid, Link;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those of a type in a trajectory.
        BY_TYPE = Path::btree(&[TRAJECTORY_ID, ARTIFACT_TYPE, ARTIFACT_ID]);
        /// Those of a scope.
        BY_SCOPE = Path::btree(&[SCOPE_ID, ARTIFACT_ID]);
        /// By distance from an embedding.
        BY_DISTANCE = Path::on(Method::Hnsw, &[EMBEDDING]);
    }
}
