//! The rules in force, and what follows from them for the nodes: policies and baselines, revocation lists, and every node
//! judged again by what it proved last, as a job.

mod change;
mod error;
mod job;
mod judge;
mod kept;
pub mod revocation;
mod rules;

pub use change::{Applied, Missing, Offered};
pub use error::PolicyFileError;
pub use job::{Judged, keep_judging};
pub(crate) use kept::{recall, undecodable};
pub use rules::{RuleChange, in_force, manifest};

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use hallmark_policy::signed::OperatorKeys;
use tokio::sync::Mutex;

use crate::{compute::Compute, journal::Journal};

/// Judges nodes again when the rules have changed, or when time has passed.
#[derive(Debug)]
pub struct Appraiser {
    journal: Arc<Journal>,
    compute: Compute,
    /// Who may sign policies and baselines. With any operator's key only signed files are taken.
    keys: OperatorKeys,
    /// Files and folders of the revocation lists.
    crls: ArcSwap<Vec<PathBuf>>,
    /// A courtesy: two who judge at once would judge the same nodes.
    turn: Mutex<()>,
}

impl Appraiser {
    /// With the operators' keys, and the files and folders of the revocation lists.
    #[must_use]
    pub fn new(journal: Arc<Journal>, compute: Compute, keys: OperatorKeys, crls: Vec<PathBuf>) -> Self {
        Self {
            journal,
            compute,
            keys,
            crls: ArcSwap::from_pointee(crls),
            turn: Mutex::new(()),
        }
    }
}
