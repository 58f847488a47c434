//! No gap, no duplicate and no reordering in a scope's turns, and no overspent budget.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Event, Fate, in_order};

/// What was done with a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Turns were appended in one call.
    Append {
        /// The scope.
        scope: usize,
        /// Their contents, which no other turns have.
        contents: Vec<String>,
    },
    /// Turns were refused because the budget was exceeded.
    Refused {
        /// The scope.
        scope: usize,
        /// What they would have cost, at most.
        tokens: i64,
    },
}

/// A scope at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// What may be spent.
    pub budget: i64,
    /// What is said to be spent.
    pub used: i64,
    /// What is said to be the number of its turns.
    pub count: i64,
    /// Its turns, by sequence.
    pub turns: Vec<Turn>,
}

/// A stored turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its place.
    pub sequence: i64,
    /// What it costs.
    pub tokens: i64,
    /// Its content.
    pub content: String,
}

/// What contradicts that the appends happened one after another, each at one moment of its span.
pub fn check(history: &[Event<Act>], scopes: &[Scope]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, scope) in scopes.iter().enumerate() {
        let mut say = |what: String| found.push(format!("scope {number}: {what}"));
        let out_of_place = (0..).zip(&scope.turns).find(|(place, turn)| turn.sequence != *place);
        if let Some((place, turn)) = out_of_place {
            say(format!("a gap or a duplicate at {place}: {turn:?}"));
        }
        let spent: i64 = scope.turns.iter().map(|turn| turn.tokens).sum();
        if spent > scope.budget || spent != scope.used {
            say(format!("spent {spent} of {}, {} are said", scope.budget, scope.used));
        }
        if i64::try_from(scope.turns.len()) != Ok(scope.count) {
            say(format!("{} turns, {} are said", scope.turns.len(), scope.count));
        }
        let stored = stored(history, number, scope, &mut say);
        check_order(&stored, &mut say);
        check_refusals(history, number, scope, &stored, &mut say);
    }
    found
}

/// An append whose turns are stored.
struct Stored<'h> {
    event: &'h Event<Act>,
    first: i64,
    last: i64,
    cost: i64,
}

/// The appends that are stored: all that were committed, wholly, and none that were not.
fn stored<'h>(
    history: &'h [Event<Act>],
    number: usize,
    scope: &Scope,
    say: &mut dyn FnMut(String),
) -> Vec<Stored<'h>> {
    let by_content: BTreeMap<&str, &Turn> =
        scope.turns.iter().map(|turn| (turn.content.as_str(), turn)).collect();
    let (mut told, mut stored) = (BTreeSet::new(), Vec::new());
    for event in history {
        let Act::Append { scope, contents } = &event.act else { continue };
        if *scope != number {
            continue;
        }
        let turns: Vec<_> = contents.iter().filter_map(|c| by_content.get(c.as_str())).collect();
        let all = turns.len() == contents.len();
        match event.fate {
            Fate::Committed if !all => say(format!("an append is lost: {event:?}")),
            Fate::Aborted if !turns.is_empty() => say(format!("never committed: {event:?}")),
            Fate::Unknown if !all && !turns.is_empty() => say(format!("half: {event:?}")),
            _ => {}
        }
        if turns.windows(2).any(|pair| pair[1].sequence != pair[0].sequence + 1) {
            say(format!("not one after another: {event:?}"));
        }
        if let (Some(first), Some(last)) = (turns.first(), turns.last()) {
            let cost = turns.iter().map(|turn| turn.tokens).sum();
            stored.push(Stored { event, first: first.sequence, last: last.sequence, cost });
        }
        told.extend(contents.iter().map(String::as_str));
    }
    for content in by_content.keys().filter(|content| !told.contains(*content)) {
        say(format!("nobody appended {content}"));
    }
    stored
}

