//! Policies and baselines as files that an operator signed.
//!
//! A signed file is a JSON object: what it is, the trust domain that it is for, the exact bytes of the policy (TOML) or
//! baseline (JSON) in base64, the id of the key and the signature (SHA-256; ECDSA with P-256 in DER). The signature covers a label,
//! the trust domain, the kind and the bytes, so a file of one kind cannot pass as another, nor one of another trust domain
//! as this one's, nor any other signature of that key as one over a file.
//!
//! The key is an operator's (PKCS #8, PEM), or lives in an HSM: then [`SignedFile::message`] is what to sign and
//! [`SignedFile::assemble`] makes the file. The baseline of a machine image is signed by the image's own key, RSA as Secure Boot
//! has it, which its certificate names ([`OperatorKeys::add_certificate`]).

mod error;
mod keys;

pub use error::SignedFileError;
pub use keys::{KeyId, OperatorKey, OperatorKeys};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hallmark_spiffe::TrustDomain;
use serde::{Deserialize, Serialize};

use crate::ima::DigestList;
use crate::rule_file::unmarked;

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
    key: KeyId,
    signature: Vec<u8>,
}

/// What a signed file holds, signed by a key that the operator configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedFile {
    /// The policy's or baseline's exact bytes.
    pub payload: Vec<u8>,
    /// The trust domain that it was signed for.
    pub trust_domain: TrustDomain,
    /// The key that signed.
    pub key: KeyId,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    hallmark_signed_file: u32,
    kind: FileKind,
    #[serde(default)]
    trust_domain: Option<String>,
    payload: String,
    key_id: String,
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
            key,
            signature,
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
            key_id: self.key.to_string(),
            signature: STANDARD.encode(&self.signature),
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
        Ok(Self {
            kind: envelope.kind,
            trust_domain,
            payload: decode("payload", &envelope.payload)?,
            key: KeyId::parse(&envelope.key_id).ok_or_else(|| malformed("key_id is no SHA-256 in lower-case hex"))?,
            signature: decode("signature", &envelope.signature)?,
        })
    }

    /// The payload, if the file is of this kind, one of `keys` signed it, and it was signed for `audience`: only where nobody
    /// knows the trust domain, as for a file that is looked at without its server, is it `None`.
    ///
    /// # Errors
    /// [`SignedFileError`] when the kind is another, the key is not configured, the signature is wrong, or the file is
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
        keys.verify(self.key, &message, &self.signature)?;
        if let Some(expected) = audience.filter(|expected| **expected != self.trust_domain) {
            return Err(SignedFileError::OtherTrustDomain {
                expected: expected.clone(),
                actual: self.trust_domain,
            });
        }
        Ok(OpenedFile {
            payload: self.payload,
            trust_domain: self.trust_domain,
            key: self.key,
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
