//! The certificate signing request: it must be signed by the SVID key and be for the SVID key.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::CsrError;
use crate::der;
use crate::fingerprint::{hex, sha256};

/// A CSR with a P-256 key and a few names is under 1 KiB.
pub const MAX_CSR_BYTES: usize = 16 * 1024;

/// AlgorithmIdentifier ecdsa-with-SHA256 without parameters (RFC 5758 3.2), DER.
const ECDSA_WITH_SHA256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Verifies that `csr` asks for the key `svid_spki` (canonical SPKI, DER; uncompressed point `svid_point`) and is signed
/// by it. Names in the CSR are not looked at: the server gives the name.
///
/// # Errors
/// [`CsrError`] with what is wrong.
pub(crate) fn verify(csr: &[u8], svid_spki: &[u8], svid_point: &[u8]) -> Result<(), CsrError> {
    if csr.len() > MAX_CSR_BYTES {
        return Err(CsrError::TooLarge {
            limit: MAX_CSR_BYTES,
            actual: csr.len(),
        });
    }
    der::check(csr).map_err(CsrError::NotDer)?;
    let (_, request) =
        X509CertificationRequest::from_der(csr).map_err(|error| CsrError::NotPkcs10(error.to_string()))?;
    let info = &request.certification_request_info;
    if info.subject_pki.raw != svid_spki {
        return Err(CsrError::OtherKey {
            svid_key: hex(&sha256(svid_spki)),
            csr_key: hex(&sha256(info.subject_pki.raw)),
        });
    }
    // Compared as bytes: the parser is not strict about how an identifier is tagged.
    let after_info = der::contents(csr).map_err(CsrError::NotDer)?.get(info.raw.len()..);
    if !after_info.is_some_and(|rest| rest.starts_with(&ECDSA_WITH_SHA256)) {
        let actual = request.signature_algorithm.algorithm.to_id_string();
        return Err(CsrError::Algorithm { actual });
    }
    if request.signature_value.unused_bits != 0 {
        return Err(CsrError::Signature);
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, svid_point)
        .verify(info.raw, &request.signature_value.data)
        .map_err(|_| CsrError::Signature)
}
