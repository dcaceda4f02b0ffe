//! The authority that signs, and the bundle that goes with it.

use std::time::Duration;

use bytes::Bytes;
use hallmark_authority::X509Authority;
use hallmark_hsm::KeyInfo;
use hallmark_spiffe::{Bundle, x509::Authorities};

/// How often clients look for a newer bundle.
pub(super) const REFRESH_HINT: Duration = Duration::from_secs(300);

/// The authority that signs now, and the bundle. Both change together.
#[derive(Debug)]
pub struct ActiveAuthority {
    /// The key's label in the token.
    pub label: String,
    /// The key.
    pub key: KeyInfo,
    /// The certificate, as issuing needs it.
    pub x509: X509Authority,
    /// Certificates between a leaf and the bundle; none below a self-signed authority.
    pub upstream_chain: Vec<Bytes>,
    /// The trust domain's bundle.
    pub bundle: Bundle,
    /// The bundle, ready to verify with.
    pub authorities: Authorities,
}
