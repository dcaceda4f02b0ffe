//! Path validation against the authorities of one trust domain (X509-SVID, section 5.1; RFC 5280, section 6).

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use super::{ChainError, ProfileError, certificate::Certificate, profile};
use crate::{SpiffeId, TrustDomain};

/// The most certificates that a chain may have, leaf included.
pub const MAX_CHAIN: usize = 8;

/// The signing authorities of one trust domain, decoded once for many verifications.
///
/// Authorities of different trust domains are never mixed: whoever verifies picks the set of the
/// trust domain that the peer claims, and only ids of that trust domain come out (ID-23, FED-09).
#[derive(Debug, Clone)]
pub struct Authorities {
    trust_domain: TrustDomain,
    anchors: Vec<TrustAnchor<'static>>,
    /// Beside each anchor, what path validation does not take from it.
    limits: Vec<AnchorLimits>,
}

#[derive(Debug, Clone)]
struct AnchorLimits {
    spki: Vec<u8>,
    not_before: i64,
    not_after: i64,
    path_len: Option<u32>,
}

/// What is known of a leaf once its chain has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLeaf {
    /// Its SPIFFE ID, of the trust domain whose authorities verified it.
    pub id: SpiffeId,
    /// Serial number, big endian, no leading zeros.
    pub serial: Vec<u8>,
    /// End of its validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// Its SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// That of the authority that signed it, DER: one of the bundle, or one below it.
    pub issuer_spki: Vec<u8>,
}

