//! Tuple table slots.

use super::raw;
use super::relation::Rel;
use super::value::Value;
use pgrx_pg_sys as pg_sys;
use std::marker::PhantomData;

/// A slot that somebody else owns, for as long as `'s`.
#[derive(Clone, Copy)]
pub struct Slot<'s> {
    pointer: *mut pg_sys::TupleTableSlot,
    owner: PhantomData<&'s ()>,
}

impl<'s> Slot<'s> {
    /// # Safety
    /// `pointer` is a valid slot for `'s`.
    pub unsafe fn from_raw(pointer: *mut pg_sys::TupleTableSlot) -> Self {
        Self { pointer, owner: PhantomData }
    }

    /// The raw pointer, for calls into PostgreSQL.
    pub fn as_ptr(self) -> *mut pg_sys::TupleTableSlot {
        self.pointer
    }

    fn data(&self) -> &pg_sys::TupleTableSlot {
        // SAFETY: valid for 's.
        unsafe { &*self.pointer }
    }

    fn width(&self) -> usize {
        let desc = self.data().tts_tupleDescriptor;
        // SAFETY: a slot that stores rows has its descriptor.
        let natts = unsafe { (*desc).natts };
        natts as usize
    }

    /// Extracts all attributes.
    pub fn deform(self) -> (&'s [pg_sys::Datum], &'s [bool]) {
        self.extract(self.width());
        self.in_arrays()
    }

    /// Extracts the first `count` attributes, of which the row can have as many.
    fn extract(self, count: usize) {
        if self.in_arrays().0.len() < count {
            // SAFETY: valid for 's, and holds a stored row: a virtual one has all its attributes.
            unsafe { raw::slot_getsomeattrs_int(self.pointer, count as i32) };
        }
    }

    /// The attributes that were extracted already.
    fn in_arrays(self) -> (&'s [pg_sys::Datum], &'s [bool]) {
        let count = self.data().tts_nvalid.max(0) as usize;
        let (values, nulls) = (self.data().tts_values, self.data().tts_isnull);
        // SAFETY: the slot's arrays hold that many attributes.
        let values = unsafe { std::slice::from_raw_parts(values, count) };
        // SAFETY: as above.
        let nulls = unsafe { std::slice::from_raw_parts(nulls, count) };
        (values, nulls)
    }

