//! A shared buffer that is wiped when its last holder lets go.

use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

/// Secret bytes in one shared buffer. `Debug` tells only the length.
#[derive(Clone)]
pub struct SecretBytes(Bytes);

impl SecretBytes {
    /// Takes over `secret`; the memory is wiped when the last clone is dropped, those returned by
    /// [`SecretBytes::share`] included.
    #[must_use]
    pub fn new(secret: Zeroizing<Vec<u8>>) -> Self {
        Self(Bytes::from_owner(secret))
    }

    /// The same buffer for a message that is about to be sent.
    #[must_use]
    pub fn share(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_secret() {
        let secret = SecretBytes::new(Zeroizing::new(vec![0xAB; 3]));
        assert_eq!(format!("{secret:?}"), "SecretBytes(3 bytes)");
        assert_eq!(secret.share().as_ref(), [0xAB; 3]);
    }
}
