//! Public areas of TPM objects (part 2, section 12.2, table "TPMT_PUBLIC").

use crate::{
    alg::{ALG_ECC, ALG_KEYEDHASH, ALG_NULL, ALG_RSA, ALG_SYMCIPHER, HashAlg},
    attributes::ObjectAttributes,
    curve::Curve,
    error::WireError,
    name::Name,
    reader::Reader,
    roca::is_roca,
    scheme::{AsymScheme, KeyedHashScheme, Symmetric},
    spki,
    templates::{Template, TemplateKey},
    writer::{Writer, with_size},
};

const STRUCTURE: &str = "TPMT_PUBLIC";

/// The public area of a TPM object, well-formed and never weak: nameAlg SHA-256 or better, RSA of 2048, 3072 or 4096
/// bits that Infineon's faulty library did not make, NIST curves P-256 to P-521, no SHA-1 scheme.
///
/// It says nothing about where the key lives: that is what a certification by another key of the TPM is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicArea {
    name_alg: HashAlg,
    attributes: ObjectAttributes,
    auth_policy: Vec<u8>,
    kind: PublicKind,
}

/// What kind of object a public area belongs to, with the parameters of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKind {
    /// An RSA key.
    Rsa(RsaPublic),
    /// An elliptic-curve key.
    Ecc(EccPublic),
    /// A sealed data object or an HMAC key. It has no public key.
    KeyedHash {
        /// The scheme.
        scheme: KeyedHashScheme,
        /// The digest that binds the sensitive part.
        unique: Vec<u8>,
    },
    /// A symmetric cipher key. It has no public key.
    SymCipher {
        /// The cipher.
        symmetric: Symmetric,
        /// The digest that binds the sensitive part.
        unique: Vec<u8>,
    },
}

/// An RSA public key with its TPM parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublic {
    /// The cipher for child objects, if it is a storage key.
    pub symmetric: Symmetric,
    /// The scheme that the key is bound to.
    pub scheme: AsymScheme,
    /// The modulus size in bits: 2048, 3072 or 4096.
    pub bits: u16,
    /// The public exponent as on the wire: 0 stands for 65537.
    pub wire_exponent: u32,
    /// The modulus, big-endian, `bits / 8` bytes, highest bit set.
    pub modulus: Vec<u8>,
}

impl RsaPublic {
    /// The public exponent: the wire's 0 stands for 65537.
    #[must_use]
    pub const fn exponent(&self) -> u32 {
        if self.wire_exponent == 0 {
            65_537
        } else {
            self.wire_exponent
        }
    }
}

/// An elliptic-curve public key with its TPM parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EccPublic {
    /// The cipher for child objects, if it is a storage key.
    pub symmetric: Symmetric,
    /// The scheme that the key is bound to.
    pub scheme: AsymScheme,
    /// The curve.
    pub curve: Curve,
    /// The point's x coordinate, big-endian, as wide as the curve.
    pub x: Vec<u8>,
    /// The point's y coordinate, big-endian, as wide as the curve.
    pub y: Vec<u8>,
}

impl EccPublic {
    /// The point in uncompressed form (SEC 1, section 2.3.3): `04 || x || y`.
    #[must_use]
    pub fn uncompressed_point(&self) -> Vec<u8> {
        [&[0x04], self.x.as_slice(), self.y.as_slice()].concat()
    }
}

