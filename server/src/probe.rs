//! Whether the authority's key still signs. A token that answers may have lost it, or return a wrong signature: only a
//! signature that verifies shows that SVIDs can be issued.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use hallmark_host::log;
use hallmark_hsm::{HsmError, KeyStore};
use hallmark_reason::{Coded as _, ReasonCode};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::authority::{ActiveAuthority, AuthorityError};

/// What is signed begins so, followed by random bytes. It is no DER, so it can never pass as a certificate to be signed.
const MESSAGE: &[u8] = b"hallmark: a probe, not a certificate\n";
/// How long the token may take.
const LIMIT: Duration = Duration::from_secs(3);
/// Who asks within this time after another is told what that one found: checks cost the token no more than this.
const FRESH: Duration = Duration::from_secs(1);

/// Why the key does not sign: code and words.
pub(crate) type Failure = (ReasonCode, String);

/// Has the authority's key sign, to see that it does. Only one probe is under way at a time; who comes meanwhile waits for it.
#[derive(Debug)]
pub struct Probe {
    authority: Arc<ArcSwap<ActiveAuthority>>,
    keys: Arc<dyn KeyStore>,
    last: Mutex<Option<Outcome>>,
}

#[derive(Debug)]
struct Outcome {
    at: Instant,
    failure: Option<Failure>,
}

impl Probe {
    pub(crate) fn new(authority: Arc<ArcSwap<ActiveAuthority>>, keys: Arc<dyn KeyStore>) -> Self {
        Self {
            authority,
            keys,
            last: Mutex::default(),
        }
    }

    /// Why the authority's key does not sign, now; `None` when it does.
    pub(crate) async fn failure(&self) -> Option<Failure> {
        let mut last = self.last.lock().await;
        if let Some(fresh) = last.as_ref().filter(|outcome| outcome.at.elapsed() < FRESH) {
            return fresh.failure.clone();
        }
        let found = self.sign().await;
        let before = last.as_ref().is_some_and(|outcome| outcome.failure.is_some());
        match &found {
            Err(error) if !before => log::error(error),
            Ok(()) if before => tracing::info!("the authority's key signs again"),
            _ => {}
        }
        let failure = found.err().map(|error| (error.code(), error.to_string()));
        *last = Some(Outcome {
            at: Instant::now(),
            failure: failure.clone(),
        });
        failure
    }

    /// Has the token sign with the authority's key, and verifies the signature.
    ///
    /// # Errors
    /// When the key is gone, the token does not sign within three seconds, or the signature does not verify.
    pub(crate) async fn sign(&self) -> Result<(), AuthorityError> {
        let authority = self.authority.load_full();
        let label = authority.label.clone();
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| AuthorityError::Random)?;
        let message = [MESSAGE, &random].concat();
        let key = &authority.key;
        let signing = self.keys.sign(&key.id, key.kind.signature_alg(), message.clone());
        let late = |_| HsmError::TimedOut {
            what: "a probe signature",
            after: LIMIT,
        };
        match timeout(LIMIT, signing).await.map_err(late)? {
            Ok(signature) if authority.x509.has_signed(&message, &signature) => Ok(()),
            Ok(_) => Err(AuthorityError::WrongSignature { label }),
            Err(HsmError::KeyMissing { .. }) => Err(AuthorityError::KeyMissing { label }),
            Err(error) => Err(error.into()),
        }
    }
}

/// Probes for ever, so that a key that is lost is told although nobody asks.
pub(crate) async fn keep_probing(probe: Arc<Probe>, interval: Duration) {
    loop {
        sleep(interval).await;
        probe.failure().await;
    }
}
