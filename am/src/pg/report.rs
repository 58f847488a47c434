//! The one conversion of a [`CaliberError`] to a PostgreSQL error.

use crate::error::{CaliberError, CaliberResult};
use pgrx::{PgLogLevel, PgSqlErrorCode};
use pgrx_pg_sys::panic::ErrorReport;

/// Raises the error: PostgreSQL aborts the (sub)transaction.
pub fn raise(error: &CaliberError) -> ! {
    let mut report =
        ErrorReport::new(sql_error_code(error.sqlstate()), error.to_string(), "caliber_pg");
    if let Some(detail) = error.detail() {
        report = report.set_detail(detail);
    }
    if let Some(hint) = error.hint() {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("a report at level ERROR does not return")
}

/// The value, or the error raised.
pub fn or_raise<T>(result: CaliberResult<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => raise(&error),
    }
}

/// The pgrx name of a SQLSTATE that [`CaliberError::sqlstate`] gives.
fn sql_error_code(sqlstate: &str) -> PgSqlErrorCode {
    use PgSqlErrorCode as C;
    match sqlstate {
        "0A000" => C::ERRCODE_FEATURE_NOT_SUPPORTED,
        "22023" => C::ERRCODE_INVALID_PARAMETER_VALUE,
        "23505" => C::ERRCODE_UNIQUE_VIOLATION,
        "27000" => C::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
        "40001" => C::ERRCODE_T_R_SERIALIZATION_FAILURE,
        "42704" => C::ERRCODE_UNDEFINED_OBJECT,
        "42809" => C::ERRCODE_WRONG_OBJECT_TYPE,
        "42883" => C::ERRCODE_UNDEFINED_FUNCTION,
        "42P01" => C::ERRCODE_UNDEFINED_TABLE,
        "42P16" => C::ERRCODE_INVALID_TABLE_DEFINITION,
        "54000" => C::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        "55000" => C::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "55006" => C::ERRCODE_OBJECT_IN_USE,
        "P0002" => C::ERRCODE_NO_DATA_FOUND,
        "XX001" => C::ERRCODE_DATA_CORRUPTED,
        _ => C::ERRCODE_INTERNAL_ERROR,
    }
}
