//! Messages of images that are assigned to machines, and of their steps.

use super::{
    EncodingError,
    rows::{ek, hash},
    wrong,
};
use crate::{ImageAssignment, ImageOrder, InstallAct, InstallStage, InstallStep};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AssignmentMessage {
    #[prost(string, tag = "1")]
    ek: String,
    #[prost(uint64, tag = "2")]
    attempt: u64,
    #[prost(string, tag = "3")]
    image: String,
    #[prost(string, tag = "4")]
    version: String,
    #[prost(uint32, tag = "5")]
    chunks: u32,
    #[prost(string, tag = "6")]
    manifest_url: String,
    #[prost(bytes = "vec", tag = "7")]
    manifest_sha256: Vec<u8>,
    #[prost(string, tag = "8")]
    disk: String,
    #[prost(bool, tag = "9")]
    overwrite: bool,
    #[prost(string, tag = "10")]
    baseline: String,
    #[prost(string, tag = "11")]
    stage: String,
    #[prost(uint32, tag = "12")]
    chunks_done: u32,
    #[prost(string, tag = "13")]
    code: String,
    #[prost(string, tag = "14")]
    reason: String,
    #[prost(uint32, tag = "15")]
    returns: u32,
    #[prost(int64, tag = "16")]
    assigned_at: i64,
    #[prost(int64, tag = "17")]
    since: i64,
    #[prost(uint32, optional, tag = "18")]
    restarted_in: Option<u32>,
}

pub(super) fn assignment_message(it: &ImageAssignment) -> AssignmentMessage {
    let (chunks_done, code, reason) = it.stage.parts();
    AssignmentMessage {
        ek: it.ek.to_string(),
        attempt: it.attempt,
        image: it.order.image.clone(),
        version: it.order.version.clone(),
        chunks: it.order.chunks,
        manifest_url: it.order.manifest_url.clone(),
        manifest_sha256: it.order.manifest_sha256.to_vec(),
        disk: it.order.disk.clone(),
        overwrite: it.order.overwrite,
        baseline: it.order.baseline.clone(),
        stage: it.stage.as_str().to_owned(),
        chunks_done,
        code: code.to_owned(),
        reason: reason.to_owned(),
        returns: it.returns,
        assigned_at: it.assigned_at,
        since: it.since,
        restarted_in: it.restarted_in,
    }
}

pub(super) fn assignment(it: AssignmentMessage) -> Result<ImageAssignment, EncodingError> {
    let stage = InstallStage::from_parts(&it.stage, it.chunks_done, &it.code, &it.reason);
    Ok(ImageAssignment {
        ek: ek(&it.ek)?,
        attempt: it.attempt,
        order: ImageOrder {
            image: it.image,
            version: it.version,
            chunks: it.chunks,
            manifest_url: it.manifest_url,
            manifest_sha256: hash(&it.manifest_sha256)?,
            disk: it.disk,
            overwrite: it.overwrite,
            baseline: it.baseline,
        },
        stage: stage.ok_or_else(|| wrong("stage of an installation"))?,
        returns: it.returns,
        restarted_in: it.restarted_in,
        assigned_at: it.assigned_at,
        since: it.since,
    })
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InstallStepMessage {
    #[prost(string, tag = "1")]
    act: String,
    #[prost(uint64, tag = "2")]
    attempt: u64,
    #[prost(string, tag = "3")]
    image: String,
    #[prost(string, tag = "4")]
    version: String,
    #[prost(bytes = "vec", tag = "5")]
    manifest_sha256: Vec<u8>,
    #[prost(string, tag = "6")]
    baseline: String,
    #[prost(string, tag = "7")]
    reason: String,
}

pub(super) fn install_step_message(it: InstallStep) -> InstallStepMessage {
    InstallStepMessage {
        act: it.act.as_str().to_owned(),
        attempt: it.attempt,
        image: it.image,
        version: it.version,
        manifest_sha256: it.manifest_sha256.to_vec(),
        baseline: it.baseline,
        reason: it.reason,
    }
}

pub(super) fn install_step(it: InstallStepMessage) -> Result<InstallStep, EncodingError> {
    let act = InstallAct::ALL.into_iter().find(|act| act.as_str() == it.act);
    Ok(InstallStep {
        act: act.ok_or_else(|| wrong("act"))?,
        attempt: it.attempt,
        image: it.image,
        version: it.version,
        manifest_sha256: hash(&it.manifest_sha256)?,
        baseline: it.baseline,
        reason: it.reason,
    })
}
