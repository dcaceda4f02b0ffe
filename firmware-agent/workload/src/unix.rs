//! The `unix` attestor: user, groups and, on request, the binary.

use std::collections::BTreeSet;

use hallmark_spiffe::Selector;

use crate::accounts::Accounts;
use crate::executable::{Digests, Executable, MAX_BINARY};
use crate::process::Status;
use crate::{Peer, PeerError};

/// The selectors' type.
const KIND: &str = "unix";

/// Which selectors beyond user and groups are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnixConfig {
    /// Make `unix:path:/absolute/path` selectors.
    pub path: bool,
    /// Make `unix:sha256:<hex>` selectors.
    pub sha256: bool,
}

/// Makes `unix:uid`, `unix:gid`, `unix:user`, `unix:group`, `unix:supplementary_gid` and
/// `unix:supplementary_group` selectors, and by configuration `unix:path` and `unix:sha256`.
#[derive(Debug)]
pub struct UnixAttestor {
    config: UnixConfig,
    users: Accounts,
    groups: Accounts,
    digests: Digests,
}

impl UnixAttestor {
    /// An attestor over the machine's `/etc/passwd` and `/etc/group`.
    #[must_use]
    pub fn new(config: UnixConfig) -> Self {
        Self {
            config,
            users: Accounts::new("/etc/passwd"),
            groups: Accounts::new("/etc/group"),
            digests: Digests::default(),
        }
    }

    /// Whether [`UnixAttestor::attest`] may read whole binaries: then it belongs on a thread that may
    /// block.
    #[must_use]
    pub fn reads_binaries(&self) -> bool {
        self.config.path || self.config.sha256
    }

    /// The facts about a peer. A fact that cannot be told (an account without a name, a binary over
    /// 256 MiB) has no selector: what is missing denies, it never grants.
    ///
    /// # Errors
    /// When the process is gone, its `/proc` files cannot be read, or its credentials are no longer
    /// those of its connection. The last also stops a process that connects and then runs a setuid
    /// program, whose binary and groups it would borrow.
    pub fn attest(&self, peer: &Peer) -> Result<BTreeSet<Selector>, PeerError> {
        let facts = self.facts(peer);
        // The number could have been another process's while the facts were read only if the peer had
        // ended before, so its end outweighs whatever was read, and whatever failed.
        peer.assure_alive()?;
        facts
    }

    fn facts(&self, peer: &Peer) -> Result<BTreeSet<Selector>, PeerError> {
        let status = Status::read(peer.pid()).map_err(|error| unreadable(peer, "the status", &error))?;
        if (status.uid, status.gid) != (peer.uid(), peer.gid()) {
            return Err(PeerError::CredentialsChanged {
                pid: peer.pid(),
                connected: format!("{}:{}", peer.uid(), peer.gid()),
                now: format!("{}:{}", status.uid, status.gid),
            });
        }
        let mut selectors = Selectors::default();
        let (users, groups) = (self.users.names(), self.groups.names());
        selectors.add("uid", &status.uid.to_string());
        selectors.add("gid", &status.gid.to_string());
        selectors.add_named("user", users.get(&status.uid).map(AsRef::as_ref));
        selectors.add_named("group", groups.get(&status.gid).map(AsRef::as_ref));
        for group in &status.groups {
            selectors.add("supplementary_gid", &group.to_string());
            selectors.add_named("supplementary_group", groups.get(group).map(AsRef::as_ref));
        }
        if self.reads_binaries() {
            self.binary(peer, &mut selectors);
        }
        Ok(selectors.0)
    }

    fn binary(&self, peer: &Peer, selectors: &mut Selectors) {
        let mut executable = match Executable::of(peer.pid()) {
            Ok(executable) => executable,
            Err(error) => {
                tracing::warn!(pid = peer.pid(), %error, "the caller's binary cannot be opened");
                return;
            }
        };
        // Whoever connects and then runs another program would be attested as that program, with a connection that
        // others may hold.
        if !peer.binary().is_some_and(|binary| executable.is(binary)) {
            tracing::info!(
                pid = peer.pid(),
                "the caller runs another binary than when it connected"
            );
            return;
        }
        if self.config.path {
            match executable.path().and_then(|path| path.to_str()) {
                Some(path) => selectors.add("path", path),
                None => tracing::debug!(pid = peer.pid(), "the caller's binary has no path here"),
            }
        }
        if self.config.sha256 {
            match self.digests.sha256(&mut executable, MAX_BINARY) {
                Ok(digest) => selectors.add("sha256", &hex::encode(digest)),
                Err(error) => {
                    tracing::warn!(pid = peer.pid(), %error, "the caller's binary cannot be hashed")
                }
            }
        }
    }
}

fn unreadable(peer: &Peer, what: &'static str, error: &std::io::Error) -> PeerError {
    PeerError::Facts {
        pid: peer.pid(),
        what,
        reason: error.to_string(),
    }
}

#[derive(Default)]
struct Selectors(BTreeSet<Selector>);

impl Selectors {
    fn add(&mut self, label: &str, value: &str) {
        match Selector::new(KIND, &format!("{label}:{value}")) {
            Ok(selector) => {
                self.0.insert(selector);
            }
            Err(error) => tracing::warn!(label, %error, "a fact about the caller fits no selector"),
        }
    }

    fn add_named(&mut self, label: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.add(label, name);
        }
    }
}
