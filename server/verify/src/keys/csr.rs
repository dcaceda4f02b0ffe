//! The certificate signing request: it must be signed by the SVID key and be for the SVID key.
//!
//! PKCS #10 (RFC 2986 4.1, 4.2) is read here by its tags, so that every byte of it is looked at or signed.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::CsrError;
use crate::fingerprint::{hex, sha256};
use hallmark_der::{self as der, CertificationRequest};

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
    let request = CertificationRequest::read(csr).map_err(|fault| CsrError::NotPkcs10(fault.what.to_owned()))?;
    if request.spki != svid_spki {
        return Err(CsrError::OtherKey {
            svid_key: hex(&sha256(svid_spki)),
            csr_key: hex(&sha256(request.spki)),
        });
    }
    if request.algorithm.whole != ECDSA_WITH_SHA256 {
        return Err(CsrError::Algorithm {
            actual: hex(request.algorithm.whole),
        });
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, svid_point)
        .verify(request.info, request.signature)
        .map_err(|_| CsrError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    /// What the agent's library writes, with and without names.
    #[test]
    fn a_library_made_request_is_read() {
        let key = KeyPair::generate().unwrap();
        let spki = key.subject_public_key_info();
        for names in [vec![], vec!["a.example.org".to_owned()]] {
            let params = CertificateParams::new(names).unwrap();
            let csr = params.serialize_request(&key).unwrap();
            verify(csr.der(), &spki, key.der_bytes()).unwrap();
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = verify(&bytes, &[], &[]);
        }
    }
}
