//! Why nothing is granted.

use std::time::Duration;

use hallmark_policy::Reason;
use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::{IdError, SpiffeId};

use crate::{EntryError, EntryId};

/// Why somebody may not hold a SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// No entry has this id.
    #[error("there is no entry {id}")]
    NoSuchEntry {
        /// The id asked for.
        id: EntryId,
    },
    /// The entry has expired.
    #[error("the entry {id} has expired")]
    EntryExpired {
        /// The entry.
        id: EntryId,
        /// When, Unix seconds.
        at: i64,
        /// Asked at, Unix seconds.
        now: i64,
    },
    /// The entry hangs below another node.
    #[error("the entry {id} is not for the agent {agent}")]
    NotAuthorised {
        /// The entry.
        id: EntryId,
        /// Who asked.
        agent: SpiffeId,
    },
    /// The node was not trusted.
    #[error("the node was refused: {}", reason.text)]
    NodeRefused {
        /// The first rule that did not hold; its code is this error's code.
        reason: Box<Reason>,
    },
    /// What was asked to be minted breaks a rule for entries.
    #[error("this cannot be minted: {0}")]
    Mint(#[source] EntryError),
    /// What was asked to be minted would live longer than the configured maximum.
    #[error("this cannot be minted: its lifetime is above the configured maximum")]
    MintedTtlAboveMax {
        /// The lifetime asked for.
        asked: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// A DNS name that neither an entry for the id nor the configuration allows.
    #[error("the DNS name {name} may not be minted for {id}")]
    DnsNameNotAllowed {
        /// The SPIFFE ID asked for.
        id: SpiffeId,
        /// The name.
        name: String,
    },
    /// The id cannot be formed.
    #[error("the SPIFFE ID cannot be formed: {0}")]
    Id(#[source] IdError),
    /// A lifetime of zero.
    #[error("{id} was asked for with no lifetime")]
    NoLifetime {
        /// The id.
        id: SpiffeId,
    },
}

impl Coded for GrantError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NoSuchEntry { .. } => ReasonCode::new("HM-REG-0040"),
            Self::EntryExpired { .. } => ReasonCode::new("HM-REG-0041"),
            Self::NotAuthorised { .. } => ReasonCode::new("HM-REG-0042"),
            Self::NodeRefused { reason } => reason.code,
            Self::Mint(cause) => cause.code(),
            Self::Id(cause) => cause.code(),
            Self::NoLifetime { .. } => ReasonCode::new("HM-REG-0044"),
            Self::MintedTtlAboveMax { .. } => ReasonCode::new("HM-REG-0045"),
            Self::DnsNameNotAllowed { .. } => ReasonCode::new("HM-REG-0111"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Mint(cause) => Some(cause),
            Self::Id(cause) => Some(cause),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::EntryExpired { at, now, .. } => Some(format!("expired at {at}, now {now} (seconds since 1970)")),
            Self::MintedTtlAboveMax { asked, max } => Some(format!(
                "asked for {} seconds, at most {} allowed (`authority.minted_ttl_max`)",
                asked.as_secs(),
                max.as_secs()
            )),
            Self::NodeRefused { reason } => reason.compared.clone(),
            Self::Mint(cause) => cause.compared(),
            Self::Id(cause) => cause.compared(),
            _ => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        match self {
            Self::NotAuthorised { agent, .. } => Some(format!("hallmark entry match --node {agent}")),
            Self::DnsNameNotAllowed { id, .. } => Some(format!(
                "hallmark entry list --spiffe-id {id}; `authority.minted_dns_names` allows names whatever entries say"
            )),
            _ => None,
        }
    }
}
