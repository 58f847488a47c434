//! Of many that accept an offer exactly one has it.

use super::event::{Event, Fate};

/// An offer was accepted, or refused because it is somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// By this client.
    Accept {
        /// The offer.
        offer: usize,
    },
    /// Not by this client: the offer was not open any more.
    Refused {
        /// The offer.
        offer: usize,
    },
}

/// What contradicts that one accepted and the others came later. At the end each offer has the
/// number of a client.
pub fn check(history: &[Event<Act>], offers: &[Option<usize>]) -> Vec<String> {
    let mut found = Vec::new();
    for (offer, acceptor) in offers.iter().enumerate() {
        let accepts: Vec<_> =
            history.iter().filter(|event| event.act == Act::Accept { offer }).collect();
        let refusals: Vec<_> =
            history.iter().filter(|event| event.act == Act::Refused { offer }).collect();
        let winners: Vec<_> = accepts.iter().filter(|event| event.committed()).collect();
        if winners.len() > 1 {
            found.push(format!("offer {offer}: {} accepted", winners.len()));
        }
        match (winners.first(), acceptor) {
            (Some(winner), _) if *acceptor != Some(winner.client) => {
                found.push(format!("offer {offer}: {acceptor:?} has it, not {winner:?}"));
            }
            (None, Some(client)) => {
                let may = accepts.iter().any(|e| e.client == *client && e.fate == Fate::Unknown);
                if !may {
                    found.push(format!("offer {offer}: {client} has it and did not accept"));
                }
            }
            (None, None) if !refusals.is_empty() => {
                found.push(format!("offer {offer}: refused and open: {:?}", refusals[0]));
            }
            _ => {}
        }
        // Who was refused came after somebody had begun to accept.
        for event in refusals {
            let earlier = accepts
                .iter()
                .any(|other| other.fate != Fate::Aborted && !event.span.before(other.span));
            if !earlier {
                found.push(format!("offer {offer}: refused too early: {event:?}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::event::by_hand::{assert_found, done, with_fate};
    use super::*;

    fn accept(client: usize, begin: u64, end: u64) -> Event<Act> {
        Event { client, ..done(begin, end, Act::Accept { offer: 0 }) }
    }

    fn refused(begin: u64, end: u64) -> Event<Act> {
        with_fate(Fate::Aborted, done(begin, end, Act::Refused { offer: 0 }))
    }

    #[test]
    fn one_accepts() {
        let aborted = with_fate(Fate::Aborted, accept(3, 1, 2));
        let history = [aborted.clone(), accept(1, 3, 9), refused(4, 5)];
        assert_found(&check(&history, &[Some(1)]), "");
        let unknown = with_fate(Fate::Unknown, accept(2, 3, 9));
        assert_found(&check(&[unknown.clone(), refused(4, 5)], &[Some(2)]), "");
        assert_found(&check(&[unknown], &[None]), "");
        assert_found(&check(&[aborted], &[None]), "");
    }

    #[test]
    fn two_accept() {
        assert_found(&check(&[accept(1, 1, 2), accept(2, 3, 4)], &[Some(2)]), "2 accepted");
    }

    #[test]
    fn an_accept_that_is_lost_or_nobody_s() {
        assert_found(&check(&[accept(1, 1, 2)], &[None]), "None has it");
        assert_found(&check(&[accept(1, 1, 2)], &[Some(2)]), "Some(2) has it");
        assert_found(&check(&[], &[Some(2)]), "did not accept");
    }

    #[test]
    fn a_refusal_of_an_open_offer() {
        assert_found(&check(&[refused(1, 2)], &[None]), "refused and open");
        assert_found(&check(&[refused(1, 2), accept(1, 3, 4)], &[Some(1)]), "too early");
    }
}
