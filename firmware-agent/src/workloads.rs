//! The workloads' SVIDs: which entries there are, what has to be issued, what may be served.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use hallmark_api::types;
use hallmark_spiffe::{Bundle, Selector, TrustDomain};
use prost::Message as _;
use x509_parser::prelude::FromDer as _;

use crate::{
    cache::{Publisher, Snapshot, WorkloadEntry, X509Material},
    connect::ConnectionNumber,
    convert,
    digest::sha256,
    jitter::pause_before_end,
    server_client::{EntryVersion, KnownEntry, Listing, Versions},
};

/// What an SVID takes beside its DNS names: its own certificate, and those between it and the authority.
const SVID_BYTES: usize = 4 << 10;
/// The most that the SVIDs of one call take: their answer is one message, of 4 MiB at most.
const CALL_BYTES: usize = 3 << 20;
/// How long an entry waits after its SVID could not be issued.
const RETRY: Duration = Duration::from_secs(5);

/// The entries that this agent is authorised for, with their SVIDs. Every change is published as one new snapshot.
pub struct Workloads {
    publisher: Publisher,
    bundle: Bundle,
    tainted: Vec<Vec<u8>>,
    entries: BTreeMap<Arc<str>, Held>,
    /// Entries that the agent does not serve, so that they are not asked for again.
    passed_over: BTreeMap<String, Told>,
    /// The connection that told all of these last.
    connection: Option<ConnectionNumber>,
}

/// What the server told of an entry last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    version: EntryVersion,
    /// What its message took.
    bytes: usize,
    /// What its SVID takes at most in a message.
    svid_bytes: usize,
    /// SHA-256 of its message. A version names no content: a server whose store was restored gives it again to another.
    content: [u8; 32],
}

impl Told {
    fn of(entry: &types::Entry) -> Self {
        let message = entry.encode_to_vec();
        Self {
            version: (entry.revision_number, entry.created_at),
            bytes: message.len(),
            svid_bytes: entry
                .dns_names
                .iter()
                .map(|name| name.len().saturating_add(4))
                .sum::<usize>()
                + SVID_BYTES,
            content: sha256(&message),
        }
    }
}

impl Told {
    const fn known(&self) -> KnownEntry {
        KnownEntry {
            version: self.version,
            bytes: self.bytes,
        }
    }
}

/// What became of one request: the entry as it was asked for, and its SVID with the time of its renewal.
pub(crate) type Issued = (Arc<WorkloadEntry>, Option<(X509Material, SystemTime)>);

struct Held {
    entry: Arc<WorkloadEntry>,
    told: Told,
    due: Due,
    /// Whether its SVID is issued before a workload asks for it.
    is_prefetched: bool,
    /// The entry as the server has been asked for its SVID, until it has answered.
    asked: Option<Arc<WorkloadEntry>>,
    last: Attempt,
}

/// When an SVID is to be asked for.
#[derive(Clone, Copy)]
enum Due {
    /// At once: the entry is new or changed, or its SVID was withdrawn.
    Now,
    /// Not before a workload asks for it.
    OnDemand,
    /// A while after a failure, by a clock that nobody sets.
    Retry(Instant),
    /// At the renewal of its SVID, by the time of day.
    Renewal(SystemTime),
}

/// How the last request for an SVID ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    None,
    /// Without an answer.
    Failed,
    /// With an SVID, or the server's refusal of this entry.
    Answered,
}

impl Held {
    /// An SVID that is not valid yet is due as well: the clock was ahead when it came.
    fn is_due(&self, now: SystemTime, steady: Instant) -> bool {
        let x509 = self.entry.x509.as_ref();
        self.asked.is_none()
            && match self.due {
                Due::Now => true,
                Due::OnDemand => false,
                Due::Retry(at) => at <= steady,
                Due::Renewal(at) => at <= now || x509.is_none_or(|x509| now < x509.not_before),
            }
    }

