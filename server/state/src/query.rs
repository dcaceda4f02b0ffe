//! Asking for entries: filters and pages.

use std::collections::BTreeSet;

use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};

use crate::{Entry, EntryId};

/// How a set asked for compares with an entry's set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Both are the same.
    Exact,
    /// The entry has nothing beyond what is asked for.
    Subset,
    /// The entry has at least what is asked for.
    Superset,
    /// The entry has at least one of what is asked for.
    Any,
}

impl Match {
    /// Compares `held` (the entry's, in its order, each once) with `asked`.
    pub fn compare<'a, T: Ord + 'a>(self, held: impl IntoIterator<Item = &'a T>, asked: &BTreeSet<T>) -> bool {
        let mut held = held.into_iter();
        match self {
            Self::Exact => held.eq(asked),
            Self::Subset => held.all(|one| asked.contains(one)),
            Self::Superset => held.filter(|one| asked.contains(*one)).count() == asked.len(),
            Self::Any => held.any(|one| asked.contains(one)),
        }
    }
}

/// What an entry must match; what is `None` is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The id that may be held.
    pub spiffe_id: Option<SpiffeId>,
    /// The parent.
    pub parent_id: Option<SpiffeId>,
    /// The selectors.
    pub selectors: Option<(Match, BTreeSet<Selector>)>,
    /// The trust domains federated with.
    pub federates_with: Option<(Match, BTreeSet<TrustDomain>)>,
    /// The hint, whole.
    pub hint: Option<String>,
    /// The downstream flag.
    pub downstream: Option<bool>,
}

impl Filter {
    /// Whether `entry` matches every part of the filter.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        self.spiffe_id.as_ref().is_none_or(|id| entry.spiffe_id == *id)
            && self.parent_id.as_ref().is_none_or(|id| entry.parent_id == *id)
            && self
                .selectors
                .as_ref()
                .is_none_or(|(how, asked)| how.compare(&entry.selectors, asked))
            && self
                .federates_with
                .as_ref()
                .is_none_or(|(how, asked)| federates(&entry.federates_with, *how, asked))
            && self.hint.as_ref().is_none_or(|hint| entry.hint == *hint)
            && self.downstream.is_none_or(|downstream| entry.downstream == downstream)
    }
}

/// Who federates with nobody is not found by whom it federates with, though the empty set is a subset of every other.
fn federates(held: &BTreeSet<TrustDomain>, how: Match, asked: &BTreeSet<TrustDomain>) -> bool {
    !held.is_empty() && how.compare(held, asked)
}

/// An entry's place in the stable order: oldest first, then by id.
pub(crate) type Place<'a> = (i64, &'a str);

/// Where the next page starts. Its text means nothing to callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    created_at: i64,
    id: EntryId,
}

impl PageToken {
    /// The page behind this entry.
    #[must_use]
    pub fn after(entry: &Entry) -> Self {
        Self {
            created_at: entry.created_at,
            id: entry.id.clone(),
        }
    }

    pub(crate) fn place(&self) -> Place<'_> {
        (self.created_at, self.id.as_str())
    }

    /// The token's text, as the caller gets it.
    #[must_use]
    pub fn encode(&self) -> String {
        format!("{}.{}", self.created_at, self.id)
    }

    /// Reads a token that the caller gives back; `None` when it is none of ours.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (created_at, id) = text.split_once('.')?;
        Some(Self {
            created_at: created_at.parse().ok()?,
            id: EntryId::parse(id).ok()?,
        })
    }
}

/// A part of the answer.
#[derive(Debug)]
pub struct Page<'a> {
    /// The entries, oldest first.
    pub entries: Vec<&'a std::sync::Arc<Entry>>,
    /// Where to go on; `None` at the end.
    pub next: Option<PageToken>,
}
