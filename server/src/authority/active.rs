//! The authority that signs, and the bundle that goes with it.

use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use hallmark_authority::X509Authority;
use hallmark_hsm::KeyInfo;
use hallmark_spiffe::{Bundle, x509::Authorities};

use super::AuthorityError;

/// How often clients look for a newer bundle.
pub(super) const REFRESH_HINT: Duration = Duration::from_secs(300);

/// The authority that signs now, and the bundle. Both change together.
#[derive(Debug, Clone)]
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

impl ActiveAuthority {
    /// The same without the certificates of the bundle that have ended at `now`, Unix seconds; `None` when there are none.
    /// Each that goes raises the sequence number, so that the same bundle has the same number after a restart.
    ///
    /// # Errors
    /// When a certificate of the bundle does not read.
    pub(crate) fn without_ended(&self, now: i64) -> Result<Option<Self>, AuthorityError> {
        let mut bundle = self.bundle.clone();
        bundle.x509_authorities.clear();
        for der in &self.bundle.x509_authorities {
            let authority = X509Authority::from_certificate(der, &bundle.trust_domain)?;
            if now < authority.not_after() || der == self.x509.certificate() {
                bundle.x509_authorities.push(der.clone());
            } else {
                bundle.sequence = bundle.sequence.saturating_add(1);
            }
        }
        if bundle.sequence == self.bundle.sequence {
            return Ok(None);
        }
        let authorities = bundle.authorities()?;
        Ok(Some(Self {
            bundle,
            authorities,
            ..self.clone()
        }))
    }
}

/// Refuses a key of the token that is not the one of the certificate.
pub(super) fn is_of(x509: &X509Authority, key: &KeyInfo, label: &str) -> Result<(), AuthorityError> {
    if x509.spki() == key.spki_der {
        return Ok(());
    }
    let hash = |spki: &[u8]| hex::encode(digest::digest(&digest::SHA256, spki));
    Err(AuthorityError::KeyMismatch {
        label: label.to_owned(),
        certified: hash(x509.spki()),
        found: hash(&key.spki_der),
    })
}
