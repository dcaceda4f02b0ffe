//! The key inside an EK certificate, in canonical form.
//!
//! Vendors write the same RSA key under rsaEncryption or under id-RSAES-OAEP; the TPM's own public area knows no such
//! difference. Both are turned into one SPKI: rsaEncryption with NULL, or id-ecPublicKey with a named curve and an
//! uncompressed point.

use x509_parser::x509::SubjectPublicKeyInfo;

use super::EkCertificateError;
use super::certificate::RequiredUsage;
use hallmark_der as der;

const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const RSAES_OAEP: &str = "1.2.840.113549.1.1.7";
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";

/// Named curves accepted: P-256, P-384, P-521, each with the length of its uncompressed point.
const CURVES: [(&str, usize); 3] = [("1.2.840.10045.3.1.7", 65), ("1.3.132.0.34", 97), ("1.3.132.0.35", 133)];

/// A certified key and how it may be used.
#[derive(Debug)]
pub(super) struct CertifiedKey {
    required: RequiredUsage,
    spki: Vec<u8>,
}

impl CertifiedKey {
    pub(super) const fn required_usage(&self) -> RequiredUsage {
        self.required
    }

    pub(super) fn into_canonical_spki(self) -> Vec<u8> {
        self.spki
    }
}

/// Reads the key of a certificate.
///
/// # Errors
/// [`EkCertificateError::Key`] if the algorithm, curve or encoding is not accepted.
pub(super) fn read(spki: &SubjectPublicKeyInfo<'_>) -> Result<CertifiedKey, EkCertificateError> {
    match spki.algorithm.algorithm.to_id_string().as_str() {
        RSA_ENCRYPTION | RSAES_OAEP => rsa(spki),
        EC_PUBLIC_KEY => ecc(spki),
        _ => Err(EkCertificateError::Key("neither RSA nor ECC")),
    }
}

fn rsa(spki: &SubjectPublicKeyInfo<'_>) -> Result<CertifiedKey, EkCertificateError> {
    let inner: &[u8] = &spki.subject_public_key.data;
    // The bit string hides its contents from the walk over the certificate, so it is walked on its own.
    der::check(inner).map_err(EkCertificateError::NotDer)?;
    if spki.subject_public_key.unused_bits != 0 {
        return Err(EkCertificateError::Key("not an RSA public key"));
    }
    let bits = rsa_bits(modulus(inner).ok_or(EkCertificateError::Key("not an RSA public key"))?);
    if bits < 2048 {
        return Err(EkCertificateError::Key("RSA of less than 2048 bits"));
    }
    Ok(CertifiedKey {
        required: RequiredUsage::KeyEncipherment,
        spki: der::rsa_spki_of(inner),
    })
}

fn rsa_bits(modulus: &[u8]) -> usize {
    let mut significant = modulus.iter().skip_while(|byte| **byte == 0);
    let Some(first) = significant.next() else {
        return 0;
    };
    let first_bits = usize::try_from(u8::BITS - first.leading_zeros()).unwrap_or(0);
    significant.count() * 8 + first_bits
}

/// The first INTEGER of RSAPublicKey (RFC 8017 A.1.1), already known to be DER.
fn modulus(rsa_public_key: &[u8]) -> Option<&[u8]> {
    use x509_parser::asn1_rs::{Any, FromDer, Integer, Sequence};
    let (rest, sequence) = Sequence::from_der(rsa_public_key).ok()?;
    let contents: &[u8] = match &sequence.content {
        std::borrow::Cow::Borrowed(contents) => contents,
        std::borrow::Cow::Owned(_) => return None,
    };
    let (after_modulus, modulus) = Any::from_der(contents).ok()?;
    let (after_exponent, _exponent) = Integer::from_der(after_modulus).ok()?;
    (rest.is_empty() && after_exponent.is_empty() && modulus.tag() == x509_parser::asn1_rs::Tag::Integer)
        .then_some(modulus.data)
}

fn ecc(spki: &SubjectPublicKeyInfo<'_>) -> Result<CertifiedKey, EkCertificateError> {
    let curve = spki
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok())
        .ok_or(EkCertificateError::Key("ECC without a named curve"))?
        .to_id_string();
    let (_, point_len) = CURVES
        .iter()
        .find(|(oid, _)| *oid == curve)
        .ok_or(EkCertificateError::Key("ECC on another curve than a NIST one"))?;
    let point: &[u8] = &spki.subject_public_key.data;
    if point.first() != Some(&0x04) || point.len() != *point_len {
        return Err(EkCertificateError::Key("ECC point that is not uncompressed"));
    }
    // Named curve, uncompressed point, DER throughout: the certificate's own bytes are the canonical form.
    Ok(CertifiedKey {
        required: RequiredUsage::KeyAgreement,
        spki: spki.raw.to_vec(),
    })
}
