//! What the AK signed: TPM2_Certify of the SVID key, and TPM2_Quote.

mod certify;
mod error;
mod quote;

pub use error::{StatementError, StatementFault, StatementKind};

pub(crate) use certify::verify as verify_certify;
pub(crate) use quote::{CheckedQuote, QuoteCheck, QuoteRules, check as check_quote, require_digest};

use hallmark_evidence::Signed;
use hallmark_tpm_wire::{Attest, AttestKind, ClockInfo, Hierarchy, PublicArea, Signature, WireError};

use crate::fingerprint::hex;

/// Which life of which TPM a statement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot {
    reset_count: u32,
    restart_count: u32,
    firmware_version: u64,
}

impl Boot {
    pub(crate) const fn new(clock: &ClockInfo, firmware_version: u64) -> Self {
        Self {
            reset_count: clock.reset_count,
            restart_count: clock.restart_count,
            firmware_version,
        }
    }

    pub(crate) const fn of(attest: &Attest) -> Self {
        Self::new(&attest.clock_info, attest.firmware_version)
    }
}

impl std::fmt::Display for Boot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (reset, restart) = (self.reset_count, self.restart_count);
        write!(f, "{reset}/{restart}/{:016x}", self.firmware_version)
    }
}

fn parse(signed: &Signed) -> Result<Attest, StatementFault> {
    Attest::parse(&signed.attest).map_err(|error| match error {
        WireError::WrongMagic(found) => StatementFault::Magic { found },
        other => StatementFault::Malformed(other),
    })
}

fn require_signed(signed: &Signed, ak: &PublicArea) -> Result<(), StatementFault> {
    let signature = Signature::parse(&signed.signature).map_err(StatementFault::SignatureForm)?;
    signature.verify(ak, &signed.attest).map_err(|error| match error {
        WireError::SchemeMismatch { key, signature } => StatementFault::Scheme { key, signature },
        WireError::SignatureValue(what) => StatementFault::SignatureValue(what),
        _ => StatementFault::Signature,
    })
}

/// The AK must be a primary key of the endorsement hierarchy: the TPM tells resetCount, restartCount and
/// firmwareVersion truly only to such a key (TPM 2.0 part 1, 36.7), and its Qualified Name then is a known digest.
fn require_signer(attest: &Attest, ak: &PublicArea) -> Result<(), StatementFault> {
    let expected = ak.name().qualified_primary(Hierarchy::Endorsement);
    if attest.qualified_signer == expected {
        return Ok(());
    }
    let (expected, actual) = (expected.to_string(), attest.qualified_signer.to_string());
    Err(StatementFault::Signer { expected, actual })
}

fn require_bound(attest: &Attest, binding: &[u8]) -> Result<(), StatementFault> {
    if attest.extra_data == binding {
        return Ok(());
    }
    Err(StatementFault::NotBound {
        expected: hex(binding),
        actual: hex(&attest.extra_data),
    })
}

/// The type of a statement that is not of the wanted one.
const fn other_type(kind: &AttestKind) -> StatementFault {
    let found = match kind {
        AttestKind::Certify(_) => certify::ATTEST_CERTIFY,
        AttestKind::Quote(_) => quote::ATTEST_QUOTE,
        AttestKind::Other(found) => *found,
        _ => 0,
    };
    StatementFault::Type { found }
}
