//! The certificate signing request: it must be signed by the SVID key and be for the SVID key.
//!
//! PKCS #10 (RFC 2986 4.1, 4.2) is read here by its tags, so that every byte of it is looked at or signed.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::CsrError;
use crate::fingerprint::{hex, sha256};
use hallmark_der::{self as der, DerFault};

/// A CSR with a P-256 key and a few names is under 1 KiB.
pub const MAX_CSR_BYTES: usize = 16 * 1024;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
const ATTRIBUTES: u8 = 0xa0;

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
    let request = read(csr).map_err(|fault| CsrError::NotPkcs10(fault.what.to_owned()))?;
    if request.spki != svid_spki {
        return Err(CsrError::OtherKey {
            svid_key: hex(&sha256(svid_spki)),
            csr_key: hex(&sha256(request.spki)),
        });
    }
    if request.algorithm != ECDSA_WITH_SHA256 {
        return Err(CsrError::Algorithm {
            actual: hex(request.algorithm),
        });
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, svid_point)
        .verify(request.info, request.signature)
        .map_err(|_| CsrError::Signature)
}

/// The parts that matter, each with its header, but the signature without.
struct Request<'a> {
    info: &'a [u8],
    spki: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// Reads a request whose encoding was checked before.
fn read(csr: &[u8]) -> Result<Request<'_>, DerFault> {
    let info = der::take(der::take(csr, SEQUENCE)?.contents, SEQUENCE)?;
    let algorithm = der::take(info.rest, SEQUENCE)?;
    let signature = der::take(algorithm.rest, BIT_STRING)?;
    let version = der::take(info.contents, INTEGER)?;
    let subject = der::take(version.rest, SEQUENCE)?;
    let spki = der::take(subject.rest, SEQUENCE)?;
    let attributes = der::take(spki.rest, ATTRIBUTES)?;
    let fault = |what| DerFault { offset: 0, what };
    if version.contents != [0] {
        return Err(fault("another version than 1"));
    }
    if !signature.rest.is_empty() || !attributes.rest.is_empty() {
        return Err(fault("elements that do not belong to it"));
    }
    let signature = signature
        .contents
        .strip_prefix(&[0])
        .ok_or(fault("a signature of broken bytes"))?;
    Ok(Request {
        info: info.whole,
        spki: spki.whole,
        algorithm: algorithm.whole,
        signature,
    })
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
            let _ = read(&bytes);
        }
    }
}
