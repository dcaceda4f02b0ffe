//! What an authority above has signed, verified: nothing of its answer is believed before.
//!
//! Relying parties get our certificate and those above it as intermediates, and trust the root. So everything that path validation asks
//! (RFC 5280, section 6; X509-SVID, sections 3 to 5) is asked here once, and strictly: what one of them might not take is not taken.

mod error;

use std::time::SystemTime;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
};
use hallmark_spiffe::{
    TrustDomain,
    x509::{self, ProfileError},
};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

pub use error::{UpstreamAnswerError, Which};

use crate::{
    KeyType, SubjectKey, X509Authority,
    authority::{path_len, subject_key_id},
    validity,
};

/// The most certificates that an authority above may put between a leaf's issuer and the root, that issuer included.
pub const MAX_UPSTREAM_CHAIN: usize = 4;
/// The most roots in an answer.
pub const MAX_ROOTS_IN_ANSWER: usize = 16;
/// The longest certificate in an answer, in bytes.
pub const MAX_UPSTREAM_CERTIFICATE_LEN: usize = 16 * 1024;

/// `nameConstraints`: what clients make of it for URIs differs.
const NAME_CONSTRAINTS: &str = "2.5.29.30";
/// Extensions whose meaning is checked here, and that may be critical: Key Usage, alternative names, Basic Constraints, Extended Key
/// Usage.
const UNDERSTOOD: [&str; 4] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37"];

/// Verifies an answer: `chain` (DER) begins with the certificate of the key `spki` (DER SubjectPublicKeyInfo), each is signed by the
/// next, and the last by one of `roots`. Gives what stands above the first: the others of the chain, and that root.
///
/// # Errors
/// The first rule that is broken.
pub fn verify_upstream(
    chain: &[Vec<u8>],
    roots: &[Vec<u8>],
    spki: &[u8],
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Vec<Vec<u8>>, UpstreamAnswerError> {
    require_count("certificates", chain.len(), MAX_UPSTREAM_CHAIN)?;
    let roots = verify_roots(roots, trust_domain, now)?;
    let now = unix(now)?;
    let mut path = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        path.push(Link::read(Which::Chain(index), der)?);
    }
    let own = path.first().ok_or(UpstreamAnswerError::Bounds {
        what: "certificates",
        found: 0,
        most: MAX_UPSTREAM_CHAIN,
    })?;
    if own.x509.public_key().raw != spki {
        return Err(UpstreamAnswerError::OtherKey);
    }
    let profile = |which| move |source| UpstreamAnswerError::Profile { which, source };
    x509::lint_signing(own.der, trust_domain).map_err(profile(own.which))?;
    for (below, link) in path.iter().enumerate() {
        x509::check_signing(link.der).map_err(profile(link.which))?;
        x509::check_authority(link.der, trust_domain).map_err(profile(link.which))?;
        link.check(now)?;
        link.allow_below(below)?;
    }
    for (link, above) in path.iter().zip(path.iter().skip(1)) {
        link.require_signed_by(above)?;
        require_within(own, above)?;
    }
    let last = path.last().unwrap_or(own);
    let root = under(last, &roots)?;
    root.allow_below(path.len())?;
    require_within(own, &root)?;
    X509Authority::from_certificate(own.der, trust_domain).map_err(UpstreamAnswerError::Certificate)?;
    let above = path.iter().skip(1).map(|link| link.der.to_vec());
    Ok(above.chain([root.der.to_vec()]).collect())
}

/// Verifies roots (DER): each is a self-signed CA, for this trust domain or for none, with a key and a signature that are strong enough.
/// Gives those that are valid now; authorities above often say one that has ended for a while.
///
/// # Errors
/// The first rule that is broken; and where none is valid now.
pub fn verify_roots(
    roots: &[Vec<u8>],
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Vec<Vec<u8>>, UpstreamAnswerError> {
    require_count("roots", roots.len(), MAX_ROOTS_IN_ANSWER)?;
    let now = unix(now)?;
    let mut valid: Vec<Vec<u8>> = Vec::new();
    let mut ended = None;
    for (index, der) in roots.iter().enumerate() {
        let which = Which::Root(index);
        let root = Link::read(which, der)?;
        let profile = |source| UpstreamAnswerError::Profile { which, source };
        x509::check_authority(der, trust_domain).map_err(profile)?;
        let is_self_signed = root.x509.subject().as_raw() == root.x509.issuer().as_raw();
        match root.require_signed_by(&root) {
            Ok(()) => {}
            Err(error @ UpstreamAnswerError::Algorithm { .. }) if is_self_signed => return Err(error),
            Err(_) => return Err(UpstreamAnswerError::NotSelfSigned { which }),
        }
        match root.check(now) {
            Ok(()) => valid.push(der.clone()),
            Err(error @ UpstreamAnswerError::NotValid { .. }) => ended = Some(error),
            Err(error) => return Err(error),
        }
    }
    match ended {
        Some(error) if valid.is_empty() => Err(error),
        _ => Ok(valid),
    }
}

/// The root that signed this one.
fn under<'a>(last: &Link<'_>, roots: &'a [Vec<u8>]) -> Result<Link<'a>, UpstreamAnswerError> {
    for (index, der) in roots.iter().enumerate() {
        let root = Link::read(Which::Root(index), der)?;
        if last.require_signed_by(&root).is_ok() {
            return Ok(root);
        }
    }
    Err(UpstreamAnswerError::NotSigned { which: last.which })
}

fn require_count(what: &'static str, found: usize, most: usize) -> Result<(), UpstreamAnswerError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(UpstreamAnswerError::Bounds { what, found, most })
}

fn unix(now: SystemTime) -> Result<i64, UpstreamAnswerError> {
    validity::unix(now).map_err(UpstreamAnswerError::Certificate)
}

/// A certificate of the answer.
struct Link<'a> {
    which: Which,
    der: &'a [u8],
    x509: X509Certificate<'a>,
    key: SubjectKey,
}

