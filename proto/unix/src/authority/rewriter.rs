//! The filter itself, as a function from bytes to bytes: no socket, no clock.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::hpack::{Decoder, Field, HpackError, encode_literal};
use crate::frame::{CONTINUATION, END_HEADERS, FRAME_HEADER, FrameHeader, HEADERS, PUSH_PROMISE};

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest frame payload: the server announces no other `SETTINGS_MAX_FRAME_SIZE`.
const MAX_FRAME: usize = 16_384;
/// The largest header block that is put together, in octets.
const MAX_BLOCK: usize = 32 << 10;
/// The largest decoded header list, in octets by HPACK's count: as much as the servers take, and a frame holds.
const MAX_LIST: usize = MAX_FRAME;
/// How much is made ahead of the reader: a block of a few octets can stand for a list of the largest size, so that what
/// is made of one read would not be bounded by what was read.
const AHEAD: usize = 16 << 10;
/// How many `CONTINUATION` frames one block may have.
const MAX_CONTINUATIONS: u32 = 8;
/// What takes the place of the client's authority.
const LOCALHOST: &[u8] = b"localhost";

const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Why a connection is ended by the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The header block cannot be decoded.
    #[error(transparent)]
    Hpack(#[from] HpackError),
    /// A frame is larger than announced.
    #[error("a header frame is larger than {MAX_FRAME} octets")]
    FrameSize,
    /// A block is larger, or in more pieces, than allowed.
    #[error("a header block is too large or in too many pieces")]
    BlockSize,
    /// Frames come in an order that HTTP/2 does not allow.
    #[error("header frames out of order")]
    Order,
}

/// How far the decision about a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No header block was seen yet.
    Watching,
    /// Everything passes untouched.
    Passing,
    /// Every header block is written anew.
    Rewriting,
}

/// The state of one connection's incoming direction.
#[derive(Debug)]
pub struct Rewriter {
    mode: Mode,
    greeted: bool,
    input: BytesMut,
    /// Payload octets of the current frame that pass untouched.
    passing: usize,
    block: Option<Block>,
    decoder: Decoder,
}

/// A header block that is being put together.
#[derive(Debug)]
struct Block {
    stream: u32,
    end_stream: bool,
    continuations: u32,
    fragments: BytesMut,
    /// The frames as they came, to pass them on if the block needs no change.
    frames: BytesMut,
}

impl Default for Rewriter {
    fn default() -> Self {
        Self::new()
    }
}

