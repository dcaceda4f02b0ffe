//! The parts of a server, one after the other.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use hallmark_host::{Foreign, Purpose, foreign, make_folder};
use hallmark_hsm::{HsmError, KeyStore};
use hallmark_pkcs11::{Pkcs11Config, Pkcs11KeyStore};
use hallmark_reason::ReasonCode;
use hallmark_state::{
    Change, Configured, Decision, Expect, Filter, Outcome, RecordKind, Registry, Snapshot, State, Total, decide,
};
use hallmark_store::{SqliteOptions, SqliteStore, Store, StoreError};
use rustix::fs::{FsWord, statfs};
use tokio::task::spawn_blocking;

use super::wiring::{Foundations, Server, wire};
use crate::{
    appraise::{PolicyFileError, in_force, manifest, revocation},
    authority::{self, Above, Keeper},
    clock::Clock,
    compute::Compute,
    config::{Config, Lifetimes},
    errors::StartError,
    journal::{DamagedNodes, EntriesLeftOut, Journal},
    metrics::{Counters, Metrics, SharedCount, TimedKeys},
};

/// Makes the data folder where it is missing; what is in it is the server's alone.
pub(crate) fn data_folder(path: &Path) -> Result<(), StartError> {
    unless_foreign(path, make_folder(path, 0o700, Purpose::Files))
}

/// Refuses a data folder in which others than the server's user and root can put a store of theirs.
pub(crate) fn data_is_ours(path: &Path) -> Result<(), StartError> {
    unless_foreign(path, foreign(path, Purpose::Files))
}

/// Refuses a store on another machine's disk: its write-ahead log takes memory that all who open it share, and locks and flushes that
/// are kept.
pub(crate) fn store_is_local(store: &Path) -> Result<(), StartError> {
    let folder = store.parent().unwrap_or(store);
    // One that is not there is told when it is made.
    let kind = statfs(folder).ok().and_then(|found| network(found.f_type));
    kind.map_or(Ok(()), |kind| {
        Err(StartError::Network {
            path: folder.to_owned(),
            kind,
        })
    })
}

/// The network file systems' magic numbers (statfs(2)).
const fn network(kind: FsWord) -> Option<&'static str> {
    match kind {
        0x6969 => Some("NFS"),
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9p"),
        _ => None,
    }
}

fn unless_foreign(path: &Path, looked: io::Result<Option<Foreign>>) -> Result<(), StartError> {
    let looked = looked.map_err(|error| StartError::DataFolder {
        path: path.to_owned(),
        cause: error.to_string(),
    })?;
    looked.map_or(Ok(()), |Foreign { place, why }| {
        Err(StartError::DataExposed {
            path: path.to_owned(),
            exposed: format!("{}: {why}", place.display()),
        })
    })
}

/// Takes as many open files as the system allows: each connection is one.
pub(super) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Opens the store, off the async workers.
pub(crate) async fn store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let options = SqliteOptions::new(&config.store, config.trust_domain.clone());
    let opened = spawn_blocking(move || SqliteStore::open(&options)).await;
    let store = opened.map_err(|_| StoreError::Closed)??;
    Ok(Arc::new(store))
}

/// Refuses a store of an older schema whose authority is not the token's, before it is brought to the present one.
pub(super) async fn require_older_usable(config: &Config, keys: &dyn KeyStore, now: i64) -> Result<(), StartError> {
    let options = SqliteOptions::new(&config.store, config.trust_domain.clone());
    let older = spawn_blocking(move || SqliteStore::older(&options)).await;
    // One that cannot be read is told by its opening, which meets the same and knows more of it.
    if let Ok(Some(older)) = older.map_err(|_| StoreError::Closed)? {
        authority::require_usable(&older, keys, &config.trust_domain, &config.store, config.key_kind, now).await?;
    }
    Ok(())
}

/// How the token is reached.
pub(crate) fn pkcs11(config: &Config) -> Pkcs11Config {
    let hsm = &config.hsm;
    Pkcs11Config {
        require_local: hsm.require_local,
        ..Pkcs11Config::new(&hsm.module, hsm.token.clone(), hsm.pin.clone(), hsm.sessions)
    }
}

