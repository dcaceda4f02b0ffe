//! Policies, baselines, and what follows from them.

use hallmark_api::admin::{MissingFile, NodeChange, PolicyFile, PolicyFileChange};
use hallmark_host::printable;
use hallmark_policy::{Policy, signed::FileKind};
use hallmark_reason::ReasonCode;
use serde::Serialize;

use crate::{
    output::Show,
    table::{columns, facts},
    timestamp::rfc3339,
};

/// A policy that reads.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyView {
    name: String,
    serial: u64,
    dry_run: bool,
    /// The selectors that a machine must have for the policy to apply; none: every machine.
    applies_to: Vec<String>,
}

impl PolicyView {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            name: policy.name.clone(),
            serial: policy.serial,
            dry_run: policy.dry_run,
            applies_to: policy.applies_to.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Show for PolicyView {
    fn table(&self, _now: i64) -> String {
        let to = if self.applies_to.is_empty() {
            "every machine".to_owned()
        } else {
            self.applies_to.join(", ")
        };
        let mode = if self.dry_run { "only reports" } else { "refuses" };
        facts(&[
            ("policy", self.name.clone()),
            ("serial", self.serial.to_string()),
            ("applies to", to),
            ("mode", mode.to_owned()),
        ])
    }
}

/// What was applied or withdrawn, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeView {
    kind: String,
    name: String,
    serial: u64,
    dry_run: bool,
    #[serde(skip)]
    done: &'static str,
    changes: Vec<NodeView>,
    /// How many machines cannot be judged, since what is stored of them does not read back.
    unreadable: u64,
    /// What policies in force name and is not in force.
    missing: Vec<MissingView>,
}

/// A baseline or list of digests that a policy names and that is not in force.
#[derive(Debug, Serialize)]
struct MissingView {
    policy: String,
    kind: String,
    name: String,
}

impl From<MissingFile> for MissingView {
    fn from(missing: MissingFile) -> Self {
        Self {
            policy: missing.policy,
            kind: missing.kind,
            name: missing.name,
        }
    }
}

/// A node whose verdict or selectors change.
#[derive(Debug, Serialize)]
struct NodeView {
    id: String,
    was_trusted: bool,
    is_trusted: bool,
    code: String,
    policy: String,
    rule: String,
    message: String,
    compared: String,
    first_event: String,
}

impl From<NodeChange> for NodeView {
    fn from(change: NodeChange) -> Self {
        Self {
            id: change.id,
            was_trusted: change.was_trusted,
            is_trusted: change.is_trusted,
            code: change.code,
            policy: change.policy,
            rule: change.rule,
            message: change.message,
            compared: change.compared,
            first_event: change.first_event,
        }
    }
}

impl ChangeView {
    pub(crate) fn new(kind: FileKind, changed: PolicyFileChange, done: &'static str, dry_run: bool) -> Self {
        Self {
            kind: kind.to_string(),
            name: changed.name,
            serial: changed.serial,
            dry_run,
            done,
            changes: changed.changes.into_iter().map(NodeView::from).collect(),
            unreadable: changed.unreadable,
            missing: changed.missing.into_iter().map(MissingView::from).collect(),
        }
    }
}

impl Show for ChangeView {
    fn table(&self, _now: i64) -> String {
        let would = if self.dry_run { "would be " } else { "" };
        let mut text = format!(
            "{} {} serial {}: {would}{}\n",
            self.kind, self.name, self.serial, self.done
        );
        if self.unreadable > 0 {
            text.push_str(&format!(
                "cannot be judged, and get nothing signed until they attest again (HM-SRV-0034): {}\n",
                self.unreadable
            ));
        }
        for MissingView { policy, kind, name } in &self.missing {
            text.push_str(&format!(
                "warning {}: policy {policy} names the {kind} {name}, which was never applied, was withdrawn or is retired: it may refuse \
                 every machine\n",
                ReasonCode::new("HM-CLI-0023")
            ));
        }
        if self.changes.is_empty() {
            text.push_str("no machine changes\n");
            return text;
        }
        for change in &self.changes {
            let verdict = match (change.was_trusted, change.is_trusted) {
                (true, false) => "loses trust",
                (false, true) => "is trusted again",
                (true, true) => "changes its selectors",
                (false, false) => "stays refused",
            };
            text.push_str(&format!("\n{}  {verdict}\n", change.id));
            let rule = if change.rule.is_empty() {
                String::new()
            } else {
                format!("{} ({}, {})", change.message, change.policy, change.rule)
            };
            text.push_str(&facts(&[
                ("  reason", change.code.clone()),
                ("  rule", rule),
                ("  compared", change.compared.clone()),
                ("  first event", change.first_event.clone()),
            ]));
        }
        text
    }
}

