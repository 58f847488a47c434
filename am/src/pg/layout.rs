//! The layout of every C struct that this crate reads or fills by hand, pinned for each
//! PostgreSQL version: a header that moved stops the build instead of corrupting a page.

use memoffset::offset_of;
use pgrx_pg_sys as pg_sys;
use static_assertions::{const_assert, const_assert_eq};
use std::mem::size_of;

// A Datum is a pointer-sized word; int8 and timestamptz are passed by value in it.
const_assert_eq!(size_of::<pg_sys::Datum>(), 8);
const_assert_eq!(size_of::<pg_sys::NullableDatum>(), 16);
const_assert_eq!(size_of::<pg_sys::ItemPointerData>(), 6);

// The routine is copied whole and then changed at named slots. Its first member is the node tag.
const_assert_eq!(offset_of!(pg_sys::TableAmRoutine, type_), 0);
const_assert_eq!(offset_of!(pg_sys::TableAmRoutine, slot_callbacks), 8);
#[cfg(feature = "pg18")]
const_assert_eq!(size_of::<pg_sys::TableAmRoutine>(), 360);
#[cfg(any(feature = "pg16", feature = "pg17"))]
const_assert_eq!(size_of::<pg_sys::TableAmRoutine>(), 368);

// The index scans read the current block and buffer of heap's scan below the generic part.
const_assert_eq!(offset_of!(pg_sys::HeapScanDescData, rs_base), 0);
const_assert!(
    offset_of!(pg_sys::HeapScanDescData, rs_nblocks) >= size_of::<pg_sys::TableScanDescData>()
);
const_assert_eq!(size_of::<pg_sys::ValidateIndexState>(), 32);
const_assert_eq!(offset_of!(pg_sys::ValidateIndexState, tuplesort), 0);

// The slot's values and null flags are filled by hand.
const_assert_eq!(offset_of!(pg_sys::TupleTableSlot, tts_flags), 4);
const_assert_eq!(offset_of!(pg_sys::TupleTableSlot, tts_nvalid), 6);
const_assert_eq!(size_of::<pg_sys::TupleTableSlot>(), 64);

// Filled by hand before heap_fetch.
const_assert_eq!(size_of::<pg_sys::HeapTupleData>(), 24);
const_assert_eq!(offset_of!(pg_sys::HeapTupleData, t_self), 4);

// Written by heap, read by the lock and update paths.
const_assert_eq!(size_of::<pg_sys::TM_FailureData>(), 20);

// Attributes of a tuple descriptor are found by their offset.
const_assert_eq!(size_of::<pg_sys::FormData_pg_attribute>() % 4, 0);
#[cfg(feature = "pg18")]
const_assert_eq!(size_of::<pg_sys::CompactAttribute>(), 16);
#[cfg(feature = "pg18")]
const_assert_eq!(offset_of!(pg_sys::TupleDescData, compact_attrs), 24);
#[cfg(any(feature = "pg16", feature = "pg17"))]
const_assert_eq!(offset_of!(pg_sys::TupleDescData, attrs), 24);
