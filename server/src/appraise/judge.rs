//! What rules find in what nodes proved last.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::NodeId;
use hallmark_policy::{AppraisalResult, MachineFacts, PolicySet, Standing, reappraise};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{LINES, Node, NodeFacts, NodeState, decide::Reappraisal};
use hallmark_store::StoreError;
use hallmark_verify::history::QuoteClock;

use super::{Appraiser, Judged, PolicyFileError, recall, undecodable};
use crate::journal::Journal;

/// Nodes that are in memory at a time.
pub(super) const PAGE: usize = 512;
/// How often a node's lines are looked for that attests each time meanwhile.
const TRIES: usize = 8;

/// What was found of nodes.
#[derive(Default)]
pub(super) struct JudgedPage {
    /// Of each that could be judged.
    pub(super) judged: Vec<Reappraisal>,
    /// Those whose evidence does not read back, and why.
    pub(super) unreadable: Vec<(SpiffeId, StoreError)>,
}

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
            seen_at: 0,
            facts,
        };
        self.look(&set, &mut proven).await?;
        proven.update(&self.journal);
        let now = self.journal.clock().now();
        self.compute(move || Ok(set.judge(&proven.facts, now))).await
    }

    /// What `set` finds in what these nodes proved last.
    ///
    /// # Errors
    /// The store's. Evidence of one node that does not read back keeps none of the others from being judged.
    pub(super) async fn judge_page(
        &self,
        set: &Arc<PolicySet>,
        ids: Vec<SpiffeId>,
    ) -> Result<JudgedPage, PolicyFileError> {
        let page = self.read_page(set, ids).await?;
        let without = page.without.into_iter().map(|node| Reappraisal {
            evidence: None,
            seen_at: 0,
            other_eks: listed_with(&self.journal, &node),
            node,
            result: None,
            stale_at: None,
            facts: None,
        });
        let mut judged: Vec<Reappraisal> = without.collect();
        let (set, now) = (Arc::clone(set), self.journal.clock().now());
        let (nodes, looked) = (page.proven, page.looked);
        let results = self.compute(move || {
            let judge = |proven: Proven| {
                let facts = looked.contains(&proven.node).then(|| proven.to_facts()).transpose()?;
                Ok(Reappraisal {
                    evidence: Some(proven.revision),
                    seen_at: proven.seen_at,
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
        Ok(JudgedPage {
            judged,
            unreadable: page.unreadable,
        })
    }

    /// Reads what these nodes proved last, as `set` needs it.
    async fn read_page(&self, set: &Arc<PolicySet>, mut ids: Vec<SpiffeId>) -> Result<ReadPage, PolicyFileError> {
        let mut page = ReadPage::default();
        let mut proved = BTreeSet::new();
        {
            let state = self.journal.state();
            ids.retain(|id| {
                let damage = state.unreadable(id);
                page.unreadable
                    .extend(damage.map(|damage| (id.clone(), damage.clone().into())));
                damage.is_none()
            });
            // Who is served has proven something: where nothing is kept of it, it has been lost.
            let has_proven =
                |id: &&SpiffeId| state.attestation(id).is_some() || state.node(id).is_some_and(|node| node.is_active());
            proved.extend(ids.iter().filter(has_proven).cloned());
        }
        if ids.is_empty() {
            return Ok(page);
        }
        let kept = self.journal.store().facts_of(ids.clone()).await?;
        let found: BTreeSet<SpiffeId> = kept.iter().map(|facts| facts.node.clone()).collect();
        for id in ids.into_iter().filter(|id| !found.contains(id)) {
            if proved.contains(&id) {
                page.unreadable.push((id.clone(), missing(&id)));
            } else {
                page.without.push(id);
            }
        }
        let nodes = self.compute(move || {
            let decode = |kept: &NodeFacts| decoded(kept).map_err(|error| (kept.node.clone(), error));
            Ok(kept.iter().map(decode).collect::<Vec<_>>())
        });
        for node in nodes.await? {
            let mut node = match node {
                Ok(node) => node,
                Err(damaged) => {
                    page.unreadable.push(damaged);
                    continue;
                }
            };
            match self.look(set, &mut node).await {
                Ok(true) => drop(page.looked.insert(node.node.clone())),
                Ok(false) => {}
                Err(PolicyFileError::Store(error @ StoreError::Undecodable { .. })) => {
                    page.unreadable.push((node.node, error));
                    continue;
                }
                Err(error) => return Err(error),
            }
            node.update(&self.journal);
            page.proven.push(node);
        }
        Ok(page)
    }

    /// The nodes whose verdict or selectors change under `set`, and how many cannot be judged. Nothing is written.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn would_change(&self, set: &Arc<PolicySet>) -> Result<Judged, PolicyFileError> {
        let (mut all, mut after) = (Judged::default(), None);
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
            let ReadPage {
                proven: nodes,
                unreadable,
                ..
            } = self.read_page(set, ids).await?;
            all.unreadable = all.unreadable.saturating_add(unreadable.len());
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
            all.changes.extend(changed.await?);
        }
    }
}

/// What nodes proved last.
#[derive(Default)]
struct ReadPage {
    proven: Vec<Proven>,
    /// Those of whose IMA list the lines were looked at.
    looked: BTreeSet<SpiffeId>,
    /// Those that never proved anything.
    without: Vec<SpiffeId>,
    /// Those whose evidence does not read back, and why.
    unreadable: Vec<(SpiffeId, StoreError)>,
}

/// What a node proved last.
struct Proven {
    node: SpiffeId,
    /// The number of the record that brought it.
    revision: u64,
    /// When its quote was seen, as far as that counts.
    seen_at: u64,
    facts: MachineFacts,
}

impl Proven {
    /// Operators may have listed other EKs as this machine's since it attested, and the time of its quote may have come into
    /// doubt.
    fn update(&mut self, journal: &Journal) {
        self.facts.tpm.other_eks = listed_with(journal, &self.node);
        let held = journal.state().attestation(&self.node).map(|held| held.quote_clock);
        self.seen_at = held.map_or(0, |held| held.seen_at);
        let is_of_facts = |held: &QuoteClock| held.without_time() == self.facts.quote_clock.without_time();
        if let Some(held) = held.filter(is_of_facts) {
            self.facts.quote_clock = held;
        }
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

fn missing(node: &SpiffeId) -> StoreError {
    StoreError::Undecodable {
        what: format!("the evidence of {node}"),
        reason: "it is not there any more".to_owned(),
    }
}

fn decoded(kept: &NodeFacts) -> Result<Proven, StoreError> {
    Ok(Proven {
        node: kept.node.clone(),
        revision: kept.revision,
        seen_at: 0,
        facts: kept.read()?,
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
