//! Between Rust's strings, which are UTF-8, and the database's encoding.

use crate::error::{CaliberError, CaliberResult};
use pgrx_pg_sys as pg_sys;
use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

/// `PG_UTF8` (mb/pg_wchar.h)
const UTF8: i32 = pg_sys::pg_enc::PG_UTF8 as i32;

/// A string in the database's encoding: the one given, if that is UTF-8 too.
pub struct ServerString<'s> {
    start: *const c_char,
    length: i32,
    given: PhantomData<&'s ()>,
}

impl ServerString<'_> {
    /// Its first byte.
    pub const fn as_ptr(&self) -> *const c_char {
        self.start
    }

    /// How many bytes it has.
    pub const fn byte_count(&self) -> i32 {
        self.length
    }
}

/// The string in the database's encoding; PostgreSQL raises 22P05 for a character that it lacks.
///
/// # Errors
/// 22023 when it is longer than PostgreSQL can store.
pub fn to_server(text: &str) -> CaliberResult<ServerString<'_>> {
    convert(text.as_ptr().cast(), text.len())
}

/// As [`to_server`], for a string that ends with a zero byte and so does the result.
///
/// # Errors
/// As [`to_server`].
pub fn c_string_to_server(text: &CStr) -> CaliberResult<ServerString<'_>> {
    convert(text.as_ptr(), text.count_bytes())
}

fn convert<'s>(start: *const c_char, length: usize) -> CaliberResult<ServerString<'s>> {
    let length = i32::try_from(length)
        .map_err(|_| CaliberError::argument("content", "The text is longer than 1 GB."))?;
    // SAFETY: the callers pass a valid UTF-8 string, which comes back as it is where nothing is to
    // be converted; otherwise the result is a C string in the current memory context.
    let converted = unsafe { pg_sys::pg_any_to_server(start, length, UTF8) };
    let length = if std::ptr::eq(converted, start) {
        length
    } else {
        // SAFETY: a C string of PostgreSQL's, which is no longer than 1 GB.
        unsafe { CStr::from_ptr(converted) }.count_bytes() as i32
    };
    Ok(ServerString { start: converted, length, given: PhantomData })
}

/// A string of the database's as Rust has it.
pub fn from_server(text: &CStr) -> String {
    let length = text.count_bytes() as i32;
    // SAFETY: a valid string of this length, which comes back as it is where nothing is to be
    // converted; otherwise the result is a C string in the current memory context.
    let converted = unsafe { pg_sys::pg_server_to_any(text.as_ptr(), length, UTF8) };
    // SAFETY: a C string either way.
    let converted = unsafe { CStr::from_ptr(converted) };
    match converted.to_string_lossy() {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}