    /// One attribute, by attribute number (from 1).
    pub fn get(self, attno: i16) -> Value<'s> {
        let count = attno.max(0) as usize;
        assert!((1..=self.width()).contains(&count), "a column of the table");
        self.extract(count);
        let (values, nulls) = self.in_arrays();
        // SAFETY: by-reference values live in the slot.
        unsafe { Value::from_datum(values[count - 1], nulls[count - 1]) }
    }

    /// Makes this slot hold the other one's row, with its address.
    pub fn copy_from(self, other: Slot<'_>) {
        // SAFETY: two slots of the same descriptor.
        unsafe { pg_sys::ExecCopySlot(self.pointer, other.pointer) };
    }

    /// The row's address.
    pub fn tid(self) -> pg_sys::ItemPointerData {
        self.data().tts_tid
    }

    /// Whether the current transaction wrote this version of the row, or may have: a row that was
    /// not read from a table does not say.
    pub fn is_of_this_transaction(self) -> bool {
        let Some(tuple) = self.tuple() else { return true };
        // SAFETY: a tuple that the slot holds.
        let header = unsafe { (*tuple).t_data };
        // SAFETY: as above.
        let xmin = unsafe { pg_sys::htup::HeapTupleHeaderGetXmin(header) };
        // SAFETY: looks at this backend's own state.
        unsafe { raw::TransactionIdIsCurrentTransactionId(xmin) }
    }

    /// Lets go of the row in the slot, if there is one.
    pub fn clear(self) {
        let is_empty = u32::from(self.data().tts_flags) & pg_sys::TTS_FLAG_EMPTY != 0;
        if !is_empty {
            // SAFETY: valid for 's.
            unsafe { pg_sys::ExecClearTuple(self.pointer) };
        }
    }

    /// Replaces the content by a row of these values, which must outlive it.
    pub fn store(self, values: &[pg_sys::Datum], nulls: &[bool]) {
        assert!(values.len() == self.width() && nulls.len() == self.width());
        self.clear();
        let (to_values, to_nulls) = (self.data().tts_values, self.data().tts_isnull);
        // SAFETY: the slot's arrays are as long as its descriptor, which was just compared.
        unsafe { to_values.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        // SAFETY: as above.
        unsafe { to_nulls.copy_from_nonoverlapping(nulls.as_ptr(), nulls.len()) };
        // SAFETY: the slot is empty and its arrays are filled.
        unsafe { raw::ExecStoreVirtualTuple(self.pointer) };
    }

    /// The stored row in the slot, if it is there whole: with all attributes of the table as it is
    /// now, none of them in the toast table. Valid as long as the slot holds it.
    pub fn whole_tuple(self) -> Option<pg_sys::HeapTuple> {
        let tuple = self.tuple()?;
        // SAFETY: a tuple that the slot holds.
        let header = unsafe { (*tuple).t_data };
        // SAFETY: as above.
        let header = unsafe { &*header };
        let has_external = u32::from(header.t_infomask) & pg_sys::HEAP_HASEXTERNAL != 0;
        let natts = u32::from(header.t_infomask2) & pg_sys::HEAP_NATTS_MASK;
        (!has_external && natts as usize == self.width()).then_some(tuple)
    }

    /// The tuple that the slot's row was read from or formed into.
    fn tuple(self) -> Option<pg_sys::HeapTuple> {
        if !std::ptr::eq(self.data().tts_ops, &raw const pg_sys::TTSOpsBufferHeapTuple) {
            return None;
        }
        let slot = self.pointer.cast::<pg_sys::BufferHeapTupleTableSlot>();
        // SAFETY: a slot with these operations has this layout.
        let tuple = unsafe { (*slot).base.tuple };
        (!tuple.is_null()).then_some(tuple)
    }

    /// Whether the values in the slot's arrays are the row itself, not extracted from a tuple.
    fn is_virtual(self) -> bool {
        if std::ptr::eq(self.data().tts_ops, &raw const pg_sys::TTSOpsVirtual) {
            return true;
        }
        let is_buffered =
            std::ptr::eq(self.data().tts_ops, &raw const pg_sys::TTSOpsBufferHeapTuple);
        is_buffered && self.tuple().is_none()
    }

    /// Sets by-value attributes (by index from 0) of the row in the slot, leaving the others.
    ///
    /// The caller's own slot changes, so that the indexes, RETURNING and triggers see the values.
    pub fn assign(self, new: &[(usize, pg_sys::Datum)]) {
        if self.is_virtual() {
            let (values, nulls) = (self.data().tts_values, self.data().tts_isnull);
            // SAFETY: the slot's arrays are as long as its descriptor.
            let values = unsafe { std::slice::from_raw_parts_mut(values, self.width()) };
            // SAFETY: as above.
            let nulls = unsafe { std::slice::from_raw_parts_mut(nulls, self.width()) };
            for &(index, datum) in new {
                values[index] = datum;
                nulls[index] = false;
            }
            return;
        }
        let (values, nulls) = self.deform();
        let (mut values, mut nulls) = (values.to_vec(), nulls.to_vec());
        for &(index, datum) in new {
            values[index] = datum;
            nulls[index] = false;
        }
        let desc = self.data().tts_tupleDescriptor;
        // SAFETY: the arrays are as long as the descriptor; the tuple copies what they point to.
        let tuple =
            unsafe { pg_sys::heap_form_tuple(desc, values.as_mut_ptr(), nulls.as_mut_ptr()) };
        // SAFETY: the slot copies the tuple and frees it.
        unsafe { pg_sys::ExecForceStoreHeapTuple(tuple, self.pointer, true) };
    }
}

/// A slot of its own, dropped with this guard.
pub struct OwnedSlot {
    pointer: *mut pg_sys::TupleTableSlot,
}

impl OwnedSlot {
    /// A slot of the kind that the table's access method stores into.
    pub fn for_table(rel: Rel<'_>) -> Self {
        // SAFETY: an open relation; the slot keeps a reference to its descriptor.
        let pointer = unsafe { pg_sys::table_slot_create(rel.as_ptr(), std::ptr::null_mut()) };
        Self { pointer }
    }

    /// Takes over a slot that was made for this guard.
    ///
    /// # Safety
    /// Nobody else frees the slot.
    pub const unsafe fn from_raw(pointer: *mut pg_sys::TupleTableSlot) -> Self {
        Self { pointer }
    }

    /// A slot for the rows of a tuplestore.
    ///
    /// # Safety
    /// `desc` is a valid descriptor for as long as this guard.
    pub unsafe fn for_stored_rows(desc: pg_sys::TupleDesc) -> Self {
        // SAFETY: the caller vouches for the descriptor.
        let pointer = unsafe {
            pg_sys::MakeSingleTupleTableSlot(desc, &raw const pg_sys::TTSOpsMinimalTuple)
        };
        Self { pointer }
    }

    /// The slot, for as long as this guard.
    pub fn slot(&self) -> Slot<'_> {
        Slot { pointer: self.pointer, owner: PhantomData }
    }
}

impl Drop for OwnedSlot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: created by this guard.
            unsafe { raw::ExecDropSingleTupleTableSlot(self.pointer) };
        }
    }
}
