//! Records.

use hallmark_api::admin::Record;
use hallmark_host::printable;
use hallmark_node::NodeId;
use serde::Serialize;
use serde_json::Value;

use crate::{error::CliError, output::Show, table::columns, timestamp::rfc3339};

/// A record.
#[derive(Debug, Serialize)]
pub(crate) struct RecordView {
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
        Self(records.into_iter().map(RecordView::from).collect())
    }
}

impl From<Record> for RecordView {
    fn from(record: Record) -> Self {
        Self {
            sequence: record.sequence,
            at: rfc3339(record.at),
            kind: record.kind,
            subject: record.subject,
            outcome: record.outcome,
            code: record.code,
            detail: serde_json::from_str(&record.detail).unwrap_or(Value::String(record.detail)),
        }
    }
}

impl RecordView {
    /// As a line of JSON.
    pub(crate) fn line(&self) -> Result<String, CliError> {
        let text = serde_json::to_string(self).map_err(|cause| CliError::Output(std::io::Error::other(cause)))?;
        Ok(text + "\n")
    }

    /// As YAML.
    pub(crate) fn yaml(&self) -> Result<String, CliError> {
        serde_saphyr::to_string(self).map_err(|cause| CliError::Output(std::io::Error::other(cause.to_string())))
    }

    /// As a line for people who watch.
    pub(crate) fn told(&self) -> String {
        let cells = self.cells();
        let words = cells.iter().skip(1).filter(|cell| !cell.is_empty());
        let words: Vec<String> = words.map(|cell| printable(cell)).collect();
        words.join("  ") + "\n"
    }

    fn cells(&self) -> [String; 6] {
        [
            self.sequence.to_string(),
            self.at.clone().unwrap_or_default(),
            short(&self.subject).to_owned(),
            self.outcome.clone(),
            self.code.clone(),
            said(&self.detail),
        ]
    }
}

impl Show for RecordList {
    fn table(&self, _now: i64) -> String {
        let rows: Vec<[String; 6]> = self.0.iter().map(RecordView::cells).collect();
        columns(["RECORD", "TIME", "SUBJECT", "OUTCOME", "CODE", "WHAT"], &rows)
    }
}

/// A node by the start of its EK's hash, as other lists show it; anything else as it is.
fn short(subject: &str) -> &str {
    let node = NodeId::hash_in(subject);
    node.and_then(|hash| hash.get(..12)).unwrap_or(subject)
}

/// What a record's detail says, in a line.
fn said(detail: &Value) -> String {
    let text = |name: &str| detail.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let reason = detail.get("reason");
    let mut parts: Vec<String> = Vec::new();
    parts.extend(attested(detail));
    if let (Some(first), Some(last)) = (number(detail, "first"), number(detail, "last")) {
        parts.push(match first == last {
            true => format!("of record {first}"),
            false => format!("of records {first} to {last}"),
        });
    }
    parts.extend(text("act").map(str::to_owned));
    if let (Some(from), Some(to)) = (text("from"), text("to")) {
        parts.push(format!("{from} -> {to}"));
    }
    parts.extend(text("image").map(|image| format!("{image} {}", text("version").unwrap_or_default())));
    parts.extend(text("spiffe_id").map(str::to_owned));
    if let Some(selectors) = detail.get("selectors").and_then(Value::as_array) {
        let selectors: Vec<&str> = selectors.iter().filter_map(Value::as_str).collect();
        parts.push(format!("for {}", selectors.join(" ")));
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

fn number(detail: &Value, name: &str) -> Option<u64> {
    detail.get(name).and_then(Value::as_u64)
}

/// What an attestation that was accepted says: how and from where, with which TPM.
fn attested(detail: &Value) -> Option<String> {
    let facts = detail.get("facts")?;
    let text = |from: &Value, name: &str| from.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let tpm = ["manufacturer", "model"].map(|name| text(facts, name)).join(" ");
    let tpm = match tpm.trim() {
        "" => String::new(),
        tpm => format!(", TPM {tpm}"),
    };
    let (kind, remote) = (text(detail, "type"), text(detail, "remote"));
    Some(format!("attested by {kind} from {remote}{tpm}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_record_says_something() {
        let accepted = json!({
            "type": "tpm2", "remote": "192.0.2.7:4711",
            "facts": { "manufacturer": "id:494E5443", "model": "INTEL", "verdict": "trusted" },
        });
        assert_eq!(
            said(&accepted),
            "attested by tpm2 from 192.0.2.7:4711, TPM id:494E5443 INTEL"
        );
        let by_inventory = json!({ "type": "tpm2", "remote": "192.0.2.7:4711", "facts": {} });
        assert_eq!(said(&by_inventory), "attested by tpm2 from 192.0.2.7:4711");
        assert_eq!(said(&json!({ "first": 7, "last": 7 })), "of record 7");
        assert_eq!(said(&json!({ "first": 7, "last": 9 })), "of records 7 to 9");
        let refused = json!({ "type": "tpm2", "remote": "192.0.2.7:1", "text": "it is refused", "compared": "" });
        assert_eq!(said(&refused), "it is refused", "the control");
    }
}
