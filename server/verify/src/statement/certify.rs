//! TPM2_Certify of the SVID key by the AK (TPM 2.0 part 3, 18.2).

use hallmark_evidence::Signed;
use hallmark_tpm_wire::{Attest, AttestKind, Hierarchy, Name, PublicArea};

use super::{
    StatementError, StatementFault, StatementKind, other_type, parse, require_bound, require_signed, require_signer,
};

/// Proves that the object of Name `svid_name` is loaded in the TPM that holds `ak`, and that it ends with this boot: it is
/// a primary key of the null hierarchy.
///
/// The Name covers the whole public area, so the attributes that were judged in the claim are the certified ones.
///
/// # Errors
/// [`StatementError`] for the first thing that does not hold.
pub(crate) fn verify(
    signed: &Signed,
    ak: &PublicArea,
    binding: &[u8; 32],
    svid_name: &Name,
) -> Result<Attest, StatementError> {
    let judged = || {
        let attest = parse(signed)?;
        require_signed(signed, ak)?;
        require_signer(&attest, ak)?;
        require_bound(&attest, binding)?;
        require_certified(&attest, svid_name)?;
        Ok(attest)
    };
    judged().map_err(|fault| StatementError {
        kind: StatementKind::Certify,
        fault,
    })
}

fn require_certified(attest: &Attest, svid_name: &Name) -> Result<(), StatementFault> {
    let AttestKind::Certify(certified) = &attest.kind else {
        return Err(other_type(&attest.kind));
    };
    if certified.name != *svid_name {
        let (expected, actual) = (svid_name.to_string(), certified.name.to_string());
        return Err(StatementFault::OtherKey { expected, actual });
    }
    // The null hierarchy's seed is another one after each reset of the TPM, so its keys end with the boot.
    let qualified = svid_name.qualified_primary(Hierarchy::Null);
    if certified.qualified_name == qualified {
        return Ok(());
    }
    Err(StatementFault::OutlivesBoot {
        expected: qualified.to_string(),
        actual: certified.qualified_name.to_string(),
    })
}

/// TPM_ST_ATTEST_CERTIFY (TPM 2.0 part 2, table "TPM_ST").
pub(super) const ATTEST_CERTIFY: u16 = 0x8017;
