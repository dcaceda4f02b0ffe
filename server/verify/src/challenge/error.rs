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
        let server = RefusalClass::ServerSide;
        match self {
            Self::EmptyBank => Row::new(ReasonCode::new("HM-VERIFY-0301"), server, None),
            Self::WeakBank { bank } => Row::new(
                ReasonCode::new("HM-VERIFY-0302"),
                server,
                expected("sha256 or better", bank),
            ),
            Self::ResettablePcr { pcr } => Row::new(
                ReasonCode::new("HM-VERIFY-0303"),
                server,
                expected("none of 16, 23", pcr),
            ),
            Self::SecretNeeded { ak_name } => Row::new(
                ReasonCode::new("HM-VERIFY-0304"),
                server,
                expected("a secret", format!("none, for AK {ak_name}")),
            ),
            _ => Row::new(ReasonCode::new("HM-VERIFY-0305"), RefusalClass::UnfitKey, None),
        }
    }

    fn not_answered(&self) -> Row {
        let stale = RefusalClass::Stale;
        let unproven = RefusalClass::UnprovenStatement;
        match self {
            Self::Crossed => Row::new(ReasonCode::new("HM-VERIFY-0306"), stale, None),
            Self::Late { age } => Row::new(
                ReasonCode::new("HM-VERIFY-0307"),
                stale,
                expected(
                    format!("at most {} s", super::CHALLENGE_LIFETIME.as_secs()),
                    format!("{age} s"),
                ),
            ),
            Self::ClockWentBack { by } => Row::new(
                ReasonCode::new("HM-VERIFY-0308"),
                stale,
                expected("a later time", format!("{by} s before")),
            ),
            Self::SecretMissing => Row::new(ReasonCode::new("HM-VERIFY-0309"), unproven, None),
            Self::SecretUnasked => Row::new(ReasonCode::new("HM-VERIFY-0310"), unproven, None),
            _ => Row::new(ReasonCode::new("HM-VERIFY-0311"), unproven, None),
        }
    }
}

coded_by_row!(ChallengeError);
