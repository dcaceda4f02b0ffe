//! The port.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::{HsmError, KeyId, KeyInfo, KeyKind, SignatureAlg, Status};

/// A device that holds signing keys.
///
/// No method blocks the thread that polls its future: an adapter keeps threads of its own for the device. Every
/// future ends within the adapter's time limit, with an error at worst. Dropping a future does not undo what the
/// device has begun.
pub trait KeyStore: Send + Sync + fmt::Debug {
    /// Makes a key inside the device that can only sign and can never leave, and reads back that this is so.
    ///
    /// # Errors
    /// When the label is taken or unfit, the device is full or cannot make keys of this kind, or the device
    /// gives the key properties other than those asked for (the key is destroyed again then).
    fn generate<'a>(&'a self, label: &'a str, kind: KeyKind) -> BoxFuture<'a, Result<KeyInfo, HsmError>>;

    /// The key with this label; `None` when there is none.
    ///
    /// # Errors
    /// When several keys have the label, the key could leave the device, its public half is missing or another
    /// key's, or the device does not answer.
    fn find<'a>(&'a self, label: &'a str) -> BoxFuture<'a, Result<Option<KeyInfo>, HsmError>>;

    /// Every signing key of a known kind, in the order of labels; for display. Keys that [`find`](Self::find)
    /// would refuse are listed as well, with the properties that show why.
    ///
    /// # Errors
    /// When the device does not answer.
    fn list(&self) -> BoxFuture<'_, Result<Vec<KeyInfo>, HsmError>>;

    /// Signs every message, in order, with one hand-over to the device for the whole batch. ECDSA signatures are
    /// `ECDSA-Sig-Value` in DER (RFC 3279, section 2.2.3), as X.509 wants them; RSA signatures are the bare
    /// integer at the modulus' length, and Ed25519 signatures 64 bytes (RFC 8032, section 5.1.6). All are made or none is returned.
    ///
    /// Every signature was verified with the key's public half before it is returned: one that does not verify never is, and the
    /// device is out of service then until it is seen to sign rightly.
    ///
    /// # Errors
    /// When the key is unknown, is of another kind than `algorithm` needs, the device lacks the algorithm, does not answer, or
    /// signs wrongly.
    fn sign_batch<'a>(
        &'a self,
        key: &'a KeyId,
        algorithm: SignatureAlg,
        messages: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, HsmError>>;

    /// Signs one message; see [`sign_batch`](Self::sign_batch).
    ///
    /// # Errors
    /// As [`sign_batch`](Self::sign_batch).
    fn sign<'a>(
        &'a self,
        key: &'a KeyId,
        algorithm: SignatureAlg,
        message: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, HsmError>> {
        Box::pin(async move {
            let mut signatures = self.sign_batch(key, algorithm, vec![message]).await?;
            signatures.pop().ok_or(HsmError::BadSignature { len: 0 })
        })
    }

    /// Destroys a key, both halves. There is no way back.
    ///
    /// # Errors
    /// When the key is unknown or the device does not answer.
    fn destroy<'a>(&'a self, key: &'a KeyId) -> BoxFuture<'a, Result<(), HsmError>>;

    /// How the device is doing; answers at once from counters, without asking it.
    fn status(&self) -> Status;
}
