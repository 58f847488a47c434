//! What is on a page of a table.

use super::ports::MAX_HEAP_TUPLES_PER_PAGE;
use pgrx_pg_sys as pg_sys;

/// The page's line pointers, in order.
pub fn line_pointers<'p>(page: pg_sys::Page) -> &'p [pg_sys::ItemIdData] {
    let header = page.cast::<pg_sys::PageHeaderData>();
    let begin = memoffset::offset_of!(pg_sys::PageHeaderData, pd_linp);
    // SAFETY: a page of a table begins with its header.
    let lower = usize::from(unsafe { (*header).pd_lower });
    let count = lower.saturating_sub(begin) / size_of::<pg_sys::ItemIdData>();
    // SAFETY: the line pointers follow the header.
    let first = unsafe { page.byte_add(begin) }.cast::<pg_sys::ItemIdData>();
    // SAFETY: they end where the header says.
    unsafe { std::slice::from_raw_parts(first, count.min(MAX_HEAP_TUPLES_PER_PAGE)) }
}

/// What a line pointer of the page points to; `None` when that is not a tuple.
pub fn tuple_at(page: pg_sys::Page, item: pg_sys::ItemIdData) -> Option<pg_sys::HeapTupleData> {
    if item.lp_flags() != pg_sys::LP_NORMAL {
        return None;
    }
    // SAFETY: a normal line pointer points into its page.
    let data = unsafe { page.byte_add(item.lp_off() as usize) };
    let (t_len, t_data) = (item.lp_len(), data.cast());
    Some(pg_sys::HeapTupleData { t_len, t_data, ..Default::default() })
}
