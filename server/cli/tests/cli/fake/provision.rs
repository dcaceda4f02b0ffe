//! `hallmark.admin.v1.Provision`.

use hallmark_api::admin::{
    AssignImageRequest, ImageAssignment, ListImageAssignmentsRequest, ListImageAssignmentsResponse, RemoveImageRequest,
    RetryImageRequest, provision_server::Provision,
};
use tonic::{Request, Response, Status};

use super::{Fake, NODE_A, NODE_B, NODE_C, NOW, lifecycle::id_of};

fn not_assigned(machine: &str) -> Status {
    Status::not_found(format!(
        "HM-REG-0096: no image is assigned to the machine\n  compared: machine {machine}, no assignment"
    ))
}

/// As a machine has it that has just begun.
fn assigned(machine: &str) -> ImageAssignment {
    ImageAssignment {
        id: id_of(machine),
        ek: machine.into(),
        attempt: 17,
        image: "hallmark-edge".into(),
        version: "1.0.0".into(),
        manifest_url: "http://images.example/edge/manifest".into(),
        manifest_sha256: vec![7; 32].into(),
        baseline: "edge".into(),
        stage: "assigned".into(),
        chunks: 300,
        assigned_at: NOW,
        since: NOW,
        ..ImageAssignment::default()
    }
}

impl Fake {
    /// One machine writes, one has failed.
    pub(crate) fn installs(&self) {
        let writes = ImageAssignment {
            stage: "writing".into(),
            chunks_done: 129,
            disk: "/dev/nvme0n1".into(),
            overwrite: true,
            ..assigned(NODE_A)
        };
        let failed = ImageAssignment {
            stage: "failed".into(),
            code: "HM-AGENT-0044".into(),
            reason: "the disk is\u{1b}[2J too small".into(),
            returns: 1,
            ..assigned(NODE_B)
        };
        self.state().images = [(NODE_A.to_owned(), writes), (NODE_B.to_owned(), failed)].into();
    }
}

#[tonic::async_trait]
impl Provision for Fake {
    async fn assign_image(&self, request: Request<AssignImageRequest>) -> Result<Response<ImageAssignment>, Status> {
        let request = request.into_inner();
        let is_known = [NODE_A, NODE_B, NODE_C].contains(&request.machine.as_str());
        let warnings = (!is_known).then(|| "nobody has seen the\u{1b}[2J machine".to_owned());
        let new = ImageAssignment {
            warnings: warnings.into_iter().collect(),
            image: request.image,
            version: request.version,
            chunks: request.chunks,
            manifest_url: request.manifest_url,
            manifest_sha256: request.manifest_sha256,
            disk: request.disk,
            overwrite: request.overwrite,
            baseline: request.baseline,
            ..assigned(&request.machine)
        };
        if !request.dry_run {
            self.state().images.insert(request.machine, new.clone());
        }
        Ok(Response::new(new))
    }

    /// One a page, whatever is asked for.
    async fn list_image_assignments(
        &self,
        request: Request<ListImageAssignmentsRequest>,
    ) -> Result<Response<ListImageAssignmentsResponse>, Status> {
        let request = request.into_inner();
        let state = self.state();
        if !request.machine.is_empty() {
            return Ok(Response::new(ListImageAssignmentsResponse {
                assignments: state.images.get(&request.machine).cloned().into_iter().collect(),
                next_page_token: String::new(),
            }));
        }
        let mut rest = state.images.values().filter(|it| it.ek > request.page_token).cloned();
        let assignments: Vec<_> = rest.next().into_iter().collect();
        let next_page_token = match rest.next() {
            Some(_) => assignments[0].ek.clone(),
            None => String::new(),
        };
        Ok(Response::new(ListImageAssignmentsResponse {
            assignments,
            next_page_token,
        }))
    }

    async fn retry_image(&self, request: Request<RetryImageRequest>) -> Result<Response<ImageAssignment>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        let before = state.images.get(&request.machine);
        let before = before.ok_or_else(|| not_assigned(&request.machine))?;
        let after = ImageAssignment {
            attempt: before.attempt + 1,
            ..assigned(&request.machine)
        };
        if !request.dry_run {
            state.images.insert(request.machine, after.clone());
        }
        Ok(Response::new(after))
    }

    async fn remove_image(&self, request: Request<RemoveImageRequest>) -> Result<Response<ImageAssignment>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        let found = state.images.get(&request.machine).cloned();
        if !request.dry_run {
            state.images.remove(&request.machine);
        }
        found.map(Response::new).ok_or_else(|| not_assigned(&request.machine))
    }
}
