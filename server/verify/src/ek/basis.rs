//! What a verdict on an EK certificate rests on: where none of that has changed, the verdict is the same, and the signatures
//! are not verified again.

use std::sync::Arc;

use super::certificate::EkCertificate;
use super::path::Intermediates;
use crate::trust::{EkRoots, Revocation, Trust};

/// What one verdict was made from, and until when it stands.
#[derive(Debug, Clone)]
pub(super) struct Basis {
    roots: EkRoots,
    revocation: Arc<Revocation>,
    tolerate_expired: bool,
    /// When it was made, Unix seconds.
    from: u64,
    /// The first second that is near a time at which a certificate or a list begins or ends.
    until: u64,
}

impl Basis {
    pub(super) fn new(
        certificate: &EkCertificate,
        sent: &Intermediates<'_>,
        trust: &Trust,
        tolerate_expired: bool,
        now: u64,
    ) -> Self {
        let own = [certificate.not_before, certificate.not_after];
        let times = own.into_iter().chain(sent.times()).chain(trust.revocation.times());
        // A second of room on either side, whichever side of a limit the limit itself is on.
        let near = times.filter_map(|time| u64::try_from(time).ok()?.checked_sub(1));
        let ahead = near.filter(|time| time.saturating_add(2) >= now);
        Self {
            roots: trust.roots.clone(),
            revocation: Arc::clone(&trust.revocation),
            tolerate_expired,
            from: now,
            until: ahead.min().unwrap_or(u64::MAX),
        }
    }

    /// Whether a verdict that is made by these, at `now`, is the one that was made.
    pub(super) fn stands(&self, trust: &Trust, tolerate_expired: bool, now: u64) -> bool {
        self.roots.are(&trust.roots)
            && Arc::ptr_eq(&self.revocation, &trust.revocation)
            && self.tolerate_expired == tolerate_expired
            && (self.from..self.until).contains(&now)
    }
}
