//! A leaf: prepared, linted, sealed.

use std::time::SystemTime;

use hallmark_spiffe::SpiffeId;
use hallmark_state::Grant;

use crate::{
    AuthorityError, Serial, SignatureAlgorithm, SubjectKey, X509Authority, extensions,
    lint::{self, Expected},
    name, signature,
    validity::{self, Validity},
};

/// Version 3, in its `[0]`.
const VERSION: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];

/// An X509-SVID that lacks its signature. It was linted, and says what was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    tbs: Vec<u8>,
    algorithm: SignatureAlgorithm,
    spiffe_id: SpiffeId,
    serial: Serial,
    not_after: i64,
    is_cut_short: bool,
}

/// An X509-SVID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    certificate: Vec<u8>,
    spiffe_id: SpiffeId,
    serial: Serial,
    not_after: i64,
}

/// Prepares an X509-SVID for what was granted: notBefore 10 s before `now`, notAfter at the end of the grant's
/// lifetime, neither beyond the authority's own validity.
///
/// # Errors
/// When the grant is for another trust domain, the key is the authority's own, the authority is not valid at `now`,
/// or the lint finds a fault.
pub fn prepare(
    grant: &Grant,
    key: &SubjectKey,
    authority: &X509Authority,
    serial: Serial,
    now: SystemTime,
) -> Result<Draft, AuthorityError> {
    let granted = validity(grant, key, authority, validity::unix(now)?)?;
    let validity = granted.within(authority.validity());
    let algorithm = authority.signature_algorithm();
    let subject = name::leaf(grant.dns_names());
    let tbs = to_be_signed(&[
        &serial.to_der(),
        algorithm.identifier(),
        authority.subject(),
        &validity.to_der()?,
        &subject,
        key.spki(),
        &extensions::leaf(
            grant.spiffe_id(),
            grant.dns_names(),
            key.key_type(),
            key.key_id(),
            authority.key_id_extension(),
        ),
    ]);
    let expected = Expected {
        spiffe_id: grant.spiffe_id(),
        dns_names: grant.dns_names(),
        key,
        authority,
        serial,
        validity,
    };
    lint::leaf(
        &signature::certificate(&tbs, algorithm, signature::PLACEHOLDER),
        &expected,
    )?;
    Ok(Draft::linted(
        tbs,
        algorithm,
        grant.spiffe_id().clone(),
        serial,
        (validity, granted),
    ))
}

/// As it was granted.
fn validity(grant: &Grant, key: &SubjectKey, authority: &X509Authority, now: i64) -> Result<Validity, AuthorityError> {
    require_usable(grant.spiffe_id(), key, authority, now)?;
    Validity::starting(now, grant.ttl())
}

/// Whether the authority certifies this key for this id at `now`.
pub(crate) fn require_usable(
    id: &SpiffeId,
    key: &SubjectKey,
    authority: &X509Authority,
    now: i64,
) -> Result<(), AuthorityError> {
    if !id.is_member_of(authority.trust_domain()) {
        return Err(AuthorityError::ForeignTrustDomain {
            expected: authority.trust_domain().clone(),
            found: id.clone(),
        });
    }
    if key.spki() == authority.spki() {
        return Err(AuthorityError::SubjectIsAuthority);
    }
    if now < authority.not_before() {
        return Err(AuthorityError::NotYetValid {
            now,
            not_before: authority.not_before(),
        });
    }
    if now >= authority.not_after() {
        return Err(AuthorityError::Expired {
            now,
            not_after: authority.not_after(),
        });
    }
    Ok(())
}

/// A TBSCertificate of version 3 from the fields that follow the version.
pub(crate) fn to_be_signed(fields: &[&[u8]]) -> Vec<u8> {
    let mut parts = Vec::with_capacity(fields.len() + 1);
    parts.push(VERSION);
    parts.extend_from_slice(fields);
    hallmark_der::sequence(&parts)
}

impl Draft {
    /// What was linted: valid as the first of two says, where the second was granted.
    pub(crate) fn linted(
        tbs: Vec<u8>,
        algorithm: SignatureAlgorithm,
        spiffe_id: SpiffeId,
        serial: Serial,
        (validity, granted): (Validity, Validity),
    ) -> Self {
        Self {
            tbs,
            algorithm,
            spiffe_id,
            serial,
            not_after: validity.not_after,
            is_cut_short: validity.not_after < granted.not_after,
        }
    }

    /// The bytes to be signed (TBSCertificate, RFC 5280, section 4.1), which are those that were linted.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Whose it will be.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Its serial number.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// The end of its validity, in seconds since the Unix epoch.
    #[must_use]
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Whether its validity is shorter than what was granted, as it would outlive the authority.
    #[must_use]
    pub const fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Puts the certificate together. The signature's form is checked; that it verifies is up to whoever holds the
    /// key, since a verification would cost as much as the signature did.
    ///
    /// # Errors
    /// When the signature cannot be one of the authority's algorithm.
    pub fn seal(self, signature: &[u8]) -> Result<Svid, AuthorityError> {
        self.algorithm.check_form(signature)?;
        Ok(Svid {
            certificate: signature::certificate(&self.tbs, self.algorithm, signature),
            spiffe_id: self.spiffe_id,
            serial: self.serial,
            not_after: self.not_after,
        })
    }
}

impl Svid {
    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Whose it is.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Its serial number.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// The end of its validity, in seconds since the Unix epoch.
    #[must_use]
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }
}
