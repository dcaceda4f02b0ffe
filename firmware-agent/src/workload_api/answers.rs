//! The messages that are served, built once for everybody who matches the same entries.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed};
use std::time::SystemTime;

use bytes::{BufMut as _, Bytes};
use hallmark_api::workload::{JwtBundlesResponse, X509BundlesResponse, X509svid, X509svidResponse};
use hallmark_spiffe::Selector;
use hallmark_workload::UnixAttestor;
use prost::Message as _;
use zeroize::Zeroizing;

use super::cut::{CutAnswer, CutAnswers, MOST_BYTES};
use super::refusal::Refusal;
use crate::agent::{Demand, Token, WantedToken};
use crate::cache::{Cache, SecretBytes, Snapshot, WorkloadEntry};

/// What stands before an SVID in its message at most: tag and length.
pub(super) const BEFORE_AN_SVID: usize = 6;
/// How many different callers are remembered for one snapshot.
const MAX_REMEMBERED: usize = 1024;

/// A message, with its gRPC prefix, as it goes out on every stream that it answers.
#[derive(Debug)]
pub(super) struct Answer {
    framed: SecretBytes,
    /// The earliest notAfter in it.
    until: Option<SystemTime>,
    /// Where SVIDs are left out.
    cut: Option<CutAnswer>,
}

impl Answer {
    /// The octets to send.
    pub(super) fn framed(&self) -> Bytes {
        self.framed.share()
    }

    /// Whether this answer says the same as another one.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.framed() == other.framed()
    }

    /// Whether nothing in it has expired.
    fn is_fresh(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// FetchX509SVID.
    Svids,
    /// FetchX509Bundles.
    Bundles,
    /// FetchJWTBundles.
    JwtBundles,
}

/// Every answer built for the newest snapshot.
#[derive(Debug)]
pub(super) struct Answers {
    built: Mutex<Built>,
    demand: Demand,
    cuts: Arc<CutAnswers>,
}

#[derive(Debug, Default)]
struct Built {
    version: u64,
    /// Which entries, by place in the snapshot, a caller's selectors match.
    matches: HashMap<Arc<BTreeSet<Selector>>, Arc<[usize]>>,
    /// Whether an entry asks for a binary that a caller with these selectors could have.
    of_binary: HashMap<Arc<BTreeSet<Selector>>, bool>,
    svids: HashMap<Arc<[usize]>, Arc<Answer>>,
    bundles: Option<Arc<Answer>>,
    jwt_bundles: Option<Arc<Answer>>,
}

impl Answers {
    /// None yet; what is not in the cache is asked of `demand`.
    pub(super) fn new(demand: Demand) -> Self {
        Self {
            built: Mutex::default(),
            demand,
            cuts: Arc::default(),
        }
    }

    /// What is noted of answers that leave SVIDs out.
    pub(super) fn cuts(&self) -> Arc<CutAnswers> {
        Arc::clone(&self.cuts)
    }

    /// Waits until the server was asked which entries there are now.
    pub(super) async fn refreshed(&self) {
        self.demand.entries().await;
    }

    /// A JWT-SVID of one of a caller's entries.
    ///
    /// # Errors
    /// When the server does not give one.
    pub(super) async fn jwt_svid(&self, wanted: WantedToken, cache: &Cache) -> Result<Arc<Token>, Refusal> {
        Ok(self.demand.jwt_svid(wanted, cache).await?)
    }

    /// Whether an entry could match a caller with these facts once its binary is known.
    pub(super) fn ask_for_binary(&self, snapshot: &Snapshot, facts: &Arc<BTreeSet<Selector>>) -> bool {
        self.of(snapshot).ask_for_binary(snapshot, facts)
    }

