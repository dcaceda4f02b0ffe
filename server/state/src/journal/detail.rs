//! Events as operators read them: what the typed event says, as a JSON object.

use std::time::Duration;

use hallmark_spiffe::x509::SerialHex;
use serde_json::{Map, Value, json};

use super::{Event, EventPart, ReadableRecord, Transaction, What};
use crate::{Entry, NodeState};

impl Event {
    /// The event as operators read it, of a transaction that was decided at `at` (Unix seconds) by `actor`.
    #[must_use]
    pub fn readable(&self, at: i64, actor: &str) -> ReadableRecord {
        let at = match &self.what {
            What::Older { at, .. } => *at,
            _ => at,
        };
        ReadableRecord {
            at,
            kind: self.kind(),
            subject: self.subject.to_string(),
            outcome: self.outcome,
            code: self.code.to_string(),
            detail: self.detail(actor),
        }
    }

    fn detail(&self, actor: &str) -> String {
        match &self.what {
            What::Accepted {
                remote,
                attestation_type,
                facts,
                evidence_sha256,
            } => {
                let (facts, kind) = (facts.to_json(), json!(attestation_type));
                let evidence = evidence_sha256.map(|it| format!(r#""evidence_sha256":"{}","#, hex::encode(it)));
                let evidence = evidence.unwrap_or_default();
                format!(r#"{{{evidence}"facts":{facts},"remote":"{remote}","type":{kind}}}"#)
            }
            What::SvidIntent {
                serial,
                expires_at,
                entry,
                holder,
            } => {
                let serial = SerialHex(&serial.to_be_bytes()).to_string();
                let [entry, holder] = [json!(&**entry), json!(holder.as_deref().unwrap_or(actor))];
                format!(r#"{{"serial":"{serial}","expires_at":{expires_at},"entry":{entry},"holder":{holder}}}"#)
            }
            What::JwtSvidIntent {
                id,
                expires_at,
                audience,
                key_id,
                entry,
            } => {
                let id = format!("{id:032x}");
                let [entry, holder, key] = [json!(&**entry), json!(actor), json!(key_id)];
                let audience = json!(audience);
                format!(
                    r#"{{"jti":"{id}","expires_at":{expires_at},"audience":{audience},"key_id":{key},"entry":{entry},"holder":{holder}}}"#
                )
            }
            What::SvidOutcome { first, last } => format!(r#"{{"first":{first},"last":{last}}}"#),
            What::Older { detail, .. } => detail.clone(),
            what => value(what, actor).to_string(),
        }
    }
}

fn verdict(what: &What) -> Value {
    match what {
        What::Refused {
            remote,
            attestation_type,
            text,
            compared,
            evidence_sha256,
        } => with_evidence(
            json!({ "remote": remote.to_string(), "type": attestation_type, "text": text, "compared": compared }),
            evidence_sha256.as_ref(),
        ),
        What::Reappraised {
            cause,
            was_trusted,
            reason,
            evidence_sha256,
        } => {
            let reason = reason.as_ref().map(EventPart::to_json);
            let reason = reason.and_then(|reason| serde_json::from_str::<Value>(&reason).ok());
            with_evidence(
                json!({ "cause": cause, "was_trusted": was_trusted, "reason": reason }),
                evidence_sha256.as_ref(),
            )
        }
        _ => Value::Null,
    }
}

/// The detail, with those of the texts that are not empty.
fn with_named<'a>(mut detail: Value, texts: impl IntoIterator<Item = (&'a str, &'a String)>) -> Value {
    if let Some(detail) = detail.as_object_mut() {
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
        detail.extend(texts.map(|(name, text)| (name.to_owned(), json!(text))));
    }
    detail
}

fn value(what: &What, actor: &str) -> Value {
    match what {
        What::Refused { .. } | What::Reappraised { .. } => verdict(what),
        What::NodeStep { act, from, to, reason } => {
            let name = |state: Option<NodeState>| state.map_or("unknown", NodeState::as_str);
            json!({ "act": act, "by": actor, "from": name(*from), "to": name(*to), "reason": reason })
        }
        What::Entry {
            act,
            entry,
            before,
            reason,
        } => {
            let mut detail = entry_fields(entry);
            detail.insert("act".to_owned(), act.as_str().into());
            detail.insert("by".to_owned(), actor.into());
            detail.insert("reason".to_owned(), reason.as_str().into());
            // What an update replaced stays to be read.
            if let Some(before) = before {
                let mut before = entry_fields(before);
                before.retain(|field, value| detail.get(field) != Some(value));
                detail.insert("before".to_owned(), before.into());
            }
            Value::Object(detail)
        }
        What::InventoryImported {
            added,
            changed,
            unchanged,
            removed,
            reason,
        } => json!({
            "act": "inventory-imported", "by": actor, "reason": reason,
            "added": added, "changed": changed, "unchanged": unchanged, "removed": removed,
        }),
        What::InventoryRemoved { removed, reason } => {
            json!({ "act": "inventory-removed", "by": actor, "reason": reason, "removed": removed })
        }
        What::PolicyFile {
            act,
            kind,
            serial,
            signed,
            reason,
            image_signer,
            replaced_signer,
        } => {
            let signers = [("image_signer", image_signer), ("replaced_signer", replaced_signer)];
            let detail =
                json!({ "act": act, "by": actor, "reason": reason, "kind": kind, "serial": serial, "signed": signed });
            with_named(detail, signers)
        }
        What::Authority { act, reason, facts } => {
            let mut detail = Map::from_iter([("act".to_owned(), json!(act))]);
            if let Some(reason) = reason {
                detail.insert("by".to_owned(), actor.into());
                detail.insert("reason".to_owned(), reason.as_str().into());
            }
            detail.extend(facts.iter().map(|(name, fact)| (name.clone(), json!(fact))));
            Value::Object(detail)
        }
        What::RollbackAccepted {
            code,
            found,
            incarnation,
            reason,
        } => json!({
            "act": "store-rollback-accepted", "by": actor, "reason": reason,
            "code": code, "found": found, "incarnation": format!("{incarnation:032x}"),
        }),
        What::InstallStep(step) => json!({
            "act": step.act.as_str(), "by": actor, "reason": step.reason, "attempt": step.attempt, "image": step.image,
            "version": step.version, "manifest_sha256": hex::encode(step.manifest_sha256), "baseline": step.baseline,
        }),
        What::Accepted { .. }
        | What::SvidIntent { .. }
        | What::JwtSvidIntent { .. }
        | What::SvidOutcome { .. }
        | What::Older { .. } => Value::Null,
    }
}

/// The same, with the SHA-256 of the evidence that a verdict rests on, where it is known.
fn with_evidence(mut detail: Value, sha256: Option<&[u8; 32]>) -> Value {
    if let (Value::Object(detail), Some(sha256)) = (&mut detail, sha256) {
        detail.insert("evidence_sha256".to_owned(), hex::encode(sha256).into());
    }
    detail
}

/// What an entry gives, to whom. Fields that say nothing are left out.
fn entry_fields(entry: &Entry) -> Map<String, Value> {
    let list = |items: Vec<String>| Value::from(items);
    let seconds = |time: Duration| Value::from(time.as_secs());
    let selectors = entry.selectors.iter().map(ToString::to_string).collect();
    let federates_with = entry.federates_with.iter().map(ToString::to_string).collect();
    let fields = [
        ("spiffe_id", entry.spiffe_id.as_str().into()),
        ("parent_id", entry.parent_id.as_str().into()),
        ("selectors", list(selectors)),
        ("revision", entry.revision.into()),
        ("x509_svid_ttl", seconds(entry.x509_svid_ttl)),
        ("jwt_svid_ttl", seconds(entry.jwt_svid_ttl)),
        ("federates_with", list(federates_with)),
        ("dns_names", list(entry.dns_names.clone())),
        ("admin", entry.admin.into()),
        ("downstream", entry.downstream.into()),
        ("store_svid", entry.store_svid.into()),
        ("expires_at", entry.expires_at.into()),
        ("hint", entry.hint.as_str().into()),
    ];
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Number(number) => number.as_u64() != Some(0),
        _ => true,
    };
    fields
        .into_iter()
        .filter(|(name, value)| *name == "revision" || says(value))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

impl Transaction {
    /// Its events as operators read them, numbered from `first` on.
    pub fn readable(&self, first: u64) -> impl Iterator<Item = super::StoredRecord> + '_ {
        (first..)
            .zip(&self.events)
            .map(|(sequence, event)| super::StoredRecord {
                sequence,
                record: event.readable(self.at, &self.actor),
            })
    }
}
