//! Records.

use hallmark_api::admin::Record;
use serde::Serialize;
use serde_json::Value;

use crate::{output::Show, table::columns, timestamp::rfc3339};

/// A record.
#[derive(Debug, Serialize)]
struct RecordView {
    sequence: u64,
    at: Option<String>,
    kind: String,
    subject: String,
    outcome: String,
    /// The reason code; empty where nothing was refused.
    code: String,
    detail: Value,
}

/// Records in their order.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct RecordList(Vec<RecordView>);

impl RecordList {
    pub(crate) fn new(records: Vec<Record>) -> Self {
        let view = |record: Record| RecordView {
            sequence: record.sequence,
            at: rfc3339(record.at),
            kind: record.kind,
            subject: record.subject,
            outcome: record.outcome,
            code: record.code,
            detail: serde_json::from_str(&record.detail).unwrap_or(Value::String(record.detail)),
        };
        Self(records.into_iter().map(view).collect())
    }
}

impl Show for RecordList {
    fn table(&self, _now: i64) -> String {
        let rows: Vec<[String; 6]> = self
            .0
            .iter()
            .map(|record| {
                [
                    record.sequence.to_string(),
                    record.at.clone().unwrap_or_default(),
                    short(&record.subject).to_owned(),
                    record.outcome.clone(),
                    record.code.clone(),
                    said(&record.detail),
                ]
            })
            .collect();
        columns(["RECORD", "TIME", "SUBJECT", "OUTCOME", "CODE", "WHAT"], &rows)
    }
}

/// A node by the start of its EK's hash, as other lists show it; anything else as it is.
fn short(subject: &str) -> &str {
    let node = subject.rsplit_once("/spire/agent/tpm2/").map(|(_, hash)| hash);
    node.and_then(|hash| hash.get(..12)).unwrap_or(subject)
}

/// What a record's detail says, in a line.
fn said(detail: &Value) -> String {
    let text = |name: &str| detail.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let reason = detail.get("reason");
    let mut parts: Vec<String> = Vec::new();
    parts.extend(text("act").map(str::to_owned));
    if let (Some(from), Some(to)) = (text("from"), text("to")) {
        parts.push(format!("{from} -> {to}"));
    }
    parts.extend(text("by").map(|by| format!("by {by}")));
    parts.extend(text("cause").map(|cause| format!("by {cause}")));
    parts.extend(text("text").map(str::to_owned));
    parts.extend(text("compared").map(|compared| format!("({compared})")));
    parts.extend(text("reason").map(|reason| format!("reason: {reason}")));
    parts.extend(
        reason
            .and_then(|reason| reason.get("text"))
            .and_then(Value::as_str)
            .map(str::to_owned),
    );
    parts.extend(text("serial").map(|serial| format!("serial {serial}")));
    parts.join(", ")
}
