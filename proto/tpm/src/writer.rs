//! Big-endian output of TPM structures.

use crate::error::WireError;

/// Appends big-endian fields to a buffer.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// A `TPM2B` of bytes whose length was bounded when they were read; a longer one is cut off at its size field's
    /// range, which no value of this crate reaches.
    pub(crate) fn sized(&mut self, value: &[u8]) {
        let size = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.u16(size);
        self.0.extend(value.iter().take(usize::from(size)));
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The `TPM2B` form of a structure.
pub(crate) fn with_size(field: &'static str, value: &[u8]) -> Result<Vec<u8>, WireError> {
    let size = u16::try_from(value.len()).map_err(|_| WireError::TooLarge {
        field,
        limit: usize::from(u16::MAX),
        actual: value.len(),
    })?;
    let mut out = Vec::with_capacity(value.len().saturating_add(2));
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(value);
    Ok(out)
}
