//! The EK certificates that were verified.

/// The EK certificate of an EK, as it was verified last. It outlives the node: who comes back without it is judged by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EkCertificate {
    /// SHA-256 of the EK's SPKI.
    pub ek_sha256: [u8; 32],
    /// The certificate with its intermediates, as JSON whose form belongs to the server.
    pub certificate: String,
}
