//! Images that are assigned to machines.

use hallmark_api::admin::ImageAssignment;
use serde::Serialize;

use super::node::dash;
use crate::{
    output::Show,
    table::{columns, facts},
    timestamp::{rfc3339, told},
};

/// What is assigned to a machine.
#[derive(Debug, Serialize)]
pub(crate) struct AssignmentView {
    /// The node's id; empty where the machine was named by the Name of an EK that it has not proven yet.
    id: String,
    ek: String,
    /// Rises with each assignment and each retry.
    attempt: u64,
    image: String,
    version: String,
    manifest_url: String,
    manifest_sha256: String,
    /// Empty for the machine's only disk.
    disk: String,
    overwrite: bool,
    baseline: String,
    /// `assigned`, `writing`, `written`, `restarting`, `done`, `failed`.
    stage: String,
    chunks_done: u32,
    chunks: u32,
    /// The reason code of a failure, or of what keeps a machine that came back from being done; empty otherwise.
    code: String,
    reason: String,
    /// How often in this attempt the machine came back from the network instead of from its disk.
    returns: u32,
    assigned_at: Option<String>,
    /// Since when it is at its stage.
    since: Option<String>,
    #[serde(skip)]
    since_seconds: i64,
}

impl From<ImageAssignment> for AssignmentView {
    fn from(it: ImageAssignment) -> Self {
        Self {
            id: it.id,
            ek: it.ek,
            attempt: it.attempt,
            image: it.image,
            version: it.version,
            manifest_url: it.manifest_url,
            manifest_sha256: hex::encode(it.manifest_sha256),
            disk: it.disk,
            overwrite: it.overwrite,
            baseline: it.baseline,
            stage: it.stage,
            chunks_done: it.chunks_done,
            chunks: it.chunks,
            code: it.code,
            reason: it.reason,
            returns: it.returns,
            assigned_at: rfc3339(it.assigned_at),
            since: rfc3339(it.since),
            since_seconds: it.since,
        }
    }
}

impl AssignmentView {
    /// What an operator does about the code.
    fn what_to_do(&self) -> String {
        hallmark_reason::lookup(&self.code)
            .map_or_else(String::new, |reason| reason.next_step.unwrap_or_default().to_owned())
    }

    /// The machine, short, as other lists show it.
    fn machine(&self) -> String {
        self.ek.chars().take(12).collect()
    }

    /// The stage, and of one that writes how much is done.
    fn told_stage(&self) -> String {
        let hundredths = u64::from(self.chunks_done).saturating_mul(100);
        match (self.stage.as_str(), hundredths.checked_div(u64::from(self.chunks))) {
            ("writing", Some(percent)) => format!("writing {percent} %"),
            (stage, _) => stage.to_owned(),
        }
    }
}

impl Show for AssignmentView {
    fn table(&self, now: i64) -> String {
        let returns = if self.returns == 0 {
            String::new()
        } else {
            format!("{} times from the network instead of from its disk", self.returns)
        };
        facts(&[
            ("node", self.id.clone()),
            ("ek", self.ek.clone()),
            ("stage", self.told_stage()),
            ("since", told(self.since_seconds, now)),
            ("chunks", format!("{} of {}", self.chunks_done, self.chunks)),
            ("code", self.code.clone()),
            ("reason", self.reason.clone()),
            ("next", self.what_to_do()),
            ("returns", returns),
            ("image", format!("{} {}", self.image, self.version)),
            ("baseline", self.baseline.clone()),
            ("manifest", self.manifest_url.clone()),
            ("sha256", self.manifest_sha256.clone()),
            (
                "disk",
                format!(
                    "{}{}",
                    if self.disk.is_empty() {
                        "the only one"
                    } else {
                        &self.disk
                    },
                    if self.overwrite {
                        ", also where it is not blank"
                    } else {
                        ""
                    }
                ),
            ),
            ("assigned", self.assigned_at.clone().unwrap_or_default()),
            ("attempt", self.attempt.to_string()),
        ])
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct AssignmentList(Vec<AssignmentView>);

impl AssignmentList {
    pub(crate) fn new(all: Vec<ImageAssignment>) -> Self {
        Self(all.into_iter().map(AssignmentView::from).collect())
    }
}

impl Show for AssignmentList {
    fn table(&self, now: i64) -> String {
        let rows: Vec<[String; 7]> = self
            .0
            .iter()
            .map(|it| {
                [
                    it.machine(),
                    it.image.clone(),
                    it.version.clone(),
                    it.told_stage(),
                    told(it.since_seconds, now),
                    dash(&it.code),
                    dash(&it.reason),
                ]
            })
            .collect();
        columns(["NODE", "IMAGE", "VERSION", "STAGE", "SINCE", "CODE", "REASON"], &rows)
    }
}

/// What a command did, or would do.
#[derive(Debug, Serialize)]
pub(crate) struct AssignmentChange {
    /// The command.
    action: &'static str,
    dry_run: bool,
    #[serde(flatten)]
    about: AssignmentView,
    /// What is probably not meant.
    warnings: Vec<String>,
}

impl AssignmentChange {
    pub(crate) fn new(about: ImageAssignment, action: &'static str, dry_run: bool) -> Self {
        Self {
            action,
            dry_run,
            warnings: about.warnings.clone(),
            about: about.into(),
        }
    }
}

impl Show for AssignmentChange {
    fn table(&self, _: i64) -> String {
        let verb = if self.dry_run { "would " } else { "" };
        let AssignmentView { image, version, .. } = &self.about;
        let (machine, stage) = (self.about.machine(), self.about.told_stage());
        format!("{verb}{} {image} {version} of {machine}: {stage}\n", self.action)
    }
}
