//! Note: knowledge across trajectories.

use super::entity;

entity! {
    "note";
    columns {
        NOTE_ID = "note_id": Key, Fixed;
        NOTE_TYPE = "note_type": Text, Free;
        TITLE = "title": Text, Free;
        CONTENT = "content": Text, Free;
        CONTENT_HASH = "content_hash": Bytea, Free;
        EMBEDDING = "embedding": Vector, Free;
        ABSTRACTION_LEVEL = "abstraction_level": Enum("caliber_note_abstraction_level"), Free;
        SOURCE_TRAJECTORY_IDS = "source_trajectory_ids": UuidArray, Free;
        SOURCE_ARTIFACT_IDS = "source_artifact_ids": UuidArray, Free;
        SOURCE_NOTE_IDS = "source_note_ids": UuidArray, Free;
        EXPIRES_AT = "expires_at": Timestamptz, Free;
        SUPERSEDED_BY = "superseded_by": Uuid, Link;
        ACCESSED_AT = "accessed_at": Timestamptz, Touch;
        ACCESS_COUNT = "access_count": Int8, Touch;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those of a type.
        BY_TYPE = Path::btree(&[NOTE_TYPE, NOTE_ID]);
        /// Those drawn from a trajectory.
        BY_SOURCE_TRAJECTORY = Path::on(Method::Gin, &[SOURCE_TRAJECTORY_IDS]);
        /// By distance from an embedding.
        BY_DISTANCE = Path::on(Method::Hnsw, &[EMBEDDING]);
    }
}
