//! What rules find in what nodes proved last.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::NodeId;
use hallmark_policy::{AppraisalChange, AppraisalResult, MachineFacts, PolicySet, Standing, reappraise};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{LINES, Node, NodeFacts, NodeState, decide::Reappraisal};

use super::{Appraiser, PolicyFileError, recall, undecodable};
use crate::journal::Journal;

/// Nodes that are in memory at a time.
pub(super) const PAGE: usize = 512;
/// How often a node's lines are looked for that attests each time meanwhile.
const TRIES: usize = 8;

impl Appraiser {
    /// What the rules in force find in what a node proved last.
    ///
    /// # Errors
    /// The store's; or what is kept of the node does not read back.
    pub async fn judge(&self, node: &SpiffeId, facts: MachineFacts) -> Result<AppraisalResult, PolicyFileError> {
        let set = Arc::clone(&self.journal.state().rules().set);
        let mut proven = Proven {
            node: node.clone(),
            revision: 0,
            facts,
        };
        self.look(&set, &mut proven).await?;
        proven.relink(&self.journal);
        let now = self.journal.clock().now();
        self.compute(move || Ok(set.judge(&proven.facts, now))).await
    }

    /// What `set` finds in what these nodes proved last: each of them, in order.
    ///
    /// # Errors
    /// The store's; or what is kept of a node does not read back: then the others before it are judged, and it is named.
    pub(super) async fn judge_page(
        &self,
        set: &Arc<PolicySet>,
        ids: Vec<SpiffeId>,
    ) -> Result<Vec<Reappraisal>, PolicyFileError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let kept = self.journal.store().facts_of(ids.clone()).await?;
        let found: BTreeSet<SpiffeId> = kept.iter().map(|facts| facts.node.clone()).collect();
        let mut judged: Vec<Reappraisal> = ids
            .into_iter()
            .filter(|id| !found.contains(id))
            .map(|node| Reappraisal {
                evidence: self.journal.state().attestation(&node).map(|state| state.revision),
                other_eks: listed_with(&self.journal, &node),
                node,
                result: None,
                stale_at: None,
                facts: None,
            })
            .collect();
        let mut nodes = self
            .compute(move || kept.iter().map(decoded).collect::<Result<Vec<_>, _>>())
            .await?;
        let mut looked = BTreeSet::new();
        for node in &mut nodes {
            if self.look(set, node).await? {
                looked.insert(node.node.clone());
            }
            node.relink(&self.journal);
        }
        let (set, now) = (Arc::clone(set), self.journal.clock().now());
        let results = self.compute(move || {
            let judge = |proven: Proven| {
                let facts = looked.contains(&proven.node).then(|| proven.to_facts()).transpose()?;
                Ok(Reappraisal {
                    evidence: Some(proven.revision),
                    other_eks: proven.facts.tpm.other_eks.clone(),
                    result: Some(set.judge(&proven.facts, now)),
                    stale_at: set.stale_at(&proven.facts, now),
                    facts: facts.map(Arc::new),
                    node: proven.node,
                })
            };
            nodes
                .into_iter()
                .map(judge)
                .collect::<Result<Vec<_>, PolicyFileError>>()
        });
        judged.extend(results.await?);
        Ok(judged)
    }

    /// The nodes whose verdict or selectors change under `set`. Nothing is written.
    ///
    /// # Errors
    /// The store's; or what is kept of a node does not read back.
    pub(super) async fn would_change(&self, set: &Arc<PolicySet>) -> Result<Vec<AppraisalChange>, PolicyFileError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page: Vec<Arc<Node>> = {
                let state = self.journal.state();
                let nodes = state.nodes_after(after.as_ref());
                let is_out = |node: &&Arc<Node>| matches!(node.state, NodeState::Banned | NodeState::Retired);
                nodes.filter(|node| !is_out(node)).take(PAGE).cloned().collect()
            };
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.id.clone());
            let ids = page.iter().map(|node| node.id.clone()).collect();
            let kept = self.journal.store().facts_of(ids).await?;
            let mut nodes = self
                .compute(move || kept.iter().map(decoded).collect::<Result<Vec<_>, _>>())
                .await?;
            for node in &mut nodes {
                self.look(set, node).await?;
                node.relink(&self.journal);
            }
            let (set, now) = (Arc::clone(set), self.journal.clock().now());
            let changed = self.compute(move || {
                let standing = |proven: &Proven| {
                    let node = page.iter().find(|node| node.id == proven.node)?;
                    let standing = Standing {
                        node: node.id.as_str(),
                        facts: &proven.facts,
                        trusted: node.untrusted_reason.is_empty(),
                        selectors: &node.selectors,
                    };
                    reappraise(&set, [standing], now).next()
                };
                Ok(nodes.iter().filter_map(standing).collect::<Vec<_>>())
            });
            all.extend(changed.await?);
        }
    }
}

