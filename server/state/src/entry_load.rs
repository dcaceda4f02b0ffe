//! What entries take of an answer to the agent that is authorised for them.

use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};

use crate::Entry;

/// A number of entries, and the bytes that their messages take at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryLoad {
    /// How many.
    pub entries: usize,
    /// What they take at most, in bytes.
    pub bytes: usize,
}

impl EntryLoad {
    /// The most that one node may be authorised for: a quarter of what its agent takes. What cannot be decided here, as when a
    /// node attests with selectors that more aliases have, has the rest.
    pub const MOST: Self = Self {
        entries: 25_000,
        bytes: 32 << 20,
    };

    /// The most with entries that an operator at the admin socket writes: what administrators over TLS fill is not in its way.
    pub const MOST_AT_SOCKET: Self = Self {
        entries: 2 * Self::MOST.entries,
        bytes: 2 * Self::MOST.bytes,
    };

    /// The most that a node may be authorised for with `entry`, by who wrote it.
    #[must_use]
    pub const fn most_with(entry: &Entry) -> Self {
        if entry.over_tls {
            Self::MOST
        } else {
            Self::MOST_AT_SOCKET
        }
    }

    /// That of one entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        let ids = [&entry.spiffe_id, &entry.parent_id];
        let bytes = most_bytes(
            ids,
            &entry.selectors,
            &entry.dns_names,
            &entry.federates_with,
            &entry.hint,
        );
        Self { entries: 1, bytes }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What is more here than in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            entries: self.entries.max(other.entries),
            bytes: self.bytes.max(other.bytes),
        }
    }

    /// Whether it is no more than `most`.
    #[must_use]
    pub const fn fits(self, most: Self) -> bool {
        self.entries <= most.entries && self.bytes <= most.bytes
    }
}

/// What an entry's message takes at most: its texts, each with what stands before it, and its numbers.
pub(crate) fn most_bytes<'a>(
    ids: [&SpiffeId; 2],
    selectors: impl IntoIterator<Item = &'a Selector>,
    dns_names: &[String],
    federates_with: impl IntoIterator<Item = &'a TrustDomain>,
    hint: &str,
) -> usize {
    const BEFORE_A_TEXT: usize = 16;
    const NUMBERS: usize = 256;
    let ids = ids.map(|id| id.as_str().len());
    let selectors = selectors.into_iter();
    let selectors = selectors.map(|selector| selector.kind().len() + selector.value().len());
    let names = dns_names.iter().map(String::len);
    let foreign = federates_with.into_iter().map(|name| name.as_str().len());
    let texts = ids.into_iter().chain(selectors).chain(names).chain(foreign);
    let texts = texts.fold(0_usize, |sum, text| {
        sum.saturating_add(text.saturating_add(BEFORE_A_TEXT))
    });
    texts.saturating_add(hint.len()).saturating_add(NUMBERS)
}
