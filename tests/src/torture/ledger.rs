//! What a client was told is committed, row by row, to be compared with what is there after a
//! crash.

use std::collections::BTreeMap;

/// A row: the number of its table, and its key.
pub type Key = (usize, String);

/// The state of rows, each as one text.
pub type States = BTreeMap<Key, String>;

/// What one transaction leaves in the rows that it writes; `None` for a row that it deletes.
pub type Writes = Vec<(Key, Option<String>)>;

/// One client's rows, which no other client writes.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    settled: States,
    pending: Option<Writes>,
}

impl Ledger {
    /// Notes what is about to be committed.
    pub fn attempt(&mut self, writes: Writes) {
        self.pending = Some(writes);
    }

    /// The server confirmed the commit of what was attempted.
    pub fn acknowledged(&mut self) {
        for (key, state) in self.pending.take().unwrap_or_default() {
            match state {
                Some(state) => self.settled.insert(key, state),
                None => self.settled.remove(&key),
            };
        }
    }

    /// The state of a row, as far as it is known.
    pub fn get(&self, table: usize, key: &str) -> Option<&str> {
        self.settled.get(&(table, key.to_owned())).map(String::as_str)
    }

    /// The keys of the rows of a table.
    pub fn keys(&self, table: usize) -> impl Iterator<Item = &str> {
        let rows = self.settled.range((table, String::new())..(table + 1, String::new()));
        rows.map(|((_, key), _)| key.as_str())
    }

    /// Takes the rows of this ledger out of what is there, and says which are not as they were
    /// acknowledged. What was attempted without an answer is there wholly or not at all, and is
    /// settled by that.
    pub fn settle(&mut self, there: &mut States) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(writes) = self.pending.take() {
            let done = |(key, state): &(Key, Option<String>)| there.get(key) == state.as_ref();
            let not = |(key, _): &(Key, Option<String>)| there.get(key) == self.settled.get(key);
            if writes.iter().all(done) {
                self.pending = Some(writes);
                self.acknowledged();
            } else if !writes.iter().all(not) {
                let half: Vec<_> = writes
                    .iter()
                    .map(|(key, state)| (key, state, there.get(key), self.settled.get(key)))
                    .take(10)
                    .collect();
                found.push(format!("half of a transaction is there: {half:?}"));
            }
        }
        for (key, state) in &self.settled {
            match there.remove(key) {
                Some(found) if found == *state => {}
                other => found.push(format!("{key:?} is {other:?} and not {state}")),
            }
        }
        found
    }
}

/// What all clients together know nothing of.
pub fn never_attempted(left: &States) -> Vec<String> {
    left.iter().map(|(key, state)| format!("{key:?} is {state} and was never attempted")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (0, name.to_owned())
    }

    fn write(name: &str, state: &str) -> (Key, Option<String>) {
        (key(name), Some(state.to_owned()))
    }

    fn states(rows: &[(&str, &str)]) -> States {
        rows.iter().map(|(name, state)| (key(name), (*state).to_owned())).collect()
    }

    /// A ledger with a = 1 and b = 1, which is about to set a = 2, delete b and add c.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.attempt(vec![write("a", "1"), write("b", "1")]);
        ledger.acknowledged();
        ledger.attempt(vec![write("a", "2"), (key("b"), None), write("c", "1")]);
        ledger
    }

    #[test]
    fn all_or_nothing() {
        for there in [states(&[("a", "1"), ("b", "1")]), states(&[("a", "2"), ("c", "1")])] {
            let (mut ledger, mut left) = (ledger(), there.clone());
            assert_eq!(ledger.settle(&mut left), [] as [String; 0]);
            assert!(left.is_empty());
            assert_eq!(ledger.settled, there);
        }
    }

    #[test]
    fn half_a_transaction() {
        for there in [&[("a", "2"), ("b", "1")][..], &[("a", "1"), ("b", "1"), ("c", "1")]] {
            let found = ledger().settle(&mut states(there));
            assert!(found[0].contains("half of a transaction"), "{found:?}");
        }
    }

    #[test]
    fn what_was_acknowledged_is_there_and_nothing_else() {
        let mut ledger = ledger();
        ledger.pending = None;
        let found = ledger.clone().settle(&mut states(&[("a", "1")]));
        assert!(found[0].contains("\"b\") is None and not 1"), "{found:?}");
        let found = ledger.clone().settle(&mut states(&[("a", "0"), ("b", "1")]));
        assert!(found[0].contains("\"a\") is Some(\"0\") and not 1"), "{found:?}");
        let mut there = states(&[("a", "1"), ("b", "1"), ("x", "1")]);
        assert_eq!(ledger.settle(&mut there), [] as [String; 0]);
        assert!(never_attempted(&there)[0].contains("\"x\") is 1 and was never attempted"));
    }
}
