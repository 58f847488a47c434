//! How SQL calls a Rust function and gets its answer.
//!
//! [`sql_functions!`](crate::sql_functions) makes the C symbols. A function is plain safe Rust:
//! it takes the [`Call`] and its typed arguments and returns a [`CaliberResult`]; an `Err` becomes
//! the PostgreSQL error that [`crate::error`] describes.

use crate::error::CaliberResult;
use crate::pg::clock::Interval;
use crate::pg::planner::{PlannerAnswer, PlannerRequest};
use crate::pg::raw;
use crate::pg::report::or_raise;
use crate::pg::slot::Slot;
use crate::pg::value::Value;
use crate::table::Table;
use crate::table::lookup::IndexScan;
use crate::table::row::{Composite, columns_of, tuple_in_order};
use pgrx_pg_sys as pg_sys;
use std::cell::Cell;
use std::ffi::CStr;
use std::marker::PhantomData;
use uuid::Uuid;

/// One call of a SQL function.
pub struct Call<'c> {
    info: pg_sys::FunctionCallInfo,
    result_set: Cell<bool>,
    life: PhantomData<&'c ()>,
}

impl<'c> Call<'c> {
    fn data(&self) -> &pg_sys::FunctionCallInfoBaseData {
        // SAFETY: valid during the call.
        unsafe { &*self.info }
    }

    /// The argument at `index`, from 0; null when there is none.
    fn argument(&self, index: usize) -> Value<'c> {
        let data = self.data();
        // SAFETY: the array has nargs elements.
        let arguments = unsafe { data.args.as_slice(data.nargs.max(0) as usize) };
        match arguments.get(index) {
            // SAFETY: arguments live during the call.
            Some(argument) => unsafe { Value::from_datum(argument.value, argument.isnull) },
            None => Value::NULL,
        }
    }

    /// The schema of the function that is called, which is the extension's.
    pub fn extension_namespace(&self) -> pg_sys::Oid {
        let function = self.data().flinfo;
        // SAFETY: PostgreSQL passes the function that it calls.
        let oid = unsafe { (*function).fn_oid };
        // SAFETY: a syscache look-up.
        unsafe { pg_sys::get_func_namespace(oid) }
    }

    /// Starts the answer of a set-returning function.
    pub fn result_set(&self, kind: SetOf) -> ResultSet<'_> {
        let flags = match kind {
            SetOf::Rows => 0,
            SetOf::Values => pg_sys::MAT_SRF_USE_EXPECTED_DESC,
        };
        // SAFETY: valid during the call; raises when the caller accepts no set.
        unsafe { pg_sys::InitMaterializedSRF(self.info, flags) };
        self.result_set.set(true);
        let info = self.data().resultinfo.cast::<pg_sys::ReturnSetInfo>();
        // SAFETY: InitMaterializedSRF has checked that it is a ReturnSetInfo and filled it.
        let info = unsafe { &*info };
        ResultSet { store: info.setResult, desc: info.setDesc, call: PhantomData }
    }
}

/// What a set consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOf {
    /// Rows of a composite type.
    Rows,
    /// Values of a simple type.
    Values,
}

/// The answer of a set-returning function under construction.
pub struct ResultSet<'a> {
    store: *mut pg_sys::Tuplestorestate,
    desc: pg_sys::TupleDesc,
    call: PhantomData<&'a ()>,
}

impl ResultSet<'_> {
    /// Adds the row in the slot.
    pub fn put_row(&mut self, table: &Table, slot: Slot<'_>) {
        if let Some(tuple) = tuple_in_order(table, slot) {
            self.assert_width(table.entity().columns.len());
            // SAFETY: the store copies the tuple, which has the attributes of the declared row.
            unsafe { pg_sys::tuplestore_puttuple(self.store, tuple) };
            return;
        }
        let mut columns = columns_of(table, slot);
        self.put_raw(
            table.entity().columns.len(),
            columns.values.as_mut_ptr(),
            columns.nulls.as_mut_ptr(),
        );
    }

    /// Adds the next rows of the scan, `most` at most.
    #[allow(ffi_unwind_calls)] // what the boundary is for
    pub fn put_rows(&mut self, table: &Table, scan: &mut IndexScan<'_>, mut most: usize) {
        self.assert_width(table.entity().columns.len());
        let store = self.store;
        let put = |slot: Slot<'_>| {
            let Some(tuple) = tuple_in_order(table, slot) else { return false };
            // SAFETY: the store copies the tuple, which has the attributes of the declared row.
            unsafe { raw::tuplestore_puttuple(store, tuple) };
            true
        };
        loop {
            // SAFETY: nothing in the closure has a destructor.
            let (taken, stands) = unsafe { scan.hand_over(most, put) };
            if !stands {
                return;
            }
            self.put_row(table, scan.slot());
            most -= taken + 1;
        }
    }

    /// Adds a row of these values, which must fit the declared result.
    pub fn put(&mut self, row: &[Value<'_>]) {
        let (mut values, mut nulls): (Vec<_>, Vec<_>) = row.iter().map(|v| v.to_raw()).unzip();
        self.put_raw(row.len(), values.as_mut_ptr(), nulls.as_mut_ptr());
    }

    /// Adds a row of `width` values.
    fn put_raw(&mut self, width: usize, values: *mut pg_sys::Datum, nulls: *mut bool) {
        self.assert_width(width);
        // SAFETY: the store copies the values, of which there are as many as attributes.
        unsafe { pg_sys::tuplestore_putvalues(self.store, self.desc, values, nulls) };
    }

    fn assert_width(&self, width: usize) {
        // SAFETY: made by InitMaterializedSRF.
        let declared = unsafe { (*self.desc).natts };
        assert_eq!(width, declared as usize, "the install script declares another row");
    }
}

