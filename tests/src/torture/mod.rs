//! Programs that look for bugs for as long as they are let.

pub mod api;
pub mod crash;
pub mod fuzz;
pub mod histories;
mod ledger;
mod load;
pub mod oracle;
pub mod rules;
pub mod sound;
pub mod standby;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// How long a program runs.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// So many steps.
    Steps(u64),
    /// So many minutes.
    Minutes(u64),
}

/// What is left of a budget.
#[derive(Debug)]
pub struct Running {
    left: Left,
    told: Instant,
}

#[derive(Debug)]
enum Left {
    Steps(u64),
    Time { begun: Instant, minutes: u64 },
    Nothing,
}

impl Budget {
    /// Begins to spend it.
    pub fn start(self) -> Running {
        let now = Instant::now();
        let left = match self {
            Self::Steps(steps) => Left::Steps(steps),
            Self::Minutes(minutes) => Left::Time { begun: now, minutes },
        };
        Running { left, told: now }
    }
}

impl Running {
    /// Whether another step may be made. Tells each minute what a run of minutes has done so far.
    pub fn next_step(&mut self, report: &Report) -> bool {
        match &mut self.left {
            Left::Nothing | Left::Steps(0) => false,
            Left::Steps(left) => {
                *left -= 1;
                true
            }
            Left::Time { begun, minutes } => {
                if self.told.elapsed() >= MINUTE {
                    self.told = Instant::now();
                    println!("{} of {minutes} min: {report}", begun.elapsed().as_secs() / 60);
                }
                begun.elapsed() < MINUTE * u32::try_from(*minutes).unwrap_or(u32::MAX)
            }
        }
    }

    /// Lets no further step be made.
    pub fn stop(&mut self) {
        self.left = Left::Nothing;
    }
}

/// What a program is to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Decides all that is random.
    pub seed: u64,
    /// How long.
    pub budget: Budget,
}

/// What a program did.
#[derive(Debug, Default)]
pub struct Report {
    counts: BTreeMap<String, u64>,
}

impl Report {
    /// Counts some more of something.
    pub fn count(&mut self, what: &str, more: u64) {
        *self.counts.entry(what.to_owned()).or_default() += more;
    }

    /// How often something happened.
    pub fn get(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> =
            self.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(&counts.join(", "))
    }
}
