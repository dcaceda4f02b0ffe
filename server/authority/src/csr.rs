//! Certification requests (PKCS#10, RFC 2986).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
};

use hallmark_der::{CertificationRequest, Reader, tag};

use crate::{AuthorityError, KeyType, SubjectKey};

/// The longest request that is read, in bytes. One for RSA-4096 with a full set of extensions has about 2,000.
pub const MAX_CSR_LEN: usize = 16 * 1024;

pub(crate) fn verified_key(der: &[u8]) -> Result<SubjectKey, AuthorityError> {
    if der.len() > MAX_CSR_LEN {
        return Err(AuthorityError::CsrTooLarge { len: der.len() });
    }
    let request = CertificationRequest::read(der).map_err(|_| AuthorityError::CsrMalformed)?;
    let key = SubjectKey::shaped(request.spki)?;
    let algorithm = algorithm(key.key_type(), request.algorithm.contents)
        .ok_or_else(|| AuthorityError::CsrAlgorithm { key: key.key_type() })?;
    key.parsed(algorithm)?
        .verify_sig(request.info, request.signature)
        .map_err(|_| AuthorityError::CsrSignature)?;
    Ok(key)
}

/// Reads an AlgorithmIdentifier's contents; the key and the algorithm have to fit.
fn algorithm(key: KeyType, identifier: &[u8]) -> Option<&'static dyn VerificationAlgorithm> {
    let mut reader = Reader::new(identifier);
    let oid = reader.take(tag::OID).ok()?.contents;
    let null_parameters = reader.take(tag::NULL).is_ok_and(|null| null.contents.is_empty());
    reader.end().ok()?;
    let algorithm: &'static dyn VerificationAlgorithm = match (key, null_parameters, oid) {
        (KeyType::EcP256, false, ECDSA_SHA256) => &ECDSA_P256_SHA256_ASN1,
        (KeyType::EcP256, false, ECDSA_SHA384) => &ECDSA_P256_SHA384_ASN1,
        (KeyType::EcP384, false, ECDSA_SHA256) => &ECDSA_P384_SHA256_ASN1,
        (KeyType::EcP384, false, ECDSA_SHA384) => &ECDSA_P384_SHA384_ASN1,
        (KeyType::Rsa { .. }, true, RSA_SHA256) => &RSA_PKCS1_2048_8192_SHA256,
        (KeyType::Rsa { .. }, true, RSA_SHA384) => &RSA_PKCS1_2048_8192_SHA384,
        (KeyType::Rsa { .. }, true, RSA_SHA512) => &RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    };
    Some(algorithm)
}

const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d];
