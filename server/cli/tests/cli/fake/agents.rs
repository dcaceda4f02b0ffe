//! `spire.api.server.agent.v1`.

use hallmark_api::{
    agent::{
        AttestAgentRequest, AttestAgentResponse, BanAgentRequest, CountAgentsRequest, CountAgentsResponse,
        CreateJoinTokenRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, ListAgentsResponse,
        PostStatusRequest, PostStatusResponse, RenewAgentRequest, RenewAgentResponse, agent_server::Agent,
    },
    types,
};
use tokio_stream::Pending;
use tonic::{Request, Response, Status, Streaming};

use super::{FAR, Fake, id, selector, unused};

/// A node of this name.
pub(super) fn agent(ek_hash: &str) -> types::Agent {
    types::Agent {
        id: id(&format!("/spire/agent/tpm2/{ek_hash}")),
        attestation_type: "tpm2".into(),
        x509svid_serial_number: "1234".into(),
        x509svid_expires_at: FAR,
        selectors: vec![
            selector("tpm2", "class:simulator"),
            selector("tpm2", &format!("ek-hash:{ek_hash}")),
        ],
        banned: false,
        can_reattest: true,
        agent_version: "0.1.0".into(),
    }
}

impl Fake {
    fn with_agent<T>(
        &self,
        id: Option<types::Spiffeid>,
        change: impl FnOnce(&mut Vec<types::Agent>, usize) -> T,
    ) -> Result<Response<T>, Status> {
        let agents = &mut self.state().agents;
        let at = agents
            .iter()
            .position(|agent| agent.id == id)
            .ok_or_else(|| Status::not_found("agent not found"))?;
        Ok(Response::new(change(agents, at)))
    }
}

#[tonic::async_trait]
impl Agent for Fake {
    type AttestAgentStream = Pending<Result<AttestAgentResponse, Status>>;

    /// Two a page, whatever is asked for, so that a client that stops at the first page is found out.
    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let filter = request.filter.unwrap_or_default();
        let wanted = |agent: &&types::Agent| {
            let asked = filter.by_selector_match.clone().unwrap_or_default().selectors;
            filter.by_banned.is_none_or(|banned| banned == agent.banned)
                && asked.iter().all(|selector| agent.selectors.contains(selector))
        };
        let start: usize = request.page_token.parse().unwrap_or(0);
        let found: Vec<types::Agent> = self.state().agents.iter().filter(wanted).cloned().collect();
        let next_page_token = if found.len() > start + 2 {
            (start + 2).to_string()
        } else {
            String::new()
        };
        let agents = found.into_iter().skip(start).take(2).collect();
        Ok(Response::new(ListAgentsResponse {
            agents,
            next_page_token,
        }))
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<types::Agent>, Status> {
        self.with_agent(request.into_inner().id, |agents, at| agents[at].clone())
    }

    async fn delete_agent(&self, request: Request<DeleteAgentRequest>) -> Result<Response<()>, Status> {
        self.with_agent(request.into_inner().id, |agents, at| {
            agents.remove(at);
        })
    }

    async fn ban_agent(&self, request: Request<BanAgentRequest>) -> Result<Response<()>, Status> {
        self.with_agent(request.into_inner().id, |agents, at| agents[at].banned = true)
    }

    async fn count_agents(&self, _: Request<CountAgentsRequest>) -> Result<Response<CountAgentsResponse>, Status> {
        unused()
    }

    async fn attest_agent(
        &self,
        _: Request<Streaming<AttestAgentRequest>>,
    ) -> Result<Response<Self::AttestAgentStream>, Status> {
        unused()
    }

    async fn renew_agent(&self, _: Request<RenewAgentRequest>) -> Result<Response<RenewAgentResponse>, Status> {
        unused()
    }

    async fn create_join_token(
        &self,
        _: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<types::JoinToken>, Status> {
        unused()
    }

    async fn post_status(&self, _: Request<PostStatusRequest>) -> Result<Response<PostStatusResponse>, Status> {
        unused()
    }
}
