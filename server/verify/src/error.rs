//! Every way in which evidence can be refused.

use hallmark_reason::{Coded, ReasonCode};

use crate::boot::BootError;
use crate::challenge::ChallengeError;
use crate::ek::EkCertificateError;
use crate::enrolment::EnrolmentError;
use crate::history::HistoryError;
use crate::ima::ImaListError;
use crate::keys::{CsrError, KeyError};
use crate::logs::LogsError;
use crate::refusal::RefusalClass;
use crate::statement::StatementError;

/// Why evidence was refused, sorted by which part of it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The EK certificate was not believed.
    #[error(transparent)]
    EkCertificate(#[from] EkCertificateError),
    /// The TPM does not belong here.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// A key does not have the properties that it must have.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The CSR is not good.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The challenge could not be made, or was not answered as it must be.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// What the TPM signed does not prove what it must.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// What was proven of this TPM before rules it out.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The logs are not those that the statements are bound to.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// The boot log does not hold.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The IMA list does not hold.
    #[error(transparent)]
    Ima(#[from] ImaListError),
}

impl VerifyError {
    /// What the refused node itself may learn.
    #[must_use]
    pub fn class(&self) -> RefusalClass {
        match self {
            Self::EkCertificate(error) => error.class(),
            Self::Enrolment(error) => error.class(),
            Self::Key(error) => error.class(),
            Self::Csr(error) => error.class(),
            Self::Challenge(error) => error.class(),
            Self::Statement(error) => error.class(),
            Self::History(error) => error.class(),
            Self::Logs(error) => error.class(),
            Self::Boot(error) => error.class(),
            Self::Ima(error) => error.class(),
        }
    }

    fn coded(&self) -> &dyn Coded {
        match self {
            Self::EkCertificate(error) => error,
            Self::Enrolment(error) => error,
            Self::Key(error) => error,
            Self::Csr(error) => error,
            Self::Challenge(error) => error,
            Self::Statement(error) => error,
            Self::History(error) => error,
            Self::Logs(error) => error,
            Self::Boot(error) => error,
            Self::Ima(error) => error,
        }
    }
}

impl Coded for VerifyError {
    fn code(&self) -> ReasonCode {
        self.coded().code()
    }
    fn inner(&self) -> Option<&dyn Coded> {
        Some(self.coded())
    }
}