impl<'a> Link<'a> {
    fn read(which: Which, der: &'a [u8]) -> Result<Self, UpstreamAnswerError> {
        if der.len() > MAX_UPSTREAM_CERTIFICATE_LEN {
            return Err(UpstreamAnswerError::Bounds {
                what: "bytes of a certificate",
                found: der.len(),
                most: MAX_UPSTREAM_CERTIFICATE_LEN,
            });
        }
        let malformed = |what: &str| UpstreamAnswerError::Profile {
            which,
            source: ProfileError::Malformed { what: what.to_owned() },
        };
        let (rest, x509) = X509Certificate::from_der(der).map_err(|cause| malformed(&cause.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes after the certificate"));
        }
        if x509.subject().iter_rdn().next().is_none() {
            return Err(malformed("it has no subject"));
        }
        if subject_key_id(&x509).is_none() {
            return Err(malformed("it has no subject key identifier"));
        }
        let key = SubjectKey::from_spki(x509.public_key().raw);
        let key = key.map_err(|source| UpstreamAnswerError::Key { which, source })?;
        Ok(Self { which, der, x509, key })
    }

    /// Its time and its extensions.
    fn check(&self, now: i64) -> Result<(), UpstreamAnswerError> {
        let (which, validity) = (self.which, self.x509.validity());
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        if now < not_before || now >= not_after {
            return Err(UpstreamAnswerError::NotValid {
                which,
                now,
                not_before,
                not_after,
            });
        }
        for extension in self.x509.extensions() {
            let oid = extension.oid.to_id_string();
            let for_other_use = match extension.parsed_extension() {
                ParsedExtension::ExtendedKeyUsage(usage) => !(usage.server_auth && usage.client_auth),
                _ => false,
            };
            let unknown = extension.critical && !UNDERSTOOD.contains(&oid.as_str());
            if oid == NAME_CONSTRAINTS || unknown || for_other_use {
                return Err(UpstreamAnswerError::Extension { which, oid });
            }
        }
        Ok(())
    }

    /// Whether it allows so many authorities below it.
    fn allow_below(&self, below: usize) -> Result<(), UpstreamAnswerError> {
        match path_len(&self.x509) {
            Some(most) if usize::try_from(most).is_ok_and(|most| most < below) => {
                Err(UpstreamAnswerError::PathLength {
                    which: self.which,
                    most,
                    below,
                })
            }
            _ => Ok(()),
        }
    }

    fn require_signed_by(&self, above: &Link<'_>) -> Result<(), UpstreamAnswerError> {
        let which = self.which;
        let oid = self.x509.signature_algorithm.algorithm.to_id_string();
        let algorithm = verification(above.key.key_type(), &oid);
        let algorithm = algorithm.filter(|_| self.x509.signature_algorithm == self.x509.tbs_certificate.signature);
        let algorithm = algorithm.ok_or(UpstreamAnswerError::Algorithm { which, oid })?;
        let is_named = self.x509.issuer().as_raw() == above.x509.subject().as_raw();
        let verifies = above.key.parsed(algorithm).is_ok_and(|key| {
            key.verify_sig(self.x509.tbs_certificate.as_ref(), &self.x509.signature_value.data)
                .is_ok()
        });
        if is_named && verifies {
            return Ok(());
        }
        Err(UpstreamAnswerError::NotSigned { which })
    }
}

/// That `own` ends no later than `above`: until its end it signs what has to verify.
fn require_within(own: &Link<'_>, above: &Link<'_>) -> Result<(), UpstreamAnswerError> {
    let end = |link: &Link<'_>| link.x509.validity().not_after.timestamp();
    let (ends, above_ends) = (end(own), end(above));
    if ends <= above_ends {
        return Ok(());
    }
    Err(UpstreamAnswerError::Outlives {
        above: above.which,
        ends,
        above_ends,
    })
}

/// What verifies a signature of this algorithm by a key of this kind; `None` where it is not strong enough, or another key's.
fn verification(key: KeyType, oid: &str) -> Option<&'static dyn VerificationAlgorithm> {
    let algorithm: &'static dyn VerificationAlgorithm = match (key, oid) {
        (KeyType::EcP256, "1.2.840.10045.4.3.2") => &ECDSA_P256_SHA256_ASN1,
        (KeyType::EcP256, "1.2.840.10045.4.3.3") => &ECDSA_P256_SHA384_ASN1,
        (KeyType::EcP384, "1.2.840.10045.4.3.2") => &ECDSA_P384_SHA256_ASN1,
        (KeyType::EcP384, "1.2.840.10045.4.3.3") => &ECDSA_P384_SHA384_ASN1,
        (KeyType::Rsa { .. }, "1.2.840.113549.1.1.11") => &RSA_PKCS1_2048_8192_SHA256,
        (KeyType::Rsa { .. }, "1.2.840.113549.1.1.12") => &RSA_PKCS1_2048_8192_SHA384,
        (KeyType::Rsa { .. }, "1.2.840.113549.1.1.13") => &RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    };
    Some(algorithm)
}
