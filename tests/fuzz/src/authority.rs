//! The `:authority` filter.

use bytes::BytesMut;
pub use hallmark_unix::Mode;
use hallmark_unix::Rewriter;

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
        if let Err(refused) = rewriter.advance(&mut out) {
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
