//! `hallmark.admin.v1.Provision`: which image is installed over the network on which machine.

use std::{
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use hallmark_api::admin::{
    AssignImageRequest, ImageAssignment as ImageAssignmentMessage, ListImageAssignmentsRequest,
    ListImageAssignmentsResponse, RemoveImageRequest, RetryImageRequest, provision_server::Provision,
};
use hallmark_node::EkId;
use hallmark_reason::Report;
use hallmark_state::{
    Decision, ImageAssignment, ProvisionError, State, View,
    decide::{ProvisionAsk, assign_image, remove_image, retry_image},
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    caller,
    convert::{image_assignment_message, image_order, machine, new_image_assignment_message, next_page},
    journal::{Failed, Journal, store_failed},
};

/// Most assignments on a page; fewer where they are large.
const PAGE: usize = 500;

/// The service.
#[derive(Debug, Clone)]
pub struct ProvisionService {
    journal: Arc<Journal>,
}

impl ProvisionService {
    /// The service.
    #[must_use]
    pub const fn new(journal: Arc<Journal>) -> Self {
        Self { journal }
    }

    /// Makes a decision of an operator durable, and answers with the assignment that it is about.
    async fn decide(
        &self,
        by: &str,
        decide: impl FnMut(View<'_>) -> Result<(Decision, ImageAssignment), ProvisionError>,
        tell: impl FnOnce(&State, &ImageAssignment) -> ImageAssignmentMessage,
    ) -> Result<Response<ImageAssignmentMessage>, Status> {
        match self.journal.decide(by, decide).await {
            Ok(done) => Ok(Response::new(tell(&self.journal.state(), &done.answer))),
            Err(Failed::Refused(error)) => Err(refused(&error)),
            Err(Failed::Store(error)) => Err(store_failed(&error)),
        }
    }
}

#[async_trait]
impl Provision for ProvisionService {
    async fn assign_image(
        &self,
        request: Request<AssignImageRequest>,
    ) -> Result<Response<ImageAssignmentMessage>, Status> {
        let by = caller::of(&request)?.actor();
        let request = request.into_inner();
        let (machine, order) = (machine(&request.machine)?, image_order(&request)?);
        let ask = ask(&machine, &request.reason, request.dry_run)?;
        let now = self.journal.clock().unix();
        let decide = |view: View<'_>| assign_image(view, &ask, &order, now);
        self.decide(&by, decide, new_image_assignment_message).await
    }

    async fn list_image_assignments(
        &self,
        request: Request<ListImageAssignmentsRequest>,
    ) -> Result<Response<ListImageAssignmentsResponse>, Status> {
        list(&self.journal, &request.into_inner()).map(Response::new)
    }

    async fn retry_image(
        &self,
        request: Request<RetryImageRequest>,
    ) -> Result<Response<ImageAssignmentMessage>, Status> {
        let by = caller::of(&request)?.actor();
        let request = request.into_inner();
        let machine = machine(&request.machine)?;
        let ask = ask(&machine, &request.reason, request.dry_run)?;
        let now = self.journal.clock().unix();
        let decide = |view: View<'_>| retry_image(view, &ask, now);
        self.decide(&by, decide, image_assignment_message).await
    }

    async fn remove_image(
        &self,
        request: Request<RemoveImageRequest>,
    ) -> Result<Response<ImageAssignmentMessage>, Status> {
        let by = caller::of(&request)?.actor();
        let request = request.into_inner();
        let machine = machine(&request.machine)?;
        let ask = ask(&machine, &request.reason, request.dry_run)?;
        let decide = |view: View<'_>| remove_image(view, &ask);
        self.decide(&by, decide, image_assignment_message).await
    }
}

fn ask<'a>(machine: &'a EkId, reason: &'a str, dry_run: bool) -> Result<ProvisionAsk<'a>, Status> {
    Ok(ProvisionAsk {
        machine,
        reason: caller::reason(reason)?,
        dry_run,
    })
}

/// A page of what is assigned, or what is assigned to one machine.
fn list(journal: &Journal, request: &ListImageAssignmentsRequest) -> Result<ListImageAssignmentsResponse, Status> {
    let state = journal.state();
    if !request.machine.is_empty() {
        let newest = state.image_assignment_of(&machine(&request.machine)?);
        return Ok(ListImageAssignmentsResponse {
            assignments: newest
                .map(|it| image_assignment_message(&state, it))
                .into_iter()
                .collect(),
            next_page_token: String::new(),
        });
    }
    let after = match request.page_token.as_str() {
        "" => Unbounded,
        token => Excluded(EkId::parse(token).map_err(|_| Status::invalid_argument("malformed page token"))?),
    };
    let size = match usize::try_from(request.page_size) {
        Ok(0) | Err(_) => PAGE,
        Ok(size) => size.min(PAGE),
    };
    let all = state.image_assignments().range((after, Unbounded));
    let mut all = all.map(|(_, it)| image_assignment_message(&state, it)).peekable();
    let assignments = next_page(&mut all, size);
    let next_page_token = match (assignments.last(), all.peek()) {
        (Some(last), Some(_)) => last.ek.clone(),
        _ => String::new(),
    };
    Ok(ListImageAssignmentsResponse {
        assignments,
        next_page_token,
    })
}

/// What a caller hears who was refused.
pub(super) fn refused(error: &ProvisionError) -> Status {
    let text = Report(error).to_string();
    match error {
        ProvisionError::NotAssigned { .. } => Status::not_found(text),
        ProvisionError::Order { .. } | ProvisionError::Report { .. } => Status::invalid_argument(text),
        _ => Status::failed_precondition(text),
    }
}
