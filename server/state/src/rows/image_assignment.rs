//! What is to be written to a machine's disk, and how far that is.

use std::collections::BTreeSet;

use hallmark_node::EkId;
use hallmark_spiffe::Selector;

/// What an operator wants on a machine's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOrder {
    /// The image's name, as its manifest says it.
    pub image: String,
    /// The image's version, likewise.
    pub version: String,
    /// How many chunks the manifest names.
    pub chunks: u32,
    /// Where the machine gets the manifest.
    pub manifest_url: String,
    /// The SHA-256 of the manifest: this image and no other one with a valid signature.
    pub manifest_sha256: [u8; 32],
    /// The disk's path; empty for the machine's only disk that is not removable.
    pub disk: String,
    /// Whether a disk that is not blank may be written.
    pub overwrite: bool,
    /// The baseline that the installed machine matches: by it the server knows that the installation is done.
    pub baseline: String,
}

/// How far an installation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallStage {
    /// It is assigned; the machine has not begun.
    Assigned,
    /// The machine writes.
    Writing {
        /// Chunks that hold what they should.
        done: u32,
    },
    /// All chunks were written and read back.
    Written,
    /// The machine restarts from its disk.
    Restarting,
    /// The machine attested, and matched the baseline.
    Done,
    /// It did not go on.
    Failed {
        /// The reason code.
        code: String,
        /// Why, in the words of whoever found it.
        reason: String,
    },
}

impl InstallStage {
    /// The stage's name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Writing { .. } => "writing",
            Self::Written => "written",
            Self::Restarting => "restarting",
            Self::Done => "done",
            Self::Failed { .. } => "failed",
        }
    }

    /// The stage of its parts, as they are stored: `done` counts for one that writes, `code` and `reason` for one that failed, and
    /// are empty for every other one. `None` for parts that are of no stage.
    #[must_use]
    pub fn from_parts(name: &str, done: u32, code: &str, reason: &str) -> Option<Self> {
        let stage = match name {
            "assigned" => Self::Assigned,
            "writing" => Self::Writing { done },
            "written" => Self::Written,
            "restarting" => Self::Restarting,
            "done" => Self::Done,
            "failed" => Self::Failed {
                code: code.to_owned(),
                reason: reason.to_owned(),
            },
            _ => return None,
        };
        (stage.parts() == (done, code, reason)).then_some(stage)
    }

    /// The parts that [`from_parts`](Self::from_parts) reads beside the name.
    #[must_use]
    pub fn parts(&self) -> (u32, &str, &str) {
        match self {
            Self::Writing { done } => (*done, "", ""),
            Self::Failed { code, reason } => (0, code, reason),
            _ => (0, "", ""),
        }
    }
}

/// An image that is assigned to a machine. One whose key is the endorsement key by which the operator named the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageAssignment {
    /// The endorsement key.
    pub ek: EkId,
    /// Tells this attempt from every other one of the machine: it rises.
    pub attempt: u64,
    /// What is to be written.
    pub order: ImageOrder,
    /// How far it is.
    pub stage: InstallStage,
    /// How often in this attempt the machine came back from the network instead of from its disk.
    pub returns: u32,
    /// At [`InstallStage::Restarting`]: the TPM's reset count before the restart, where it is known.
    pub restarted_in: Option<u32>,
    /// When it was assigned, in Unix seconds.
    pub assigned_at: i64,
    /// Since when it is at its stage, in Unix seconds.
    pub since: i64,
}

impl ImageAssignment {
    /// Whether the machine restarts from its disk, and was booted since in the boot with this reset count of its TPM.
    #[must_use]
    pub fn has_booted_in(&self, reset_count: u32) -> bool {
        self.stage == InstallStage::Restarting && self.restarted_in != Some(reset_count)
    }

    /// Whether what was proven of the machine, as these selectors, matches the assigned baseline.
    #[must_use]
    pub fn is_matched_by(&self, selectors: &BTreeSet<Selector>) -> bool {
        let matched = Selector::new("boot", &format!("baseline:{}", self.order.baseline));
        matched.is_ok_and(|matched| selectors.contains(&matched))
    }
}
