//! The `unix` attestor: user, groups and, on request, the binary.

use std::collections::BTreeSet;

use hallmark_spiffe::Selector;

use crate::account_file::AccountFile;
use crate::accounts::{Names, names};
use crate::binary::Binary;
use crate::executable::{Digests, Executable, MAX_BINARY};
use crate::process::{self, Status};
use crate::{Peer, PeerError};

/// The selectors' type.
const KIND: &str = "unix";
const PATH: &str = "path";
const SHA256: &str = "sha256";

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
    users: AccountFile<Names>,
    groups: AccountFile<Names>,
    digests: Digests,
}

impl UnixAttestor {
    /// An attestor over the machine's `/etc/passwd` and `/etc/group`.
    #[must_use]
    pub fn new(config: UnixConfig) -> Self {
        Self {
            config,
            users: AccountFile::new("/etc/passwd", names),
            groups: AccountFile::new("/etc/group", names),
            digests: Digests::default(),
        }
    }

    /// Whether there are selectors of a caller's binary at all.
    #[must_use]
    pub fn reads_binaries(&self) -> bool {
        self.config.path || self.config.sha256
    }

    /// Whether a selector is about the caller's binary: such a one is told by [`UnixAttestor::binary`].
    #[must_use]
    pub fn is_of_binary(selector: &Selector) -> bool {
        let label = selector.value().split(':').next();
        selector.kind() == KIND && label.is_some_and(|label| label == PATH || label == SHA256)
    }

    /// The facts about a peer, but for its binary. A fact that cannot be told (an account without a name) has no
    /// selector: what is missing denies, it never grants.
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

    /// The binary that a peer runs, with its selectors. Reads the whole file, unless it is known or has more than 256
    /// MiB: it belongs on a thread that may block.
    ///
    /// It proves nothing alone: see [`Binary`].
    ///
    /// # Errors
    /// When the process is gone, runs another binary than when its connection was accepted, has a user namespace of its
    /// own, or its binary cannot be opened.
    pub fn binary(&self, peer: &Peer) -> Result<Binary, PeerError> {
        let binary = self.read_binary(peer);
        peer.assure_alive()?;
        binary
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
        let (users, groups) = (self.users.says(), self.groups.says());
        selectors.add("uid", &status.uid.to_string());
        selectors.add("gid", &status.gid.to_string());
        selectors.add_named("user", users.get(&status.uid).map(AsRef::as_ref));
        selectors.add_named("group", groups.get(&status.gid).map(AsRef::as_ref));
        for group in &status.groups {
            selectors.add("supplementary_gid", &group.to_string());
            selectors.add_named("supplementary_group", groups.get(group).map(AsRef::as_ref));
        }
        Ok(selectors.0)
    }

    fn read_binary(&self, peer: &Peer) -> Result<Binary, PeerError> {
        // Whoever is root in a user namespace may write to a socket in the name of any process there (unix(7),
        // SCM_CREDENTIALS), and chooses what paths mean.
        let namespace =
            |pid| process::user_namespace(pid).map_err(|error| unreadable(peer, "the user namespace", &error));
        let (theirs, ours) = (
            namespace(peer.pid())?,
            namespace(rustix::process::getpid().as_raw_pid())?,
        );
        if theirs != ours {
            return Err(PeerError::UserNamespace {
                pid: peer.pid(),
                theirs,
                ours,
            });
        }
        let mut executable = Executable::of(peer.pid()).map_err(|error| unreadable(peer, "the binary", &error))?;
        // Whoever connects and then runs another program would be attested as that program, with a connection that
        // others may hold.
        if !peer.binary().is_some_and(|binary| executable.is(binary)) {
            return Err(PeerError::BinaryChanged { pid: peer.pid() });
        }
        let mut selectors = Selectors::default();
        if self.config.path {
            match executable.path().and_then(|path| path.to_str()) {
                Some(path) => selectors.add(PATH, path),
                None => tracing::debug!(pid = peer.pid(), "the caller's binary has no path here"),
            }
        }
        if self.config.sha256 {
            match self.digests.sha256(&mut executable, MAX_BINARY) {
                Ok(digest) => selectors.add(SHA256, &hex::encode(digest)),
                Err(error) => {
                    tracing::debug!(pid = peer.pid(), %error, "the caller's binary cannot be hashed");
                }
            }
        }
        Ok(Binary::new(executable, selectors.0))
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
            Err(error) => tracing::debug!(label, %error, "a fact about the caller fits no selector"),
        }
    }

    fn add_named(&mut self, label: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.add(label, name);
        }
    }
}
