//! Nodes that cannot be judged, since what is kept of them does not read back.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::SpiffeId;
use hallmark_state::State;
use hallmark_store::StoreError;

/// What is kept of one node does not read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the node {node} cannot be judged by what it proved last, and gets nothing signed until it attests again")]
pub struct Unreadable {
    /// The node.
    pub node: SpiffeId,
    /// What is damaged.
    pub damage: String,
}

impl Unreadable {
    pub(crate) fn of(node: &SpiffeId, error: &StoreError) -> Self {
        Self {
            node: node.clone(),
            damage: error.compared().unwrap_or_else(|| error.to_string()),
        }
    }
}

impl Unreadable {
    /// The code of each of them.
    pub(crate) const CODE: ReasonCode = ReasonCode::new("HM-SRV-0034");
}

impl Coded for Unreadable {
    fn code(&self) -> ReasonCode {
        Self::CODE
    }

    fn compared(&self) -> Option<String> {
        Some(format!("expected its evidence, found: {}", self.damage))
    }
}

/// Nodes of which what is kept does not read back, as far as it was read, and why. Their next challenge asks for the logs
/// from their beginning, so that an attestation rests on nothing that is damaged.
#[derive(Debug, Default)]
pub(crate) struct UnreadableNodes(Mutex<BTreeMap<SpiffeId, String>>);

impl UnreadableNodes {
    /// What is kept of `node` does not read back. Each fault is told once.
    pub(crate) fn note(&self, node: &SpiffeId, error: &StoreError) {
        let found = Unreadable::of(node, error);
        if self.all().insert(node.clone(), found.damage.clone()).as_ref() != Some(&found.damage) {
            tracing::error!(code = %found.code(), %node, compared = found.compared(), "{found}");
        }
    }

    /// The node was judged, or proved something anew.
    pub(crate) fn forget(&self, node: &SpiffeId) {
        if self.all().remove(node).is_some() {
            tracing::info!(%node, "what is kept of the node reads back again");
        }
    }

    /// Whether the node is one of them.
    pub(crate) fn contains(&self, node: &SpiffeId) -> bool {
        self.all().contains_key(node)
    }

    /// Those that get nothing signed for it now, in Unix seconds: the rules in force have not judged them.
    pub(crate) fn unjudged(&self, state: &State, now: i64) -> Vec<SpiffeId> {
        let rules = state.rules().revision;
        let is_behind = |id: &&SpiffeId| state.node(id).is_some_and(|node| !node.is_appraised_by(rules, now));
        self.all().keys().filter(is_behind).cloned().collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<SpiffeId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
