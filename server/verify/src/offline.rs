//! Evidence that was kept, judged again: without a server, without the machine, years later.
//!
//! What a file can prove is less than what an attestation proves: that an attestation key signed this quote, over these
//! registers, for this qualification. That the key lives in the TPM of an EK takes an activated credential, which no file
//! can replay; the report says so. Nothing stops at the first fault: every check is made, so that the report explains.

mod ak;
mod anchors;
mod judge;
mod registers;
mod report;
mod unproven;

pub use ak::named_ak;
pub use anchors::{anchors_of, certificate_sha256};
pub use judge::{Measured, judge_file, measured};
pub use report::{Check, ImaReport, OfflineReport, QuoteReport};
pub use unproven::{RawLogs, UnprovenReport, explain_unproven};
