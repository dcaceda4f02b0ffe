//! Words about what strangers can cause as often as they like.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one line stands for all like it. A journal that limits a service's lines would otherwise drop the rest of
/// the agent's with them.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets one line through each second, and counts the others.
#[derive(Debug)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    pub(super) const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// Whether a line is due, and how many like it were left out since the last.
    pub(super) fn due(&self, now: Instant) -> Option<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second_with_its_size() {
        let seldom = Seldom::new();
        let start = Instant::now();
        assert_eq!(seldom.due(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(seldom.due(start + PAUSE / 2), None);
        }
        assert_eq!(seldom.due(start + PAUSE), Some(1000));
        assert_eq!(seldom.due(start + PAUSE * 2), Some(0));
    }
}
