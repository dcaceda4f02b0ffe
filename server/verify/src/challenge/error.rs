//! Why a challenge could not be made, or its answer does not count.

use hallmark_reason::ReasonCode;
use hallmark_tpm_wire::WireError;

use crate::refusal::{RefusalClass, Row, coded_by_row, expected};

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
        match self {
            Self::EmptyBank
            | Self::WeakBank { .. }
            | Self::ResettablePcr { .. }
            | Self::SecretNeeded { .. }
            | Self::Credential(_) => self.not_made(),
            _ => self.not_answered(),
        }
    }

    fn not_made(&self) -> Row {
        let config = "correct `pcrs` in the configuration";
        let server = RefusalClass::ServerSide;
        let (code, class, compared, cause, next) = match self {
            Self::EmptyBank => (
                ReasonCode::new("HM-VERIFY-0301"),
                server,
                None,
                "`pcrs` is empty",
                config,
            ),
            Self::WeakBank { bank } => (
                ReasonCode::new("HM-VERIFY-0302"),
                server,
                expected("sha256 or better", bank),
                "an old habit",
                config,
            ),
            Self::ResettablePcr { pcr } => (
                ReasonCode::new("HM-VERIFY-0303"),
                server,
                expected("none of 16, 23", pcr),
                "these registers are for debugging and applications",
                config,
            ),
            Self::SecretNeeded { ak_name } => (
                ReasonCode::new("HM-VERIFY-0304"),
                server,
                expected("a secret", format!("none, for AK {ak_name}")),
                "a fault in the server",
                "report it, with the server's log",
            ),
            _ => (
                ReasonCode::new("HM-VERIFY-0305"),
                RefusalClass::UnfitKey,
                None,
                "an endorsement key of a type or size that credentials cannot be made for",
                "use the TPM's RSA-2048, P-256 or P-384 endorsement key",
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

    fn not_answered(&self) -> Row {
        let again = "attest again; if it repeats, look for a proxy or a very slow TPM";
        let stale = RefusalClass::Stale;
        let unproven = RefusalClass::UnprovenStatement;
        let (code, class, compared, cause, next) = match self {
            Self::Crossed => (
                ReasonCode::new("HM-VERIFY-0306"),
                stale,
                None,
                "answers of two attestations were exchanged",
                again,
            ),
            Self::Late { age } => (
                ReasonCode::new("HM-VERIFY-0307"),
                stale,
                expected(
                    format!("at most {} s", super::CHALLENGE_LIFETIME.as_secs()),
                    format!("{age} s"),
                ),
                "a stalled node, or an answer that was kept back",
                again,
            ),
            Self::ClockWentBack { by } => (
                ReasonCode::new("HM-VERIFY-0308"),
                stale,
                expected("a later time", format!("{by} s before")),
                "the server's clock was set back",
                "attest again; keep the server's clock steady",
            ),
            Self::SecretMissing => (
                ReasonCode::new("HM-VERIFY-0309"),
                unproven,
                None,
                "the TPM refused to open the credential: its AK is not the one that was named",
                "read the agent's log for TPM2_ActivateCredential",
            ),
            Self::SecretUnasked => (
                ReasonCode::new("HM-VERIFY-0310"),
                unproven,
                None,
                "the answer to another challenge",
                again,
            ),
            _ => (
                ReasonCode::new("HM-VERIFY-0311"),
                unproven,
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