impl PublicArea {
    /// The longest `TPMT_PUBLIC` accepted, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// Reads a `TPMT_PUBLIC`.
    ///
    /// # Errors
    /// The structure is malformed or too long, bytes follow it, or an algorithm, curve or size is unknown or too weak:
    /// the sender's key was made with a template that Hallmark does not accept.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::bounded(bytes, STRUCTURE, Self::MAX_LEN)?;
        let object_type = reader.u16()?;
        let name_alg = HashAlg::strong("nameAlg", reader.u16()?)?;
        let attributes = ObjectAttributes::from_bits(reader.u32()?)?;
        let auth_policy = reader.sized("authPolicy", HashAlg::Sha512.digest_len())?.to_vec();
        if !auth_policy.is_empty() && auth_policy.len() != name_alg.digest_len() {
            return Err(WireError::malformed(
                STRUCTURE,
                "authPolicy is as long as a nameAlg digest, or empty",
            ));
        }
        let kind = match object_type {
            ALG_RSA => PublicKind::Rsa(read_rsa(&mut reader)?),
            ALG_ECC => PublicKind::Ecc(read_ecc(&mut reader)?),
            ALG_KEYEDHASH => PublicKind::KeyedHash {
                scheme: KeyedHashScheme::read(&mut reader)?,
                unique: read_digest(&mut reader, name_alg)?,
            },
            ALG_SYMCIPHER => PublicKind::SymCipher {
                symmetric: Symmetric::read(&mut reader)?,
                unique: read_digest(&mut reader, name_alg)?,
            },
            value => {
                return Err(WireError::UnknownAlgorithm {
                    field: "object type",
                    value,
                });
            }
        };
        reader.finish()?;
        Ok(Self {
            name_alg,
            attributes,
            auth_policy,
            kind,
        })
    }

    /// Reads a `TPM2B_PUBLIC`: a 16-bit size, then the `TPMT_PUBLIC`.
    ///
    /// # Errors
    /// As [`Self::parse`]; or the size is not that of the bytes that follow.
    pub fn parse_sized(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes, "TPM2B_PUBLIC");
        let area = reader.sized(STRUCTURE, Self::MAX_LEN)?;
        reader.finish()?;
        Self::parse(area)
    }

    /// The `TPMT_PUBLIC` again, byte for byte as it was read.
    #[must_use]
    pub fn marshal(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u16(match &self.kind {
            PublicKind::Rsa(_) => ALG_RSA,
            PublicKind::Ecc(_) => ALG_ECC,
            PublicKind::KeyedHash { .. } => ALG_KEYEDHASH,
            PublicKind::SymCipher { .. } => ALG_SYMCIPHER,
        });
        out.u16(self.name_alg.id());
        out.u32(self.attributes.bits());
        out.sized(&self.auth_policy);
        match &self.kind {
            PublicKind::Rsa(rsa) => {
                rsa.symmetric.write(&mut out);
                rsa.scheme.write(&mut out);
                out.u16(rsa.bits);
                out.u32(rsa.wire_exponent);
                out.sized(&rsa.modulus);
            }
            PublicKind::Ecc(ecc) => {
                ecc.symmetric.write(&mut out);
                ecc.scheme.write(&mut out);
                out.u16(ecc.curve.id());
                out.u16(ALG_NULL);
                out.sized(&ecc.x);
                out.sized(&ecc.y);
            }
            PublicKind::KeyedHash { scheme, unique } => {
                scheme.write(&mut out);
                out.sized(unique);
            }
            PublicKind::SymCipher { symmetric, unique } => {
                symmetric.write(&mut out);
                out.sized(unique);
            }
        }
        out.into_bytes()
    }

    /// The `TPM2B_PUBLIC`.
    ///
    /// # Errors
    /// None for an area that [`Self::parse`] gave; the size is checked all the same.
    pub fn marshal_sized(&self) -> Result<Vec<u8>, WireError> {
        with_size(STRUCTURE, &self.marshal())
    }

    /// The Name: nameAlg and the digest of the marshalled area.
    #[must_use]
    pub fn name(&self) -> Name {
        Name::of_public(self.name_alg, &self.marshal())
    }

    /// The public area that this public key would have, had it been made with `template`; `None` for another kind of key.
    #[must_use]
    pub fn as_made_with(&self, template: &Template) -> Option<Self> {
        let kind = match (&self.kind, template.key) {
            (PublicKind::Rsa(rsa), TemplateKey::Rsa(bits)) if rsa.bits == bits && rsa.exponent() == 65_537 => {
                PublicKind::Rsa(RsaPublic {
                    symmetric: template.symmetric,
                    scheme: template.scheme,
                    wire_exponent: 0,
                    ..rsa.clone()
                })
            }
            (PublicKind::Ecc(ecc), TemplateKey::Ecc(curve)) if ecc.curve == curve => PublicKind::Ecc(EccPublic {
                symmetric: template.symmetric,
                scheme: template.scheme,
                ..ecc.clone()
            }),
            _ => return None,
        };
        Some(Self {
            name_alg: template.name_alg,
            attributes: template.attributes,
            auth_policy: template.auth_policy.to_vec(),
            kind,
        })
    }

    /// The algorithm of the Name.
    #[must_use]
    pub const fn name_alg(&self) -> HashAlg {
        self.name_alg
    }

    /// The object attributes.
    #[must_use]
    pub const fn attributes(&self) -> ObjectAttributes {
        self.attributes
    }

    /// The policy digest; empty when the object has no policy.
    #[must_use]
    pub fn auth_policy(&self) -> &[u8] {
        &self.auth_policy
    }

    /// The kind of object and its parameters.
    #[must_use]
    pub const fn kind(&self) -> &PublicKind {
        &self.kind
    }

    /// The scheme that an asymmetric key is bound to; `None` for an object without a public key.
    #[must_use]
    pub const fn scheme(&self) -> Option<AsymScheme> {
        match &self.kind {
            PublicKind::Rsa(rsa) => Some(rsa.scheme),
            PublicKind::Ecc(ecc) => Some(ecc.scheme),
            PublicKind::KeyedHash { .. } | PublicKind::SymCipher { .. } => None,
        }
    }

    /// The cipher that a storage key protects its children with; `Null` for every other object.
    #[must_use]
    pub const fn storage_cipher(&self) -> Symmetric {
        match &self.kind {
            PublicKind::Rsa(rsa) => rsa.symmetric,
            PublicKind::Ecc(ecc) => ecc.symmetric,
            PublicKind::KeyedHash { .. } | PublicKind::SymCipher { .. } => Symmetric::Null,
        }
    }

    /// The public key as a canonical DER `SubjectPublicKeyInfo` (RFC 3279: `rsaEncryption` with NULL parameters;
    /// RFC 5480: `id-ecPublicKey` with a named curve and an uncompressed point). Equal keys have equal bytes.
    ///
    /// # Errors
    /// The object has no public key.
    pub fn spki_der(&self) -> Result<Vec<u8>, WireError> {
        match &self.kind {
            PublicKind::Rsa(rsa) => Ok(spki::rsa(rsa)),
            PublicKind::Ecc(ecc) => Ok(spki::ecc(ecc)),
            PublicKind::KeyedHash { .. } => Err(WireError::NotAKeyPair("keyed-hash")),
            PublicKind::SymCipher { .. } => Err(WireError::NotAKeyPair("symmetric cipher")),
        }
    }
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<RsaPublic, WireError> {
    let symmetric = Symmetric::read(reader)?;
    let scheme = AsymScheme::read_rsa(reader)?;
    let bits = match reader.u16()? {
        1024 => {
            return Err(WireError::Weak {
                field: "RSA key",
                found: "RSA-1024",
            });
        }
        bits @ (2048 | 3072 | 4096) => bits,
        _ => {
            return Err(WireError::malformed(STRUCTURE, "RSA keys have 2048, 3072 or 4096 bits"));
        }
    };
    let wire_exponent = reader.u32()?;
    if wire_exponent != 0 && (wire_exponent < 65_537 || wire_exponent.is_multiple_of(2)) {
        return Err(WireError::malformed(
            STRUCTURE,
            "an RSA exponent is 0 (for 65537) or odd and at least 65537",
        ));
    }
    let size = usize::from(bits / 8);
    let modulus = reader.sized("RSA modulus", size)?;
    let top_bit = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    if modulus.len() != size || !top_bit || !odd {
        return Err(WireError::malformed(
            STRUCTURE,
            "an RSA modulus is odd and has exactly keyBits bits",
        ));
    }
    if is_roca(modulus) {
        return Err(WireError::Roca);
    }
    Ok(RsaPublic {
        symmetric,
        scheme,
        bits,
        wire_exponent,
        modulus: modulus.to_vec(),
    })
}