    /// When it is tried for again after a failure.
    fn retry(&self, pause: Duration, now: SystemTime, steady: Instant) -> Due {
        let x509 = self.entry.x509.as_ref();
        let left = x509.and_then(|x509| x509.not_after.duration_since(now).ok());
        Due::Retry(steady + pause_before_end(pause, left))
    }

    /// Whether it lacks an SVID that it should have by now.
    fn is_missing(&self) -> bool {
        self.entry.is_missing() && self.last != Attempt::None
    }
}

impl Workloads {
    /// Nothing yet, published through `publisher`.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, publisher: Publisher) -> Self {
        Self {
            publisher,
            bundle: Bundle::empty(trust_domain),
            tainted: Vec::new(),
            entries: BTreeMap::new(),
            passed_over: BTreeMap::new(),
            connection: None,
        }
    }

    /// Every version that is held, and the connection that told it.
    #[must_use]
    pub fn versions(&self) -> Versions {
        let held = self.entries.iter().map(|(id, held)| (id.to_string(), held.told));
        let passed_over = self.passed_over.iter().map(|(id, told)| (id.clone(), *told));
        Versions {
            connection: self.connection,
            of: held.chain(passed_over).map(|(id, told)| (id, told.known())).collect(),
        }
    }

    /// Takes over what the server listed: entries that are gone are dropped with their SVIDs, those with other content keep
    /// theirs only where the id is the same, and get a new one.
    pub fn apply(&mut self, listing: Listing) {
        let before = self.entries.len();
        self.entries.retain(|id, _| listing.ids.contains(&**id));
        self.passed_over.retain(|id, _| listing.ids.contains(id));
        self.connection = listing.connection;
        let mut changed = self.entries.len() != before;
        for entry in listing.told {
            let told = Told::of(&entry);
            if self.known(&entry.id) != Some(told) {
                self.take_over(entry, told);
                changed = true;
            }
        }
        if changed {
            self.publish();
        }
    }

    fn known(&self, id: &str) -> Option<Told> {
        let held = self.entries.get(id).map(|held| held.told);
        held.or_else(|| self.passed_over.get(id).copied())
    }

    fn take_over(&mut self, entry: types::Entry, told: Told) {
        let id = entry.id.clone();
        let Some(mut entry) = decode(entry) else {
            self.entries.remove(id.as_str());
            self.passed_over.insert(id, told);
            return;
        };
        let is_prefetched = entry.wanted;
        let before = self.entries.get(id.as_str());
        entry.wanted |= before.is_some_and(|held| held.entry.wanted);
        entry.x509 = before
            .filter(|held| held.entry.spiffe_id == entry.spiffe_id)
            .and_then(|held| held.entry.x509.clone());
        if let Some(before) = before {
            entry.is_used = Arc::clone(&before.entry.is_used);
        }
        let held = Held {
            is_prefetched,
            due: if entry.wanted { Due::Now } else { Due::OnDemand },
            entry: Arc::new(entry),
            told,
            asked: None,
            last: before.map_or(Attempt::None, |held| held.last),
        };
        self.passed_over.remove(&id);
        self.entries.insert(Arc::from(id), held);
    }

    /// Takes over a bundle. SVIDs that no longer lead to an authority, or lead to a tainted one, are due at once.
    pub fn set_bundle(&mut self, bundle: Bundle, tainted: Vec<Vec<u8>>, now: SystemTime) {
        let same_keys = bundle.jwt_authorities == self.bundle.jwt_authorities;
        if bundle.x509_authorities == self.bundle.x509_authorities && tainted == self.tainted && same_keys {
            self.bundle = bundle;
            return;
        }
        self.bundle = bundle;
        self.tainted = tainted;
        let mut sound = self.bundle.clone();
        sound
            .x509_authorities
            .retain(|authority| !self.tainted.contains(authority));
        if let Ok(authorities) = sound.authorities() {
            for held in self.entries.values_mut() {
                let Some(x509) = &held.entry.x509 else { continue };
                if authorities.verify(&split(&x509.chain), now).is_err() {
                    held.due = Due::Now;
                }
            }
        }
        self.publish();
    }

    /// The bundle.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Takes entries whose SVID is to be issued at this time of day, at most so many, and no more than fit an answer; `steady`
    /// is now, too. They are due again once `install` or [`put_off`](Self::put_off) has said what became of them.
    #[must_use]
    pub fn take_due(&mut self, now: SystemTime, steady: Instant, most: usize) -> Vec<Arc<WorkloadEntry>> {
        self.give_up(now);
        let due = self.entries.values_mut().filter(|held| held.is_due(now, steady));
        let mut bytes = 0_usize;
        let fits = |held: &&mut Held| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(held.told.svid_bytes);
            is_first || bytes <= CALL_BYTES
        };
        due.take(most)
            .take_while(fits)
            .map(|held| {
                held.asked = Some(Arc::clone(&held.entry));
                Arc::clone(&held.entry)
            })
            .collect()
    }

    /// SVIDs that are to be renewed, are not prefetched, and that nobody has asked for since they were issued: they end with their
    /// lifetime, unless somebody asks before.
    fn give_up(&mut self, now: SystemTime) {
        let mut given_up = false;
        for held in self.entries.values_mut() {
            let is_renewal = matches!(held.due, Due::Renewal(at) if at <= now);
            if is_renewal && held.asked.is_none() && !held.is_prefetched && !held.entry.is_used.load(Relaxed) {
                held.entry = Arc::new(WorkloadEntry {
                    wanted: false,
                    ..WorkloadEntry::clone(&held.entry)
                });
                held.due = Due::OnDemand;
                given_up = true;
            }
        }
        if given_up {
            self.publish();
        }
    }

    /// Notes that a workload asks for the SVIDs of these entries. Says whether one of them was not wanted before.
    pub fn want(&mut self, ids: &[Arc<str>]) -> bool {
        let mut is_new = false;
        for id in ids {
            if let Some(held) = self.entries.get_mut(id).filter(|held| !held.entry.wanted) {
                held.entry = Arc::new(WorkloadEntry {
                    wanted: true,
                    ..WorkloadEntry::clone(&held.entry)
                });
                held.due = Due::Now;
                is_new = true;
            }
        }
        if is_new {
            self.publish();
        }
        is_new
    }

    /// Puts issued SVIDs in place; `None` for those that could not be issued, which are tried again a little later.
    /// Entries that have changed meanwhile are passed over.
    pub(crate) fn install(&mut self, issued: Vec<Issued>, now: SystemTime, steady: Instant) {
        let mut changed = false;
        for (asked, material) in issued {
            let Some(held) = self.answered(&asked) else { continue };
            held.last = Attempt::Answered;
            match material {
                Some((x509, renew_at)) => {
                    held.entry.is_used.store(false, Relaxed);
                    held.entry = Arc::new(WorkloadEntry {
                        x509: Some(x509),
                        ..WorkloadEntry::clone(&held.entry)
                    });
                    held.due = Due::Renewal(renew_at);
                    changed = true;
                }
                None => held.due = held.retry(RETRY, now, steady),
            }
        }
        if changed {
            self.publish();
        }
    }

    /// The server did not answer: these entries are tried again after this pause, or sooner where their SVIDs end soon.
    pub fn put_off(&mut self, asked: &[Arc<WorkloadEntry>], pause: Duration, now: SystemTime, steady: Instant) {
        for asked in asked {
            if let Some(held) = self.answered(asked) {
                held.last = Attempt::Failed;
                held.due = held.retry(pause, now, steady);
            }
        }
    }

    /// The entry that was asked for, unless it has changed since.
    fn answered(&mut self, asked: &Arc<WorkloadEntry>) -> Option<&mut Held> {
        let held = self.entries.get_mut(&asked.entry_id)?;
        held.asked.take_if(|ours| Arc::ptr_eq(ours, asked)).map(|_| held)
    }

    /// Withdraws SVIDs that have expired.
    pub fn expire(&mut self, now: SystemTime) {
        let mut expired = 0_usize;
        for held in self.entries.values_mut() {
            if held.entry.x509.as_ref().is_some_and(|x509| x509.not_after <= now) {
                held.entry = Arc::new(WorkloadEntry {
                    x509: None,
                    ..WorkloadEntry::clone(&held.entry)
                });
                held.due = if held.entry.wanted { Due::Now } else { Due::OnDemand };
                expired = expired.saturating_add(1);
            }
        }
        if expired > 0 {
            tracing::warn!(expired, "SVIDs have expired and are no longer served");
            self.publish();
        }
    }

    /// How many entries have no SVID, though one was asked for.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.entries.values().filter(|held| held.is_missing()).count()
    }

    /// Whether the server has answered for each entry that is to have an SVID.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let answered = |held: &Held| held.last == Attempt::Answered || !held.entry.is_missing();
        self.entries.values().all(answered)
    }

    /// From now on what is not there is known not to exist.
    pub fn set_ready(&mut self) {
        let snapshot = self.publisher.snapshot();
        if !snapshot.ready {
            self.publisher.publish(Snapshot {
                ready: true,
                ..Snapshot::clone(&snapshot)
            });
        }
    }

    /// Drops everything at once: this machine may hold no identity any more.
    pub fn wipe(&mut self) {
        self.entries.clear();
        self.passed_over.clear();
        self.connection = None;
        self.publish();
    }

    /// What is served now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.snapshot()
    }

    fn publish(&self) {
        let last = self.publisher.snapshot();
        let mut served: Vec<Arc<WorkloadEntry>> = self.entries.values().map(|held| Arc::clone(&held.entry)).collect();
        served.sort_by(|a, b| (a.created_at, &a.entry_id).cmp(&(b.created_at, &b.entry_id)));
        let bundle: Bytes = self.bundle.x509_authorities.concat().into();
        let bundle_version = last.bundle_version.saturating_add(u64::from(bundle != last.bundle));
        let jwt_bundle = if last.jwt_bundle.jwt_authorities == self.bundle.jwt_authorities {
            Arc::clone(&last.jwt_bundle)
        } else {
            Arc::new(Bundle {
                x509_authorities: Vec::new(),
                ..self.bundle.clone()
            })
        };
        self.publisher.publish(Snapshot {
            version: 0,
            ready: last.ready,
            trust_domain: last.trust_domain.clone(),
            bundle,
            bundle_version,
            jwt_bundle,
            entries: served.into(),
        });
    }
}

