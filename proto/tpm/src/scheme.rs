//! Schemes and symmetric definitions of keys (part 2, sections 11.1 to 11.2).

use std::fmt;

use crate::{
    alg::{ALG_AES, ALG_CFB, ALG_NULL, HashAlg},
    error::WireError,
    reader::Reader,
    writer::Writer,
};

const RSAES: u16 = 0x0015;
const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const OAEP: u16 = 0x0017;
const ECDSA: u16 = 0x0018;
const ECDH: u16 = 0x0019;
const HMAC: u16 = 0x0005;
const XOR: u16 = 0x000a;
const KDF1_SP800_108: u16 = 0x0022;
const KDF1_SP800_56A: u16 = 0x0020;

/// The scheme that an asymmetric key is bound to, with its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsymScheme {
    /// None: the scheme is chosen with every command. Storage keys have none.
    Null,
    /// RSA signature, PKCS #1 v1.5.
    RsaSsa(HashAlg),
    /// RSA signature, PSS.
    RsaPss(HashAlg),
    /// RSA encryption, PKCS #1 v1.5.
    RsaEs,
    /// RSA encryption, OAEP.
    Oaep(HashAlg),
    /// ECDSA.
    Ecdsa(HashAlg),
    /// Elliptic-curve Diffie-Hellman.
    Ecdh(HashAlg),
}

impl AsymScheme {
    pub(crate) fn read_rsa(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.u16()? {
            ALG_NULL => Ok(Self::Null),
            RSASSA => Ok(Self::RsaSsa(read_hash(reader)?)),
            RSAPSS => Ok(Self::RsaPss(read_hash(reader)?)),
            RSAES => Ok(Self::RsaEs),
            OAEP => Ok(Self::Oaep(read_hash(reader)?)),
            value => Err(WireError::UnknownAlgorithm {
                field: "RSA scheme",
                value,
            }),
        }
    }

    pub(crate) fn read_ecc(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.u16()? {
            ALG_NULL => Ok(Self::Null),
            ECDSA => Ok(Self::Ecdsa(read_hash(reader)?)),
            ECDH => Ok(Self::Ecdh(read_hash(reader)?)),
            value => Err(WireError::UnknownAlgorithm {
                field: "ECC scheme",
                value,
            }),
        }
    }

    pub(crate) fn write(self, writer: &mut Writer) {
        writer.u16(self.id());
        if let Some(hash) = self.hash() {
            writer.u16(hash.id());
        }
    }

    /// The hash that the scheme fixes, if it has one.
    #[must_use]
    pub const fn hash(self) -> Option<HashAlg> {
        match self {
            Self::Null | Self::RsaEs => None,
            Self::RsaSsa(hash) | Self::RsaPss(hash) | Self::Oaep(hash) | Self::Ecdsa(hash) | Self::Ecdh(hash) => {
                Some(hash)
            }
        }
    }

    /// Whether it is a signature scheme.
    #[must_use]
    pub const fn is_signing(self) -> bool {
        matches!(self, Self::RsaSsa(_) | Self::RsaPss(_) | Self::Ecdsa(_))
    }

    const fn id(self) -> u16 {
        match self {
            Self::Null => ALG_NULL,
            Self::RsaSsa(_) => RSASSA,
            Self::RsaPss(_) => RSAPSS,
            Self::RsaEs => RSAES,
            Self::Oaep(_) => OAEP,
            Self::Ecdsa(_) => ECDSA,
            Self::Ecdh(_) => ECDH,
        }
    }
}

impl fmt::Display for AsymScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Null => "null",
            Self::RsaSsa(_) => "RSASSA",
            Self::RsaPss(_) => "RSAPSS",
            Self::RsaEs => "RSAES",
            Self::Oaep(_) => "OAEP",
            Self::Ecdsa(_) => "ECDSA",
            Self::Ecdh(_) => "ECDH",
        };
        match self.hash() {
            Some(hash) => write!(f, "{name}-{hash}"),
            None => f.write_str(name),
        }
    }
}

fn read_hash(reader: &mut Reader<'_>) -> Result<HashAlg, WireError> {
    HashAlg::strong("scheme hash", reader.u16()?)
}

/// The symmetric cipher that a storage key protects its children with (`TPMT_SYM_DEF_OBJECT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Symmetric {
    /// None: the key is not a storage key.
    Null,
    /// AES-128 in CFB mode.
    Aes128Cfb,
    /// AES-192 in CFB mode.
    Aes192Cfb,
    /// AES-256 in CFB mode.
    Aes256Cfb,
}

impl Symmetric {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.u16()? {
            ALG_NULL => return Ok(Self::Null),
            ALG_AES => {}
            value => {
                return Err(WireError::UnknownAlgorithm {
                    field: "symmetric cipher",
                    value,
                });
            }
        }
        let definition = match reader.u16()? {
            128 => Self::Aes128Cfb,
            192 => Self::Aes192Cfb,
            256 => Self::Aes256Cfb,
            _ => {
                return Err(WireError::malformed(
                    "TPMT_SYM_DEF_OBJECT",
                    "AES has keys of 128, 192 or 256 bits",
                ));
            }
        };
        match reader.u16()? {
            ALG_CFB => Ok(definition),
            value => Err(WireError::UnknownAlgorithm {
                field: "symmetric mode",
                value,
            }),
        }
    }

    pub(crate) fn write(self, writer: &mut Writer) {
        match self.key_bits() {
            None => writer.u16(ALG_NULL),
            Some(bits) => {
                writer.u16(ALG_AES);
                writer.u16(bits);
                writer.u16(ALG_CFB);
            }
        }
    }

    /// The key's size in bits, if there is a cipher.
    #[must_use]
    pub const fn key_bits(self) -> Option<u16> {
        match self {
            Self::Null => None,
            Self::Aes128Cfb => Some(128),
            Self::Aes192Cfb => Some(192),
            Self::Aes256Cfb => Some(256),
        }
    }
}

/// The scheme of a keyed-hash object (`TPMT_KEYEDHASH_SCHEME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyedHashScheme {
    /// None: a sealed data object, or an HMAC key whose hash is chosen with every command.
    Null,
    /// HMAC with this hash.
    Hmac(HashAlg),
    /// Obfuscation by XOR with this hash; `kdf_56a` tells KDF1_SP800_56A from KDF1_SP800_108.
    Xor {
        /// The hash.
        hash: HashAlg,
        /// Which derivation function.
        kdf_56a: bool,
    },
}

impl KeyedHashScheme {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.u16()? {
            ALG_NULL => Ok(Self::Null),
            HMAC => Ok(Self::Hmac(read_hash(reader)?)),
            XOR => {
                let hash = read_hash(reader)?;
                match reader.u16()? {
                    KDF1_SP800_108 => Ok(Self::Xor { hash, kdf_56a: false }),
                    KDF1_SP800_56A => Ok(Self::Xor { hash, kdf_56a: true }),
                    value => Err(WireError::UnknownAlgorithm {
                        field: "XOR key derivation",
                        value,
                    }),
                }
            }
            value => Err(WireError::UnknownAlgorithm {
                field: "keyed-hash scheme",
                value,
            }),
        }
    }

    pub(crate) fn write(self, writer: &mut Writer) {
        match self {
            Self::Null => writer.u16(ALG_NULL),
            Self::Hmac(hash) => {
                writer.u16(HMAC);
                writer.u16(hash.id());
            }
            Self::Xor { hash, kdf_56a } => {
                writer.u16(XOR);
                writer.u16(hash.id());
                writer.u16(if kdf_56a { KDF1_SP800_56A } else { KDF1_SP800_108 });
            }
        }
    }
}
