//! `hallmark.provision.v1.Provisioning`: what machines that are installed over the network ask and tell. Each is told of its
//! own assignment alone.

use std::sync::Arc;

use hallmark_api::provision::{
    GetAssignmentRequest, GetAssignmentResponse, ReportStepRequest, ReportStepResponse,
    provisioning_server::Provisioning,
};
use hallmark_node::{EkId, NodeId};
use hallmark_state::decide::report_step;
use tonic::{Request, Response, Status, async_trait};

use super::provision::refused;
use crate::{
    caller, connection,
    convert::{DenialReason, assignment_for_machine, denied, step_report},
    journal::{Failed, Journal, store_failed},
    limits::Limits,
};

/// The service.
#[derive(Debug, Clone)]
pub struct ProvisioningService {
    journal: Arc<Journal>,
    limits: Arc<Limits>,
}

impl ProvisioningService {
    /// The service.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, limits: Arc<Limits>) -> Self {
        Self { journal, limits }
    }

    /// The EK of the machine that calls, within what its network may ask.
    async fn machine<T>(&self, request: &Request<T>) -> Result<([u8; 32], String), Status> {
        let id = caller::agent_of(request)?;
        let node = caller::standing(&self.journal, &id)?;
        let address = connection::remote_ip(request.extensions());
        self.limits.provisioning.take(address, 1).await?;
        let ek = node.ek_sha256.or_else(|| NodeId::ek_of(&id));
        let ek = ek.ok_or_else(|| denied("the agent has no endorsement key", Some(DenialReason::NotAttested)))?;
        Ok((ek, id.to_string()))
    }
}

#[async_trait]
impl Provisioning for ProvisioningService {
    async fn get_assignment(
        &self,
        request: Request<GetAssignmentRequest>,
    ) -> Result<Response<GetAssignmentResponse>, Status> {
        let (ek, _) = self.machine(&request).await?;
        let state = self.journal.state();
        let assigned = state.image_assignment_of(&EkId::Spki(ek));
        Ok(Response::new(assignment_for_machine(assigned.map(|it| &**it))))
    }

    async fn report_step(&self, request: Request<ReportStepRequest>) -> Result<Response<ReportStepResponse>, Status> {
        let (ek, id) = self.machine(&request).await?;
        let report = step_report(request.into_inner())?;
        let decided = self
            .journal
            .decide(&id, |view| report_step(view, &ek, &report, self.journal.clock().unix()));
        match decided.await.map(|done| done.answer) {
            Ok(Ok(())) => Ok(Response::new(ReportStepResponse {})),
            Ok(Err(error)) | Err(Failed::Refused(error)) => Err(refused(&error)),
            Err(Failed::Store(error)) => Err(store_failed(&error)),
        }
    }
}
