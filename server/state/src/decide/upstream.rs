//! What the authority above says: its roots, of which the bundle is made where this server's authorities are not self-signed, and its
//! keys for JWT-SVIDs.
//!
//! A root is in the bundle before an authority of this server hangs on it, and leaves when the authority above does not say it any more
//! and none hangs on it. One that an operator took out stays out as long as it is said.

use std::sync::Arc;

use hallmark_spiffe::x509::SigningFacts;

use super::{
    authority_life::{self, Reason, published},
    x509_authority::prepare_x509_authority,
};
use crate::{
    Authority, AuthorityKind, AuthorityState, AuthorityStepError, Change, Decision, Event, State, UpstreamBundle,
    UpstreamJwtKey, UpstreamRoot, UpstreamRootState, View,
};

/// The most roots that are kept of an authority above.
pub const MAX_UPSTREAM_ROOTS: usize = 32;
/// The most keys for JWT-SVIDs that are kept of an authority above.
pub const MAX_UPSTREAM_JWT_KEYS: usize = 128;

/// How long a key is kept beyond its end, in seconds: clocks differ.
const KEEP_ENDED: i64 = 60;
const KIND: AuthorityKind = AuthorityKind::X509;

/// What the authority above says now; `None` of what it says nothing.
#[derive(Debug, Clone, Default)]
pub struct UpstreamSays {
    /// Every root, DER.
    pub roots: Option<Vec<Vec<u8>>>,
    /// Every key for JWT-SVIDs.
    pub jwt_keys: Option<Vec<UpstreamJwtKey>>,
}

/// An X.509 certificate of the trust domain's bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleCertificate {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Whether what leads to it is to be replaced.
    pub tainted: bool,
}

/// The X.509 certificates of the bundle, each once: authorities that are their own roots, oldest first, and the roots of the authority
/// above.
#[must_use]
pub fn bundle_certificates<'a>(
    authorities: impl IntoIterator<Item = &'a Authority>,
    upstream: &UpstreamBundle,
) -> Vec<BundleCertificate> {
    let own = authorities.into_iter().filter(|it| it.upstream.is_empty());
    let own = own.map(|it| (&it.certificate, it.state == AuthorityState::Tainted));
    let roots = upstream.roots.iter();
    let roots = roots.filter(|it| it.state != UpstreamRootState::Revoked);
    let roots = roots.map(|it| (&it.certificate, it.state == UpstreamRootState::Tainted));
    let mut all: Vec<BundleCertificate> = Vec::new();
    for (certificate, tainted) in own.chain(roots) {
        if !all.iter().any(|it| it.certificate == *certificate) {
            all.push(BundleCertificate {
                certificate: certificate.clone(),
                tainted,
            });
        }
    }
    all
}

impl UpstreamRoot {
    /// The Subject Key Identifier that it is known by, in hex; `None` where its certificate has none.
    #[must_use]
    pub fn key_id(&self) -> Option<String> {
        SigningFacts::read(&self.certificate)
            .ok()
            .map(|facts| hex::encode(facts.key_id))
    }
}

impl Authority {
    /// The root that it hangs on, DER; `None` where it is one itself.
    #[must_use]
    pub fn root(&self) -> Option<&[u8]> {
        self.upstream.last().map(Vec::as_slice)
    }
}

/// Takes over what the authority above says. Where that changes nothing, the decision is empty.
pub fn follow_upstream(view: View<'_>, says: &UpstreamSays, now: i64) -> Decision {
    let state = view.authorities();
    let before = state.upstream();
    let next = UpstreamBundle {
        roots: roots(before, says.roots.as_deref(), |root| hangs(state, root), now),
        jwt_keys: jwt_keys(state, says.jwt_keys.as_deref().unwrap_or(&before.jwt_keys), now),
    };
    if next == **before {
        return view.decide(Vec::new(), Vec::new());
    }
    let event = step("", "upstream-follow", None);
    published(view, vec![Change::PutUpstream(Arc::new(next))], vec![event])
}

