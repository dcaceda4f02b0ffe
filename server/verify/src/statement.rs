//! What the AK signed: TPM2_Certify of the SVID key, and TPM2_Quote.

mod certify;
mod error;
mod quote;

pub use error::{StatementError, StatementFault, StatementKind};

pub(crate) use certify::verify as verify_certify;
pub(crate) use quote::{Quoted, verify as verify_quote};

use hallmark_evidence::Signed;
use hallmark_tpm_wire::{Attest, Hierarchy, PublicArea, Signature, WireError};

use crate::fingerprint::hex;

/// Reads a statement that `ak` signed under `binding`: signature, signer and binding hold; what it states is not yet
/// looked at.
///
/// The AK must be a primary key of the endorsement hierarchy: the TPM tells resetCount, restartCount and
/// firmwareVersion truly only to such a key (TPM 2.0 part 1, 36.7), and its Qualified Name then is a known digest.
///
/// # Errors
/// [`StatementError`] for the first of: malformed, not made by a TPM, signature, signer, binding.
fn open(kind: StatementKind, signed: &Signed, ak: &PublicArea, binding: &[u8; 32]) -> Result<Attest, StatementError> {
    let fault = |fault| StatementError { kind, fault };
    let attest = Attest::parse(&signed.attest).map_err(|error| fault(malformed(error)))?;
    let signature = Signature::parse(&signed.signature).map_err(|error| fault(StatementFault::SignatureForm(error)))?;
    signature
        .verify(ak, &signed.attest)
        .map_err(|error| fault(unsigned(error)))?;
    let expected = ak.name().qualified_primary(Hierarchy::Endorsement);
    if attest.qualified_signer != expected {
        let (expected, actual) = (expected.to_string(), attest.qualified_signer.to_string());
        return Err(fault(StatementFault::Signer { expected, actual }));
    }
    if attest.extra_data != binding {
        return Err(fault(StatementFault::NotBound {
            expected: hex(binding),
            actual: hex(&attest.extra_data),
        }));
    }
    Ok(attest)
}

fn malformed(error: WireError) -> StatementFault {
    match error {
        WireError::WrongMagic(found) => StatementFault::Magic { found },
        other => StatementFault::Malformed(other),
    }
}

fn unsigned(error: WireError) -> StatementFault {
    match error {
        WireError::SchemeMismatch { key, signature } => StatementFault::Scheme { key, signature },
        WireError::SignatureValue(what) => StatementFault::SignatureValue(what),
        _ => StatementFault::Signature,
    }
}
