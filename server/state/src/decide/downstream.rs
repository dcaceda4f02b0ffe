//! What servers below this one are given and may publish.
//!
//! Each of them is an authority of the trust domain: it can issue any id. That is decided by who writes the entry with `downstream`;
//! here it is kept to the holder of that role, to a lifetime and to a number.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hallmark_spiffe::SpiffeId;

use super::{RoleGap, RoleHolder, authority_life::published, role_stands};
use crate::{
    Change, Decision, DownstreamGrant, Entry, EntryId, Event, NodeState, PublishedJwtKey, PublishedKeyError, Role,
    RoleWay, State, SvidTtl, View, What,
};

/// The most keys of one publisher. A server has one that signs, one that waits, and old ones that end; several of one cluster may
/// have the same id.
pub const MAX_PUBLISHED_KEYS: usize = 16;
/// The most keys of all publishers: the bundle goes to every client.
pub const MAX_ALL_PUBLISHED_KEYS: usize = 64;
/// How long a key is kept beyond the end of the last token that it signed, in seconds: clocks differ.
const KEEP_ENDED: i64 = 60;

/// Leave for the holder of the role to have a CA certificate, and the entry that gives it. The entry's lifetime for X509-SVIDs counts,
/// where it names one; else `preferred`, what the holder asks for, where that is not zero; else the default: `ttl.max` at most, and
/// no longer than the entry.
///
/// # Errors
/// [`RoleGap`] where the role is not this holder's at `now` (Unix seconds).
pub fn authorise_downstream(
    view: &View<'_>,
    holder: &RoleHolder,
    preferred: Duration,
    ttl: SvidTtl,
    now: i64,
) -> Result<(DownstreamGrant, EntryId), RoleGap> {
    role_stands(view, holder, Role::Downstream, &BTreeSet::new(), now)?;
    let gives = |entry: &&Arc<Entry>| entry.gives(Role::Downstream) && !entry.over_tls && !entry.is_expired(now);
    let entries = view.entries().of_id(&holder.id).filter(gives);
    // Of several the one that lasts longest.
    let end = |entry: &&Arc<Entry>| entry.expires_at.unwrap_or(i64::MAX);
    let entry = entries.max_by_key(end).ok_or(RoleGap::NotGiven)?;
    let asked = [entry.x509_svid_ttl, preferred, ttl.default];
    let asked = asked.into_iter().find(|ttl| !ttl.is_zero()).unwrap_or(ttl.max);
    let left = end(&entry).saturating_sub(now);
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    let granted = asked.min(ttl.max).min(left);
    if granted.is_zero() {
        return Err(RoleGap::NotGiven);
    }
    let trust_domain = view.unprotected().trust_domain();
    Ok((DownstreamGrant::new(trust_domain, granted), entry.id.clone()))
}

/// A key as it is published: its form was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPublishedKey {
    /// What tokens name it by.
    pub key_id: String,
    /// The public key, a DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// When the last token that it signs ends, in Unix seconds.
    pub expires_at: i64,
}

