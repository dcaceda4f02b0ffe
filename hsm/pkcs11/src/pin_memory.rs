//! PINs that a token has refused.
//!
//! Most tokens lock after a few wrong PINs, and only their security officer can unlock them. A PIN that was
//! refused is therefore not offered to the same token again until the process is started anew or another PIN is
//! configured. The PINs themselves are not kept, only a digest under a key that dies with the process.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
};

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};
use hallmark_hsm::HsmError;
use secrecy::{ExposeSecret, SecretString};

struct Memory {
    key: Option<hmac::Key>,
    refused: Mutex<BTreeSet<Vec<u8>>>,
}

static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory {
    key: hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).ok(),
    refused: Mutex::new(BTreeSet::new()),
});

/// One PIN for one token of one module.
pub(crate) struct Attempt(Option<Vec<u8>>);

impl Attempt {
    pub(crate) fn new(module: &Path, label: &str, serial: &str, pin: &SecretString) -> Self {
        let digest = MEMORY.key.as_ref().map(|key| {
            let mut context = hmac::Context::with_key(key);
            for part in [
                module.as_os_str().as_encoded_bytes(),
                label.as_bytes(),
                serial.as_bytes(),
                pin.expose_secret().as_bytes(),
            ] {
                context.update(&part.len().to_be_bytes());
                context.update(part);
            }
            context.sign().as_ref().to_vec()
        });
        Self(digest)
    }

    /// Fails when this PIN was refused before.
    pub(crate) fn check(&self, label: &str) -> Result<(), HsmError> {
        let refused = MEMORY.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.0 {
            Some(digest) if refused.contains(digest) => Err(HsmError::PinWrong {
                label: label.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Remembers that this PIN was refused.
    pub(crate) fn refused(self) {
        if let Some(digest) = self.0 {
            MEMORY
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(digest);
        }
    }
}
