//! Why an installation is not assigned, or does not go on.

use hallmark_reason::{Coded, ReasonCode};

use crate::NodeState;

/// Why an installation is not assigned, or does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// Nothing is assigned to the machine.
    #[error("no image is assigned to the machine")]
    NotAssigned {
        /// The machine.
        machine: String,
    },
    /// A value of the assignment cannot be used.
    #[error("the image cannot be assigned: {what} is not valid")]
    Order {
        /// Which value.
        what: &'static str,
        /// What it has to be.
        expected: String,
    },
    /// Nobody would match the baseline.
    #[error("the image cannot be assigned: the baseline {baseline} is not in force")]
    NoBaseline {
        /// Its name.
        baseline: String,
        /// What there is of it.
        found: &'static str,
    },
    /// The machine is told nothing.
    #[error("the image cannot be assigned: {node} is {state}")]
    OutOfService {
        /// The machine's node.
        node: String,
        /// Where it stands.
        state: NodeState,
    },
    /// There is nothing to try again.
    #[error("the installation is not tried again: it is {stage}")]
    NothingToRetry {
        /// How far it is.
        stage: &'static str,
    },
    /// A report of another attempt.
    #[error("the report is of another attempt than the one that is assigned")]
    OtherAttempt {
        /// The assigned attempt.
        assigned: u64,
        /// The reported one.
        reported: u64,
    },
    /// A step that does not follow.
    #[error("the reported step does not follow: {step} after {stage}")]
    OutOfOrder {
        /// How far the installation is.
        stage: &'static str,
        /// What was reported.
        step: &'static str,
    },
    /// A report with values that cannot be.
    #[error("the report cannot be taken: {what}")]
    Report {
        /// What is wrong.
        what: &'static str,
        /// Both values.
        compared: String,
    },
    /// The machine does not start from its disk.
    #[error("the machine came back from the network instead of from its disk, {returns} times")]
    NotFromDisk {
        /// How often.
        returns: u32,
    },
}

impl Coded for ProvisionError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NotAssigned { .. } => ReasonCode::new("HM-REG-0096"),
            Self::Order { .. } => ReasonCode::new("HM-REG-0097"),
            Self::NoBaseline { .. } => ReasonCode::new("HM-REG-0098"),
            Self::NothingToRetry { .. } => ReasonCode::new("HM-REG-0099"),
            Self::OtherAttempt { .. } => ReasonCode::new("HM-REG-0100"),
            Self::OutOfOrder { .. } => ReasonCode::new("HM-REG-0101"),
            Self::Report { .. } => ReasonCode::new("HM-REG-0102"),
            Self::NotFromDisk { .. } => ReasonCode::new("HM-REG-0103"),
            Self::OutOfService { .. } => ReasonCode::new("HM-REG-0104"),
        }
    }

    fn compared(&self) -> Option<String> {
        Some(match self {
            Self::NotAssigned { machine } => format!("machine {machine}, no assignment of one of its endorsement keys"),
            Self::Order { what, expected } => format!("{what} expected: {expected}"),
            Self::NoBaseline { baseline, found } => format!("expected an active baseline {baseline}, found {found}"),
            Self::OutOfService { state, .. } => format!("expected a machine in service, found {state}"),
            Self::NothingToRetry { stage } => {
                format!("expected failed, writing, written or restarting, found {stage}")
            }
            Self::OtherAttempt { assigned, reported } => format!("expected attempt {assigned}, got {reported}"),
            Self::OutOfOrder { stage, step } => format!("found {stage}, got {step}"),
            Self::Report { compared, .. } => compared.clone(),
            Self::NotFromDisk { returns } => {
                format!("expected an attestation from the disk, got {returns} network starts")
            }
        })
    }

    fn precise_step(&self) -> Option<String> {
        match self {
            Self::NothingToRetry { stage: "done" } => {
                Some("`hallmark provision assign` assigns an image anew".to_owned())
            }
            _ => None,
        }
    }
}
