//! Lock: a lease with a fencing token.

use super::entity;

entity! {
    "lock";
    columns {
        LOCK_ID = "lock_id": Key, Fixed;
        RESOURCE_TYPE = "resource_type": Text, Free;
        RESOURCE_ID = "resource_id": Uuid, Free;
        HOLDER_AGENT_ID = "holder_agent_id": Uuid, Fixed;
        MODE = "mode": Enum("caliber_lock_mode"), Fixed;
        FENCE = "fence": Int8, Fence;
        ACQUIRED_AT = "acquired_at": Timestamptz, Free;
        EXPIRES_AT = "expires_at": Timestamptz, Free;
        METADATA = "metadata": Jsonb, Metadata;
        CREATED_AT = "created_at": Timestamptz, Fixed;
        UPDATED_AT = "updated_at": Timestamptz, UpdatedAt;
        VERSION = "version": Int8, Version;
    }
    paths {
        /// Those on a resource.
        BY_RESOURCE = Path::btree(&[RESOURCE_TYPE, RESOURCE_ID]);
        /// By the time at which they end.
        BY_EXPIRY = Path::btree(&[EXPIRES_AT]);
    }
}
