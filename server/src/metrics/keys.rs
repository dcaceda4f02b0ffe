//! The token, with its signatures timed.

use std::{sync::Arc, time::Instant};

use hallmark_hsm::{BoxFuture, HsmError, KeyId, KeyInfo, KeyKind, KeyStore, SignatureAlg, Status};
use prometheus_client::metrics::histogram::Histogram;

/// A key store whose signatures are timed.
#[derive(Debug)]
pub(crate) struct TimedKeys {
    keys: Arc<dyn KeyStore>,
    signing: Histogram,
}

impl TimedKeys {
    /// `keys`, timed into `signing`.
    pub(crate) fn new(keys: Arc<dyn KeyStore>, signing: Histogram) -> Self {
        Self { keys, signing }
    }
}

impl KeyStore for TimedKeys {
    fn generate<'a>(&'a self, label: &'a str, kind: KeyKind) -> BoxFuture<'a, Result<KeyInfo, HsmError>> {
        self.keys.generate(label, kind)
    }

    fn find<'a>(&'a self, label: &'a str) -> BoxFuture<'a, Result<Option<KeyInfo>, HsmError>> {
        self.keys.find(label)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<KeyInfo>, HsmError>> {
        self.keys.list()
    }

    fn sign_batch<'a>(
        &'a self,
        key: &'a KeyId,
        algorithm: SignatureAlg,
        messages: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, HsmError>> {
        Box::pin(async move {
            let start = Instant::now();
            let signed = self.keys.sign_batch(key, algorithm, messages).await;
            self.signing.observe(start.elapsed().as_secs_f64());
            signed
        })
    }

    fn destroy<'a>(&'a self, key: &'a KeyId) -> BoxFuture<'a, Result<(), HsmError>> {
        self.keys.destroy(key)
    }

    fn status(&self) -> Status {
        self.keys.status()
    }
}
