//! The server's challenge, and what makes its answer fresh.

mod error;

pub use error::ChallengeError;

use std::time::{Duration, SystemTime};

use hallmark_tpm_wire::credential::{self, Credential};
use hallmark_tpm_wire::{Name, PcrSelection};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::verify_claim::VerifiedClaim;

/// How long a challenge may be answered.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(60);

/// Registers that any program on the node may reset (TCG PC Client Platform TPM Profile, table "PCR Attributes"): a
/// quote over them proves nothing about the boot.
const RESETTABLE: [u8; 2] = [16, 23];

/// One challenge for one verified claim. It cannot be copied, and [`verify_proof`](crate::verify_proof()) takes it away: so an
/// answer counts once. It holds the secret and shows it to nobody.
pub struct Challenge {
    pub(crate) nonce: [u8; 32],
    pub(crate) selection: PcrSelection,
    secret: Option<Zeroizing<[u8; 32]>>,
    credential: Option<Credential>,
    issued: SystemTime,
    subject: Subject,
}

/// Which claim a challenge was made for.
#[derive(Debug, PartialEq, Eq)]
struct Subject {
    ek: [u8; 32],
    ak: Name,
    svid_key: Name,
}

impl Subject {
    fn of(verified_claim: &VerifiedClaim) -> Self {
        Self {
            ek: verified_claim.ek.sha256,
            ak: verified_claim.ak_name.clone(),
            svid_key: verified_claim.svid_name.clone(),
        }
    }
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("selection", &self.selection)
            .field("with_credential", &self.credential.is_some())
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}

impl VerifiedClaim {
    /// Makes the challenge: `nonce` and `secret` are fresh random bytes, `selection` is what the quote must cover.
    ///
    /// The credential is made for this EK and the Name of this AK, so only the TPM that holds both can open it. `secret`
    /// may be `None` only for an AK that is recorded as activated for this EK.
    ///
    /// # Errors
    /// [`ChallengeError`] if the selection proves nothing, the secret is missing, or no credential can be made for this
    /// EK.
    pub fn challenge_with(
        &self,
        nonce: [u8; 32],
        secret: Option<Zeroizing<[u8; 32]>>,
        selection: PcrSelection,
        now: SystemTime,
    ) -> Result<Challenge, ChallengeError> {
        require_meaningful(&selection)?;
        if secret.is_none() && !self.ak_known {
            return Err(ChallengeError::SecretNeeded {
                ak_name: self.ak_name.to_string(),
            });
        }
        let credential = secret
            .as_ref()
            .map(|secret| credential::make(&self.ek_public, &self.ak_name, secret.as_slice()))
            .transpose()
            .map_err(ChallengeError::Credential)?;
        Ok(Challenge {
            nonce,
            selection,
            secret,
            credential,
            issued: now,
            subject: Subject::of(self),
        })
    }
}

impl Challenge {
    /// The nonce to send.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// The credential to send; `None` for an AK that is known.
    #[must_use]
    pub const fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// What the quote must cover, exactly.
    #[must_use]
    pub const fn selection(&self) -> &PcrSelection {
        &self.selection
    }

    /// Whether the answer comes in time, from the claim that was challenged, and with the right secret.
    pub(crate) fn require_answered(
        &self,
        verified_claim: &VerifiedClaim,
        secret: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<(), ChallengeError> {
        if self.subject != Subject::of(verified_claim) {
            return Err(ChallengeError::Crossed);
        }
        match now.duration_since(self.issued) {
            Ok(age) if age <= CHALLENGE_LIFETIME => {}
            Ok(age) => return Err(ChallengeError::Late { age: age.as_secs() }),
            Err(error) => {
                return Err(ChallengeError::ClockWentBack {
                    by: error.duration().as_secs(),
                });
            }
        }
        match (&self.secret, secret) {
            (Some(expected), Some(actual)) if bool::from(expected.as_slice().ct_eq(actual)) => Ok(()),
            (Some(_), Some(_)) => Err(ChallengeError::SecretWrong),
            (Some(_), None) => Err(ChallengeError::SecretMissing),
            (None, Some(_)) => Err(ChallengeError::SecretUnasked),
            (None, None) => Ok(()),
        }
    }
}

/// Refuses selections over which a quote would prove nothing.
fn require_meaningful(selection: &PcrSelection) -> Result<(), ChallengeError> {
    if selection.pcrs().next().is_none() || selection.banks().iter().any(|bank| bank.pcrs().next().is_none()) {
        return Err(ChallengeError::EmptyBank);
    }
    for (hash, pcr) in selection.pcrs() {
        if !hash.is_strong() {
            return Err(ChallengeError::WeakBank { bank: hash.to_string() });
        }
        if RESETTABLE.contains(&pcr) {
            return Err(ChallengeError::ResettablePcr { pcr });
        }
    }
    Ok(())
}
