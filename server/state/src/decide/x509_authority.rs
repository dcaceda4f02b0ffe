//! The life of the X.509 authorities: prepared, active, old, tainted, gone.
//!
//! An authority is known by the Subject Key Identifier of its key. It is in the bundle before it signs, and stays there until its
//! certificate has ended: no SVID outlives it. One whose certificate was renewed on the same key has several rows, each with its own
//! end; what is done to the authority is done to all of them.

use std::sync::Arc;

use hallmark_spiffe::x509::SigningFacts;

use super::authority_life::{self, Life, Reason, published};
use crate::{
    Authority, AuthorityKind, AuthorityState, AuthorityStepError, Change, Decision, Event, State, View, What,
    journal::sha256,
};

const KIND: AuthorityKind = AuthorityKind::X509;

/// A step that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum X509AuthorityStep {
    /// A key is to be made in the token, and its certificate put into the bundle.
    Prepare,
    /// This authority is to sign from now on.
    Activate {
        /// Its id.
        key_id: String,
    },
    /// This certificate has ended: it is to leave the bundle, and its key the token where no other certificate has it.
    Remove {
        /// The certificate, DER.
        certificate: Vec<u8>,
    },
}

impl Authority {
    /// What its certificate says of its life; `None` where it does not read.
    #[must_use]
    pub fn facts(&self) -> Option<SigningFacts> {
        SigningFacts::read(&self.certificate).ok()
    }

    /// The id that it is known by: its Subject Key Identifier, in hex, as SPIRE's API has it; `None` where its certificate does not
    /// read.
    #[must_use]
    pub fn key_id(&self) -> Option<String> {
        self.facts().map(|facts| hex::encode(facts.key_id))
    }

    fn is_called(&self, key_id: &str) -> bool {
        self.key_id().is_some_and(|it| it == key_id)
    }

    fn life(&self) -> Option<Life> {
        self.facts().map(|facts| Life {
            begins: facts.not_before,
            ends: facts.not_after,
        })
    }

    fn is_valid(&self, now: i64) -> bool {
        self.facts()
            .is_some_and(|facts| facts.not_before <= now && now < facts.not_after)
    }
}

impl State {
    /// The X.509 authority that signs next.
    #[must_use]
    pub fn prepared_authority(&self) -> Option<&Arc<Authority>> {
        let mut all = self.authorities().iter();
        all.rfind(|it| it.state == AuthorityState::Prepared)
    }

    /// What is due at `now`, in Unix seconds; of several steps the first. What has ended goes first: a token that is full makes no
    /// next key.
    ///
    /// Behind the end of a self-signed authority that signs, none is made in its place: whoever knows the bundle would not believe it, and a
    /// clock that is ahead for a moment would take the fleet's trust away. One that is prepared signs then. What an authority above signs, those who know the bundle do believe.
    #[must_use]
    pub fn due_x509_authority_step(&self, now: i64) -> Option<X509AuthorityStep> {
        let active = self.active_authority()?;
        let ended = self.authorities().iter().find(|it| has_ended(it, now));
        if let Some(ended) = ended {
            let certificate = ended.certificate.clone();
            return Some(X509AuthorityStep::Remove { certificate });
        }
        let life = active.life()?;
        match self.prepared_authority() {
            Some(next) => {
                let is_due = life.gives_way(next.created_at, now) && next.is_valid(now);
                let key_id = next.key_id().filter(|_| is_due)?;
                Some(X509AuthorityStep::Activate { key_id })
            }
            None => (life.wants_next(now) && (now < life.ends || !active.upstream.is_empty()))
                .then_some(X509AuthorityStep::Prepare),
        }
    }
}

/// Puts a new authority into the bundle. It signs nothing yet.
///
/// # Errors
/// When there is a prepared one that has not ended, or one with the same id, or the certificate does not read.
pub fn prepare_x509_authority(
    view: View<'_>,
    authority: Authority,
    now: i64,
    reason: Reason<'_>,
) -> Result<Decision, AuthorityStepError> {
    let state = view.authorities();
    let facts = authority.facts().ok_or(AuthorityStepError::Unreadable)?;
    let key_id = hex::encode(facts.key_id);
    let prepared = state.prepared_authority();
    if let Some(prepared) = prepared.filter(|it| !has_ended(it, now)) {
        let key_id = prepared.key_id().unwrap_or_default();
        return Err(AuthorityStepError::Prepared { kind: KIND, key_id });
    }
    if state.authorities().iter().any(|it| it.is_called(&key_id)) {
        return Err(AuthorityStepError::Known { kind: KIND, key_id });
    }
    let event = step(&authority, &key_id, "prepare", reason);
    let change = put(&authority, AuthorityState::Prepared);
    Ok(published(view, vec![change], vec![event]))
}

/// Has the prepared authority sign from now on; the one that signs until now stays in the bundle.
///
/// # Errors
/// When there is no such authority, or it is not prepared or not valid at `now`, in Unix seconds.
pub fn activate_x509_authority(
    view: View<'_>,
    key_id: &str,
    now: i64,
    reason: Reason<'_>,
) -> Result<Decision, AuthorityStepError> {
    let state = view.authorities();
    let (_, rows) = find(state, key_id)?;
    let next = rows
        .iter()
        .find(|it| it.state == AuthorityState::Prepared && it.is_valid(now));
    let next = next.ok_or_else(|| refused(&rows, key_id, "activated", "prepared, and valid now"))?;
    let active = state.active_authority().map(|it| &**it);
    let (changes, event) = activated(active, next, reason);
    // The bundle has had it all along.
    Ok(view.decide(changes, vec![event]))
}

