//! What the user sees while something takes long: a spinner or a bar on a terminal, plain lines
//! elsewhere and in CI.

use std::env;
use std::fmt::Display;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether progress may be drawn: standard error is a terminal, and this is not CI.
pub fn interactive() -> bool {
    stderr().is_terminal() && env::var_os("CI").is_none_or(|value| value == "false")
}

/// A line on standard error.
pub fn say(line: impl Display) {
    eprintln!("{line}");
}

/// A step that takes a while and says nothing itself.
#[derive(Debug)]
pub struct Step {
    label: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Step {
    /// Shows that the step has begun.
    pub fn begin(label: impl Into<String>) -> Self {
        let label = label.into();
        let bar = interactive().then(|| {
            let bar = ProgressBar::new_spinner().with_message(label.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            say(format_args!("{label} ..."));
        }
        Self { label, started: Instant::now(), bar }
    }

    /// Shows that it is over, and how long it took.
    pub fn done(mut self) {
        self.clear();
        let time = seconds(self.started.elapsed());
        if interactive() {
            say(format_args!("{} ({time})", self.label));
        } else {
            say(format_args!("{}: done in {time}", self.label));
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A bar over `length` units; invisible where nothing may be drawn.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let target =
        if interactive() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A duration for people.
pub fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s < 0.001 {
        format!("{:.0} µs", s * 1e6)
    } else if s < 1.0 {
        format!("{:.0} ms", s * 1e3)
    } else if s < 100.0 {
        format!("{s:.1} s")
    } else {
        format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_micros(250)), "250 µs");
        assert_eq!(seconds(Duration::from_millis(12)), "12 ms");
        assert_eq!(seconds(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
