//! Whether the authority's key still signs. A token that answers may have lost it, or return a wrong signature: only a
//! signature that verifies shows that SVIDs can be issued.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use hallmark_host::log;
use hallmark_hsm::HsmError;
use hallmark_reason::{Coded as _, ReasonCode};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{authority::AuthorityError, server::Server};

/// What is signed begins so, followed by random bytes. It is no DER, so it can never pass as a certificate to be signed.
const MESSAGE: &[u8] = b"hallmark: a probe, not a certificate\n";
/// How long the token may take.
const LIMIT: Duration = Duration::from_secs(3);
/// Who asks within this time after another is told what that one found: checks cost the token no more than this.
const FRESH: Duration = Duration::from_secs(1);

/// Why the key does not sign: code and words.
pub(crate) type Failure = (ReasonCode, String);

/// The last probe. Only one is under way at a time; who comes meanwhile waits for it.
#[derive(Debug, Default)]
pub struct Probe(Mutex<Option<Outcome>>);

#[derive(Debug)]
struct Outcome {
    at: Instant,
    failure: Option<Failure>,
}

impl Probe {
    /// Why the authority's key does not sign, now; `None` when it does.
    pub(crate) async fn failure(&self, server: &Server) -> Option<Failure> {
        let mut last = self.0.lock().await;
        if let Some(fresh) = last.as_ref().filter(|outcome| outcome.at.elapsed() < FRESH) {
            return fresh.failure.clone();
        }
        let found = sign(server).await;
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
}

/// Has the token sign with the authority's key, and verifies the signature.
///
/// # Errors
/// When the key is gone, the token does not sign within three seconds, or the signature does not verify.
pub(crate) async fn sign(server: &Server) -> Result<(), AuthorityError> {
    let authority = server.authority.load_full();
    let label = authority.label.clone();
    let mut random = [0; 16];
    rand::fill(&mut random).map_err(|_| AuthorityError::Random)?;
    let message = [MESSAGE, &random].concat();
    let key = &authority.key;
    let signing = server.keys.sign(&key.id, key.kind.signature_alg(), message.clone());
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

/// Probes for ever, so that a key that is lost is told although nobody asks.
pub(crate) async fn keep_probing(server: Arc<Server>, interval: Duration) {
    loop {
        sleep(interval).await;
        server.probe.failure(&server).await;
    }
}