/// What changes when `next` signs in the place of `active`, and its record.
#[must_use]
pub fn activated(active: Option<&Authority>, next: &Authority, reason: Reason<'_>) -> (Vec<Change>, Event) {
    let mut changes: Vec<_> = active.map(|it| put(it, AuthorityState::Old)).into_iter().collect();
    changes.push(put(next, AuthorityState::Active));
    let key_id = next.key_id().unwrap_or_default();
    (changes, step(next, &key_id, "activate", reason))
}

/// Marks an authority that no longer signs: agents replace what it signed at once, and their own SVIDs with it. Gives its newest row.
///
/// # Errors
/// When there is no such authority, or it is not old.
pub fn taint_x509_authority(
    view: View<'_>,
    key_id: &str,
    reason: &str,
) -> Result<(Decision, Arc<Authority>), AuthorityStepError> {
    let (newest, rows) = find(view.authorities(), key_id)?;
    if rows.iter().any(|it| it.state != AuthorityState::Old) {
        return Err(refused(&rows, key_id, "tainted", "old"));
    }
    let changes = rows.iter().map(|it| put(it, AuthorityState::Tainted)).collect();
    let event = step(&newest, key_id, "taint", Some(reason));
    Ok((published(view, changes, vec![event]), newest))
}

/// Takes an authority that does not sign out of the bundle: nothing that it signed is believed any more. Gives its newest row, and all
/// of them: their key is to be destroyed in the token.
///
/// # Errors
/// When there is no such authority, or it signs.
pub fn revoke_x509_authority(
    view: View<'_>,
    key_id: &str,
    reason: &str,
) -> Result<(Decision, Rows), AuthorityStepError> {
    let (newest, rows) = find(view.authorities(), key_id)?;
    if rows.iter().any(|it| it.state == AuthorityState::Active) {
        return Err(refused(&rows, key_id, "revoked", "not active"));
    }
    let event = step(&newest, key_id, "revoke", Some(reason));
    let changes = rows.iter().map(gone).collect();
    Ok((published(view, changes, vec![event]), (newest, rows)))
}

/// Takes a certificate out of the bundle that has ended at `now`, in Unix seconds, and does not sign. Gives its row; `None`, and
/// nothing to do, where there is none.
pub fn end_x509_authority(view: View<'_>, certificate: &[u8], now: i64) -> (Decision, Option<Arc<Authority>>) {
    let mut all = view.authorities().authorities().iter();
    let found = all.find(|it| it.certificate == certificate && has_ended(it, now));
    let Some(ended) = found.cloned() else {
        return (view.decide(Vec::new(), Vec::new()), None);
    };
    let mut event = step(&ended, &ended.key_id().unwrap_or_default(), "end", None);
    if let What::Authority { facts, .. } = &mut event.what {
        facts.push(("certificate_sha256".to_owned(), hex::encode(sha256(certificate))));
    }
    (published(view, vec![gone(&ended)], vec![event]), Some(ended))
}

/// Whether a certificate has ended, by anybody's clock; the one that signs is kept whatever the clock says.
fn has_ended(authority: &Authority, now: i64) -> bool {
    let ended = authority.life().is_some_and(|life| life.has_ended(now));
    authority.state != AuthorityState::Active && ended
}

/// The newest row of an authority, and all of them, oldest first.
pub type Rows = (Arc<Authority>, Vec<Arc<Authority>>);

fn find(state: &State, key_id: &str) -> Result<Rows, AuthorityStepError> {
    let all = state.authorities().iter();
    let rows: Vec<_> = all.filter(|it| it.is_called(key_id)).cloned().collect();
    let newest = rows.last().cloned().ok_or_else(|| AuthorityStepError::Unknown {
        kind: KIND,
        key_id: key_id.chars().take(255).collect(),
    })?;
    Ok((newest, rows))
}

fn refused(rows: &[Arc<Authority>], key_id: &str, act: &'static str, expected: &'static str) -> AuthorityStepError {
    let active = rows.iter().find(|it| it.state == AuthorityState::Active);
    let found = active.or_else(|| rows.last()).map(|it| it.state);
    AuthorityStepError::State {
        kind: KIND,
        key_id: key_id.to_owned(),
        act,
        expected,
        found: found.unwrap_or(AuthorityState::Old),
    }
}

fn put(authority: &Authority, state: AuthorityState) -> Change {
    Change::PutAuthority(Arc::new(Authority {
        state,
        ..authority.clone()
    }))
}

fn gone(authority: &Arc<Authority>) -> Change {
    Change::DeleteAuthority {
        certificate: authority.certificate.clone(),
    }
}

fn step(authority: &Authority, key_id: &str, act: &str, reason: Reason<'_>) -> Event {
    authority_life::step(KIND, &authority.label, key_id, act, reason)
}
