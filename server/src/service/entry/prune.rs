//! Entries that have expired are taken away. They grant nothing from their last second on; this gives their room back,
//! and their place to a new entry that says the same.

use std::{sync::Arc, time::Duration};

use tonic::Status;

use super::staged::Staged;
use crate::{caller::Act, state::Server};

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
pub async fn prune(server: &Server) -> Result<usize, Status> {
    let mut pruned = 0;
    loop {
        let _turn = server.entry_writer.lock().await;
        let now = server.clock.unix();
        let expired: Vec<_> = server
            .registry()
            .expired(now)
            .into_iter()
            .take(BATCH)
            .cloned()
            .collect();
        if expired.is_empty() {
            return Ok(pruned);
        }
        let act = Act {
            by: BY.to_owned(),
            reason: String::new(),
        };
        let mut staged = Staged::new(&act, now);
        expired.iter().for_each(|entry| staged.delete(entry));
        staged.commit(server).await?;
        pruned += expired.len();
    }
}

/// Prunes now and then, for ever.
pub async fn keep_pruned(server: Arc<Server>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        match prune(&server).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "expired entries were deleted"),
            Err(status) => tracing::error!(%status, "expired entries were not deleted"),
        }
    }
}
