//! Node attestation: from the first message of a stream to the agent's SVID.
//!
//! Every verdict, accepted or refused, is on record before the answer goes out. The node learns the class of a
//! refusal; the record and the log say everything.

mod admission;
mod clock_watch;
mod evidence_update;
mod facts;
mod logs;
mod refusal;
mod stream;
mod tpm2;
mod verdict;

pub(crate) use clock_watch::keep_clock_watched;
pub use facts::{Facts, PcrFact, ReasonFact};
pub use logs::LogBudget;
pub use refusal::{NodeClass, Refusal};
pub use stream::{AnswerStream, attest_agent};

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use hallmark_tpm_wire::PcrSelection;

use crate::config::Tpm2;

/// Bytes of short logs that are held for attestations under way, all together.
const LOG_BUDGET: usize = 256 * 1024 * 1024;

/// How evidence is judged, and how much of it at a time.
#[derive(Debug)]
pub struct Attestation {
    /// Files and folders of the revocation lists.
    pub crls: ArcSwap<Vec<PathBuf>>,
    /// What quotes must cover.
    pub pcrs: PcrSelection,
    /// Room for the logs of attestations under way.
    pub log_budget: Arc<LogBudget>,
}

impl Attestation {
    /// As configured.
    #[must_use]
    pub fn new(tpm2: Tpm2) -> Self {
        Self {
            crls: ArcSwap::from_pointee(tpm2.crls),
            pcrs: tpm2.pcrs,
            log_budget: LogBudget::new(LOG_BUDGET),
        }
    }
}
