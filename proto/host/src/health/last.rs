//! What was found last, for those who ask soon after another, and for the log.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::sleep};

use super::{Report, Watched};

/// Who asks within this time after another is told what that one found.
const FRESH: Duration = Duration::from_secs(1);
/// How often a program looks by itself.
const EVERY: Duration = Duration::from_secs(30);

/// The last report of a program.
#[derive(Debug, Default)]
pub struct LastReport(Mutex<Option<(Instant, Report)>>);

impl LastReport {
    /// What is found now; within a second after another asked, what that one was told. Those who ask at once wait for one
    /// look.
    pub async fn now(&self, look: impl Future<Output = Report>) -> Report {
        let mut last = self.0.lock().await;
        if let Some((_, report)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return report.clone();
        }
        let report = look.await;
        *last = Some((Instant::now(), report.clone()));
        report
    }

    /// What was found lately, as the program looks by itself; at its start, what is found now.
    pub async fn lately(&self, look: impl Future<Output = Report>) -> Report {
        let last = self.0.lock().await.clone();
        match last.filter(|(at, _)| at.elapsed() < 2 * EVERY) {
            Some((_, report)) => report,
            None => self.now(look).await,
        }
    }
}

/// Looks now and then, for ever, so that what fails is told although nobody asks, and metrics are not old. `who` is the
/// program in a log line: "the server".
pub async fn keep_looking(who: &str, watched: &impl Watched) {
    let mut before = String::new();
    loop {
        sleep(EVERY).await;
        let failures = watched.ready().await.failures();
        if failures != before && !failures.is_empty() {
            tracing::warn!(failures, "{who} is not ready");
        } else if failures != before {
            tracing::info!("{who} is ready again");
        }
        before = failures;
    }
}

#[cfg(test)]
mod tests {
    use crate::health::Part;

    use super::*;

    #[tokio::test]
    async fn who_asks_soon_after_another_is_told_the_same() {
        let last = LastReport::default();
        let report = |name: &str| Report::new(vec![Part::good(name)]);
        let first = last.now(async { report("first") }).await;
        assert_eq!(first.parts.len(), 1);
        let names = |report: Report| report.parts.iter().map(ToString::to_string).collect::<String>();
        assert_eq!(names(last.now(async { report("second") }).await), "first ok");
        *last.0.lock().await = Some((Instant::now().checked_sub(FRESH).unwrap(), report("first")));
        assert_eq!(names(last.lately(async { report("second") }).await), "first ok");
        assert_eq!(names(last.now(async { report("third") }).await), "third ok");
        *last.0.lock().await = None;
        assert_eq!(names(last.lately(async { report("fourth") }).await), "fourth ok");
    }
}
