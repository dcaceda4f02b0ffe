//! What time it is. The pure rooms are told; only this reads the system's clock.

mod pace;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub use pace::{ClockHand, Pace};

/// A source of the current time.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Whoever sets it, where somebody does.
    moved: Option<Arc<pace::Shared>>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self {
            now: Arc::new(SystemTime::now),
            moved: None,
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.now)()
    }

    /// Now, in Unix seconds; before 1970 it is 0.
    #[must_use]
    pub fn unix(&self) -> i64 {
        unix_seconds(self.now())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A time in whole Unix seconds; before 1970 it is 0.
#[must_use]
pub fn unix_seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