impl Authorities {
    /// Decodes `roots` (DER). An empty set is allowed: nothing verifies against it (TDB-10).
    ///
    /// # Errors
    /// When a root is malformed, is no CA, or belongs to another trust domain.
    pub fn new(trust_domain: &TrustDomain, roots: &[&[u8]]) -> Result<Self, ChainError> {
        let mut authorities = Self {
            trust_domain: trust_domain.clone(),
            anchors: Vec::new(),
            limits: Vec::new(),
        };
        for (index, der) in roots.iter().enumerate() {
            let as_authority = |source| ChainError::Authority { index, source };
            let certificate = Certificate::parse(der).map_err(as_authority)?;
            profile::authority(&certificate, trust_domain).map_err(as_authority)?;
            let der = CertificateDer::from(*der);
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|cause| {
                as_authority(ProfileError::Malformed {
                    what: cause.to_string(),
                })
            })?;
            authorities.anchors.push(anchor.to_owned());
            authorities.limits.push(AnchorLimits {
                spki: certificate.x509.public_key().raw.to_vec(),
                not_before: certificate.x509.validity().not_before.timestamp(),
                not_after: certificate.x509.validity().not_after.timestamp(),
                path_len: certificate.basic_constraints.and_then(|(_, path_len)| path_len),
            });
        }
        Ok(authorities)
    }

    /// The trust domain that these authorities speak for.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether there is no authority at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Whether one of these authorities has this key, a DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn has_key(&self, spki: &[u8]) -> bool {
        self.limits.iter().any(|limits| limits.spki == spki)
    }

    /// Verifies `chain` (DER, leaf first) at the time `now`.
    ///
    /// The result proves that an authority of this trust domain certified the leaf's key for its id.
    /// It does *not* prove that the peer holds that key: that is the TLS handshake's part.
    ///
    /// # Errors
    /// A [`ChainError`]; the profile's own refusals come before those of path validation.
    pub fn verify(&self, chain: &[&[u8]], now: SystemTime) -> Result<VerifiedLeaf, ChainError> {
        let time = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map(UnixTime::since_unix_epoch)
            .map_err(|_| ChainError::Clock)?;
        if chain.len() > MAX_CHAIN {
            return Err(ChainError::TooLong { len: chain.len() });
        }
        let (leaf, intermediates) = chain.split_first().ok_or(ChainError::Empty)?;
        let certificate = Certificate::parse(leaf).map_err(ChainError::Leaf)?;
        let id = profile::check_leaf(&certificate).map_err(ChainError::Leaf)?;
        profile::check_member(&id, &self.trust_domain).map_err(ChainError::Leaf)?;
        self.check_intermediates(intermediates)?;
        if self.anchors.is_empty() {
            return Err(ChainError::NoAuthorities {
                trust_domain: self.trust_domain.clone(),
            });
        }
        let issuer_spki = self.verify_path(leaf, intermediates, time)?;
        Ok(VerifiedLeaf {
            issuer_spki,
            id,
            serial: certificate.serial(),
            not_after: certificate.x509.validity().not_after.timestamp(),
            spki: certificate.x509.public_key().raw.to_vec(),
        })
    }

    fn check_intermediates(&self, intermediates: &[&[u8]]) -> Result<(), ChainError> {
        for (index, der) in (1..).zip(intermediates) {
            let at = |source| ChainError::Intermediate { index, source };
            let certificate = Certificate::parse(der).map_err(at)?;
            if let Some(id) = profile::signing_id(&certificate).map_err(at)? {
                profile::check_member(&id, &self.trust_domain).map_err(at)?;
            }
        }
        Ok(())
    }

    /// Gives the key of the leaf's issuer on the path that was found.
    fn verify_path(&self, leaf: &[u8], intermediates: &[&[u8]], time: UnixTime) -> Result<Vec<u8>, ChainError> {
        let leaf = CertificateDer::from(leaf);
        let intermediates: Vec<_> = intermediates.iter().map(|der| CertificateDer::from(*der)).collect();
        let end_entity = EndEntityCert::try_from(&leaf).map_err(ChainError::from_path)?;
        let limits = |path: &VerifiedPath<'_>| self.check_anchor_limits(path, time);
        end_entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &self.anchors,
                &intermediates,
                time,
                ServerAndClientAuth,
                None,
                Some(&limits),
            )
            .map(|path| path.issuer_spki().to_vec())
            .map_err(ChainError::from_path)
    }

    /// RFC 5280 takes only name and key from an anchor. The certificate that brought it says more, and a
    /// root that has expired, or allows fewer intermediates, is not to be used beyond its own words (X509-13).
    fn check_anchor_limits(&self, path: &VerifiedPath<'_>, time: UnixTime) -> Result<(), webpki::Error> {
        let position = self
            .anchors
            .iter()
            .position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let limits = position
            .and_then(|at| self.limits.get(at))
            .ok_or(webpki::Error::UnknownIssuer)?;
        let now = i64::try_from(time.as_secs()).map_err(|_| webpki::Error::BadDerTime)?;
        let as_unix =
            |at: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(at).unwrap_or(0)));
        if now < limits.not_before {
            return Err(webpki::Error::CertNotValidYet {
                time,
                not_before: as_unix(limits.not_before),
            });
        }
        if now > limits.not_after {
            return Err(webpki::Error::CertExpired {
                time,
                not_after: as_unix(limits.not_after),
            });
        }
        let below = path
            .intermediate_certificates()
            .filter(|certificate| certificate.subject() != certificate.issuer())
            .count();
        match limits.path_len.map(usize::try_from) {
            Some(Ok(most)) if below > most => Err(webpki::Error::PathLenConstraintViolated),
            _ => Ok(()),
        }
    }
}

/// Verifies `chain` (DER, leaf first) against `roots` (DER) of `trust_domain` at the time `now`, and
/// returns the leaf's SPIFFE ID. Whoever verifies often keeps an [`Authorities`] instead.
///
/// # Errors
/// See [`Authorities::new`] and [`Authorities::verify`].
pub fn verify_chain(
    chain: &[&[u8]],
    roots: &[&[u8]],
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<SpiffeId, ChainError> {
    Ok(Authorities::new(trust_domain, roots)?.verify(chain, now)?.id)
}

/// Every certificate of the path that names purposes names both (X509-20).
struct ServerAndClientAuth;

impl ExtendedKeyUsageValidator for ServerAndClientAuth {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let (mut any, mut server, mut client) = (false, false, false);
        for purpose in purposes {
            let purpose = purpose?.to_decoded_oid();
            any = true;
            server |= purpose == webpki::KeyUsage::SERVER_AUTH_REPR;
            client |= purpose == webpki::KeyUsage::CLIENT_AUTH_REPR;
        }
        if !any || (server && client) {
            return Ok(());
        }
        Err(webpki::Error::UnsupportedCriticalExtension)
    }
}
