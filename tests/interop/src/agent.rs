//! The agent's Workload API over a cache that the test fills.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use hallmark_agent::agent::Demand;
use hallmark_agent::cache::{Publisher, Snapshot, WorkloadEntry, channel};
use hallmark_agent::workload_api::{Bounds, Listener, WorkloadApi};
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_workload::{UnixAttestor, UnixConfig, Users};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::Authority;

/// The trust domain of every agent.
const TRUST_DOMAIN: &str = "example.org";

/// A running Workload API of trust domain `example.org`. It stops when dropped.
pub struct WorkloadAgent {
    authorities: Vec<Authority>,
    publisher: Publisher,
    folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl WorkloadAgent {
    /// Starts it, on the current tokio runtime, not ready yet.
    ///
    /// # Errors
    /// When its socket cannot be made.
    pub fn start() -> Result<Self> {
        Self::start_with(UnixConfig::default(), Users::of_this_machine(), Bounds::default())
    }

    /// The same, with selectors of callers' binaries.
    ///
    /// # Errors
    /// When its socket cannot be made.
    pub fn start_with_binaries() -> Result<Self> {
        let both = UnixConfig {
            path: true,
            sha256: true,
        };
        Self::start_with(both, Users::of_this_machine(), Bounds::default())
    }

    /// The same, with other selectors, users and bounds.
    ///
    /// # Errors
    /// When its socket cannot be made.
    pub fn start_with(unix: UnixConfig, users: Users, bounds: Bounds) -> Result<Self> {
        let (publisher, cache) = channel(Snapshot::empty(TrustDomain::parse(TRUST_DOMAIN)?));
        let folder = tempfile::tempdir()?;
        let attestor = UnixAttestor::new(unix);
        let listener = Listener::bind_for(&folder.path().join("workload.sock"), &attestor)?;
        let api = WorkloadApi::new(cache, Demand::none(), attestor, users, bounds);
        let (stop, stopped) = oneshot::channel::<()>();
        Handle::current().spawn(api.serve(listener, async {
            stopped.await.ok();
        }));
        Ok(Self {
            authorities: vec![Authority::new(TRUST_DOMAIN)?],
            publisher,
            folder,
            _stop: stop,
        })
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("workload.sock")
    }

    /// The value of `SPIFFE_ENDPOINT_SOCKET`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A folder for what a test needs beside the socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds another root to the bundle, as during a rotation.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_root(&mut self) -> Result<()> {
        self.authorities.push(Authority::new(TRUST_DOMAIN)?);
        Ok(())
    }

    /// An entry for this user, named `spiffe://example.org/<name>`, with a fresh SVID and its name as hint.
    ///
    /// # Errors
    /// When the name fits no SPIFFE ID.
    pub fn entry(&self, name: &str, created_at: i64) -> Result<WorkloadEntry> {
        let id = format!("spiffe://{TRUST_DOMAIN}/{name}");
        let uid = rustix::process::geteuid().as_raw();
        let authority = self
            .authorities
            .first()
            .ok_or_else(|| anyhow::anyhow!("no authority"))?;
        Ok(WorkloadEntry {
            is_used: Arc::default(),
            entry_id: name.into(),
            revision: 1,
            selectors: BTreeSet::from([Selector::parse(&format!("unix:uid:{uid}"))?]),
            spiffe_id: SpiffeId::parse(&id)?,
            hint: name.into(),
            created_at,
            wanted: true,
            x509: Some(authority.issue(&id)?),
        })
    }

    /// As [`WorkloadAgent::entry`], for whoever runs this program beside.
    ///
    /// # Errors
    /// When the name fits no SPIFFE ID, or the program is not there.
    pub fn entry_for(&self, name: &str, program: &Path) -> Result<WorkloadEntry> {
        let mut entry = self.entry(name, 1)?;
        let program = program.canonicalize()?;
        let selector = format!("unix:path:{}", program.display());
        entry.selectors.insert(Selector::parse(&selector)?);
        Ok(entry)
    }

    /// Serves these entries, oldest first, from now on.
    ///
    /// # Errors
    /// Never in practice: the trust domain's name is a constant.
    pub fn publish(&self, entries: impl IntoIterator<Item = WorkloadEntry>) -> Result<()> {
        self.publisher.publish(Snapshot {
            ready: true,
            bundle: self.bundle(),
            entries: entries.into_iter().map(Arc::new).collect(),
            ..Snapshot::empty(TrustDomain::parse(TRUST_DOMAIN)?)
        });
        Ok(())
    }

    fn bundle(&self) -> Bytes {
        let mut bundle = BytesMut::new();
        for authority in &self.authorities {
            bundle.extend_from_slice(&authority.certificate());
        }
        bundle.freeze()
    }
}
