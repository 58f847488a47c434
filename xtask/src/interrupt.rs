//! What has to be cleaned up when the program is interrupted.

use std::fs;
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// Something that must not outlive this program.
pub trait Cleanup: Send + Sync {
    /// Cleans up; a second call waits for the first and does nothing.
    fn clean(&self);
}

static PENDING: Mutex<Vec<Weak<dyn Cleanup>>> = Mutex::new(Vec::new());

/// From now on SIGINT, SIGTERM and SIGHUP clean up before they end the program. One that was
/// ignored when it started, as SIGHUP under nohup, stays ignored.
pub fn install() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    let caught = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| ignored & (1 << (s - 1)) == 0);
    let mut signals = Signals::new(caught).context("cannot catch interrupts")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let name = signal_name(signal).unwrap_or("signal");
            eprintln!("{name}: cleaning up");
            let pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for item in pending.iter().filter_map(Weak::upgrade) {
                item.clean();
            }
            exit(128 + signal);
        }
    });
    Ok(())
}

/// The set of ignored signals in `/proc/PID/status`; bit 0 is signal 1.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Has it cleaned up when an interrupt comes.
pub fn register(item: &Arc<impl Cleanup + 'static>) {
    let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    pending.retain(|weak| weak.strong_count() > 0);
    let weak: Weak<dyn Cleanup> = Arc::downgrade(item) as Weak<dyn Cleanup>;
    pending.push(weak);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored(status), 0x1001);
        assert_eq!(ignored(""), 0);
    }
}
