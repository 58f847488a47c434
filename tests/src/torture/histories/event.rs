//! What a client records about a call.

use std::sync::atomic::{AtomicU64, Ordering};

/// A call from before it was sent until its transaction's end was known, in ticks of one clock
/// that all clients share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// A tick before it was sent.
    pub begin: u64,
    /// A tick after its end was known.
    pub end: u64,
}

impl Span {
    /// Whether this one was over before the other began.
    pub const fn before(self, other: Self) -> bool {
        self.end < other.begin
    }
}

/// Ticks, each later than all that were seen before. They order what clients know to be ordered,
/// without a clock.
#[derive(Debug, Default)]
pub struct Ticks(AtomicU64);

impl Ticks {
    /// The next one.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The server confirmed the commit.
    Committed,
    /// It was refused, rolled back, or its connection ended before a commit was asked for.
    Aborted,
    /// The connection ended after a commit was asked for.
    Unknown,
}

/// A call: who made it when, what became of it, and what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<A> {
    /// The number of the client.
    pub client: usize,
    /// From when to when.
    pub span: Span,
    /// What became of it.
    pub fate: Fate,
    /// What it did.
    pub act: A,
}

impl<A> Event<A> {
    /// Whether it was committed for certain.
    pub fn committed(&self) -> bool {
        self.fate == Fate::Committed
    }
}

/// Calls `visit` with each event in the order in which they began, and the highest number of those
/// that were over by then.
pub fn in_order<'h, A>(
    numbered: &[(&'h Event<A>, i64)],
    mut visit: impl FnMut(&'h Event<A>, i64, Option<i64>),
) {
    let mut by_begin = numbered.to_vec();
    by_begin.sort_by_key(|(event, _)| event.span.begin);
    let mut by_end = numbered.to_vec();
    by_end.sort_by_key(|(event, _)| event.span.end);
    let (mut ended, mut highest) = (by_end.iter().peekable(), None);
    for (event, number) in by_begin {
        while let Some((_, over)) = ended.next_if(|(other, _)| other.span.before(event.span)) {
            highest = highest.max(Some(*over));
        }
        visit(event, number, highest);
    }
}

/// Histories made by hand.
#[cfg(test)]
pub(super) mod by_hand {
    use super::{Event, Fate, Span};

    /// A committed call of client 0.
    pub fn done<A>(begin: u64, end: u64, act: A) -> Event<A> {
        Event { client: 0, span: Span { begin, end }, fate: Fate::Committed, act }
    }

    /// The same with another fate.
    pub fn with_fate<A>(fate: Fate, event: Event<A>) -> Event<A> {
        Event { fate, ..event }
    }

    /// Asserts that the check finds nothing, or something with these words in it.
    pub fn assert_found(found: &[String], words: &str) {
        if words.is_empty() {
            assert_eq!(found, [] as [String; 0]);
        } else {
            assert!(found.iter().any(|violation| violation.contains(words)), "{found:?}");
        }
    }
}
