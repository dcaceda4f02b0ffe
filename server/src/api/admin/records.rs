//! The records of what was decided.

use hallmark_api::admin::{ListRecordsRequest, ListRecordsResponse, Record};
use hallmark_state::{RecordFilter, RecordQuery, StoredRecord};
use tonic::Status;

use crate::journal::{Journal, store_failed};

/// Unless asked otherwise.
const DEFAULT_LIMIT: u32 = 100;
/// At most, so that an answer stays below gRPC's message size.
const MAX_LIMIT: u32 = 1000;

/// Records, oldest first unless asked otherwise.
///
/// # Errors
/// `InvalidArgument` for an unknown kind, `Unavailable` when the store does not answer.
pub(super) async fn list(journal: &Journal, request: ListRecordsRequest) -> Result<ListRecordsResponse, Status> {
    let filter = match request.kind.as_str() {
        "" => RecordFilter::All,
        "verdict" => RecordFilter::Verdicts,
        "svid" => RecordFilter::Svids,
        "admin" => RecordFilter::Admin,
        kind => {
            return Err(Status::invalid_argument(format!(
                "unknown kind of record {kind:?}: verdict, svid, admin"
            )));
        }
    };
    let query = RecordQuery {
        after: request.after,
        limit: if request.limit == 0 {
            DEFAULT_LIMIT
        } else {
            request.limit.min(MAX_LIMIT)
        },
        filter,
        subject: Some(request.subject).filter(|subject| !subject.is_empty()),
        newest_first: request.newest_first,
        since: request.since.max(0),
        until: request.until.max(0),
    };
    let records = journal
        .store()
        .records(query)
        .await
        .map_err(|error| store_failed(&error))?;
    Ok(ListRecordsResponse {
        records: records.into_iter().map(message).collect(),
    })
}

fn message(stored: StoredRecord) -> Record {
    Record {
        sequence: stored.sequence,
        at: stored.record.at,
        kind: stored.record.kind.as_str().to_owned(),
        subject: stored.record.subject,
        outcome: stored.record.outcome.as_str().to_owned(),
        code: stored.record.code,
        detail: stored.record.detail,
    }
}
