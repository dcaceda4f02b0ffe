//! Certification requests (PKCS#10, RFC 2986).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
};

use hallmark_der::{DerFault, Reader, tag};

use crate::{AuthorityError, KeyType, SubjectKey};

/// The longest request that is read, in bytes. One for RSA-4096 with a full set of extensions has about 2,000.
pub const MAX_CSR_LEN: usize = 16 * 1024;

/// The `[0]` around a request's attributes.
const ATTRIBUTES: u8 = 0xa0;

struct Request<'a> {
    /// CertificationRequestInfo, whole: what is signed.
    info: &'a [u8],
    spki: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

pub(crate) fn verified_key(der: &[u8]) -> Result<SubjectKey, AuthorityError> {
    if der.len() > MAX_CSR_LEN {
        return Err(AuthorityError::CsrTooLarge { len: der.len() });
    }
    let request = read(der).map_err(|_| AuthorityError::CsrMalformed)?;
    let key = SubjectKey::shaped(request.spki)?;
    let algorithm = algorithm(key.key_type(), request.algorithm)
        .ok_or_else(|| AuthorityError::CsrAlgorithm { key: key.key_type() })?;
    key.parsed(algorithm)?
        .verify_sig(request.info, request.signature)
        .map_err(|_| AuthorityError::CsrSignature)?;
    Ok(key)
}

fn read(der: &[u8]) -> Result<Request<'_>, DerFault> {
    let mut reader = Reader::new(der);
    let request = reader.inside(tag::SEQUENCE, |request| {
        let info = request.take(tag::SEQUENCE)?;
        let spki = read_info(info.contents)?;
        Ok(Request {
            info: info.whole,
            spki,
            algorithm: request.take(tag::SEQUENCE)?.contents,
            signature: request.bits()?,
        })
    })?;
    reader.end()?;
    Ok(request)
}

/// The key; subject and attributes are skipped, since no decision hangs on them.
fn read_info(info: &[u8]) -> Result<&[u8], DerFault> {
    let mut info = Reader::new(info);
    let fault = info.fault("another version than 1");
    if info.take(tag::INTEGER)?.contents != [0] {
        return Err(fault);
    }
    info.take(tag::SEQUENCE)?;
    let spki = info.take(tag::SEQUENCE)?.whole;
    info.take(ATTRIBUTES)?;
    info.end()?;
    Ok(spki)
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