/// Puts a key of a server below this one into the bundle: `holder` has the role, at `now` (Unix seconds). It ends at the latest
/// `longest` from now. Where it is there already, nothing is done.
///
/// # Errors
/// When its id or the key itself is in the bundle otherwise: no key takes the place of another, or stands beside itself; when it ends
/// at a time that is not allowed; when there are too many.
pub fn publish_jwt_key(
    view: View<'_>,
    holder: &RoleHolder,
    key: NewPublishedKey,
    longest: Duration,
    now: i64,
) -> Result<Decision, PublishedKeyError> {
    let state = view.authorities();
    let NewPublishedKey {
        key_id,
        public_key,
        expires_at,
    } = key;
    let there = state.published_jwt_keys();
    if let Some(known) = there.iter().find(|it| it.key_id == key_id) {
        let is_same = known.publisher == holder.id && known.public_key == public_key && known.expires_at == expires_at;
        return match is_same {
            true => Ok(view.decide(Vec::new(), Vec::new())),
            false => Err(PublishedKeyError::IdTaken { key_id }),
        };
    }
    let own = state.jwt_keys().iter();
    if own.clone().any(|it| it.key_id == key_id) {
        return Err(PublishedKeyError::IdTaken { key_id });
    }
    let all = own.map(|it| (&it.key_id, &it.public_key));
    let mut all = all.chain(there.iter().map(|it| (&it.key_id, &it.public_key)));
    if let Some((known_as, _)) = all.find(|(_, known)| **known == public_key) {
        let known_as = known_as.clone();
        return Err(PublishedKeyError::KeyTaken { key_id, known_as });
    }
    // Nor is a key that signs certificates one for tokens: it would outlive its revocation.
    let certified = state.authorities().iter().filter_map(|it| it.facts());
    if let Some(known) = certified.into_iter().find(|it| it.spki == public_key) {
        let known_as = hex::encode(known.key_id);
        return Err(PublishedKeyError::KeyTaken { key_id, known_as });
    }
    let latest = now.saturating_add(i64::try_from(longest.as_secs()).unwrap_or(i64::MAX));
    if expires_at <= now || expires_at > latest {
        return Err(PublishedKeyError::Expiry {
            key_id,
            expires_at,
            now,
            latest,
        });
    }
    require_room(there, &holder.id)?;
    let key = PublishedJwtKey {
        key_id,
        public_key,
        publisher: holder.id.clone(),
        agent: holder.agent.clone(),
        published_at: now,
        expires_at,
    };
    let event = step(&key, "publish");
    let put = Change::PutPublishedJwtKey(Arc::new(key));
    Ok(published(view, vec![put], vec![event]))
}

fn require_room(there: &[Arc<PublishedJwtKey>], publisher: &SpiffeId) -> Result<(), PublishedKeyError> {
    let of_publisher = there.iter().filter(|it| it.publisher == *publisher).count();
    for (of, count, most) in [
        (publisher.as_str(), of_publisher, MAX_PUBLISHED_KEYS),
        ("all servers below this one", there.len(), MAX_ALL_PUBLISHED_KEYS),
    ] {
        if count >= most {
            let of = of.to_owned();
            return Err(PublishedKeyError::TooMany { of, most });
        }
    }
    Ok(())
}

impl State {
    /// A key of a server below this one that is to leave the bundle at `now` (Unix seconds): nothing that it signed is valid any more,
    /// or its publisher is no downstream server any more.
    #[must_use]
    pub fn due_published_jwt_key(&self, now: i64) -> Option<&Arc<PublishedJwtKey>> {
        let mut keys = self.published_jwt_keys().iter();
        keys.find(|key| is_due(&View::new(self), key, now))
    }
}

/// Takes a key of a server below this one out of the bundle, where that is due at `now`; else nothing is done.
pub fn end_published_jwt_key(view: View<'_>, key_id: &str, now: i64) -> Decision {
    let key = view
        .authorities()
        .published_jwt_keys()
        .iter()
        .find(|it| it.key_id == key_id);
    let Some(key) = key.filter(|key| is_due(&view, key, now)) else {
        return view.decide(Vec::new(), Vec::new());
    };
    let event = step(key, "withdraw");
    let gone = Change::DeletePublishedJwtKey {
        key_id: key_id.to_owned(),
    };
    published(view, vec![gone], vec![event])
}

/// A machine that is suspended, or is to prove something better, comes back and has its keys; one that is banned, retired or evicted
/// loses them, and so does one whose entry has gone.
fn is_due(view: &View<'_>, key: &PublishedJwtKey, now: i64) -> bool {
    if now >= key.expires_at.saturating_add(KEEP_ENDED) {
        return true;
    }
    let Some(node) = view.node(&key.agent) else { return true };
    if matches!(node.state, NodeState::Banned | NodeState::Retired) {
        return true;
    }
    let role = Some(Role::Downstream);
    let way = view
        .entries()
        .role_way(&key.publisher, role, &key.agent, &node.selectors, now);
    way == RoleWay::None
}

fn step(key: &PublishedJwtKey, act: &str) -> Event {
    Event::done(
        key.publisher.as_str(),
        What::Authority {
            act: format!("jwt-authority-{act}"),
            reason: None,
            facts: vec![("key_id".to_owned(), key.key_id.clone())],
        },
    )
}
