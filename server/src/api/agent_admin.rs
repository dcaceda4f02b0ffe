//! What administrators do with agents: count, list, look, evict, ban.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_api::{
    agent::{
        BanAgentRequest, CountAgentsRequest, CountAgentsResponse, DeleteAgentRequest, GetAgentRequest,
        ListAgentsRequest, ListAgentsResponse, list_agents_request,
    },
    types,
};
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_state::{Action, LifecycleError, Match, Node, NodeState};
use tonic::{Request, Response, Status};

use crate::{
    caller::{self, Caller},
    convert::{agent_message, expires_before, next_page, selector_match, spiffe_id},
    journal::Journal,
    nodes::{Ask, ChangeFailed, Nodes},
};

/// Agents looked at in one go while a page is filled.
const STRIDE: usize = 1024;

/// `CountAgents`.
///
/// # Errors
/// `InvalidArgument` when a filter cannot be read.
pub fn count(journal: &Journal, request: Request<CountAgentsRequest>) -> Result<Response<CountAgentsResponse>, Status> {
    // The two filters are one type by another name.
    let filter = request.into_inner().filter.map(|filter| list_agents_request::Filter {
        by_attestation_type: filter.by_attestation_type,
        by_selector_match: filter.by_selector_match,
        by_banned: filter.by_banned,
        by_can_reattest: filter.by_can_reattest,
        by_expires_before: filter.by_expires_before,
    });
    let filter = Filter::read(filter)?;
    let count = journal.state().nodes().filter(|agent| filter.matches(agent)).count();
    Ok(Response::new(CountAgentsResponse {
        count: i32::try_from(count).unwrap_or(i32::MAX),
    }))
}

/// `ListAgents`: ordered by id; a page's token is the last id on it.
///
/// # Errors
/// `InvalidArgument` when a filter, the page's size or its token cannot be read.
pub fn list(journal: &Journal, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
    let request = request.into_inner();
    let filter = Filter::read(request.filter)?;
    let size = usize::try_from(request.page_size).map_err(|_| Status::invalid_argument("negative page size"))?;
    let from = match request.page_token.as_str() {
        "" => None,
        token => Some(SpiffeId::parse(token).map_err(|_| Status::invalid_argument("malformed page token"))?),
    };
    let limit = if size == 0 { usize::MAX } else { size };
    let (page, more) = collect(
        |after| journal.state().nodes_after(after).take(STRIDE).cloned().collect(),
        &filter,
        from,
        limit,
    );
    let mask = request.output_mask.as_ref();
    let mut messages = page.iter().map(|agent| agent_message(agent, mask)).peekable();
    let agents = next_page(&mut messages, limit);
    let more = more || messages.peek().is_some();
    let last = agents.len().checked_sub(1).and_then(|last| page.get(last));
    Ok(Response::new(ListAgentsResponse {
        next_page_token: last
            .filter(|_| more)
            .map_or_else(String::new, |agent| agent.id.to_string()),
        agents,
    }))
}

/// The first `limit` agents above `from` that match, and whether another one follows.
fn collect(
    read: impl Fn(Option<&SpiffeId>) -> Vec<Arc<Node>>,
    filter: &Filter,
    from: Option<SpiffeId>,
    limit: usize,
) -> (Vec<Arc<Node>>, bool) {
    let (mut page, mut after) = (Vec::new(), from);
    loop {
        let stride = read(after.as_ref());
        let Some(last) = stride.last() else {
            return (page, false);
        };
        after = Some(last.id.clone());
        for agent in stride.into_iter().filter(|agent| filter.matches(agent)) {
            if page.len() == limit {
                return (page, true);
            }
            page.push(agent);
        }
    }
}

/// `GetAgent`.
///
/// # Errors
/// `NotFound`, or `InvalidArgument` for an id that is no agent's.
pub fn get(journal: &Journal, request: Request<GetAgentRequest>) -> Result<Response<types::Agent>, Status> {
    let request = request.into_inner();
    let id = agent_id(journal.trust_domain(), request.id.as_ref())?;
    let agent = journal
        .node(&id)
        .filter(|agent| agent.was_admitted())
        .ok_or_else(not_found)?;
    Ok(Response::new(agent_message(&agent, request.output_mask.as_ref())))
}

