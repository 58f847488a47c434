//! Memory contexts as guards.

use pgrx_pg_sys as pg_sys;

/// A memory context of its own: current while this lives, deleted with all that was allocated in
/// it when this is dropped.
pub struct ScratchMemory {
    context: pg_sys::MemoryContext,
    previous: pg_sys::MemoryContext,
}

impl ScratchMemory {
    /// Creates the context below the current one and makes it current.
    pub fn enter() -> Self {
        // SAFETY: a backend always has a current context, which outlives this call.
        let previous = unsafe { pg_sys::CurrentMemoryContext };
        // SAFETY: the parent is valid and the name is a static string, as the function asks.
        let context = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                previous,
                c"caliber scratch".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        // SAFETY: the context was just created.
        unsafe { pg_sys::MemoryContextSwitchTo(context) };
        Self { context, previous }
    }

    /// Frees what was allocated in it so far.
    pub fn reset(&mut self) {
        // SAFETY: the context lives as long as this guard.
        unsafe { pg_sys::MemoryContextReset(self.context) };
    }

    /// Runs `f` with the caller's context current, for results that outlive this guard.
    pub fn outside<T>(&self, f: impl FnOnce() -> T) -> T {
        // SAFETY: the caller's context outlives this guard.
        unsafe { pg_sys::MemoryContextSwitchTo(self.previous) };
        let result = f();
        // SAFETY: the context lives as long as this guard.
        unsafe { pg_sys::MemoryContextSwitchTo(self.context) };
        result
    }
}

impl Drop for ScratchMemory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: the caller's context outlives this guard.
        unsafe { pg_sys::MemoryContextSwitchTo(self.previous) };
        // SAFETY: created by this guard and not current any more.
        unsafe { pg_sys::MemoryContextDelete(self.context) };
    }
}
