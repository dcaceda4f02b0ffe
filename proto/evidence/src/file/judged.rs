//! What evidence was judged by.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::binary;
use crate::{error::EvidenceError, limits::Limits};

/// What a server judged evidence by, and what it knew of the machine: enough to judge again as it did. It is the word of
/// whoever made the file, as far as the rest of the file does not bear it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// When it was judged last, Unix seconds.
    pub at: i64,
    /// The trusted roots that its EK certificate can lead to, DER.
    pub anchors: Vec<Vec<u8>>,
    /// The rules that were in force.
    pub rules: Vec<RuleFile>,
    /// What was known of the machine beside the evidence; the form is the policy's.
    pub machine: serde_json::Value,
}

/// Rules as they were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// `configuration`, `policy`, `baseline` or `digest-list`.
    pub kind: String,
    /// The bytes of the file.
    pub content: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JudgedForm {
    at: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    anchors: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleForm>,
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    machine: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    kind: String,
    content: String,
}

impl Judged {
    pub(super) fn form(&self) -> JudgedForm {
        JudgedForm {
            at: self.at,
            anchors: self.anchors.iter().map(|der| STANDARD.encode(der)).collect(),
            rules: self
                .rules
                .iter()
                .map(|rule| RuleForm {
                    kind: rule.kind.clone(),
                    content: STANDARD.encode(&rule.content),
                })
                .collect(),
            machine: self.machine.clone(),
        }
    }

    pub(super) fn of(form: JudgedForm) -> Result<Self, EvidenceError> {
        Limits::check("anchors", form.anchors.len(), Limits::ANCHORS)?;
        Limits::check("rules", form.rules.len(), Limits::RULES)?;
        let anchors = form.anchors.iter();
        let rules = form.rules.into_iter();
        Ok(Self {
            at: form.at,
            anchors: anchors
                .map(|der| binary("anchor", der, Limits::CERTIFICATE))
                .collect::<Result<_, _>>()?,
            rules: rules
                .map(|rule| {
                    Ok(RuleFile {
                        content: binary("rules", &rule.content, Limits::RULE)?,
                        kind: rule.kind,
                    })
                })
                .collect::<Result<_, EvidenceError>>()?,
            machine: form.machine,
        })
    }
}
