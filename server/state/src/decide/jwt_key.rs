//! The life of the keys that sign JWT-SVIDs: prepared, active, old, tainted, gone.
//!
//! A key is in the bundle before it signs, and stays there until the last token that it signed has ended.

use std::sync::Arc;

use super::authority_life::{self, Life, Reason, published};
use crate::{AuthorityKind, AuthorityState, AuthorityStepError, Change, Decision, Event, JwtKey, State, View};

const KIND: AuthorityKind = AuthorityKind::Jwt;

/// A step that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKeyStep {
    /// A key is to be made in the token and put into the bundle.
    Prepare,
    /// This key is to sign from now on.
    Activate {
        /// Its id.
        key_id: String,
    },
    /// Nothing that this key signed is valid any more: it is to leave the bundle and the token.
    Remove {
        /// Its id.
        key_id: String,
    },
}

impl State {
    /// The key that signs JWT-SVIDs.
    #[must_use]
    pub fn active_jwt_key(&self) -> Option<&Arc<JwtKey>> {
        self.jwt_key_in(AuthorityState::Active)
    }

    /// The key that signs next.
    #[must_use]
    pub fn prepared_jwt_key(&self) -> Option<&Arc<JwtKey>> {
        self.jwt_key_in(AuthorityState::Prepared)
    }

    fn jwt_key_in(&self, state: AuthorityState) -> Option<&Arc<JwtKey>> {
        self.jwt_keys().iter().rfind(|key| key.state == state)
    }

    /// What is due at `now`, in Unix seconds; of several steps the first. What has ended goes first: a token that is full makes no
    /// next key.
    #[must_use]
    pub fn due_jwt_key_step(&self, now: i64) -> Option<JwtKeyStep> {
        let ended = self
            .jwt_keys()
            .iter()
            .find(|key| key.state != AuthorityState::Active && life(key).has_ended(now));
        if let Some(ended) = ended {
            let key_id = ended.key_id.clone();
            return Some(JwtKeyStep::Remove { key_id });
        }
        let prepared = self.prepared_jwt_key().filter(|key| key.expires_at > now);
        let activate = |key: &Arc<JwtKey>| JwtKeyStep::Activate {
            key_id: key.key_id.clone(),
        };
        let Some(active) = self.active_jwt_key() else {
            return Some(prepared.map_or(JwtKeyStep::Prepare, activate));
        };
        match prepared {
            None => life(active).wants_next(now).then_some(JwtKeyStep::Prepare),
            Some(next) => life(active).gives_way(next.created_at, now).then(|| activate(next)),
        }
    }

    /// A key of which nothing that it signed is valid any more at `now`, in Unix seconds.
    #[must_use]
    pub fn ended_jwt_key(&self, now: i64) -> Option<&Arc<JwtKey>> {
        self.jwt_keys().iter().find(|key| life(key).has_ended(now))
    }
}

/// Puts a new key into the bundle. It signs nothing yet.
///
/// # Errors
/// When there is a prepared key that has not ended, or one with the same id.
pub fn prepare_jwt_key(
    view: View<'_>,
    key: JwtKey,
    now: i64,
    reason: Reason<'_>,
) -> Result<Decision, AuthorityStepError> {
    let state = view.authorities();
    if let Some(prepared) = state.prepared_jwt_key().filter(|it| it.expires_at > now) {
        let key_id = prepared.key_id.clone();
        return Err(AuthorityStepError::Prepared { kind: KIND, key_id });
    }
    let published_below = state.published_jwt_keys().iter().map(|it| &it.key_id);
    let mut known = state.jwt_keys().iter().map(|it| &it.key_id).chain(published_below);
    if known.any(|it| *it == key.key_id) {
        return Err(AuthorityStepError::Known {
            kind: KIND,
            key_id: key.key_id,
        });
    }
    let event = step(&key, "prepare", reason);
    let key = Arc::new(JwtKey {
        state: AuthorityState::Prepared,
        ..key
    });
    Ok(published(view, vec![Change::PutJwtKey(key)], vec![event]))
}

/// Has the prepared key sign from now on; the one that signs until now stays in the bundle.
///
/// # Errors
/// When there is no such key, or it is not prepared or has ended.
pub fn activate_jwt_key(
    view: View<'_>,
    key_id: &str,
    now: i64,
    reason: Reason<'_>,
) -> Result<Decision, AuthorityStepError> {
    let state = view.authorities();
    let next = find(state, key_id)?;
    if next.state != AuthorityState::Prepared || next.expires_at <= now {
        return Err(refused(next, "activated", "prepared"));
    }
    let put = |key: &JwtKey, state| Change::PutJwtKey(Arc::new(JwtKey { state, ..key.clone() }));
    let before = state.active_jwt_key();
    let mut changes: Vec<_> = before.map(|key| put(key, AuthorityState::Old)).into_iter().collect();
    changes.push(put(next, AuthorityState::Active));
    let event = step(next, "activate", reason);
    // The bundle has had it all along.
    Ok(view.decide(changes, vec![event]))
}

/// Marks a key that no longer signs: agents replace what it signed at once. Gives it.
///
/// # Errors
/// When there is no such key, or it is not old.
pub fn taint_jwt_key(
    view: View<'_>,
    key_id: &str,
    reason: &str,
) -> Result<(Decision, Arc<JwtKey>), AuthorityStepError> {
    let key = find(view.authorities(), key_id)?;
    if key.state != AuthorityState::Old {
        return Err(refused(key, "tainted", "old"));
    }
    let event = step(key, "taint", Some(reason));
    let state = AuthorityState::Tainted;
    let tainted = Arc::new(JwtKey {
        state,
        ..JwtKey::clone(key)
    });
    let change = Change::PutJwtKey(Arc::clone(&tainted));
    Ok((published(view, vec![change], vec![event]), tainted))
}

/// Takes a key that does not sign, or has ended, out of the bundle: nothing that it signed is believed any more. Gives it: in the
/// token it is to be destroyed.
///
/// # Errors
/// When there is no such key, or it signs at `now`.
pub fn remove_jwt_key(
    view: View<'_>,
    key_id: &str,
    now: i64,
    reason: Reason<'_>,
) -> Result<(Decision, Arc<JwtKey>), AuthorityStepError> {
    let key = find(view.authorities(), key_id)?;
    if key.state == AuthorityState::Active && !life(key).has_ended(now) {
        return Err(refused(key, "revoked", "not active"));
    }
    let act = if reason.is_some() { "revoke" } else { "end" };
    let (event, key) = (step(key, act, reason), Arc::clone(key));
    let gone = Change::DeleteJwtKey {
        key_id: key_id.to_owned(),
    };
    Ok((published(view, vec![gone], vec![event]), key))
}

const fn life(key: &JwtKey) -> Life {
    Life {
        begins: key.created_at,
        ends: key.expires_at,
    }
}

fn find<'a>(state: &'a State, key_id: &str) -> Result<&'a Arc<JwtKey>, AuthorityStepError> {
    let found = state.jwt_keys().iter().find(|key| key.key_id == key_id);
    found.ok_or_else(|| AuthorityStepError::Unknown {
        kind: KIND,
        key_id: key_id.chars().take(255).collect(),
    })
}

fn refused(key: &JwtKey, act: &'static str, expected: &'static str) -> AuthorityStepError {
    AuthorityStepError::State {
        kind: KIND,
        key_id: key.key_id.clone(),
        act,
        expected,
        found: key.state,
    }
}

fn step(key: &JwtKey, act: &str, reason: Reason<'_>) -> Event {
    authority_life::step(KIND, &key.label, &key.key_id, act, reason)
}
