//! A new policy, baseline or advisory against what machines proved last.

use std::collections::BTreeSet;
use std::time::SystemTime;

use hallmark_spiffe::Selector;

use crate::appraisal_result::AppraisalResult;
use crate::facts::MachineFacts;
use crate::set::PolicySet;

/// A node as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The node's id, as the caller names nodes.
    pub node: &'a str,
    /// What it proved last.
    pub facts: &'a MachineFacts,
    /// Whether it was trusted.
    pub trusted: bool,
    /// Its selectors.
    pub selectors: &'a BTreeSet<Selector>,
}

/// A node that no longer stands as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppraisalChange {
    /// The node.
    pub node: String,
    /// Whether it was trusted.
    pub was_trusted: bool,
    /// What is found now, selectors included.
    pub result: AppraisalResult,
}

impl AppraisalChange {
    /// Whether the node lost trust: nothing more may be issued to it.
    #[must_use]
    pub fn lost_trust(&self) -> bool {
        self.was_trusted && !self.result.is_trusted()
    }

    /// Whether the node gained trust.
    #[must_use]
    pub fn gained_trust(&self) -> bool {
        !self.was_trusted && self.result.is_trusted()
    }
}

/// The nodes whose verdict or selectors change under `set`, in the order in which they come. Nothing is held in memory
/// but the node at hand.
pub fn reappraise<'a>(
    set: &'a PolicySet,
    nodes: impl IntoIterator<Item = Standing<'a>> + 'a,
    now: SystemTime,
) -> impl Iterator<Item = AppraisalChange> + 'a {
    nodes.into_iter().filter_map(move |standing| {
        let result = set.judge(standing.facts, now);
        let same = result.is_trusted() == standing.trusted && result.selectors() == standing.selectors;
        (!same).then(|| AppraisalChange {
            node: standing.node.to_owned(),
            was_trusted: standing.trusted,
            result,
        })
    })
}
