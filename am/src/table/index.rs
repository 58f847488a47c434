//! Finding the index that serves a path: the whole table is never read silently.

use super::Table;
use crate::error::{CaliberError, CaliberResult};
use crate::model::{Method, Partial, Path};
use crate::pg::relation::{OpenRel, Rel};
use crate::pg::value::Value;
use crate::pg::{invalidation, types};
use pgrx::PgList;
use pgrx_pg_sys as pg_sys;
use std::cell::RefCell;

/// `DESC`, whose default is `NULLS FIRST`: `INDOPTION_DESC | INDOPTION_NULLS_FIRST`.
const DESC_NULLS_FIRST: i16 = 3;

/// The index that was found to serve a path, and still does.
struct Known {
    /// [`Shape::generation`](crate::storage::shape::Shape::generation) of the table.
    generation: u64,
    path: Path,
    /// [`invalidation::seen`] when it was looked for.
    seen: u64,
    index: pg_sys::Oid,
}

thread_local! {
    /// One for each table and path: bounded by the number of functions.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

impl Table {
    /// Opens an index that serves the path.
    ///
    /// # Errors
    /// 42P16 when there is none.
    pub fn index_for(&self, path: Path) -> CaliberResult<OpenRel> {
        let seen = invalidation::seen();
        let generation = self.shape().generation();
        let known = KNOWN.with_borrow(|known| {
            let is_this = |k: &&Known| k.generation == generation && k.path == path;
            known.iter().find(is_this).filter(|k| k.seen == seen).map(|k| k.index)
        });
        if let Some(oid) = known {
            let index = OpenRel::index(oid, pg_sys::AccessShareLock);
            // Getting the lock may have told of a change.
            if invalidation::seen() == seen && is_usable(index.rel()) {
                return Ok(index);
            }
        }
        let index = self.find_index(path)?;
        KNOWN.with_borrow_mut(|known| {
            known.retain(|k| k.seen == seen && !(k.generation == generation && k.path == path));
            known.push(Known { generation, path, seen, index: index.rel().oid() });
        });
        Ok(index)
    }

    /// Looks for an index that serves the path, among all that the table has.
    fn find_index(&self, path: Path) -> CaliberResult<OpenRel> {
        for oid in self.rel().indexes() {
            let index = OpenRel::index(oid, pg_sys::AccessShareLock);
            if self.serves(index.rel(), path) {
                return Ok(index);
            }
        }
        let names: Vec<_> = path.columns.iter().map(|&c| self.entity().columns[c].name).collect();
        let method = match path.method {
            Method::Btree => "B-tree",
            Method::Gin => "GIN",
            Method::Hnsw => "HNSW cosine",
        };
        Err(CaliberError::IndexMissing {
            table: self.rel().name(),
            method,
            columns: names.join(", "),
        })
    }

    /// Whether the index finds every row of the path, in the path's order.
    fn serves(&self, index: Rel<'_>, path: Path) -> bool {
        let form = index.data().rd_index;
        // SAFETY: an open index has its pg_index row.
        let form = unsafe { &*form };
        is_usable(index)
            && form.indnkeyatts as usize >= path.columns.len()
            && is_of_method(index, path.method)
            && self.has_columns(index, form, path)
            && self.predicate_matches(index, path)
    }

    /// Whether the index begins with the path's columns, each in the path's direction.
    fn has_columns(&self, index: Rel<'_>, form: &pg_sys::FormData_pg_index, path: Path) -> bool {
        // SAFETY: the vector has indnatts elements.
        let columns = unsafe { form.indkey.values.as_slice(form.indnatts as usize) };
        let wanted = path.columns.iter().map(|&column| self.attno(column));
        let in_place = wanted.zip(columns).all(|(attno, &column)| attno == column);
        match path.method {
            Method::Btree => {
                // SAFETY: the array has an element for each key column, of which there are enough.
                let options = unsafe {
                    std::slice::from_raw_parts(index.data().rd_indoption, path.columns.len())
                };
                in_place
                    && path.columns.iter().zip(options).all(|(column, &option)| {
                        let falling = path.descending.contains(column);
                        option == if falling { DESC_NULLS_FIRST } else { 0 }
                    })
            }
            Method::Gin => in_place,
            Method::Hnsw => in_place || self.indexes_expression_over(index, path.columns[0]),
        }
    }

    /// Whether the index's one expression is a conversion of the column, halfvec for instance.
    fn indexes_expression_over(&self, index: Rel<'_>, column: usize) -> bool {
        // SAFETY: an open index; a list of expressions.
        let list = unsafe { pg_sys::RelationGetIndexExpressions(index.as_ptr()) };
        // SAFETY: a list of expressions.
        let expressions = unsafe { PgList::<pg_sys::Node>::from_pg(list) };
        let Some(expression) = expressions.head() else { return false };
        // SAFETY: every node begins with its tag.
        if unsafe { (*expression).type_ } != pg_sys::NodeTag::T_FuncExpr {
            return false;
        }
        // SAFETY: the tag says that it is a FuncExpr.
        let arguments = unsafe { (*expression.cast::<pg_sys::FuncExpr>()).args };
        // SAFETY: a list of expressions.
        let arguments = unsafe { PgList::<pg_sys::Node>::from_pg(arguments) };
        expressions.len() == 1
            && arguments.head().is_some_and(|argument| self.is_column(argument, column))
    }

    /// Whether the index leaves out no row of the path. Those whose first column is null are of no
    /// look-up: nothing is equal to null, nor before or after it.
    fn predicate_matches(&self, index: Rel<'_>, path: Path) -> bool {
        // SAFETY: an open index; an implicitly-ANDed list, null for a full index.
        let list = unsafe { pg_sys::RelationGetIndexPredicate(index.as_ptr()) };
        // SAFETY: a list of expressions.
        let clauses = unsafe { PgList::<pg_sys::Node>::from_pg(list) };
        clauses.iter_ptr().all(|clause| {
            self.is_not_null(clause, path.columns[0])
                || match path.partial {
                    Partial::Full => false,
                    Partial::True(column) => self.is_column(clause, column),
                    Partial::In(column, labels) => self.is_membership(clause, column, labels),
                }
        })
    }

    /// Whether the clause is `column IS NOT NULL`.
    fn is_not_null(&self, clause: *mut pg_sys::Node, column: usize) -> bool {
        // SAFETY: an expression of the index.
        let test = unsafe { as_null_test(clause) };
        test.is_some_and(|test| {
            test.nulltesttype == pg_sys::NullTestType::IS_NOT_NULL
                && self.is_column(test.arg.cast(), column)
        })
    }

    /// Whether the clause is `column = label` or `column IN (labels)`, for exactly these labels.
    fn is_membership(&self, clause: *mut pg_sys::Node, column: usize, labels: &[&str]) -> bool {
        // SAFETY: every node begins with its tag.
        let tag = unsafe { (*clause).type_ };
        let arguments = match tag {
            // SAFETY: the tag says what it is.
            pg_sys::NodeTag::T_OpExpr => unsafe { (*clause.cast::<pg_sys::OpExpr>()).args },
            pg_sys::NodeTag::T_ScalarArrayOpExpr => {
                let clause = clause.cast::<pg_sys::ScalarArrayOpExpr>();
                // SAFETY: the tag says what it is.
                unsafe { (*clause).args }
            }
            _ => return false,
        };
        // SAFETY: a list of expressions.
        let arguments = unsafe { PgList::<pg_sys::Node>::from_pg(arguments) };
        let (Some(left), Some(right)) = (arguments.get_ptr(0), arguments.get_ptr(1)) else {
            return false;
        };
        // SAFETY: every node begins with its tag.
        if unsafe { (*right).type_ } != pg_sys::NodeTag::T_Const || !self.is_column(left, column) {
            return false;
        }
        // SAFETY: the tag says that it is a Const.
        let constant = unsafe { &*right.cast::<pg_sys::Const>() };
        if constant.constisnull {
            return false;
        }
        // SAFETY: the expression, and with it the constant, lives as long as the index is open.
        let value = unsafe { Value::from_datum(constant.constvalue, false) };
        let found = match tag {
            pg_sys::NodeTag::T_OpExpr => value.as_oid().into_iter().collect(),
            _ => value.as_enum_array(),
        };
        let mut found: Vec<_> = found.into_iter().filter_map(types::enum_label_text).collect();
        found.sort_unstable();
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        found == labels
    }

    fn is_column(&self, expression: *mut pg_sys::Node, column: usize) -> bool {
        // SAFETY: every node begins with its tag.
        let tag = unsafe { (*expression).type_ };
        if tag != pg_sys::NodeTag::T_Var {
            return false;
        }
        // SAFETY: the tag says that it is a Var.
        let attno = unsafe { (*expression.cast::<pg_sys::Var>()).varattno };
        attno == self.attno(column)
    }
}

/// Whether the index is of this kind and, for distances, in the order of cosine distance.
fn is_of_method(index: Rel<'_>, method: Method) -> bool {
    let am = index.class().relam;
    match method {
        Method::Btree => am == pg_sys::BTREE_AM_OID,
        Method::Gin => am == pg_sys::GIN_AM_OID,
        Method::Hnsw => {
            types::access_method_name(am).as_deref() == Some("hnsw")
                && order_operator(index)
                    .and_then(types::operator_name)
                    .is_some_and(|name| name == "<=>")
        }
    }
}

/// The operator in whose order the index's first column is scanned: strategy 1 of its family.
pub(super) fn order_operator(index: Rel<'_>) -> Option<pg_sys::Oid> {
    let data = index.data();
    // SAFETY: an open index has an element for each key column, of which there is one.
    let family = unsafe { *data.rd_opfamily };
    // SAFETY: as above.
    let input = unsafe { *data.rd_opcintype };
    // SAFETY: a syscache look-up.
    let operator = unsafe { pg_sys::get_opfamily_member(family, input, input, 1) };
    (operator != pg_sys::InvalidOid).then_some(operator)
}

/// # Safety
/// `node` is a valid expression.
unsafe fn as_null_test<'n>(node: *mut pg_sys::Node) -> Option<&'n pg_sys::NullTest> {
    // SAFETY: every node begins with its tag.
    let tag = unsafe { (*node).type_ };
    // SAFETY: the tag says that it is a NullTest.
    (tag == pg_sys::NodeTag::T_NullTest).then(|| unsafe { &*node.cast::<pg_sys::NullTest>() })
}

/// Whether the index has every row that this transaction's snapshot can see.
fn is_usable(index: Rel<'_>) -> bool {
    // SAFETY: an open index has its pg_index row.
    let form = unsafe { &*index.data().rd_index };
    form.indisvalid && form.indislive && !is_too_new(index, form)
}

/// Whether the index may lack rows that this transaction's snapshot can see: it was built over
/// broken HOT chains and is younger than the oldest snapshot (`indcheckxmin`).
fn is_too_new(index: Rel<'_>, form: &pg_sys::FormData_pg_index) -> bool {
    if !form.indcheckxmin {
        return false;
    }
    let tuple = index.data().rd_indextuple;
    // SAFETY: an open index keeps its pg_index tuple.
    let header = unsafe { (*tuple).t_data };
    // SAFETY: as above.
    let xmin = unsafe { pg_sys::htup::HeapTupleHeaderGetXmin(header) };
    // SAFETY: a plain word that only this backend writes.
    let oldest = unsafe { pg_sys::TransactionXmin };
    // SAFETY: compares two numbers.
    !unsafe { pg_sys::TransactionIdPrecedes(xmin, oldest) }
}
