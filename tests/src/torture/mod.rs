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
use std::time::{Duration, Instant};

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
pub enum Running {
    /// Steps.
    Steps(u64),
    /// Until then.
    Until(Instant),
}

impl Budget {
    /// Begins to spend it.
    pub fn start(self) -> Running {
        match self {
            Self::Steps(steps) => Running::Steps(steps),
            Self::Minutes(minutes) => {
                Running::Until(Instant::now() + Duration::from_secs(60 * minutes))
            }
        }
    }
}

impl Running {
    /// Whether another step may be made.
    pub fn next_step(&mut self) -> bool {
        match self {
            Self::Steps(0) => false,
            Self::Steps(left) => {
                *left -= 1;
                true
            }
            Self::Until(end) => Instant::now() < *end,
        }
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
