//! One SQL value: a datum or null, valid for a lifetime.

use super::types;
use crate::error::{CaliberError, CaliberResult};
use crate::model::ColumnType;
use pgrx_pg_sys as pg_sys;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use uuid::Uuid;

/// A value of a known SQL type. By-reference values point into memory that lives for `'v`: the
/// arguments of the call, a slot, or what was allocated during the call.
#[derive(Clone, Copy)]
pub struct Value<'v> {
    datum: Option<pg_sys::Datum>,
    life: PhantomData<&'v ()>,
}

impl<'v> Value<'v> {
    /// SQL null.
    pub const NULL: Self = Self { datum: None, life: PhantomData };

    /// # Safety
    /// `datum` is valid for `'v` if it is by reference.
    pub unsafe fn from_datum(datum: pg_sys::Datum, is_null: bool) -> Self {
        Self { datum: (!is_null).then_some(datum), life: PhantomData }
    }

    const fn by_value(datum: pg_sys::Datum) -> Self {
        Self { datum: Some(datum), life: PhantomData }
    }

    /// `integer`
    pub fn int4(value: i32) -> Self {
        Self::by_value(pg_sys::Datum::from(value))
    }

    /// `bigint`
    pub fn int8(value: i64) -> Self {
        Self::by_value(pg_sys::Datum::from(value))
    }

    /// `boolean`
    pub fn bool(value: bool) -> Self {
        Self::by_value(pg_sys::Datum::from(value))
    }

    /// An OID, or an enum value, which is one.
    pub fn oid(value: pg_sys::Oid) -> Self {
        Self::by_value(pg_sys::Datum::from(value))
    }

    /// The transaction's start time, `transaction_timestamp()`.
    pub fn transaction_timestamp() -> Self {
        // SAFETY: inside a transaction.
        Self::int8(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() })
    }

    /// `uuid`, allocated in the current memory context.
    pub fn uuid(value: Uuid) -> Self {
        // SAFETY: raises when out of memory, never returns null.
        let copy = unsafe { pg_sys::palloc(size_of::<[u8; 16]>()) };
        // SAFETY: 16 bytes were just allocated.
        unsafe { copy.cast::<[u8; 16]>().write(value.into_bytes()) };
        Self::by_value(pg_sys::Datum::from(copy))
    }

    /// `text`, allocated in the current memory context.
    ///
    /// # Errors
    /// 22023 when it is longer than PostgreSQL can store.
    pub fn text(value: &str) -> CaliberResult<Self> {
        let length = i32::try_from(value.len())
            .map_err(|_| CaliberError::argument("content", "The text is longer than 1 GB."))?;
        // SAFETY: the pointer and the length describe a valid string.
        let text = unsafe { pg_sys::cstring_to_text_with_len(value.as_ptr().cast(), length) };
        Ok(Self::by_value(pg_sys::Datum::from(text)))
    }

    /// `jsonb` from its text form; PostgreSQL's own parser decides (22P02).
    ///
    /// # Errors
    /// 22023 when the text has a zero byte.
    pub fn jsonb(json: &str) -> CaliberResult<Self> {
        let json = CString::new(json)
            .map_err(|_| CaliberError::argument("json", "The text contains a zero byte."))?;
        let arguments = [Some(pg_sys::Datum::from(json.as_ptr()))];
        // SAFETY: jsonb_in takes one C string, which outlives the call.
        let datum = unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &arguments) };
        Ok(Self { datum, life: PhantomData })
    }

    /// Whether it is null.
    pub const fn is_null(self) -> bool {
        self.datum.is_none()
    }

    /// The datum and the null flag, as PostgreSQL's arrays want them.
    pub fn to_raw(self) -> (pg_sys::Datum, bool) {
        match self.datum {
            Some(datum) => (datum, false),
            None => (pg_sys::Datum::null(), true),
        }
    }

    /// As `integer`.
    pub fn as_i32(self) -> Option<i32> {
        self.datum.map(|d| d.value() as i32)
    }

    /// As `bigint` or `timestamptz`.
    pub fn as_i64(self) -> Option<i64> {
        self.datum.map(|d| d.value() as i64)
    }

    /// As `boolean`.
    pub fn as_bool(self) -> Option<bool> {
        self.datum.map(|d| d.value() & 0xff != 0)
    }

    /// As an OID or an enum value.
    pub fn as_oid(self) -> Option<pg_sys::Oid> {
        self.datum.map(|d| pg_sys::Oid::from(d.value() as u32))
    }

    /// As `uuid`.
    pub fn as_uuid(self) -> Option<Uuid> {
        let pointer = self.datum?.cast_mut_ptr::<[u8; 16]>();
        // SAFETY: a uuid datum points to 16 bytes, valid for 'v.
        Some(Uuid::from_bytes(unsafe { pointer.read_unaligned() }))
    }

    /// The label of an enum value.
    pub fn as_enum_label(self) -> Option<String> {
        types::enum_label_text(self.as_oid()?)
    }

    /// Whether both are the same value of this type, to the bit once detoasted.
    pub fn is_same(self, other: Value<'_>, ty: ColumnType) -> bool {
        let (Some(a), Some(b)) = (self.datum, other.datum) else {
            return self.is_null() && other.is_null();
        };
        match ty {
            ColumnType::Key | ColumnType::Uuid => self.as_uuid() == other.as_uuid(),
            // SAFETY: two varlena values.
            ColumnType::Text | ColumnType::Jsonb => unsafe {
                pg_sys::datum_image_eq(a, b, false, -1)
            },
            ColumnType::Int4 | ColumnType::Enum(_) => a.value() as u32 == b.value() as u32,
            ColumnType::Bool => self.as_bool() == other.as_bool(),
            ColumnType::Int8 | ColumnType::Timestamptz => a.value() == b.value(),
        }
    }

    /// As `text`, detoasted and copied.
    pub fn as_text(self) -> Option<String> {
        let datum = self.datum?;
        // SAFETY: a text datum, valid for 'v; the result is a C string of our own.
        let text = unsafe { pg_sys::text_to_cstring(datum.cast_mut_ptr()) };
        Some(own_c_string(text))
    }

    /// As `jsonb`, in its text form.
    pub fn as_json_text(self) -> Option<String> {
        let datum = self.datum?;
        let arguments = [Some(datum)];
        // SAFETY: jsonb_out takes one jsonb and returns a C string.
        let text = unsafe { pgrx::direct_function_call_as_datum(pg_sys::jsonb_out, &arguments) }?;
        Some(own_c_string(text.cast_mut_ptr()))
    }
}

/// Copies a palloc'd C string and frees it.
fn own_c_string(text: *mut std::ffi::c_char) -> String {
    // SAFETY: the callers pass a C string that PostgreSQL just allocated.
    let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: allocated by palloc and not used any more.
    unsafe { pg_sys::pfree(text.cast()) };
    copy
}
