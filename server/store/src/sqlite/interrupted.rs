//! Intents that a stopped server left open.

use std::{path::Path, time::SystemTime};

use hallmark_state::{Event, EventRange, Expect, Outcome, Transaction};
use rusqlite::{Connection, TransactionBehavior};

use super::journal_row::Head;
use crate::{INTERRUPTED, StoreError};

/// Settles the intents that have no outcome; gives the number of SVIDs.
pub(super) fn settle(path: &Path, connection: &mut Connection, head: &mut Head) -> Result<u64, StoreError> {
    let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
    let open = head.open();
    if open.is_empty() {
        return Ok(0);
    }
    let outcome = |(first, last): &(u64, u64)| {
        let intents = EventRange {
            first: *first,
            last: *last,
        };
        Event::svid_outcome(intents, Outcome::Interrupted, Some(INTERRUPTED))
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.ok().and_then(|since| i64::try_from(since.as_secs()).ok());
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| StoreError::Random)?;
    let settled = head.push(Transaction {
        id,
        at: now.unwrap_or_default(),
        actor: "server".into(),
        expect: Expect {
            revision: head.revision,
            ..Expect::default()
        },
        changes: Vec::new(),
        events: open.iter().map(outcome).collect(),
    });
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(at)?;
    head.write(&transaction, &[settled]).map_err(at)?;
    transaction.commit().map_err(at)?;
    Ok(open
        .iter()
        .map(|(first, last)| last.saturating_sub(*first).saturating_add(1))
        .sum())
}
