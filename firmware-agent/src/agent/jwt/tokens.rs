//! Tokens at hand, by who may have them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use hallmark_spiffe::{SpiffeId, jwt::JwtAuthority};
use zeroize::Zeroizing;

use super::{WantedToken, accept::unix};
use crate::cache::{Snapshot, WorkloadEntry};

/// The most tokens that are kept, and the most that they and their audiences take, in bytes.
const MOST: usize = 1000;
const MOST_BYTES: usize = 16 << 20;
/// How long the server is not asked again where it gave no new token.
const AGAIN: Duration = Duration::from_secs(5);

/// What a token is kept by. Each user has its own: nobody's are pushed out, or waited for, by another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    user: u32,
    entry: Arc<str>,
    audience: Arc<[String]>,
}

impl Key {
    pub(super) fn of(wanted: &WantedToken) -> Self {
        Self {
            user: wanted.user,
            entry: Arc::clone(&wanted.entry.entry_id),
            audience: Arc::clone(&wanted.audience),
        }
    }

    fn bytes(&self) -> usize {
        self.audience.iter().map(String::len).sum()
    }
}

/// A JWT-SVID that was checked. Its text is wiped when the last holder lets go, and `Debug` does not tell it.
pub(crate) struct Token {
    text: Zeroizing<String>,
    entry: (i64, Arc<str>),
    revision: i64,
    spiffe_id: SpiffeId,
    signer: JwtAuthority,
    received: i64,
    expires_at: i64,
    again: Mutex<Option<Instant>>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, expires {})", self.spiffe_id, self.expires_at)
    }
}

impl Token {
    /// A token that this entry grants, and this key has signed.
    pub(super) fn new(
        text: Zeroizing<String>,
        entry: &WorkloadEntry,
        signer: &JwtAuthority,
        received: SystemTime,
        expires_at: i64,
    ) -> Self {
        Self {
            text,
            entry: (entry.created_at, Arc::clone(&entry.entry_id)),
            revision: entry.revision,
            spiffe_id: entry.spiffe_id.clone(),
            signer: signer.clone(),
            received: unix(received),
            expires_at,
            again: Mutex::default(),
        }
    }

    /// The token.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has not ended.
    pub(super) fn is_valid(&self, now: SystemTime) -> bool {
        unix(now) < self.expires_at
    }

    /// Whether no new one is to be asked for: in the first half of its life, or where that was tried just now. A clock that was set
    /// back behind its beginning says nothing about its age.
    pub(super) fn is_settled(&self, now: SystemTime, steady: Instant) -> bool {
        let again = *self.again.lock().unwrap_or_else(PoisonError::into_inner);
        let half = self
            .received
            .saturating_add(self.expires_at.saturating_sub(self.received) / 2);
        again.is_some_and(|again| steady < again) || (self.received..half).contains(&unix(now))
    }

    /// No new one was to be had.
    pub(super) fn put_off(&self, steady: Instant) {
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = Some(steady + AGAIN);
    }

    /// Whether its entry is there as it was, and its key is one of the bundle's that is not tainted.
    pub(super) fn is_of(&self, snapshot: &Snapshot) -> bool {
        let place =
            |entry: &Arc<WorkloadEntry>| (entry.created_at, &entry.entry_id).cmp(&(self.entry.0, &self.entry.1));
        let entry = snapshot.entries.binary_search_by(place).ok();
        entry
            .and_then(|place| snapshot.entries.get(place))
            .is_some_and(|entry| self.is_from(entry))
            && self.is_trusted(snapshot)
    }

    fn is_from(&self, entry: &WorkloadEntry) -> bool {
        let same = (entry.created_at, &entry.entry_id) == (self.entry.0, &self.entry.1);
        same && entry.revision == self.revision && entry.spiffe_id == self.spiffe_id
    }

    fn is_trusted(&self, snapshot: &Snapshot) -> bool {
        let keys = snapshot.jwt_bundle.jwt_authorities.iter();
        let mut ours = keys.filter(|key| key.key_id() == self.signer.key_id());
        ours.any(|key| key.public_key() == self.signer.public_key() && !key.tainted)
    }
}

/// The tokens at hand.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    held: HashMap<Key, Held>,
    bytes: usize,
    /// Counts uses.
    uses: u64,
}

#[derive(Debug)]
struct Held {
    token: Arc<Token>,
    last_use: u64,
}

impl Held {
    fn bytes(&self, key: &Key) -> usize {
        key.bytes().saturating_add(self.token.text.len())
    }
}

impl Tokens {
    /// The token of this key, where this entry grants it still and its key is trusted.
    pub(super) fn find(&mut self, key: &Key, entry: &WorkloadEntry, snapshot: &Snapshot) -> Option<Arc<Token>> {
        let held = self.held.get_mut(key)?;
        if !held.token.is_from(entry) || !held.token.is_trusted(snapshot) {
            return None;
        }
        self.uses = self.uses.saturating_add(1);
        held.last_use = self.uses;
        Some(Arc::clone(&held.token))
    }

    /// Keeps a token in the place of the one before. Where there is no room, those that have ended go, then the least recently used
    /// of the users that hold most.
    pub(super) fn keep(&mut self, key: Key, token: Arc<Token>, now: SystemTime) {
        self.remove(&key);
        self.uses = self.uses.saturating_add(1);
        let held = Held {
            token,
            last_use: self.uses,
        };
        let bytes = held.bytes(&key);
        if self.held.len() >= MOST || self.bytes.saturating_add(bytes) > MOST_BYTES {
            self.remove_all(|held| !held.token.is_valid(now));
        }
        while self.held.len() >= MOST || (self.bytes.saturating_add(bytes) > MOST_BYTES && !self.held.is_empty()) {
            self.make_room();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.held.insert(key, held);
    }

    /// Drops what may no longer be served.
    pub(super) fn retain(&mut self, snapshot: &Snapshot, now: SystemTime) {
        self.remove_all(|held| !held.token.is_valid(now) || !held.token.is_of(snapshot));
    }

    fn remove(&mut self, key: &Key) {
        if let Some(held) = self.held.remove(key) {
            self.bytes = self.bytes.saturating_sub(held.bytes(key));
        }
    }

    fn remove_all(&mut self, is_over: impl Fn(&Held) -> bool) {
        let bytes = &mut self.bytes;
        self.held.retain(|key, held| {
            let stays = !is_over(held);
            if !stays {
                *bytes = bytes.saturating_sub(held.bytes(key));
            }
            stays
        });
    }

    fn make_room(&mut self) {
        let mut of_users: HashMap<u32, usize> = HashMap::new();
        for (key, held) in &self.held {
            let bytes = of_users.entry(key.user).or_default();
            *bytes = bytes.saturating_add(held.bytes(key));
        }
        let most = of_users.into_iter().max_by_key(|(user, bytes)| (*bytes, *user));
        let Some((user, _)) = most else { return };
        let theirs = self.held.iter().filter(|(key, _)| key.user == user);
        let oldest = theirs.min_by_key(|(_, held)| held.last_use);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
