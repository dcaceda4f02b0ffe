//! Nodes, judged again by what they proved last.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::NodeId;
use hallmark_policy::{AppraisalChange, AppraisalResult};
use hallmark_spiffe::SpiffeId;

use crate::{Appraised, Change, Decision, Event, Node, NodeFacts, Outcome, RefusingRule, View, What};

/// What the rules find in what a node proved last.
#[derive(Debug, Clone)]
pub struct Reappraisal {
    /// The node.
    pub node: SpiffeId,
    /// The number of the record that brought the evidence; `None` for a node that has none.
    pub evidence: Option<u64>,
    /// When its quote was seen, as far as that counted then, in milliseconds since the Unix epoch; 0 where it did not.
    pub seen_at: u64,
    /// The other EKs that operators listed as its machine's then, in hex.
    pub other_eks: BTreeSet<String>,
    /// What was found; `None` where there is no evidence to judge.
    pub result: Option<AppraisalResult>,
    /// From when on, in Unix seconds, that no longer counts.
    pub stale_at: Option<i64>,
    /// Facts to be kept in the place of those that are: rules that are new to them had looked at the lines of an IMA list.
    pub facts: Option<Arc<NodeFacts>>,
}

/// What became of nodes that were judged by the rules of revision `rules`: of each that proved nothing since, and is the same
/// machine's. What was judged by other rules than those in force counts for nothing.
pub fn reappraise_page(
    view: View<'_>,
    page: &[Reappraisal],
    rules: u64,
    cause: &str,
) -> (Decision, Vec<AppraisalChange>) {
    if view.rules().revision != rules {
        return (view.decide(Vec::new(), Vec::new()), Vec::new());
    }
    let (mut changes, mut events, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for judged in page {
        let Some(node) = view.node(&judged.node) else { continue };
        // Who proved something since was judged by that; and a time that came into doubt says nothing any more.
        let attestation = view.attestation(&judged.node);
        let newest = attestation.map(|state| (state.revision, state.quote_clock.seen_at));
        // What is denied to one EK of a machine is denied to all.
        let _ = view.machines();
        let listed = NodeId::ek_of(&judged.node).map(|ek| view.unprotected().listed_with(&ek));
        if newest != judged.evidence.map(|revision| (revision, judged.seen_at))
            || listed.unwrap_or_default() != judged.other_eks
        {
            continue;
        }
        changes.extend(judged.facts.clone().map(Change::put_facts));
        let appraised = Appraised {
            rules,
            stale_at: judged.stale_at,
        };
        let (was_trusted, selectors) = (node.untrusted_reason.is_empty(), &node.selectors);
        let is_news = |result: &&AppraisalResult| result.is_trusted() != was_trusted || result.selectors() != selectors;
        let Some(result) = judged.result.as_ref().filter(is_news) else {
            changes.push(Change::PutAppraised {
                node: judged.node.clone(),
                appraised,
            });
            continue;
        };
        let evidence_sha256 = attestation.and_then(|state| state.evidence_sha256);
        events.push(event(&judged.node, result, was_trusted, cause, evidence_sha256));
        changes.push(Change::PutNode(Arc::new(Node {
            untrusted_reason: result
                .refusal()
                .map_or_else(String::new, |reason| reason.code.to_string()),
            selectors: result.selectors().clone(),
            appraised,
            ..Node::clone(node)
        })));
        moved.push(AppraisalChange {
            node: judged.node.to_string(),
            was_trusted,
            result: result.clone(),
        });
    }
    (view.decide(changes, events), moved)
}

fn event(
    node: &SpiffeId,
    result: &AppraisalResult,
    was_trusted: bool,
    cause: &str,
    evidence_sha256: Option<[u8; 32]>,
) -> Event {
    let refusal = result.refusal();
    Event {
        subject: node.as_str().into(),
        outcome: if refusal.is_some() {
            Outcome::Refused
        } else {
            Outcome::Accepted
        },
        code: refusal.map_or_else(|| "".into(), |reason| reason.code.as_str().into()),
        what: What::Reappraised {
            cause: cause.to_owned(),
            was_trusted,
            reason: refusal.map(|reason| RefusingRule::from(reason).into()),
            evidence_sha256,
        },
    }
}
