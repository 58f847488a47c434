//! How a conflict between two items is resolved: who wins, and what becomes of the loser.

use crate::json::quoted;
use caliber_am::error::{CaliberError, CaliberResult};
use std::cmp::Ordering;
use uuid::Uuid;

/// The strategies, by the labels of `caliber_conflict_strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The item that was changed last.
    LastWriteWins,
    /// The item that was created first.
    FirstWriteWins,
    /// The artifact of the higher confidence.
    HighestConfidence,
    /// A third item, or one of the two, stands for both.
    Merge,
    /// Somebody else decides.
    Escalate,
    /// Neither item.
    RejectBoth,
}

const LABELS: [(&str, Strategy); 6] = [
    ("last_write_wins", Strategy::LastWriteWins),
    ("first_write_wins", Strategy::FirstWriteWins),
    ("highest_confidence", Strategy::HighestConfidence),
    ("merge", Strategy::Merge),
    ("escalate", Strategy::Escalate),
    ("reject_both", Strategy::RejectBoth),
];

impl Strategy {
    /// The strategy with this label.
    ///
    /// # Errors
    /// 22023 for an unknown one.
    pub fn from_label(label: &str) -> CaliberResult<Self> {
        LABELS.iter().find(|(l, _)| *l == label).map(|&(_, strategy)| strategy).ok_or_else(|| {
            CaliberError::argument("strategy", format!("\"{label}\" is not a strategy."))
        })
    }

    /// Its label.
    pub fn label(self) -> &'static str {
        LABELS.iter().find(|&&(_, s)| s == self).map_or("", |&(label, _)| label)
    }
}

/// One of the two items, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: Uuid,
    /// When it was created, in microseconds.
    pub created_at: Option<i64>,
    /// When it was last changed, in microseconds.
    pub updated_at: Option<i64>,
    /// How sure its writer was.
    pub confidence: Option<f32>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody else decides.
    Escalated,
    /// One item stays in force, the other is superseded by it.
    Won {
        /// The item that stays.
        winner: Uuid,
        /// The other one.
        loser: Uuid,
    },
    /// Both are superseded by a third item.
    Merged {
        /// That item.
        into: Uuid,
    },
    /// Neither stays in force.
    Rejected,
}

/// Decides between two items. `known`: they are rows whose times and confidence can be compared.
///
/// # Errors
/// 22023 for a winner that the strategy does not allow, and for none where it needs one.
pub fn decide(
    strategy: Strategy,
    a: Item,
    b: Item,
    known: bool,
    winner: Option<Uuid>,
) -> CaliberResult<Outcome> {
    let refuse = |reason: &str| Err(CaliberError::argument("winner", reason));
    let won = |first: bool| {
        let (winner, loser) = if first { (a.id, b.id) } else { (b.id, a.id) };
        Ok(Outcome::Won { winner, loser })
    };
    match (strategy, winner) {
        (Strategy::Escalate | Strategy::RejectBoth, Some(_)) => {
            refuse("This strategy has no winner.")
        }
        (Strategy::Escalate, None) => Ok(Outcome::Escalated),
        (Strategy::RejectBoth, None) => Ok(Outcome::Rejected),
        (_, Some(id)) if id == a.id || id == b.id => won(id == a.id),
        (Strategy::Merge, Some(into)) => Ok(Outcome::Merged { into }),
        (_, Some(_)) => refuse("The winner must be one of the two items."),
        (Strategy::Merge, None) => refuse("Merging needs the item that stands for both."),
        (_, None) if !known => refuse("Items of these types cannot be compared; name the winner."),
        (Strategy::HighestConfidence, None) if a.confidence.is_none() && b.confidence.is_none() => {
            refuse("Neither item has a confidence; name the winner.")
        }
        (strategy, None) => {
            let order = match strategy {
                Strategy::FirstWriteWins => b.created_at.cmp(&a.created_at),
                Strategy::HighestConfidence => {
                    a.confidence.partial_cmp(&b.confidence).unwrap_or(Ordering::Equal)
                }
                _ => a.updated_at.cmp(&b.updated_at),
            };
            won(order.then(a.id.cmp(&b.id)) == Ordering::Greater)
        }
    }
}

