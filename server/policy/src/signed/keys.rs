//! Operators' keys.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA256_ASN1,
    EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use hallmark_der::{NamedCurve, SectionKind};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey as SubjectKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroize as _;

use super::SignedFileError;
use crate::selectors::hex;

/// SHA-256 of a key's SPKI, DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The id of the key with this SPKI, DER.
    #[must_use]
    pub fn of_spki(spki: &[u8]) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
        Self(id)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 {
            return None;
        }
        let mut id = [0; 32];
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = *digits else { return None };
            *byte = nibble(high)? << 4 | nibble(low)?;
        }
        Some(Self(id))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// An operator's signing key. Its private half shows up nowhere.
pub struct OperatorKey {
    pair: EcdsaKeyPair,
    id: KeyId,
}

impl OperatorKey {
    /// Reads a P-256 key from PKCS #8 in PEM (`BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// [`SignedFileError::SigningKey`] when it is no such key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SignedFileError> {
        let mut key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| SignedFileError::SigningKey)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_pkcs8_der());
        key.zeroize();
        let pair = pair.map_err(|_| SignedFileError::SigningKey)?;
        let id = KeyId::of_spki(&spki(pair.public_key().as_ref()));
        Ok(Self { pair, id })
    }

    /// The key's id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The public half, as SPKI in DER.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        spki(self.pair.public_key().as_ref())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a signature draws a number; operators sign, verdicts do not"
    )]
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignedFileError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| SignedFileError::CannotSign)?.as_ref().to_vec())
    }
}

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn spki(point: &[u8]) -> Vec<u8> {
    hallmark_der::ec_spki(NamedCurve::P256, point)
}

/// A public key, in the form in which signatures are verified with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// A point of P-256.
    P256(Vec<u8>),
    /// A point of P-384.
    P384(Vec<u8>),
    /// `RSAPublicKey`, DER.
    Rsa(Vec<u8>),
}

impl PublicKey {
    /// The key of a signer of machine images, from its SPKI, DER: RSA of 2048 to 8192 bits, P-256 or P-384. The error says which other
    /// key it is.
    pub(super) fn of_images(spki: &[u8]) -> Result<Self, String> {
        match hallmark_der::ec_point(spki) {
            Some((NamedCurve::P256, point)) => return Ok(Self::P256(point.to_vec())),
            Some((NamedCurve::P384, point)) => return Ok(Self::P384(point.to_vec())),
            _ => {}
        }
        let read = SubjectPublicKeyInfo::from_der(spki)
            .ok()
            .filter(|(rest, _)| rest.is_empty());
        match read.as_ref().map(|(_, key)| (key, key.parsed())) {
            Some((key, Ok(SubjectKey::RSA(rsa)))) if (2048..=8192).contains(&rsa.key_size()) => {
                Ok(Self::Rsa(key.subject_public_key.data.to_vec()))
            }
            Some((_, Ok(SubjectKey::RSA(rsa)))) => Err(format!("an RSA key of {} bits", rsa.key_size())),
            _ => Err("a key of another type".to_owned()),
        }
    }

    /// Whether it made a signature as files carry it: over SHA-256, of ECDSA in DER, of RSA with PKCS #1 padding.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature),
            Self::P384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, point).verify(message, signature),
            Self::Rsa(key) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature),
        }
        .is_ok()
    }
}

/// A key that may sign, as it was given and as it verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    /// SPKI, DER.
    spki: Vec<u8>,
    key: PublicKey,
}

/// The keys that may sign policies and baselines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorKeys(BTreeMap<KeyId, Known>);

impl OperatorKeys {
    /// Whether there is none: then nothing signed can be applied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys' ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.keys().copied()
    }

    /// Adds the public keys of a file, all P-256: `BEGIN PUBLIC KEY` of PEM, or DER ([`hallmark_der::objects`]). Gives how
    /// many there are in it.
    ///
    /// # Errors
    /// [`SignedFileError::PublicKey`] when there is none in it, or one is of another kind.
    pub fn add_pem(&mut self, file: &[u8]) -> Result<usize, SignedFileError> {
        let keys = hallmark_der::objects(file, SectionKind::PublicKey).map_err(|_| SignedFileError::PublicKey)?;
        let mut all = self.clone();
        for key in &keys {
            all.add_spki(key)?;
        }
        *self = all;
        Ok(keys.len())
    }

    /// Adds a public key from its SPKI, DER: an HSM's, for example.
    ///
    /// # Errors
    /// [`SignedFileError::PublicKey`] when it is no P-256 key in the one usual form.
    pub fn add_spki(&mut self, spki: &[u8]) -> Result<KeyId, SignedFileError> {
        let Some((NamedCurve::P256, point)) = hallmark_der::ec_point(spki) else {
            return Err(SignedFileError::PublicKey);
        };
        Ok(self.add(spki, PublicKey::P256(point.to_vec())))
    }

    fn add(&mut self, spki: &[u8], key: PublicKey) -> KeyId {
        let id = KeyId::of_spki(spki);
        let spki = spki.to_vec();
        self.0.insert(id, Known { spki, key });
        id
    }

    /// The SPKI of a key, DER, if it is one of these.
    pub(super) fn spki(&self, key: KeyId) -> Option<&[u8]> {
        self.0.get(&key).map(|known| known.spki.as_slice())
    }

    /// Adds the key of the certificate of a signer of machine images, PEM or DER: RSA of 2048 to 8192 bits, P-256 or P-384.
    /// `now` is in Unix seconds.
    ///
    /// # Errors
    /// [`SignedFileError::SignerCertificate`] when the file is not one such certificate, [`SignedFileError::SignerNotValid`] when
    /// `now` is outside of its validity.
    pub fn add_certificate(&mut self, file: &[u8], now: i64) -> Result<KeyId, SignedFileError> {
        let unusable = |what: String| SignedFileError::SignerCertificate { what };
        let certificates = hallmark_der::certificates(file).map_err(|fault| unusable(fault.to_string()))?;
        let [der] = certificates.as_slice() else {
            return Err(unusable(format!("{} certificates in it", certificates.len())));
        };
        let certificate = X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty());
        let (_, certificate) = certificate.ok_or_else(|| unusable("the certificate cannot be read".to_owned()))?;
        let validity = certificate.validity();
        if now < validity.not_before.timestamp() || now > validity.not_after.timestamp() {
            return Err(SignedFileError::SignerNotValid {
                not_before: validity.not_before.to_string(),
                not_after: validity.not_after.to_string(),
            });
        }
        let spki = certificate.public_key().raw;
        let key = PublicKey::of_images(spki).map_err(unusable)?;
        Ok(self.add(spki, key))
    }

    /// The key that made a signature in fixed form (r, then s), if it is one of these.
    pub(crate) fn who_signed(&self, message: &[u8], signature: &[u8]) -> Option<KeyId> {
        let signed = |known: &Known| match &known.key {
            PublicKey::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            PublicKey::P384(_) | PublicKey::Rsa(_) => false,
        };
        self.0.iter().find(|(_, known)| signed(known)).map(|(id, _)| *id)
    }

    pub(super) fn verify(&self, key: KeyId, message: &[u8], signature: &[u8]) -> Result<(), SignedFileError> {
        let known = self.0.get(&key).ok_or_else(|| self.unknown(key))?;
        if known.key.has_signed(message, signature) {
            return Ok(());
        }
        Err(SignedFileError::Signature { key })
    }

    /// That a key is none of these.
    pub(super) fn unknown(&self, key: KeyId) -> SignedFileError {
        SignedFileError::UnknownKey {
            key,
            known: self.ids().map(|id| id.to_string()).collect(),
        }
    }
}
