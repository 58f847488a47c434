//! What is damaged in a table and its indexes, by amcheck's judgement.
//!
//! amcheck looks at the pages of heap tables and refuses all others by the OID of their access
//! method. Ours have the same pages, so for as long as it looks at one of them, the access method in
//! the session's relcache entry reads as heap.

use super::{Also, open};
use crate::error::CaliberResult;
use crate::pg::function::Function;
use crate::pg::relation::{OpenRel, Rel};
use crate::pg::subtransaction::{Failure, attempt};
use crate::pg::value::Value;
use crate::pg::{check_for_interrupts, ports};
use pgrx_pg_sys as pg_sys;
use pgrx_pg_sys::errcodes::PgSqlErrorCode;
use std::cell::Cell;
use std::ffi::CStr;

const AMCHECK: &CStr = c"amcheck";

/// How often the check of the pages is begun again when the relcache entry was rebuilt before amcheck
/// read it: each time takes a change of the catalogs in that moment.
const ATTEMPTS: usize = 100;

/// One damage.
#[derive(Debug)]
pub struct Finding {
    /// The table, its toast table, or the index that is damaged.
    pub part: pg_sys::Oid,
    /// The page.
    pub block: Option<i64>,
    /// The line pointer on the page.
    pub offset: Option<i32>,
    /// The attribute of the row.
    pub attribute: Option<i32>,
    /// What is wrong.
    pub message: String,
}

/// Looks at all pages of the table and of its toast table, and whether their B-tree indexes, and from
/// PostgreSQL 18 the GIN indexes, agree with them. Indexes that are not valid are passed over.
///
/// # Errors
/// As `open`; 42704 without the extension amcheck, 42883 with one that is too old.
pub fn verify(oid: pg_sys::Oid) -> CaliberResult<Vec<Finding>> {
    let table = open(oid, Also::Nobody)?;
    let check = Amcheck::find()?;
    let mut findings = check.whole(table.rel());
    if let Some(toast) = table.rel().toast_table() {
        let toast = OpenRel::relation(toast, pg_sys::AccessShareLock);
        findings.extend(check.whole(toast.rel()));
    }
    Ok(findings)
}

/// The functions of the extension amcheck.
struct Amcheck {
    heap: Function,
    btree: Function,
    gin: Option<Function>,
}

impl Amcheck {
    fn find() -> CaliberResult<Self> {
        use pg_sys::{BOOLOID, INT8OID, REGCLASSOID, TEXTOID};
        let heap = [REGCLASSOID, BOOLOID, BOOLOID, TEXTOID, INT8OID, INT8OID];
        let btree = [REGCLASSOID, BOOLOID, BOOLOID];
        let gin = || Function::of_extension(AMCHECK, "gin_index_check", &[REGCLASSOID]);
        let btree = &btree[..if ports::AMCHECK_KNOWS_UNIQUE { 3 } else { 2 }];
        Ok(Self {
            heap: Function::of_extension(AMCHECK, "verify_heapam", &heap)?,
            btree: Function::of_extension(AMCHECK, "bt_index_check", btree)?,
            gin: ports::AMCHECK_KNOWS_GIN.then(gin).transpose()?,
        })
    }

    /// A table and its indexes.
    fn whole(&self, rel: Rel<'_>) -> Vec<Finding> {
        let mut findings = self.pages(rel);
        for index in rel.indexes() {
            check_for_interrupts();
            let Some(index) = OpenRel::existing(index, pg_sys::AccessShareLock) else { continue };
            findings.extend(self.index(index.rel()));
        }
        findings
    }

