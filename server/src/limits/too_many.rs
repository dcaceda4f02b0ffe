//! A call that is one too many.

use hallmark_reason::{Coded, ReasonCode, Report};
use tonic::Status;

/// Too many calls without an SVID are under way, of one address or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls without an SVID are under way")]
pub struct TooManyCalls;

impl Coded for TooManyCalls {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-SRV-0114")
    }

    fn compared(&self) -> Option<String> {
        Some("of this address [limits] connections_per_ip, or 2048 in all".into())
    }
}

impl From<TooManyCalls> for Status {
    fn from(error: TooManyCalls) -> Self {
        Self::resource_exhausted(Report(&error).to_string())
    }
}