/// Returned by a function whose answer is a [`ResultSet`].
pub struct SetDone;

/// A type that a function can take as an argument.
pub trait FromArgument<'c>: Sized {
    /// Reads the argument, whose SQL type the install script declares.
    fn from_argument(value: Value<'c>) -> Self;
}

impl<'c> FromArgument<'c> for Value<'c> {
    fn from_argument(value: Value<'c>) -> Self {
        value
    }
}

/// The argument of a planner support function.
impl<'c> FromArgument<'c> for PlannerRequest {
    fn from_argument(value: Value<'c>) -> Self {
        let (datum, is_null) = value.to_raw();
        let node = if is_null { std::ptr::null_mut() } else { datum.cast_mut_ptr() };
        // SAFETY: only the planner can pass a value of type internal: a request of its own.
        unsafe { Self::from_raw(node) }
    }
}

impl IntoResult for PlannerAnswer {
    fn into_result(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.0))
    }
}

macro_rules! nullable_argument {
    ($($ty:ty => $read:expr),* $(,)?) => {
        $(impl<'c> FromArgument<'c> for Option<$ty> {
            fn from_argument(value: Value<'c>) -> Self {
                let read: fn(Value<'c>) -> Self = $read;
                read(value)
            }
        })*
    };
}

nullable_argument! {
    Uuid => Value::as_uuid,
    i32 => Value::as_i32,
    i64 => Value::as_i64,
    bool => Value::as_bool,
    pg_sys::Oid => Value::as_oid,
    Text => |value| value.as_text().map(Text),
    Json => |value| value.as_json_text().map(Json),
    Name => |value| value.to_name(),
    Interval => Interval::from_value,
    Timestamptz => |value| value.as_i64().map(Timestamptz),
}

/// A `text` argument.
pub struct Text(pub String);

/// A `jsonb` argument in its text form.
pub struct Json(pub String);

/// A `name` argument.
pub struct Name(pub String);

impl Value<'_> {
    fn to_name(self) -> Option<Name> {
        let (datum, is_null) = self.to_raw();
        if is_null {
            return None;
        }
        // SAFETY: a name datum points to a NameData, which ends with a zero byte.
        let name = unsafe { CStr::from_ptr(datum.cast_mut_ptr()) };
        Some(Name(name.to_string_lossy().into_owned()))
    }
}

/// A type that a function can return.
pub trait IntoResult {
    /// The value in the current memory context; `None` is SQL null.
    fn into_result(self) -> Option<pg_sys::Datum>;
}

fn raw(value: Value<'_>) -> Option<pg_sys::Datum> {
    let (datum, is_null) = value.to_raw();
    (!is_null).then_some(datum)
}

/// A value that was made during the call.
impl IntoResult for Value<'_> {
    fn into_result(self) -> Option<pg_sys::Datum> {
        raw(self)
    }
}

impl IntoResult for Uuid {
    fn into_result(self) -> Option<pg_sys::Datum> {
        raw(Value::uuid(self))
    }
}

impl IntoResult for i32 {
    fn into_result(self) -> Option<pg_sys::Datum> {
        raw(Value::int4(self))
    }
}

impl IntoResult for i64 {
    fn into_result(self) -> Option<pg_sys::Datum> {
        raw(Value::int8(self))
    }
}

impl IntoResult for bool {
    fn into_result(self) -> Option<pg_sys::Datum> {
        raw(Value::bool(self))
    }
}

impl IntoResult for &str {
    fn into_result(self) -> Option<pg_sys::Datum> {
        raw(or_raise(Value::text(self)))
    }
}

/// A time, counted as [`crate::pg::clock::now`] does.
pub struct Timestamptz(pub i64);

impl IntoResult for Timestamptz {
    fn into_result(self) -> Option<pg_sys::Datum> {
        raw(Value::int8(self.0))
    }
}

impl IntoResult for String {
    fn into_result(self) -> Option<pg_sys::Datum> {
        raw(or_raise(Value::text(&self)))
    }
}

