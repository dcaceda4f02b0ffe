//! Policies and baselines.

use hallmark_api::admin::{
    ApplyPolicyFileRequest, GetPolicyFileRequest, ListPolicyFilesResponse, MissingFile, NodeChange, PolicyFile,
    PolicyFileChange, WithdrawPolicyFileRequest,
};
use hallmark_policy::{
    Baseline, BaselineState,
    signed::{FileKind, SignedFile, Signer},
};
use hallmark_reason::Report;
use tonic::{Request, Status};

use crate::{
    appraise::{Applied, Appraiser, Missing, Offered, PolicyFileError},
    caller,
    journal::Journal,
};

pub(super) async fn apply(
    appraiser: &Appraiser,
    request: Request<ApplyPolicyFileRequest>,
) -> Result<PolicyFileChange, Status> {
    let act = caller::act(&request)?;
    let request = request.into_inner();
    let offered = Offered {
        kind: kind(&request.kind)?,
        content: request.content.to_vec(),
        replace_signer: request.replace_signer,
    };
    let applied = appraiser.apply(offered, request.dry_run, &act).await;
    applied.map(message).map_err(|error| refused(&error))
}

pub(super) async fn withdraw(
    appraiser: &Appraiser,
    request: Request<WithdrawPolicyFileRequest>,
) -> Result<PolicyFileChange, Status> {
    let act = caller::act(&request)?;
    let request = request.into_inner();
    let kind = kind(&request.kind)?;
    let withdrawn = appraiser.withdraw(kind, &request.name, request.dry_run, &act).await;
    withdrawn.map(message).map_err(|error| refused(&error))
}

pub(super) fn list(journal: &Journal) -> ListPolicyFilesResponse {
    let files: Vec<_> = journal.state().policy_files().values().cloned().collect();
    let files = files.iter().map(|file| PolicyFile {
        payload: Vec::new().into(),
        ..whole(file)
    });
    ListPolicyFilesResponse { files: files.collect() }
}

pub(super) fn get(journal: &Journal, request: GetPolicyFileRequest) -> Result<PolicyFile, Status> {
    let kind = kind(&request.kind)?;
    let place = (kind, request.name.clone());
    let file = journal.state().policy_files().get(&place).cloned();
    file.map(|file| whole(&file))
        .ok_or_else(|| Status::not_found(format!("no {kind} named {} was ever applied", request.name)))
}

fn whole(file: &hallmark_state::PolicyFile) -> PolicyFile {
    let baseline = (file.kind == FileKind::Baseline.as_str()).then(|| String::from_utf8_lossy(&file.payload));
    let baseline = baseline.and_then(|text| Baseline::from_json(&text).ok());
    PolicyFile {
        is_retired: baseline.is_some_and(|baseline| baseline.state == BaselineState::Retired),
        is_signed: !file.signed.is_empty(),
        image_signer: match SignedFile::signer_of(&file.signed) {
            Signer::Operators => String::new(),
            Signer::Images(key) => key.to_string(),
        },
        kind: file.kind.clone(),
        name: file.name.clone(),
        serial: file.serial,
        applied_at: file.applied_at,
        in_force: file.in_force,
        payload: file.payload.clone().into(),
    }
}

fn kind(name: &str) -> Result<FileKind, Status> {
    FileKind::from_name(name).ok_or_else(|| Status::invalid_argument("kind must be policy, baseline or digest-list"))
}

fn message(applied: Applied) -> PolicyFileChange {
    PolicyFileChange {
        name: applied.name,
        serial: applied.serial,
        changes: applied.changes.iter().map(node_change).collect(),
        unreadable: u64::try_from(applied.unreadable).unwrap_or(u64::MAX),
        missing: applied.missing.into_iter().map(missing_file).collect(),
    }
}

fn missing_file(missing: Missing) -> MissingFile {
    MissingFile {
        policy: missing.policy,
        kind: missing.kind.as_str().to_owned(),
        name: missing.name,
    }
}

fn node_change(change: &hallmark_policy::AppraisalChange) -> NodeChange {
    let reason = change.result.refusal();
    let text = |pick: fn(&hallmark_policy::Reason) -> String| reason.map_or_else(String::new, pick);
    NodeChange {
        id: change.node.clone(),
        was_trusted: change.was_trusted,
        is_trusted: reason.is_none(),
        code: text(|reason| reason.code.to_string()),
        policy: text(|reason| reason.policy.clone()),
        rule: text(|reason| reason.rule.clone()),
        message: text(|reason| reason.text.clone()),
        compared: text(|reason| reason.compared.clone().unwrap_or_default()),
        first_event: text(|reason| {
            reason
                .first_event
                .as_ref()
                .map_or_else(String::new, ToString::to_string)
        }),
    }
}

pub(super) fn refused(error: &PolicyFileError) -> Status {
    let text = Report(error).to_string();
    match error {
        PolicyFileError::Store(_) | PolicyFileError::Unreadable(_) | PolicyFileError::Stopping => {
            Status::unavailable(text)
        }
        PolicyFileError::NotInForce { .. } => Status::not_found(text),
        _ => Status::invalid_argument(text),
    }
}