/// Opens the token, off the async workers.
pub(crate) async fn keys(config: &Config) -> Result<Arc<dyn KeyStore>, StartError> {
    let settings = pkcs11(config);
    let opened = spawn_blocking(move || Pkcs11KeyStore::open(settings)).await;
    let lost = |error: tokio::task::JoinError| StartError::Runtime {
        what: "opening the token",
        cause: error.to_string(),
    };
    let keys = opened
        .map_err(lost)?
        .map_err(|error: HsmError| StartError::Hsm(error))?;
    Ok(Arc::new(keys))
}

/// Store and token, opened by a command of the server's program. Nothing else opens the store meanwhile, so no server runs.
pub(crate) struct Opened {
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyStore>,
    clock: Clock,
    /// What the store holds.
    pub(crate) loaded: Snapshot,
}

impl Opened {
    /// Opens both.
    pub(crate) async fn open(config: &Config) -> Result<Self, StartError> {
        let keys = keys(config).await?;
        let store = store(config).await?;
        Ok(Self {
            loaded: store.load().await?,
            store,
            keys,
            clock: Clock::system(),
        })
    }

    /// Who keeps the authority there.
    pub(crate) fn keeper<'a>(&'a self, config: &'a Config) -> Keeper<'a> {
        Keeper {
            store: &*self.store,
            store_path: &config.store,
            keys: &*self.keys,
            trust_domain: &config.trust_domain,
            clock: &self.clock,
            // No command has it sign.
            upstream: None,
        }
    }
}

/// Puts the parts together, with everything that the store remembers.
pub(super) async fn server(
    config: Config,
    address: SocketAddr,
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyStore>,
    clock: Clock,
) -> Result<Server, StartError> {
    let loaded = store.load().await?;
    if loaded.interrupted > 0 {
        tracing::warn!(
            code = %hallmark_store::INTERRUPTED,
            count = loaded.interrupted,
            "SVIDs have an intent on record and no outcome: the server stopped, or its store failed, between the two"
        );
    }
    let upstream = config.upstream.as_ref().map(|it| it.open(&config.trust_domain));
    let keeper = Keeper {
        store: &*store,
        store_path: &config.store,
        keys: &*keys,
        trust_domain: &config.trust_domain,
        clock: &clock,
        upstream: upstream.as_deref(),
    };
    let authority = keeper
        .keep(&loaded, config.key_kind, config.lifetimes.authority)
        .await?;
    // Making the authority may have written to the store.
    let loaded = if store.statistics().revision == loaded.revision {
        loaded
    } else {
        store.load().await?
    };
    warn_of_gaps(&config, loaded.inventory.is_empty());
    let compute = Compute::per_processor();
    let metrics = Arc::new(Metrics::new(counters(&loaded.totals)));
    let journal = Arc::new(journal(&config, loaded, &store, &clock, &compute).await?);
    warn_of_entries(&journal);
    warn_of_nodes(&journal);
    warn_of_lifetimes(journal.state().entries(), config.lifetimes.x509_svid.max);
    let keys = Arc::new(TimedKeys::new(keys, metrics.signing.clone()));
    let foundations = Foundations {
        journal,
        keys,
        authority: Arc::new(ArcSwap::from_pointee(authority)),
        compute,
        metrics,
        above: Arc::new(Above::new(upstream)),
    };
    Ok(wire(config, address.to_string(), foundations))
}

/// The state, as the store has it, under the configuration's rules and trust. Where these rules are others than those that
/// the nodes were judged by, that is the first record.
async fn journal(
    config: &Config,
    loaded: Snapshot,
    store: &Arc<dyn Store>,
    clock: &Clock,
    compute: &Compute,
) -> Result<Journal, StartError> {
    let trust = Arc::new(config.tpm2.trust.clone());
    let mut set = in_force(&loaded.policy_files, config.tpm2.rules.clone())?;
    let before = revocation::revoked_before(&loaded.nodes);
    let held = revocation::revoked(&**store, before, &trust, clock.now(), compute).await;
    let held = held.map_err(|error| match error {
        PolicyFileError::Store(error) => StartError::from(error),
        other => StartError::Runtime {
            what: "the revocation lists",
            cause: other.to_string(),
        },
    })?;
    set.unreadable = held.unreadable_eks();
    set.revoked = held.revoked;
    let manifest = manifest(&loaded.policy_files, &set);
    let set = Arc::new(set);
    let configured = Configured {
        trust,
        set: Arc::clone(&set),
    };
    let state = State::new(&config.trust_domain, loaded, configured);
    let is_news = state.rules().digest != manifest.digest();
    let expect = Expect {
        revision: state.revision(),
        ..Expect::default()
    };
    let journal = Journal::new(state, Arc::clone(store), clock.clone());
    journal.unreadable_certificates().replace(&held.unreadable);
    if is_news {
        let decision = Decision {
            expect,
            changes: vec![Change::put_rules(set, manifest)],
            events: Vec::new(),
        };
        journal.commit("server", decision).await?;
    }
    Ok(journal)
}