impl IntoResult for Composite {
    fn into_result(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }
}

impl IntoResult for SetDone {
    fn into_result(self) -> Option<pg_sys::Datum> {
        None
    }
}

/// The access method's handler returns the routine itself.
impl IntoResult for &'static pg_sys::TableAmRoutine {
    fn into_result(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(std::ptr::from_ref(self)))
    }
}

impl<T: IntoResult> IntoResult for Option<T> {
    fn into_result(self) -> Option<pg_sys::Datum> {
        self.and_then(T::into_result)
    }
}

/// A Rust function that SQL can call: `fn(&Call, A, B, ...) -> CaliberResult<R>`.
pub trait SqlFunction<'c, Arguments> {
    /// Calls it with the arguments of the call.
    fn call(self, call: &Call<'c>) -> CaliberResult<Option<pg_sys::Datum>>;
}

macro_rules! sql_function_arity {
    ($($arg:ident: $index:literal),*) => {
        impl<'c, F, R, $($arg),*> SqlFunction<'c, ($($arg,)*)> for F
        where
            F: FnOnce(&Call<'c>, $($arg),*) -> CaliberResult<R>,
            R: IntoResult,
            $($arg: FromArgument<'c>,)*
        {
            fn call(self, call: &Call<'c>) -> CaliberResult<Option<pg_sys::Datum>> {
                self(call, $($arg::from_argument(call.argument($index))),*).map(R::into_result)
            }
        }
    };
}

sql_function_arity!();
sql_function_arity!(A: 0);
sql_function_arity!(A: 0, B: 1);
sql_function_arity!(A: 0, B: 1, C: 2);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3, E: 4);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3, E: 4, G: 5);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3, E: 4, G: 5, H: 6);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3, E: 4, G: 5, H: 6, I: 7);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3, E: 4, G: 5, H: 6, I: 7, J: 8);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3, E: 4, G: 5, H: 6, I: 7, J: 8, K: 9);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3, E: 4, G: 5, H: 6, I: 7, J: 8, K: 9, L: 10);
sql_function_arity!(A: 0, B: 1, C: 2, D: 3, E: 4, G: 5, H: 6, I: 7, J: 8, K: 9, L: 10, M: 11);
sql_function_arity!(
    A: 0, B: 1, C: 2, D: 3, E: 4, G: 5, H: 6, I: 7, J: 8, K: 9, L: 10, M: 11, N: 12
);

/// Calls the function for SQL: errors are raised, null is marked.
///
/// # Safety
/// `info` is the valid argument of a version-1 function during the call.
pub unsafe fn invoke<'c, Arguments>(
    info: pg_sys::FunctionCallInfo,
    function: impl SqlFunction<'c, Arguments>,
) -> pg_sys::Datum {
    let call = Call { info, result_set: Cell::new(false), life: PhantomData };
    let result = or_raise(function.call(&call));
    // SAFETY: the caller vouches for it. A set's end is told by its ReturnSetInfo, not by null.
    unsafe { (*info).isnull = result.is_none() && !call.result_set.get() };
    result.unwrap_or(pg_sys::Datum::null())
}

/// Makes the C symbols `<name>_wrapper` and `pg_finfo_<name>_wrapper` for functions of these
/// names, which the install script declares.
#[macro_export]
macro_rules! sql_functions {
    ($($name:ident),* $(,)?) => {
        $(const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name), "_wrapper"))]
            extern "C" fn finfo() -> &'static $crate::pgrx::pg_sys::Pg_finfo_record {
                const V1: $crate::pgrx::pg_sys::Pg_finfo_record =
                    $crate::pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &V1
            }

            #[unsafe(export_name = concat!(stringify!($name), "_wrapper"))]
            unsafe extern "C-unwind" fn wrapper(
                info: $crate::pgrx::pg_sys::FunctionCallInfo,
            ) -> $crate::pgrx::pg_sys::Datum {
                // SAFETY: PostgreSQL calls it on the backend's main thread; the guard turns
                // panics into errors, and `info` is valid during the call.
                unsafe {
                    $crate::pgrx::pg_sys::submodules::panic::pgrx_extern_c_guard(|| {
                        $crate::fmgr::invoke(info, $name)
                    })
                }
            }
        };)*
    };
}

/// Makes this library loadable: the module magic, and `_PG_init`, which calls the function given
/// once in every process.
#[macro_export]
macro_rules! library {
    ($load:ident) => {
        $crate::pgrx::pg_module_magic!();

        const _: () = {
            #[unsafe(export_name = "_PG_init")]
            extern "C-unwind" fn init() {
                // SAFETY: PostgreSQL calls it on the process's main thread.
                unsafe { $crate::pgrx::pg_sys::submodules::panic::pgrx_extern_c_guard($load) }
            }
        };
    };
}
