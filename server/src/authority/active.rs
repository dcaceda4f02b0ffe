//! The authority that signs, and the bundle that goes with it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use bytes::Bytes;
use hallmark_authority::X509Authority;
use hallmark_hsm::KeyInfo;
use hallmark_spiffe::{Bundle, TrustDomain, jwt::JwtAuthority, x509::Authorities};
use hallmark_state::{
    Authority, State,
    decide::{BundleCertificate, bundle_certificates},
};

use super::{AuthorityError, above::upstream_key, jwt::authority_of, published::published_authority};

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
    /// Certificates between a leaf and the bundle, this authority's own first; none where it is self-signed.
    pub upstream_chain: Vec<Bytes>,
    /// The trust domain's bundle.
    pub bundle: Bundle,
    /// The keys of this server's authorities, whether or not they sign now, each a DER SubjectPublicKeyInfo.
    pub own_keys: BTreeSet<Vec<u8>>,
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
        // The bundle's roots may be those of an authority above, which issues no SVIDs of this server's.
        self.own_keys.contains(spki)
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
        let rows = || state.authorities().iter().map(|it| &**it);
        let jwt_keys = state.jwt_keys().iter().map(|key| authority_of(key));
        let published = state.published_jwt_keys().iter().map(|key| published_authority(key));
        let above = state.upstream().jwt_keys.iter().map(upstream_key);
        let jwt_authorities = jwt_keys.chain(published).chain(above).collect::<Result<_, _>>()?;
        let certificates = bundle_certificates(rows(), state.upstream());
        let tainted = tainted_of(&certificates);
        let bundle = bundle_of(
            state.trust_domain(),
            certificates,
            jwt_authorities,
            state.bundle_sequence(),
        );
        let authorities = bundle.authorities()?;
        Ok(Some(Self {
            bundle,
            tainted,
            own_keys: keys_of(rows()),
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

    /// Signs with this key and certificate from now on, and sends this chain along; the bundle stays as it is.
    pub(super) fn serve_signer(
        served: &ArcSwap<Self>,
        (key, x509, upstream_chain): (KeyInfo, X509Authority, Vec<Bytes>),
    ) {
        served.rcu(|current| Self {
            label: key.label.clone(),
            key: key.clone(),
            x509: x509.clone(),
            upstream_chain: upstream_chain.clone(),
            ..Self::clone(current)
        });
    }
}

/// The keys of these rows.
pub(super) fn keys_of<'a>(rows: impl Iterator<Item = &'a Authority>) -> BTreeSet<Vec<u8>> {
    rows.filter_map(|it| it.facts()).map(|facts| facts.spki).collect()
}

/// Those of the certificates that are tainted.
pub(super) fn tainted_of(certificates: &[BundleCertificate]) -> Vec<Vec<u8>> {
    let tainted = certificates.iter().filter(|it| it.tainted);
    tainted.map(|it| it.certificate.clone()).collect()
}

/// The bundle of these authorities.
pub(super) fn bundle_of(
    trust_domain: &TrustDomain,
    certificates: Vec<BundleCertificate>,
    jwt_authorities: Vec<JwtAuthority>,
    sequence: u64,
) -> Bundle {
    Bundle {
        trust_domain: trust_domain.clone(),
        x509_authorities: certificates.into_iter().map(|it| it.certificate).collect(),
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
