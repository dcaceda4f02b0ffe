//! The authorization value of a hierarchy, where its owner has set one.

use std::fmt;

use zeroize::Zeroizing;

/// The longest value that a TPM takes: a digest of its longest hash (`TPM2B_AUTH`, part 2, section 10.4.5).
pub const MAX_AUTHORIZATION: usize = 64;

/// An authorization value. It is never shown, and it crosses the bus to the TPM as the key of an HMAC alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(Zeroizing<Vec<u8>>);

impl Authorization {
    /// The value; `None` where it is empty or longer than [`MAX_AUTHORIZATION`] bytes.
    #[must_use]
    pub fn new(value: &[u8]) -> Option<Self> {
        (1..=MAX_AUTHORIZATION)
            .contains(&value.len())
            .then(|| Self(Zeroizing::new(value.to_vec())))
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization")
    }
}
