//! Digests, made here for tokens that sign them.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use hallmark_hsm::SignatureAlg;

/// The start of a `DigestInfo` (RFC 8017, section 9.2, note 1); the digest follows.
const INFO_SHA256: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
];
const INFO_SHA384: &[u8] = &[
    0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30,
];
const INFO_SHA512: &[u8] = &[
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The hash of an algorithm; `None` where the message itself is signed.
    pub(crate) const fn of(algorithm: SignatureAlg) -> Option<Self> {
        match algorithm {
            SignatureAlg::EcdsaP256Sha256 | SignatureAlg::RsaPkcs1Sha256 | SignatureAlg::RsaPssSha256 => {
                Some(Self::Sha256)
            }
            SignatureAlg::EcdsaP384Sha384 | SignatureAlg::RsaPkcs1Sha384 | SignatureAlg::RsaPssSha384 => {
                Some(Self::Sha384)
            }
            SignatureAlg::EcdsaP521Sha512 | SignatureAlg::RsaPkcs1Sha512 | SignatureAlg::RsaPssSha512 => {
                Some(Self::Sha512)
            }
            SignatureAlg::Ed25519 => None,
        }
    }

    pub(crate) fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }

    /// The `DigestInfo` that CKM_RSA_PKCS signs.
    pub(crate) fn digest_info(self, message: &[u8]) -> Vec<u8> {
        let start = match self {
            Self::Sha256 => INFO_SHA256,
            Self::Sha384 => INFO_SHA384,
            Self::Sha512 => INFO_SHA512,
        };
        [start, &self.digest(message)].concat()
    }
}
