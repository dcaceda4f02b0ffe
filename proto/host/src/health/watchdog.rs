//! The service manager's watchdog (sd_watchdog_enabled(3)): it restarts a program that it does not hear of in time.

use std::{env, future::Future, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::Report;
use crate::notify;

/// How often the service manager wants to hear of this process; `None` when it does not.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let text = |name| env::var(name).ok();
    interval(
        text("WATCHDOG_USEC").as_deref(),
        text("WATCHDOG_PID").as_deref(),
        std::process::id(),
    )
}

fn interval(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let micros: u64 = micros?.parse().ok()?;
    let is_meant = pid.is_none_or(|pid| pid.parse() == Ok(own));
    (micros > 0 && is_meant).then(|| Duration::from_micros(micros))
}

/// Tells the service manager three times in each `interval` that the program works, as long as `live` says so in time.
/// Never ends.
pub async fn keep_watchdog<F: Future<Output = Report>>(interval: Duration, live: impl Fn() -> F) {
    keep(interval, live, notify).await;
}

async fn keep<F: Future<Output = Report>>(interval: Duration, live: impl Fn() -> F, tell: impl Fn(&str)) {
    let every = interval / 3;
    let mut silent = false;
    loop {
        let next = Instant::now() + every;
        let failure = match timeout(every, live()).await {
            Ok(report) if report.ok => None,
            Ok(report) => Some(report.failures()),
            Err(_) => Some(format!("its health was not known within {} ms", every.as_millis())),
        };
        match &failure {
            None => tell("WATCHDOG=1"),
            Some(failure) if !silent => {
                tracing::error!(failure, "the program no longer works; the watchdog is not told")
            }
            Some(_) => {}
        }
        silent = failure.is_some();
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        future::pending,
    };

    use super::*;
    use crate::health::{Part, State};

    /// How often the service manager is told within a minute, of 3 s intervals, by a program that is so.
    async fn told<F: Future<Output = Report>>(live: impl Fn() -> F) -> usize {
        let told = RefCell::new(Vec::new());
        let keeping = keep(Duration::from_secs(3), live, |state| {
            told.borrow_mut().push(state.to_owned())
        });
        assert!(
            timeout(Duration::from_secs(60), keeping).await.is_err(),
            "it never ends"
        );
        assert!(told.borrow().iter().all(|state| state == "WATCHDOG=1"));
        told.into_inner().len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_works_is_told_of_and_no_other() {
        let well = || Report::new(vec![Part::good("loop")]);
        assert!((58..=61).contains(&told(async || well()).await), "the control");
        let stuck = || Part {
            state: State::Failed,
            ..Part::good("loop")
        };
        let failed = || Report::new(vec![stuck()]);
        assert_eq!(told(async || failed()).await, 0);
        assert_eq!(told(pending::<Report>).await, 0, "who does not even come to look");
        // One that comes back is told of again.
        let looks = Cell::new(0);
        let passing = async || {
            looks.set(looks.get() + 1);
            if (10..20).contains(&looks.get()) {
                failed()
            } else {
                well()
            }
        };
        assert!((48..=51).contains(&told(passing).await));
    }

    #[test]
    fn only_what_is_meant_for_this_process_counts() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(interval(Some("1000000"), None, 7), second);
        assert_eq!(interval(Some("1000000"), Some("7"), 7), second);
        for (micros, pid) in [
            (None, None),
            (Some("0"), None),
            (Some("soon"), None),
            (Some("1000000"), Some("8")),
            (Some("1000000"), Some("x")),
        ] {
            assert_eq!(interval(micros, pid, 7), None, "{micros:?} {pid:?}");
        }
    }
}
