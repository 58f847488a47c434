//! Memory that is given back before the call ends.

use pgrx_pg_sys as pg_sys;

/// A memory context of its own for what many rows allocate one after the other.
pub struct Scratch {
    context: pg_sys::MemoryContext,
}

impl Scratch {
    /// A new context below the current one.
    pub fn below_current() -> Self {
        // SAFETY: a plain pointer that only this backend's main thread writes.
        let parent = unsafe { pg_sys::CurrentMemoryContext };
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
        unsafe { pg_sys::MemoryContextReset(self.context) };
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
