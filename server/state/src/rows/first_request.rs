//! What takes two administrators over TLS: the first one's request.

use hallmark_spiffe::SpiffeId;

/// What one administrator over TLS asked for, and a second one has to ask for as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstRequest {
    /// The administrator.
    pub id: SpiffeId,
    /// The agent that the administrator's SVID was issued through.
    pub agent: SpiffeId,
    /// When that SVID was issued, in Unix seconds.
    pub issued_at: i64,
    /// When it was asked, in Unix seconds.
    pub at: i64,
}
