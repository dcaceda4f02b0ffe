//! Why an entry cannot be registered.

use std::time::Duration;

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::{SpiffeId, TrustDomain};

use crate::{EntryDraft, EntryId, EntryLoad};

/// A rule for entries that is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The entry id is empty or too long.
    #[error("the entry id has a wrong length")]
    IdLength {
        /// Its length in bytes.
        len: usize,
    },
    /// The entry id has a character outside `[A-Za-z0-9._-]`.
    #[error("the entry id has the character {found:?}")]
    IdCharacter {
        /// The first such character.
        found: char,
    },
    /// The SPIFFE ID is of another trust domain.
    #[error("the SPIFFE ID is of another trust domain")]
    ForeignId {
        /// The server's trust domain.
        trust_domain: TrustDomain,
        /// The id given.
        found: SpiffeId,
    },
    /// The SPIFFE ID has no path.
    #[error("the SPIFFE ID has no path")]
    IdWithoutPath,
    /// The SPIFFE ID is `/spire` or below it.
    #[error("SPIFFE IDs below /spire are reserved for servers and agents")]
    ReservedId {
        /// The id given.
        found: SpiffeId,
    },
    /// The parent is of another trust domain.
    #[error("the parent id is of another trust domain")]
    ForeignParent {
        /// The server's trust domain.
        trust_domain: TrustDomain,
        /// The id given.
        found: SpiffeId,
    },
    /// No selector.
    #[error("an entry needs at least one selector")]
    NoSelectors,
    /// More than 256 selectors.
    #[error("the entry has too many selectors")]
    TooManySelectors {
        /// How many.
        count: usize,
    },
    /// More bytes than always fit a message.
    #[error("the entry is too large")]
    TooLarge {
        /// What it takes at most in a message.
        bytes: usize,
    },
    /// A node would be authorised for more than an agent takes.
    #[error("the entries of one node would be too many or too large")]
    NodeFull {
        /// Which node, or the SPIFFE ID of the alias that a node may come to have.
        node: SpiffeId,
        /// What it would be authorised for, counted up to the first entry that no longer fits.
        load: EntryLoad,
        /// What it may be authorised for, by who writes the entry.
        most: EntryLoad,
    },
    /// A lifetime below zero.
    #[error("a lifetime is negative")]
    NegativeTtl {
        /// The lifetime in seconds.
        seconds: i32,
    },
    /// A lifetime above the configured maximum.
    #[error("the lifetime of X509-SVIDs is above the configured maximum")]
    TtlAboveMax {
        /// The lifetime given.
        asked: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// An expiry below zero.
    #[error("the entry's expiry is negative")]
    NegativeExpiry {
        /// Unix seconds.
        at: i64,
    },
    /// A hint over 1024 bytes.
    #[error("the hint is too long")]
    HintTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A hint that reads as another one.
    #[error("the hint has a control or format character")]
    HintCharacter {
        /// The first such character.
        found: char,
    },
    /// Not a DNS name.
    #[error("invalid DNS name {name:?}")]
    DnsName {
        /// The name given.
        name: String,
    },
    /// The same DNS name twice.
    #[error("the DNS name {name:?} is given twice")]
    DnsNameTwice {
        /// The name given.
        name: String,
    },
    /// More than 256 DNS names.
    #[error("the entry has too many DNS names")]
    TooManyDnsNames {
        /// How many.
        count: usize,
    },
    /// `federates_with` names the server's own trust domain.
    #[error("an entry cannot federate with its own trust domain")]
    FederatesWithItself,
    /// `federates_with` names a trust domain whose bundle is not there.
    #[error("there is no bundle of the trust domain {trust_domain}")]
    BundleUnknown {
        /// The trust domain named.
        trust_domain: TrustDomain,
    },
    /// A stored SVID with selectors of two types.
    #[error("an entry whose SVID is stored has selectors of one type")]
    StoredWithTwoKinds {
        /// The first selector's type.
        first: String,
        /// Another type found.
        other: String,
    },
    /// A stored SVID that is not fetched ahead.
    #[error("an entry whose SVID is stored cannot leave out prefetching")]
    StoredWithoutPrefetch,
}

