//! What has to be cleaned up when the program is interrupted.

use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result};

/// Something that must not outlive this program.
pub trait Cleanup: Send + Sync {
    /// Cleans up; a second call waits for the first and does nothing.
    fn clean(&self);
}

static PENDING: Mutex<Vec<Weak<dyn Cleanup>>> = Mutex::new(Vec::new());

/// From now on SIGINT, SIGTERM and SIGHUP clean up before they end the program.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        eprintln!("interrupted, cleaning up");
        let pending = PENDING
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for item in pending.iter().filter_map(Weak::upgrade) {
            item.clean();
        }
        exit(130);
    })
    .context("cannot catch interrupts")
}

/// Has it cleaned up when an interrupt comes.
pub fn register(item: &Arc<impl Cleanup + 'static>) {
    let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    pending.retain(|weak| weak.strong_count() > 0);
    let weak: Weak<dyn Cleanup> = Arc::downgrade(item) as Weak<dyn Cleanup>;
    pending.push(weak);
}