/// Puts the roots of a new authority into the bundle, and records the authority that the one above has signed. It signs nothing yet.
///
/// # Errors
/// As [`prepare_x509_authority`]; and where its root is none of `roots`, or one that an operator tainted or revoked.
pub fn prepare_upstream_authority(
    view: View<'_>,
    authority: Authority,
    roots_said: &[Vec<u8>],
    now: i64,
    reason: Reason<'_>,
) -> Result<Decision, AuthorityStepError> {
    let state = view.authorities();
    let root = authority.root().ok_or(AuthorityStepError::Unreadable)?.to_vec();
    if !roots_said.contains(&root) {
        return Err(AuthorityStepError::Unreadable);
    }
    let known = state.upstream().roots.iter().find(|it| it.certificate == root);
    if let Some(known) = known.filter(|it| is_out(it.state)) {
        return Err(refused(
            &known.key_id().unwrap_or_default(),
            "signed under",
            known.state,
        ));
    }
    let before = state.upstream();
    let next = UpstreamBundle {
        roots: roots(before, Some(roots_said), |it| it == root || hangs(state, it), now),
        jwt_keys: before.jwt_keys.clone(),
    };
    let is_news = next != **before;
    let mut decision = prepare_x509_authority(view, authority, now, reason)?;
    if is_news {
        decision.changes.push(Change::PutUpstream(Arc::new(next)));
    }
    Ok(decision)
}

/// Marks a root of the authority above: agents replace what hangs on it at once.
///
/// # Errors
/// When there is no such root, the authority that signs hangs on it, or it is marked already.
pub fn taint_upstream_root(view: View<'_>, key_id: &str, reason: &str) -> Result<Decision, AuthorityStepError> {
    let (next, _) = with_root_state(view.authorities(), key_id, UpstreamRootState::Tainted, "tainted")?;
    let event = step(key_id, "upstream-taint", Some(reason));
    Ok(published(view, vec![Change::PutUpstream(Arc::new(next))], vec![event]))
}

/// Takes a root of the authority above out of the bundle, and with it every authority of this server that hangs on it. Gives these:
/// their keys are to be destroyed in the token.
///
/// # Errors
/// When there is no such root, or the authority that signs hangs on it.
pub fn revoke_upstream_root(
    view: View<'_>,
    key_id: &str,
    reason: &str,
) -> Result<(Decision, Vec<Arc<Authority>>), AuthorityStepError> {
    let state = view.authorities();
    let (next, roots) = with_root_state(state, key_id, UpstreamRootState::Revoked, "revoked")?;
    let below = state.authorities().iter();
    let below = below.filter(|it| it.root().is_some_and(|root| roots.iter().any(|it| it == root)));
    let below: Vec<_> = below.cloned().collect();
    let mut changes = vec![Change::PutUpstream(Arc::new(next))];
    changes.extend(below.iter().map(|it| Change::DeleteAuthority {
        certificate: it.certificate.clone(),
    }));
    let event = step(key_id, "upstream-revoke", Some(reason));
    Ok((published(view, changes, vec![event]), below))
}

/// The same with the roots of this id in `to`, and which these are.
fn with_root_state(
    state: &State,
    key_id: &str,
    to: UpstreamRootState,
    act: &'static str,
) -> Result<(UpstreamBundle, Vec<Vec<u8>>), AuthorityStepError> {
    let mut next = UpstreamBundle::clone(state.upstream());
    let named = next.roots.iter_mut();
    let named = named.filter(|it| it.state != UpstreamRootState::Revoked && it.key_id().is_some_and(|it| it == key_id));
    let mut found = Vec::new();
    for root in named {
        let active = state.active_authority().and_then(|it| it.root());
        if active == Some(&*root.certificate) {
            return Err(refused(key_id, act, UpstreamRootState::Current));
        }
        if root.state == to {
            return Err(refused(key_id, act, root.state));
        }
        root.state = to;
        found.push(root.certificate.clone());
    }
    if found.is_empty() {
        return Err(AuthorityStepError::Unknown {
            kind: KIND,
            key_id: key_id.chars().take(255).collect(),
        });
    }
    Ok((next, found))
}

