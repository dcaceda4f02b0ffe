//! What the operator trusts: pinned roots, the inventory, and what to do with expired certificates.

pub(crate) mod authority;
mod ek_templates;
mod error;
mod inventory;
pub(crate) mod revocation;
mod roots;

pub use ek_templates::EkTemplates;
pub use error::TrustError;
pub(crate) use inventory::names_of;
pub use inventory::{Inventory, InventoryMatch};
pub use revocation::Revocation;
pub use roots::EkRoots;

use std::sync::Arc;

use hallmark_evidence::EkCertificateChain;
use hallmark_tpm_wire::Name;

/// The operator's trust, as configured. Shared by all attestations.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Roots for EK certificates.
    pub roots: EkRoots,
    /// EKs that are enrolled one by one.
    pub inventory: Inventory,
    /// Which of a TPM's endorsement keys counts.
    pub ek_templates: EkTemplates,
    /// What an expired EK certificate means.
    pub expired: ExpiredPolicy,
    /// The vendors' revocation lists.
    pub revocation: Arc<Revocation>,
}

/// What an expired EK certificate means. A certificate that is not valid yet is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiredPolicy {
    /// Refused always.
    Enforce,
    /// Refused unless this EK was enrolled before: a TPM outlives its certificate.
    #[default]
    AtEnrolment,
    /// Expiry is not looked at.
    Ignore,
}

/// What the server recorded of a TPM, looked up by the EK's SPKI hash. The caller vouches for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownTpm {
    /// SHA-256 of the EK's canonical SPKI that the record is about.
    pub ek_sha256: [u8; 32],
    /// Name of the AK that was activated for this EK; `None` if no AK is to be taken without a new activation.
    pub ak_name: Option<Name>,
    /// Whether the TPM is enrolled: then it may go on with a certificate that has expired since.
    pub enrolled: bool,
    /// Its EK certificate, as it was verified last. What the machine leaves out is judged by this.
    pub certificate: Option<EkCertificateChain>,
}
