//! The rows nearest to a vector by cosine distance, through an HNSW index or one by one.

use super::Table;
use super::index::order_operator;
use super::lookup::Scanning;
use crate::error::{CaliberError, CaliberResult};
use crate::model::Path;
use crate::pg::memory::Scratch;
use crate::pg::relation::{OpenRel, Rel};
use crate::pg::setting::{self, LocalSettings};
use crate::pg::slot::{OwnedSlot, Slot};
use crate::pg::snapshot::ActiveSnapshot;
use crate::pg::types;
use crate::pg::value::Value;
use pgrx::PgList;
use pgrx_pg_sys as pg_sys;
use uuid::Uuid;

/// Up to so many blocks the table is compared row by row: that is exact, and not slower.
const SMALL_TABLE: pg_sys::BlockNumber = 32;
/// pgvector's limit for hnsw.ef_search.
const MAX_EF_SEARCH: i32 = 1000;
/// The least hnsw.ef_search that a search uses, four times its k at least: with pgvector's default
/// of 40, clustered vectors are found worse than nine times out of ten.
const MIN_EF_SEARCH: i32 = 100;

/// A row's key and its distance.
pub type Found = (f64, Uuid);

/// A search for the rows nearest to a vector.
pub struct Search<'t, 'v> {
    table: &'t Table,
    path: Path,
    query: Value<'v>,
    distance: pg_sys::Oid,
    scratch: Scratch,
}

impl Table {
    /// Prepares a search by the vector column of the path.
    ///
    /// # Errors
    /// 42P16 when pgvector has no cosine distance any more. A query of another dimension than the
    /// column's raises pgvector's own error.
    pub fn search<'v>(&self, path: Path, query: Value<'v>) -> CaliberResult<Search<'_, 'v>> {
        let attribute = self.rel().columns().get(self.attno(path.columns[0]) as usize - 1);
        let query = query.coerced(attribute.atttypid, attribute.atttypmod);
        let distance = types::schema_of_extension(c"vector")
            .and_then(|schema| types::operator_function(schema, c"<=>", attribute.atttypid))
            .ok_or_else(|| CaliberError::Internal("pgvector has no operator <=>".to_owned()))?;
        Ok(Search { table: self, path, query, distance, scratch: Scratch::below_current() })
    }
}

impl Search<'_, '_> {
    /// The `k` nearest rows that `wanted` lets pass, nearest first: by the index, and exactly where
    /// the table is small or the index ends before it found them all.
    ///
    /// # Errors
    /// 42P16 when the table has no HNSW index.
    pub fn nearest(
        &self,
        k: usize,
        snapshot: &ActiveSnapshot,
        wanted: impl Fn(Slot<'_>) -> bool,
    ) -> CaliberResult<Vec<Found>> {
        let index = self.table.index_for(self.path)?;
        // SAFETY: an open table.
        let blocks = unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(
                self.table.rel().as_ptr(),
                pg_sys::ForkNumber::MAIN_FORKNUM,
            )
        };
        if blocks > SMALL_TABLE {
            let found = self.by_index(index, k, snapshot, &wanted)?;
            if found.len() == k {
                return Ok(found);
            }
        }
        Ok(self.one_by_one(k, snapshot, &wanted))
    }

    /// The distance between the query and itself: not a number for a vector without direction.
    pub fn has_direction(&self) -> bool {
        !self.between(self.query).is_nan()
    }

    /// The distance of the row in the slot; `None` without an embedding, or one without direction.
    fn of(&self, slot: Slot<'_>) -> Option<f64> {
        let embedding = slot.get(self.table.attno(self.path.columns[0]));
        if embedding.is_null() {
            return None;
        }
        Some(self.between(embedding)).filter(|distance| !distance.is_nan())
    }

    fn between(&self, vector: Value<'_>) -> f64 {
        let ((a, _), (b, _)) = (vector.to_raw(), self.query.to_raw());
        self.scratch.run(|| {
            // SAFETY: the function of an operator between two vectors; returns a float8.
            let result =
                unsafe { pg_sys::OidFunctionCall2Coll(self.distance, pg_sys::InvalidOid, a, b) };
            f64::from_bits(result.value() as u64)
        })
    }

    fn key(&self, slot: Slot<'_>) -> Uuid {
        slot.get(self.table.attno(0)).as_uuid().unwrap_or_default()
    }

