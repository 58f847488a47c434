//! The settings `caliber.*`.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::{CStr, CString};

const DEFAULT_SCHEMA: &CStr = c"caliber";

static SCHEMA: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(DEFAULT_SCHEMA));

/// In kilobytes.
static HINT_CACHE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(2048);
const MAX_HINT_CACHE_SIZE: i32 = 1024 * 1024;

static NOTIFY: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Makes the settings known to the server.
pub fn define() {
    GucRegistry::define_string_guc(
        c"caliber.schema",
        c"Schema of the entity tables that the caliber functions use.",
        c"A SECURITY DEFINER function that calls them must pin this setting as it pins search_path.",
        &SCHEMA,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"caliber.hint_cache_size",
        c"How much each session remembers of where rows are.",
        c"A look-up by id tries the remembered place before the index; 0 turns it off.",
        &HINT_CACHE_SIZE,
        0,
        MAX_HINT_CACHE_SIZE,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_bool_guc(
        c"caliber.notify",
        c"Whether sending a message notifies the receiver's channel.",
        c"PostgreSQL lets transactions that notify commit one after the other; turn it off where messages are sent at a very high rate.",
        &NOTIFY,
        GucContext::Userset,
        GucFlags::default(),
    );
}

/// How many bytes of hints a session keeps.
pub fn hint_cache_bytes() -> usize {
    usize::try_from(HINT_CACHE_SIZE.get()).unwrap_or(0) * 1024
}

/// Whether sent messages notify their receivers.
pub fn notify() -> bool {
    NOTIFY.get()
}

/// The schema in which the functions find their tables, whatever search_path says.
pub fn schema() -> CString {
    SCHEMA.get().unwrap_or_else(|| DEFAULT_SCHEMA.to_owned())
}