/// `DeleteAgent`: the agent is forgotten and may attest again, unless it is retired.
///
/// # Errors
/// As [`get`]; `FailedPrecondition` for a retired one; `Unavailable` when the store fails.
pub async fn delete(nodes: &Nodes, request: Request<DeleteAgentRequest>) -> Result<Response<()>, Status> {
    let (by, reason) = (caller::of(&request)?, caller::act(&request)?.reason);
    let id = agent_id(nodes.trust_domain(), request.get_ref().id.as_ref())?;
    change(nodes, &id, Action::Evict, &by, &reason).await
}

/// `BanAgent`: the agent is refused from now on, and cannot attest again until it is unbanned or deleted.
///
/// # Errors
/// As [`delete`].
pub async fn ban(nodes: &Nodes, request: Request<BanAgentRequest>) -> Result<Response<()>, Status> {
    let (by, reason) = (caller::of(&request)?, caller::act(&request)?.reason);
    let id = agent_id(nodes.trust_domain(), request.get_ref().id.as_ref())?;
    change(nodes, &id, Action::Ban, &by, &reason).await
}

async fn change(
    nodes: &Nodes,
    id: &SpiffeId,
    action: Action,
    by: &Caller,
    reason: &str,
) -> Result<Response<()>, Status> {
    let ask = Ask {
        id,
        action,
        by,
        reason,
        dry_run: false,
    };
    match nodes.change(ask).await {
        Ok(_) => Ok(Response::new(())),
        Err(ChangeFailed::Refused(LifecycleError::Unknown { .. })) => Err(not_found()),
        Err(failed) => Err(failed.status(id)),
    }
}

fn not_found() -> Status {
    Status::not_found("agent not found")
}

/// Reads an id that an agent of this trust domain can have.
pub(super) fn agent_id(own: &TrustDomain, message: Option<&types::Spiffeid>) -> Result<SpiffeId, Status> {
    let id = spiffe_id(message, "agent ID")?;
    if !id.is_member_of(own) {
        return Err(Status::invalid_argument(format!(
            "invalid agent ID: {id} is not a member of trust domain {own}"
        )));
    }
    if !id.path().starts_with("/spire/agent/") {
        return Err(Status::invalid_argument(format!(
            "invalid agent ID: {id} is not an agent in trust domain {own}"
        )));
    }
    Ok(id)
}

/// What agents must match; what is `None` is not asked for.
#[derive(Debug, Default)]
struct Filter {
    attestation_type: Option<String>,
    selectors: Option<(Match, BTreeSet<Selector>)>,
    banned: Option<bool>,
    can_reattest: Option<bool>,
    expires_before: Option<i64>,
}

impl Filter {
    fn read(message: Option<list_agents_request::Filter>) -> Result<Self, Status> {
        let Some(message) = message else {
            return Ok(Self::default());
        };
        Ok(Self {
            attestation_type: Some(message.by_attestation_type).filter(|name| !name.is_empty()),
            selectors: selector_match(message.by_selector_match.as_ref())?,
            banned: message.by_banned,
            can_reattest: message.by_can_reattest,
            expires_before: expires_before(&message.by_expires_before),
        })
    }

