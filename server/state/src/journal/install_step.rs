//! Steps of installations, as they are recorded.

use super::{Event, Outcome, What};
use crate::{ImageAssignment, InstallStage};

/// A step of a machine's installation over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallStep {
    /// What was done.
    pub act: InstallAct,
    /// Of which attempt.
    pub attempt: u64,
    /// The image's name.
    pub image: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its manifest.
    pub manifest_sha256: [u8; 32],
    /// The baseline that the installed machine matches.
    pub baseline: String,
    /// Why: in the operator's words, or why it failed.
    pub reason: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallAct {
    /// An operator assigned an image.
    Assigned,
    /// An operator had it tried again.
    Retried,
    /// An operator took it back.
    Removed,
    /// The machine began to write.
    Writing,
    /// The machine has written and read back all of it.
    Written,
    /// The machine restarts from its disk.
    Restarting,
    /// The machine attested, and matched the baseline.
    Done,
    /// It did not go on.
    Failed,
}

impl InstallAct {
    /// Every act.
    pub const ALL: [Self; 8] = [
        Self::Assigned,
        Self::Retried,
        Self::Removed,
        Self::Writing,
        Self::Written,
        Self::Restarting,
        Self::Done,
        Self::Failed,
    ];

    /// The act's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "image-assigned",
            Self::Retried => "image-retried",
            Self::Removed => "image-removed",
            Self::Writing => "image-writing",
            Self::Written => "image-written",
            Self::Restarting => "image-restarting",
            Self::Done => "image-done",
            Self::Failed => "image-failed",
        }
    }

    /// The act that led to this stage.
    #[must_use]
    pub const fn of(stage: &InstallStage) -> Self {
        match stage {
            InstallStage::Assigned => Self::Assigned,
            InstallStage::Writing { .. } => Self::Writing,
            InstallStage::Written => Self::Written,
            InstallStage::Restarting => Self::Restarting,
            InstallStage::Done => Self::Done,
            InstallStage::Failed { .. } => Self::Failed,
        }
    }
}

impl Event {
    /// A step of an installation, about `subject`: a node's id, or an EK.
    #[must_use]
    pub fn install_step(subject: &str, act: InstallAct, about: &ImageAssignment, reason: &str) -> Self {
        let failed = match (&about.stage, act) {
            (InstallStage::Failed { code, .. }, InstallAct::Failed) => Some(code.as_str()),
            _ => None,
        };
        Self {
            subject: subject.into(),
            outcome: if failed.is_some() {
                Outcome::Failed
            } else {
                Outcome::Done
            },
            code: failed.unwrap_or_default().into(),
            what: What::InstallStep(InstallStep {
                act,
                attempt: about.attempt,
                image: about.order.image.clone(),
                version: about.order.version.clone(),
                manifest_sha256: about.order.manifest_sha256,
                baseline: about.order.baseline.clone(),
                reason: reason.to_owned(),
            }),
        }
    }
}
