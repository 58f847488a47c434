//! The ratios that the project wants to reach.

use crate::bench::summary::Figure;

/// An operation, a peer, and how many times our time the peer's shall be at least.
const GOALS: &[(&str, &str, f64)] = &[
    ("get", "executor", 1.0 / 1.25),
    ("get", "plpgsql", 1.5),
    ("get", "spi", 6.0),
    ("get_warm", "executor", 1.0 / 0.7),
    ("get_warm", "plpgsql", 3.0),
    ("get_warm", "spi", 15.0),
    ("get_many", "each", 1.0 / 0.6),
    ("append", "executor", 1.0 / 1.2),
    ("append", "plpgsql", 2.5),
    ("append", "spi", 8.0),
    ("append_many", "plpgsql", 3.0),
    ("append_many", "spi", 8.0),
    ("send_many", "each", 1.0 / 0.6),
    ("set_status", "executor", 1.0 / 1.25),
    ("set_status", "plpgsql", 2.0),
    ("set_status", "spi", 5.0),
    ("heartbeat", "executor", 1.0 / 1.25),
    ("heartbeat", "plpgsql", 2.0),
    ("heartbeat", "spi", 5.0),
    ("list100", "executor", 1.0 / 1.3),
    ("list100", "plpgsql", 1.2),
    ("list100", "spi", 1.5),
    ("lock_cycle", "plpgsql", 2.5),
    ("lock_cycle", "spi", 6.0),
    ("message_cycle", "plpgsql", 2.5),
    ("message_cycle", "spi", 6.0),
    ("seqscan", "heap", 1.0 / 1.02),
    ("indexscan", "heap", 1.0 / 1.02),
    ("copy", "heap", 1.0 / 1.05),
    ("copy", "heap_trigger", 1.0 / 0.8),
    ("copy_plain", "heap", 1.0 / 1.02),
    ("update", "heap", 1.0 / 1.15),
    ("update", "heap_trigger", 1.0 / 0.75),
    ("create_index", "heap", 1.0 / 1.05),
    ("create_index_parallel", "heap", 1.0 / 1.05),
    ("create_index_concurrently", "heap", 1.0 / 1.05),
    ("bitmapscan", "heap", 1.0 / 1.02),
    ("insert_select", "heap", 1.0 / 1.02),
    ("analyze", "heap", 1.0 / 1.02),
    ("vacuum", "heap", 1.0 / 1.02),
];

/// The ratio that is wanted of the peer's time to ours.
pub fn wanted(operation: &str, implementation: &str) -> Option<f64> {
    let goal = GOALS.iter().find(|goal| (goal.0, goal.1) == (operation, implementation));
    goal.map(|goal| goal.2)
}

/// The ratio that is wanted of a figure, and whether it was reached: by the median, by a round at
/// least, or by none.
pub fn verdict(figure: &Figure) -> Option<(f64, &'static str)> {
    let goal = wanted(figure.operation, figure.implementation)?;
    let (median, _, highest) = figure.ratio?;
    let verdict = if median >= goal {
        "reached"
    } else if highest >= goal {
        "in the spread"
    } else {
        "missed"
    };
    Some((goal, verdict))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::operation;

    #[test]
    fn goals_are_of_things_that_are_measured() {
        for (operation, peer, _) in GOALS {
            let found = operation::ALL.iter().find(|o| o.name == *operation);
            assert!(
                found.is_some_and(|o| o.peers.iter().any(|p| p.name == *peer)),
                "{operation} {peer}"
            );
        }
    }
}
