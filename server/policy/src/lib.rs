//! Verified evidence held against the operator's rules: an [`Appraisal`].
//!
//! Pure: the same evidence and the same rules give the same verdict, reasons and selectors, byte for byte. Rules over
//! event logs, baselines and policy files will add reasons to the same list.

mod appraisal;
mod reason;
mod rules;
mod selectors;

pub use appraisal::{Appraisal, appraise};
pub use reason::Reason;
pub use rules::Rules;
