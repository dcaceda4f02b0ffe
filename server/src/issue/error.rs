//! Why an SVID was not issued.

use hallmark_hsm::HsmError;
use hallmark_reason::{Coded, ReasonCode, Report};
use hallmark_store::StoreError;
use tonic::Status;

use crate::journal::store_failed;

/// Why an SVID was not issued.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The CSR, the key or the grant does not make a certificate that keeps the profile.
    #[error(transparent)]
    Authority(#[from] hallmark_authority::AuthorityError),
    /// The intent was not recorded, so nothing was signed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token did not sign.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// No key signs JWT-SVIDs.
    #[error("there is no key to sign JWT-SVIDs with")]
    NoJwtKey,
    /// The system has no random bytes to give.
    #[error("no random bytes for a serial number")]
    Random,
    /// The server is stopping, or the work was lost.
    #[error("the work was interrupted")]
    Interrupted,
}

impl IssueError {
    /// What a caller hears: its own mistakes in full, of the server's state only the code.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Authority(error) if error.is_callers_fault() => Status::invalid_argument(Report(error).to_string()),
            Self::Authority(_) => Status::internal(format!("the server cannot issue this ({})", self.code())),
            Self::Store(error) => store_failed(error),
            Self::Hsm(_) | Self::NoJwtKey | Self::Random | Self::Interrupted => {
                Status::unavailable(format!("the server cannot sign now ({})", self.code()))
            }
        }
    }
}

impl Coded for IssueError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Authority(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Hsm(error) => error.code(),
            Self::NoJwtKey => ReasonCode::new("HM-SRV-0045"),
            Self::Random => ReasonCode::new("HM-SRV-0020"),
            Self::Interrupted => ReasonCode::new("HM-SRV-0021"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Authority(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Hsm(error) => Some(error),
            Self::NoJwtKey | Self::Random | Self::Interrupted => None,
        }
    }
}
