//! HPACK (RFC 7541), the reading half, and the simplest writing half: never-indexed literals.
//!
//! The crates there are for this build their Huffman tables for every single string, which lets one
//! header block of a hostile client cost half a second, and bound no list; so this is our own. Everything
//! here has limits: each string, the list, the dynamic table.

use std::collections::VecDeque;

use bytes::{BufMut as _, BytesMut};

use super::huffman;
use super::static_table::STATIC_TABLE;

/// The size of the dynamic table that HTTP/2 starts with (RFC 9113, section 6.5.2). The server behind
/// the filter never announces another `SETTINGS_HEADER_TABLE_SIZE`, so no client may go beyond it.
const TABLE_SIZE: usize = 4096;
/// What a field counts beyond its name and value (RFC 7541, section 4.1).
const FIELD_OVERHEAD: usize = 32;

/// A header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Field {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + FIELD_OVERHEAD
    }
}

/// Why a header block is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpackError {
    /// The block ends within a field.
    #[error("the header block is cut off")]
    CutOff,
    /// An index that neither table has.
    #[error("a header field has an index that no table has")]
    Index,
    /// An integer of more than 28 bits.
    #[error("an integer in the header block is too large")]
    Integer,
    /// A string that is not Huffman code.
    #[error("a string in the header block is not a Huffman code")]
    Huffman,
    /// A table size update above the announced size, or not at the beginning.
    #[error("the header block changes the table size against the rules")]
    TableSize,
    /// More than the list may hold.
    #[error("the header list is too large")]
    TooLarge,
}

/// The decoder of one direction of one connection, with its dynamic table.
#[derive(Debug)]
pub(super) struct Decoder {
    table: VecDeque<Field>,
    size: usize,
    max_size: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            max_size: TABLE_SIZE,
        }
    }

    /// Decodes one whole header block into a list of at most `limit` octets (name, value and 32 each).
    ///
    /// # Errors
    /// When the block breaks a rule of RFC 7541 or the limit. The connection must end then: its tables
    /// are no longer in step.
    pub(super) fn decode(&mut self, block: &[u8], limit: usize) -> Result<Vec<Field>, HpackError> {
        let mut input = Input(block);
        let mut fields = Vec::new();
        let mut left = limit;
        while let Some(first) = input.peek() {
            let field = match first {
                0x80.. => self.field(input.integer(7)?)?,
                0x40..=0x7f => {
                    let field = self.literal(&mut input, 6, left)?;
                    self.insert(field.clone());
                    field
                }
                0x20..=0x3f => {
                    if !fields.is_empty() {
                        return Err(HpackError::TableSize);
                    }
                    self.resize(input.integer(5)?)?;
                    continue;
                }
                _ => self.literal(&mut input, 4, left)?,
            };
            left = left.checked_sub(field.size()).ok_or(HpackError::TooLarge)?;
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, input: &mut Input<'_>, prefix: u32, limit: usize) -> Result<Field, HpackError> {
        let name = match input.integer(prefix)? {
            0 => input.string(limit)?,
            index => self.field(index)?.name,
        };
        Ok(Field {
            name,
            value: input.string(limit)?,
        })
    }

    /// The static table counts from 1, the dynamic one follows it, newest first (section 2.3.3).
    fn field(&self, index: usize) -> Result<Field, HpackError> {
        let index = index.checked_sub(1).ok_or(HpackError::Index)?;
        if let Some((name, value)) = STATIC_TABLE.get(index) {
            return Ok(Field {
                name: name.as_bytes().to_vec(),
                value: value.as_bytes().to_vec(),
            });
        }
        self.table
            .get(index - STATIC_TABLE.len())
            .cloned()
            .ok_or(HpackError::Index)
    }

    /// A field larger than the whole table empties it (section 4.4).
    fn insert(&mut self, field: Field) {
        self.size += field.size();
        self.table.push_front(field);
        self.evict();
    }

    fn resize(&mut self, max_size: usize) -> Result<(), HpackError> {
        if max_size > TABLE_SIZE {
            return Err(HpackError::TableSize);
        }
        self.max_size = max_size;
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        while self.size > self.max_size {
            let Some(oldest) = self.table.pop_back() else {
                break;
            };
            self.size -= oldest.size();
        }
    }
}

/// What is left of a header block.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn octet(&mut self) -> Result<u8, HpackError> {
        let (first, rest) = self.0.split_first().ok_or(HpackError::CutOff)?;
        self.0 = rest;
        Ok(*first)
    }

    /// An integer with a prefix of so many bits (section 5.1), of at most four further octets.
    fn integer(&mut self, prefix: u32) -> Result<usize, HpackError> {
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(self.octet()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let octet = usize::from(self.octet()?);
            value += (octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HpackError::Integer)
    }

    /// A string of at most `limit` octets (section 5.2).
    fn string(&mut self, limit: usize) -> Result<Vec<u8>, HpackError> {
        let coded = self.peek().ok_or(HpackError::CutOff)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (octets, rest): (&'a [u8], _) = self.0.split_at_checked(length).ok_or(HpackError::CutOff)?;
        self.0 = rest;
        let mut out = Vec::new();
        if coded {
            huffman::decode(octets, &mut out, limit)?;
        } else if octets.len() > limit {
            return Err(HpackError::TooLarge);
        } else {
            out.extend_from_slice(octets);
        }
        Ok(out)
    }
}

/// Writes a field as a literal with a literal name that is never indexed (section 6.2.3): it reads the
/// same whatever any table holds.
pub(super) fn encode_literal(name: &[u8], value: &[u8], out: &mut BytesMut) {
    out.put_u8(0x10);
    for string in [name, value] {
        encode_length(string.len(), out);
        out.put_slice(string);
    }
}

/// A length with a prefix of seven bits, its Huffman bit clear.
fn encode_length(length: usize, out: &mut BytesMut) {
    if let Some(octet) = u8::try_from(length).ok().filter(|octet| *octet < 0x7f) {
        out.put_u8(octet);
        return;
    }
    out.put_u8(0x7f);
    let mut rest = length.saturating_sub(0x7f);
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            out.put_u8(low);
            return;
        }
        out.put_u8(low | 0x80);
    }
}

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
