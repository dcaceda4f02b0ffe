//! The second part: the SVID key.

use hallmark_evidence::Signed;
use hallmark_tpm_wire::Name;

use super::{ProvenTpm, QuotedState};
use crate::statement::{Boot, StatementError, StatementFault, StatementKind, verify_certify};

/// An SVID key of the right kind, for which there is a CSR that it signed. Where it lives is not known.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedKey {
    pub(crate) spki: Vec<u8>,
    pub(crate) name: Name,
}

/// Proven: the SVID key lives in the TPM of a [`ProvenTpm`], never leaves it, and ends with the boot in which it was
/// certified.
///
/// Not proven: who on the machine may use it.
#[derive(Debug, Clone)]
pub struct ProvenKey {
    claimed: ClaimedKey,
    boot: Boot,
}

impl ProvenKey {
    /// The claimed key, once the AK of `tpm` has certified it under `binding`.
    ///
    /// # Errors
    /// [`StatementError`] for the first thing that does not hold.
    pub(crate) fn certified(
        tpm: &ProvenTpm,
        claimed: ClaimedKey,
        certify: &Signed,
        binding: &[u8; 32],
    ) -> Result<Self, StatementError> {
        let attest = verify_certify(certify, tpm.ak(), binding, &claimed.name)?;
        Ok(Self {
            claimed,
            boot: Boot::of(&attest),
        })
    }

    /// Certification and quote come from one TPM with one life: else the state that was quoted is not the state in which
    /// the key was certified, and the key may be gone.
    ///
    /// # Errors
    /// The quote is of another boot.
    pub(crate) fn require_same_boot(&self, quoted: &QuotedState) -> Result<(), StatementError> {
        let now = quoted.boot();
        if self.boot == now {
            return Ok(());
        }
        let (certified, quoted) = (self.boot.to_string(), now.to_string());
        Err(StatementError {
            kind: StatementKind::Quote,
            fault: StatementFault::OtherBoot { certified, quoted },
        })
    }

    /// The key's canonical SPKI, DER. Only for this key may an SVID be issued.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.claimed.spki
    }

    /// The key's Name, which covers its attributes.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.claimed.name
    }
}