    /// By the index, which goes on looking while rows are dropped.
    fn by_index(
        &self,
        index: OpenRel,
        k: usize,
        snapshot: &ActiveSnapshot,
        wanted: &impl Fn(Slot<'_>) -> bool,
    ) -> CaliberResult<Vec<Found>> {
        let settings = LocalSettings::begin();
        let usual = setting::number(c"hnsw.ef_search").unwrap_or(0);
        let wide = i32::try_from(k).unwrap_or(MAX_EF_SEARCH).saturating_mul(4);
        let ef_search = usual.max(MIN_EF_SEARCH).max(wide).min(MAX_EF_SEARCH);
        settings.set(c"hnsw.ef_search", &ef_search.to_string());
        settings.set(c"hnsw.iterative_scan", "strict_order");
        let mut key = self.order_key(index.rel())?;
        // SAFETY: both relations are open and locked; the caller keeps the snapshot active.
        let scan = unsafe {
            crate::pg::ports::index_beginscan(
                self.table.rel().as_ptr(),
                index.rel().as_ptr(),
                snapshot.as_ptr(),
                0,
                1,
            )
        };
        let scanning = Scanning::new(scan);
        // SAFETY: the scan copies the key.
        unsafe { pg_sys::index_rescan(scanning.scan, std::ptr::null_mut(), 0, &mut key, 1) };
        let slot = OwnedSlot::for_table(self.table.rel());
        let mut found = Vec::new();
        while found.len() < k {
            let row = slot.slot();
            // SAFETY: the slot is of the table's kind.
            let more = unsafe {
                pg_sys::index_getnext_slot(
                    scanning.scan,
                    pg_sys::ScanDirection::ForwardScanDirection,
                    row.as_ptr(),
                )
            };
            if !more {
                break;
            }
            if wanted(row)
                && let Some(distance) = self.of(row)
            {
                found.push((distance, self.key(row)));
            }
        }
        // An index over halfvec orders by rounded distances.
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        drop(scanning);
        drop(settings);
        Ok(found)
    }

    /// The scan key by which the index orders.
    fn order_key(&self, index: Rel<'_>) -> CaliberResult<pg_sys::ScanKeyData> {
        let operator = order_operator(index)
            .ok_or_else(|| CaliberError::Internal("HNSW index without an order".to_owned()))?;
        // SAFETY: a syscache look-up.
        let procedure = unsafe { pg_sys::get_opcode(operator) };
        let (argument, _) = self.converted(index).to_raw();
        let mut key = pg_sys::ScanKeyData::default();
        // SAFETY: the key is ours; the procedure takes the index's type.
        unsafe {
            pg_sys::ScanKeyEntryInitialize(
                &mut key,
                pg_sys::SK_ORDER_BY as i32,
                1,
                1,
                pg_sys::InvalidOid,
                pg_sys::InvalidOid,
                procedure,
                argument,
            );
        }
        Ok(key)
    }

    /// The query in the type of the index: converted as the index's expression converts.
    fn converted(&self, index: Rel<'_>) -> Value<'_> {
        // SAFETY: an open index; a list of expressions.
        let list = unsafe { pg_sys::RelationGetIndexExpressions(index.as_ptr()) };
        // SAFETY: a list of expressions.
        let expressions = unsafe { PgList::<pg_sys::Node>::from_pg(list) };
        let Some(expression) = expressions.head() else { return self.query };
        // SAFETY: an index with an expression serves only if that is a FuncExpr (index.rs).
        let function = unsafe { (*expression.cast::<pg_sys::FuncExpr>()).funcid };
        let typmod = index.columns().get(0).atttypmod;
        let (query, _) = self.query.to_raw();
        // SAFETY: a cast takes the value, the type modifier and whether it is explicit.
        let datum = unsafe {
            pg_sys::OidFunctionCall3Coll(
                function,
                pg_sys::InvalidOid,
                query,
                pg_sys::Datum::from(typmod),
                pg_sys::Datum::from(true),
            )
        };
        // SAFETY: allocated in the current memory context, which outlives the search.
        unsafe { Value::from_datum(datum, false) }
    }

    /// Row by row: exact.
    fn one_by_one(
        &self,
        k: usize,
        snapshot: &ActiveSnapshot,
        wanted: &impl Fn(Slot<'_>) -> bool,
    ) -> Vec<Found> {
        let rows = WholeTable::begin(self.table.rel(), snapshot);
        let mut found: Vec<Found> = Vec::new();
        while let Some(row) = rows.next() {
            if !wanted(row) {
                continue;
            }
            let Some(distance) = self.of(row) else { continue };
            let place = found.partition_point(|f| f.0 <= distance);
            if place < k {
                found.insert(place, (distance, self.key(row)));
                found.truncate(k);
            }
        }
        found
    }
}

/// A scan of all rows.
struct WholeTable {
    scan: pg_sys::TableScanDesc,
    slot: OwnedSlot,
}

impl WholeTable {
    fn begin(rel: Rel<'_>, snapshot: &ActiveSnapshot) -> Self {
        // SAFETY: an open, locked table; the caller keeps the snapshot active.
        let scan = unsafe {
            pg_sys::table_beginscan(rel.as_ptr(), snapshot.as_ptr(), 0, std::ptr::null_mut())
        };
        Self { scan, slot: OwnedSlot::for_table(rel) }
    }

    fn next(&self) -> Option<Slot<'_>> {
        crate::pg::check_for_interrupts();
        let slot = self.slot.slot();
        // SAFETY: the slot is of the table's kind.
        let more = unsafe {
            pg_sys::table_scan_getnextslot(
                self.scan,
                pg_sys::ScanDirection::ForwardScanDirection,
                slot.as_ptr(),
            )
        };
        more.then_some(slot)
    }
}

impl Drop for WholeTable {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: begun by this guard.
            unsafe { pg_sys::table_endscan(self.scan) };
        }
    }
}
