//! Whose baseline a file has: the signer of images that signed it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::keys::PublicKey;
use super::{ImageEnvelope, KeyId, OperatorKey, OperatorKeys, SignedFile, SignedFileError, unmarked};

/// Whose a baseline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// Operators stand for it, with their keys or by bringing it.
    Operators,
    /// The key of machine images that signed it.
    Images(KeyId),
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operators => f.write_str("operators"),
            Self::Images(key) => write!(f, "{key}"),
        }
    }
}

/// A signature by the key of machine images, and the key. It proves who made the baseline; whether that counts, those say who may put
/// baselines in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageSignature {
    /// SPKI, DER.
    pub(super) public_key: Vec<u8>,
    /// As files carry it.
    pub(super) signature: Vec<u8>,
}

impl ImageSignature {
    /// Whose it is, if it is right.
    pub(super) fn verified(&self, message: &[u8]) -> Result<KeyId, SignedFileError> {
        let malformed = |what: String| SignedFileError::Malformed {
            what: format!("image_signature.public_key is {what}"),
        };
        let key = KeyId::of_spki(&self.public_key);
        let public = PublicKey::of_images(&self.public_key).map_err(malformed)?;
        match public.has_signed(message, &self.signature) {
            true => Ok(key),
            false => Err(SignedFileError::Signature { key }),
        }
    }
}

impl SignedFile {
    /// The file as an operator sends it to a server: with the key of the signer of images, which is one of `signers`.
    ///
    /// # Errors
    /// [`SignedFileError::UnknownKey`] when another key signed it.
    pub fn of_image_signer(self, signers: &OperatorKeys) -> Result<Self, SignedFileError> {
        let Some((key, signature)) = self.known else {
            return Ok(self);
        };
        let public_key = signers.spki(key).ok_or_else(|| signers.unknown(key))?.to_vec();
        let image = ImageSignature { public_key, signature };
        Ok(Self {
            known: None,
            image: Some(image),
            ..self
        })
    }

    /// The file, with an operator's signature beside that of the signer of images.
    ///
    /// # Errors
    /// When the cryptographic library cannot sign.
    pub fn countersigned(self, key: &OperatorKey) -> Result<Self, SignedFileError> {
        let signature = key.sign(&Self::message(self.kind, &self.trust_domain, &self.payload))?;
        Ok(Self {
            known: Some((key.id(), signature)),
            ..self
        })
    }

    /// Whose a file is that was opened when it was applied; one that was not signed is the operators'.
    #[must_use]
    pub fn signer_of(applied: &str) -> Signer {
        #[derive(Deserialize)]
        struct Named {
            image_signature: Option<ImageEnvelope>,
        }
        let named = serde_json::from_str::<Named>(unmarked(applied)).ok();
        let image = named.and_then(|named| named.image_signature);
        let key = image.and_then(|image| STANDARD.decode(image.public_key).ok());
        key.map_or(Signer::Operators, |key| Signer::Images(KeyId::of_spki(&key)))
    }
}

/// Requires that a baseline takes the place of one of the same signer: a key that signs the images of one kind of machine has no say in
/// those of others. `applied` is whose baseline has the name, if one ever had it; `offered` whose it would be. With `replace`, operators say
/// that the name passes on. That a baseline is `retired` they may say of everybody's.
///
/// # Errors
/// [`SignedFileError::OtherSigner`].
pub fn require_same_signer(
    name: &str,
    applied: Option<Signer>,
    offered: Signer,
    retired: bool,
    replace: bool,
) -> Result<(), SignedFileError> {
    let is_retirement = retired && offered == Signer::Operators;
    match applied.filter(|applied| *applied != offered) {
        Some(applied) if !replace && !is_retirement => Err(SignedFileError::OtherSigner {
            name: name.to_owned(),
            applied,
            offered,
        }),
        _ => Ok(()),
    }
}
