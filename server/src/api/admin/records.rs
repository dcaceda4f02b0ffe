//! The records of what was decided.

use hallmark_api::admin::{ListRecordsRequest, ListRecordsResponse, Record};
use hallmark_reason::{Coded, ReasonCode, Report};
use hallmark_state::{RecordFilter, RecordQuery, StoredRecord};
use hallmark_store::StoreError;
use prost::Message as _;
use tonic::Status;

use crate::{
    convert::PAGE_BYTES,
    journal::{Journal, operators_read_failed},
};

/// Unless asked otherwise.
const DEFAULT_LIMIT: u32 = 100;
/// At most; fewer where they are large.
const MAX_LIMIT: u32 = 1000;
/// Records that are read at once: with the largest of entries in them they take a few megabytes.
const STRIDE: u32 = 50;

/// A record was named that is not there.
#[derive(Debug, thiserror::Error)]
#[error("the journal ends before the record that was named")]
struct BeyondTheLast {
    last: u64,
    named: u64,
}

impl Coded for BeyondTheLast {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-REG-0092")
    }

    fn compared(&self) -> Option<String> {
        Some(format!("the last record is {}, named was {}", self.last, self.named))
    }
}

/// Records, oldest first unless asked otherwise.
///
/// # Errors
/// `InvalidArgument` for an unknown kind, and for a place beyond the last record; `Unavailable` when the store does not answer.
pub(super) async fn list(journal: &Journal, request: ListRecordsRequest) -> Result<ListRecordsResponse, Status> {
    let filter = match request.kind.as_str() {
        "" => RecordFilter::All,
        "verdict" => RecordFilter::Verdicts,
        "svid" => RecordFilter::Svids,
        "admin" => RecordFilter::Admin,
        "provision" => RecordFilter::Provision,
        kind => {
            return Err(Status::invalid_argument(format!(
                "unknown kind of record {kind:?}: verdict, svid, admin, provision"
            )));
        }
    };
    let limit = match request.limit {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    let query = RecordQuery {
        after: request.after,
        limit,
        filter,
        subject: Some(request.subject).filter(|subject| !subject.is_empty()),
        newest_first: request.newest_first,
        since: request.since.max(0),
        until: request.until.max(0),
    };
    let place = query.after;
    let page = page(journal, query).await?;
    // Whoever goes on behind a record has heard of it. A restored store gives numbers again: silence would hide what they
    // stand for now.
    if place > 0 && (request.newest_first || page.records.is_empty()) {
        require_known(journal, place, request.newest_first).await?;
    }
    Ok(page)
}

/// As many of the records as fit one answer.
async fn page(journal: &Journal, mut query: RecordQuery) -> Result<ListRecordsResponse, Status> {
    let (mut missing, mut bytes) = (query.limit, 0_usize);
    let mut page = ListRecordsResponse::default();
    while missing > 0 {
        query.limit = missing.min(STRIDE);
        let records = match journal.store().records(query.clone()).await {
            Ok(records) => records,
            // What comes before the row that does not read back is given first; whoever goes on hears of the row.
            Err(StoreError::JournalRow { ref before, .. }) if !(before.is_empty() && page.records.is_empty()) => {
                page.more = true;
                before.clone()
            }
            Err(error) => return Err(operators_read_failed(&error)),
        };
        let found = u32::try_from(records.len()).unwrap_or(u32::MAX);
        for record in records {
            query.after = record.sequence;
            let record = message(record);
            bytes = bytes.saturating_add(record.encoded_len());
            if bytes > PAGE_BYTES && !page.records.is_empty() {
                page.more = true;
                return Ok(page);
            }
            page.records.push(record);
        }
        missing = missing.saturating_sub(found);
        // Before the very first there is nothing; 0 would mean the newest again.
        if found < query.limit || page.more || query.newest_first && query.after <= 1 {
            break;
        }
    }
    Ok(page)
}

/// Refuses a place beyond the last record, after which, or before which, somebody asks.
async fn require_known(journal: &Journal, place: u64, newest_first: bool) -> Result<(), Status> {
    let newest = RecordQuery {
        limit: 1,
        newest_first: true,
        ..RecordQuery::default()
    };
    let last = read(journal, newest).await?.first().map_or(0, |record| record.sequence);
    let most = if newest_first { last.saturating_add(1) } else { last };
    if place <= most {
        return Ok(());
    }
    let beyond = BeyondTheLast { last, named: place };
    Err(Status::invalid_argument(Report(&beyond).to_string()))
}

async fn read(journal: &Journal, query: RecordQuery) -> Result<Vec<StoredRecord>, Status> {
    let records = journal.store().records(query).await;
    records.map_err(|error| operators_read_failed(&error))
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
