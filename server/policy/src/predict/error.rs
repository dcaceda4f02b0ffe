//! Why nothing is predicted.

use hallmark_reason::{Coded, ReasonCode};

/// Why a boot is not predicted: no machine would boot so, or what was given cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// A file is no UEFI image, or none that is loaded as it reads.
    #[error("{image} is no usable UEFI image: {fault}")]
    NoImage {
        /// Which.
        image: String,
        /// What is wrong.
        fault: String,
    },
    /// An image is no unified kernel image.
    #[error("this is no unified kernel image: {fault}")]
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

    fn likely_cause(&self) -> Option<String> {
        let cause = match self {
            Self::NoImage { .. } => "another kind of file, one that was cut, or one made for other machines",
            Self::NoUki { .. } => "a kernel without systemd-stub, or a stub that does not say its version",
            Self::Variables { .. } => "another kind of file, or one that was cut",
            Self::SecureBoot { .. } => "no platform key is enrolled, or enforcement is switched off in the firmware",
            Self::NotAuthorised { .. } => "it is not signed, was changed after that, or its signer is not in db",
        };
        Some(cause.into())
    }

    fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::NoImage { .. } | Self::NoUki { .. } => "objdump -h FILE; build it again with ukify",
            Self::Variables { .. } => "virt-fw-vars -i OVMF_VARS.fd --output-json FILE",
            Self::SecureBoot { .. } => "leave --secure-boot out, or give the machine's own variables",
            Self::NotAuthorised { .. } => "sign it with a key of db, and predict again",
        };
        Some(step.into())
    }
}
