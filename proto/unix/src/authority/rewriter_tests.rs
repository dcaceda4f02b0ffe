use proptest::prelude::*;

use super::*;

const GOOD: &str = "localhost";
const BAD: &str = "tmp%2Fagent.sock";

/// A client with a dynamic table, as gRPC's C core has one.
struct Client {
    encoder: fluke_hpack::Encoder<'static>,
    sent: BytesMut,
}

impl Client {
    fn new() -> Self {
        Self {
            encoder: fluke_hpack::Encoder::new(),
            sent: BytesMut::from(&PREFACE[..]),
        }
    }

    fn block(&mut self, authority: &str, stream: u32) -> Vec<u8> {
        let path = format!("/Service/Method{stream}");
        self.encoder.encode([
            (&b":method"[..], &b"POST"[..]),
            (b":path", path.as_bytes()),
            (b":authority", authority.as_bytes()),
            (b"content-type", b"application/grpc"),
        ])
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.sent.put_uint(u64::try_from(payload.len()).unwrap(), 3);
        self.sent.put_u8(kind);
        self.sent.put_u8(flags);
        self.sent.put_u32(stream);
        self.sent.put_slice(payload);
    }

    fn request(&mut self, authority: &str, stream: u32) {
        let block = self.block(authority, stream);
        self.frame(HEADERS, END_HEADERS, stream, &block);
        self.frame(0, END_STREAM, stream, &[0, 0, 0, 0, 0]);
    }
}

/// What came out, in one piece, of what went in.
fn filtered(input: &[u8]) -> Result<(Mode, BytesMut), RewriteError> {
    let mut rewriter = Rewriter::new();
    let mut out = BytesMut::new();
    rewriter.input().extend_from_slice(input);
    advance(&mut rewriter, &mut out)?;
    Ok((rewriter.mode(), out))
}

/// Takes all that can be taken, as a reader does who always has room.
fn advance(rewriter: &mut Rewriter, out: &mut BytesMut) -> Result<(), RewriteError> {
    loop {
        let mut made = BytesMut::new();
        let advanced = rewriter.advance(&mut made);
        let last = made.is_empty();
        out.put(made);
        advanced?;
        if last {
            return Ok(());
        }
    }
}

type Frame = (u8, u8, u32, Vec<u8>);

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut rest = bytes.strip_prefix(PREFACE).unwrap();
    let mut frames = Vec::new();
    while let Some(header) = FrameHeader::peek(rest) {
        let (frame, next) = rest.split_at(FRAME_HEADER + header.length);
        frames.push((header.kind, header.flags, header.stream, frame[FRAME_HEADER..].to_vec()));
        rest = next;
    }
    assert!(rest.is_empty());
    frames
}

fn authority_of(block: &[u8], decoder: &mut fluke_hpack::Decoder<'_>) -> String {
    let fields = decoder.decode(block).unwrap();
    let (_, value) = fields.into_iter().find(|(name, _)| name == b":authority").unwrap();
    String::from_utf8(value).unwrap()
}

#[test]
fn a_connection_with_a_good_authority_passes_untouched() {
    let mut client = Client::new();
    client.frame(4, 0, 0, &[]);
    client.request(GOOD, 1);
    client.request(BAD, 3);
    let (mode, out) = filtered(&client.sent).unwrap();
    assert_eq!(mode, Mode::Passing);
    assert_eq!(out, client.sent);
}

#[test]
fn a_socket_path_becomes_localhost_in_every_block_and_the_rest_stays() {
    let mut client = Client::new();
    client.frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]);
    client.request(BAD, 1);
    client.request(BAD, 3);
    client.frame(6, 0, 0, &[7; 8]);
    let (mode, out) = filtered(&client.sent).unwrap();
    assert_eq!(mode, Mode::Rewriting);
    let (before, after) = (frames(&client.sent), frames(&out));
    assert_eq!(before.len(), after.len());
    let mut table = fluke_hpack::Decoder::new();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.0, before.1, before.2), (after.0, after.1, after.2));
        if before.0 == HEADERS {
            let theirs = table.decode(&before.3).unwrap();
            // Each block reads without any table.
            let ours = fluke_hpack::Decoder::new().decode(&after.3).unwrap();
            for (theirs, ours) in theirs.iter().zip(&ours) {
                assert_eq!(theirs.0, ours.0);
                let expected = if theirs.0 == b":authority" {
                    LOCALHOST
                } else {
                    &theirs.1
                };
                assert_eq!(ours.1, expected);
            }
            assert_eq!(theirs.len(), ours.len());
        } else {
            assert_eq!(before.3, after.3);
        }
    }
}

