//! The `:authority` filter.

use bytes::BytesMut;
pub use hallmark_unix::Mode;
use hallmark_unix::{RewriteError, Rewriter};

/// 16 KiB before the last frame or block, and that: a list of 16 KiB, written with up to three octets a field and its frames.
const MOST: usize = 3 * (16 << 10);

/// What became of some input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// What the server sees.
    pub out: Vec<u8>,
    /// How many bytes were neither passed on nor put into a block.
    pub held: usize,
    /// The decision.
    pub mode: Mode,
    /// Why the connection was ended, if it was.
    pub error: Option<String>,
}

/// Feeds `input` to a new filter in pieces of `cut` bytes.
#[must_use]
pub fn filter(input: &[u8], cut: usize) -> Filtered {
    let mut rewriter = Rewriter::new();
    let (mut out, mut held, mut error) = (BytesMut::new(), 0, None);
    for piece in input.chunks(cut.min(input.len()).max(1)) {
        rewriter.input().extend_from_slice(piece);
        if let Err(refused) = advance(&mut rewriter, &mut out) {
            error = Some(refused.to_string());
            break;
        }
        held = rewriter.input().len();
    }
    if error.is_some() {
        // What is left of an ended connection's input is nobody's.
        held = 0;
    }
    Filtered {
        out: out.to_vec(),
        held,
        mode: rewriter.mode(),
        error,
    }
}

/// Takes all that can be taken. What is made at a time is bounded, whatever it is made of.
fn advance(rewriter: &mut Rewriter, out: &mut BytesMut) -> Result<(), RewriteError> {
    loop {
        let (mut made, mode) = (BytesMut::new(), rewriter.mode());
        let advanced = rewriter.advance(&mut made);
        assert!(
            mode == Mode::Passing || rewriter.mode() == Mode::Passing || made.len() <= MOST,
            "{}",
            made.len()
        );
        let last = made.is_empty();
        out.extend_from_slice(&made);
        advanced?;
        if last {
            return Ok(());
        }
    }
}
