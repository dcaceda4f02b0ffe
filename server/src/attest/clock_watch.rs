//! A clock that is set back.
//!
//! Much is judged by the time of day, and heals by itself once that is right again, except what was noted down while the
//! clock was ahead: this puts that right.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hallmark_host::log;
use hallmark_reason::{Coded, ReasonCode};

use hallmark_state::{Done, RecordQuery, decide};
use hallmark_store::Store;

use crate::{
    clock::{Clock, unix_seconds},
    journal::{Failed, Journal, log_store_failure},
};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(5);
/// Clocks are set back by less than this all the time; everything that counts allows for more.
const TOLERANCE: Duration = Duration::from_secs(10);

/// The clock was set back, so it had been ahead, or is behind now.
#[derive(Debug, thiserror::Error)]
#[error("the server's clock was set back by {} s", by.as_secs())]
struct SetBack {
    by: Duration,
    expected: SystemTime,
    found: SystemTime,
}

impl Coded for SetBack {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-SRV-0023")
    }

    fn compared(&self) -> Option<String> {
        let (expected, found) = (unix_seconds(self.expected), unix_seconds(self.found));
        Some(format!("expected {expected}, found {found} (seconds since 1970)"))
    }
}

/// The clock went back since the journal's last record was written, so while the server was down.
fn set_back_since(last: i64, found: SystemTime) -> Option<SetBack> {
    let expected = UNIX_EPOCH + Duration::from_secs(u64::try_from(last).ok()?);
    let by = expected.duration_since(found).ok()?;
    (by > TOLERANCE).then_some(SetBack { by, expected, found })
}

/// Tells where the journal's last records were written later than it is now. To be asked before a start writes its own.
pub(crate) async fn tell_clock_that_went_back(store: &dyn Store, clock: &Clock) {
    // What the opening of the store wrote may be among them. What came before the last run was told then.
    let newest = RecordQuery {
        limit: 16,
        newest_first: true,
        ..RecordQuery::default()
    };
    match store.records(newest).await {
        Ok(records) => {
            let now = unix_seconds(clock.now());
            let opened = |at: i64| now.abs_diff(at) <= TOLERANCE.as_secs();
            let mut before = records.iter().map(|stored| stored.record.at).filter(|at| !opened(*at));
            let last = before.next();
            if let Some(set_back) = last.and_then(|last| set_back_since(last, clock.now())) {
                log::warn(&set_back);
            }
        }
        Err(error) => log_store_failure(&error),
    }
}

/// Looks after the clock, for ever.
pub(crate) async fn keep_clock_watched(journal: Arc<Journal>) {
    let clock = journal.clock();
    let mut pace = clock.pace(TICK);
    let (mut wall, mut steady) = (clock.now(), Instant::now());
    loop {
        // Of what an earlier run noted, only what lies in the future is known to be wrong; so it is with what was noted while
        // the clock was ahead for less than a tick.
        doubt_times(&journal).await;
        pace.next().await;
        let expected = wall + steady.elapsed();
        (wall, steady) = (clock.now(), Instant::now());
        let back = expected.duration_since(wall).unwrap_or_default();
        if back > TOLERANCE {
            let set_back = SetBack {
                by: back,
                expected,
                found: wall,
            };
            log::warn(&set_back);
        }
    }
}

/// What was seen in the future was seen while the clock was ahead: held against it, a TPM's clock that runs as it should
/// would seem to run too fast, and keep its machine out.
async fn doubt_times(journal: &Journal) {
    let now = journal.clock().now().duration_since(UNIX_EPOCH).unwrap_or_default() + TOLERANCE;
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let doubted = journal.decide("server", |view| {
        Ok::<_, std::convert::Infallible>(decide::doubt_times(view, now))
    });
    match doubted.await {
        Ok(Done { answer: 0, .. }) => {}
        Ok(Done { answer: count, .. }) => {
            tracing::warn!(
                count,
                "nodes were seen while the clock was ahead; these times count no more"
            );
        }
        Err(Failed::Store(error)) => log_store_failure(&error),
        Err(Failed::Refused(never)) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_went_back_since_the_last_record_is_told() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let told = set_back_since(2_000_000, at(1_000_000)).unwrap();
        assert_eq!((told.by.as_secs(), told.code().as_str()), (1_000_000, "HM-SRV-0023"));
        for (last, found) in [
            (1_000_000, 2_000_000),
            (1_000_000, 1_000_000),
            (1_000_010, 1_000_000),
            (-1, 1),
        ] {
            assert!(set_back_since(last, at(found)).is_none(), "{last} {found}");
        }
    }
}
