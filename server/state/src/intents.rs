//! From what is to be signed to what came of it, in the one order that counts: nothing can be signed before its intent is on
//! record, and what came of it goes on record as well.

use hallmark_reason::ReasonCode;

use crate::{Committed, Decision, Event, EventRange, Expect, Outcome};

/// SVIDs that are to be signed, as far as nothing is on record of them yet: what is to be signed of them cannot be had.
#[derive(Debug)]
pub struct Intents<D>(Vec<D>);

/// SVIDs whose intents are on record: now they may be signed.
#[derive(Debug)]
#[must_use]
pub struct Recorded<D> {
    drafts: Vec<D>,
    intents: EventRange,
}

impl<D> Intents<D> {
    /// These are to be signed.
    #[must_use]
    pub const fn new(drafts: Vec<D>) -> Self {
        Self(drafts)
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is to be put on record of each, as the last events of a transaction.
    #[must_use]
    pub fn events(&self, intent: impl Fn(&D) -> Event) -> Vec<Event> {
        self.0.iter().map(intent).collect()
    }

    /// The transaction is durable whose last events these intents are. `None` where it has fewer events.
    #[must_use]
    pub fn recorded(self, committed: &Committed) -> Option<Recorded<D>> {
        let events = committed.events?;
        let count = u64::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        let first = events.last.checked_sub(count - 1)?;
        (first >= events.first).then_some(Recorded {
            drafts: self.0,
            intents: EventRange { first, ..events },
        })
    }
}

impl<D> Recorded<D> {
    /// What is to be signed.
    #[must_use]
    pub fn drafts(&self) -> &[D] {
        &self.drafts
    }

    /// Makes of the drafts what is handed out, and tells what goes on record of it: that they were issued, or the code with
    /// which they were not.
    pub fn settle<T>(self, seal: impl FnOnce(Vec<D>) -> (T, Option<ReasonCode>)) -> (T, Decision) {
        let (sealed, failure) = seal(self.drafts);
        let outcome = failure.map_or(Outcome::Issued, |_| Outcome::Failed);
        let decision = Decision {
            expect: Expect::default(),
            changes: Vec::new(),
            events: vec![Event::svid_outcome(self.intents, outcome, failure)],
        };
        (sealed, decision)
    }
}

#[cfg(test)]
mod tests {
    use hallmark_reason::Coded as _;

    use super::*;
    use crate::{LinkError, What};

    const fn committed(first: u64, last: u64) -> Committed {
        Committed {
            revision: 9,
            events: Some(EventRange { first, last }),
        }
    }

    #[test]
    fn nothing_is_to_be_had_whose_intent_is_not_on_record() {
        let of = |count: usize, committed: &Committed| Intents::new(vec![0_u8; count]).recorded(committed).is_some();
        assert!(of(2, &committed(5, 6)) && of(2, &committed(4, 6)) && of(1, &committed(1, 1)));
        assert!(!of(3, &committed(5, 6)) && !of(0, &committed(5, 6)) && !of(1, &Committed::default()));
        assert!(!of(3, &committed(1, 2)));
    }

    #[test]
    fn the_outcome_names_the_intents_which_are_the_last_events() {
        let code = LinkError::TooManyNames { ek: [0; 32] }.code();
        for (failure, outcome, told) in [
            (None, Outcome::Issued, ""),
            (Some(code), Outcome::Failed, code.as_str()),
        ] {
            let recorded = Intents::new(vec!['a', 'b']).recorded(&committed(5, 8)).unwrap();
            assert_eq!(recorded.drafts(), ['a', 'b']);
            let (sealed, decision) = recorded.settle(|drafts| (drafts.len(), failure));
            let [event] = &decision.events[..] else {
                panic!("one outcome")
            };
            assert_eq!((sealed, event.outcome, &*event.code), (2, outcome, told));
            assert_eq!(event.what, What::SvidOutcome { first: 7, last: 8 });
            assert!(decision.changes.is_empty() && decision.expect == Expect::default());
        }
    }
}
