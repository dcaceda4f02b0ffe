//! Signatures of files, as the kernel keeps them in `security.ima` and `security.evm` (Linux, security/integrity/
//! integrity.h, `struct signature_v2_hdr`): read here to the byte, and reduced to a digest and a signature over it.

use std::fmt;

use hallmark_evidence::ima::{DigestKind, Field, ImaEvent};
use hallmark_tpm_wire::HashAlg;
use serde::{Deserialize, Serialize};

use super::evm;

/// `EVM_IMA_XATTR_DIGSIG`: over a file's digest.
const DIGEST: u8 = 3;
/// `EVM_XATTR_PORTABLE_DIGSIG`: over a file's metadata.
const PORTABLE: u8 = 5;
/// `IMA_VERITY_DIGSIG`: over an fs-verity digest.
const VERITY: u8 = 6;
/// Type, version, hash, key id and length.
const HEADER: usize = 9;
/// The longest signature, in bytes: RSA with 8192 bits.
const MAX_SIGNATURE: usize = 1024;

/// A signature that a line brings with it, and what it must be over for the line's digest. Whether it is: see
/// [`ImaKeys::verify`](super::ImaKeys::verify).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSignature {
    /// The last four bytes of the signing key's subject key identifier.
    #[serde(rename = "k", with = "hex")]
    pub key_id: [u8; 4],
    /// `sha256`, `sha384` or `sha512`.
    #[serde(rename = "h", with = "algorithm")]
    pub hash: HashAlg,
    /// The digest that is signed: the file's own, or one over it.
    #[serde(rename = "d", with = "hex")]
    pub signed: Vec<u8>,
    /// PKCS #1 v1.5, or ECDSA in DER.
    #[serde(rename = "s", with = "hex")]
    pub signature: Vec<u8>,
}

/// Why what a line brings is no signature that could vouch for its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SignatureFault {
    /// Cut off, of another length than it says, or of a version that its type does not have.
    Malformed,
    /// A type that is no signature, or of a hash that is not known.
    Unknown,
    /// Over SHA-1 or a weaker hash.
    WeakHash,
    /// Over another algorithm's digest than the line has.
    OtherHash,
    /// Over something else than the line's digest, or over what the line does not tell.
    NotOverTheDigest,
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its signature is malformed",
            Self::Unknown => "its signature is of a type or hash that is not known",
            Self::WeakHash => "its signature is over SHA-1 or a weaker hash",
            Self::OtherHash => "its signature is over the digest of another algorithm than the one that was measured",
            Self::NotOverTheDigest => "its signature does not cover what was measured",
        })
    }
}

/// The signature of a line; `None` if it has none.
///
/// # Errors
/// [`SignatureFault`] if it has one that could not vouch for its digest, whatever the key.
pub fn file_signature(event: &ImaEvent<'_>) -> Option<Result<FileSignature, SignatureFault>> {
    let field = event
        .fields()
        .find(|(field, bytes)| matches!(field, Field::Signature | Field::EvmSignature) && !bytes.is_empty());
    field.map(|(_, bytes)| Header::parse(bytes).and_then(|header| header.over(event)))
}

/// A signature's header, and the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header<'a> {
    kind: u8,
    version: u8,
    /// `HASH_ALGO_*`, as the signature writes it.
    hash_id: u8,
    hash: HashAlg,
    key_id: [u8; 4],
    signature: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, SignatureFault> {
        let (header, signature) = bytes.split_first_chunk::<HEADER>().ok_or(SignatureFault::Malformed)?;
        let [kind, version, hash_id, k0, k1, k2, k3, high, low] = *header;
        if !matches!(kind, DIGEST | PORTABLE | VERITY) {
            return Err(SignatureFault::Unknown);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        // Version 3 signs type and algorithm with the digest; an fs-verity digest has no signature without that.
        let fits = matches!((kind, version), (DIGEST, 2 | 3) | (PORTABLE, 2) | (VERITY, 3));
        if !fits || length != signature.len() || !(1..=MAX_SIGNATURE).contains(&length) {
            return Err(SignatureFault::Malformed);
        }
        Ok(Self {
            kind,
            version,
            hash_id,
            hash: hash(hash_id)?,
            key_id: [k0, k1, k2, k3],
            signature,
        })
    }

    /// What the signature must be over, if it is to vouch for the line's digest.
    fn over(self, event: &ImaEvent<'_>) -> Result<FileSignature, SignatureFault> {
        let digest = &event.digest;
        let signed = if self.kind == PORTABLE {
            // Metadata may be hashed with another algorithm than contents.
            evm::signed(event, self.hash).ok_or(SignatureFault::NotOverTheDigest)?
        } else {
            if *digest.algorithm != *self.hash.as_str() || digest.value.len() != self.hash.digest_len() {
                return Err(SignatureFault::OtherHash);
            }
            match (self.kind, digest.kind) {
                // The plain templates do not say which digest it is; the signature's type, which it covers, does.
                (VERITY, _) => self.hash.digest(&self.file_id(&digest.value)),
                (_, DigestKind::Verity) => return Err(SignatureFault::NotOverTheDigest),
                _ if self.version == 3 => self.hash.digest(&self.file_id(&digest.value)),
                _ => digest.value.to_vec(),
            }
        };
        Ok(FileSignature {
            key_id: self.key_id,
            hash: self.hash,
            signed,
            signature: self.signature.to_vec(),
        })
    }

    /// `struct ima_file_id`: type, algorithm, digest.
    fn file_id(&self, digest: &[u8]) -> Vec<u8> {
        [&[self.kind, self.hash_id], digest].concat()
    }
}

/// An algorithm by the kernel's number (include/uapi/linux/hash_info.h, `enum hash_algo`).
fn hash(id: u8) -> Result<HashAlg, SignatureFault> {
    match id {
        4 => Ok(HashAlg::Sha256),
        5 => Ok(HashAlg::Sha384),
        6 => Ok(HashAlg::Sha512),
        // MD4, MD5, SHA-1, RIPEMD-160 and -128, SHA-224.
        0..=3 | 7 | 8 => Err(SignatureFault::WeakHash),
        _ => Err(SignatureFault::Unknown),
    }
}

/// The kernel's number of an algorithm.
pub(super) const fn hash_id(hash: HashAlg) -> u8 {
    match hash {
        HashAlg::Sha1 => 2,
        HashAlg::Sha256 => 4,
        HashAlg::Sha384 => 5,
        HashAlg::Sha512 => 6,
    }
}

mod algorithm {
    use hallmark_tpm_wire::HashAlg;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(hash: &HashAlg, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(hash.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<HashAlg, D::Error> {
        let name = String::deserialize(from)?;
        let known = HashAlg::from_name(&name).filter(|hash| hash.is_strong());
        known.ok_or_else(|| D::Error::custom("no strong hash"))
    }
}
