//! No exclusive lease has two holders, and fences only rise.

use std::collections::BTreeMap;

use super::event::{Event, Fate, in_order};

/// What was done with a lease. Times are the database's clock, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A lease was taken.
    Acquire {
        /// On which resource.
        resource: usize,
        /// Whether no other lease may be there.
        exclusive: bool,
        /// Its fence, which stands for it below.
        fence: i64,
        /// Since when.
        from: i64,
        /// When it ends by itself.
        until: i64,
    },
    /// A lease may have been taken: the answer did not come.
    MayAcquire {
        /// On which resource.
        resource: usize,
    },
    /// A lease was told to end at another time.
    Extend {
        /// Which lease.
        fence: i64,
        /// When it ends now; not known when the answer did not come.
        until: Option<i64>,
    },
    /// A lease was given back.
    Release {
        /// Which lease.
        fence: i64,
        /// A moment before; not known when the answer did not come.
        at: Option<i64>,
    },
    /// The lease was said to be over.
    Over {
        /// Which lease.
        fence: i64,
        /// A moment after.
        at: i64,
    },
    /// A write was accepted under the fence.
    Write {
        /// On what the resource's lease protects.
        resource: usize,
        /// Under which fence.
        fence: i64,
        /// Its place among those writes.
        place: i64,
    },
}

/// A time for which a lease was held for certain.
#[derive(Debug, Clone, Copy)]
struct Held {
    client: usize,
    exclusive: bool,
    fence: i64,
    from: i64,
    until: i64,
}

impl Held {
    const fn meets(self, other: Self) -> bool {
        (self.exclusive || other.exclusive)
            && self.client != other.client
            && self.from < other.until
            && other.from < self.until
    }
}

/// What contradicts that leases were taken one after another.
pub fn check(history: &[Event<Act>]) -> Vec<String> {
    let mut found = Vec::new();
    for (resource, holds) in holds(history) {
        let mut say = |what: String| found.push(format!("resource {resource}: {what}"));
        for pair in holds.windows(2) {
            if pair[0].fence == pair[1].fence || pair[0].from > pair[1].from {
                say(format!("fences do not rise with time: {pair:?}"));
            }
        }
        // In this order a lease meets only those just before it, unless they last long.
        for (at, held) in holds.iter().enumerate() {
            if let Some(other) = holds[..at].iter().find(|other| held.meets(**other)) {
                say(format!("two holders: {other:?} {held:?}"));
            }
        }
        let by_fence: BTreeMap<i64, &Held> = holds.iter().map(|held| (held.fence, held)).collect();
        for event in history {
            if let Act::Over { fence, at } = event.act
                && let Some(held) = by_fence.get(&fence)
                && at < held.until
            {
                say(format!("{held:?} was said to be over at {at}"));
            }
        }
    }
    // All fences come from one sequence.
    let fences: Vec<_> = history
        .iter()
        .filter(|event| event.committed())
        .filter_map(|event| match event.act {
            Act::Acquire { fence, .. } => Some((event, fence)),
            _ => None,
        })
        .collect();
    in_order(&fences, |event, fence, over| {
        if over.is_some_and(|over| fence <= over) {
            found.push(format!("fence {over:?} was given before {event:?}"));
        }
    });
    found.extend(stale_writes(history));
    found
}

/// When the leases on each resource were held, by fence.
fn holds(history: &[Event<Act>]) -> BTreeMap<usize, Vec<Held>> {
    let ends = ends(history);
    let may_acquire: Vec<_> = history
        .iter()
        .filter(|event| event.fate == Fate::Unknown)
        .filter_map(|event| match event.act {
            Act::MayAcquire { resource } | Act::Acquire { resource, .. } => {
                Some((event.client, resource, event.span))
            }
            _ => None,
        })
        .collect();
    let mut resources: BTreeMap<usize, Vec<Held>> = BTreeMap::new();
    for event in history.iter().filter(|event| event.committed()) {
        let Act::Acquire { resource, exclusive, fence, from, until } = event.act else { continue };
        let mut until = ends.get(&fence).map_or(until, |end| end.until(until));
        // A lease that the client may have taken since has ended this one.
        if may_acquire.iter().any(|(client, on, span)| {
            (*client, *on) == (event.client, resource) && !span.before(event.span)
        }) {
            until = i64::MIN;
        }
        let held = Held { client: event.client, exclusive, fence, from, until };
        resources.entry(resource).or_default().push(held);
    }
    for holds in resources.values_mut() {
        holds.sort_by_key(|held| held.fence);
        // The same client again: its former lease ended then.
        let mut next: BTreeMap<usize, i64> = BTreeMap::new();
        for held in holds.iter_mut().rev() {
            if let Some(from) = next.insert(held.client, held.from) {
                held.until = held.until.min(from);
            }
        }
    }
    resources
}

/// How leases ended, as far as that is known.
#[derive(Default)]
struct End {
    extended: Option<i64>,
    at_most: Option<i64>,
    uncertain: bool,
}

