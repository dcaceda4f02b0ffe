//! The first step: the claim.

use std::time::SystemTime;

use hallmark_evidence::{Claim, EkCertificateChain};
use hallmark_tpm_wire::{Name, PublicArea, PublicKind};

use crate::VerifyError;
use crate::enrolment::enrol;
use crate::fingerprint::sha256;
use crate::keys::{KeyError, KeyFault, KeyRole, require_agents_ak, require_ek, require_svid_key, verify_csr};
use crate::proven::{ClaimedKey, ClaimedTpm};
use crate::trust::{KnownTpm, Trust};

/// A claim whose EK belongs here, whose keys are of the right kind, and whose CSR is signed by the key that it is for.
///
/// It does not say that AK and SVID key live in the TPM of that EK: that takes the challenge.
#[derive(Debug)]
pub struct VerifiedClaim {
    pub(crate) tpm: ClaimedTpm,
    pub(crate) key: ClaimedKey,
    /// The genuine certificate that the claim shows, if the record has another or none.
    new_certificate: Option<EkCertificateChain>,
}

impl VerifiedClaim {
    /// SHA-256 of the EK's canonical SPKI, DER.
    #[must_use]
    pub const fn ek_sha256(&self) -> &[u8; 32] {
        &self.tpm.ek.sha256
    }

    /// The AK's Name.
    #[must_use]
    pub const fn ak_name(&self) -> &Name {
        &self.tpm.ak_name
    }

    /// The EK certificate to keep of this EK, once the sender has proven that it holds it: it is genuine, and the record
    /// has another or none.
    #[must_use]
    pub const fn new_certificate(&self) -> Option<&EkCertificateChain> {
        self.new_certificate.as_ref()
    }

    /// Whether this AK was activated for this EK before, so that a challenge needs no credential.
    #[must_use]
    pub const fn ak_is_known(&self) -> bool {
        self.tpm.ak_known
    }
}

/// SHA-256 of the canonical SPKI of the claim's EK, by which the caller looks up its record of the TPM.
///
/// # Errors
/// [`VerifyError::Key`] if the EK has no public key.
pub fn ek_sha256(claim: &Claim) -> Result<[u8; 32], VerifyError> {
    spki(&claim.ek_public, KeyRole::Ek).map(|spki| sha256(&spki))
}

/// Judges a claim at `now`. `known` is the caller's record of this TPM, if it attested before (see [`ek_sha256`]).
///
/// # Errors
/// [`VerifyError`] for the first thing that is wrong: the EK's template, certificate or enrolment, the AK, the SVID key,
/// the CSR.
pub fn verify_claim(
    claim: Claim,
    trust: &Trust,
    known: Option<&KnownTpm>,
    now: SystemTime,
) -> Result<VerifiedClaim, VerifyError> {
    require_ek(&claim.ek_public)?;
    require_agents_ak(&claim.ak_public)?;
    require_svid_key(&claim.svid_public)?;
    let ek_spki = spki(&claim.ek_public, KeyRole::Ek)?;
    let ek = enrol(&claim, &ek_spki, trust, known, now)?;
    let svid_spki = spki(&claim.svid_public, KeyRole::Svid)?;
    verify_csr(&claim.csr, &svid_spki, &point(&claim.svid_public))?;
    let ak_name = claim.ak_public.name();
    let kept = known.and_then(|record| record.certificate.as_ref());
    let (ek_certificate, ek_chain) = match ek.chain() {
        Some(chain) if ek.chain_was_kept => (Some(chain.certificate.clone()), chain.intermediates.clone()),
        _ => (claim.ek_certificate, claim.ek_chain),
    };
    Ok(VerifiedClaim {
        new_certificate: ek.chain().filter(|chain| Some(*chain) != kept).cloned(),
        key: ClaimedKey {
            name: claim.svid_public.name(),
            spki: svid_spki,
        },
        tpm: ClaimedTpm {
            ak_known: known.and_then(|record| record.ak_name.as_ref()) == Some(&ak_name),
            ek,
            ek_public: claim.ek_public,
            ak_public: claim.ak_public,
            ak_name,
            ek_certificate,
            ek_chain,
        },
    })
}

pub(crate) fn spki(key: &PublicArea, role: KeyRole) -> Result<Vec<u8>, VerifyError> {
    key.spki_der().map_err(|_| {
        KeyError {
            role,
            fault: KeyFault::NotAKeyPair,
        }
        .into()
    })
}

/// The uncompressed point of a key that [`require_svid_key`] passed, so of an ECC key.
fn point(key: &PublicArea) -> Vec<u8> {
    match key.kind() {
        PublicKind::Ecc(ecc) => ecc.uncompressed_point(),
        _ => Vec::new(),
    }
}