    /// Only of agents that were ever let in: others are nobody's agents.
    fn matches(&self, agent: &Node) -> bool {
        agent.was_admitted()
            && self
                .attestation_type
                .as_ref()
                .is_none_or(|name| agent.attestation_type == *name)
            && self
                .selectors
                .as_ref()
                .is_none_or(|(how, asked)| how.compare(&agent.selectors, asked))
            && self
                .banned
                .is_none_or(|banned| (agent.state == NodeState::Banned) == banned)
            && self
                .can_reattest
                .is_none_or(|can_reattest| agent.can_reattest == can_reattest)
            && self.expires_before.is_none_or(|before| agent.expires_at() < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_state::{Appraised, Approvals, NodeSvid};

    fn agent(name: &str) -> Node {
        Node {
            id: SpiffeId::parse(&format!("spiffe://example.org/spire/agent/tpm2/{name}")).unwrap(),
            attestation_type: "tpm2".into(),
            ek_sha256: None,
            ak_name: Vec::new(),
            current: Some(NodeSvid {
                serial: 1,
                expires_at: 100,
            }),
            next: None,
            selectors: [Selector::parse("tpm2:class:simulator").unwrap()].into(),
            state: NodeState::Active,
            since: 1,
            approvals: Approvals::default(),
            untrusted_reason: String::new(),
            appraised: Appraised::default(),
            can_reattest: true,
            agent_version: String::new(),
            facts: String::new(),
            attested_at: 1,
        }
    }

    fn filter(message: list_agents_request::Filter) -> Filter {
        Filter::read(Some(message)).unwrap()
    }

    #[test]
    fn each_part_of_the_filter_counts() {
        type Set = fn(&mut list_agents_request::Filter);
        let cases: [(Set, bool); 12] = [
            (|_| {}, true),
            (|f| f.by_attestation_type = "tpm2".into(), true),
            (|f| f.by_attestation_type = "x509pop".into(), false),
            (|f| f.by_selector_match = exactly("class:simulator"), true),
            (|f| f.by_selector_match = exactly("class:discrete"), false),
            (|f| f.by_banned = Some(false), true),
            (|f| f.by_banned = Some(true), false),
            (|f| f.by_can_reattest = Some(true), true),
            (|f| f.by_can_reattest = Some(false), false),
            (|f| f.by_expires_before = "1970-01-01 00:01:41 +0000 +00".into(), true),
            (|f| f.by_expires_before = "1970-01-01 00:01:40 +0000 +00".into(), false),
            (|f| f.by_expires_before = "not a time".into(), true),
        ];
        for (set, expected) in cases {
            let mut message = list_agents_request::Filter::default();
            set(&mut message);
            assert_eq!(filter(message.clone()).matches(&agent("a")), expected, "{message:?}");
        }
    }

    fn exactly(value: &str) -> Option<types::SelectorMatch> {
        Some(types::SelectorMatch {
            selectors: vec![types::Selector {
                r#type: "tpm2".into(),
                value: value.into(),
            }],
            r#match: types::selector_match::MatchBehavior::MatchExact.into(),
        })
    }

    #[test]
    fn pages_are_filled_from_what_matches() {
        // Every third of 100 matches, and they are read seven at a time.
        let all: Vec<Arc<Node>> = (0..100)
            .map(|n| {
                Arc::new(Node {
                    state: if n % 3 == 0 {
                        NodeState::Banned
                    } else {
                        NodeState::Active
                    },
                    ..agent(&format!("{n:03}"))
                })
            })
            .collect();
        let read = |after: Option<&SpiffeId>| -> Vec<Arc<Node>> {
            all.iter()
                .filter(|agent| after.is_none_or(|after| agent.id > *after))
                .take(7)
                .cloned()
                .collect()
        };
        let banned = filter(list_agents_request::Filter {
            by_banned: Some(true),
            ..Default::default()
        });
        let (mut seen, mut from) = (0, None);
        loop {
            let (page, more) = collect(read, &banned, from.clone(), 10);
            assert!(page.iter().all(|agent| agent.state == NodeState::Banned));
            seen += page.len();
            from = page.last().map(|agent| agent.id.clone());
            if !more {
                break;
            }
            assert_eq!(page.len(), 10);
        }
        assert_eq!(seen, 34);
        assert!(
            !collect(read, &banned, None, 34).1,
            "a page that ends exactly with the last"
        );
        assert_eq!(collect(read, &Filter::default(), None, usize::MAX).0.len(), 100);
    }
}
