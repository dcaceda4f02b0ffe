//! Evidence that was kept, judged again: without a server, without the machine, years later.
//!
//! A file can prove the third part of a proof alone, a [`ProvenState`](crate::ProvenState): that an attestation key signed
//! this quote, over these registers, for this qualification, and that the logs led there. The checks are those of a live
//! answer. That the key lives in the TPM of an EK takes an activated credential, which no file can replay; the report says
//! so. Nothing stops at the first fault: every check is made, so that the report explains.

mod ak;
mod anchors;
mod judge;
mod quote;
mod registers;
mod report;
mod unproven;

pub use ak::named_ak;
pub use anchors::{anchors_of, certificate_sha256};
pub use judge::{judge_file, proven_state};
pub use report::{Check, ImaReport, OfflineReport, QuoteReport};
pub use unproven::{RawLogs, UnprovenReport, explain_unproven};
