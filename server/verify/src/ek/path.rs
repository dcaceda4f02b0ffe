//! The way from an EK certificate to a pinned root.
//!
//! Path building is webpki's. Added here is what it leaves out: key usage of intermediates, the path length constraint
//! of the anchor, a tighter bound on the work, and the rule for expired certificates.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, KeyUsage, RevocationOptions, VerifiedPath, aws_lc_rs as algorithms};

use super::EkCertificateError;
use super::certificate::EkCertificate;
use super::envelope;
use crate::trust::{
    EkRoots, Trust,
    authority::{self, CaFacts},
    revocation,
};

/// Intermediates that are looked at; vendors' chains have one or two.
pub const MAX_INTERMEDIATES: usize = 8;
/// Intermediates of one name that are looked at. The number of possible paths grows with it as a power.
const MAX_SAME_SUBJECT: usize = 2;

/// tcg-kp-EKCertificate, 2.23.133.8.1, as DER contents.
const EK_CERTIFICATE_USAGE: [u8; 5] = [0x67, 0x81, 0x05, 0x08, 0x01];

/// No SHA-1, no RSA under 2048 bits, no curve but the NIST ones.
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 18] = [
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    algorithms::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    algorithms::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
];

/// What is overlooked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tolerance {
    /// That a path has expired.
    pub(crate) expired: bool,
    /// That no fresh revocation list covers it, where that is required.
    pub(crate) uncovered: bool,
    /// That a list revokes it.
    pub(crate) revoked: bool,
}

impl Tolerance {
    pub(crate) const NONE: Self = Self {
        expired: false,
        uncovered: false,
        revoked: false,
    };
    pub(crate) const ALL: Self = Self {
        expired: true,
        uncovered: true,
        revoked: true,
    };
}

/// Verifies that `certificate` leads to one of the pinned roots, at `now` (Unix seconds), and that no
/// revocation list at hand speaks against it.
///
/// Where expiry is tolerated, a path that has expired is taken as it was at the end, else at the begin of the certificate's
/// own validity; both lie before `now`, so nothing that is not yet valid can pass this way.
///
/// # Errors
/// [`EkCertificateError`]: no path, or the rule that the most promising path breaks.
pub(crate) fn verify(
    certificate: &EkCertificate,
    sent: &Intermediates<'_>,
    trust: &Trust,
    now: u64,
    tolerance: Tolerance,
) -> Result<(), EkCertificateError> {
    let Intermediates { usable, left_out, .. } = sent;
    let untrusted = || EkCertificateError::UntrustedIssuer {
        issuer: certificate.issuer.clone(),
        left_out: left_out.clone(),
    };
    let unknown = || EkCertificateError::RevocationUnknown {
        issuer: certificate.issuer.clone(),
    };
    let verify_at = |time| {
        if tolerance.revoked {
            return verify_at(certificate, usable, &trust.roots, None, time);
        }
        let mut verdict = Ok(());
        for lists in trust.revocation.choices() {
            let required = trust.revocation.required && !tolerance.uncovered;
            verdict = verify_under(certificate, usable, trust, &lists, required, (now, time));
            // Where a list is not its issuer's own, the one behind it counts.
            if !verdict.as_ref().is_err_and(is_no_list) {
                break;
            }
        }
        verdict
    };
    let coded = |error| coded(error, now, untrusted, unknown);
    let first = verify_at(now);
    let Err(webpki::Error::CertExpired { not_after, .. }) = first else {
        return first.map_err(coded);
    };
    if tolerance.expired {
        let earlier = [certificate.not_after, certificate.not_before].map(u64::try_from);
        let passed = earlier.into_iter().flatten().filter(|time| *time <= now);
        for time in passed {
            match verify_at(time) {
                Ok(()) => return Ok(()),
                Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {}
                Err(error) => return Err(coded(error)),
            }
        }
    }
    Err(EkCertificateError::Expired {
        not_after: not_after.as_secs(),
        now,
    })
}