impl Coded for EntryError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::IdLength { .. } => ReasonCode::new("HM-REG-0001"),
            Self::IdCharacter { .. } => ReasonCode::new("HM-REG-0002"),
            Self::ForeignId { .. } => ReasonCode::new("HM-REG-0003"),
            Self::IdWithoutPath => ReasonCode::new("HM-REG-0004"),
            Self::ReservedId { .. } => ReasonCode::new("HM-REG-0005"),
            Self::ForeignParent { .. } => ReasonCode::new("HM-REG-0006"),
            Self::NoSelectors => ReasonCode::new("HM-REG-0007"),
            Self::TooManySelectors { .. } => ReasonCode::new("HM-REG-0008"),
            Self::NegativeTtl { .. } => ReasonCode::new("HM-REG-0009"),
            Self::NegativeExpiry { .. } => ReasonCode::new("HM-REG-0010"),
            Self::HintTooLong { .. } => ReasonCode::new("HM-REG-0011"),
            Self::DnsName { .. } => ReasonCode::new("HM-REG-0012"),
            Self::DnsNameTwice { .. } => ReasonCode::new("HM-REG-0013"),
            Self::TooManyDnsNames { .. } => ReasonCode::new("HM-REG-0014"),
            Self::FederatesWithItself => ReasonCode::new("HM-REG-0015"),
            Self::BundleUnknown { .. } => ReasonCode::new("HM-REG-0016"),
            Self::StoredWithTwoKinds { .. } => ReasonCode::new("HM-REG-0017"),
            Self::StoredWithoutPrefetch => ReasonCode::new("HM-REG-0018"),
            Self::TtlAboveMax { .. } => ReasonCode::new("HM-REG-0019"),
            Self::TooLarge { .. } => ReasonCode::new("HM-REG-0090"),
            Self::NodeFull { .. } => ReasonCode::new("HM-REG-0093"),
            Self::HintCharacter { .. } => ReasonCode::new("HM-REG-0094"),
        }
    }

    fn compared(&self) -> Option<String> {
        let most = |found: usize, most: usize, what: &str| format!("{found} {what}, at most {most} allowed");
        match self {
            Self::IdLength { len } => Some(format!("{len} bytes, 1 to {} allowed", EntryId::MAX_LEN)),
            Self::IdCharacter { found } => Some(format!("found {found:?}, allowed are A-Z a-z 0-9 . - _")),
            Self::ForeignId { trust_domain, found } | Self::ForeignParent { trust_domain, found } => {
                Some(format!("expected trust domain {trust_domain}, found {found}"))
            }
            Self::TooLarge { bytes } => Some(most(*bytes, EntryDraft::MAX_BYTES, "bytes")),
            Self::NodeFull { node, load, most } => Some(format!(
                "{node} would have {} entries of {} bytes or more, at most {} entries and {} bytes allowed",
                load.entries, load.bytes, most.entries, most.bytes
            )),
            Self::ReservedId { found } => Some(format!("found {found}")),
            Self::TooManySelectors { count } => Some(most(*count, EntryDraft::MAX_SELECTORS, "selectors")),
            Self::NegativeTtl { seconds } => Some(format!("{seconds} seconds, 0 or more allowed")),
            Self::TtlAboveMax { asked, max } => Some(format!(
                "{} seconds, at most {} allowed (`authority.x509_svid_ttl_max`)",
                asked.as_secs(),
                max.as_secs()
            )),
            Self::NegativeExpiry { at } => Some(format!("{at} seconds since 1970, 0 or more allowed")),
            Self::HintCharacter { found } => Some(format!(
                "found {found:?}, characters that control a terminal or turn, join or hide letters are not allowed"
            )),
            Self::HintTooLong { len } => Some(most(*len, EntryDraft::MAX_HINT_LEN, "bytes")),
            Self::TooManyDnsNames { count } => Some(most(*count, EntryDraft::MAX_DNS_NAMES, "names")),
            Self::StoredWithTwoKinds { first, other } => Some(format!("found {first} and {other}")),
            _ => None,
        }
    }
}
