//! The rules for one certificate (X509-SVID, sections 2 to 4).

use super::{ProfileError, certificate::Certificate};
use crate::{SpiffeId, TrustDomain};

/// The SPIFFE ID of a leaf certificate that keeps every rule for leaves (X509-01 to -06, -12, -15,
/// -17, -18, -20, -22 to -24).
///
/// This shows the certificate's shape alone. It does *not* show who signed it, whether it is valid
/// now, or that its id belongs to any particular trust domain.
///
/// # Errors
/// The first rule broken; see [`ProfileError`].
pub fn leaf_id(der: &[u8]) -> Result<SpiffeId, ProfileError> {
    check_leaf(&Certificate::parse(der)?)
}

/// [`leaf_id`], and what a careful issuer adds: an explicit Basic Constraints, Extended Key Usage,
/// subject and authority key identifiers, a positive serial number of at most 20 octets (X509-12,
/// X509-19; RFC 5280, sections 4.1.2.2, 4.2.1.1, 4.2.1.2).
///
/// # Errors
/// The first rule broken.
pub fn lint_leaf(der: &[u8]) -> Result<SpiffeId, ProfileError> {
    let certificate = Certificate::parse(der)?;
    let id = check_leaf(&certificate)?;
    let present = [
        ("Basic Constraints", certificate.basic_constraints.is_some()),
        ("Extended Key Usage", certificate.extended_key_usage.is_some()),
        ("Subject Key Identifier", certificate.has_subject_key_id),
        ("Authority Key Identifier", certificate.has_authority_key_id),
    ];
    check_emitted(&certificate, &present)?;
    Ok(id)
}

/// A signing certificate, root or intermediate, that keeps every rule for signing certificates
/// (X509-08, -11, -15, -16). Returns its SPIFFE ID when it has one.
///
/// # Errors
/// The first rule broken; see [`ProfileError`].
pub fn check_signing(der: &[u8]) -> Result<Option<SpiffeId>, ProfileError> {
    signing_id(&Certificate::parse(der)?)
}

/// [`check_signing`], and what a careful issuer adds: its own SPIFFE ID, the one of `trust_domain`
/// (X509-07, X509-09), a subject key identifier, no key usage that belongs to leaves.
///
/// # Errors
/// The first rule broken.
pub fn lint_signing(der: &[u8], trust_domain: &TrustDomain) -> Result<(), ProfileError> {
    let certificate = Certificate::parse(der)?;
    let id = signing_id(&certificate)?.ok_or(ProfileError::NoUri)?;
    check_member(&id, trust_domain)?;
    if certificate.key_usage.is_some_and(|usage| usage.holder_use) {
        return Err(ProfileError::SigningForLeafUse);
    }
    check_emitted(
        &certificate,
        &[("Subject Key Identifier", certificate.has_subject_key_id)],
    )
}

/// What is asked of a certificate before it is taken as an authority of `trust_domain`: it is a CA,
/// and nothing in it says that it is for something else. Roots kept outside SPIFFE (an upstream CA)
/// often lack Key Usage and SPIFFE ID; they pass, as RFC 5280 asks nothing more of a trust anchor.
///
/// # Errors
/// When it is no CA, may not sign certificates, or belongs to another trust domain.
pub fn check_authority(der: &[u8], trust_domain: &TrustDomain) -> Result<(), ProfileError> {
    authority(&Certificate::parse(der)?, trust_domain)
}

pub(super) fn authority(certificate: &Certificate<'_>, trust_domain: &TrustDomain) -> Result<(), ProfileError> {
    if !matches!(certificate.basic_constraints, Some((true, _))) {
        return Err(ProfileError::SigningNotCa);
    }
    if certificate.key_usage.is_some_and(|usage| !usage.cert_sign) {
        return Err(ProfileError::SigningWithoutCertSign);
    }
    match signing_uri(certificate)? {
        Some(id) => check_member(&id, trust_domain),
        None => Ok(()),
    }
}

