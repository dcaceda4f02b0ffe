//! The decision that a server below this one may have a CA certificate.

use std::time::Duration;

use hallmark_spiffe::{SpiffeId, TrustDomain};

/// Leave for a server below this one to sign as an authority of the trust domain, for a time. Only
/// [`authorise_downstream`](crate::decide::authorise_downstream) gives one, and the authority issues no CA certificate without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownstreamGrant {
    spiffe_id: SpiffeId,
    ttl: Duration,
}

impl DownstreamGrant {
    pub(crate) fn new(trust_domain: &TrustDomain, ttl: Duration) -> Self {
        Self {
            spiffe_id: trust_domain.id(),
            ttl,
        }
    }

    /// The id of the certificate: the trust domain's, without a path (X509-SVID, section 3.2).
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// For how long; never zero. The authority may shorten it to its own lifetime.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }
}
