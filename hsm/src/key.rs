//! Keys as a key store shows them.

use std::{fmt, str::FromStr, sync::Arc};

use crate::HsmError;

/// The longest label, in bytes.
pub const MAX_LABEL_LEN: usize = 128;

/// The kinds of keys that sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// ECDSA on NIST P-256.
    EcP256,
    /// ECDSA on NIST P-384.
    EcP384,
    /// ECDSA on NIST P-521.
    EcP521,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::EcP256,
        Self::EcP384,
        Self::EcP521,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::Ed25519,
    ];

    /// The name used in configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::EcP521 => "ec-p521",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The algorithm that such a key signs certificates with.
    #[must_use]
    pub const fn signature_alg(self) -> SignatureAlg {
        match self {
            Self::EcP256 => SignatureAlg::EcdsaP256Sha256,
            Self::EcP384 => SignatureAlg::EcdsaP384Sha384,
            Self::EcP521 => SignatureAlg::EcdsaP521Sha512,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => SignatureAlg::RsaPkcs1Sha256,
            Self::Ed25519 => SignatureAlg::Ed25519,
        }
    }

    /// Every algorithm that such a key can sign with; [`signature_alg`](Self::signature_alg) is the first.
    #[must_use]
    pub const fn algorithms(self) -> &'static [SignatureAlg] {
        match self {
            Self::EcP256 => &[SignatureAlg::EcdsaP256Sha256],
            Self::EcP384 => &[SignatureAlg::EcdsaP384Sha384],
            Self::EcP521 => &[SignatureAlg::EcdsaP521Sha512],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[
                SignatureAlg::RsaPkcs1Sha256,
                SignatureAlg::RsaPkcs1Sha384,
                SignatureAlg::RsaPkcs1Sha512,
                SignatureAlg::RsaPssSha256,
                SignatureAlg::RsaPssSha384,
                SignatureAlg::RsaPssSha512,
            ],
            Self::Ed25519 => &[SignatureAlg::Ed25519],
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyKind {
    type Err = HsmError;

    fn from_str(name: &str) -> Result<Self, HsmError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| HsmError::UnknownKind {
                found: name.chars().take(64).collect(),
            })
    }
}

/// Signature algorithms; each is bound to its hash and to the kinds of keys that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignatureAlg {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
    /// ECDSA on P-521 with SHA-512.
    EcdsaP521Sha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RsaPkcs1Sha512,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt as long as the hash (RFC 8017, section 8.1).
    RsaPssSha256,
    /// RSASSA-PSS with SHA-384, likewise.
    RsaPssSha384,
    /// RSASSA-PSS with SHA-512, likewise.
    RsaPssSha512,
    /// Ed25519, of the message itself (RFC 8032, section 5.1).
    Ed25519,
}

impl fmt::Display for SignatureAlg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256Sha256 => "ECDSA P-256 with SHA-256",
            Self::EcdsaP384Sha384 => "ECDSA P-384 with SHA-384",
            Self::EcdsaP521Sha512 => "ECDSA P-521 with SHA-512",
            Self::RsaPkcs1Sha256 => "RSA PKCS#1 v1.5 with SHA-256",
            Self::RsaPkcs1Sha384 => "RSA PKCS#1 v1.5 with SHA-384",
            Self::RsaPkcs1Sha512 => "RSA PKCS#1 v1.5 with SHA-512",
            Self::RsaPssSha256 => "RSA-PSS with SHA-256",
            Self::RsaPssSha384 => "RSA-PSS with SHA-384",
            Self::RsaPssSha512 => "RSA-PSS with SHA-512",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// What a key is known by inside its device; it stays the same for the key's whole life. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<[u8]>);

impl KeyId {
    /// An id from its bytes, as the device gave them.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Lower-case hexadecimal.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A key: its public half, and what its device says about the private one.
///
/// The properties are the device's word. They do *not* prove that the device is honest, nor that it is hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its label, unique among the keys that are used.
    pub label: String,
    /// Its id, for signing.
    pub id: KeyId,
    /// Its kind.
    pub kind: KeyKind,
    /// The public key as a DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    pub spki_der: Vec<u8>,
    /// It is never shown in plain text.
    pub sensitive: bool,
    /// It was sensitive all its life.
    pub always_sensitive: bool,
    /// It can be taken out of the device, wrapped or not.
    pub extractable: bool,
    /// It could not be taken out at any time of its life.
    pub never_extractable: bool,
    /// It was made inside this device.
    pub local: bool,
    /// It can sign, and do nothing else: neither decrypt, nor unwrap, nor derive.
    pub sign_only: bool,
}

impl KeyInfo {
    /// Whether the private key cannot leave the device, nor ever could.
    #[must_use]
    pub const fn is_protected(&self) -> bool {
        self.sensitive && self.always_sensitive && !self.extractable && self.never_extractable && self.local
    }
}

/// Checks that `label` fits: 1 to [`MAX_LABEL_LEN`] bytes of printable ASCII.
///
/// # Errors
/// [`HsmError::BadLabel`].
pub fn check_label(label: &str) -> Result<(), HsmError> {
    let printable = label.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if label.is_empty() || label.len() > MAX_LABEL_LEN || !printable {
        return Err(HsmError::BadLabel {
            found: label.escape_default().take(MAX_LABEL_LEN).collect(),
        });
    }
    Ok(())
}
