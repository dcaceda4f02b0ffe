//! The server's challenge, and what makes its answer fresh.

use std::time::{Duration, SystemTime};

use hallmark_reason::ReasonCode;
use hallmark_tpm_wire::credential::{self, Credential};
use hallmark_tpm_wire::{Name, PcrSelection, WireError};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::examine::Examined;
use crate::refusal::{RefusalClass, Row, coded_by_row, expected};

/// How long a challenge may be answered.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(60);

/// Registers that any program on the node may reset (TCG PC Client Platform TPM Profile, table "PCR Attributes"): a
/// quote over them proves nothing about the boot.
const RESETTABLE: [u8; 2] = [16, 23];

/// One challenge for one examined claim. It cannot be copied, and [`conclude`](crate::conclude) takes it away: so an
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
    fn of(examined: &Examined) -> Self {
        Self {
            ek: examined.ek.sha256,
            ak: examined.ak_name.clone(),
            svid_key: examined.svid_name.clone(),
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

impl Examined {
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
        examined: &Examined,
        secret: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<(), ChallengeError> {
        if self.subject != Subject::of(examined) {
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
            (Some(expected), Some(actual)) if bool::from(expected.as_slice().ct_eq(actual)) => {
                Ok(())
            }
            (Some(_), Some(_)) => Err(ChallengeError::SecretWrong),
            (Some(_), None) => Err(ChallengeError::SecretMissing),
            (None, Some(_)) => Err(ChallengeError::SecretUnasked),
            (None, None) => Ok(()),
        }
    }
}

/// Refuses selections over which a quote would prove nothing.
fn require_meaningful(selection: &PcrSelection) -> Result<(), ChallengeError> {
    if selection.pcrs().next().is_none()
        || selection
            .banks()
            .iter()
            .any(|bank| bank.pcrs().next().is_none())
    {
        return Err(ChallengeError::EmptyBank);
    }
    for (hash, pcr) in selection.pcrs() {
        if !hash.is_strong() {
            return Err(ChallengeError::WeakBank {
                bank: hash.to_string(),
            });
        }
        if RESETTABLE.contains(&pcr) {
            return Err(ChallengeError::ResettablePcr { pcr });
        }
    }
    Ok(())
}

/// Why a challenge could not be made, or its answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// The selection has a bank without registers, or none at all.
    #[error("the PCR selection has an empty bank")]
    EmptyBank,
    /// The selection has a bank that is too weak.
    #[error("the PCR selection has a weak bank")]
    WeakBank {
        /// The bank.
        bank: String,
    },
    /// The selection has a register that programs may reset.
    #[error("the PCR selection has a register that any program may reset")]
    ResettablePcr {
        /// The register.
        pcr: u8,
    },
    /// A new AK needs a secret.
    #[error("an AK that is not recorded for this EK must activate a credential")]
    SecretNeeded {
        /// The AK's Name, hex.
        ak_name: String,
    },
    /// No credential can be made for this EK.
    #[error("no credential can be made for this endorsement key: {0}")]
    Credential(WireError),
    /// The challenge was made for another claim.
    #[error("the challenge was made for another claim")]
    Crossed,
    /// The answer comes too late.
    #[error("the challenge was answered too late")]
    Late {
        /// Seconds since the challenge was made.
        age: u64,
    },
    /// The server's clock stands before the time of the challenge.
    #[error("the server's clock went back during the attestation")]
    ClockWentBack {
        /// By how many seconds.
        by: u64,
    },
    /// The answer has no secret.
    #[error("the answer does not contain the activated secret")]
    SecretMissing,
    /// The answer has a secret although none was asked for.
    #[error("the answer contains a secret that was not asked for")]
    SecretUnasked,
    /// The secret is wrong.
    #[error("the activated secret is wrong")]
    SecretWrong,
}

impl ChallengeError {
    pub(crate) fn row(&self) -> Row {
        let again = "attest again; if it repeats, look for a proxy or a very slow TPM";
        let config = "correct `pcrs` in the configuration";
        let (code, class, compared, cause, next) = match self {
            Self::EmptyBank => (
                ReasonCode::new("HM-VERIFY-0301"),
                RefusalClass::ServerSide,
                None,
                "`pcrs` is empty",
                config,
            ),
            Self::WeakBank { bank } => (
                ReasonCode::new("HM-VERIFY-0302"),
                RefusalClass::ServerSide,
                expected("sha256 or better", bank),
                "an old habit",
                config,
            ),
            Self::ResettablePcr { pcr } => (
                ReasonCode::new("HM-VERIFY-0303"),
                RefusalClass::ServerSide,
                expected("none of 16, 23", pcr),
                "these registers are for debugging and applications",
                config,
            ),
            Self::SecretNeeded { ak_name } => (
                ReasonCode::new("HM-VERIFY-0304"),
                RefusalClass::ServerSide,
                expected("a secret", format!("none, for AK {ak_name}")),
                "a fault in the server",
                "report it, with the server's log",
            ),
            Self::Credential(_) => (
                ReasonCode::new("HM-VERIFY-0305"),
                RefusalClass::UnfitKey,
                None,
                "an endorsement key of a type or size that credentials cannot be made for",
                "use the TPM's RSA-2048, P-256 or P-384 endorsement key",
            ),
            Self::Crossed => (
                ReasonCode::new("HM-VERIFY-0306"),
                RefusalClass::Stale,
                None,
                "answers of two attestations were exchanged",
                again,
            ),
            Self::Late { age } => (
                ReasonCode::new("HM-VERIFY-0307"),
                RefusalClass::Stale,
                expected(
                    format!("at most {} s", CHALLENGE_LIFETIME.as_secs()),
                    format!("{age} s"),
                ),
                "a stalled node, or an answer that was kept back",
                again,
            ),
            Self::ClockWentBack { by } => (
                ReasonCode::new("HM-VERIFY-0308"),
                RefusalClass::Stale,
                expected("a later time", format!("{by} s before")),
                "the server's clock was set back",
                "attest again; keep the server's clock steady",
            ),
            Self::SecretMissing => (
                ReasonCode::new("HM-VERIFY-0309"),
                RefusalClass::UnprovenStatement,
                None,
                "the TPM refused to open the credential: its AK is not the one that was named",
                "read the agent's log for TPM2_ActivateCredential",
            ),
            Self::SecretUnasked => (
                ReasonCode::new("HM-VERIFY-0310"),
                RefusalClass::UnprovenStatement,
                None,
                "the answer to another challenge",
                again,
            ),
            Self::SecretWrong => (
                ReasonCode::new("HM-VERIFY-0311"),
                RefusalClass::UnprovenStatement,
                None,
                "an AK outside the TPM of this EK, or the secret of another attestation",
                "treat the node as hostile until this is explained",
            ),
        };
        Row {
            code,
            class,
            compared,
            cause,
            next,
        }
    }
}

coded_by_row!(ChallengeError);
