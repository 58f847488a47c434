//! The wiring: which callback is whose.

use super::{doors, heap, index_build, index_validate};
use pgrx::pg_guard;
use pgrx_pg_sys as pg_sys;
use std::sync::OnceLock;

/// The routine that the handler function returns: heap's, with our callbacks in place. Made once
/// per backend; the relcache keeps pointers to it for as long as the backend lives.
pub fn routine() -> &'static pg_sys::TableAmRoutine {
    static ROUTINE: OnceLock<pg_sys::TableAmRoutine> = OnceLock::new();
    ROUTINE.get_or_init(|| pg_sys::TableAmRoutine {
        // Modifying tuples: the six doors.
        tuple_insert: Some(doors::tuple_insert),
        tuple_insert_speculative: Some(doors::tuple_insert_speculative),
        tuple_complete_speculative: Some(doors::tuple_complete_speculative),
        multi_insert: Some(doors::multi_insert),
        tuple_delete: Some(doors::tuple_delete),
        tuple_update: Some(doors::tuple_update),
        // DDL.
        relation_set_new_filelocator: Some(doors::relation_set_new_filelocator),
        index_build_range_scan: Some(index_build::index_build_range_scan),
        index_validate_scan: Some(index_validate::index_validate_scan),
        // Toast tables are plain heap.
        relation_toast_am: Some(relation_toast_am),
        // Everything else, all reads among it, is heap's.
        ..*heap::routine()
    })
}

/// The access method of the relation's toast table.
#[pg_guard]
extern "C-unwind" fn relation_toast_am(_rel: pg_sys::Relation) -> pg_sys::Oid {
    pg_sys::HEAP_TABLE_AM_OID
}

/// Each callback of the routine by name, and whether it is heap's own.
pub fn callbacks() -> Vec<(&'static str, bool)> {
    macro_rules! compare {
        ($($name:ident),* $(,)?) => {
            vec![$((
                stringify!($name),
                routine().$name.map(|f| f as usize) == heap::routine().$name.map(|f| f as usize),
            )),*]
        };
    }
    compare!(
        slot_callbacks,
        scan_begin,
        scan_end,
        scan_rescan,
        scan_getnextslot,
        scan_set_tidrange,
        scan_getnextslot_tidrange,
        parallelscan_estimate,
        parallelscan_initialize,
        parallelscan_reinitialize,
        index_fetch_begin,
        index_fetch_reset,
        index_fetch_end,
        index_fetch_tuple,
        tuple_fetch_row_version,
        tuple_tid_valid,
        tuple_get_latest_tid,
        tuple_satisfies_snapshot,
        index_delete_tuples,
        tuple_insert,
        tuple_insert_speculative,
        tuple_complete_speculative,
        multi_insert,
        tuple_delete,
        tuple_update,
        tuple_lock,
        finish_bulk_insert,
        relation_set_new_filelocator,
        relation_nontransactional_truncate,
        relation_copy_data,
        relation_copy_for_cluster,
        relation_vacuum,
        scan_analyze_next_block,
        scan_analyze_next_tuple,
        index_build_range_scan,
        index_validate_scan,
        relation_size,
        relation_needs_toast_table,
        relation_toast_am,
        relation_fetch_toast_slice,
        relation_estimate_size,
        scan_bitmap_next_tuple,
        scan_sample_next_block,
        scan_sample_next_tuple,
    )
}
