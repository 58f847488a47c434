//! Settings of others that hold for the length of one scan.

use pgrx_pg_sys as pg_sys;
use std::ffi::{CStr, CString, c_int};

/// Settings that go back to what they were with this guard, or with the transaction's abort.
pub struct LocalSettings {
    level: c_int,
}

impl LocalSettings {
    /// Nothing set yet.
    pub fn begin() -> Self {
        // SAFETY: begins a level of settings.
        Self { level: unsafe { pg_sys::NewGUCNestLevel() } }
    }

    /// Sets one for as long as this guard lives.
    pub fn set(&self, name: &CStr, value: &str) {
        let Ok(value) = CString::new(value) else { return };
        // SAFETY: two C strings that outlive the call; the change is undone at the level's end.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
}

impl Drop for LocalSettings {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: ends the level that this guard began.
            unsafe { pg_sys::AtEOXact_GUC(false, self.level) };
        }
    }
}

/// What a setting is now; `None` when nobody defined it or it is not a number.
pub fn number(name: &CStr) -> Option<i32> {
    // SAFETY: a C string; a missing setting gives null.
    let value = unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) };
    if value.is_null() {
        return None;
    }
    // SAFETY: a C string that is valid until the next call.
    unsafe { CStr::from_ptr(value) }.to_str().ok()?.parse().ok()
}