/// What any list revokes is revoked; that nothing revokes it only a fresh list can say.
fn verify_under(
    certificate: &EkCertificate,
    intermediates: &[CertificateDer<'_>],
    trust: &Trust,
    lists: &revocation::Choice<'_>,
    required: bool,
    (now, time): (u64, u64),
) -> Result<(), webpki::Error> {
    let all = lists.all();
    let revoked = revocation::options(&all, false);
    verify_at(certificate, intermediates, &trust.roots, revoked, time)?;
    if !required {
        return Ok(());
    }
    let fresh = lists.fresh(now);
    let covered = revocation::options(&fresh, true).ok_or(webpki::Error::UnknownRevocationStatus)?;
    verify_at(certificate, intermediates, &trust.roots, Some(covered), time)
}

fn verify_at(
    certificate: &EkCertificate,
    intermediates: &[CertificateDer<'_>],
    roots: &EkRoots,
    revocation: Option<RevocationOptions<'_>>,
    time: u64,
) -> Result<(), webpki::Error> {
    let der = CertificateDer::from(certificate.der.as_slice());
    let leaf = EndEntityCert::try_from(&der)?;
    let within_anchors_limit = |path: &VerifiedPath<'_>| {
        if roots.allows(path.anchor(), path.intermediate_certificates().count()) {
            Ok(())
        } else {
            Err(webpki::Error::PathLenConstraintViolated)
        }
    };
    leaf.verify_for_usage(
        &ALGORITHMS,
        roots.anchors(),
        intermediates,
        UnixTime::since_unix_epoch(Duration::from_secs(time)),
        KeyUsage::required_if_present(&EK_CERTIFICATE_USAGE),
        revocation,
        Some(&within_anchors_limit),
    )
    .map(|_| ())
}

/// Those of the certificates that were sent with an EK certificate that can be a CA's at all.
pub(crate) struct Intermediates<'a> {
    usable: Vec<CertificateDer<'a>>,
    validity: Vec<[i64; 2]>,
    left_out: String,
}

impl<'a> Intermediates<'a> {
    /// Keeps the sent certificates that can be a CA's at all. What else NV memory holds is left out, not refused: leaving a
    /// certificate out can only make a path impossible.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn select(sent: &'a [Vec<u8>]) -> Result<Self, EkCertificateError> {
        if sent.len() > MAX_INTERMEDIATES {
            return Err(EkCertificateError::TooManyIntermediates {
                limit: MAX_INTERMEDIATES,
                actual: sent.len(),
            });
        }
        let mut subjects: Vec<Vec<u8>> = Vec::new();
        let mut selected = Self {
            usable: Vec::new(),
            validity: Vec::new(),
            left_out: String::new(),
        };
        for (index, nv) in sent.iter().enumerate() {
            match usable(nv, &subjects) {
                Ok((_, der)) if selected.usable.iter().any(|other| other.as_ref() == der) => {}
                Ok((facts, der)) => {
                    subjects.push(facts.subject);
                    selected.validity.push(facts.validity);
                    selected.usable.push(CertificateDer::from(der));
                }
                Err(reason) => selected
                    .left_out
                    .push_str(&format!("; intermediate {index} left out: {reason}")),
            }
        }
        Ok(selected)
    }

    /// When they begin and end, in Unix seconds.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        self.validity.iter().flatten().copied()
    }

    /// Each, DER, without wrapper and padding.
    pub(crate) fn to_vecs(&self) -> Vec<Vec<u8>> {
        self.usable.iter().map(|der| der.to_vec()).collect()
    }
}

fn usable<'a>(nv: &'a [u8], subjects: &[Vec<u8>]) -> Result<(CaFacts, &'a [u8]), String> {
    let der = envelope::open(nv).map_err(|error| error.to_string())?;
    let facts = authority::read(der)?;
    if subjects.iter().filter(|subject| **subject == facts.subject).count() >= MAX_SAME_SUBJECT {
        return Err("too many certificates of one name".to_owned());
    }
    Ok((facts, der))
}

/// Whether the fault is a list's: not signed by the issuer, or by one that may not sign lists.
#[expect(deprecated, reason = "the older names of two errors are still in the enumeration")]
const fn is_no_list(error: &webpki::Error) -> bool {
    use webpki::Error;
    matches!(
        error,
        Error::InvalidCrlSignatureForPublicKey
            | Error::IssuerNotCrlSigner
            | Error::InvalidCrlNumber
            | Error::UnsupportedCrlSignatureAlgorithm
            | Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKey
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
    )
}

fn coded(
    error: webpki::Error,
    now: u64,
    untrusted: impl Fn() -> EkCertificateError,
    unknown: impl Fn() -> EkCertificateError,
) -> EkCertificateError {
    use webpki::Error;
    match error {
        Error::CertExpired { not_after, .. } => EkCertificateError::Expired {
            not_after: not_after.as_secs(),
            now,
        },
        Error::CertNotValidYet { not_before, .. } => EkCertificateError::NotYetValid {
            not_before: not_before.as_secs(),
            now,
        },
        Error::UnknownIssuer => untrusted(),
        Error::InvalidSignatureForPublicKey => EkCertificateError::ChainSignature,
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            EkCertificateError::ChainAlgorithm
        }
        Error::CertRevoked => EkCertificateError::Revoked,
        Error::UnknownRevocationStatus => unknown(),
        error if is_no_list(&error) => EkCertificateError::RevocationList(error.to_string()),
        Error::PathLenConstraintViolated => EkCertificateError::PathLength,
        Error::MaximumSignatureChecksExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => EkCertificateError::TooMuchWork,
        other => EkCertificateError::Path(other.to_string()),
    }
}
