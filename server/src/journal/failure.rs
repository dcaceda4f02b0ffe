//! How a failure of the store is told: to the operator in full, to callers by its code.

use hallmark_reason::{Coded as _, Report};
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

/// What an operator hears who asked for what is stored: of what does not read back, which it is and how to go on.
#[must_use]
pub fn operators_read_failed(error: &StoreError) -> Status {
    match error {
        StoreError::Undecodable { .. } | StoreError::JournalRow { .. } => {
            log_store_failure(error);
            Status::data_loss(Report(error).to_string())
        }
        other => read_failed(other),
    }
}

/// The operator's part of a failure of the store.
pub(crate) fn log_store_failure(error: &StoreError) {
    tracing::error!(code = %error.code(), %error, compared = error.compared(), "the store failed");
}
