//! Node attestation: from the first message of a stream to the agent's SVID.
//!
//! Every verdict, accepted or refused, is on record before the answer goes out. The node learns the class of a
//! refusal; the record and the log say everything.

mod admission;
mod clock_watch;
mod evidence_update;
mod logs;
mod refusal;
mod stream;
mod tpm2;
mod verdict;

pub(crate) use clock_watch::{keep_clock_watched, tell_clock_that_went_back};
pub use logs::LogBudget;
pub use refusal::{NodeClass, Refusal};
pub use stream::{AnswerStream, attest_agent};

use std::{sync::Arc, time::Duration};

use hallmark_state::decide::ApprovalRules;
use hallmark_tpm_wire::PcrSelection;

use crate::{appraise::Appraiser, compute::Compute, issue::Issuer, journal::Journal, limits::Limits, metrics::Metrics};

/// Bytes of short logs that are held for attestations under way, all together.
const LOG_BUDGET: usize = 256 * 1024 * 1024;

/// Attests nodes.
#[derive(Debug)]
pub struct Attestor {
    journal: Arc<Journal>,
    appraiser: Arc<Appraiser>,
    issuer: Issuer,
    limits: Arc<Limits>,
    compute: Compute,
    metrics: Arc<Metrics>,
    settings: Settings,
    /// Room for the logs of attestations under way.
    log_budget: Arc<LogBudget>,
}

/// What is asked of nodes, and what they get.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What quotes must cover.
    pub pcrs: PcrSelection,
    /// How many approve a new node, and for how long that counts.
    pub approval: ApprovalRules,
    /// How long an agent's SVID lives.
    pub lifetime: Duration,
}

impl Attestor {
    /// Judges by the rules of `journal`, and lets `issuer` issue the SVIDs of nodes that are let in.
    #[must_use]
    pub fn new(
        journal: Arc<Journal>,
        appraiser: Arc<Appraiser>,
        issuer: Issuer,
        limits: Arc<Limits>,
        compute: Compute,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        Self {
            journal,
            appraiser,
            issuer,
            limits,
            compute,
            metrics,
            settings,
            log_budget: LogBudget::new(LOG_BUDGET),
        }
    }
}
