//! The rules in force, and what follows from them for the nodes: policies and baselines, revocation lists, and every node
//! judged again by what it proved last, as a job.

mod change;
mod error;
mod job;
mod judge;
mod kept;
pub mod revocation;
mod rules;

pub use change::{Applied, apply, withdraw};
pub use error::PolicyFileError;
pub use job::{judge_behind, judge_one, keep_judging};
pub use judge::judge;
pub(crate) use kept::{recall, undecodable};
pub use rules::{RuleChange, change_rules, digest, in_force, set_trust};

use hallmark_policy::signed::OperatorKeys;
use tokio::sync::Mutex;

/// Judges nodes again when the rules have changed, or when time has passed.
#[derive(Debug)]
pub struct Appraiser {
    /// Who may sign policies and baselines. With any operator's key only signed files are taken.
    keys: OperatorKeys,
    /// A courtesy: two who judge at once would judge the same nodes.
    turn: Mutex<()>,
}

impl Appraiser {
    /// With the operators' keys.
    #[must_use]
    pub fn new(keys: OperatorKeys) -> Self {
        Self {
            keys,
            turn: Mutex::new(()),
        }
    }
}
