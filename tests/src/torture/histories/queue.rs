//! No message is lost, and none is delivered again before its visibility ends.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::event::{Event, Fate};

/// What was done with a message. Times are the database's clock, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It was sent.
    Send {
        /// Its id, chosen by the client.
        message: Uuid,
    },
    /// It was received.
    Receive {
        /// Its id.
        message: Uuid,
        /// The number of the delivery.
        receipt: i32,
        /// When.
        from: i64,
        /// Until when nobody else gets it.
        until: i64,
    },
    /// Some messages may have been received: the answer did not come.
    MayReceive {
        /// At most so many.
        at_most: usize,
    },
    /// A delivery was acknowledged.
    Acknowledge {
        /// The message.
        message: Uuid,
        /// The delivery.
        receipt: i32,
    },
    /// A delivery was given back.
    GiveBack {
        /// The message.
        message: Uuid,
        /// The delivery.
        receipt: i32,
        /// From when on others get it; not known when the answer did not come.
        visible: Option<i64>,
    },
}

/// A message at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whether it is acknowledged.
    pub acknowledged: bool,
    /// How often it was delivered.
    pub deliveries: i32,
}

#[derive(Default)]
struct Message<'h> {
    sent: Option<Fate>,
    deliveries: BTreeMap<i32, Delivery<'h>>,
}

struct Delivery<'h> {
    event: &'h Event<Act>,
    from: i64,
    /// None when it may have been given back.
    until: Option<i64>,
    acknowledged: bool,
}

/// What contradicts that each message was delivered to one receiver at a time.
pub fn check(history: &[Event<Act>], rows: &BTreeMap<Uuid, Row>) -> Vec<String> {
    let mut found = Vec::new();
    let messages = messages(history, &mut found);
    let mut hidden = hidden(history);
    for (id, message) in &messages {
        match (rows.get(id), message.sent) {
            (None, sent) => {
                if sent == Some(Fate::Committed) || !message.deliveries.is_empty() {
                    found.push(format!("{id} was sent and is lost"));
                }
            }
            (Some(_), None | Some(Fate::Aborted)) => found.push(format!("{id} was never sent")),
            (Some(row), _) => message.check(row, &mut hidden, &mut |what| {
                found.push(format!("{id}: {what}"));
            }),
        }
    }
    let unsent = rows.keys().filter(|id| !messages.contains_key(id));
    found.extend(unsent.map(|id| format!("{id} was never sent")));
    found
}

impl Message<'_> {
    /// `hidden` deliveries may have happened without a receiver who knows.
    fn check(&self, row: &Row, hidden: &mut usize, say: &mut dyn FnMut(String)) {
        let mut before: Option<(i32, &Delivery<'_>)> = None;
        for (&receipt, delivery) in &self.deliveries {
            let last = before.map_or(0, |(last, _)| last);
            let between = usize::try_from(receipt - last - 1).unwrap_or(usize::MAX);
            match hidden.checked_sub(between) {
                Some(left) => *hidden = left,
                None => say(format!("receipt {receipt} comes after {last}")),
            }
            if let Some((_, former)) = before {
                if between == 0 && former.until.is_some_and(|free| delivery.from < free) {
                    let (former, event) = (former.event, delivery.event);
                    say(format!("delivered while it was held: {former:?} {event:?}"));
                }
                if former.acknowledged {
                    say("delivered after it was acknowledged".to_owned());
                }
            }
            before = Some((receipt, delivery));
        }
        if before.is_some_and(|(_, last)| last.acknowledged) && !row.acknowledged {
            say("the acknowledgement is lost".to_owned());
        }
        if before.is_some_and(|(receipt, _)| receipt > row.deliveries) {
            say(format!("a delivery is lost, {row:?} is left"));
        }
    }
}

/// How many deliveries may have happened whose answers did not come.
fn hidden(history: &[Event<Act>]) -> usize {
    let unknown = history.iter().filter(|event| event.fate == Fate::Unknown);
    unknown
        .map(|event| match event.act {
            Act::MayReceive { at_most } => at_most,
            Act::Receive { .. } => 1,
            _ => 0,
        })
        .sum()
}

