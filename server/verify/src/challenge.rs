//! The server's challenge, and what makes its answer fresh.

mod error;

pub use error::ChallengeError;

use std::time::{Duration, SystemTime};

use hallmark_tpm_wire::credential::{self, Credential};
use hallmark_tpm_wire::{Name, PcrSelection};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::proven::{ProvenKey, ProvenTpm};
use crate::verify_claim::VerifiedClaim;

/// How long a challenge may be answered.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(60);

/// Registers that any program on the node may reset (TCG PC Client Platform TPM Profile, table "PCR Attributes"): a
/// quote over them proves nothing about the boot.
const RESETTABLE: [u8; 2] = [16, 23];

/// One challenge for the state of one node. It cannot be copied, and [`verify_state`](crate::verify_state()) takes it away:
/// so an answer counts once.
#[derive(Debug)]
pub struct StateChallenge {
    nonce: [u8; 32],
    selection: PcrSelection,
    issued: SystemTime,
    subject: Subject,
}

/// One challenge for one verified claim. It cannot be copied, and [`verify_proof`](crate::verify_proof()) takes it away: so an
/// answer counts once. It holds the secret and shows it to nobody.
pub struct Challenge {
    state: StateChallenge,
    secret: Option<Zeroizing<[u8; 32]>>,
    credential: Option<Credential>,
}

/// Whom a challenge was made for.
#[derive(Debug, PartialEq, Eq)]
struct Subject {
    ek: [u8; 32],
    ak: Name,
    svid_key: Name,
}

impl Subject {
    fn of_claim(claim: &VerifiedClaim) -> Self {
        Self {
            ek: *claim.ek_sha256(),
            ak: claim.ak_name().clone(),
            svid_key: claim.key.name.clone(),
        }
    }

    fn of_node(tpm: &ProvenTpm, key: &ProvenKey) -> Self {
        Self {
            ek: *tpm.ek_sha256(),
            ak: tpm.ak_name().clone(),
            svid_key: key.name().clone(),
        }
    }
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("selection", &self.state.selection)
            .field("with_credential", &self.credential.is_some())
            .field("issued", &self.state.issued)
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
        let state = StateChallenge::new(Subject::of_claim(self), nonce, selection, now)?;
        if secret.is_none() && !self.ak_is_known() {
            return Err(ChallengeError::SecretNeeded {
                ak_name: self.ak_name().to_string(),
            });
        }
        let credential = secret
            .as_ref()
            .map(|secret| credential::make(&self.tpm.ek_public, self.ak_name(), secret.as_slice()))
            .transpose()
            .map_err(ChallengeError::Credential)?;
        Ok(Challenge {
            state,
            secret,
            credential,
        })
    }
}

impl StateChallenge {
    /// A challenge for the node with this TPM and key: `nonce` is fresh random bytes, `selection` is what the quote must
    /// cover.
    ///
    /// # Errors
    /// [`ChallengeError`] if the selection proves nothing.
    pub fn for_node(
        tpm: &ProvenTpm,
        key: &ProvenKey,
        nonce: [u8; 32],
        selection: PcrSelection,
        now: SystemTime,
    ) -> Result<Self, ChallengeError> {
        Self::new(Subject::of_node(tpm, key), nonce, selection, now)
    }

    fn new(
        subject: Subject,
        nonce: [u8; 32],
        selection: PcrSelection,
        issued: SystemTime,
    ) -> Result<Self, ChallengeError> {
        require_meaningful(&selection)?;
        Ok(Self {
            nonce,
            selection,
            issued,
            subject,
        })
    }

    /// The nonce to send.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// What the quote must cover, exactly.
    #[must_use]
    pub const fn selection(&self) -> &PcrSelection {
        &self.selection
    }

    /// Whether the answer comes in time, from the node that was challenged.
    pub(crate) fn require_open(&self, tpm: &ProvenTpm, key: &ProvenKey, now: SystemTime) -> Result<(), ChallengeError> {
        self.require_open_for(&Subject::of_node(tpm, key), now)
    }

    fn require_open_for(&self, subject: &Subject, now: SystemTime) -> Result<(), ChallengeError> {
        if self.subject != *subject {
            return Err(ChallengeError::Crossed);
        }
        match now.duration_since(self.issued) {
            Ok(age) if age <= CHALLENGE_LIFETIME => Ok(()),
            Ok(age) => Err(ChallengeError::Late { age: age.as_secs() }),
            Err(error) => Err(ChallengeError::ClockWentBack {
                by: error.duration().as_secs(),
            }),
        }
    }
}

impl Challenge {
    /// The nonce to send.
    #[must_use]
    pub const fn nonce(&self) -> &[u8; 32] {
        self.state.nonce()
    }

    /// The credential to send; `None` for an AK that is known.
    #[must_use]
    pub const fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// What the quote must cover, exactly.
    #[must_use]
    pub const fn selection(&self) -> &PcrSelection {
        self.state.selection()
    }

    /// Whether the answer comes in time, from the claim that was challenged.
    pub(crate) fn require_open(&self, claim: &VerifiedClaim, now: SystemTime) -> Result<(), ChallengeError> {
        self.state.require_open_for(&Subject::of_claim(claim), now)
    }

    /// Whether the answer has the secret that the credential holds; none where none was asked for.
    pub(crate) fn require_secret(&self, secret: Option<&[u8]>) -> Result<(), ChallengeError> {
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
    if selection.banks().iter().any(|bank| bank.pcrs().next().is_none()) {
        return Err(ChallengeError::EmptyBank);
    }
    require_strong(selection)?;
    match selection.pcrs().find(|(_, pcr)| is_resettable(*pcr)) {
        Some((_, pcr)) => Err(ChallengeError::ResettablePcr { pcr }),
        None => Ok(()),
    }
}

/// Some register, and none of a bank whose hash can be forged.
pub(crate) fn require_strong(selection: &PcrSelection) -> Result<(), ChallengeError> {
    if selection.pcrs().next().is_none() {
        return Err(ChallengeError::EmptyBank);
    }
    match selection.banks().iter().find(|bank| !bank.hash().is_strong()) {
        Some(weak) => Err(ChallengeError::WeakBank {
            bank: weak.hash().to_string(),
        }),
        None => Ok(()),
    }
}

/// Whether any program on the node may reset the register.
pub(crate) fn is_resettable(pcr: u8) -> bool {
    RESETTABLE.contains(&pcr)
}
