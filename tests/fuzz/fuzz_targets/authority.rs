//! The `:authority` filter of the Workload API: any bytes, cut anywhere, with and without a greeting before them.
//!
//! The first byte chooses what stands before the rest; the second, where it is cut.
#![no_main]

use hallmark_fuzz::authority::{self, Filtered, Mode};
use libfuzzer_sys::fuzz_target;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
const MAX_FRAME: usize = 16_384;
/// What one block may hold decoded, and what each of its fields takes to write: a kind and two lengths.
const MAX_LIST: usize = 16 << 10;

fuzz_target!(|bytes: &[u8]| {
    let [before, cut, rest @ ..] = bytes else {
        return;
    };
    let mut input = Vec::new();
    if before & 1 != 0 {
        input.extend_from_slice(PREFACE);
    }
    if before & 2 != 0 {
        // A request whose authority is a socket's path: whatever follows is rewritten.
        input.extend_from_slice(&[0, 0, 7, 1, 5, 0, 0, 0, 1, 0x01, 0x05]);
        input.extend_from_slice(b"a%2Fb");
    }
    input.extend_from_slice(rest);

    let whole = authority::filter(&input, usize::MAX);
    assert_eq!(
        authority::filter(&input, usize::from(*cut).max(1)),
        whole,
        "where it is cut does not matter"
    );
    if before & 3 == 3 {
        assert_eq!(whole.mode, Mode::Rewriting, "no server is shown a socket's path");
    }
    match whole.mode {
        Mode::Passing if whole.error.is_none() => assert_eq!(whole.out, input),
        _ => in_bounds(&whole, &input),
    }
    if whole.mode == Mode::Rewriting {
        readable(&whole.out);
    }
});

fn in_bounds(filtered: &Filtered, input: &[u8]) {
    assert!(filtered.held <= FRAME_HEADER + MAX_FRAME, "{}", filtered.held);
    let blocks = input.len() / FRAME_HEADER + 1;
    assert!(filtered.out.len() <= input.len() + blocks * (MAX_LIST + FRAME_HEADER));
}

/// What the server sees can be read without any table, and has no authority that it would not take.
fn readable(out: &[u8]) {
    let mut rest = out.strip_prefix(PREFACE).expect("the greeting passes");
    let mut block = Vec::new();
    while let Some((header, behind)) = rest.split_first_chunk::<FRAME_HEADER>() {
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (kind, flags) = (header[3], header[4]);
        let Some((payload, behind)) = behind.split_at_checked(length) else {
            assert!(!matches!(kind, 1 | 9), "header frames are written whole");
            return;
        };
        rest = behind;
        if !matches!(kind, 1 | 9) {
            assert!(block.is_empty(), "nothing between the frames of a block");
            continue;
        }
        assert!(length <= MAX_FRAME && flags & 0x28 == 0);
        block.extend_from_slice(payload);
        if flags & 4 != 0 {
            let fields = fluke_hpack::Decoder::new().decode(&block).expect("a block of literals");
            for (name, value) in fields {
                assert!(name != b":authority" || http::uri::Authority::try_from(value.as_slice()).is_ok());
            }
            block.clear();
        }
    }
    assert!(block.is_empty());
}
