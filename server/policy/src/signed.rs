//! Policies and baselines as files that an operator signed.
//!
//! A signed file is a JSON object: what it is, the trust domain that it is for, the exact bytes of the policy (TOML) or
//! baseline (JSON) in base64, the id of the key and the signature (SHA-256; ECDSA with P-256 in DER). The signature covers a label,
//! the trust domain, the kind and the bytes, so a file of one kind cannot pass as another, nor one of another trust domain
//! as this one's, nor any other signature of that key as one over a file.
//!
//! The key is an operator's (PKCS #8, PEM), or lives in an HSM: then [`SignedFile::message`] is what to sign and
//! [`SignedFile::assemble`] makes the file.
//!
//! The baseline of a machine image is signed by the image's own key, as Secure Boot has it, which its certificate names
//! ([`OperatorKeys::add_certificate`]). An operator who puts it in force sends that signature on with the key
//! ([`SignedFile::of_image_signer`]), with a signature of their own where only those count ([`SignedFile::countersigned`]): so that the
//! server knows whose baseline it is, and another signer's does not take its place ([`require_same_signer`]).

mod error;
mod image;
mod keys;

pub use error::SignedFileError;
pub use image::{Signer, require_same_signer};
pub use keys::{KeyId, OperatorKey, OperatorKeys};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_spiffe::TrustDomain;
use serde::{Deserialize, Serialize};

use crate::ima::DigestList;
use crate::rule_file::unmarked;
use image::ImageSignature;

/// The label that begins every message that is signed.
const LABEL: &[u8] = b"hallmark signed file v2";

/// The version of the form. Files of version 1 name no trust domain.
const VERSION: u32 = 2;

/// What a signed file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileKind {
    /// A policy, TOML.
    Policy,
    /// A baseline, JSON.
    Baseline,
    /// A list of digests, in the JSON of [`DigestList::to_json`](crate::DigestList::to_json).
    DigestList,
}

impl FileKind {
    /// The name in files and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Baseline => "baseline",
            Self::DigestList => "digest-list",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Policy, Self::Baseline, Self::DigestList]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

