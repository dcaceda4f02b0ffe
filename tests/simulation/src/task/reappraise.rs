//! Nodes that are behind the rules are judged again, by what they proved last.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hallmark_node::NodeId;
use hallmark_policy::MachineFacts;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    View,
    decide::{Reappraisal, reappraise_page},
};

use super::{Context, Next, Work};

/// How many nodes a page has.
const PAGE: usize = 3;

/// A page of the job.
#[derive(Default)]
pub(crate) struct Reappraise {
    judged: Option<(u64, Vec<Reappraisal>)>,
}

impl Work for Reappraise {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let Some((rules, judged)) = &self.judged else {
            let nodes = context.state().nodes_behind(context.server_now(), PAGE);
            if nodes.is_empty() {
                return Next::End;
            }
            self.judged = Some((context.state().rules().revision, judge(context, nodes)));
            return Next::Later;
        };
        let (decision, _) = reappraise_page(View::new(context.state()), judged, *rules, "job");
        Next::commit("server", decision)
    }
}

/// What the rules in force find in what these nodes proved last.
pub(super) fn judge(context: &Context<'_>, nodes: Vec<SpiffeId>) -> Vec<Reappraisal> {
    let (state, at) = (context.state(), time(context.server_now()));
    let set = &state.rules().set;
    let judge = |node: SpiffeId| {
        let other_eks = NodeId::ek_of(&node).map_or_else(BTreeSet::new, |ek| state.listed_with(&ek));
        let seen_at = state.attestation(&node).map_or(0, |held| held.quote_clock.seen_at);
        let Some((revision, facts)) = context.store.facts(&node) else {
            return Reappraisal {
                seen_at,
                evidence: state.attestation(&node).map(|held| held.revision),
                node,
                other_eks,
                result: None,
                stale_at: None,
                facts: None,
            };
        };
        let mut facts: MachineFacts = serde_json::from_str(facts).unwrap();
        facts.tpm.other_eks.clone_from(&other_eks);
        if let Some(held) = state.attestation(&node)
            && held.quote_clock.without_time() == facts.quote_clock.without_time()
        {
            facts.quote_clock = held.quote_clock;
        }
        Reappraisal {
            seen_at,
            node,
            evidence: Some(*revision),
            other_eks,
            result: Some(set.judge(&facts, at)),
            stale_at: set.stale_at(&facts, at),
            facts: None,
        }
    };
    nodes.into_iter().map(judge).collect()
}

pub(super) fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap())
}