impl Rewriter {
    /// Of a connection that has said nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            mode: Mode::Watching,
            greeted: false,
            input: BytesMut::new(),
            passing: 0,
            block: None,
            decoder: Decoder::new(),
        }
    }

    /// How far the decision has come. Once it is [`Mode::Passing`], nothing is held back any more.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the client has said its first words, right or wrong.
    #[must_use]
    pub fn greeted(&self) -> bool {
        self.greeted
    }

    /// Where to append what the client sent.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Takes what can be taken from the input, and appends to `out` what the server shall see. Stops at the first block
    /// with which `out` holds 16 KiB: what is left waits until it is called again.
    ///
    /// # Errors
    /// When a connection that needs rewriting breaks HTTP/2 or a limit; it must be closed. As long as
    /// nothing needs rewriting, the appraisal is left to the server.
    pub fn advance(&mut self, out: &mut BytesMut) -> Result<(), RewriteError> {
        if !self.greeted && !self.greet(out) {
            return Ok(());
        }
        while self.mode != Mode::Passing && !self.input.is_empty() && out.len() < AHEAD {
            if self.passing > 0 {
                let now = self.passing.min(self.input.len());
                out.put(self.input.split_to(now));
                self.passing -= now;
            } else if !self.frame(out)? {
                return Ok(());
            }
        }
        if self.mode == Mode::Passing {
            out.put(self.input.split());
        }
        Ok(())
    }

    /// Waits for the preface. What is none is the server's to refuse.
    fn greet(&mut self, out: &mut BytesMut) -> bool {
        let arrived = self.input.len().min(PREFACE.len());
        if self.input.get(..arrived) != PREFACE.get(..arrived) {
            self.mode = Mode::Passing;
        } else if arrived < PREFACE.len() {
            return false;
        } else {
            out.put(self.input.split_to(PREFACE.len()));
        }
        self.greeted = true;
        true
    }

    /// Takes the next frame, if its header (and, for header frames, its payload) has arrived.
    fn frame(&mut self, out: &mut BytesMut) -> Result<bool, RewriteError> {
        let Some(header) = FrameHeader::peek(&self.input) else {
            return Ok(false);
        };
        let ours = matches!(header.kind, HEADERS | CONTINUATION | PUSH_PROMISE);
        if !ours && self.block.is_none() {
            out.put(self.input.split_to(FRAME_HEADER));
            self.passing = header.length;
            return Ok(true);
        }
        if header.length <= MAX_FRAME && self.input.len() < FRAME_HEADER + header.length {
            return Ok(false);
        }
        match self.header_frame(header, out) {
            Err(_) if self.mode == Mode::Watching => {
                self.pass(out);
                Ok(true)
            }
            done => done.map(|()| true),
        }
    }

    /// Leaves the connection to the server from here on.
    fn pass(&mut self, out: &mut BytesMut) {
        self.mode = Mode::Passing;
        if let Some(block) = self.block.take() {
            out.put(block.frames);
        }
    }

    /// Adds a whole header frame to the block; the input loses it only when it has a place there.
    fn header_frame(&mut self, header: FrameHeader, out: &mut BytesMut) -> Result<(), RewriteError> {
        if header.length > MAX_FRAME {
            return Err(RewriteError::FrameSize);
        }
        let mut block = match (header.kind, &mut self.block) {
            (HEADERS, None) => Block::begin(header),
            (CONTINUATION, Some(block)) if block.stream == header.stream => {
                block.continuations += 1;
                self.block.take().ok_or(RewriteError::Order)?
            }
            _ => return Err(RewriteError::Order),
        };
        let frame = self.input.split_to(FRAME_HEADER + header.length).freeze();
        block.frames.put_slice(&frame);
        let added = block.add(header, frame.slice(FRAME_HEADER..));
        let whole = header.flags & END_HEADERS != 0;
        if added.is_ok() && whole {
            return self.finish(block, out);
        }
        self.block = Some(block);
        added
    }

    /// Decides about a whole block, and writes it anew if its connection needs it.
    fn finish(&mut self, block: Block, out: &mut BytesMut) -> Result<(), RewriteError> {
        let fields = match self.decoder.decode(&block.fragments, MAX_LIST) {
            Ok(fields) => fields,
            Err(error) => {
                self.block = Some(block);
                return Err(error.into());
            }
        };
        if self.mode == Mode::Watching {
            if fields.iter().all(is_well_formed) {
                self.block = Some(block);
                self.pass(out);
                return Ok(());
            }
            self.mode = Mode::Rewriting;
        }
        let mut coded = BytesMut::with_capacity(block.fragments.len() * 2);
        for field in &fields {
            let value = if is_authority(field) { LOCALHOST } else { &field.value };
            encode_literal(&field.name, value, &mut coded);
        }
        write_block(block.stream, block.end_stream, &coded, out);
        Ok(())
    }
}

impl Block {
    fn begin(header: FrameHeader) -> Self {
        Self {
            stream: header.stream,
            end_stream: header.flags & END_STREAM != 0,
            continuations: 0,
            fragments: BytesMut::new(),
            frames: BytesMut::new(),
        }
    }

    /// Adds a frame's fragment, without padding and priority (RFC 9113, section 6.2). The priority
    /// signal is deprecated, and the server behind ignores it.
    fn add(&mut self, header: FrameHeader, mut payload: Bytes) -> Result<(), RewriteError> {
        if header.kind == HEADERS {
            let padding = match header.flags & PADDED {
                0 => 0,
                _ => usize::from(payload.try_get_u8().map_err(|_| RewriteError::FrameSize)?),
            };
            if header.flags & PRIORITY != 0 {
                let skipped = payload.len().checked_sub(5).ok_or(RewriteError::FrameSize)?;
                payload = payload.split_off(payload.len() - skipped);
            }
            let kept = payload.len().checked_sub(padding).ok_or(RewriteError::FrameSize)?;
            payload.truncate(kept);
        }
        if self.continuations > MAX_CONTINUATIONS || self.fragments.len() + payload.len() > MAX_BLOCK {
            return Err(RewriteError::BlockSize);
        }
        self.fragments.put(payload);
        Ok(())
    }
}

fn is_authority(field: &Field) -> bool {
    field.name == b":authority"
}

/// Whether the server will take this field's value, by the same parser.
fn is_well_formed(field: &Field) -> bool {
    !is_authority(field) || http::uri::Authority::try_from(field.value.as_slice()).is_ok()
}

/// Writes a block as one `HEADERS` frame: a literal takes less than its field counts for in a list, which is no larger than
/// a frame.
fn write_block(stream: u32, end_stream: bool, coded: &[u8], out: &mut BytesMut) {
    let end_stream = if end_stream { END_STREAM } else { 0 };
    out.put_uint(u64::try_from(coded.len()).unwrap_or_default(), 3);
    out.put_u8(HEADERS);
    out.put_u8(END_HEADERS | end_stream);
    out.put_u32(stream);
    out.put_slice(coded);
}

#[cfg(test)]
#[path = "rewriter_tests.rs"]
mod tests;
