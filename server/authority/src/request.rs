//! The certification request of an authority, for the one above it (PKCS#10, RFC 2986).

use hallmark_der::{self as der, tag};
use hallmark_spiffe::TrustDomain;

use crate::{AuthorityError, Serial, SignatureAlgorithm, SubjectKey, csr, extensions, name};

/// `extensionRequest` (RFC 2985, section 5.4.2).
const EXTENSION_REQUEST: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// Version 1, which is encoded as 0.
const VERSION: &[u8] = &[0x02, 0x01, 0x00];
/// The `[0]` around a request's attributes.
const ATTRIBUTES: u8 = 0xa0;

/// An authority's certification request that lacks its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestDraft {
    tbs: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

/// Prepares the request of an authority of `trust_domain` with the key `spki` (DER SubjectPublicKeyInfo): it asks for the URI name
/// `spiffe://<trust domain>`, keyCertSign and cRLSign, and cA. `number` tells its subject from those of other authorities.
///
/// # Errors
/// When the key is of a kind that is not used here.
pub fn prepare_request(
    trust_domain: &TrustDomain,
    spki: &[u8],
    number: Serial,
) -> Result<RequestDraft, AuthorityError> {
    let key = SubjectKey::from_spki(spki)?;
    let wanted = der::element(tag::SET, &[&extensions::requested(&trust_domain.id())]);
    let attribute = der::element(tag::SEQUENCE, &[EXTENSION_REQUEST, &wanted]);
    let tbs = der::sequence(&[
        VERSION,
        &name::authority(number),
        key.spki(),
        &der::element(ATTRIBUTES, &[&attribute]),
    ]);
    Ok(RequestDraft {
        tbs,
        algorithm: SignatureAlgorithm::of(key.key_type()),
    })
}

impl RequestDraft {
    /// The bytes to be signed (CertificationRequestInfo, RFC 2986, section 4.1).
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Puts the request (DER) together, and verifies it as its reader would.
    ///
    /// # Errors
    /// When the signature is not one of the key.
    pub fn seal(self, signature: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        self.algorithm.check_form(signature)?;
        let request = der::sequence(&[&self.tbs, self.algorithm.identifier(), &der::bit_string(signature)]);
        csr::verified_key(&request)?;
        Ok(request)
    }
}