    /// What was built for this snapshot.
    fn of(&self, snapshot: &Snapshot) -> MutexGuard<'_, Built> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if built.version != snapshot.version {
            *built = Built {
                version: snapshot.version,
                ..Built::default()
            };
        }
        built
    }

    /// The whole state of what a caller with these selectors may hold. SVIDs that nobody has asked for yet are asked for.
    ///
    /// # Errors
    /// When the agent has nothing yet, nothing matches, or nothing that matches is issued.
    pub(super) async fn find(
        &self,
        asked: Asked,
        snapshot: &Snapshot,
        facts: &Arc<BTreeSet<Selector>>,
    ) -> Result<Arc<Answer>, Refusal> {
        let (answer, unwanted) = self.look_up(asked, snapshot, facts)?;
        if !unwanted.is_empty() {
            self.demand.svids(unwanted).await;
        }
        answer
    }

    /// The entries that a caller with these selectors matches, oldest first.
    ///
    /// # Errors
    /// When the agent has nothing yet, or nothing matches.
    pub(super) fn entries(
        &self,
        snapshot: &Snapshot,
        facts: &Arc<BTreeSet<Selector>>,
    ) -> Result<Vec<Arc<WorkloadEntry>>, Refusal> {
        let matches = self.of(snapshot).matches(snapshot, facts)?;
        let entries = matches.iter().filter_map(|place| snapshot.entries.get(*place));
        Ok(entries.map(Arc::clone).collect())
    }

    /// The answer, and which entries' SVIDs nobody has asked for yet.
    #[expect(clippy::type_complexity, reason = "the inner result is the answer")]
    fn look_up(
        &self,
        asked: Asked,
        snapshot: &Snapshot,
        facts: &Arc<BTreeSet<Selector>>,
    ) -> Result<(Result<Arc<Answer>, Refusal>, Vec<Arc<str>>), Refusal> {
        let mut built = self.of(snapshot);
        let matches = built.matches(snapshot, facts)?;
        Ok(match asked {
            Asked::Svids => {
                let entries: Vec<_> = matches
                    .iter()
                    .filter_map(|place| snapshot.entries.get(*place))
                    .collect();
                entries.iter().for_each(|entry| entry.is_used.store(true, Relaxed));
                let unwanted = entries.into_iter().filter(|entry| !entry.wanted);
                let unwanted = unwanted.map(|entry| Arc::clone(&entry.entry_id)).collect();
                (built.svids(snapshot, matches, &self.cuts), unwanted)
            }
            Asked::Bundles => (Ok(built.bundles(snapshot)), Vec::new()),
            Asked::JwtBundles => (built.jwt_bundles(snapshot), Vec::new()),
        })
    }
}

impl Built {
    fn ask_for_binary(&mut self, snapshot: &Snapshot, facts: &Arc<BTreeSet<Selector>>) -> bool {
        if let Some(known) = self.of_binary.get(facts) {
            return *known;
        }
        let asks = snapshot.entries.iter().any(|entry| {
            let selectors = || entry.selectors.iter();
            selectors().any(UnixAttestor::is_of_binary)
                && selectors().all(|selector| UnixAttestor::is_of_binary(selector) || facts.contains(selector))
        });
        if self.of_binary.len() >= MAX_REMEMBERED {
            self.of_binary.clear();
        }
        self.of_binary.insert(Arc::clone(facts), asks);
        asks
    }

    /// The places of the entries that match; at least one.
    fn matches(&mut self, snapshot: &Snapshot, facts: &Arc<BTreeSet<Selector>>) -> Result<Arc<[usize]>, Refusal> {
        if !snapshot.ready || snapshot.bundle.is_empty() {
            return Err(Refusal::NotReady);
        }
        let found = self.matching(snapshot, facts);
        if found.is_empty() {
            return Err(Refusal::NoIdentity);
        }
        Ok(found)
    }

    fn matching(&mut self, snapshot: &Snapshot, facts: &Arc<BTreeSet<Selector>>) -> Arc<[usize]> {
        if let Some(known) = self.matches.get(facts) {
            return Arc::clone(known);
        }
        let found: Arc<[usize]> = (snapshot.entries.iter().enumerate())
            .filter(|(_, entry)| entry.selectors.is_subset(facts))
            .map(|(place, _)| place)
            .collect();
        if self.matches.len() >= MAX_REMEMBERED {
            self.matches.clear();
            self.svids.clear();
        }
        self.matches.insert(Arc::clone(facts), Arc::clone(&found));
        found
    }

    fn svids(&mut self, snapshot: &Snapshot, matches: Arc<[usize]>, cuts: &CutAnswers) -> Result<Arc<Answer>, Refusal> {
        let now = SystemTime::now();
        if let Some(known) = self.svids.get(&matches).filter(|answer| answer.is_fresh(now)) {
            return Ok(Arc::clone(known));
        }
        let entries = matches.iter().filter_map(|place| snapshot.entries.get(*place));
        let answer = Arc::new(svid_answer(snapshot, entries, now).ok_or(Refusal::NotIssued)?);
        if let Some(cut) = answer.cut {
            cuts.note(cut);
        }
        self.svids.insert(matches, Arc::clone(&answer));
        Ok(answer)
    }

    fn bundles(&mut self, snapshot: &Snapshot) -> Arc<Answer> {
        let build = || Arc::new(bundle_answer(snapshot));
        Arc::clone(self.bundles.get_or_insert_with(build))
    }