impl End {
    fn until(&self, first: i64) -> i64 {
        let until = self.extended.unwrap_or(first);
        let until = self.at_most.map_or(until, |at| at.min(until));
        if self.uncertain { i64::MIN } else { until }
    }
}

fn ends(history: &[Event<Act>]) -> BTreeMap<i64, End> {
    let mut ends: BTreeMap<i64, End> = BTreeMap::new();
    for event in history.iter().filter(|event| event.fate != Fate::Aborted) {
        match event.act {
            Act::Extend { fence, until } => {
                let end = ends.entry(fence).or_default();
                end.extended = until.or(end.extended);
                end.uncertain |= !event.committed();
            }
            Act::Release { fence, at } => {
                let end = ends.entry(fence).or_default();
                end.at_most = at.or(end.at_most);
                end.uncertain |= !event.committed();
            }
            _ => {}
        }
    }
    ends
}

/// Of the writes on one resource, none is under an older fence than one before.
fn stale_writes(history: &[Event<Act>]) -> Vec<String> {
    let mut writes: BTreeMap<usize, Vec<(i64, i64)>> = BTreeMap::new();
    for event in history.iter().filter(|event| event.committed()) {
        if let Act::Write { resource, fence, place } = event.act {
            writes.entry(resource).or_default().push((place, fence));
        }
    }
    let mut found = Vec::new();
    for (resource, mut writes) in writes {
        writes.sort_unstable();
        for pair in writes.windows(2).filter(|pair| pair[1].1 < pair[0].1) {
            found.push(format!("resource {resource}: a stale fence wrote: {pair:?}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::event::by_hand::{assert_found, done, with_fate};
    use super::*;

    fn acquire(client: usize, tick: u64, fence: i64, from: i64, until: i64) -> Event<Act> {
        let act = Act::Acquire { resource: 0, exclusive: true, fence, from, until };
        Event { client, ..done(tick, tick, act) }
    }

    fn shared(client: usize, tick: u64, fence: i64, from: i64, until: i64) -> Event<Act> {
        let act = Act::Acquire { resource: 0, exclusive: false, fence, from, until };
        Event { client, ..done(tick, tick, act) }
    }

    #[test]
    fn one_after_another() {
        let history = [
            acquire(0, 1, 1, 10, 50),
            done(2, 2, Act::Release { fence: 1, at: Some(20) }),
            acquire(1, 3, 2, 20, 30),
            acquire(0, 4, 3, 30, 90),
            acquire(0, 5, 4, 40, 45),
            done(6, 6, Act::Over { fence: 4, at: 46 }),
            with_fate(Fate::Aborted, acquire(2, 6, 7, 40, 90)),
            shared(1, 7, 8, 50, 90),
            shared(2, 8, 9, 60, 90),
        ];
        assert_found(&check(&history), "");
    }

    #[test]
    fn two_holders() {
        let first = acquire(0, 1, 1, 10, 50);
        assert_found(&check(&[first.clone(), acquire(1, 2, 2, 20, 30)]), "two holders");
        assert_found(&check(&[first, shared(1, 2, 2, 20, 30)]), "two holders");
        let extended = done(2, 2, Act::Extend { fence: 1, until: Some(60) });
        let history = [acquire(0, 1, 1, 10, 20), extended, acquire(1, 3, 2, 30, 40)];
        assert_found(&check(&history), "two holders");
    }

    #[test]
    fn what_may_have_ended_is_not_held() {
        let release = done(2, 2, Act::Release { fence: 1, at: None });
        let again = done(2, 2, Act::MayAcquire { resource: 0 });
        // The call was answered, its COMMIT was not.
        let anew = acquire(0, 2, 2, 15, 18);
        for end in [release, again, anew] {
            let end = with_fate(Fate::Unknown, end);
            let history = [acquire(0, 1, 1, 10, 50), end, acquire(1, 3, 3, 20, 30)];
            assert_found(&check(&history), "");
        }
    }

    #[test]
    fn fences_that_do_not_rise() {
        let history = [acquire(0, 1, 5, 10, 20), acquire(1, 2, 5, 30, 40)];
        assert_found(&check(&history), "fences do not rise");
        let history = [acquire(0, 1, 5, 10, 20), acquire(1, 2, 4, 30, 40)];
        assert_found(&check(&history), "fence Some(5) was given before");
    }

    #[test]
    fn a_live_lease_that_is_said_to_be_over() {
        let history = [acquire(0, 1, 1, 10, 50), done(2, 2, Act::Over { fence: 1, at: 40 })];
        assert_found(&check(&history), "was said to be over at 40");
    }

    #[test]
    fn a_stale_fence_that_writes() {
        let write = |fence, place| done(1, 1, Act::Write { resource: 0, fence, place });
        assert_found(&check(&[write(2, 1), write(1, 0), write(2, 2)]), "");
        assert_found(&check(&[write(2, 0), write(1, 1)]), "a stale fence wrote");
    }
}