/// The members of the `resolution` that records a decision, as JSON texts.
pub fn to_json(
    strategy: Strategy,
    outcome: &Outcome,
    reason: Option<&str>,
    resolved_by: Option<Uuid>,
) -> Vec<(&'static str, String)> {
    let id = |id: Uuid| quoted(&id.to_string());
    let mut members = vec![("strategy", quoted(strategy.label()))];
    match *outcome {
        Outcome::Won { winner, loser } => {
            members.extend([("winner", id(winner)), ("loser", id(loser))]);
        }
        Outcome::Merged { into } => members.push(("winner", id(into))),
        Outcome::Escalated | Outcome::Rejected => {}
    }
    members.extend(reason.map(|reason| ("reason", quoted(reason))));
    members.extend(resolved_by.map(|by| ("resolved_by", id(by))));
    members
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used)]

    use super::*;
    use crate::resolution::Strategy;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use proptest::sample::select;

    fn item(id: u128, created_at: i64, updated_at: i64, confidence: Option<f32>) -> Item {
        let (created_at, updated_at) = (Some(created_at), Some(updated_at));
        Item { id: Uuid::from_u128(id), created_at, updated_at, confidence }
    }

    fn winner(strategy: Strategy, a: Item, b: Item) -> u128 {
        match decide(strategy, a, b, true, None).unwrap() {
            Outcome::Won { winner, .. } => winner.as_u128(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn times_and_confidence_decide() {
        let a = item(1, 10, 90, Some(0.5));
        let b = item(2, 20, 80, Some(0.75));
        assert_eq!(winner(Strategy::LastWriteWins, a, b), 1);
        assert_eq!(winner(Strategy::FirstWriteWins, a, b), 1);
        assert_eq!(winner(Strategy::HighestConfidence, a, b), 2);
        assert_eq!(winner(Strategy::HighestConfidence, Item { confidence: None, ..b }, a), 1);
    }

    #[test]
    fn of_two_alike_the_later_id_wins() {
        let (a, b) = (item(1, 10, 10, Some(0.5)), item(2, 10, 10, Some(0.5)));
        let decided =
            [Strategy::LastWriteWins, Strategy::FirstWriteWins, Strategy::HighestConfidence];
        for strategy in decided {
            assert_eq!((winner(strategy, a, b), winner(strategy, b, a)), (2, 2));
        }
    }

    #[test]
    fn a_winner_is_needed_or_refused() {
        let (a, b) = (item(1, 1, 1, None), item(2, 2, 2, None));
        let into = Uuid::from_u128(3);
        let third = Some(into);
        for (strategy, known, winner) in [
            (Strategy::Escalate, true, Some(a.id)),
            (Strategy::RejectBoth, true, Some(a.id)),
            (Strategy::Merge, true, None),
            (Strategy::LastWriteWins, true, third),
            (Strategy::LastWriteWins, false, None),
            (Strategy::HighestConfidence, true, None),
        ] {
            let error = decide(strategy, a, b, known, winner).unwrap_err();
            assert_eq!(error.sqlstate(), "22023");
        }
        for known in [true, false] {
            let merged = decide(Strategy::Merge, a, b, known, third).unwrap();
            assert_eq!(merged, Outcome::Merged { into });
        }
    }

    proptest! {
        #![proptest_config(crate::property_tests())]

        #[test]
        fn a_decision_does_not_depend_on_the_order(
            strategy in select(LABELS[..3].to_vec()),
            times: [i64; 4],
            confidences: [Option<u8>; 2],
        ) {
            let confidence = |i: usize| confidences[i].map(f32::from);
            let a = item(1, times[0], times[1], confidence(0));
            let b = item(2, times[2], times[3], confidence(1));
            let (strategy, decided) = (strategy.1, |a, b| decide(strategy.1, a, b, true, None));
            prop_assert_eq!(decided(a, b), decided(b, a));
            let json = decided(a, b).map(|outcome| to_json(strategy, &outcome, None, None));
            prop_assert!(json.is_ok() || confidences == [None, None]);
        }
    }
}
