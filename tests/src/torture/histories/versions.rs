//! No update is lost: each version of a row is one committed update's, and readers see versions in
//! the order in which they were committed.

use std::collections::BTreeMap;

use super::event::{Event, Fate, in_order};

/// What was done with a versioned row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// An update that leaves a value of its own.
    Update {
        /// The row.
        row: usize,
        /// The version that it was told to expect.
        expected: Option<i64>,
        /// The version that it returned; not known when the answer did not come.
        version: Option<i64>,
        /// The value, which no other update leaves.
        value: String,
    },
    /// A read that saw this.
    Read {
        /// The row.
        row: usize,
        /// The version.
        version: i64,
        /// The value.
        value: String,
    },
}

/// A row at the end, or at the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its version.
    pub version: i64,
    /// Its value.
    pub value: String,
}

/// What contradicts that the updates happened one after another, each at one moment of its span.
/// Each row began as `first`.
pub fn check(history: &[Event<Act>], rows: &[Row], first: &Row) -> Vec<String> {
    rows.iter()
        .enumerate()
        .flat_map(|(number, last)| {
            let row = History::of_row(history, number);
            let found = row.check(first, last);
            found.into_iter().map(move |what| format!("row {number}: {what}"))
        })
        .collect()
}

struct Update<'h> {
    event: &'h Event<Act>,
    expected: Option<i64>,
    version: Option<i64>,
}

/// What was done with one row.
struct History<'h> {
    updates: BTreeMap<&'h str, Update<'h>>,
    reads: Vec<(&'h Event<Act>, i64, &'h str)>,
}

impl<'h> History<'h> {
    fn of_row(history: &'h [Event<Act>], number: usize) -> Self {
        let (mut updates, mut reads) = (BTreeMap::new(), Vec::new());
        for event in history {
            match &event.act {
                Act::Update { row, expected, version, value } if *row == number => {
                    let update = Update { event, expected: *expected, version: *version };
                    updates.insert(value.as_str(), update);
                }
                Act::Read { row, version, value } if *row == number => {
                    reads.push((event, *version, value.as_str()));
                }
                _ => {}
            }
        }
        Self { updates, reads }
    }

    fn check(&self, first: &Row, last: &Row) -> Vec<String> {
        let mut found = Vec::new();
        let winners = self.winners(first, last, &mut found);
        let unknown = self.updates.values().filter(|u| u.event.fate == Fate::Unknown).count();
        let missing =
            (first.version + 1..=last.version).filter(|v| !winners.contains_key(v)).count();
        let shown = winners.values().filter(|event| event.fate == Fate::Unknown).count();
        if missing + shown > unknown {
            found.push(format!("{missing} versions up to {} are nobody's", last.version));
        }
        if let Some((version, event)) = winners.range(last.version + 1..).next() {
            found.push(format!("version {version} was lost, {last:?} is left: {event:?}"));
        }
        self.check_order(&winners, &mut found);
        found
    }