/// An entry as the agent serves it; `None` for one that it does not: without id or selectors, or to be stored
/// elsewhere.
fn decode(entry: types::Entry) -> Option<WorkloadEntry> {
    if entry.store_svid || entry.selectors.is_empty() {
        return None;
    }
    let selectors = entry
        .selectors
        .iter()
        .map(|selector| Selector::new(&selector.r#type, &selector.value).ok())
        .collect::<Option<BTreeSet<Selector>>>()?;
    Some(WorkloadEntry {
        entry_id: Arc::from(entry.id),
        revision: entry.revision_number,
        selectors,
        spiffe_id: convert::spiffe_id(entry.spiffe_id)?,
        hint: Arc::from(entry.hint),
        created_at: entry.created_at,
        wanted: !entry
            .additional_attributes
            .unwrap_or_default()
            .disable_x509_svid_prefetch,
        is_used: Arc::default(),
        x509: None,
    })
}

/// The certificates of a concatenated chain.
fn split(chain: &[u8]) -> Vec<&[u8]> {
    let mut rest = chain;
    let mut certificates = Vec::new();
    while let Some((der, after)) = x509_parser::asn1_rs::Any::from_der(rest).ok().and_then(|(after, _)| {
        rest.get(..rest.len().saturating_sub(after.len()))
            .map(|der| (der, after))
    }) {
        certificates.push(der);
        rest = after;
    }
    certificates
}

#[cfg(test)]
mod tests;
