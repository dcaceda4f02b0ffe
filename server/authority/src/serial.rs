//! Serial numbers.

use std::fmt;

use hallmark_der as der;

/// A certificate's serial number: 1 to 2^128 - 1 (RFC 5280, section 4.1.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(u128);

impl Serial {
    /// A serial number from 128 random bits. The bits have to come from a good generator: two certificates of one
    /// authority must never share a number. Zero, which is not allowed, becomes one.
    #[must_use]
    pub const fn from_random(bits: [u8; 16]) -> Self {
        match u128::from_be_bytes(bits) {
            0 => Self(1),
            value => Self(value),
        }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u128 {
        self.0
    }

    pub(crate) fn to_der(self) -> Vec<u8> {
        der::unsigned(&self.0.to_be_bytes())
    }
}

/// Decimal, as SPIRE shows it.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_never_zero_nor_negative() {
        assert_eq!(Serial::from_random([0; 16]).value(), 1);
        let highest = Serial::from_random([0xff; 16]);
        assert_eq!(highest.value(), u128::MAX);
        // A zero byte keeps the INTEGER positive.
        assert_eq!(highest.to_der()[..3], [2, 17, 0]);
        assert_eq!(Serial::from_random([0; 16]).to_der(), [2, 1, 1]);
    }
}
