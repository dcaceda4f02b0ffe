//! A registration entry.

use std::{borrow::Borrow, collections::BTreeSet, fmt, sync::Arc, time::Duration};

use hallmark_spiffe::{SelectorSet, SpiffeId, TrustDomain};

use crate::{EntryDraft, EntryError, Role};

/// The id of an entry: 1 to 255 bytes of `[A-Za-z0-9._-]`. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Reads an id.
    ///
    /// # Errors
    /// When it is empty, too long, or has another character: ids are shown in URLs, tables and logs, and typed.
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(EntryError::IdLength { len: text.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match text.chars().find(|c| !allowed(*c)) {
            Some(found) => Err(EntryError::IdCharacter { found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for EntryId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who, below which parent and with which selectors, may hold which SPIFFE ID.
///
/// New entries come from [`crate::EntryDraft`]; only what has been checked there is ever stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry's own id.
    pub id: EntryId,
    /// What may be held.
    pub spiffe_id: SpiffeId,
    /// Below whom: an agent's id, a node alias, or another entry's SPIFFE ID.
    pub parent_id: SpiffeId,
    /// All of these must be among the facts found of the caller.
    pub selectors: SelectorSet,
    /// Lifetime of X509-SVIDs; zero means the server's default.
    pub x509_svid_ttl: Duration,
    /// Lifetime of JWT-SVIDs; zero means the server's default.
    pub jwt_svid_ttl: Duration,
    /// Trust domains whose bundles the holder gets too.
    pub federates_with: BTreeSet<TrustDomain>,
    /// The holder may administer the server.
    pub admin: bool,
    /// The holder may run a server below this one.
    pub downstream: bool,
    /// From this second on (Unix time) the entry grants nothing; `None` for ever.
    pub expires_at: Option<i64>,
    /// DNS names put into the X509-SVID, in order; the first is also its common name.
    pub dns_names: Vec<String>,
    /// 0 when created, one more with each update.
    pub revision: i64,
    /// The agent stores the SVID with a plugin instead of serving it.
    pub store_svid: bool,
    /// A label that tells a holder of several SVIDs them apart.
    pub hint: String,
    /// Created at, Unix seconds.
    pub created_at: i64,
    /// Agents do not fetch the X509-SVID before a workload asks.
    pub disable_x509_svid_prefetch: bool,
    /// JWT-SVIDs carry a `jti`.
    pub jwt_svid_include_jti: bool,
    /// An administrator over TLS wrote it, and nobody at the admin socket has written it whole since: it leads to no role.
    pub over_tls: bool,
}

impl Entry {
    /// Whether the entry grants nothing any more at `now` (Unix seconds).
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether it gives its SPIFFE ID `role`.
    #[must_use]
    pub const fn gives(&self, role: Role) -> bool {
        match role {
            Role::Admin => self.admin,
            Role::Downstream => self.downstream,
        }
    }

    /// Requires that its X509-SVIDs live no longer than `max`, unless `before`, the entry in whose place it comes, names
    /// the same lifetime: what an older configuration allowed is cut short when an SVID is issued, and keeps nobody
    /// from changing something else.
    ///
    /// # Errors
    /// [`EntryError::TtlAboveMax`].
    pub fn require_ttl_within(&self, max: Duration, before: Option<&Self>) -> Result<(), EntryError> {
        if self.x509_svid_ttl <= max || before.is_some_and(|before| before.x509_svid_ttl == self.x509_svid_ttl) {
            return Ok(());
        }
        Err(EntryError::TtlAboveMax {
            asked: self.x509_svid_ttl,
            max,
        })
    }

    /// Requires what every request for an entry has to keep: an id and a parent of the trust domain, none of those that are
    /// kept for servers and agents, selectors, and lengths within the limits.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn require_allowed(&self, trust_domain: &TrustDomain) -> Result<(), EntryError> {
        EntryDraft::from(self).check(trust_domain, |_| true)
    }

    /// Whether two entries say the same: same id to hold, same parent, exactly the same selectors. There is
    /// never more than one such entry.
    #[must_use]
    pub fn is_similar(&self, other: &Self) -> bool {
        self.spiffe_id == other.spiffe_id && self.parent_id == other.parent_id && self.selectors == other.selectors
    }
}
