//! Rate-limits log lines that callers can trigger.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one line stands for all like it. A journal that limits a service's lines would otherwise drop the rest of
/// the program's with them.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets one line through each second, and counts the others.
#[derive(Debug)]
pub struct LogThrottle(Mutex<(Option<Instant>, u64)>);

impl LogThrottle {
    /// One that has let nothing through yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// Whether a line is due, and how many like it were left out since the last.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            *left_out = left_out.saturating_add(1);
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second_with_its_size() {
        let throttle = LogThrottle::new();
        let start = Instant::now();
        assert_eq!(throttle.due(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(throttle.due(start + PAUSE / 2), None);
        }
        assert_eq!(throttle.due(start + PAUSE), Some(1000));
        assert_eq!(throttle.due(start + PAUSE * 2), Some(0));
    }
}
