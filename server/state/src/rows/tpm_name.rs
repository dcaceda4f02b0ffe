//! Names that TPMs proved.

use hallmark_tpm_wire::Name;

/// A Name (TPM 2.0 part 1, section 16) of a TPM's key, an AK or the EK itself, and the EK beside which it was proven. It is
/// kept for as long as the store: the same TPM is recognised by it, also after its node was evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmName {
    /// The Name.
    pub name: Name,
    /// SHA-256 of the EK's SPKI.
    pub ek_sha256: [u8; 32],
}
