//! Memory contexts.

use super::raw;
use pgrx_pg_sys as pg_sys;

/// A memory context of its own for what many rows allocate one after the other.
pub struct Scratch {
    context: pg_sys::MemoryContext,
}

impl Scratch {
    /// A new context below the current one.
    pub fn below_current() -> Self {
        let parent = current();
        // SAFETY: a static name; raises when out of memory.
        let context = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                parent,
                c"caliber scratch".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        Self { context }
    }

    /// Does something whose allocations are given back when it is done, so its result must not
    /// point into them. After an error the transaction's abort frees them.
    pub fn run<T: Copy + 'static>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: a context of this guard.
        let caller = unsafe { pg_sys::MemoryContextSwitchTo(self.context) };
        let result = work();
        // SAFETY: the context that was current before.
        unsafe { pg_sys::MemoryContextSwitchTo(caller) };
        // SAFETY: nothing of what was allocated is used any more.
        unsafe { raw::MemoryContextReset(self.context) };
        result
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by this guard.
            unsafe { pg_sys::MemoryContextDelete(self.context) };
        }
    }
}

/// The context in which everybody allocates now.
pub fn current() -> pg_sys::MemoryContext {
    // SAFETY: a plain pointer that only this backend's main thread writes.
    unsafe { pg_sys::CurrentMemoryContext }
}

/// A context that lives as long as the backend.
pub fn of_the_backend() -> pg_sys::MemoryContext {
    // SAFETY: as above; it exists in every backend.
    unsafe { pg_sys::CacheMemoryContext }
}

/// Makes a context live as long as another one does, at most.
///
/// # Safety
/// Two valid contexts; the parent is not below the context.
pub unsafe fn move_below(context: pg_sys::MemoryContext, parent: pg_sys::MemoryContext) {
    // SAFETY: the caller vouches for both.
    unsafe { raw::MemoryContextSetParent(context, parent) };
}

/// How many bytes a context and those below it have taken.
///
/// # Safety
/// A valid context.
pub unsafe fn allocated(context: pg_sys::MemoryContext) -> usize {
    // SAFETY: the caller vouches for it.
    unsafe { raw::MemoryContextMemAllocated(context, true) }
}

/// Frees what was allocated in a context, if anything was.
///
/// # Safety
/// A valid context, and nothing in it is used any more.
pub unsafe fn reset(context: pg_sys::MemoryContext) {
    // SAFETY: the caller vouches for it.
    if !unsafe { (*context).isReset } {
        // SAFETY: as above.
        unsafe { raw::MemoryContextReset(context) };
    }
}
