//! The authority that signs, and the bundle that goes with it.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use bytes::Bytes;
use hallmark_authority::X509Authority;
use hallmark_hsm::KeyInfo;
use hallmark_spiffe::{Bundle, TrustDomain, jwt::JwtAuthority, x509::Authorities};
use hallmark_state::{Authority, AuthorityState, State};

use super::{AuthorityError, jwt::authority_of, published::published_authority};

/// How often clients look for a newer bundle.
const REFRESH_HINT: Duration = Duration::from_secs(300);

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
    /// The certificates of the bundle whose authority is tainted.
    pub tainted: Vec<Vec<u8>>,
    /// The bundle, ready to verify with. What a tainted authority signed is believed until that is revoked: with it agents get their
    /// next SVIDs.
    pub authorities: Authorities,
}

impl ActiveAuthority {
    /// Whether this key, a DER SubjectPublicKeyInfo, is one of this server's authorities, and not one that it certified: of a server
    /// below it, say.
    #[must_use]
    pub fn is_own_key(&self, spki: &[u8]) -> bool {
        // Below another authority the bundle has that one's certificate, which issues no SVIDs of this server's.
        spki == self.x509.spki() || (self.upstream_chain.is_empty() && self.authorities.has_key(spki))
    }

    /// The same with the bundle as the state has it; `None` where a later one is served, or this one. Each change of the bundle raises
    /// its sequence number.
    ///
    /// # Errors
    /// When a certificate of the bundle does not read.
    pub(super) fn following(&self, state: &State) -> Result<Option<Self>, AuthorityError> {
        if state.bundle_sequence() <= self.bundle.sequence {
            return Ok(None);
        }
        let certificates = state.authorities().iter().map(|it| it.certificate.clone());
        let jwt_keys = state.jwt_keys().iter().map(|key| authority_of(key));
        let published = state.published_jwt_keys().iter().map(|key| published_authority(key));
        let jwt_authorities = jwt_keys.chain(published).collect::<Result<_, _>>()?;
        let bundle = bundle_of(
            state.trust_domain(),
            certificates,
            jwt_authorities,
            state.bundle_sequence(),
        );
        let authorities = bundle.authorities()?;
        Ok(Some(Self {
            bundle,
            tainted: tainted_of(state.authorities().iter().map(|it| &**it)),
            authorities,
            ..self.clone()
        }))
    }

    /// Serves the bundle that the state has, in the place of the one that `served` has.
    ///
    /// # Errors
    /// When a certificate or key of the bundle does not read.
    pub(super) fn serve_bundle_of(served: &ArcSwap<Self>, state: &State) -> Result<(), AuthorityError> {
        loop {
            let current = served.load_full();
            let Some(following) = current.following(state)? else {
                return Ok(());
            };
            let sequence = following.bundle.sequence;
            // Another authority may sign meanwhile.
            if Arc::ptr_eq(&served.compare_and_swap(&current, Arc::new(following)), &current) {
                tracing::info!(sequence, "the bundle has changed");
                return Ok(());
            }
        }
    }

    /// Signs with this key and certificate from now on; the bundle stays as it is.
    pub(super) fn serve_signer(served: &ArcSwap<Self>, key: KeyInfo, x509: X509Authority) {
        served.rcu(|current| Self {
            label: key.label.clone(),
            key: key.clone(),
            x509: x509.clone(),
            ..Self::clone(current)
        });
    }
}

/// The certificates of these rows whose authority is tainted.
pub(super) fn tainted_of<'a>(rows: impl Iterator<Item = &'a Authority>) -> Vec<Vec<u8>> {
    rows.filter(|it| it.state == AuthorityState::Tainted)
        .map(|it| it.certificate.clone())
        .collect()
}

/// The bundle of these authorities.
pub(super) fn bundle_of(
    trust_domain: &TrustDomain,
    certificates: impl Iterator<Item = Vec<u8>>,
    jwt_authorities: Vec<JwtAuthority>,
    sequence: u64,
) -> Bundle {
    Bundle {
        trust_domain: trust_domain.clone(),
        x509_authorities: certificates.collect(),
        jwt_authorities,
        sequence,
        refresh_hint: REFRESH_HINT,
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
