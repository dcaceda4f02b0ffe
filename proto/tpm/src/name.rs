//! The Name of a TPM object (part 1, section 16 "Names").

use std::fmt;

use crate::{alg::HashAlg, error::WireError, reader::Reader};

/// The Name of a key: its nameAlg, then the digest of its public area under that algorithm. SHA-256 or better.
///
/// A Name binds every public property of the key, attributes included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    bytes: Vec<u8>,
    alg: HashAlg,
}

impl Name {
    /// The longest Name: SHA-512.
    pub const MAX_LEN: usize = 66;

    /// Reads a Name: 2 bytes of nameAlg and exactly that algorithm's digest.
    ///
    /// # Errors
    /// The algorithm is unknown or SHA-1, or the length is not the algorithm's: the sender's key was made with another
    /// template, or a handle was sent in a Name's place.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes, "Name");
        let alg = HashAlg::strong("nameAlg", reader.u16()?)?;
        reader.take(alg.digest_len())?;
        reader.finish()?;
        Ok(Self {
            bytes: bytes.to_vec(),
            alg,
        })
    }

    /// The Name of a marshalled public area.
    pub(crate) fn of_public(alg: HashAlg, marshalled: &[u8]) -> Self {
        let mut bytes = alg.id().to_be_bytes().to_vec();
        bytes.extend_from_slice(&alg.digest(marshalled));
        Self { bytes, alg }
    }

    /// The Qualified Name of this key as a primary key of `hierarchy` (part 1, section 26.5).
    #[must_use]
    pub fn qualified_primary(&self, hierarchy: Hierarchy) -> Self {
        self.qualified(&hierarchy.handle().to_be_bytes())
    }

    /// The Qualified Name of this key as a child of the key with the Qualified Name `parent`.
    #[must_use]
    pub fn qualified_child(&self, parent: &Self) -> Self {
        self.qualified(&parent.bytes)
    }

    fn qualified(&self, parent: &[u8]) -> Self {
        Self::of_public(self.alg, &[parent, &self.bytes].concat())
    }

    /// The whole Name: nameAlg and digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The nameAlg.
    #[must_use]
    pub fn hash_alg(&self) -> HashAlg {
        self.alg
    }
}

impl fmt::Display for Name {
    /// Lower-case hex of the whole Name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// A hierarchy that primary keys are made in (part 2, section 7.4, table "TPM_RH").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hierarchy {
    /// `TPM_RH_OWNER`.
    Owner,
    /// `TPM_RH_ENDORSEMENT`.
    Endorsement,
    /// `TPM_RH_PLATFORM`.
    Platform,
    /// `TPM_RH_NULL`.
    Null,
}

impl Hierarchy {
    /// The permanent handle.
    #[must_use]
    pub const fn handle(self) -> u32 {
        match self {
            Self::Owner => 0x4000_0001,
            Self::Endorsement => 0x4000_000b,
            Self::Platform => 0x4000_000c,
            Self::Null => 0x4000_0007,
        }
    }
}