    /// The pages of a table.
    fn pages(&self, rel: Rel<'_>) -> Vec<Finding> {
        let was_rebuilt = Cell::new(false);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let again = attempts < ATTEMPTS;
            let is_refusal = |code| code == PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED;
            let expected = |code| is_damage(code) || again && was_rebuilt.get() && is_refusal(code);
            was_rebuilt.set(false);
            match attempt(expected, || self.pages_as_heap(rel, &was_rebuilt)) {
                Ok(findings) => return findings,
                Err(_) if was_rebuilt.get() && again => check_for_interrupts(),
                Err(failure) => return vec![Finding::of(rel, failure)],
            }
        }
    }

    fn pages_as_heap(&self, rel: Rel<'_>, was_rebuilt: &Cell<bool>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let is_toast = rel.class().relkind as u8 == pg_sys::RELKIND_TOASTVALUE;
        let skip = c"none";
        // SAFETY: a text in the current memory context.
        let skip = unsafe { pg_sys::cstring_to_text(skip.as_ptr()) };
        // SAFETY: just made.
        let skip = unsafe { Value::from_datum(pg_sys::Datum::from(skip), false) };
        let arguments = [
            Value::oid(rel.oid()),
            Value::bool(false), // to go on after the first page that is damaged
            Value::bool(!is_toast),
            skip,
            Value::NULL,
            Value::NULL,
        ];
        let _reads_as_heap = ReadsAsHeap::begin(rel, was_rebuilt);
        self.heap.for_each_row(&arguments, |row| {
            findings.push(Finding {
                part: rel.oid(),
                block: row[0].as_i64(),
                offset: row[1].as_i32(),
                attribute: row[2].as_i32(),
                message: row[3].as_text().unwrap_or_default(),
            });
        });
        findings
    }

    /// Whether an index agrees with its table.
    fn index(&self, index: Rel<'_>) -> Option<Finding> {
        let form = index.data().rd_index;
        // SAFETY: an open index has its pg_index row.
        if !unsafe { (*form).indisvalid } {
            return None;
        }
        let yes = Value::bool(true); // all rows of the table are in it; unique ones once
        let (function, arguments) = match index.class().relam {
            pg_sys::BTREE_AM_OID => {
                let arguments = [Value::oid(index.oid()), yes, yes];
                (self.btree, arguments[..if ports::AMCHECK_KNOWS_UNIQUE { 3 } else { 2 }].to_vec())
            }
            pg_sys::GIN_AM_OID => (self.gin?, vec![Value::oid(index.oid())]),
            _ => return None,
        };
        let failure = attempt(is_damage, || function.call(&arguments)).err()?;
        Some(Finding::of(index, failure))
    }
}

impl Finding {
    fn of(rel: Rel<'_>, failure: Failure) -> Self {
        let message = match failure.detail {
            Some(detail) => format!("{}: {}", failure.message, detail.trim_end_matches('.')),
            None => failure.message,
        };
        Self { part: rel.oid(), block: None, offset: None, attribute: None, message }
    }
}

/// Whether the error says that what is stored is damaged, or cannot be read.
fn is_damage(code: PgSqlErrorCode) -> bool {
    use PgSqlErrorCode as C;
    [
        C::ERRCODE_DATA_CORRUPTED,
        C::ERRCODE_INDEX_CORRUPTED,
        C::ERRCODE_INTERNAL_ERROR,
        C::ERRCODE_IO_ERROR,
        C::ERRCODE_UNDEFINED_FILE,
    ]
    .contains(&code)
}

/// While it lives, the access method in the session's relcache entry of the table reads as heap; how
/// the table is read and written does not depend on that field. A rebuild of the entry ends it early.
struct ReadsAsHeap<'r> {
    rel: Rel<'r>,
    before: pg_sys::Oid,
    was_rebuilt: &'r Cell<bool>,
}

impl<'r> ReadsAsHeap<'r> {
    fn begin(rel: Rel<'r>, was_rebuilt: &'r Cell<bool>) -> Self {
        let before = rel.class().relam;
        let guard = Self { rel, before, was_rebuilt };
        guard.set(pg_sys::HEAP_TABLE_AM_OID);
        guard
    }

    fn set(&self, access_method: pg_sys::Oid) {
        let row = self.rel.data().rd_rel;
        // SAFETY: the entry's own copy of the row, which only this backend reads.
        unsafe { (*row).relam = access_method };
    }
}

/// Also while an error unwinds: the table is open for longer, and nothing here can raise.
impl Drop for ReadsAsHeap<'_> {
    fn drop(&mut self) {
        if self.rel.class().relam == pg_sys::HEAP_TABLE_AM_OID {
            self.set(self.before);
        } else {
            self.was_rebuilt.set(true);
        }
    }
}
