//! Keys that may have signed files.

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
};
use hallmark_der::SectionKind;
use hallmark_tpm_wire::HashAlg;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::FileSignature;
use crate::fingerprint::{hex, sha256};
use hallmark_der as der;

/// The most keys of one set.
const MAX_KEYS: usize = 256;

/// Keys that may have signed files. They are pinned: no chain is built, and no period of validity is looked at, for
/// files outlive the certificates of those who signed them. Taking a key out is how it is revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImaKeys(Vec<ImaKey>);

/// A key that may have signed files.
#[derive(Clone)]
pub struct ImaKey {
    id: [u8; 4],
    sha256: String,
    /// One for each hash.
    parsed: [ParsedPublicKey; 3],
}

/// What a key says of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureVerdict<'a> {
    /// This key made it, over what it must be over.
    Valid(&'a ImaKey),
    /// No key of the set has its key id.
    UnknownKey,
    /// Keys of the set have its key id, and none of them made it over this.
    Bad,
}

/// Why a text is no key that may sign files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImaKeyError {
    /// No PEM, or something else than certificates and public keys in it.
    #[error("{0}")]
    NotPem(String),
    /// The certificate or key cannot be read.
    #[error("no certificate or public key: {0}")]
    Malformed(String),
    /// A key of another type, or too short a one.
    #[error("{0} cannot sign files: RSA with 2048 to 8192 bits, P-256 or P-384 is needed")]
    Unfit(String),
    /// Too many keys.
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
}

impl ImaKeys {
    /// Adds the certificates and public keys of a PEM text; a key that is there already is not added again.
    ///
    /// # Errors
    /// [`ImaKeyError`]. Nothing of the text is added then.
    pub fn add_pem(&mut self, text: &str) -> Result<(), ImaKeyError> {
        let mut added = Vec::new();
        let sections = hallmark_der::sections(text.as_bytes());
        for (kind, der) in sections.map_err(|error| ImaKeyError::NotPem(format!("no PEM: {error}")))? {
            added.push(match kind {
                SectionKind::Certificate => ImaKey::of_certificate(&der)?,
                SectionKind::PublicKey => ImaKey::of_spki(&der)?,
                other => {
                    return Err(ImaKeyError::NotPem(format!(
                        "neither certificate nor public key: {other:?}"
                    )));
                }
            });
        }
        if added.is_empty() {
            return Err(ImaKeyError::NotPem("no certificate or public key in PEM".to_owned()));
        }
        for key in added {
            if !self.0.contains(&key) {
                self.0.push(key);
            }
        }
        if self.0.len() > MAX_KEYS {
            return Err(ImaKeyError::TooMany);
        }
        Ok(())
    }

    /// Adds the keys of another set.
    pub fn extend(&mut self, other: &Self) {
        for key in &other.0 {
            if !self.0.contains(key) {
                self.0.push(key.clone());
            }
        }
    }

    /// The keys, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &ImaKey> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these keys made the signature.
    #[must_use]
    pub fn verify(&self, signature: &FileSignature) -> SignatureVerdict<'_> {
        let mut verdict = SignatureVerdict::UnknownKey;
        // Four bytes name a key, but do not tell two of them apart for sure.
        for key in self.0.iter().filter(|key| key.id == signature.key_id) {
            if key.made(signature) {
                return SignatureVerdict::Valid(key);
            }
            verdict = SignatureVerdict::Bad;
        }
        verdict
    }
}

impl ImaKey {
    /// The id by which signatures name it: the last four bytes of its subject key identifier.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// SHA-256 of its SPKI, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    fn of_certificate(bytes: &[u8]) -> Result<Self, ImaKeyError> {
        der::check(bytes).map_err(|fault| ImaKeyError::Malformed(fault.to_string()))?;
        let (_, certificate) =
            X509Certificate::from_der(bytes).map_err(|error| ImaKeyError::Malformed(error.to_string()))?;
        let stated = certificate
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => id.0.last_chunk().copied(),
                _ => None,
            });
        Self::new(certificate.public_key(), stated)
    }

    fn of_spki(bytes: &[u8]) -> Result<Self, ImaKeyError> {
        der::check(bytes).map_err(|fault| ImaKeyError::Malformed(fault.to_string()))?;
        let (_, spki) =
            SubjectPublicKeyInfo::from_der(bytes).map_err(|error| ImaKeyError::Malformed(error.to_string()))?;
        Self::new(&spki, None)
    }

    /// Without a stated identifier it is that of RFC 5280 4.2.1.2 (1), as the kernel and those who sign have it.
    fn new(spki: &SubjectPublicKeyInfo<'_>, stated: Option<[u8; 4]>) -> Result<Self, ImaKeyError> {
        let key = &spki.subject_public_key.data;
        let unfit = |what: &str| ImaKeyError::Unfit(what.to_owned());
        let algorithm = &spki.algorithm.algorithm;
        let curve = spki.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let algorithms: [&'static dyn VerificationAlgorithm; 3] = if *algorithm == OID_PKCS1_RSAENCRYPTION {
            match spki.parsed() {
                Ok(PublicKey::RSA(rsa)) if (2048..=8192).contains(&rsa.key_size()) => {}
                _ => return Err(unfit("an RSA key of this length")),
            }
            [
                &RSA_PKCS1_2048_8192_SHA256,
                &RSA_PKCS1_2048_8192_SHA384,
                &RSA_PKCS1_2048_8192_SHA512,
            ]
        } else if *algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return Err(unfit("a key of this type"));
        } else if curve.as_ref() == Some(&OID_EC_P256) {
            [
                &ECDSA_P256_SHA256_ASN1,
                &ECDSA_P256_SHA384_ASN1,
                &ECDSA_P256_SHA512_ASN1,
            ]
        } else if curve.as_ref() == Some(&OID_NIST_EC_P384) {
            [
                &ECDSA_P384_SHA256_ASN1,
                &ECDSA_P384_SHA384_ASN1,
                &ECDSA_P384_SHA512_ASN1,
            ]
        } else {
            return Err(unfit("a key of this curve"));
        };
        let parse = |algorithm| ParsedPublicKey::new(algorithm, key.as_ref());
        let [sha_256, sha_384, sha_512] = algorithms;
        let parsed = parse(sha_256).and_then(|first| Ok([first, parse(sha_384)?, parse(sha_512)?]));
        let computed = digest(&SHA1_FOR_LEGACY_USE_ONLY, key).as_ref().last_chunk().copied();
        Ok(Self {
            id: stated.or(computed).unwrap_or_default(),
            sha256: hex(&sha256(spki.raw)),
            parsed: parsed.map_err(|_| unfit("this key"))?,
        })
    }

    fn made(&self, signature: &FileSignature) -> bool {
        let [sha_256, sha_384, sha_512] = &self.parsed;
        let (key, algorithm) = match signature.hash {
            HashAlg::Sha256 => (sha_256, &SHA256),
            HashAlg::Sha384 => (sha_384, &SHA384),
            HashAlg::Sha512 => (sha_512, &SHA512),
            HashAlg::Sha1 => return false,
        };
        // The file is on the machine; its digest is what the TPM vouches for, and what was signed.
        let digest = Digest::import_less_safe(&signature.signed, algorithm);
        digest.is_ok_and(|digest| key.verify_digest_sig(&digest, &signature.signature).is_ok())
    }
}

impl PartialEq for ImaKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.sha256 == other.sha256
    }
}

impl Eq for ImaKey {}

impl fmt::Debug for ImaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImaKey({}, {})", hex(&self.id), self.sha256)
    }
}