fn read_ecc(reader: &mut Reader<'_>) -> Result<EccPublic, WireError> {
    let symmetric = Symmetric::read(reader)?;
    let scheme = AsymScheme::read_ecc(reader)?;
    let curve = Curve::accepted("curve", reader.u16()?)?;
    match reader.u16()? {
        ALG_NULL => {}
        value => {
            return Err(WireError::UnknownAlgorithm {
                field: "ECC key derivation",
                value,
            });
        }
    }
    let x = read_coordinate(reader, curve)?;
    let y = read_coordinate(reader, curve)?;
    Ok(EccPublic {
        symmetric,
        scheme,
        curve,
        x,
        y,
    })
}

/// A coordinate, which the TPM pads to the curve's width (part 1, annex C.8 "ECC point padding").
fn read_coordinate(reader: &mut Reader<'_>, curve: Curve) -> Result<Vec<u8>, WireError> {
    let coordinate = reader.sized("ECC coordinate", curve.coordinate_len())?;
    if coordinate.len() != curve.coordinate_len() {
        return Err(WireError::malformed(
            STRUCTURE,
            "a coordinate is exactly as wide as its curve",
        ));
    }
    Ok(coordinate.to_vec())
}

fn read_digest(reader: &mut Reader<'_>, name_alg: HashAlg) -> Result<Vec<u8>, WireError> {
    let digest = reader.sized("unique digest", name_alg.digest_len())?;
    if digest.len() != name_alg.digest_len() {
        return Err(WireError::malformed(STRUCTURE, "unique is a nameAlg digest"));
    }
    Ok(digest.to_vec())
}