const fn is_out(state: UpstreamRootState) -> bool {
    matches!(state, UpstreamRootState::Tainted | UpstreamRootState::Revoked)
}

fn refused(key_id: &str, act: &'static str, found: UpstreamRootState) -> AuthorityStepError {
    AuthorityStepError::State {
        kind: KIND,
        key_id: key_id.to_owned(),
        act,
        expected: "one that the authority that signs does not hang on, and not tainted or revoked before",
        found: match found {
            UpstreamRootState::Tainted | UpstreamRootState::Revoked => AuthorityState::Tainted,
            UpstreamRootState::Old => AuthorityState::Old,
            UpstreamRootState::Current => AuthorityState::Active,
        },
    }
}

fn hangs(state: &State, root: &[u8]) -> bool {
    state.authorities().iter().any(|it| it.root() == Some(root))
}

/// The roots there are once these are said; with `None`, nothing was said.
fn roots(
    before: &UpstreamBundle,
    said: Option<&[Vec<u8>]>,
    hangs: impl Fn(&[u8]) -> bool,
    now: i64,
) -> Vec<UpstreamRoot> {
    let mut next: Vec<UpstreamRoot> = before.roots.iter().filter_map(|it| follows(it, said, &hangs)).collect();
    for certificate in said.unwrap_or_default() {
        if !next.iter().any(|it| it.certificate == *certificate) {
            next.push(UpstreamRoot {
                certificate: certificate.clone(),
                added_at: now,
                state: UpstreamRootState::Current,
            });
        }
    }
    next
}

/// What becomes of a root; `None` where it goes.
fn follows(root: &UpstreamRoot, said: Option<&[Vec<u8>]>, hangs: impl Fn(&[u8]) -> bool) -> Option<UpstreamRoot> {
    use UpstreamRootState::{Current, Old, Revoked, Tainted};
    let is_said = said.map(|said| said.contains(&root.certificate));
    let state = match (root.state, is_said) {
        (Tainted | Revoked, None | Some(true)) => root.state,
        (Revoked, Some(false)) => return None,
        (Current, None) | (Current | Old, Some(true)) => Current,
        (before, _) if hangs(&root.certificate) => match before {
            Tainted => Tainted,
            _ => Old,
        },
        _ => return None,
    };
    Some(UpstreamRoot { state, ..root.clone() })
}

/// Those that are not this server's own, nor of a server below it, and have not ended. None takes the place of one of these.
fn jwt_keys(state: &State, said: &[UpstreamJwtKey], now: i64) -> Vec<UpstreamJwtKey> {
    let own = state.jwt_keys().iter().map(|it| (&it.key_id, &it.public_key));
    let below = state.published_jwt_keys().iter();
    let taken: Vec<_> = own.chain(below.map(|it| (&it.key_id, &it.public_key))).collect();
    let mut next: Vec<UpstreamJwtKey> = Vec::new();
    for key in said {
        let is_same = |id: &String, public: &Vec<u8>| *id == key.key_id || *public == key.public_key;
        let has_ended = key.expires_at > 0 && key.expires_at.saturating_add(KEEP_ENDED) <= now;
        let is_taken = taken.iter().any(|(id, public)| is_same(id, public));
        let is_there = next.iter().any(|it| is_same(&it.key_id, &it.public_key));
        if !has_ended && !is_taken && !is_there && next.len() < MAX_UPSTREAM_JWT_KEYS {
            next.push(key.clone());
        }
    }
    next
}

fn step(key_id: &str, act: &str, reason: Reason<'_>) -> Event {
    authority_life::step(KIND, "upstream", key_id, act, reason)
}
