//! Why an IMA list was not believed.

use hallmark_evidence::ima::ImaError;
use hallmark_reason::{Coded, ReasonCode};

use crate::refusal::RefusalClass;

/// An IMA list that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImaListError {
    /// A line cannot be read.
    #[error(transparent)]
    List(#[from] ImaError),
    /// PCR 10 was not quoted.
    #[error("an IMA list came, but PCR 10 was not quoted in a strong bank")]
    NotQuoted,
    /// No prefix of the list gives the quoted register.
    #[error("no part of the IMA list reproduces PCR 10 ({bank})")]
    Pcr {
        /// The bank.
        bank: String,
        /// The quoted value, hex.
        quoted: String,
        /// What all lines give, hex.
        replayed: String,
        /// How many lines there are.
        lines: u64,
    },
    /// The register has SHA-1 digests with zeros behind them: all that a kernel before 5.8 knows.
    #[error("PCR 10 ({bank}) was extended with SHA-1 digests: the kernel is older than Linux 5.8")]
    OldKernel {
        /// The bank.
        bank: String,
    },
    /// The first line is not the digest over the quoted registers.
    #[error("the IMA list's boot_aggregate is not that of the quoted registers")]
    OtherBoot,
    /// The list is said to go on from a place that is not where the last one ended.
    #[error("the IMA list begins at another place than where the last one ended")]
    Offset {
        /// Where the last one ended, in bytes.
        expected: u64,
        /// Where this one begins.
        actual: u64,
    },
}

impl ImaListError {
    /// What the refused node itself may learn.
    #[must_use]
    pub const fn class(&self) -> RefusalClass {
        match self {
            Self::List(_) => RefusalClass::Malformed,
            Self::Offset { .. } => RefusalClass::Stale,
            _ => RefusalClass::UnprovenStatement,
        }
    }
}

impl Coded for ImaListError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::List(error) => error.code(),
            Self::NotQuoted => ReasonCode::new("HM-VERIFY-0901"),
            Self::Pcr { .. } => ReasonCode::new("HM-VERIFY-0902"),
            Self::Offset { .. } => ReasonCode::new("HM-VERIFY-0903"),
            Self::OtherBoot => ReasonCode::new("HM-VERIFY-0904"),
            Self::OldKernel { .. } => ReasonCode::new("HM-VERIFY-0905"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::List(error) => Some(error),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Pcr {
                quoted,
                replayed,
                lines,
                ..
            } => Some(format!("quoted {quoted}, replayed {replayed} after {lines} lines")),
            Self::Offset { expected, actual } => Some(format!("expected byte {expected}, found byte {actual}")),
            Self::OldKernel { bank } => Some(format!(
                "expected a digest of {bank} for each line, found SHA-1 with zeros behind it"
            )),
            Self::List(_) | Self::NotQuoted | Self::OtherBoot => self.inner()?.compared(),
        }
    }
}