    /// The versions that are known, and who made them.
    fn winners(
        &self,
        first: &Row,
        last: &Row,
        found: &mut Vec<String>,
    ) -> BTreeMap<i64, &'h Event<Act>> {
        let mut winners: BTreeMap<i64, &Event<Act>> = BTreeMap::new();
        let mut won = |version, event, found: &mut Vec<String>| {
            if let Some(other) = winners.insert(version, event)
                && !std::ptr::eq(other, event)
            {
                found.push(format!("two won version {version}: {other:?} {event:?}"));
            }
        };
        for update in self.updates.values().filter(|update| update.event.committed()) {
            let Some(version) = update.version else { continue };
            if update.expected.is_some_and(|expected| expected + 1 != version) {
                found.push(format!("not the version expected: {:?}", update.event));
            }
            won(version, update.event, found);
        }
        // A read that was rolled back saw what was there all the same.
        let seen = self.reads.iter().map(|(_, version, value)| (*version, *value));
        for (version, value) in seen.chain([(last.version, last.value.as_str())]) {
            match self.updates.get(value) {
                None if value == first.value && version == first.version => {}
                None => found.push(format!("nobody wrote {value} with version {version}")),
                Some(update) if update.event.fate == Fate::Aborted => {
                    found.push(format!("{value} was read and never committed"));
                }
                Some(update) if update.version.is_some_and(|known| known != version) => {
                    found.push(format!("{value} has version {version}: {:?}", update.event));
                }
                Some(update) => won(version, update.event, found),
            }
        }
        winners
    }

    /// Who was over before another began comes before it.
    fn check_order(&self, winners: &BTreeMap<i64, &'h Event<Act>>, found: &mut Vec<String>) {
        let writes: Vec<_> = winners.iter().map(|(version, event)| (*event, *version)).collect();
        let reads = self.reads.iter().map(|(event, version, _)| (*event, *version));
        let all: Vec<_> = writes.iter().copied().chain(reads).collect();
        in_order(&all, |event, version, over| {
            if over.is_some_and(|over| version < over) {
                found.push(format!("version {over:?} was there before {event:?}"));
            }
        });
        for (read, version, _) in &self.reads {
            if winners.get(version).is_some_and(|write| read.span.before(write.span)) {
                found.push(format!("read before it was written: {read:?}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::by_hand::{assert_found, done, with_fate};
    use super::*;

    fn update(begin: u64, end: u64, version: i64, value: &str) -> Event<Act> {
        let (version, value) = (Some(version), value.to_owned());
        done(begin, end, Act::Update { row: 0, expected: None, version, value })
    }

    fn unknown(begin: u64, end: u64, value: &str) -> Event<Act> {
        let value = value.to_owned();
        let act = Act::Update { row: 0, expected: None, version: None, value };
        with_fate(Fate::Unknown, done(begin, end, act))
    }

    fn read(begin: u64, end: u64, version: i64, value: &str) -> Event<Act> {
        done(begin, end, Act::Read { row: 0, version, value: value.to_owned() })
    }

    fn row(version: i64, value: &str) -> Row {
        Row { version, value: value.to_owned() }
    }

    fn found(history: &[Event<Act>], last: Row) -> Vec<String> {
        check(history, &[last], &row(1, "first"))
    }

    #[test]
    fn a_good_history() {
        let history = [
            read(1, 2, 1, "first"),
            update(3, 9, 3, "b"),
            update(4, 8, 2, "a"),
            read(5, 6, 2, "a"),
            with_fate(Fate::Aborted, update(3, 9, 3, "given up")),
            unknown(10, 11, "c"),
            read(12, 13, 4, "c"),
        ];
        assert_found(&found(&history, row(4, "c")), "");
        assert_found(&found(&history[..5], row(3, "b")), "");
    }

    #[test]
    fn a_lost_update() {
        let history = [update(1, 2, 2, "a"), update(1, 3, 2, "b")];
        assert_found(&found(&history, row(2, "b")), "two won version 2");
        let history = [update(1, 2, 2, "a"), update(3, 4, 3, "b")];
        assert_found(&found(&history, row(2, "a")), "version 3 was lost");
        assert_found(&found(&history[..1], row(3, "a")), "a has version 3");
        assert_found(&found(&history[..1], row(1, "first")), "version 2 was lost");
    }

    #[test]
    fn a_version_that_nobody_won() {
        assert_found(&found(&[update(1, 2, 3, "a")], row(3, "a")), "are nobody's");
        let history = [unknown(0, 1, "x"), update(1, 2, 3, "a")];
        assert_found(&found(&history, row(3, "a")), "");
    }

    #[test]
    fn an_expected_version_that_was_not_there() {
        let act = Act::Update { row: 0, expected: Some(1), version: Some(3), value: "b".into() };
        let history = [update(1, 2, 2, "a"), done(3, 4, act)];
        assert_found(&found(&history, row(3, "b")), "not the version expected");
    }

    #[test]
    fn dirty_and_stale_reads() {
        let aborted = with_fate(Fate::Aborted, update(1, 4, 2, "a"));
        assert_found(&found(&[aborted, read(2, 3, 2, "a")], row(1, "first")), "never committed");
        let history = [update(1, 2, 2, "a"), read(3, 4, 1, "first")];
        assert_found(&found(&history, row(2, "a")), "was there before");
        let history = [update(3, 4, 2, "a"), read(1, 2, 2, "a")];
        assert_found(&found(&history, row(2, "a")), "read before it was written");
        assert_found(&found(&[read(1, 2, 2, "x")], row(1, "first")), "nobody wrote x");
        let history = [update(1, 2, 2, "a"), update(3, 9, 3, "b")];
        let reads = [read(4, 5, 3, "b"), read(6, 7, 2, "a")];
        assert_found(&found(&[history, reads].concat(), row(3, "b")), "was there before");
    }

    #[test]
    fn an_order_against_time() {
        let history = [update(1, 2, 3, "b"), update(3, 4, 2, "a")];
        assert_found(&found(&history, row(3, "b")), "was there before");
    }
}
