//! Entries that have expired are taken away. They grant nothing from their last second on; this gives their room back,
//! and their place to a new entry that says the same.

use std::{convert::Infallible, sync::Arc, time::Duration};

use hallmark_state::{Done, decide::delete_expired};
use hallmark_store::StoreError;

use crate::journal::{Failed, Journal, log_store_failure};

/// How often expired entries are looked for.
const INTERVAL: Duration = Duration::from_secs(300);
/// Entries deleted in one commit; other writers get their turn in between.
const BATCH: usize = 500;
/// Who deletes them, in the records.
const BY: &str = "expiry";

/// Deletes every entry that has expired, each with its record, and tells how many there were.
///
/// # Errors
/// When the store does not take it; what is left is tried again at the next time.
pub async fn prune(journal: &Journal) -> Result<usize, StoreError> {
    let mut pruned = 0;
    loop {
        let decided = journal.decide(BY, |view| {
            Ok::<_, Infallible>(delete_expired(view, BATCH, journal.clock().unix()))
        });
        match decided.await {
            Ok(Done { answer: 0, .. }) => return Ok(pruned),
            Ok(Done { answer: count, .. }) => pruned += count,
            Err(Failed::Store(error)) => return Err(error),
            Err(Failed::Refused(never)) => match never {},
        }
    }
}

/// Prunes now and then, for ever.
pub async fn keep_pruned(journal: Arc<Journal>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        match prune(&journal).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "expired entries were deleted"),
            Err(error) => log_store_failure(&error),
        }
    }
}