    fn jwt_bundles(&mut self, snapshot: &Snapshot) -> Result<Arc<Answer>, Refusal> {
        if let Some(known) = &self.jwt_bundles {
            return Ok(Arc::clone(known));
        }
        // The keys were checked when they came.
        let answer = Arc::new(jwt_bundle_answer(snapshot).ok_or(Refusal::NotReady)?);
        self.jwt_bundles = Some(Arc::clone(&answer));
        Ok(answer)
    }
}

/// The X509SVIDResponse of these entries, in their order, as far as they fit a message; `None` if none has a valid SVID.
fn svid_answer<'a>(
    snapshot: &Snapshot,
    entries: impl Iterator<Item = &'a Arc<WorkloadEntry>>,
    now: SystemTime,
) -> Option<Answer> {
    let valid = entries.filter_map(|entry| {
        let x509 = entry.x509.as_ref().filter(|x509| now < x509.not_after)?;
        Some((entry, x509))
    });
    let mut hints = BTreeSet::new();
    let mut until = None;
    let mut svids = Vec::new();
    let (mut bytes, mut left_out) = (0_usize, 0_usize);
    for (entry, x509) in valid {
        if left_out > 0 {
            left_out = left_out.saturating_add(1);
            continue;
        }
        let svid = X509svid {
            spiffe_id: entry.spiffe_id.to_string(),
            x509_svid: x509.chain.clone(),
            x509_svid_key: x509.key.share(),
            bundle: snapshot.bundle.clone(),
            hint: told_hint(entry, &mut hints).to_owned(),
        };
        bytes = bytes.saturating_add(svid.encoded_len() + BEFORE_AN_SVID);
        // The first one is the workload's default identity, whatever comes after it.
        if bytes > MOST_BYTES && !svids.is_empty() {
            left_out = 1;
            continue;
        }
        until = until.into_iter().chain([x509.not_after]).min();
        svids.push(svid);
    }
    if svids.is_empty() {
        return None;
    }
    let all = svids.len().saturating_add(left_out);
    // Federated trust domains have no place in the snapshot yet; theirs is `federated_bundles`.
    let response = X509svidResponse {
        svids,
        crl: Vec::new(),
        federated_bundles: HashMap::new(),
    };
    Some(Answer {
        framed: framed(&response),
        until,
        cut: (left_out > 0).then_some(CutAnswer { all, left_out }),
    })
}

/// A hint is unique within a message: the oldest entry keeps it, a younger one goes without (Workload
/// API, sections 5.2.1 and 6.2.1).
pub(super) fn unique_hint<'a>(entry: &'a WorkloadEntry, taken: &mut BTreeSet<&'a str>) -> &'a str {
    let hint: &str = &entry.hint;
    if hint.is_empty() || taken.insert(hint) {
        hint
    } else {
        ""
    }
}

/// The same, and a line in the log for the entry that goes without.
fn told_hint<'a>(entry: &'a WorkloadEntry, taken: &mut BTreeSet<&'a str>) -> &'a str {
    let hint = unique_hint(entry, taken);
    if hint.len() != entry.hint.len() {
        tracing::warn!(
            hint = &*entry.hint,
            entry = &*entry.entry_id,
            "an older entry of this workload has the same hint"
        );
    }
    hint
}

fn bundle_answer(snapshot: &Snapshot) -> Answer {
    let own = (snapshot.trust_domain.id().to_string(), snapshot.bundle.clone());
    let response = X509BundlesResponse {
        crl: Vec::new(),
        bundles: HashMap::from([own]),
    };
    Answer {
        framed: framed(&response),
        until: None,
        cut: None,
    }
}

/// The JWT keys alone, as a JWK Set (WLA-36); `None` where they have no such form.
fn jwt_bundle_answer(snapshot: &Snapshot) -> Option<Answer> {
    let keys = snapshot.jwt_bundle.to_jwt_jwks().ok()?;
    let own = (snapshot.trust_domain.id().to_string(), keys.into());
    let response = JwtBundlesResponse {
        bundles: HashMap::from([own]),
    };
    Some(Answer {
        framed: framed(&response),
        until: None,
        cut: None,
    })
}

/// The message behind its prefix: not compressed, length. It holds keys, so its memory is wiped.
pub(super) fn framed(message: &impl prost::Message) -> SecretBytes {
    let length = message.encoded_len();
    let mut out = Zeroizing::new(Vec::with_capacity(5 + length));
    out.put_u8(0);
    // 4 GiB of SVIDs do not fit into any client's limits; the length is honest below that.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A vector grows, so there is no way for this to fail.
    message.encode(&mut *out).ok();
    SecretBytes::new(out)
}