impl std::fmt::Display for FileKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A signed file as it is read: nothing in it is believed before [`SignedFile::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFile {
    kind: FileKind,
    trust_domain: TrustDomain,
    payload: Vec<u8>,
    /// The signature of a key that the reader knows: its id, and the signature.
    known: Option<(KeyId, Vec<u8>)>,
    /// The signature of a signer of images, with its key.
    image: Option<ImageSignature>,
}

/// What a signed file holds, signed by a key that the operator configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedFile {
    /// The policy's or baseline's exact bytes.
    pub payload: Vec<u8>,
    /// The trust domain that it was signed for.
    pub trust_domain: TrustDomain,
    /// The key that signed: of those that the reader knows, or else the signer of images.
    pub key: KeyId,
    /// Whose it is.
    pub signer: Signer,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    hallmark_signed_file: u32,
    kind: FileKind,
    #[serde(default)]
    trust_domain: Option<String>,
    payload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image_signature: Option<ImageEnvelope>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageEnvelope {
    public_key: String,
    signature: String,
}

impl SignedFile {
    /// No signed file is larger, in bytes.
    pub const MAX_BYTES: usize = DigestList::MAX_BYTES / 3 * 4 + 64 * 1024;

    /// Whether `text` means to be a signed file: policies are no JSON, and baselines have no such field.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        unmarked(text).trim_start().starts_with('{') && text.contains("\"hallmark_signed_file\"")
    }

    /// Whether a signed file's text names the trust domain that it is for; those that were signed before do not.
    #[must_use]
    pub fn names_trust_domain(text: &str) -> bool {
        #[derive(Deserialize)]
        struct Named {
            trust_domain: Option<serde::de::IgnoredAny>,
        }
        serde_json::from_str::<Named>(unmarked(text)).is_ok_and(|named| named.trust_domain.is_some())
    }

    /// What a key signs for a file of this kind with these bytes, for this trust domain.
    #[must_use]
    pub fn message(kind: FileKind, trust_domain: &TrustDomain, payload: &[u8]) -> Vec<u8> {
        let (kind, trust_domain) = (kind.as_str().as_bytes(), trust_domain.as_str().as_bytes());
        [LABEL, &[0], trust_domain, &[0], kind, &[0], payload].concat()
    }

    /// Signs `payload` for one trust domain.
    ///
    /// # Errors
    /// When the cryptographic library cannot sign.
    pub fn seal(
        kind: FileKind,
        trust_domain: &TrustDomain,
        payload: Vec<u8>,
        key: &OperatorKey,
    ) -> Result<Self, SignedFileError> {
        let signature = key.sign(&Self::message(kind, trust_domain, &payload))?;
        Ok(Self::assemble(kind, trust_domain.clone(), payload, key.id(), signature))
    }

    /// The file for a signature that was made elsewhere, over [`message`](Self::message).
    #[must_use]
    pub const fn assemble(
        kind: FileKind,
        trust_domain: TrustDomain,
        payload: Vec<u8>,
        key: KeyId,
        signature: Vec<u8>,
    ) -> Self {
        Self {
            kind,
            trust_domain,
            payload,
            known: Some((key, signature)),
            image: None,
        }
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let envelope = Envelope {
            hallmark_signed_file: VERSION,
            kind: self.kind,
            trust_domain: Some(self.trust_domain.to_string()),
            payload: STANDARD.encode(&self.payload),
            key_id: self.known.as_ref().map(|(key, _)| key.to_string()),
            signature: self.known.as_ref().map(|(_, signature)| STANDARD.encode(signature)),
            image_signature: self.image.as_ref().map(|image| ImageEnvelope {
                public_key: STANDARD.encode(&image.public_key),
                signature: STANDARD.encode(&image.signature),
            }),
        };
        // Strings and numbers always have a JSON form.
        serde_json::to_string_pretty(&envelope).unwrap_or_default()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`SignedFileError`] when it is too large, no JSON, of another version, or has other fields.
    pub fn parse(text: &str) -> Result<Self, SignedFileError> {
        if text.len() > Self::MAX_BYTES {
            return Err(SignedFileError::TooLarge { actual: text.len() });
        }
        let malformed = |what: &str| SignedFileError::Malformed { what: what.to_owned() };
        let envelope: Envelope = serde_json::from_str(unmarked(text)).map_err(|error| malformed(&error.to_string()))?;
        match envelope.hallmark_signed_file {
            VERSION => {}
            1 => return Err(SignedFileError::NoTrustDomain { kind: envelope.kind }),
            found => return Err(SignedFileError::Version { found }),
        }
        let trust_domain = envelope
            .trust_domain
            .ok_or_else(|| malformed("trust_domain is missing"))?;
        let trust_domain = TrustDomain::parse(&trust_domain).map_err(|error| malformed(&error.to_string()))?;
        let decode = |field: &str, text: &str| {
            STANDARD
                .decode(text)
                .map_err(|_| malformed(&format!("{field} is not base64")))
        };
        let known = match (&envelope.key_id, &envelope.signature) {
            (Some(key), Some(signature)) => {
                let key = KeyId::parse(key).ok_or_else(|| malformed("key_id is no SHA-256 in lower-case hex"))?;
                Some((key, decode("signature", signature)?))
            }
            (None, None) if envelope.image_signature.is_some() => None,
            _ => return Err(malformed("key_id or signature is missing")),
        };
        let image = match &envelope.image_signature {
            Some(_) if envelope.kind != FileKind::Baseline => {
                return Err(malformed("only a baseline has an image_signature"));
            }
            Some(image) => Some(ImageSignature {
                public_key: decode("image_signature.public_key", &image.public_key)?,
                signature: decode("image_signature.signature", &image.signature)?,
            }),
            None => None,
        };
        Ok(Self {
            kind: envelope.kind,
            trust_domain,
            payload: decode("payload", &envelope.payload)?,
            known,
            image,
        })
    }

    /// The payload, if the file is of this kind, one of `keys` signed it, and it was signed for `audience`: only where nobody
    /// knows the trust domain, as for a file that is looked at without its server, is it `None`. Where `keys` is empty, whoever brings the
    /// file stands for it: then the signature of a signer of images alone is enough. That of an image has to be right wherever there is one.
    ///
    /// # Errors
    /// [`SignedFileError`] when the kind is another, the key is not configured, a signature is wrong, or the file is
    /// another trust domain's.
    pub fn open(
        self,
        kind: FileKind,
        audience: Option<&TrustDomain>,
        keys: &OperatorKeys,
    ) -> Result<OpenedFile, SignedFileError> {
        if self.kind != kind {
            return Err(SignedFileError::Kind {
                expected: kind,
                actual: self.kind,
            });
        }
        let message = Self::message(self.kind, &self.trust_domain, &self.payload);
        let image_signer = self.image.as_ref().map(|image| image.verified(&message)).transpose()?;
        let key = match (&self.known, image_signer) {
            (Some((key, signature)), _) => {
                keys.verify(*key, &message, signature)?;
                *key
            }
            (None, Some(signer)) if keys.is_empty() => signer,
            (None, Some(signer)) => return Err(keys.unknown(signer)),
            // No file is read that nobody signed.
            (None, None) => {
                return Err(SignedFileError::Malformed {
                    what: "nobody signed it".to_owned(),
                });
            }
        };
        if let Some(expected) = audience.filter(|expected| **expected != self.trust_domain) {
            return Err(SignedFileError::OtherTrustDomain {
                expected: expected.clone(),
                actual: self.trust_domain,
            });
        }
        Ok(OpenedFile {
            payload: self.payload,
            trust_domain: self.trust_domain,
            key,
            signer: image_signer.map_or(Signer::Operators, Signer::Images),
        })
    }
}

/// Requires that `offered` is a later state than `applied`, the serial number in force, if there is one: a signed file
/// stays signed for ever, so only its serial number says that it is not an old one.
///
/// # Errors
/// [`SignedFileError::RolledBack`].
pub fn require_newer(kind: FileKind, name: &str, applied: Option<u64>, offered: u64) -> Result<(), SignedFileError> {
    match applied {
        Some(applied) if offered <= applied => Err(SignedFileError::RolledBack {
            kind,
            name: name.to_owned(),
            applied,
            offered,
        }),
        _ => Ok(()),
    }
}