pub(super) fn check_leaf(certificate: &Certificate<'_>) -> Result<SpiffeId, ProfileError> {
    // The most telling refusal first: a CA shown as a peer is an attack or a wrong file.
    if matches!(certificate.basic_constraints, Some((true, _))) {
        return Err(ProfileError::LeafIsCa);
    }
    let usage = certificate.key_usage.ok_or(ProfileError::KeyUsageMissing)?;
    if usage.cert_sign || usage.crl_sign {
        return Err(ProfileError::LeafSigns);
    }
    if !usage.critical {
        return Err(ProfileError::KeyUsageNotCritical);
    }
    if !usage.digital_signature {
        return Err(ProfileError::LeafWithoutDigitalSignature);
    }
    if let Some((server, client)) = certificate.extended_key_usage
        && !(server && client)
    {
        return Err(ProfileError::ExtendedKeyUsage { server, client });
    }
    let id = only_uri(certificate)?.ok_or(ProfileError::NoUri)?;
    check_alt_names(certificate)?;
    if id.path().is_empty() {
        return Err(ProfileError::LeafWithoutPath { id });
    }
    Ok(id)
}

pub(super) fn signing_id(certificate: &Certificate<'_>) -> Result<Option<SpiffeId>, ProfileError> {
    if !matches!(certificate.basic_constraints, Some((true, _))) {
        return Err(ProfileError::SigningNotCa);
    }
    let usage = certificate.key_usage.ok_or(ProfileError::KeyUsageMissing)?;
    if !usage.critical {
        return Err(ProfileError::KeyUsageNotCritical);
    }
    if !usage.cert_sign {
        return Err(ProfileError::SigningWithoutCertSign);
    }
    check_alt_names(certificate)?;
    signing_uri(certificate)
}

fn signing_uri(certificate: &Certificate<'_>) -> Result<Option<SpiffeId>, ProfileError> {
    let Some(id) = only_uri(certificate)? else {
        return Ok(None);
    };
    if id.path().is_empty() {
        Ok(Some(id))
    } else {
        Err(ProfileError::SigningWithPath { id })
    }
}

/// X509-01, -02, -23: at most one URI, and that a SPIFFE ID.
fn only_uri(certificate: &Certificate<'_>) -> Result<Option<SpiffeId>, ProfileError> {
    match certificate.uris.as_slice() {
        [] => Ok(None),
        [uri] => Ok(Some(SpiffeId::parse(uri).map_err(ProfileError::Id)?)),
        many => Err(ProfileError::ManyUris { count: many.len() }),
    }
}

/// X509-06, RFC 5280 section 4.1.2.6: without a subject the alternative names are critical.
fn check_alt_names(certificate: &Certificate<'_>) -> Result<(), ProfileError> {
    if certificate.has_alt_names && certificate.subject_is_empty() && !certificate.alt_names_critical {
        return Err(ProfileError::AltNamesNotCritical);
    }
    Ok(())
}

pub(super) fn check_member(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), ProfileError> {
    if id.is_member_of(trust_domain) {
        return Ok(());
    }
    Err(ProfileError::ForeignTrustDomain {
        expected: trust_domain.clone(),
        found: id.clone(),
    })
}

fn check_emitted(certificate: &Certificate<'_>, present: &[(&'static str, bool)]) -> Result<(), ProfileError> {
    if let Some((extension, _)) = present.iter().find(|(_, there)| !there) {
        return Err(ProfileError::Omitted { extension });
    }
    // A first byte of 0x80 or more would make the INTEGER negative.
    let serial = certificate.x509.raw_serial();
    let positive = serial.first().is_some_and(|byte| *byte < 0x80) && serial.iter().any(|byte| *byte != 0);
    if positive && serial.len() <= 20 {
        Ok(())
    } else {
        Err(ProfileError::Serial)
    }
}
