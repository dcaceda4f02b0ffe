//! How a failure of the store is told: to the operator in full, to callers by its code.

use hallmark_reason::Coded as _;
use hallmark_store::StoreError;
use tonic::Status;

/// What a caller hears when the store does not take a change. The rest is in the log.
#[must_use]
pub fn store_failed(error: &StoreError) -> Status {
    log_store_failure(error);
    Status::unavailable(format!("the server cannot record this now ({})", error.code()))
}

/// What a caller hears when what is kept cannot be read. The rest is in the log.
#[must_use]
pub fn read_failed(error: &StoreError) -> Status {
    log_store_failure(error);
    Status::unavailable(format!("the server cannot read what it keeps ({})", error.code()))
}

/// The operator's part of a failure of the store.
pub(crate) fn log_store_failure(error: &StoreError) {
    tracing::error!(code = %error.code(), %error, compared = error.compared(), "the store failed");
}
