//! How many HTTP/2 frames a stranger may send.

use std::time::{Duration, Instant};

use hallmark_unix::FrameTally;

/// A frame of data that carries at least so much is paid for by what it carries: who receives it bounds that.
const CARRIES: usize = 1024;
/// Frames that a connection may send at once; an attestation takes about thirty, a call two.
const BURST: u32 = 1000;
/// One more in each such time.
const EACH: Duration = Duration::from_millis(20);

/// Counts the frames of one connection. Calls are frames, and so is whatever makes the server work without a call: PING,
/// SETTINGS, WINDOW_UPDATE, empty DATA.
#[derive(Debug)]
pub(super) struct FrameBudget {
    frames: FrameTally,
    spent: u32,
    since: Instant,
}

impl FrameBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            frames: FrameTally::new(CARRIES),
            spent: 0,
            since: now,
        }
    }

    /// Counts what arrived; whether it is within the budget.
    pub(super) fn allows(&mut self, arrived: &[u8], now: Instant) -> bool {
        let counted = self.frames.pass(arrived);
        self.spent = self.spent.saturating_add(counted.calls).saturating_add(counted.others);
        if self.spent > BURST {
            self.refill(now);
        }
        self.spent <= BURST
    }

    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.since).as_millis() / EACH.as_millis();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.spent = self.spent.saturating_sub(gained);
        self.since += EACH.saturating_mul(gained);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's first octets, before any frame (RFC 9113, section 3.4).
    const PREFACE: usize = 24;
    /// The head of a frame (section 4.1).
    const HEAD: usize = 9;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [.., high, middle, low] = length.to_be_bytes();
        let mut frame = vec![high, middle, low, kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD + length, 0);
        frame
    }

    /// Which frame of so many is the first that is too many, sent in pieces of `piece` octets.
    fn refused(frames: &[Vec<u8>], piece: usize) -> bool {
        let now = Instant::now();
        let mut budget = FrameBudget::new(now);
        let sent: Vec<u8> = [0; PREFACE].into_iter().chain(frames.concat()).collect();
        !sent.chunks(piece).all(|piece| budget.allows(piece, now))
    }

    #[test]
    fn frames_are_counted_however_they_arrive() {
        for piece in [1, 8, 9, 16384] {
            for (kind, length) in [(6, 8), (4, 0), (8, 4), (0, 0), (0, 1023), (1, 40)] {
                let so_many = |count| vec![frame(kind, length); count];
                assert!(!refused(&so_many(1000), piece), "{kind} {length} {piece}");
                assert!(refused(&so_many(1001), piece), "{kind} {length} {piece}");
            }
            assert!(
                !refused(&vec![frame(0, 1024); 1100], piece),
                "data that carries something"
            );
        }
    }

    /// A million lines of an IMA list come in a thousand messages and more, each with an end that is a small frame.
    #[test]
    fn logs_are_let_in_however_fast_they_come() {
        let part: Vec<Vec<u8>> = [vec![frame(0, 16384); 8], vec![frame(0, 37)]].concat();
        assert!(!refused(&vec![part.concat(); 2500], 16384));
        // The controls: small frames that nothing pays for, and what carries nothing.
        assert!(refused(&vec![frame(0, 37); 1001], 16384));
        let idle: Vec<Vec<u8>> = [vec![frame(0, 16384); 8], vec![frame(0, 0)]].concat();
        assert!(refused(&vec![idle.concat(); 1001], 16384));
        let bursts: Vec<Vec<u8>> = [vec![frame(0, 16384)], vec![frame(0, 1); 60]].concat();
        assert!(
            refused(&vec![bursts.concat(); 30], 16384),
            "1,350 that are not paid for"
        );
    }

    #[test]
    fn time_gives_frames_back() {
        let start = Instant::now();
        let mut budget = FrameBudget::new(start);
        assert!(budget.allows(&[0; PREFACE], start));
        for number in 0..3000 {
            let now = start + EACH * number;
            assert!(budget.allows(&frame(6, 8), now), "{number}");
        }
        let late = start + EACH * 3000;
        assert!(budget.allows(&frame(6, 8).repeat(900), late));
        assert!(!budget.allows(&frame(6, 8).repeat(1100), late));
    }
}
