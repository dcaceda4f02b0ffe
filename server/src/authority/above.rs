//! The authority above this server's: what it signs is verified, and what it says is taken over. Where it is away, what signs goes on,
//! and it is asked again with longer and longer pauses; nothing self-signed takes its place.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hallmark_authority::{UpstreamAnswerError, prepare_authority, prepare_request, verify_roots, verify_upstream};
use hallmark_hsm::{KeyInfo, KeyStore};
use hallmark_reason::{Coded as _, ReasonCode};
use hallmark_spiffe::{TrustDomain, jwt::JwtAuthority};
use hallmark_state::{
    Authority, AuthorityState, State, UpstreamBundle, UpstreamJwtKey,
    decide::{MAX_UPSTREAM_JWT_KEYS, UpstreamSays},
};
use hallmark_upstream::{Asked, JwtKey, Upstream};

use super::{AuthorityError, bootstrap::serial};
use crate::clock::Clock;

/// How often it is asked what it says.
const FOLLOW: Duration = Duration::from_secs(60);
/// The pause behind the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Doublings after which the pause is longest.
const MOST_DOUBLINGS: u32 = 5;

/// The authority above, and how it was last.
#[derive(Debug, Default)]
pub struct Above {
    upstream: Option<Arc<dyn Upstream>>,
    pauses: Mutex<Pauses>,
}

#[derive(Debug, Default)]
struct Pauses {
    /// When a certificate may be asked for again, and why the last one was not given.
    sign: Option<Pause>,
    /// When it may be asked again what it says.
    follow: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Pause {
    until: Instant,
    failures: u32,
    code: ReasonCode,
    text: String,
}

/// What this server knows before the one above is asked.
#[derive(Debug)]
pub(super) struct Known {
    /// Whether one above has said something.
    was_one: bool,
    /// This server's keys for JWT-SVIDs, and those of servers below it.
    jwt_keys: Vec<JwtKey>,
}

impl Known {
    pub(super) fn of(state: &State, now: i64) -> Self {
        let own = state.jwt_keys().iter().filter(|it| it.state != AuthorityState::Tainted);
        let own = own.map(|it| (&it.key_id, &it.public_key, it.expires_at));
        let below = state.published_jwt_keys().iter();
        let below = below.map(|it| (&it.key_id, &it.public_key, it.expires_at));
        let lasting = own.chain(below).filter(|(_, _, expires_at)| *expires_at > now);
        let jwt_keys = lasting.map(|(key_id, public_key, expires_at)| JwtKey {
            key_id: key_id.clone(),
            public_key: public_key.clone(),
            expires_at,
            tainted: false,
        });
        Self {
            was_one: **state.upstream() != UpstreamBundle::default(),
            jwt_keys: jwt_keys.collect(),
        }
    }
}

/// A certificate for a key of this server's, verified.
#[derive(Debug)]
pub(super) struct Certified {
    /// The certificate, DER.
    pub(super) certificate: Vec<u8>,
    /// What stands above it, the root last; none where it is self-signed.
    pub(super) upstream: Vec<Vec<u8>>,
    /// What is to be trusted from now on; none where it is self-signed.
    pub(super) roots: Vec<Vec<u8>>,
}

impl Above {
    /// This one; with none, authorities are self-signed.
    #[must_use]
    pub fn new(upstream: Option<Arc<dyn Upstream>>) -> Self {
        Self {
            upstream,
            pauses: Mutex::default(),
        }
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.upstream.is_some()
    }

    pub(super) fn port(&self) -> Option<&dyn Upstream> {
        self.upstream.as_deref()
    }

