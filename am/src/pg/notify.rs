//! Notifications, sent when the transaction commits.

use pgrx_pg_sys as pg_sys;
use std::ffi::CString;

/// Notifies who listens on the channel, on commit. Neither may have a zero byte.
pub fn notify(channel: &str, payload: &str) {
    let (Ok(channel), Ok(payload)) = (CString::new(channel), CString::new(payload)) else {
        return;
    };
    // SAFETY: two C strings, which are copied.
    unsafe { pg_sys::Async_Notify(channel.as_ptr(), payload.as_ptr()) };
}
