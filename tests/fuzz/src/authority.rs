//! The agent's `:authority` filter.

#[path = "../../../firmware-agent/src/workload_api/authority/hpack.rs"]
mod hpack;
#[path = "../../../firmware-agent/src/workload_api/authority/huffman.rs"]
mod huffman;
#[path = "../../../firmware-agent/src/workload_api/authority/rewriter.rs"]
#[allow(dead_code, reason = "the greeting's time is not filtered here")]
mod rewriter;
#[path = "../../../firmware-agent/src/workload_api/authority/static_table.rs"]
mod static_table;

use bytes::BytesMut;
use rewriter::Rewriter;

/// How far the filter's decision about a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No header block was seen yet.
    Watching,
    /// Everything passes.
    Passing,
    /// Every header block is written anew.
    Rewriting,
}

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
        mode: match rewriter.mode() {
            rewriter::Mode::Watching => Mode::Watching,
            rewriter::Mode::Passing => Mode::Passing,
            rewriter::Mode::Rewriting => Mode::Rewriting,
        },
        error,
    }
}
