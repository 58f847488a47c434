//! The settings `caliber.*`.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::{CStr, CString};

const DEFAULT_SCHEMA: &CStr = c"caliber";

static SCHEMA: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(DEFAULT_SCHEMA));

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
    GucRegistry::define_bool_guc(
        c"caliber.notify",
        c"Whether sending a message notifies the receiver's channel.",
        c"PostgreSQL lets transactions that notify commit one after the other; turn it off where messages are sent at a very high rate.",
        &NOTIFY,
        GucContext::Userset,
        GucFlags::default(),
    );
}

/// Whether sent messages notify their receivers.
pub fn notify() -> bool {
    NOTIFY.get()
}

/// The schema in which the functions find their tables, whatever search_path says.
pub fn schema() -> CString {
    SCHEMA.get().unwrap_or_else(|| DEFAULT_SCHEMA.to_owned())
}