    /// Refuses while it is not to be asked again, with why the last certificate was not given.
    pub(super) fn require_turn(&self) -> Result<(), AuthorityError> {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        match &pauses.sign {
            Some(pause) if Instant::now() < pause.until => Err(AuthorityError::UpstreamWaits {
                code: pause.code,
                text: pause.text.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Notes how the making of an authority went.
    pub(super) fn note<T>(&self, made: &Result<T, AuthorityError>) {
        if !self.is_there() {
            return;
        }
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = pauses.sign.as_ref().map_or(0, |pause| pause.failures);
        pauses.sign = made.as_ref().err().map(|error| Pause {
            until: Instant::now() + pause(failures),
            failures: failures.saturating_add(1),
            code: error.code(),
            text: error.to_string(),
        });
    }

    /// What it says now, verified; `None` while it is not to be asked, or where there never was one. Keys for JWT-SVIDs that it does not
    /// know yet are published to it.
    pub(super) async fn says(
        &self,
        known: Known,
        trust_domain: &TrustDomain,
        clock: &Clock,
    ) -> Result<Option<UpstreamSays>, AuthorityError> {
        let Some(upstream) = &self.upstream else {
            return Ok(known.was_one.then(|| UpstreamSays {
                roots: Some(Vec::new()),
                jwt_keys: Some(Vec::new()),
            }));
        };
        {
            let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if pauses.follow.is_some_and(|at| now < at) {
                return Ok(None);
            }
            pauses.follow = Some(now + FOLLOW);
        }
        let away = |cause| AuthorityError::upstream(&**upstream, cause);
        let roots = match upstream.roots().await.map_err(away)? {
            Some(roots) => Some(verify_roots(&roots, trust_domain, clock.now())?),
            None => None,
        };
        let keys = upstream.jwt_keys().await.map_err(away)?;
        if let Some(keys) = &keys {
            let is_missing = |key: &JwtKey| !keys.iter().any(|it| it.key_id == key.key_id);
            for key in known.jwt_keys.into_iter().filter(is_missing) {
                let key_id = key.key_id.clone();
                // Before a key signs, this has to work; what is said above is taken over all the same.
                if let Err(cause) = upstream.publish_jwt_key(key).await {
                    tracing::warn!(code = %cause.code(), %cause, key_id, "a JWT key is not published above");
                }
            }
        }
        Ok(Some(UpstreamSays {
            roots,
            jwt_keys: keys.map(usable),
        }))
    }

    /// Has whoever trusts it verify JWT-SVIDs with this key.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    pub async fn publish(&self, key: JwtKey) -> Result<(), AuthorityError> {
        let Some(upstream) = &self.upstream else {
            return Ok(());
        };
        let published = upstream.publish_jwt_key(key).await;
        published.map_err(|cause| AuthorityError::upstream(&**upstream, cause))
    }
}

/// The certificate of an authority with this key: of the one above, or self-signed where there is none.
pub(super) async fn certify(
    upstream: Option<&dyn Upstream>,
    keys: &dyn KeyStore,
    key: &KeyInfo,
    trust_domain: &TrustDomain,
    lifetime: Duration,
    clock: &Clock,
) -> Result<Certified, AuthorityError> {
    let sign = |tbs: &[u8]| keys.sign(&key.id, key.kind.signature_alg(), tbs.to_vec());
    let Some(upstream) = upstream else {
        let draft = prepare_authority(trust_domain, &key.spki_der, lifetime, serial()?, clock.now())?;
        let signature = sign(draft.tbs()).await?;
        return Ok(Certified {
            certificate: draft.seal(&signature)?,
            upstream: Vec::new(),
            roots: Vec::new(),
        });
    };
    let draft = prepare_request(trust_domain, &key.spki_der, serial()?)?;
    let signature = sign(draft.tbs()).await?;
    let csr = draft.seal(&signature)?;
    let answer = upstream.sign(Asked { csr, lifetime }).await;
    let answer = answer.map_err(|cause| AuthorityError::upstream(upstream, cause))?;
    let roots = verify_roots(&answer.roots, trust_domain, clock.now())?;
    let above = verify_upstream(&answer.chain, &roots, &key.spki_der, trust_domain, clock.now())?;
    let certificate = answer.chain.into_iter().next().ok_or(AuthorityError::None)?;
    tracing::info!(upstream = upstream.name(), "the authority above has signed");
    Ok(Certified {
        certificate,
        upstream: above,
        roots,
    })
}

/// Certificates that go with every SVID of an authority, behind the leaf: its own and those above, without the root, which relying
/// parties have; none where it is its own root.
pub(super) fn svid_chain(authority: &Authority) -> Vec<Bytes> {
    let Some((_root, above)) = authority.upstream.split_last() else {
        return Vec::new();
    };
    let chain = std::iter::once(&authority.certificate).chain(above);
    chain.map(|der| Bytes::copy_from_slice(der)).collect()
}

/// A key of the authority above, as the bundle has it.
///
/// # Errors
/// When the row does not have a key that tokens are verified with.
pub(super) fn upstream_key(key: &UpstreamJwtKey) -> Result<JwtAuthority, AuthorityError> {
    let authority = JwtAuthority::new(key.key_id.clone(), key.public_key.clone());
    let mut authority = authority.map_err(AuthorityError::JwtKeyRow)?;
    authority.expires_at = key.expires_at;
    authority.tainted = key.tainted;
    Ok(authority)
}

/// Keys that tokens are verified with. One that cannot be used is passed over, as the standard has it (TDB-09).
fn usable(keys: Vec<JwtKey>) -> Vec<UpstreamJwtKey> {
    let rows = keys.into_iter().map(|key| UpstreamJwtKey {
        key_id: key.key_id,
        public_key: key.public_key,
        expires_at: key.expires_at,
        tainted: key.tainted,
    });
    let usable: Vec<_> = rows.filter(|key| upstream_key(key).is_ok()).collect();
    if usable.len() > MAX_UPSTREAM_JWT_KEYS {
        tracing::warn!(
            count = usable.len(),
            "the authority above says more JWT keys than are taken"
        );
    }
    usable
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(failures.min(MOST_DOUBLINGS)))
        .min(LONGEST_PAUSE)
}

impl From<UpstreamAnswerError> for AuthorityError {
    fn from(cause: UpstreamAnswerError) -> Self {
        Self::UpstreamAnswer(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_the_first_success() {
        let seconds: Vec<u64> = (0..7).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 300, 300]);
        let none = Above::new(None);
        none.note::<()>(&Err(AuthorityError::NoUpstream));
        assert!(none.require_turn().is_ok(), "without one there is nothing to wait for");
    }
}
