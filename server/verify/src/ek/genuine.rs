//! What an EK certificate is worth at a time. Whoever asks, asks here: a claim, a revocation list that changed, a file
//! that is judged years later.

use std::time::SystemTime;

use hallmark_evidence::EkCertificateChain;
use hallmark_node::TpmClass;

use super::attributes::TpmAttributes;
use super::basis::Basis;
use super::certificate::EkCertificate;
use super::class::classify;
use super::error::EkCertificateError;
use super::path::{self, Intermediates, Tolerance};
use crate::fingerprint::sha256;
use crate::trust::Trust;

/// What a verified EK certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Manufacturer, model and version of the TPM.
    pub attributes: TpmAttributes,
    /// The issuer's name.
    pub issuer: String,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// Begin of validity, seconds since the Unix epoch.
    pub not_before: i64,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
    /// SHA-256 of the certificate, DER.
    pub sha256: [u8; 32],
}

/// A certificate that its vendor made and did not revoke: what it says of the TPM is true.
#[derive(Debug, Clone)]
pub(crate) struct GenuineCertificate {
    pub(crate) facts: CertificateFacts,
    pub(crate) class: TpmClass,
    /// With the intermediates, as they are kept.
    pub(crate) chain: EkCertificateChain,
    /// Why it lets nobody in although it is genuine: it has expired, or no fresh revocation list covers it.
    pub(crate) lapsed: Option<EkCertificateError>,
    basis: Basis,
}

impl GenuineCertificate {
    /// Whether it is worth the same at `now`, as far as `trust` and time go: then it need not be judged again.
    pub(crate) fn stands(&self, trust: &Trust, tolerate_expired: bool, now: SystemTime) -> bool {
        self.basis.stands(trust, tolerate_expired, unix_seconds(now))
    }
}

/// Judges a certificate that was read, with the intermediates that came with it. `tolerate_expired`: see
/// [`ExpiredPolicy`](crate::ExpiredPolicy).
///
/// # Errors
/// It does not lead to a pinned root, or it was revoked.
pub(crate) fn judge_certificate(
    certificate: &EkCertificate,
    sent: &[Vec<u8>],
    trust: &Trust,
    tolerate_expired: bool,
    now: SystemTime,
) -> Result<GenuineCertificate, EkCertificateError> {
    let (sent, now) = (Intermediates::select(sent)?, unix_seconds(now));
    let verify = |tolerance| path::verify(certificate, &sent, trust, now, tolerance);
    let strict = Tolerance {
        expired: tolerate_expired,
        ..Tolerance::NONE
    };
    let lapsed = match verify(strict) {
        Ok(()) => None,
        Err(lapsed @ (EkCertificateError::Expired { .. } | EkCertificateError::RevocationUnknown { .. })) => {
            verify(Tolerance {
                revoked: false,
                ..Tolerance::ALL
            })?;
            Some(lapsed)
        }
        Err(error) => return Err(error),
    };
    Ok(GenuineCertificate {
        facts: CertificateFacts {
            attributes: certificate.attributes.clone(),
            issuer: certificate.issuer.clone(),
            serial: certificate.serial.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            sha256: sha256(&certificate.der),
        },
        class: classify(&certificate.attributes, &certificate.issuer),
        chain: kept_form(certificate, &sent),
        lapsed,
        basis: Basis::new(certificate, &sent, trust, tolerate_expired, now),
    })
}

/// The certificate as it is kept, if its vendor made it, whether it was revoked since or not.
pub(crate) fn is_genuine(
    certificate: &EkCertificate,
    sent: &[Vec<u8>],
    trust: &Trust,
    now: SystemTime,
) -> Option<EkCertificateChain> {
    let sent = Intermediates::select(sent).ok()?;
    path::verify(certificate, &sent, trust, unix_seconds(now), Tolerance::ALL).ok()?;
    Some(kept_form(certificate, &sent))
}

fn kept_form(certificate: &EkCertificate, sent: &Intermediates<'_>) -> EkCertificateChain {
    EkCertificateChain {
        certificate: certificate.der.clone(),
        intermediates: sent.to_vecs(),
    }
}

/// A clock before 1970 counts as 1970: then nothing is valid yet.
fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
