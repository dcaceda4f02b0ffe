//! `spire.api.server.agent.v1.Agent`.

use std::sync::Arc;

use hallmark_api::{
    agent::{
        AttestAgentRequest, BanAgentRequest, CountAgentsRequest, CountAgentsResponse, CreateJoinTokenRequest,
        DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, ListAgentsResponse, PostStatusRequest,
        PostStatusResponse, RenewAgentRequest, RenewAgentResponse, agent_server::Agent,
    },
    types,
};
use hallmark_state::decide::report_version;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::agent_admin;
use crate::{
    attest::{self, AnswerStream, Attestor},
    caller, connection,
    convert::{DenialReason, denied},
    journal::{Failed, Journal, store_failed},
    limits::Limits,
    nodes::Nodes,
};

/// The longest version that an agent may report, in bytes.
const MAX_VERSION_LEN: usize = 255;

/// The service.
#[derive(Debug, Clone)]
pub struct AgentService {
    journal: Arc<Journal>,
    nodes: Nodes,
    attestor: Arc<Attestor>,
    limits: Arc<Limits>,
}

impl AgentService {
    /// The service.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, nodes: Nodes, attestor: Arc<Attestor>, limits: Arc<Limits>) -> Self {
        Self {
            journal,
            nodes,
            attestor,
            limits,
        }
    }
}

#[async_trait]
impl Agent for AgentService {
    type AttestAgentStream = AnswerStream;

    async fn count_agents(
        &self,
        request: Request<CountAgentsRequest>,
    ) -> Result<Response<CountAgentsResponse>, Status> {
        agent_admin::count(&self.journal, request)
    }

    async fn list_agents(&self, request: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        agent_admin::list(&self.journal, request)
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<types::Agent>, Status> {
        agent_admin::get(&self.journal, request)
    }

    async fn delete_agent(&self, request: Request<DeleteAgentRequest>) -> Result<Response<()>, Status> {
        agent_admin::delete(&self.nodes, request).await
    }

    async fn ban_agent(&self, request: Request<BanAgentRequest>) -> Result<Response<()>, Status> {
        agent_admin::ban(&self.nodes, request).await
    }

    async fn attest_agent(
        &self,
        request: Request<Streaming<AttestAgentRequest>>,
    ) -> Result<Response<AnswerStream>, Status> {
        attest::attest_agent(Arc::clone(&self.attestor), request).await
    }

    /// Every attestation type that is served renews by attesting again.
    async fn renew_agent(&self, _request: Request<RenewAgentRequest>) -> Result<Response<RenewAgentResponse>, Status> {
        Err(denied(
            "agent must reattest instead of renew",
            Some(DenialReason::MustReattest),
        ))
    }

    async fn create_join_token(
        &self,
        _request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<types::JoinToken>, Status> {
        Err(Status::unimplemented("join tokens are not served yet"))
    }

    async fn post_status(&self, request: Request<PostStatusRequest>) -> Result<Response<PostStatusResponse>, Status> {
        let id = caller::agent_of(&request)?;
        let address = connection::remote_ip(request.extensions());
        let version = request.into_inner().agent_version;
        if version.len() > MAX_VERSION_LEN {
            return Err(Status::invalid_argument(format!(
                "agent_version exceeds {MAX_VERSION_LEN} characters"
            )));
        }
        if !version.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            return Err(Status::invalid_argument(
                "agent_version has characters that are not printable ASCII",
            ));
        }
        self.limits.post_status.take(address, 1).await?;
        let not_attested = || denied("agent is not attested", Some(DenialReason::NotAttested));
        let reported = self.journal.decide(id.as_str(), |view| {
            let decision = report_version(view, &id, &version).ok_or_else(not_attested)?;
            Ok((decision, ()))
        });
        match reported.await {
            Ok(_) => Ok(Response::new(PostStatusResponse {})),
            Err(Failed::Refused(status)) => Err(status),
            Err(Failed::Store(error)) => Err(store_failed(&error)),
        }
    }
}
