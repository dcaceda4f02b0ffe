//! When an authority is followed by the next one, whatever it signs; and how its steps are put on record.
//!
//! The timing is that of the field: the next one is made when half of the life has passed, and signs when five sixths have, with 30
//! and 7 days before the end at most.

use crate::{AuthorityKind, Change, Decision, Event, View, What};

/// A next authority is made this long before the end at the earliest, in seconds.
const PREPARE_BEFORE: i64 = 30 * 24 * 3600;
/// And signs from this long before the end at the earliest.
const ACTIVATE_BEFORE: i64 = 7 * 24 * 3600;
/// How long it is published before it signs at least, in seconds: others ask for the bundle as often. A short life has less.
const PUBLISHED: i64 = 300;
/// How long an authority is kept beyond the end of the last document that it signed: clocks differ.
const KEEP_ENDED: i64 = 60;

/// Who takes a step: the server when it is due, or an operator, with a reason.
pub type Reason<'a> = Option<&'a str>;

/// The life of an authority, in Unix seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) begins: i64,
    pub(super) ends: i64,
}

impl Life {
    const fn length(self) -> i64 {
        self.ends.saturating_sub(self.begins)
    }

    const fn left(self, now: i64) -> i64 {
        self.ends.saturating_sub(now)
    }

    /// Whether the next authority is to be there.
    pub(super) fn wants_next(self, now: i64) -> bool {
        self.left(now) <= PREPARE_BEFORE.min(self.length() / 2)
    }

    /// Whether the next authority, which was published at this time, is to sign.
    pub(super) fn gives_way(self, published_at: i64, now: i64) -> bool {
        let is_known = now.saturating_sub(published_at) >= PUBLISHED.min(self.length() / 6);
        let is_due = self.left(now) <= activates_before(self.length()) && is_known;
        is_due || self.left(now) <= 0
    }

    /// Whether nothing that it signed is valid any more, by anybody's clock.
    pub(super) const fn has_ended(self, now: i64) -> bool {
        now >= self.ends.saturating_add(KEEP_ENDED)
    }
}

/// How much of a life of so many seconds is left when the next authority signs. What lives longer than that is cut short before.
#[must_use]
pub fn activates_before(life: i64) -> i64 {
    ACTIVATE_BEFORE.min(life / 6)
}

/// A decision that changes the bundle, and so its sequence number.
pub(super) fn published(view: View<'_>, mut changes: Vec<Change>, events: Vec<Event>) -> Decision {
    let sequence = view.authorities().bundle_sequence().saturating_add(1);
    changes.push(Change::PutBundleSequence(sequence));
    view.decide(changes, events)
}

/// The record of a step.
pub(super) fn step(kind: AuthorityKind, label: &str, key_id: &str, act: &str, reason: Reason<'_>) -> Event {
    Event::done(
        label,
        What::Authority {
            act: format!("{}-authority-{act}", kind.as_str()),
            reason: reason.map(str::to_owned),
            facts: vec![("key_id".to_owned(), key_id.to_owned())],
        },
    )
}
