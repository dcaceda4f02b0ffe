//! hallmark-server's side, as the generated trait has it: assignments and reports, without attestation.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use hallmark_api::provision::{
    Assignment, GetAssignmentRequest, GetAssignmentResponse, ReportStepRequest, ReportStepResponse, Stage, Step,
    provisioning_client::ProvisioningClient,
    provisioning_server::{Provisioning, ProvisioningServer},
};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};

use super::super::server::Session;
use crate::AgentError;

#[derive(Default)]
struct Inside {
    assignment: Assignment,
    is_over: bool,
    is_removed: bool,
    is_installed: bool,
    /// How often it was said that there is nothing to do.
    idle: usize,
    reports: Vec<ReportStepRequest>,
    refusal: Option<Status>,
    retried_at: Option<Step>,
    /// Reports of so many chunks are denied: the machine is not in service.
    denied_at: Option<u64>,
}

/// The service, to be told what it does and asked what it was told.
#[derive(Clone)]
pub(super) struct Service {
    inside: Arc<Mutex<Inside>>,
    failures: watch::Sender<usize>,
    denials: watch::Sender<usize>,
}

impl Service {
    pub(super) async fn start(assignment: Assignment) -> (Self, SocketAddr) {
        let inside = Inside {
            assignment,
            ..Inside::default()
        };
        let service = Self {
            inside: Arc::new(Mutex::new(inside)),
            failures: watch::Sender::new(0),
            denials: watch::Sender::new(0),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(ProvisioningServer::new(service.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (service, address)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Assignment)) {
        change(&mut self.lock().assignment);
    }

    /// As `hallmark provision retry`.
    pub(super) fn retry(&self) {
        let mut inside = self.lock();
        (inside.is_over, inside.is_removed, inside.is_installed) = (false, false, false);
        inside.assignment.attempt += 1;
    }

    /// As `hallmark provision remove`.
    pub(super) fn remove(&self) {
        self.lock().is_removed = true;
    }

    /// The machine was installed before.
    pub(super) fn is_installed(&self) {
        self.lock().is_installed = true;
    }

    /// How often it was said that there is nothing to do.
    pub(super) fn idle(&self) -> usize {
        self.lock().idle
    }

    /// Another attempt, which may overwrite nothing, takes the place of this one when this step is reported.
    pub(super) fn retry_at_step(&self, step: Step) {
        self.lock().retried_at = Some(step);
    }

    /// As `hallmark node ban`, once so many chunks are written; and as `unban`.
    pub(super) fn deny_at(&self, chunks: Option<u64>) {
        self.lock().denied_at = chunks;
    }

    /// The next report that is denied.
    pub(super) fn denials(&self) -> watch::Receiver<usize> {
        self.denials.subscribe()
    }

    pub(super) fn refuse_once(&self, status: Status) {
        self.lock().refusal = Some(status);
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        self.lock().reports.iter().map(ReportStepRequest::step).collect()
    }

    pub(super) fn last(&self) -> ReportStepRequest {
        self.lock().reports.last().unwrap().clone()
    }

    /// The next report that an attempt failed.
    pub(super) fn failures(&self) -> watch::Receiver<usize> {
        self.failures.subscribe()
    }
}

#[tonic::async_trait]
impl Provisioning for Service {
    async fn get_assignment(
        &self,
        _: Request<GetAssignmentRequest>,
    ) -> Result<Response<GetAssignmentResponse>, Status> {
        let mut inside = self.lock();
        if let Some(status) = inside.refusal.take() {
            return Err(status);
        }
        let stage = match (inside.is_removed, inside.is_over, inside.is_installed) {
            (true, _, _) => Stage::Unspecified,
            (_, true, _) => Stage::Failed,
            (_, _, true) => Stage::Installed,
            _ => Stage::Open,
        };
        let is_told = matches!(stage, Stage::Open | Stage::Installed);
        inside.idle += usize::from(!is_told);
        let assignment = is_told.then(|| inside.assignment.clone());
        Ok(Response::new(GetAssignmentResponse {
            assignment,
            stage: stage.into(),
        }))
    }

    async fn report_step(&self, request: Request<ReportStepRequest>) -> Result<Response<ReportStepResponse>, Status> {
        let report = request.into_inner();
        let mut inside = self.lock();
        if inside.denied_at == Some(report.chunks_done) {
            self.denials.send_modify(|count| *count += 1);
            return Err(Status::permission_denied("the agent is banned"));
        }
        if inside.retried_at == Some(report.step()) {
            inside.retried_at = None;
            inside.assignment.attempt += 1;
            inside.assignment.overwrite = false;
        }
        if report.attempt != inside.assignment.attempt || inside.is_removed {
            return Err(Status::failed_precondition("another attempt"));
        }
        let failed = report.step() == Step::Failed;
        inside.is_over |= failed;
        inside.reports.push(report);
        if failed {
            self.failures.send_modify(|count| *count += 1);
        }
        Ok(Response::new(ReportStepResponse {}))
    }
}

/// A machine that the service knows without an attestation.
pub(super) struct Known(Channel);

impl Known {
    pub(super) fn of(address: SocketAddr) -> Self {
        Self(
            Endpoint::from_shared(format!("http://{address}"))
                .unwrap()
                .connect_lazy(),
        )
    }
}

impl Session for Known {
    async fn client(&mut self) -> Result<ProvisioningClient<Channel>, AgentError> {
        Ok(ProvisioningClient::new(self.0.clone()))
    }

    fn forget(&mut self) {}

    fn node(&self) -> String {
        "node".into()
    }
}
