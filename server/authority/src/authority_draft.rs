//! A new, self-signed authority, and the next certificate of one.

use std::time::{Duration, SystemTime};

use hallmark_spiffe::{TrustDomain, x509};

use crate::{
    AuthorityError, Serial, SignatureAlgorithm, SubjectKey, X509Authority,
    draft::to_be_signed,
    extensions, name, signature,
    validity::{self, Validity},
};

/// A self-signed authority certificate that lacks its signature. It was linted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityDraft {
    tbs: Vec<u8>,
    algorithm: SignatureAlgorithm,
    trust_domain: TrustDomain,
}

/// Prepares the certificate of a new authority of `trust_domain` for the key `spki` (DER SubjectPublicKeyInfo),
/// good for `lifetime` from `now`: URI SAN `spiffe://<trust domain>`, Key Usage keyCertSign and cRLSign, Basic
/// Constraints cA, subject and authority key identifiers (X509-SVID, sections 3.2 and 4).
///
/// # Errors
/// When the key is of a kind that is not used here, the lifetime is zero or beyond the year 9999, or the lint finds
/// a fault.
pub fn prepare_authority(
    trust_domain: &TrustDomain,
    spki: &[u8],
    lifetime: Duration,
    serial: Serial,
    now: SystemTime,
) -> Result<AuthorityDraft, AuthorityError> {
    let key = SubjectKey::from_spki(spki)?;
    draft(trust_domain, &key, &name::authority(serial), lifetime, serial, now)
}

/// Prepares the next certificate of `authority`: the same key and the same name, good for `lifetime` from `now`.
///
/// What was issued below either certificate leads to both: whoever knows only the old one believes what is issued now,
/// as long as the old one lasts.
///
/// # Errors
/// As [`prepare_authority`]; and when the new certificate would end no later than the one that there is.
pub fn prepare_renewal(
    authority: &X509Authority,
    lifetime: Duration,
    serial: Serial,
    now: SystemTime,
) -> Result<AuthorityDraft, AuthorityError> {
    let ends = Validity::starting(validity::unix(now)?, lifetime)?.not_after;
    if ends <= authority.not_after() {
        return Err(AuthorityError::NotLonger {
            ends,
            not_after: authority.not_after(),
        });
    }
    let key = SubjectKey::from_spki(authority.spki())?;
    draft(
        authority.trust_domain(),
        &key,
        authority.subject(),
        lifetime,
        serial,
        now,
    )
}

fn draft(
    trust_domain: &TrustDomain,
    key: &SubjectKey,
    name: &[u8],
    lifetime: Duration,
    serial: Serial,
    now: SystemTime,
) -> Result<AuthorityDraft, AuthorityError> {
    let algorithm = SignatureAlgorithm::of(key.key_type());
    let tbs = to_be_signed(&[
        &serial.to_der(),
        algorithm.identifier(),
        name,
        &Validity::starting(validity::unix(now)?, lifetime)?.to_der()?,
        name,
        key.spki(),
        &extensions::authority(&trust_domain.id(), key.key_id()),
    ]);
    let linted = signature::certificate(&tbs, algorithm, signature::PLACEHOLDER);
    x509::lint_signing(&linted, trust_domain).map_err(AuthorityError::Profile)?;
    Ok(AuthorityDraft {
        tbs,
        algorithm,
        trust_domain: trust_domain.clone(),
    })
}

impl AuthorityDraft {
    /// The bytes to be signed (TBSCertificate, RFC 5280, section 4.1).
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Puts the certificate (DER) together, and verifies it as any reader would.
    ///
    /// # Errors
    /// When the signature is not one of the new authority's key.
    pub fn seal(self, signature: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        self.algorithm.check_form(signature)?;
        let certificate = signature::certificate(&self.tbs, self.algorithm, signature);
        X509Authority::from_certificate(&certificate, &self.trust_domain)?;
        Ok(certificate)
    }
}