#[test]
fn padding_priority_and_continuations_are_taken_off() {
    let mut client = Client::new();
    let block = client.block(BAD, 1);
    let (one, rest) = block.split_at(3);
    let (two, three) = rest.split_at(4);
    let mut first = vec![2, 0, 0, 0, 0, 16];
    first.extend_from_slice(one);
    first.extend_from_slice(&[0, 0]);
    client.frame(HEADERS, END_STREAM | PADDED | PRIORITY, 1, &first);
    client.frame(CONTINUATION, 0, 1, two);
    client.frame(CONTINUATION, END_HEADERS, 1, three);
    let (_, out) = filtered(&client.sent).unwrap();
    let [(HEADERS, flags, 1, block)] = &frames(&out)[..] else {
        panic!("one frame")
    };
    assert_eq!(*flags, END_STREAM | END_HEADERS);
    assert_eq!(authority_of(block, &mut fluke_hpack::Decoder::new()), GOOD);
}

#[test]
fn a_list_is_written_in_one_frame_or_refused() {
    let grown = |times: usize| {
        let mut client = Client::new();
        client.request(BAD, 1);
        // The value goes over once and stands in the table afterwards.
        let value = vec![b'v'; 3_000];
        for (stream, times) in [(3, 1), (5, times)] {
            let block = client.encoder.encode(vec![(&b"k"[..], &value[..]); times]);
            client.frame(HEADERS, END_HEADERS, stream, &block);
        }
        filtered(&client.sent)
    };
    let (_, out) = grown(5).unwrap();
    let [.., (HEADERS, END_HEADERS, 5, block)] = &frames(&out)[..] else {
        panic!("one frame")
    };
    assert_eq!(fluke_hpack::Decoder::new().decode(block).unwrap().len(), 5);
    assert_eq!(grown(6).unwrap_err(), RewriteError::Hpack(HpackError::TooLarge));
}

/// A client whose first request needed rewriting, with one more frame.
fn rewriting_then(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Client {
    let mut client = Client::new();
    client.request(BAD, 1);
    client.frame(kind, flags, stream, payload);
    client
}

#[test]
fn what_breaks_the_rules_ends_a_connection_that_is_rewritten() {
    assert!(filtered(&rewriting_then(HEADERS, END_HEADERS, 3, &[0x82]).sent).is_ok());
    for (kind, flags, payload, error) in [
        (
            HEADERS,
            END_HEADERS,
            &[0x80][..],
            RewriteError::Hpack(HpackError::Index),
        ),
        (HEADERS, END_HEADERS | PADDED, &[9, 0x82], RewriteError::FrameSize),
        (HEADERS, END_HEADERS | PRIORITY, &[0, 0, 0, 0], RewriteError::FrameSize),
        (HEADERS, END_HEADERS, &[0; MAX_FRAME + 1], RewriteError::FrameSize),
        (CONTINUATION, END_HEADERS, &[0x82], RewriteError::Order),
        (PUSH_PROMISE, END_HEADERS, &[0, 0, 0, 2, 0x82], RewriteError::Order),
    ] {
        assert_eq!(
            filtered(&rewriting_then(kind, flags, 3, payload).sent).unwrap_err(),
            error
        );
    }
    let mut interleaved = rewriting_then(HEADERS, 0, 3, &[0x82]);
    interleaved.frame(0, 0, 1, b"data");
    assert_eq!(filtered(&interleaved.sent).unwrap_err(), RewriteError::Order);
    let mut other = rewriting_then(HEADERS, 0, 3, &[0x82]);
    other.frame(CONTINUATION, END_HEADERS, 5, &[0x82]);
    assert_eq!(filtered(&other.sent).unwrap_err(), RewriteError::Order);
}

#[test]
fn a_flood_of_continuations_is_refused() {
    let with = |count: u32, size: usize| {
        let mut client = rewriting_then(HEADERS, 0, 3, &[0x82]);
        for _ in 1..count {
            client.frame(CONTINUATION, 0, 3, &vec![0x82; size]);
        }
        client.frame(CONTINUATION, END_HEADERS, 3, &[]);
        filtered(&client.sent).map(|_| ())
    };
    assert_eq!(with(MAX_CONTINUATIONS, 1), Ok(()));
    assert_eq!(with(MAX_CONTINUATIONS + 1, 1), Err(RewriteError::BlockSize));
    assert_eq!(with(2, 300), Ok(()));
    assert_eq!(with(4, 16_000), Err(RewriteError::BlockSize));
}

#[test]
fn before_the_decision_the_server_decides() {
    let mut broken = Client::new();
    broken.frame(HEADERS, END_HEADERS, 1, &[0x80]);
    broken.request(BAD, 3);
    let mut interleaved = Client::new();
    interleaved.frame(HEADERS, 0, 1, &[0x82]);
    interleaved.frame(0, 0, 1, b"data");
    let mut oversized = Client::new();
    oversized.frame(HEADERS, END_HEADERS, 1, &[0; MAX_FRAME + 1]);
    let other = BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]);
    for sent in [broken.sent, interleaved.sent, oversized.sent, other] {
        assert_eq!(filtered(&sent).unwrap(), (Mode::Passing, sent.clone()));
    }
}

