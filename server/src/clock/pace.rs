//! Looking again and again, by a clock that a test may set and wait on.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::sleep};

use super::Clock;

/// Waits between two looks of something that goes on for ever. When the clock is set by its [`ClockHand`], the next look comes
/// at once.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    set: Option<Registered>,
}

/// What a test sets a clock with.
#[derive(Debug)]
pub struct ClockHand(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    /// How often it was set, and how far it is off.
    set: watch::Sender<(u64, i64)>,
    /// Of each pace, which setting it has looked at and waits behind; none while it looks.
    paces: watch::Sender<BTreeMap<u64, Option<u64>>>,
}

#[derive(Debug)]
struct Registered {
    shared: Arc<Shared>,
    id: u64,
    /// The setting that the last look began with.
    seen: u64,
}

impl Clock {
    /// A clock that is right, until its hand sets it.
    #[must_use]
    pub fn movable() -> (Self, ClockHand) {
        let shared = Arc::new(Shared {
            set: watch::Sender::new((0, 0)),
            paces: watch::Sender::default(),
        });
        let of = Arc::clone(&shared);
        let now = move || {
            let (_, off) = *of.set.borrow();
            let by = Duration::from_secs(off.unsigned_abs());
            let now = SystemTime::now();
            let moved = if off < 0 {
                now.checked_sub(by)
            } else {
                now.checked_add(by)
            };
            moved.unwrap_or(now)
        };
        let clock = Self {
            now: Arc::new(now),
            moved: Some(Arc::clone(&shared)),
        };
        (clock, ClockHand(shared))
    }

    /// The pace of something that looks every so often.
    #[must_use]
    pub fn pace(&self, every: Duration) -> Pace {
        let set = self.moved.as_ref().map(|shared| {
            let (seen, _) = *shared.set.borrow();
            let mut id = 0;
            shared.paces.send_modify(|paces| {
                id = paces.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
                paces.insert(id, None);
            });
            Registered {
                shared: Arc::clone(shared),
                id,
                seen,
            }
        });
        Pace { every, set }
    }
}

impl ClockHand {
    /// Sets the clock off by so many seconds, and returns when everything that looks at it now and then has looked.
    pub async fn set(&self, seconds: i64) {
        self.change(|off| *off = seconds).await;
    }

    /// As [`set`](Self::set), by so many seconds more than now.
    pub async fn advance(&self, seconds: i64) {
        self.change(|off| *off = off.saturating_add(seconds)).await;
    }

    async fn change(&self, change: impl FnOnce(&mut i64)) {
        let mut now = 0;
        self.0.set.send_modify(|(count, off)| {
            *count = count.saturating_add(1);
            now = *count;
            change(off);
        });
        let mut paces = self.0.paces.subscribe();
        let have_looked = |paces: &BTreeMap<u64, Option<u64>>| paces.values().all(|behind| *behind == Some(now));
        // Its sender is this hand's.
        let _ = paces.wait_for(have_looked).await;
    }
}

impl Pace {
    /// Waits until the next look is due.
    pub async fn next(&mut self) {
        match &mut self.set {
            None => sleep(self.every).await,
            Some(registered) => registered.next(self.every).await,
        }
    }
}

impl Registered {
    async fn next(&mut self, every: Duration) {
        let mut set = self.shared.set.subscribe();
        let (now, _) = *set.borrow_and_update();
        // What was set during a look asks for another one.
        if now == self.seen {
            self.note(Some(now));
            tokio::select! {
                () = sleep(every) => {}
                _ = set.changed() => {}
            }
            self.note(None);
        }
        (self.seen, _) = *set.borrow();
    }

    fn note(&self, behind: Option<u64>) {
        self.shared.paces.send_modify(|paces| {
            paces.insert(self.id, behind);
        });
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.paces.send_modify(|paces| {
            paces.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[tokio::test]
    async fn who_set_the_clock_waits_until_it_was_looked_at() {
        let (clock, hand) = Clock::movable();
        hand.set(-3600).await;
        let seen = Arc::new(AtomicI64::new(0));
        let looks = {
            let (clock, seen) = (clock.clone(), Arc::clone(&seen));
            let mut pace = clock.pace(Duration::from_secs(3600));
            tokio::spawn(async move {
                loop {
                    pace.next().await;
                    let now = clock.unix();
                    // A look takes its time, and is not over before its end.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    seen.store(now, Ordering::SeqCst);
                }
            })
        };
        for off in [0, 7200, -7200, 60] {
            hand.set(off).await;
            let expected = Clock::system().unix() + off;
            assert!((seen.load(Ordering::SeqCst) - expected).abs() <= 10, "{off}");
        }
        looks.abort();
        let _ = looks.await;
        // Who looks no more is not waited for.
        hand.set(0).await;
    }
}
