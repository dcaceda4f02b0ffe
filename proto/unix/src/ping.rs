//! A PING of the server's own, and its acknowledgement (RFC 9113, section 6.7).

use bytes::{BufMut as _, BytesMut};

use crate::frame::{FRAME_HEADER, FrameHeader, PING};

/// What an HTTP/2 client says first (section 3.4), in octets.
pub(crate) const PREFACE: usize = 24;
/// The payload of a PING, in octets.
const PAYLOAD: usize = 8;
const ACK: u8 = 0x1;

/// A PING frame.
#[must_use]
pub fn ping_frame(payload: [u8; 8]) -> [u8; FRAME_HEADER + PAYLOAD] {
    let mut frame = [0, 0, 8, PING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (to, from) in frame.iter_mut().skip(FRAME_HEADER).zip(payload) {
        *to = from;
    }
    frame
}

/// Finds the acknowledgement of one PING among what a client sends, and takes it out: the server behind did not ask
/// for it.
#[derive(Debug)]
pub struct PingWatch {
    preface: usize,
    payload: usize,
    held: Vec<u8>,
}

impl Default for PingWatch {
    fn default() -> Self {
        Self {
            preface: PREFACE,
            payload: 0,
            held: Vec::with_capacity(FRAME_HEADER + PAYLOAD),
        }
    }
}

impl PingWatch {
    /// Appends to `out` what arrived, but for the acknowledgement of the awaited payload; says whether that came. Of a
    /// frame that is not wholly there, no more than 16 octets are held back.
    pub fn pass(&mut self, mut arrived: &[u8], awaited: Option<[u8; 8]>, out: &mut BytesMut) -> bool {
        let mut acknowledged = false;
        while !arrived.is_empty() {
            let uninteresting = self.preface + self.payload;
            let wanted = match uninteresting {
                0 => self.wanted(awaited.is_some()),
                octets => octets,
            };
            let (now, rest) = arrived.split_at_checked(wanted).unwrap_or((arrived, &[]));
            arrived = rest;
            if uninteresting > 0 {
                out.put_slice(now);
                self.preface = self.preface.saturating_sub(now.len());
                self.payload = self
                    .payload
                    .saturating_sub(if self.preface > 0 { 0 } else { now.len() });
                continue;
            }
            self.held.extend_from_slice(now);
            if self.wanted(awaited.is_some()) > 0 {
                continue;
            }
            if self.is_acknowledgement(awaited) {
                acknowledged = true;
            } else {
                self.payload = self.left();
                out.put_slice(&self.held);
            }
            self.held.clear();
        }
        acknowledged
    }

    /// How many more octets it takes to tell what the frame is.
    fn wanted(&self, awaiting: bool) -> usize {
        let whole = match FrameHeader::peek(&self.held) {
            Some(header) if awaiting && is_ping_ack(header) => FRAME_HEADER + PAYLOAD,
            _ => FRAME_HEADER,
        };
        whole.saturating_sub(self.held.len())
    }

    fn is_acknowledgement(&self, awaited: Option<[u8; 8]>) -> bool {
        let payload = self.held.get(FRAME_HEADER..).unwrap_or_default();
        awaited.is_some_and(|awaited| payload == awaited)
    }

    /// How much of the frame's payload has not been held.
    fn left(&self) -> usize {
        let length = FrameHeader::peek(&self.held).map_or(0, |header| header.length);
        (FRAME_HEADER + length).saturating_sub(self.held.len())
    }
}

fn is_ping_ack(header: FrameHeader) -> bool {
    header.kind == PING && header.flags & ACK != 0 && header.stream == 0 && header.length == PAYLOAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::tests::frame;

    const PAYLOAD: [u8; 8] = *b"unguesse";

    fn greeting() -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat()
    }

    fn run(input: &[u8], awaited: Option<[u8; 8]>, cut: usize) -> (Vec<u8>, bool) {
        let (mut watch, mut out, mut acknowledged) = (PingWatch::default(), BytesMut::new(), false);
        for piece in input.chunks(cut) {
            acknowledged |= watch.pass(piece, awaited, &mut out);
            assert!(watch.held.len() <= 16);
        }
        (out.to_vec(), acknowledged)
    }

    #[test]
    fn the_ping_is_a_frame_of_the_connection() {
        assert_eq!(ping_frame(PAYLOAD).to_vec(), frame(6, 0, 0, &PAYLOAD));
    }

    #[test]
    fn the_acknowledgement_alone_is_taken_out() {
        let (before, after) = (frame(0, 0, 1, b"data"), frame(8, 0, 0, &[0, 0, 1, 0]));
        let with = |between: Vec<u8>| [greeting(), before.clone(), between, after.clone()].concat();
        for cut in [1, 3, 9, 17, 1000] {
            let (out, acknowledged) = run(&with(frame(6, 1, 0, &PAYLOAD)), Some(PAYLOAD), cut);
            assert!(acknowledged);
            assert_eq!(out, with(Vec::new()));
            for other in [
                frame(6, 1, 0, b"guessed!"),
                frame(6, 0, 0, &PAYLOAD),
                frame(6, 1, 1, &PAYLOAD),
                frame(6, 1, 0, &PAYLOAD[..7]),
                frame(0, 0, 1, &frame(6, 1, 0, &PAYLOAD)),
            ] {
                let input = with(other);
                assert_eq!(run(&input, Some(PAYLOAD), cut), (input, false));
            }
            let input = with(frame(6, 1, 0, &PAYLOAD));
            assert_eq!(run(&input, None, cut), (input, false), "nothing is awaited");
        }
    }

    #[test]
    fn an_acknowledgement_before_the_greeting_is_none() {
        let input = [frame(6, 1, 0, &PAYLOAD), vec![0; 40]].concat();
        assert!(!run(&input, Some(PAYLOAD), 1000).1);
    }

    proptest! {
        #[test]
        fn any_octets_pass_wherever_they_are_cut(input in prop::collection::vec(any::<u8>(), 0..300), cut in 1_usize..40) {
            let input = [greeting(), input].concat();
            let (out, acknowledged) = run(&input, Some(PAYLOAD), cut);
            prop_assert!(!acknowledged);
            prop_assert!(input.starts_with(&out) && input.len() - out.len() <= 16);
        }
    }
}
