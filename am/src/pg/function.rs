//! Calling the SQL functions of other extensions, which are found by name and arguments.

use super::slot::OwnedSlot;
use super::types;
use super::value::Value;
use crate::error::{CaliberError, CaliberResult};
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::ffi::pg_guard_ffi_boundary;
use std::ffi::{CStr, CString};

/// A function of another extension.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    oid: pg_sys::Oid,
}

impl Function {
    /// The function `name` of the extension with these argument types. It must be a member of the
    /// extension: somebody else may have put one of the same name into its schema.
    ///
    /// # Errors
    /// 42704 when the extension is not installed, 42883 when it has no such function.
    pub fn of_extension(
        extension: &'static CStr,
        name: &'static str,
        arguments: &[pg_sys::Oid],
    ) -> CaliberResult<Self> {
        let label = || extension.to_string_lossy().into_owned();
        let (member_of, schema) = types::extension(extension)
            .ok_or_else(|| CaliberError::ExtensionMissing { extension: label() })?;
        let oid = named(schema, name, arguments).filter(|&oid| {
            // SAFETY: a catalog look-up.
            let owner = unsafe { pg_sys::getExtensionOfObject(pg_sys::ProcedureRelationId, oid) };
            owner == member_of
        });
        oid.map(|oid| Self { oid })
            .ok_or_else(|| CaliberError::FunctionMissing { extension: label(), function: name })
    }

    /// Calls it, whatever it returns.
    pub fn call(self, arguments: &[Value<'_>]) {
        Invocation::new(self, arguments).run(std::ptr::null_mut());
    }

    /// Calls a function that returns a set of rows at once; `each` gets the rows one by one.
    pub fn for_each_row(self, arguments: &[Value<'_>], mut each: impl FnMut(&[Value<'_>])) {
        // SAFETY: made in the current memory context, to be freed below or with it.
        let context = unsafe { pg_sys::CreateStandaloneExprContext() };
        let mut result = pg_sys::ReturnSetInfo {
            type_: pg_sys::NodeTag::T_ReturnSetInfo,
            econtext: context,
            allowedModes: pg_sys::SetFunctionReturnMode::SFRM_Materialize as i32,
            returnMode: pg_sys::SetFunctionReturnMode::SFRM_ValuePerCall,
            ..Default::default()
        };
        Invocation::new(self, arguments).run((&raw mut result).cast());
        if !result.setResult.is_null() {
            // SAFETY: the function filled both.
            unsafe { read_rows(result.setResult, result.setDesc, &mut each) };
        }
        // SAFETY: made above, and nothing of it is used any more.
        unsafe { pg_sys::FreeExprContext(context, true) };
    }
}

/// The function of a schema by its name and the types of its arguments.
fn named(schema: pg_sys::Oid, name: &str, arguments: &[pg_sys::Oid]) -> Option<pg_sys::Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: copies the types, of which there are as many.
    let types = unsafe { pg_sys::buildoidvector(arguments.as_ptr(), arguments.len() as i32) };
    // SAFETY: the keys are of the types of the cache's columns and outlive the call.
    let oid = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32,
            pg_sys::Anum_pg_proc_oid as pg_sys::AttrNumber,
            pg_sys::Datum::from(name.as_ptr()),
            pg_sys::Datum::from(types),
            pg_sys::Datum::from(schema),
            pg_sys::Datum::null(),
        )
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// One call of a function. Privileges are the caller's business.
struct Invocation {
    info: pg_sys::FunctionCallInfo,
    function: Box<pg_sys::FmgrInfo>,
}

impl Invocation {
    fn new(function: Function, arguments: &[Value<'_>]) -> Self {
        let mut manager = Box::<pg_sys::FmgrInfo>::default();
        // SAFETY: an existing function; raises when it was dropped meanwhile.
        unsafe { pg_sys::fmgr_info(function.oid, &raw mut *manager) };
        let size = memoffset::offset_of!(pg_sys::FunctionCallInfoBaseData, args)
            + arguments.len() * size_of::<pg_sys::NullableDatum>();
        // SAFETY: zeroed memory in the current memory context.
        let info: pg_sys::FunctionCallInfo = unsafe { pg_sys::palloc0(size) }.cast();
        // SAFETY: just allocated; zero bytes are a valid call without arguments.
        let data = unsafe { &mut *info };
        data.flinfo = &raw mut *manager;
        data.nargs = arguments.len() as i16;
        // SAFETY: there is room for all arguments behind the struct.
        let room = unsafe { data.args.as_mut_slice(arguments.len()) };
        for (place, argument) in room.iter_mut().zip(arguments) {
            let (value, isnull) = argument.to_raw();
            *place = pg_sys::NullableDatum { value, isnull };
        }
        Self { info, function: manager }
    }

    #[allow(ffi_unwind_calls)] // what the boundary is for
    fn run(self, result: *mut pg_sys::Node) {
        let Some(function) = self.function.fn_addr else { return };
        let info = self.info;
        // SAFETY: made by `new`.
        unsafe { (*info).resultinfo = result };
        // SAFETY: a function of version 1 and a call with as many arguments as it takes.
        let call = || unsafe { function(info) };
        // SAFETY: nothing in the closure has a destructor.
        unsafe { pg_guard_ffi_boundary(call) };
    }
}

/// Hands the rows of a store to `each`.
///
/// # Safety
/// Both are valid and belong together.
unsafe fn read_rows(
    store: *mut pg_sys::Tuplestorestate,
    desc: pg_sys::TupleDesc,
    each: &mut impl FnMut(&[Value<'_>]),
) {
    // SAFETY: the caller vouches for the descriptor.
    let row = unsafe { OwnedSlot::for_stored_rows(desc) };
    let slot = row.slot();
    loop {
        // SAFETY: the caller vouches for the store; the slot is of the kind that it fills.
        let found = unsafe { pg_sys::tuplestore_gettupleslot(store, true, false, slot.as_ptr()) };
        if !found {
            return;
        }
        let (values, nulls) = slot.deform();
        let values: Vec<_> = values
            .iter()
            .zip(nulls)
            // SAFETY: by-reference values live in the slot.
            .map(|(&datum, &is_null)| unsafe { Value::from_datum(datum, is_null) })
            .collect();
        each(&values);
    }
}
