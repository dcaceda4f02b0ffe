//! Little-endian fields of a borrowed log.

use super::error::TcgLogError;

/// What is left of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Where `bytes` begins in the log.
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is left.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], TcgLogError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(TcgLogError::Truncated {
            field,
            offset: self.offset,
            wanted: length,
            left: self.bytes.len(),
        })?;
        self.bytes = rest;
        self.offset = self.offset.saturating_add(length);
        Ok(taken)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, TcgLogError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, TcgLogError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, TcgLogError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// A length of 32 bits that still has to be taken, so no number is too large for it.
    pub(super) fn length(&mut self, field: &'static str) -> Result<usize, TcgLogError> {
        Ok(usize::try_from(self.u32(field)?).unwrap_or(usize::MAX))
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], TcgLogError> {
        let mut array = [0; N];
        for (slot, byte) in array.iter_mut().zip(self.take(N, field)?) {
            *slot = *byte;
        }
        Ok(array)
    }
}
