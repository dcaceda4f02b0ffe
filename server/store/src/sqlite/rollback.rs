//! A journal that went back, and an operator who accepts it.

use std::{path::Path, time::SystemTime};

use hallmark_reason::Coded as _;
use hallmark_spiffe::TrustDomain;
use hallmark_state::{Change, Event, Expect, Transaction, What};
use rusqlite::{Connection, TransactionBehavior};

use super::{apply, journal_row::Head, mark, verify};
use crate::StoreError;

/// By how much the bundle's sequence number rises: nobody knows how many were given out since, and none is given twice.
const SEQUENCES_SINCE: u64 = 1 << 16;

/// Who accepts that the journal does not have all that it had.
#[derive(Debug, Clone)]
pub(super) struct Acceptance {
    pub(super) by: String,
    pub(super) reason: String,
}

impl Acceptance {
    /// Whether this refusal can be accepted.
    pub(super) const fn is_of(error: &StoreError) -> bool {
        matches!(
            error,
            StoreError::RolledBack { .. } | StoreError::MarkMissing { .. } | StoreError::StaleLog { .. }
        )
    }

    /// Puts on record that `refusal` was accepted; from then on the store is another incarnation.
    pub(super) fn record(
        &self,
        path: &Path,
        trust_domain: &TrustDomain,
        connection: &mut Connection,
        head: &mut Head,
        refusal: &StoreError,
    ) -> Result<(), StoreError> {
        let at = |e: rusqlite::Error| StoreError::from_sqlite(path, &e);
        // What a foreign log was written over is no store any more.
        if let StoreError::StaleLog { .. } = refusal {
            require_whole(path, trust_domain, connection)?;
        }
        let incarnation = mark::incarnation()?;
        let sequence = apply::bundle_sequence(path, connection)?;
        let raised = (sequence > 0).then(|| sequence.saturating_add(SEQUENCES_SINCE));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.ok().and_then(|since| i64::try_from(since.as_secs()).ok());
        let event = Event::done(
            "store",
            What::RollbackAccepted {
                code: refusal.code().as_str().to_owned(),
                found: refusal.compared().unwrap_or_default(),
                incarnation,
                reason: self.reason.clone(),
            },
        );
        let record = head.push(Transaction {
            id: mark::incarnation()?.to_be_bytes(),
            at: now.unwrap_or_default(),
            actor: self.by.as_str().into(),
            expect: Expect {
                revision: head.revision,
                ..Expect::default()
            },
            changes: raised.into_iter().map(Change::PutBundleSequence).collect(),
            events: vec![event],
        });
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(at)?;
        if let Some(raised) = raised {
            apply::set_sequence(path, &transaction, raised)?;
        }
        head.write(&transaction, &[record]).map_err(at)?;
        mark::put_incarnation(path, &transaction, incarnation)?;
        transaction.commit().map_err(at)
    }
}

fn require_whole(path: &Path, trust_domain: &TrustDomain, connection: &Connection) -> Result<(), StoreError> {
    let checked: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|e| StoreError::from_sqlite(path, &e))?;
    if checked != "ok" {
        return Err(StoreError::Corrupt {
            path: path.into(),
            reason: checked,
        });
    }
    let verified = verify::verify(path, connection, trust_domain)?;
    verified.differences.into_iter().next().map_or(Ok(()), Err)
}
