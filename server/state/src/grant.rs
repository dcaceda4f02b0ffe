//! The decision that somebody may hold a SPIFFE ID.

use std::{collections::BTreeSet, fmt, time::Duration};

use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};

use crate::{
    Entry, EntryId, GrantError, Registry,
    draft::{check_dns_names, check_spiffe_id},
};

/// Leave to hold one SPIFFE ID for a time. It has no public constructor: each way to one is a function of this
/// module, and the authority issues nothing without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    spiffe_id: SpiffeId,
    dns_names: Vec<String>,
    ttl: Duration,
    why: Why,
}

/// Why a grant was given; it is recorded with what is issued.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The node proved its TPM and was trusted.
    NodeAttested,
    /// A registration entry gives it to an agent's workload.
    Entry {
        /// The entry.
        id: EntryId,
        /// The agent that asked.
        agent: SpiffeId,
    },
    /// An administrator asked for it by hand.
    Minted,
    /// The server's own identity.
    Server,
}

impl Grant {
    /// The id that may be held.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// DNS names for the certificate.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// For how long; never zero. The authority may shorten it to its own lifetime.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Why it was given.
    #[must_use]
    pub const fn why(&self) -> &Why {
        &self.why
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeAttested => f.write_str("node attested"),
            Self::Entry { id, agent } => write!(f, "entry {id} for {agent}"),
            Self::Minted => f.write_str("minted"),
            Self::Server => f.write_str("server identity"),
        }
    }
}

/// How long SVIDs of one kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SvidTtl {
    /// Where the entry names no lifetime.
    pub default: Duration,
    /// At most, whatever the entry names.
    pub max: Duration,
}

/// Leave for an agent to have the entry's SPIFFE ID certified. `now` is in Unix seconds; no grant outlives its entry. Gives
/// beside it the entries that lead from the agent to this one, itself among them.
///
/// # Errors
/// When there is no such entry, it has expired, or it is not among the agent's. All three are told apart for
/// the operator; an agent is told the same of each.
pub fn authorise_entry(
    registry: &Registry,
    agent: &SpiffeId,
    node_selectors: &BTreeSet<Selector>,
    entry_id: &EntryId,
    ttl: SvidTtl,
    now: i64,
) -> Result<(Grant, Vec<EntryId>), GrantError> {
    authorise_for(registry, agent, node_selectors, entry_id, ttl, now, |entry| {
        entry.x509_svid_ttl
    })
}

/// As [`authorise_entry`], for an SVID of which `named` gives the lifetime that the entry names; zero where it names none.
///
/// # Errors
/// As [`authorise_entry`].
pub(crate) fn authorise_for(
    registry: &Registry,
    agent: &SpiffeId,
    node_selectors: &BTreeSet<Selector>,
    entry_id: &EntryId,
    ttl: SvidTtl,
    now: i64,
    named: impl FnOnce(&Entry) -> Duration,
) -> Result<(Grant, Vec<EntryId>), GrantError> {
    let entry = registry
        .entry(entry_id.as_str())
        .ok_or_else(|| GrantError::NoSuchEntry { id: entry_id.clone() })?;
    if let Some(at) = entry.expires_at.filter(|_| entry.is_expired(now)) {
        return Err(GrantError::EntryExpired {
            id: entry_id.clone(),
            at,
            now,
        });
    }
    let not_authorised = || GrantError::NotAuthorised {
        id: entry_id.clone(),
        agent: agent.clone(),
    };
    let way = registry
        .way_to(entry, agent, node_selectors, now)
        .ok_or_else(not_authorised)?;
    let named = named(entry);
    let asked = if named.is_zero() {
        ttl.default
    } else {
        named.min(ttl.max)
    };
    let left = entry
        .expires_at
        .map(|end| Duration::from_secs(u64::try_from(end - now).unwrap_or(0)));
    let granted = grant(
        entry.spiffe_id.clone(),
        entry.dns_names.clone(),
        left.map_or(asked, |left| left.min(asked)),
        Why::Entry {
            id: entry_id.clone(),
            agent: agent.clone(),
        },
    )?;
    Ok((granted, way))
}

/// Leave for what an administrator asks by hand, for at most `max`. The ids of servers and agents cannot be minted.
///
/// # Errors
/// When the id is foreign, has no path or is reserved, a DNS name is wrong, or the lifetime is zero or above `max`.
pub fn mint(
    trust_domain: &TrustDomain,
    spiffe_id: SpiffeId,
    dns_names: Vec<String>,
    ttl: Duration,
    max: Duration,
) -> Result<Grant, GrantError> {
    check_spiffe_id(&spiffe_id, trust_domain).map_err(GrantError::Mint)?;
    check_dns_names(&dns_names).map_err(GrantError::Mint)?;
    if ttl > max {
        return Err(GrantError::MintedTtlAboveMax { asked: ttl, max });
    }
    grant(spiffe_id, dns_names, ttl, Why::Minted)
}

/// Leave for the server's own identity, `spiffe://<td>/spire/server`.
///
/// # Errors
/// When the lifetime is zero.
pub fn server_identity(trust_domain: &TrustDomain, ttl: Duration) -> Result<Grant, GrantError> {
    let id = SpiffeId::new(trust_domain, "/spire/server").map_err(GrantError::Id)?;
    grant(id, Vec::new(), ttl, Why::Server)
}

pub(crate) fn grant(spiffe_id: SpiffeId, dns_names: Vec<String>, ttl: Duration, why: Why) -> Result<Grant, GrantError> {
    if ttl.is_zero() {
        return Err(GrantError::NoLifetime { id: spiffe_id });
    }
    Ok(Grant {
        spiffe_id,
        dns_names,
        ttl,
        why,
    })
}