/// What a node proved last.
struct Proven {
    node: SpiffeId,
    /// The number of the record that brought it.
    revision: u64,
    facts: MachineFacts,
}

impl Proven {
    /// Operators may have listed other EKs as this machine's since it attested.
    fn relink(&mut self, journal: &Journal) {
        self.facts.tpm.other_eks = listed_with(journal, &self.node);
    }

    fn to_facts(&self) -> Result<NodeFacts, PolicyFileError> {
        let facts = serde_json::to_string(&self.facts).map_err(|error| undecodable(&self.node, &error))?;
        Ok(NodeFacts {
            node: self.node.clone(),
            facts,
            revision: self.revision,
        })
    }
}

fn listed_with(journal: &Journal, node: &SpiffeId) -> BTreeSet<String> {
    NodeId::ek_of(node).map_or_else(BTreeSet::new, |ek| journal.state().listed_with(&ek))
}

fn decoded(kept: &NodeFacts) -> Result<Proven, PolicyFileError> {
    let facts = serde_json::from_str(&kept.facts).map_err(|error| undecodable(&kept.node, &error))?;
    Ok(Proven {
        node: kept.node.clone(),
        revision: kept.revision,
        facts,
    })
}

impl Appraiser {
    /// Has policies that are new to a node look at the lines of its IMA list. No more than one node's are in memory. Gives
    /// whether there was something to look at.
    ///
    /// The node may attest meanwhile: then `proven` is the newer. One that is faster each time is not waited for; of its lines
    /// nothing is proven.
    async fn look(&self, set: &Arc<PolicySet>, proven: &mut Proven) -> Result<bool, PolicyFileError> {
        for _ in 0..TRIES {
            let Some(mut files) = proven.facts.ima.clone().filter(|files| set.needs_lines(files)) else {
                return Ok(false);
            };
            let (looking, id) = (Arc::clone(set), proven.node.clone());
            let lines = self.journal.store().logs(&id, &[LINES]).await?.pop();
            let looked = self.compute(move || {
                recall(&id, &mut files, &lines.map(|(_, lines)| lines).unwrap_or_default())?;
                looking.look(&mut files);
                files.files = Vec::new();
                Ok(files)
            });
            let failed = match looked.await {
                Ok(files) => {
                    proven.facts.ima = Some(files);
                    return Ok(true);
                }
                Err(failed) => failed,
            };
            // Lines of another attestation than the facts; or what is kept does not read back.
            let newer = self.journal.store().facts_of(vec![proven.node.clone()]).await?.pop();
            let Some(newer) = newer.as_ref().map(decoded).transpose()? else {
                return Ok(false);
            };
            if newer.revision == proven.revision {
                return Err(failed);
            }
            *proven = newer;
        }
        Ok(false)
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PolicyFileError> + Send + 'static,
    ) -> Result<T, PolicyFileError> {
        let done = self.compute.run(work).await;
        done.map_err(|_| PolicyFileError::Stopping)?
    }
}
