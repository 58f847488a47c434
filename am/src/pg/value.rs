//! One SQL value: a datum or null, valid for a lifetime.

use super::{encoding, types};
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

    /// `uuid`, where it is.
    pub fn uuid_in(value: &'v Uuid) -> Self {
        Self::by_value(pg_sys::Datum::from(value.as_bytes().as_ptr()))
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
    /// 22023 when it is longer than PostgreSQL can store. PostgreSQL raises 22P05 for a character
    /// that the database's encoding lacks.
    pub fn text(value: &str) -> CaliberResult<Self> {
        let value = encoding::to_server(value)?;
        // SAFETY: the pointer and the length describe a valid string.
        let text = unsafe { pg_sys::cstring_to_text_with_len(value.as_ptr(), value.byte_count()) };
        Ok(Self::by_value(pg_sys::Datum::from(text)))
    }

    /// `bytea`, the SHA-256 of these bytes, allocated in the current memory context.
    ///
    /// # Errors
    /// 22023 when there are more of them than PostgreSQL can store.
    pub fn sha256(bytes: &[u8]) -> CaliberResult<Self> {
        let length = i32::try_from(bytes.len())
            .map_err(|_| CaliberError::argument("content", "The value is longer than 1 GB."))?;
        // SAFETY: the pointer and the length describe valid bytes; text and bytea have one layout.
        let bytea = unsafe { pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), length) };
        let arguments = [Some(pg_sys::Datum::from(bytea))];
        // SAFETY: takes one bytea and returns one.
        let datum =
            unsafe { pgrx::direct_function_call_as_datum(pg_sys::sha256_bytea, &arguments) };
        // SAFETY: allocated by palloc and not used any more.
        unsafe { pg_sys::pfree(bytea.cast()) };
        Ok(Self { datum, life: PhantomData })
    }

    /// `real`
    pub fn float4(value: f32) -> Self {
        Self::by_value(pg_sys::Datum::from(value.to_bits()))
    }

    /// `double precision`
    pub fn float8(value: f64) -> Self {
        Self::by_value(pg_sys::Datum::from(value.to_bits()))
    }

    /// `uuid[]`, allocated in the current memory context.
    pub fn uuid_array(values: &[Uuid]) -> Self {
        let elements: Vec<_> = values.iter().map(|&id| Self::uuid(id)).collect();
        Self::array(&elements, pg_sys::UUIDOID, (16, b'c'))
    }

    /// `text[]`, allocated in the current memory context.
    ///
    /// # Errors
    /// 22023 when an element is longer than PostgreSQL can store.
    pub fn text_array(values: &[Option<String>]) -> CaliberResult<Self> {
        let element = |text: &Option<String>| match text {
            Some(text) => Value::text(text),
            None => Ok(Value::NULL),
        };
        let elements = values.iter().map(element).collect::<CaliberResult<Vec<_>>>()?;
        Ok(Self::array(&elements, pg_sys::TEXTOID, (-1, b'i')))
    }

    /// An array of one dimension of by-reference elements.
    fn array(elements: &[Value<'_>], ty: pg_sys::Oid, (length, align): (i32, u8)) -> Self {
        let (mut datums, mut nulls): (Vec<_>, Vec<_>) = elements.iter().map(|v| v.to_raw()).unzip();
        if elements.is_empty() {
            // SAFETY: raises when out of memory.
            let array = unsafe { pg_sys::construct_empty_array(ty) };
            return Self::by_value(pg_sys::Datum::from(array));
        }
        let (mut count, mut lower) = (elements.len() as i32, 1);
        // SAFETY: as many datums and null flags as elements, of the type described.
        let array = unsafe {
            pg_sys::construct_md_array(
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
                1,
                &mut count,
                &mut lower,
                ty,
                length,
                false,
                align as std::ffi::c_char,
            )
        };
        Self::by_value(pg_sys::Datum::from(array))
    }

    /// A value of any type from its text form, by the type's own input function, which decides.
    ///
    /// # Errors
    /// 22023 when the text has a zero byte.
    pub fn input(text: &str, ty: pg_sys::Oid, typmod: i32) -> CaliberResult<Self> {
        let text = CString::new(text)
            .map_err(|_| CaliberError::argument("text", "The text contains a zero byte."))?;
        let text = encoding::c_string_to_server(&text)?;
        let mut function = pg_sys::InvalidOid;
        let mut parameter = pg_sys::InvalidOid;
        // SAFETY: raises for an unknown type.
        unsafe { pg_sys::getTypeInputInfo(ty, &mut function, &mut parameter) };
        // SAFETY: the type's input function and what it asks for; the string outlives the call.
        let datum = unsafe {
            pg_sys::OidInputFunctionCall(function, text.as_ptr().cast_mut(), parameter, typmod)
        };
        Ok(Self::by_value(datum))
    }

    /// This value of the type, as assigning it to a column with the type modifier makes it: the
    /// type's own length coercion, which refuses what does not fit.
    #[must_use]
    pub fn coerced(self, ty: pg_sys::Oid, typmod: i32) -> Self {
        let Some(datum) = self.datum.filter(|_| typmod >= 0) else { return self };
        let mut function = pg_sys::InvalidOid;
        // SAFETY: a syscache look-up.
        let path = unsafe { pg_sys::find_typmod_coercion_function(ty, &mut function) };
        if path != pg_sys::CoercionPathType::COERCION_PATH_FUNC {
            return self;
        }
        // SAFETY: a coercion function takes the value, the modifier and whether the cast is
        // explicit, and returns the value, or raises.
        let datum = unsafe {
            pg_sys::OidFunctionCall3Coll(
                function,
                pg_sys::InvalidOid,
                datum,
                pg_sys::Datum::from(typmod),
                pg_sys::Datum::from(false),
            )
        };
        Self { datum: Some(datum), life: PhantomData }
    }

    /// `jsonb` from its text form; PostgreSQL's own parser decides (22P02).
    ///
    /// # Errors
    /// 22023 when the text has a zero byte.
    pub fn jsonb(json: &str) -> CaliberResult<Self> {
        let json = CString::new(json)
            .map_err(|_| CaliberError::argument("json", "The text contains a zero byte."))?;
        let json = encoding::c_string_to_server(&json)?;
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

    /// As `real`.
    pub fn as_f32(self) -> Option<f32> {
        self.datum.map(|d| f32::from_bits(d.value() as u32))
    }

    /// The elements of a `uuid[]` that are not null.
    pub fn as_uuid_array(self) -> Vec<Uuid> {
        // SAFETY: an array of uuids.
        let elements = unsafe { self.elements(pg_sys::UUIDOID, (16, false, b'c')) };
        elements.into_iter().filter_map(Value::as_uuid).collect()
    }

    /// The elements of a `text[]` that are not null.
    pub fn as_text_array(self) -> Vec<String> {
        // SAFETY: an array of texts.
        let elements = unsafe { self.elements(pg_sys::TEXTOID, (-1, false, b'i')) };
        elements.into_iter().filter_map(Value::as_text).collect()
    }

    /// The elements of a `jsonb[]`, nulls included.
    pub fn as_jsonb_array(self) -> Vec<Value<'v>> {
        // SAFETY: an array of jsonb.
        unsafe { self.elements(pg_sys::JSONBOID, (-1, false, b'i')) }
    }

    /// The elements of an array of enum values that are not null.
    pub fn as_enum_array(self) -> Vec<pg_sys::Oid> {
        // SAFETY: an array of enum values, which are stored as OIDs.
        let elements = unsafe { self.elements(pg_sys::OIDOID, (4, true, b'i')) };
        elements.into_iter().filter_map(Value::as_oid).collect()
    }

    /// # Safety
    /// The value is null or an array whose elements have this length, passing and alignment.
    unsafe fn elements(
        self,
        ty: pg_sys::Oid,
        (length, by_value, align): (i32, bool, u8),
    ) -> Vec<Value<'v>> {
        let Some(datum) = self.datum else { return Vec::new() };
        // SAFETY: a varlena value; detoasted in the current memory context.
        let array = unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) };
        let (mut values, mut nulls) = (std::ptr::null_mut(), std::ptr::null_mut());
        let mut count = 0;
        // SAFETY: the caller vouches for the elements.
        unsafe {
            pg_sys::deconstruct_array(
                array.cast(),
                ty,
                length,
                by_value,
                align as std::ffi::c_char,
                &mut values,
                &mut nulls,
                &mut count,
            );
        }
        let count = count.max(0) as usize;
        if count == 0 {
            return Vec::new();
        }
        // SAFETY: allocated by deconstruct_array, as long as it says.
        let values = unsafe { std::slice::from_raw_parts(values, count) };
        // SAFETY: as above.
        let nulls = unsafe { std::slice::from_raw_parts(nulls, count) };
        let value = |(&datum, &is_null): (&pg_sys::Datum, &bool)| {
            // SAFETY: the elements live in the detoasted array.
            unsafe { Value::from_datum(datum, is_null) }
        };
        values.iter().zip(nulls).map(value).collect()
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
            ColumnType::Text
            | ColumnType::Jsonb
            | ColumnType::Bytea
            | ColumnType::TextArray
            | ColumnType::UuidArray
            | ColumnType::Vector => {
                // SAFETY: two varlena values.
                unsafe { pg_sys::datum_image_eq(a, b, false, -1) }
            }
            ColumnType::Int4 | ColumnType::Float4 | ColumnType::Enum(_) => {
                a.value() as u32 == b.value() as u32
            }
            ColumnType::Bool => self.as_bool() == other.as_bool(),
            ColumnType::Int8 | ColumnType::Timestamptz => a.value() == b.value(),
        }
    }

    /// Whether both are the same value of this attribute, to the bit once detoasted.
    pub fn is_same_image(
        self,
        other: Value<'_>,
        attribute: &pg_sys::FormData_pg_attribute,
    ) -> bool {
        let (Some(a), Some(b)) = (self.datum, other.datum) else {
            return self.is_null() && other.is_null();
        };
        // The same value, or a pointer to the very same bytes.
        if a.value() == b.value() {
            return true;
        }
        if attribute.attbyval {
            return false;
        }
        if let Ok(length @ 1..) = usize::try_from(attribute.attlen) {
            // SAFETY: a value of fixed length, passed by reference.
            let a = unsafe { std::slice::from_raw_parts(a.cast_mut_ptr::<u8>(), length) };
            // SAFETY: as above.
            let b = unsafe { std::slice::from_raw_parts(b.cast_mut_ptr::<u8>(), length) };
            return a == b;
        }
        if attribute.attlen == -1 {
            // An untouched value is the same varlena, often the same pointer to the toast table:
            // seen without fetching it.
            // SAFETY: both are varlena values that live as long as these.
            let bytes = unsafe { varlena_bytes(a) };
            // SAFETY: as above.
            if bytes == unsafe { varlena_bytes(b) } {
                return true;
            }
        }
        // SAFETY: two values of the attribute's type.
        unsafe { pg_sys::datum_image_eq(a, b, attribute.attbyval, attribute.attlen.into()) }
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

/// The bytes of a varlena value as it stands, header included.
///
/// # Safety
/// `datum` is a varlena value, valid as long as the result is used.
unsafe fn varlena_bytes<'d>(datum: pg_sys::Datum) -> &'d [u8] {
    let pointer = datum.cast_mut_ptr::<u8>();
    // SAFETY: the caller vouches for the value.
    let length = unsafe { pgrx::varsize_any(pointer.cast()) };
    // SAFETY: as above; its header says how long it is.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}

/// Copies a palloc'd C string and frees it.
fn own_c_string(text: *mut std::ffi::c_char) -> String {
    // SAFETY: the callers pass a C string that PostgreSQL just allocated.
    let copy = encoding::from_server(unsafe { CStr::from_ptr(text) });
    // SAFETY: allocated by palloc and not used any more.
    unsafe { pg_sys::pfree(text.cast()) };
    copy
}