/// Everything that was ever applied.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct FilesView(Vec<FileView>);

#[derive(Debug, Serialize)]
struct FileView {
    kind: String,
    name: String,
    serial: u64,
    state: &'static str,
    signed: bool,
    /// The key of images whose baseline it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    image_signer: String,
    applied_at: Option<String>,
}

impl FilesView {
    pub(crate) fn new(files: Vec<PolicyFile>) -> Self {
        Self(files.into_iter().map(FileView::from).collect())
    }
}

impl From<PolicyFile> for FileView {
    fn from(file: PolicyFile) -> Self {
        Self {
            state: match (file.in_force, file.is_retired) {
                (true, false) => "in force",
                (true, true) => "retired",
                (false, _) => "withdrawn",
            },
            signed: file.is_signed,
            image_signer: file.image_signer,
            applied_at: rfc3339(file.applied_at),
            kind: file.kind,
            name: file.name,
            serial: file.serial,
        }
    }
}

/// One file with what it says; the table is the file itself.
#[derive(Debug, Serialize)]
pub(crate) struct FileContentView {
    #[serde(flatten)]
    file: FileView,
    /// The file as it was applied, without its signature.
    content: String,
}

impl FileContentView {
    pub(crate) fn new(mut file: PolicyFile) -> Self {
        let content = String::from_utf8_lossy(&std::mem::take(&mut file.payload)).into_owned();
        Self {
            file: file.into(),
            content,
        }
    }
}

impl Show for FileContentView {
    fn table(&self, _now: i64) -> String {
        self.content.clone()
    }
}

impl Show for FilesView {
    fn table(&self, _now: i64) -> String {
        let rows: Vec<[String; 6]> = self
            .0
            .iter()
            .map(|file| {
                [
                    file.kind.clone(),
                    file.name.clone(),
                    file.serial.to_string(),
                    file.state.to_owned(),
                    match (file.signed, file.image_signer.get(..12)) {
                        (_, Some(signer)) => format!("by {signer}"),
                        (true, None) => "yes".to_owned(),
                        (false, None) => "no".to_owned(),
                    },
                    file.applied_at.clone().unwrap_or_default(),
                ]
            })
            .collect();
        columns(["KIND", "NAME", "SERIAL", "STATE", "SIGNED", "APPLIED"], &rows)
    }
}

/// What a policy finds in the evidence of one machine.
#[derive(Debug, Serialize)]
pub(crate) struct TrialView {
    evidence: String,
    /// `holds`, `refused`, or `not for it` where the policy is for other machines.
    verdict: &'static str,
    /// The rules that do not hold.
    reasons: Vec<TrialReason>,
}

#[derive(Debug, Serialize)]
struct TrialReason {
    code: String,
    rule: String,
    text: String,
    compared: Option<String>,
}

impl TrialView {
    pub(crate) fn new(evidence: &std::path::Path, reasons: &[hallmark_policy::Reason]) -> Self {
        let broken = reasons.iter().filter(|reason| !reason.holds);
        let broken: Vec<TrialReason> = broken
            .map(|reason| TrialReason {
                code: reason.code.to_string(),
                rule: reason.rule.clone(),
                text: reason.text.clone(),
                compared: reason.compared.clone(),
            })
            .collect();
        let verdict = match (reasons.is_empty(), broken.is_empty()) {
            (true, _) => "not for it",
            (false, true) => "holds",
            (false, false) => "refused",
        };
        Self {
            evidence: evidence.display().to_string(),
            verdict,
            reasons: broken,
        }
    }
}

/// Of several machines.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct TrialsView(pub(crate) Vec<TrialView>);

impl TrialsView {
    /// Whether one of them is refused.
    pub(crate) fn refuses(&self) -> bool {
        self.0.iter().any(|trial| !trial.reasons.is_empty())
    }
}

impl Show for TrialsView {
    fn table(&self, _: i64) -> String {
        let mut lines = Vec::new();
        for trial in &self.0 {
            lines.push(format!("{}: {}", printable(&trial.evidence), trial.verdict));
            for reason in &trial.reasons {
                let compared = reason
                    .compared
                    .as_deref()
                    .map_or_else(String::new, |it| format!(" ({it})"));
                let line = format!("  {} {}: {}{compared}", reason.code, reason.rule, reason.text);
                lines.push(printable(&line));
            }
        }
        lines.join("\n") + "\n"
    }
}