/// Feeds the input in pieces and looks at the whole output, errors included.
fn in_pieces(input: &[u8], cuts: &[usize]) -> (Option<RewriteError>, BytesMut) {
    let mut rewriter = Rewriter::new();
    let mut out = BytesMut::new();
    let mut rest = input;
    for cut in cuts.iter().chain([&usize::MAX]) {
        let (piece, next) = rest.split_at((*cut).min(rest.len()));
        rest = next;
        rewriter.input().extend_from_slice(piece);
        if let Err(error) = advance(&mut rewriter, &mut out) {
            return (Some(error), out);
        }
    }
    (None, out)
}

/// A block of a few octets can name fields that the client sent once: 13 octets would become 16 KiB, and 8 KiB of such
/// blocks ten megabytes, held for a client that reads nothing.
#[test]
fn blocks_that_grow_are_made_one_at_a_time() {
    let mut client = Client::new();
    let mut block = client.block(BAD, 1);
    // Into the dynamic table: a field of almost all that it holds.
    block.extend_from_slice(&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
    block.extend_from_slice(&[b'v'; 4000]);
    client.frame(HEADERS, END_HEADERS, 1, &block);
    for stream in 1..500 {
        client.frame(HEADERS, END_HEADERS, 2 * stream + 1, &[0x80 | 62; 4]);
    }
    let (sent, mut rewriter) = (client.sent.len(), Rewriter::new());
    rewriter.input().extend_from_slice(&client.sent);
    let (mut all, mut most) = (0, 0);
    loop {
        let mut made = BytesMut::new();
        rewriter.advance(&mut made).unwrap();
        if made.is_empty() {
            break;
        }
        all += made.len();
        most = most.max(made.len());
    }
    assert!(rewriter.input().is_empty(), "all was taken");
    assert!(all > 400 * 16_000, "the control: {sent} octets become {all}");
    assert!(most < 3 * 16_384, "{most} octets at a time");
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        authorities in prop::collection::vec(prop_oneof![Just(GOOD), Just(BAD)], 1..5),
        cuts in prop::collection::vec(0..60_usize, 0..30),
    ) {
        let mut client = Client::new();
        client.frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]);
        for (stream, authority) in (1..).step_by(2).zip(&authorities) {
            client.request(authority, stream);
        }
        prop_assert_eq!(in_pieces(&client.sent, &cuts), in_pieces(&client.sent, &[]));
    }

    /// Hostile frames after a greeting, with and without a first request that needs rewriting: never a
    /// panic, the same answer however they are cut, and nothing held back beyond one block's bounds.
    #[test]
    fn hostile_frames_are_passed_or_refused_within_bounds(
        rewriting in any::<bool>(),
        hostile in prop::collection::vec(
            (0..11_u8, any::<u8>(), 0..4_u32, prop::collection::vec(any::<u8>(), 0..80)), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(0..80_usize, 0..12),
    ) {
        let mut client = Client::new();
        if rewriting {
            client.request(BAD, 1);
        }
        for (kind, flags, stream, payload) in &hostile {
            client.frame(*kind, *flags, *stream, payload);
        }
        client.sent.put_slice(&tail);
        let whole = in_pieces(&client.sent, &[]);
        prop_assert_eq!(in_pieces(&client.sent, &cuts), whole);
    }
}
