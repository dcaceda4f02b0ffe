//! Hash algorithms (part 2, section 6.3, table "TPM_ALG_ID").

use std::fmt;

use aws_lc_rs::{digest, hmac};

use crate::error::WireError;

/// `TPM_ALG_NULL`.
pub(crate) const ALG_NULL: u16 = 0x0010;
/// `TPM_ALG_RSA`.
pub(crate) const ALG_RSA: u16 = 0x0001;
/// `TPM_ALG_AES`.
pub(crate) const ALG_AES: u16 = 0x0006;
/// `TPM_ALG_KEYEDHASH`.
pub(crate) const ALG_KEYEDHASH: u16 = 0x0008;
/// `TPM_ALG_ECC`.
pub(crate) const ALG_ECC: u16 = 0x0023;
/// `TPM_ALG_SYMCIPHER`.
pub(crate) const ALG_SYMCIPHER: u16 = 0x0025;
/// `TPM_ALG_CFB`.
pub(crate) const ALG_CFB: u16 = 0x0043;

/// A hash algorithm that Hallmark can name: of a PCR bank, a Name or a signature.
///
/// SHA-1 is here so that a bank or a key that uses it can be refused by name; nothing is ever decided on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlg {
    /// `TPM_ALG_SHA1`, 0x0004.
    Sha1,
    /// `TPM_ALG_SHA256`, 0x000B.
    Sha256,
    /// `TPM_ALG_SHA384`, 0x000C.
    Sha384,
    /// `TPM_ALG_SHA512`, 0x000D.
    Sha512,
}

impl HashAlg {
    /// Every algorithm, weakest first.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The algorithm of a `TPM_ALG_ID`, if it is one of these.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.id() == id)
    }

    /// The algorithm of a bank's name as in selectors (`sha256`), if it is one of these.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.as_str() == name)
    }

    /// The `TPM_ALG_ID`.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// The name as it is written in selectors and configuration: `sha256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The digest's length in bytes.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Whether collisions are out of reach: everything but SHA-1.
    #[must_use]
    pub const fn is_strong(self) -> bool {
        !matches!(self, Self::Sha1)
    }

    /// The digest of `data`.
    #[must_use]
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        digest::digest(self.algorithm(), data).as_ref().to_vec()
    }

    pub(crate) fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    pub(crate) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// The algorithm of `id`, refused where it is not known.
    pub(crate) fn known(field: &'static str, id: u16) -> Result<Self, WireError> {
        Self::from_id(id).ok_or(WireError::UnknownAlgorithm { field, value: id })
    }

    /// The algorithm of `id`, refused where it is not known or weak.
    pub(crate) fn strong(field: &'static str, id: u16) -> Result<Self, WireError> {
        match Self::known(field, id)? {
            Self::Sha1 => Err(WireError::Weak { field, found: "SHA-1" }),
            strong => Ok(strong),
        }
    }
}

impl fmt::Display for HashAlg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
