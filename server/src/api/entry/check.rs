//! Changes of entries, held against all that they are held against when they are written. Nothing is changed.

use futures_util::{Stream, StreamExt as _};
use hallmark_api::admin::{CheckEntriesRequest, CheckEntriesResponse, RefusedEntry};
use hallmark_state::decide::StagedEntries;
use prost::Message as _;
use tonic::Status;

use super::EntryChanges;
use crate::{caller::Caller, convert::PAGE_BYTES};

/// The most changes that are looked at together: above the largest file of entries.
const MAX_CHANGES: usize = 500_000;
/// The most refusals that are told; fewer where their words are many.
const MAX_REFUSED: usize = 500;

impl EntryChanges {
    /// What would be refused of the changes, made in this order.
    ///
    /// # Errors
    /// `InvalidArgument` for too many changes; what breaks the stream.
    pub(in crate::api) async fn check(
        &self,
        by: &Caller,
        mut parts: impl Stream<Item = Result<CheckEntriesRequest, Status>> + Unpin,
    ) -> Result<CheckEntriesResponse, Status> {
        let mut staged = StagedEntries::default();
        let (mut refused, mut count, mut bytes) = (Vec::new(), 0_usize, 0_usize);
        while let Some(part) = parts.next().await {
            let outcomes = self.rehearse(by, &mut staged, &part?)?;
            let places = count..;
            count = count.saturating_add(outcomes.len());
            if count > MAX_CHANGES {
                return Err(Status::invalid_argument(format!(
                    "more than {MAX_CHANGES} changes of entries at once; split the file"
                )));
            }
            for (place, (status, similar_id)) in places.zip(outcomes) {
                if status.code == 0 {
                    continue;
                }
                let one = RefusedEntry {
                    place: u64::try_from(place).unwrap_or(u64::MAX),
                    status: Some(status),
                    similar_id,
                };
                bytes = bytes.saturating_add(one.encoded_len());
                if !refused.is_empty() && (refused.len() >= MAX_REFUSED || bytes > PAGE_BYTES) {
                    return Ok(CheckEntriesResponse { refused });
                }
                refused.push(one);
            }
        }
        Ok(CheckEntriesResponse { refused })
    }
}