fn messages<'h>(history: &'h [Event<Act>], found: &mut Vec<String>) -> BTreeMap<Uuid, Message<'h>> {
    let mut messages: BTreeMap<Uuid, Message<'_>> = BTreeMap::new();
    for event in history {
        match event.act {
            Act::Send { message } => messages.entry(message).or_default().sent = Some(event.fate),
            Act::Receive { message, receipt, from, until } if event.committed() => {
                let delivery = Delivery { event, from, until: Some(until), acknowledged: false };
                let deliveries = &mut messages.entry(message).or_default().deliveries;
                if let Some(other) = deliveries.insert(receipt, delivery) {
                    found
                        .push(format!("{message}: one receipt twice: {:?} {event:?}", other.event));
                }
            }
            _ => {}
        }
    }
    // After all deliveries: each client's log is in order, all together are not.
    for event in history.iter().filter(|event| event.fate != Fate::Aborted) {
        let (Act::Acknowledge { message, receipt } | Act::GiveBack { message, receipt, .. }) =
            event.act
        else {
            continue;
        };
        let of_message = messages.get_mut(&message);
        let Some(delivery) = of_message.and_then(|of| of.deliveries.get_mut(&receipt)) else {
            continue;
        };
        match event.act {
            Act::GiveBack { visible, .. } => {
                delivery.until = visible.filter(|_| event.committed());
            }
            _ => delivery.acknowledged |= event.committed(),
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::super::event::by_hand::{assert_found, done, with_fate};
    use super::*;

    const ID: Uuid = Uuid::nil();

    fn sent() -> Event<Act> {
        done(0, 1, Act::Send { message: ID })
    }

    fn receive(receipt: i32, from: i64, until: i64) -> Event<Act> {
        done(2, 3, Act::Receive { message: ID, receipt, from, until })
    }

    fn acknowledge(receipt: i32) -> Event<Act> {
        done(4, 5, Act::Acknowledge { message: ID, receipt })
    }

    fn give_back(receipt: i32, visible: i64) -> Event<Act> {
        done(4, 5, Act::GiveBack { message: ID, receipt, visible: Some(visible) })
    }

    fn found(history: &[Event<Act>], acknowledged: bool, deliveries: i32) -> Vec<String> {
        check(history, &BTreeMap::from([(ID, Row { acknowledged, deliveries })]))
    }

    #[test]
    fn a_good_history() {
        let history = [
            sent(),
            receive(1, 10, 20),
            receive(2, 20, 90),
            give_back(2, 30),
            receive(3, 30, 40),
            with_fate(Fate::Aborted, receive(3, 25, 90)),
            acknowledge(3),
        ];
        assert_found(&found(&history, true, 3), "");
    }

    #[test]
    fn a_double_claim() {
        let history = [sent(), receive(1, 10, 20), receive(2, 15, 90)];
        assert_found(&found(&history, false, 2), "while it was held");
        let history = [sent(), receive(1, 10, 20), receive(1, 30, 40)];
        assert_found(&found(&history, false, 1), "one receipt twice");
        let history = [sent(), receive(1, 10, 90), give_back(1, 50), receive(2, 40, 90)];
        assert_found(&found(&history, false, 2), "while it was held");
    }

    #[test]
    fn what_is_lost() {
        assert_found(&check(&[sent()], &BTreeMap::new()), "is lost");
        let aborted = with_fate(Fate::Aborted, sent());
        assert_found(&check(std::slice::from_ref(&aborted), &BTreeMap::new()), "");
        assert_found(&found(&[aborted], false, 0), "never sent");
        assert_found(&found(&[], false, 0), "never sent");
        let history = [sent(), receive(1, 10, 20), acknowledge(1)];
        assert_found(&found(&history, false, 1), "acknowledgement is lost");
        assert_found(&found(&history[..2], false, 0), "a delivery is lost");
    }

    #[test]
    fn a_delivery_after_the_acknowledgement() {
        let history = [sent(), receive(1, 10, 20), acknowledge(1), receive(2, 30, 40)];
        assert_found(&found(&history, true, 2), "after it was acknowledged");
    }

    #[test]
    fn a_receipt_that_skips_one() {
        let history = [sent(), receive(2, 10, 20)];
        assert_found(&found(&history, false, 2), "receipt 2 comes after 0");
        let may = with_fate(Fate::Unknown, done(2, 3, Act::MayReceive { at_most: 1 }));
        assert_found(&found(&[history.as_slice(), &[may]].concat(), false, 2), "");
    }
}
