//! The vendors' revocation lists: read again when their files change, and then held against every node that is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallmark_reason::Report;
use hallmark_state::Node;
use hallmark_store::Store;
use hallmark_verify::{Revocation, Trust, is_revoked};

use super::{Appraiser, PolicyFileError, RuleChange};
use crate::{
    compute::Compute,
    config::{ConfigError, crl_files, revocation},
    journal::UnreadableCertificate,
};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// Certificates that are looked at between two pauses.
const PAGE: u32 = 256;

/// The codes of nodes that lost trust by a list, or since none can be held against their certificates.
const REVOKED: [&str; 2] = ["HM-POLICY-0010", "HM-POLICY-0012"];

/// What tells that a file was replaced: its name, length and time.
type Stamp = (PathBuf, u64, Option<SystemTime>);

/// Reads the lists again whenever their files change. What is revoked then loses trust at once; the last good lists stay
/// while new ones cannot be used.
pub async fn keep_reading(appraiser: Arc<Appraiser>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut told) = (Vec::new(), String::new());
    loop {
        tick.tick().await;
        let paths = appraiser.crls.load_full();
        let now = stamps(&paths);
        if now == seen {
            continue;
        }
        match appraiser.read(paths.to_vec()).await {
            Ok(()) => {
                seen = now;
                told.clear();
            }
            Err(error) => {
                // Each fault once, not every five seconds.
                if told != error {
                    tracing::error!("the revocation lists were not taken, the ones before stay: {error}");
                }
                told = error;
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let files = crl_files(paths).unwrap_or_default();
    let stamp = |path: PathBuf| {
        let data = std::fs::metadata(&path);
        let (len, time) = data.map_or((0, None), |data| (data.len(), data.modified().ok()));
        (path, len, time)
    };
    files.into_iter().map(stamp).collect()
}

impl Appraiser {
    async fn read(&self, paths: Vec<PathBuf>) -> Result<(), String> {
        let held = Arc::clone(&self.journal.state().trust().revocation);
        let (required, grace) = (held.required, held.grace);
        let reading = tokio::task::spawn_blocking(move || revocation(&paths, required, grace));
        let read: Result<(Revocation, _), ConfigError> = reading.await.map_err(|error| error.to_string())?;
        let (mut lists, _) = read.map_err(|error| Report(&error).to_string())?;
        self.follow(&mut lists, &held);
        let count = lists.len();
        let lists = Arc::new(lists);
        let put = self.set_trust(|trust| Trust {
            revocation: Arc::clone(&lists),
            ..trust.clone()
        });
        put.await.map_err(|error| Report(&error).to_string())?;
        let applied = self.hold_against_nodes().await;
        let revoked = applied.map_err(|error| Report(&error).to_string())?;
        tracing::info!(lists = count, revoked, "revocation lists read");
        Ok(())
    }

    /// Lets lists that were read follow those at hand: of one vendor the newer one counts.
    pub fn follow(&self, lists: &mut Revocation, held: &Revocation) {
        for issuer in lists.keep_newer(held) {
            tracing::warn!(issuer, "an older revocation list was offered; the newer one stays");
        }
        for issuer in lists.stale(self.journal.clock().now()) {
            tracing::warn!(issuer, "CRL is past nextUpdate; what it revokes stays revoked");
        }
    }

    /// Holds the lists at hand against every node that is known; gives how many they revoke.
    ///
    /// # Errors
    /// The store's.
    pub async fn hold_against_nodes(&self) -> Result<usize, PolicyFileError> {
        let (trust, untrusted) = {
            let state = self.journal.state();
            (state.trust(), revoked_before(state.nodes()))
        };
        let now = self.journal.clock().now();
        let held = revoked(self.journal.store(), untrusted, &trust, now, &self.compute).await?;
        let (count, unreadable) = (held.revoked.len(), held.unreadable_eks());
        self.journal.unreadable_certificates().replace(&held.unreadable);
        let change = RuleChange::Revoked {
            revoked: held.revoked,
            unreadable,
        };
        self.change_rules(&change).await?;
        self.judge_behind("the revocation lists").await?;
        Ok(count)
    }
}

/// The EKs of nodes that lost their trust by a list.
pub fn revoked_before<'a>(nodes: impl IntoIterator<Item = &'a Arc<Node>>) -> Vec<[u8; 32]> {
    let revoked = nodes
        .into_iter()
        .filter(|node| REVOKED.contains(&&*node.untrusted_reason));
    revoked.filter_map(|node| node.ek_sha256).collect()
}

/// What the revocation lists say of the certificates that are kept.
#[derive(Debug, Default)]
pub struct HeldAgainst {
    /// The EKs whose certificates the lists revoke, in hex.
    pub revoked: BTreeSet<String>,
    /// The certificates that do not read back, where there are lists: nobody can say that their EKs are not revoked.
    pub unreadable: Vec<UnreadableCertificate>,
}

impl HeldAgainst {
    /// The EKs whose certificates do not read back, and what is damaged.
    #[must_use]
    pub fn unreadable_eks(&self) -> BTreeMap<String, String> {
        let unreadable = self.unreadable.iter();
        unreadable.map(|it| (it.ek.clone(), it.damage.clone())).collect()
    }
}

/// The EKs whose kept certificates the lists of `trust` revoke. Those of `before`, whose nodes lost their trust by a
/// list before certificates were kept, do not come back by having shown none since. A certificate that does not read back
/// costs its node alone the trust.
///
/// # Errors
/// The store's.
pub async fn revoked(
    store: &dyn Store,
    before: Vec<[u8; 32]>,
    trust: &Arc<Trust>,
    now: SystemTime,
    compute: &Compute,
) -> Result<HeldAgainst, PolicyFileError> {
    let mut found = HeldAgainst::default();
    for ek in before {
        if store.ek_certificate(&ek).await?.is_none() {
            found.revoked.insert(hex::encode(ek));
        }
    }
    if trust.revocation.is_empty() {
        return Ok(found);
    }
    let mut after: Option<[u8; 32]> = None;
    loop {
        let page = store.ek_certificates(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.ek_sha256);
        let trust = Arc::clone(trust);
        let work = move || {
            let mut held = HeldAgainst::default();
            for kept in page {
                match UnreadableCertificate::read(&kept) {
                    Ok(chain) if is_revoked(&chain, &trust, now) => {
                        held.revoked.insert(hex::encode(kept.ek_sha256));
                    }
                    Ok(_) => {}
                    Err(error) => held.unreadable.push(error),
                }
            }
            held
        };
        let held = compute.run(work).await.map_err(|_| PolicyFileError::Stopping)?;
        found.revoked.extend(held.revoked);
        found.unreadable.extend(held.unreadable);
    }
}

impl Appraiser {
    /// Reads the lists from these files and folders from now on.
    pub(crate) fn set_crls(&self, paths: Vec<PathBuf>) {
        self.crls.store(Arc::new(paths));
    }

    /// Holds the lists against every node again if an EK has another certificate, and that changes whether it is revoked.
    pub(crate) fn follow_certificate(self: &Arc<Self>, ek: &[u8; 32], is_revoked: bool) {
        let is_news = {
            let state = self.journal.state();
            let (set, ek_hex) = (&state.rules().set, hex::encode(ek));
            let was_refused = set.revoked.contains(&ek_hex) || set.unreadable.contains_key(&ek_hex);
            state.node_of_ek(ek).is_some() && was_refused != is_revoked
        };
        if is_news {
            let appraiser = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = appraiser.hold_against_nodes().await {
                    tracing::error!(%error, "the nodes could not be held against the revocation lists");
                }
            });
        }
    }
}
