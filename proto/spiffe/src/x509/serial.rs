//! How serial numbers are written.

use std::fmt;

/// A certificate's serial number, big-endian, as it is written everywhere: lower-case hex, two digits a byte, without leading
/// zero bytes. `openssl x509 -serial` writes the same in capitals.
#[derive(Debug, Clone, Copy)]
pub struct SerialHex<'a>(pub &'a [u8]);

impl fmt::Display for SerialHex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .skip_while(|byte| **byte == 0)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_byte_is_left_out_and_every_byte_has_two_digits() {
        assert_eq!(SerialHex(&[0, 0xab, 1]).to_string(), "ab01");
        assert_eq!(SerialHex(&[0x0a, 0]).to_string(), "0a00");
        assert_eq!(SerialHex(&2748_u128.to_be_bytes()).to_string(), "0abc");
    }
}
