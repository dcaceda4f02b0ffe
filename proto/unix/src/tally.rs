//! What a client's frames are for: calls, or the connection itself.

use crate::frame::{FRAME_HEADER, FrameHeader, HEADERS};
use crate::ping::PREFACE;

const DATA: u8 = 0x0;
/// So many small frames of DATA in a row are paid for by what came before them, and no more.
const MOST_PAID: usize = 16;

/// How many frames came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that begin a call.
    pub calls: u32,
    /// Those that carry nothing of a call: PING, SETTINGS, WINDOW_UPDATE and the like, and DATA with too little in it.
    pub others: u32,
}

/// Counts the frames of a client as they come in, by their headers alone (RFC 9113, section 4.1).
#[derive(Debug, Clone, Copy)]
pub struct FrameTally {
    /// What is left of the preface, or of a frame's payload.
    uninteresting: usize,
    header: [u8; FRAME_HEADER],
    collected: usize,
    carries: usize,
    /// What DATA carried beyond what it had to, and smaller DATA has not used up.
    paid: usize,
}

impl FrameTally {
    /// Of a connection that has said nothing yet. DATA that `carries` so many octets or more is paid for by what it carries
    /// and counts as nothing: flow control bounds that. So is smaller DATA, as the end of each message is, as far as the DATA
    /// before it carried more.
    #[must_use]
    pub const fn new(carries: usize) -> Self {
        Self {
            uninteresting: PREFACE,
            header: [0; FRAME_HEADER],
            collected: 0,
            carries,
            paid: 0,
        }
    }

    /// Whether DATA of this length is paid for.
    fn pays(&mut self, length: usize) -> bool {
        if let Some(more) = length.checked_sub(self.carries) {
            self.paid = self
                .paid
                .saturating_add(more)
                .min(self.carries.saturating_mul(MOST_PAID));
            return true;
        }
        let Some(left) = self.paid.checked_sub(self.carries.saturating_sub(length)) else {
            return false;
        };
        // What carries nothing is no part of a message.
        if length > 0 {
            self.paid = left;
        }
        length > 0
    }

    /// Counts the frames whose headers end in `octets`.
    pub fn pass(&mut self, mut octets: &[u8]) -> Tally {
        let mut tally = Tally::default();
        while !octets.is_empty() {
            let skipped = self.uninteresting.min(octets.len());
            self.uninteresting -= skipped;
            octets = octets.get(skipped..).unwrap_or_default();
            let missing = FRAME_HEADER - self.collected;
            let (head, rest) = octets.split_at_checked(missing).unwrap_or((octets, &[]));
            for (to, from) in self.header.iter_mut().skip(self.collected).zip(head) {
                *to = *from;
            }
            self.collected += head.len();
            octets = rest;
            if self.collected < FRAME_HEADER {
                break;
            }
            self.collected = 0;
            if let Some(header) = FrameHeader::peek(&self.header) {
                self.uninteresting = header.length;
                match header.kind {
                    HEADERS => tally.calls += 1,
                    DATA if self.pays(header.length) => {}
                    _ => tally.others += 1,
                }
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::tests::frame;

    proptest! {
        #[test]
        fn every_frame_is_counted_wherever_it_is_cut(
            frames in prop::collection::vec((0..11_u8, prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            cut in 1_usize..30,
            carries in 1_usize..20,
        ) {
            let mut paid = 0;
            let mut is_paid = |length: usize| match length {
                0 => false,
                length if length >= carries => {
                    paid = (paid + length - carries).min(16 * carries);
                    true
                }
                length if paid >= carries - length => {
                    paid -= carries - length;
                    true
                }
                _ => false,
            };
            let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            for (kind, payload) in &frames {
                sent.extend_from_slice(&frame(*kind, 4, 1, payload));
            }
            let (mut tally, mut walk) = (Tally::default(), FrameTally::new(carries));
            for piece in sent.chunks(cut) {
                let counted = walk.pass(piece);
                tally.calls += counted.calls;
                tally.others += counted.others;
            }
            let calls = frames.iter().filter(|(kind, _)| *kind == HEADERS).count();
            let data = frames.iter().filter(|(kind, payload)| *kind == DATA && is_paid(payload.len())).count();
            prop_assert_eq!(usize::try_from(tally.calls).unwrap(), calls);
            prop_assert_eq!(usize::try_from(tally.others).unwrap(), frames.len() - calls - data);
        }
    }
}
