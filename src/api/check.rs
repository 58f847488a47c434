//! `caliber_check`: what keeps a table from serving as the table of its entity.

use caliber_am::error::CaliberResult;
use caliber_am::fmgr::{Call, SetDone, SetOf};
use caliber_am::pg::value::Value;
use caliber_am::table::problems_of;
use pgrx::pg_sys;

caliber_am::sql_functions!(caliber_check_table);

fn caliber_check_table(call: &Call<'_>, relation: Option<pg_sys::Oid>) -> CaliberResult<SetDone> {
    let mut answer = call.result_set(SetOf::Values);
    if let Some(relation) = relation {
        for problem in problems_of(relation) {
            answer.put(&[Value::text(&problem)?]);
        }
    }
    Ok(SetDone)
}
