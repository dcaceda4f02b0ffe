//! A cursor over foreign bytes that cannot run past their end.

use crate::error::WireError;

/// Reads big-endian fields from the front of a slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    structure: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], structure: &'static str) -> Self {
        Self { rest: bytes, structure }
    }

    /// Of a structure that is at most `limit` bytes long.
    pub(crate) fn bounded(bytes: &'a [u8], structure: &'static str, limit: usize) -> Result<Self, WireError> {
        let actual = bytes.len();
        if actual > limit {
            let field = structure;
            return Err(WireError::TooLarge { field, limit, actual });
        }
        Ok(Self::new(bytes, structure))
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(WireError::Truncated {
            structure: self.structure,
            needed: count,
            available: self.rest.len(),
        })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let available = self.rest.len();
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated {
            structure: self.structure,
            needed: N,
            available,
        })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `TPM2B`: a 16-bit size, then that many bytes, of which at most `limit` are accepted.
    pub(crate) fn sized(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], WireError> {
        let actual = usize::from(self.u16()?);
        if actual > limit {
            return Err(WireError::TooLarge { field, limit, actual });
        }
        self.take(actual)
    }

    /// Everything that is left, if that is at most `limit` bytes.
    pub(crate) fn remainder(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], WireError> {
        if self.rest.len() > limit {
            return Err(WireError::TooLarge {
                field,
                limit,
                actual: self.rest.len(),
            });
        }
        self.take(self.rest.len())
    }

    /// Refuses bytes after the structure's end.
    pub(crate) fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(WireError::TrailingBytes {
            structure: self.structure,
            extra: self.rest.len(),
        })
    }
}