fn check_order(stored: &[Stored<'_>], say: &mut dyn FnMut(String)) {
    let numbered: Vec<_> = stored.iter().map(|append| (append.event, append.last)).collect();
    let firsts: BTreeMap<i64, i64> =
        stored.iter().map(|append| (append.last, append.first)).collect();
    in_order(&numbered, |event, last, over| {
        if over.is_some_and(|over| firsts[&last] < over) {
            say(format!("turn {over:?} was there before {event:?}"));
        }
    });
}

/// A refusal is right only if what can have been spent by then left no room.
fn check_refusals(
    history: &[Event<Act>],
    number: usize,
    scope: &Scope,
    stored: &[Stored<'_>],
    say: &mut dyn FnMut(String),
) {
    for event in history {
        let Act::Refused { scope: of, tokens } = event.act else { continue };
        if of != number {
            continue;
        }
        let by_then = stored.iter().filter(|other| !event.span.before(other.event.span));
        let spent: i64 = by_then.map(|append| append.cost).sum();
        if spent + tokens <= scope.budget {
            say(format!("refused with {spent} of {} spent: {event:?}", scope.budget));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::by_hand::{assert_found, done, with_fate};
    use super::*;

    fn append(begin: u64, end: u64, contents: &[&str]) -> Event<Act> {
        let contents = contents.iter().map(|&content| content.to_owned()).collect();
        done(begin, end, Act::Append { scope: 0, contents })
    }

    /// A scope with a budget of 10 and these turns of 3 tokens.
    fn scope(contents: &[&str]) -> Scope {
        let turns: Vec<_> = (0..)
            .zip(contents)
            .map(|(sequence, &content)| Turn { sequence, tokens: 3, content: content.to_owned() })
            .collect();
        let count = turns.len() as i64;
        Scope { budget: 10, used: count * 3, count, turns }
    }

    fn found(history: &[Event<Act>], scope: Scope) -> Vec<String> {
        check(history, &[scope])
    }

    #[test]
    fn a_good_history() {
        let history = [
            append(1, 4, &["b"]),
            append(2, 3, &["a"]),
            with_fate(Fate::Aborted, append(5, 6, &["given up"])),
            with_fate(Fate::Unknown, append(5, 6, &["c"])),
            with_fate(Fate::Unknown, append(5, 6, &["d", "e"])),
            done(7, 8, Act::Refused { scope: 0, tokens: 2 }),
        ];
        assert_found(&found(&history, scope(&["a", "b", "c"])), "");
    }

    #[test]
    fn gaps_duplicates_and_losses() {
        let history = [append(1, 2, &["a"]), append(3, 4, &["b"])];
        for sequence in [0, 2] {
            let mut wrong = scope(&["a", "b"]);
            wrong.turns[1].sequence = sequence;
            assert_found(&found(&history, wrong), "a gap or a duplicate at 1");
        }
        assert_found(&found(&history, scope(&["a"])), "an append is lost");
        assert_found(&found(&history[..1], scope(&["a", "b"])), "nobody appended b");
        let half = with_fate(Fate::Unknown, append(1, 2, &["a", "b"]));
        assert_found(&found(&[half], scope(&["a"])), "half");
        let aborted = with_fate(Fate::Aborted, append(1, 2, &["a"]));
        assert_found(&found(&[aborted], scope(&["a"])), "never committed");
    }

    #[test]
    fn an_order_against_time() {
        let history = [append(1, 2, &["b"]), append(3, 4, &["a"])];
        assert_found(&found(&history, scope(&["a", "b"])), "was there before");
        let history = [append(1, 9, &["a", "c"]), append(1, 9, &["b"])];
        assert_found(&found(&history, scope(&["a", "b", "c"])), "not one after another");
    }

    #[test]
    fn an_overspent_budget_and_a_wrong_counter() {
        let history = [append(1, 2, &["a"]), append(3, 4, &["b", "c", "d"])];
        assert_found(&found(&history, scope(&["a", "b", "c", "d"])), "spent 12 of 10");
        let wrong = Scope { used: 4, ..scope(&["a"]) };
        assert_found(&found(&history[..1], wrong), "4 are said");
        let wrong = Scope { count: 2, ..scope(&["a"]) };
        assert_found(&found(&history[..1], wrong), "2 are said");
    }

    #[test]
    fn a_refusal_with_room_left() {
        let refused = done(3, 4, Act::Refused { scope: 0, tokens: 7 });
        let history = [append(1, 2, &["a"]), refused.clone()];
        assert_found(&found(&history, scope(&["a"])), "refused with 3 of 10 spent");
        let history = [append(1, 2, &["a"]), refused, append(3, 5, &["b"])];
        assert_found(&found(&history, scope(&["a", "b"])), "");
    }
}