fn counters(totals: &[Total]) -> Counters {
    let count = |kind, outcome| {
        let matching = totals
            .iter()
            .filter(|total| total.kind == kind && total.outcome == outcome);
        SharedCount::starting_at(matching.map(|total| total.count).sum())
    };
    Counters {
        accepted: count(RecordKind::Verdict, Outcome::Accepted),
        refused: count(RecordKind::Verdict, Outcome::Refused),
        issued: count(RecordKind::SvidOutcome, Outcome::Issued),
    }
}

/// Entries that grant nothing, by what is stored of them.
fn warn_of_entries(journal: &Journal) {
    for (id, reason) in journal.state().left_out() {
        let one = EntriesLeftOut {
            count: 1,
            first: id.clone(),
            reason: reason.clone(),
        };
        tracing::error!(code = %hallmark_reason::Coded::code(&one), id, reason, "{one}");
    }
}

/// Nodes that count as banned, since nobody knows from their rows whether they were.
fn warn_of_nodes(journal: &Journal) {
    for (id, reason) in journal.state().damaged_nodes() {
        let one = DamagedNodes {
            count: 1,
            first: id.clone(),
            reason: reason.clone(),
        };
        tracing::error!(code = %hallmark_reason::Coded::code(&one), node = %id, reason, "{one}");
    }
}

/// Entries from before the maximum was set, or lowered: they go on, with shorter SVIDs.
fn warn_of_lifetimes(registry: &Registry, max: std::time::Duration) {
    let all = registry.list(&Filter::default(), 0, None).entries;
    let above: Vec<_> = all
        .iter()
        .filter_map(|entry| entry.require_ttl_within(max, None).err().map(|error| (entry, error)))
        .collect();
    if let Some((entry, error)) = above.first() {
        tracing::warn!(
            code = %hallmark_reason::Coded::code(error),
            count = above.len(),
            first = %entry.id,
            asked = entry.x509_svid_ttl.as_secs(),
            max = max.as_secs(),
            "entries name lifetimes above the maximum: their SVIDs are cut short to it"
        );
    }
}

/// What is allowed and still worth a word at the start.
fn warn_of_gaps(config: &Config, no_inventory: bool) {
    let tpm2 = &config.tpm2;
    if tpm2.trust.roots.is_empty() && tpm2.trust.inventory.is_empty() && no_inventory {
        tracing::warn!("neither ek_roots nor an inventory names a TPM: no node can attest");
    }
    if tpm2.rules.allowed_classes.contains(&hallmark_node::TpmClass::Simulator) {
        tracing::warn!("simulated TPMs are allowed: their keys can be copied; for laboratories only");
    }
    warn_of_unfit(&config.lifetimes);
}

/// SVIDs that live longer than an authority has left when the next one signs.
fn warn_of_unfit(lifetimes: &Lifetimes) {
    let life = i64::try_from(lifetimes.authority.as_secs()).unwrap_or(i64::MAX);
    let fits = decide::activates_before(life);
    let svid = lifetimes.usual().as_secs();
    if i64::try_from(svid).unwrap_or(i64::MAX) > fits {
        tracing::warn!(
            code = %ReasonCode::new("HM-SRV-0042"),
            svid,
            fits,
            "SVIDs live longer than an authority has left when the next one signs: before that they are cut short"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_on_another_machines_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        store_is_local(&folder.path().join("server.db")).expect("the control: a folder of this machine");
        // As linux/magic.h has them: NFS, SMB, CIFS, SMB2, 9p; and ext4, xfs, tmpfs, overlayfs.
        for kind in [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997] {
            assert!(network(kind).is_some(), "{kind:x}");
        }
        for kind in [0xef53, 0x5846_5342, 0x0102_1994, 0x794c_7630] {
            assert_eq!(network(kind), None, "{kind:x}");
        }
    }
}
