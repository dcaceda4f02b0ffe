//! Images that are assigned to machines.

use hallmark_api::{
    admin::{AssignImageRequest, ImageAssignment as ImageAssignmentMessage},
    provision::{Assignment, GetAssignmentResponse, ReportStepRequest, Stage, Step},
};
use hallmark_node::{EkId, NodeId};
use hallmark_reason::Report;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    AssignWarning, ImageAssignment, ImageOrder, InstallFinding, InstallStage, State,
    decide::{ReportedStep, StepReport},
};
use tonic::Status;

/// The machine that an operator names: by the id of its agent, or by an endorsement key.
///
/// # Errors
/// `InvalidArgument` for what is neither.
pub fn machine(text: &str) -> Result<EkId, Status> {
    if text.contains('/') {
        let id = SpiffeId::parse(text).map_err(|error| Status::invalid_argument(format!("invalid id: {error}")))?;
        let ek = NodeId::ek_of(&id).ok_or_else(|| Status::invalid_argument("invalid id: not a node's"))?;
        return Ok(EkId::Spki(ek));
    }
    EkId::parse(text).map_err(|error| Status::invalid_argument(Report(&error).to_string()))
}

/// What an operator wants on a machine's disk.
///
/// # Errors
/// `InvalidArgument` for a digest that is none. The rest is judged by the decision.
pub fn image_order(request: &AssignImageRequest) -> Result<ImageOrder, Status> {
    let digest = request.manifest_sha256.as_ref().try_into();
    Ok(ImageOrder {
        image: request.image.clone(),
        version: request.version.clone(),
        chunks: request.chunks,
        manifest_url: request.manifest_url.clone(),
        manifest_sha256: digest.map_err(|_| Status::invalid_argument("manifest_sha256 is not of 32 bytes"))?,
        disk: request.disk.clone(),
        overwrite: request.overwrite,
        baseline: request.baseline.clone(),
    })
}

/// An assignment, for operators.
#[must_use]
pub fn image_assignment_message(state: &State, it: &ImageAssignment) -> ImageAssignmentMessage {
    let (chunks_done, code, reason) = it.stage.parts();
    let finding = InstallFinding::of(state, it);
    let (code, reason) = finding.as_ref().map_or_else(
        || (code.to_owned(), reason.to_owned()),
        |finding| (finding.told_code().to_owned(), finding.to_string()),
    );
    let ek = state.links().ek_of_key(&it.ek);
    let id = ek.and_then(|ek| NodeId::new(state.trust_domain(), &ek).ok());
    let is_written = matches!(
        it.stage,
        InstallStage::Written | InstallStage::Restarting | InstallStage::Done
    );
    ImageAssignmentMessage {
        id: id.map_or_else(String::new, |id| id.to_string()),
        ek: it.ek.to_string(),
        attempt: it.attempt,
        image: it.order.image.clone(),
        version: it.order.version.clone(),
        manifest_url: it.order.manifest_url.clone(),
        manifest_sha256: it.order.manifest_sha256.to_vec().into(),
        disk: it.order.disk.clone(),
        overwrite: it.order.overwrite,
        baseline: it.order.baseline.clone(),
        stage: it.stage.as_str().to_owned(),
        chunks_done: if is_written { it.order.chunks } else { chunks_done },
        chunks: it.order.chunks,
        code,
        reason,
        returns: it.returns,
        assigned_at: it.assigned_at,
        since: it.since,
        warnings: Vec::new(),
    }
}

/// An assignment that was just made, with what is probably not meant.
#[must_use]
pub fn new_image_assignment_message(state: &State, it: &ImageAssignment) -> ImageAssignmentMessage {
    let warning = AssignWarning::of(state, &it.ek);
    ImageAssignmentMessage {
        warnings: warning.iter().map(ToString::to_string).collect(),
        ..image_assignment_message(state, it)
    }
}

/// What a machine is told to do: nothing once that has failed.
#[must_use]
pub fn assignment_for_machine(it: Option<&ImageAssignment>) -> GetAssignmentResponse {
    let stage = match it.map(|it| &it.stage) {
        None => Stage::Unspecified,
        Some(InstallStage::Assigned | InstallStage::Writing { .. } | InstallStage::Written) => Stage::Open,
        Some(InstallStage::Restarting | InstallStage::Done) => Stage::Installed,
        Some(InstallStage::Failed { .. }) => Stage::Failed,
    };
    let told = it.filter(|_| stage != Stage::Failed);
    GetAssignmentResponse {
        assignment: told.map(|it| Assignment {
            attempt: it.attempt,
            manifest_url: it.order.manifest_url.clone(),
            manifest_sha256: it.order.manifest_sha256.to_vec().into(),
            disk: it.order.disk.clone(),
            overwrite: it.order.overwrite,
        }),
        stage: stage.into(),
    }
}

/// What a machine reports.
///
/// # Errors
/// `InvalidArgument` for a step that is none, and for numbers of chunks that no image has.
pub fn step_report(request: ReportStepRequest) -> Result<StepReport, Status> {
    let chunks = |count: u64| u32::try_from(count).map_err(|_| Status::invalid_argument("too many chunks"));
    let step = match request.step() {
        Step::Unspecified => return Err(Status::invalid_argument("step is missing")),
        Step::Writing => ReportedStep::Writing {
            done: chunks(request.chunks_done)?,
            of: chunks(request.chunks)?,
        },
        Step::Written => ReportedStep::Written,
        Step::Restarting => ReportedStep::Restarting,
        Step::Returned => ReportedStep::Returned,
        Step::Failed => ReportedStep::Failed {
            code: request.code,
            reason: request.reason,
        },
    };
    Ok(StepReport {
        attempt: request.attempt,
        manifest_sha256: request.manifest_sha256.to_vec(),
        step,
    })
}
