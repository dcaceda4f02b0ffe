//! Where the frames of an HTTP/2 connection begin (RFC 9113, section 4.1).

use bytes::Buf as _;

/// A frame's header, in octets.
pub(crate) const FRAME_HEADER: usize = 9;

pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const CONTINUATION: u8 = 0x9;
pub(crate) const END_HEADERS: u8 = 0x4;

/// A frame's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHeader {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHeader {
    /// The header at the beginning of `input`; `None` until it is there.
    pub(crate) fn peek(mut input: &[u8]) -> Option<Self> {
        let length = input.try_get_uint(3).ok()?;
        let (kind, flags) = (input.try_get_u8().ok()?, input.try_get_u8().ok()?);
        let stream = input.try_get_u32().ok()? & 0x7fff_ffff;
        Some(Self {
            length: usize::try_from(length).ok()?,
            kind,
            flags,
            stream,
        })
    }
}

/// Follows the frames that a server sends, to know where another frame may be put between them.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameWalk {
    header: [u8; FRAME_HEADER],
    collected: usize,
    payload: usize,
    /// Within a header block, whose frames must follow one another (section 4.3).
    in_block: bool,
    /// A connection begins with the server's SETTINGS (section 3.4).
    begun: bool,
}

impl FrameWalk {
    /// Takes octets up to the end of the frame that is under way, and says how many: all of them if it does not end
    /// among them.
    pub fn step(&mut self, octets: &[u8]) -> usize {
        let missing = FRAME_HEADER - self.collected;
        let (head, rest) = octets.split_at_checked(missing).unwrap_or((octets, &[]));
        for (to, from) in self.header.iter_mut().skip(self.collected).zip(head) {
            *to = *from;
        }
        self.collected += head.len();
        if missing > 0 && self.collected == FRAME_HEADER {
            self.enter();
        }
        let payload = self.payload.min(rest.len());
        self.payload -= payload;
        if self.collected == FRAME_HEADER && self.payload == 0 {
            self.collected = 0;
            self.begun = true;
        }
        head.len() + payload
    }

    /// Takes octets, whatever ends and begins among them.
    pub fn pass(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let taken = self.step(octets);
            octets = octets.get(taken..).unwrap_or_default();
        }
    }

    /// Whether another frame may come now.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.begun && self.collected == 0 && !self.in_block
    }

    fn enter(&mut self) {
        let Some(header) = FrameHeader::peek(&self.header) else {
            return;
        };
        self.payload = header.length;
        if matches!(header.kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
            self.in_block = header.flags & END_HEADERS == 0;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One frame.
    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn a_frame_may_come_between_frames_alone() {
        let mut walk = FrameWalk::default();
        assert!(!walk.is_between_frames(), "before the settings");
        let settings = frame(4, 0, 0, &[0; 6]);
        for (count, octet) in settings.iter().enumerate() {
            assert!(!walk.is_between_frames(), "after {count}");
            walk.pass(&[*octet]);
        }
        assert!(walk.is_between_frames());
        // A block in two frames is one.
        walk.pass(&frame(HEADERS, 0, 1, b"abc"));
        assert!(!walk.is_between_frames());
        walk.pass(&frame(CONTINUATION, 0, 1, b""));
        assert!(!walk.is_between_frames());
        walk.pass(&frame(CONTINUATION, END_HEADERS, 1, b"d"));
        assert!(walk.is_between_frames());
        walk.pass(&frame(HEADERS, END_HEADERS, 3, b"abc"));
        assert!(walk.is_between_frames());
    }

    #[test]
    fn a_step_ends_where_the_frame_does() {
        let (one, two) = (frame(0, 0, 1, b"hello"), frame(0, 0, 1, b""));
        let both = [one.clone(), two.clone()].concat();
        let mut walk = FrameWalk::default();
        assert_eq!(walk.step(&both), one.len());
        assert_eq!(walk.step(&both[one.len()..]), two.len());
        assert_eq!(walk.step(&[]), 0);
        assert_eq!(walk.step(&one[..4]), 4);
        assert_eq!(walk.step(&one[4..]), one.len() - 4);
        assert!(walk.is_between_frames());
    }

    proptest! {
        #[test]
        fn where_it_is_cut_does_not_matter(
            frames in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1_usize..20,
            left in 0_usize..10,
        ) {
            let mut all: Vec<u8> = frames.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, 1, payload)).collect();
            all.truncate(all.len().saturating_sub(left));
            let (mut whole, mut pieces) = (FrameWalk::default(), FrameWalk::default());
            whole.pass(&all);
            all.chunks(cut).for_each(|piece| pieces.pass(piece));
            prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
        }
    }
}
