//! What a quote must be after the last one of the same TPM: resets, restarts and the TPM's clock.
//!
//! A TPM counts its resets (`resetCount`) and restarts (`restartCount`), and its clock (`Clock`, milliseconds of powered
//! time) never goes back (part 1, section 36 "Time, Clock"; part 2, section 10.11 `TPMS_CLOCK_INFO`). A quote carries
//! all three. So the server, which remembers what a TPM proved last, sees whether the next quote can come from the same
//! TPM at a later time, and which of its boots it speaks of.
//!
//! Not seen: a copy of a virtual TPM's state that never runs beside its original and is never older than it.

mod agent_runs;
mod error;
mod follow;
mod quote_clock;

pub use agent_runs::{AgentRunId, AgentRuns};
pub use error::HistoryError;
pub use follow::{CLOCK_DRIFT_PERCENT, CLOCK_SAVED_WITHIN, Continuity, STEP_TOLERANCE, Succession};
pub use quote_clock::QuoteClock;
