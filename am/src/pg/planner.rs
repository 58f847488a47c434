//! What the planner asks of a set-returning function: how many rows, and at what cost.

use pgrx::PgList;
use pgrx_pg_sys as pg_sys;
use std::ffi::CStr;

/// How many rows a call is taken to return when its limit is not known in time.
const USUAL_ROWS: f64 = 100.0;

/// A request of the planner to a support function.
pub struct PlannerRequest {
    node: *mut pg_sys::Node,
}

impl PlannerRequest {
    /// # Safety
    /// `node` is null or a request that PostgreSQL made, valid during the call.
    pub(crate) const unsafe fn from_raw(node: *mut pg_sys::Node) -> Self {
        Self { node }
    }

    /// Answers requests for rows and for cost about a call that returns no more rows than the
    /// argument of one of these names says, and no other request.
    pub fn answer_by_limit(self, limits: &[&CStr]) -> PlannerAnswer {
        let answered = self.node_answered(limits);
        PlannerAnswer(if answered { self.node } else { std::ptr::null_mut() })
    }

    fn node_answered(&self, limits: &[&CStr]) -> bool {
        if self.node.is_null() {
            return false;
        }
        // SAFETY: every request begins with its tag.
        let tag = unsafe { (*self.node).type_ };
        match tag {
            pg_sys::NodeTag::T_SupportRequestRows => {
                // SAFETY: the tag says what it is.
                let request = unsafe { &mut *self.node.cast::<pg_sys::SupportRequestRows>() };
                request.rows = rows(request.node, limits);
                true
            }
            pg_sys::NodeTag::T_SupportRequestCost => {
                // SAFETY: the tag says what it is.
                let request = unsafe { &mut *self.node.cast::<pg_sys::SupportRequestCost>() };
                let rows =
                    if request.node.is_null() { USUAL_ROWS } else { rows(request.node, limits) };
                request.startup = 0.0;
                request.per_tuple = cost(rows);
                true
            }
            _ => false,
        }
    }
}

/// What a support function returns: the request that it answered, or a null pointer (which is not
/// SQL's null) for one that it leaves to the planner.
pub struct PlannerAnswer(pub(crate) *mut pg_sys::Node);

/// A descent of an index, and for each row an entry and the row itself.
fn cost(rows: f64) -> f64 {
    // SAFETY: a plain number that only this backend writes.
    let page = unsafe { pg_sys::random_page_cost };
    // SAFETY: as above.
    let tuple = unsafe { pg_sys::cpu_tuple_cost };
    // SAFETY: as above.
    let entry = unsafe { pg_sys::cpu_index_tuple_cost };
    page + rows * (tuple + entry)
}

/// The rows of a call, by the constant that limits them.
fn rows(call: *mut pg_sys::Node, limits: &[&CStr]) -> f64 {
    // SAFETY: every node begins with its tag.
    let is_call = !call.is_null() && unsafe { (*call).type_ } == pg_sys::NodeTag::T_FuncExpr;
    if !is_call {
        return USUAL_ROWS;
    }
    // SAFETY: the tag says that it is a FuncExpr.
    let call = unsafe { &*call.cast::<pg_sys::FuncExpr>() };
    // SAFETY: a list of expressions, defaults included.
    let arguments = unsafe { PgList::<pg_sys::Node>::from_pg(call.args) };
    let limit = argument_named(call.funcid, limits).and_then(|index| arguments.get_ptr(index));
    limit.and_then(constant).map_or(USUAL_ROWS, |limit| f64::from(limit.max(1)))
}

/// The value of an integer constant that is not null.
fn constant(expression: *mut pg_sys::Node) -> Option<i32> {
    // SAFETY: every node begins with its tag.
    if unsafe { (*expression).type_ } != pg_sys::NodeTag::T_Const {
        return None;
    }
    // SAFETY: the tag says that it is a Const.
    let constant = unsafe { &*expression.cast::<pg_sys::Const>() };
    let is_integer = constant.consttype == pg_sys::INT4OID && !constant.constisnull;
    is_integer.then(|| constant.constvalue.value() as i32)
}

/// The position of the function's first argument with one of these names.
fn argument_named(function: pg_sys::Oid, names: &[&CStr]) -> Option<usize> {
    let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
    // SAFETY: a cache that is keyed by one OID.
    let tuple = unsafe { pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function)) };
    if tuple.is_null() {
        return None;
    }
    let mut types = std::ptr::null_mut();
    let mut found = std::ptr::null_mut();
    let mut modes = std::ptr::null_mut();
    // SAFETY: a pg_proc row; what comes back is palloc'd.
    let count = unsafe { pg_sys::get_func_arg_info(tuple, &mut types, &mut found, &mut modes) };
    // SAFETY: found above.
    unsafe { pg_sys::ReleaseSysCache(tuple) };
    if found.is_null() {
        return None;
    }
    // SAFETY: as many names as arguments, input ones first in our functions.
    let found = unsafe { std::slice::from_raw_parts(found, count.max(0) as usize) };
    found.iter().position(|&name| {
        // SAFETY: a C string, empty for an argument without a name.
        names.contains(&unsafe { CStr::from_ptr(name) })
    })
}
