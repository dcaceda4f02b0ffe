//! Signatures (part 2, section 11.3, table "TPMT_SIGNATURE").

use crate::{
    alg::{ALG_NULL, HashAlg},
    curve::Curve,
    error::WireError,
    reader::Reader,
    scheme::AsymScheme,
};

const STRUCTURE: &str = "TPMT_SIGNATURE";
const MAX_RSA: usize = 512;
const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const ECDSA: u16 = 0x0018;

/// A signature by a TPM key, decoded and not yet verified. Its hash is SHA-256 or better.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signature {
    /// RSASSA-PKCS1-v1_5.
    RsaSsa {
        /// The hash.
        hash: HashAlg,
        /// The signature, big-endian.
        signature: Vec<u8>,
    },
    /// RSASSA-PSS.
    RsaPss {
        /// The hash.
        hash: HashAlg,
        /// The signature, big-endian.
        signature: Vec<u8>,
    },
    /// ECDSA.
    Ecdsa {
        /// The hash.
        hash: HashAlg,
        /// The signature's first number, big-endian.
        r: Vec<u8>,
        /// The signature's second number, big-endian.
        s: Vec<u8>,
    },
}

impl Signature {
    /// The longest `TPMT_SIGNATURE` accepted, in bytes: RSA-4096.
    pub const MAX_LEN: usize = 518;

    /// Reads a `TPMT_SIGNATURE`.
    ///
    /// # Errors
    /// The scheme is unknown or null, the hash is unknown or SHA-1, a number is longer than any accepted key's, or bytes
    /// follow the structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes, STRUCTURE);
        let scheme = reader.u16()?;
        let signature = match scheme {
            RSASSA => Self::RsaSsa {
                hash: read_hash(&mut reader)?,
                signature: read_rsa(&mut reader)?,
            },
            RSAPSS => Self::RsaPss {
                hash: read_hash(&mut reader)?,
                signature: read_rsa(&mut reader)?,
            },
            ECDSA => Self::Ecdsa {
                hash: read_hash(&mut reader)?,
                r: read_number(&mut reader)?,
                s: read_number(&mut reader)?,
            },
            ALG_NULL => {
                return Err(WireError::malformed(STRUCTURE, "there is no signature in it"));
            }
            value => {
                return Err(WireError::UnknownAlgorithm {
                    field: "signature scheme",
                    value,
                });
            }
        };
        reader.finish()?;
        Ok(signature)
    }

    /// The scheme and hash of the signature.
    #[must_use]
    pub const fn scheme(&self) -> AsymScheme {
        match self {
            Self::RsaSsa { hash, .. } => AsymScheme::RsaSsa(*hash),
            Self::RsaPss { hash, .. } => AsymScheme::RsaPss(*hash),
            Self::Ecdsa { hash, .. } => AsymScheme::Ecdsa(*hash),
        }
    }

    /// The hash of the signature.
    #[must_use]
    pub const fn hash(&self) -> HashAlg {
        match self {
            Self::RsaSsa { hash, .. } | Self::RsaPss { hash, .. } | Self::Ecdsa { hash, .. } => *hash,
        }
    }
}

fn read_hash(reader: &mut Reader<'_>) -> Result<HashAlg, WireError> {
    HashAlg::strong("signature hash", reader.u16()?)
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
    Ok(reader.sized("RSA signature", MAX_RSA)?.to_vec())
}

fn read_number(reader: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
    Ok(reader.sized("ECDSA number", Curve::P521.coordinate_len())?.to_vec())
}
