//! Verified evidence held against what the operator demands: an [`Appraisal`].
//!
//! [`MachineFacts`] is what a machine proved; a [`PolicySet`] is what is in force: the configuration's [`Rules`],
//! [`Policy`]s and [`Baseline`]s. [`PolicySet::judge`] holds the one against the other, and [`reappraise()`] does so for a
//! whole fleet when something in force changed. Of evidence alone [`appraise`] makes an appraisal, from which a grant
//! can follow.
//!
//! Pure: the same evidence, rules and time give the same verdict, reasons and selectors, byte for byte. A rule over
//! something that is not proven never holds.

mod applies;
mod appraisal;
mod appraisal_result;
mod baseline;
mod boot;
mod builtin;
mod facts;
mod glob;
mod ima;
mod policy;
pub mod predict;
mod reappraise;
mod reason;
mod register;
mod rule_file;
mod rules;
mod selectors;
mod set;
pub mod signed;
mod tpm;

pub use appraisal::{Appraisal, appraise, appraise_following};
pub use appraisal_result::AppraisalResult;
pub use baseline::{
    Baseline, BaselineError, BaselineState, Comparison, FactDifference, Origin, Prediction, RegisterDifference,
};
pub use facts::{BootRecord, EkCertificate, InventoryStatement, KnownMachine, Listed, MachineFacts, TpmFacts};
pub use glob::{Glob, GlobError};
pub use ima::{DigestList, DigestListError, ImaSummary, LineKind, LineRef, Looked, MeasuredFile, Signed};
pub use policy::{BootRules, ImaRules, MokRule, PcrRule, Policy, PolicyError, TpmRules, Violations};
pub use reappraise::{AppraisalChange, Standing, reappraise};
pub use reason::{EventRef, Reason};
pub use rule_file::RuleFileError;
pub use rules::Rules;
pub use set::PolicySet;
