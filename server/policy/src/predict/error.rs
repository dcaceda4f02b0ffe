//! Why nothing is predicted.

use hallmark_reason::{Coded, ReasonCode};

/// Why a boot is not predicted: no machine would boot so, or what was given cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// A file is no UEFI image, or none that is loaded as it reads.
    #[error("{image} is not a usable UEFI image: {fault}")]
    NoImage {
        /// Which.
        image: String,
        /// What is wrong.
        fault: String,
    },
    /// An image is no unified kernel image.
    #[error("not a unified kernel image: {fault}")]
    NoUki {
        /// What it lacks.
        fault: String,
    },
    /// Firmware variables cannot be read.
    #[error("the firmware variables cannot be read: {fault}")]
    Variables {
        /// What is wrong.
        fault: String,
    },
    /// What was said about Secure Boot is not what the variables give.
    #[error("the firmware variables do not give this state of Secure Boot")]
    SecureBoot {
        /// What was said.
        said: &'static str,
        /// What the variables give.
        given: &'static str,
    },
    /// With Secure Boot, firmware would refuse an image.
    #[error("firmware with these variables refuses {image}: {fault}")]
    NotAuthorised {
        /// Which.
        image: String,
        /// Why.
        fault: String,
    },
}

impl Coded for PredictError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NoImage { .. } => ReasonCode::new("HM-POLICY-0311"),
            Self::NoUki { .. } => ReasonCode::new("HM-POLICY-0312"),
            Self::Variables { .. } => ReasonCode::new("HM-POLICY-0313"),
            Self::SecureBoot { .. } => ReasonCode::new("HM-POLICY-0314"),
            Self::NotAuthorised { .. } => ReasonCode::new("HM-POLICY-0315"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::SecureBoot { said, given } => Some(format!("said {said}, the variables give {given}")),
            _ => None,
        }
    }
}
