//! Messages of events.

use std::{net::SocketAddr, sync::Arc};

use super::{
    EncodingError,
    assignment::{InstallStepMessage, install_step, install_step_message},
    rows::{EntryMessage, entry, entry_message, hash, serial},
    wrong,
};
use crate::{AttestedFacts, EntryAct, Event, EventPart, NodeState, Outcome, RecordKind, RefusingRule, What};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EventMessage {
    #[prost(string, tag = "1")]
    subject: String,
    #[prost(int64, tag = "2")]
    outcome: i64,
    #[prost(string, tag = "3")]
    code: String,
    #[prost(oneof = "Kind", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "4")]
    Accepted(AcceptedMessage),
    #[prost(message, tag = "5")]
    Refused(RefusedMessage),
    #[prost(message, tag = "6")]
    Reappraised(ReappraisedMessage),
    #[prost(message, tag = "7")]
    SvidIntent(SvidIntentMessage),
    #[prost(message, tag = "8")]
    SvidOutcome(SvidOutcomeMessage),
    #[prost(message, tag = "9")]
    NodeStep(NodeStepMessage),
    #[prost(message, tag = "10")]
    Entry(EntryEventMessage),
    #[prost(message, tag = "11")]
    InventoryImported(InventoryImportedMessage),
    #[prost(message, tag = "12")]
    InventoryRemoved(InventoryRemovedMessage),
    #[prost(message, tag = "13")]
    PolicyFile(PolicyFileMessage),
    #[prost(message, tag = "14")]
    Authority(AuthorityMessage),
    #[prost(message, tag = "15")]
    Older(OlderMessage),
    #[prost(message, tag = "16")]
    RollbackAccepted(RollbackAcceptedMessage),
    #[prost(message, tag = "17")]
    InstallStep(InstallStepMessage),
    #[prost(message, tag = "18")]
    JwtSvidIntent(JwtSvidIntentMessage),
}

#[derive(Clone, PartialEq, prost::Message)]
struct AcceptedMessage {
    #[prost(string, tag = "1")]
    remote: String,
    #[prost(string, tag = "2")]
    attestation_type: String,
    /// In records from before `facts`.
    #[prost(string, tag = "3")]
    facts_json: String,
    #[prost(message, optional, boxed, tag = "4")]
    facts: Option<Box<AttestedFacts>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    evidence_sha256: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RefusedMessage {
    #[prost(string, tag = "1")]
    remote: String,
    #[prost(string, tag = "2")]
    attestation_type: String,
    #[prost(string, tag = "3")]
    text: String,
    #[prost(string, optional, tag = "4")]
    compared: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    evidence_sha256: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReappraisedMessage {
    #[prost(string, tag = "1")]
    cause: String,
    #[prost(bool, tag = "2")]
    was_trusted: bool,
    /// In records from before `rule`.
    #[prost(string, optional, tag = "3")]
    rule_json: Option<String>,
    #[prost(message, optional, boxed, tag = "4")]
    rule: Option<Box<RefusingRule>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    evidence_sha256: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SvidIntentMessage {
    #[prost(bytes = "vec", tag = "1")]
    serial: Vec<u8>,
    #[prost(int64, tag = "2")]
    expires_at: i64,
    #[prost(string, tag = "3")]
    entry: String,
    #[prost(string, optional, tag = "4")]
    holder: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JwtSvidIntentMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(int64, tag = "2")]
    expires_at: i64,
    #[prost(string, repeated, tag = "3")]
    audience: Vec<String>,
    #[prost(string, tag = "4")]
    key_id: String,
    #[prost(string, tag = "5")]
    entry: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct SvidOutcomeMessage {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(uint64, tag = "2")]
    last: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NodeStepMessage {
    #[prost(string, tag = "1")]
    act: String,
    #[prost(string, tag = "2")]
    from: String,
    #[prost(string, tag = "3")]
    to: String,
    #[prost(string, tag = "4")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EntryEventMessage {
    #[prost(string, tag = "1")]
    act: String,
    // Boxed, as it is large: many small messages are not to take the room of as many entries.
    #[prost(message, optional, boxed, tag = "2")]
    entry: Option<Box<EntryMessage>>,
    #[prost(message, optional, boxed, tag = "3")]
    before: Option<Box<EntryMessage>>,
    #[prost(string, tag = "4")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InventoryImportedMessage {
    #[prost(uint64, tag = "1")]
    added: u64,
    #[prost(uint64, tag = "2")]
    changed: u64,
    #[prost(uint64, tag = "3")]
    unchanged: u64,
    #[prost(uint64, tag = "4")]
    removed: u64,
    #[prost(string, tag = "5")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InventoryRemovedMessage {
    #[prost(string, repeated, tag = "1")]
    removed: Vec<String>,
    #[prost(string, tag = "2")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PolicyFileMessage {
    #[prost(string, tag = "1")]
    act: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(uint64, tag = "3")]
    serial: u64,
    #[prost(bool, tag = "4")]
    signed: bool,
    #[prost(string, tag = "5")]
    reason: String,
    #[prost(string, tag = "6")]
    image_signer: String,
    #[prost(string, tag = "7")]
    replaced_signer: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuthorityMessage {
    #[prost(string, tag = "1")]
    act: String,
    #[prost(string, optional, tag = "2")]
    reason: Option<String>,
    #[prost(message, repeated, tag = "3")]
    facts: Vec<FactMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FactMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RollbackAcceptedMessage {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    found: String,
    #[prost(bytes = "vec", tag = "3")]
    incarnation: Vec<u8>,
    #[prost(string, tag = "4")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OlderMessage {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    at: i64,
    #[prost(string, tag = "3")]
    detail: String,
}

pub(super) fn event_message(event: &Event) -> EventMessage {
    EventMessage {
        subject: event.subject.to_string(),
        outcome: event.outcome.number(),
        code: event.code.to_string(),
        kind: Some(kind(&event.what)),
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind, and nothing else")]
fn kind(what: &What) -> Kind {
    match what.clone() {
        What::Accepted {
            remote,
            attestation_type,
            facts,
            evidence_sha256,
        } => {
            let (facts, facts_json) = typed_or_json(facts);
            Kind::Accepted(AcceptedMessage {
                remote: remote.to_string(),
                attestation_type,
                facts_json: facts_json.unwrap_or_default(),
                facts,
                evidence_sha256: evidence_sha256.map(Vec::from),
            })
        }
        What::Refused {
            remote,
            attestation_type,
            text,
            compared,
            evidence_sha256,
        } => Kind::Refused(RefusedMessage {
            remote: remote.to_string(),
            attestation_type,
            text,
            compared,
            evidence_sha256: evidence_sha256.map(Vec::from),
        }),
        What::Reappraised {
            cause,
            was_trusted,
            reason,
            evidence_sha256,
        } => {
            let (rule, rule_json) = reason.map_or((None, None), typed_or_json);
            Kind::Reappraised(ReappraisedMessage {
                cause,
                was_trusted,
                rule_json,
                rule,
                evidence_sha256: evidence_sha256.map(Vec::from),
            })
        }
        What::SvidIntent {
            serial,
            expires_at,
            entry,
            holder,
        } => Kind::SvidIntent(SvidIntentMessage {
            serial: serial.to_be_bytes().to_vec(),
            expires_at,
            entry: entry.to_string(),
            holder: holder.as_deref().map(str::to_owned),
        }),
        What::JwtSvidIntent {
            id,
            expires_at,
            audience,
            key_id,
            entry,
        } => Kind::JwtSvidIntent(JwtSvidIntentMessage {
            id: id.to_be_bytes().to_vec(),
            expires_at,
            audience,
            key_id,
            entry: entry.to_string(),
        }),
        What::SvidOutcome { first, last } => Kind::SvidOutcome(SvidOutcomeMessage { first, last }),
        What::NodeStep { act, from, to, reason } => {
            let name = |state: Option<NodeState>| state.map_or("", NodeState::as_str).to_owned();
            Kind::NodeStep(NodeStepMessage {
                act,
                from: name(from),
                to: name(to),
                reason,
            })
        }
        What::Entry {
            act,
            entry,
            before,
            reason,
        } => Kind::Entry(EntryEventMessage {
            act: act.as_str().to_owned(),
            entry: Some(Box::new(entry_message(&entry))),
            before: before.as_deref().map(entry_message).map(Box::new),
            reason,
        }),
        What::InventoryImported {
            added,
            changed,
            unchanged,
            removed,
            reason,
        } => Kind::InventoryImported(InventoryImportedMessage {
            added,
            changed,
            unchanged,
            removed,
            reason,
        }),
        What::InventoryRemoved { removed, reason } => {
            Kind::InventoryRemoved(InventoryRemovedMessage { removed, reason })
        }
        What::PolicyFile {
            act,
            kind,
            serial,
            signed,
            reason,
            image_signer,
            replaced_signer,
        } => Kind::PolicyFile(PolicyFileMessage {
            act,
            kind,
            serial,
            signed,
            reason,
            image_signer,
            replaced_signer,
        }),
        What::Authority { act, reason, facts } => {
            let facts = facts.into_iter().map(|(name, value)| FactMessage { name, value });
            Kind::Authority(AuthorityMessage {
                act,
                reason,
                facts: facts.collect(),
            })
        }
        What::RollbackAccepted {
            code,
            found,
            incarnation,
            reason,
        } => Kind::RollbackAccepted(RollbackAcceptedMessage {
            code,
            found,
            incarnation: incarnation.to_be_bytes().to_vec(),
            reason,
        }),
        What::InstallStep(step) => Kind::InstallStep(install_step_message(step)),
        What::Older { kind, at, detail } => Kind::Older(OlderMessage {
            kind: kind.number(),
            at,
            detail,
        }),
    }
}

fn typed_or_json<T: Clone>(part: EventPart<T>) -> (Option<Box<T>>, Option<String>) {
    match part {
        EventPart::Typed(part) => (Some(Box::new(Arc::unwrap_or_clone(part))), None),
        EventPart::Json(json) => (None, Some(json)),
    }
}

pub(super) fn event(message: EventMessage) -> Result<Event, EncodingError> {
    let kind = message.kind.ok_or_else(|| wrong("kind of event"))?;
    Ok(Event {
        subject: message.subject.into(),
        outcome: Outcome::from_number(message.outcome).ok_or_else(|| wrong("outcome"))?,
        code: message.code.into(),
        what: what(kind)?,
    })
}

fn jwt_svid_intent(it: JwtSvidIntentMessage) -> Result<What, EncodingError> {
    Ok(What::JwtSvidIntent {
        id: serial(it.id)?,
        expires_at: it.expires_at,
        audience: it.audience,
        key_id: it.key_id,
        entry: it.entry.into(),
    })
}

fn what(kind: Kind) -> Result<What, EncodingError> {
    Ok(match kind {
        Kind::Accepted(it) => accepted(it)?,
        Kind::Refused(it) => refused(it)?,
        Kind::Reappraised(it) => reappraised(it)?,
        Kind::SvidIntent(it) => What::SvidIntent {
            serial: serial(it.serial)?,
            expires_at: it.expires_at,
            entry: it.entry.into(),
            holder: it.holder.map(Into::into),
        },
        Kind::JwtSvidIntent(it) => jwt_svid_intent(it)?,
        Kind::SvidOutcome(it) => What::SvidOutcome {
            first: it.first,
            last: it.last,
        },
        Kind::NodeStep(it) => {
            let state = |name: &str| match name {
                "" => Ok(None),
                name => NodeState::from_name(name)
                    .map(Some)
                    .ok_or_else(|| wrong("state of a node")),
            };
            What::NodeStep {
                from: state(&it.from)?,
                to: state(&it.to)?,
                act: it.act,
                reason: it.reason,
            }
        }
        Kind::Entry(it) => What::Entry {
            act: EntryAct::ALL
                .into_iter()
                .find(|act| act.as_str() == it.act)
                .ok_or_else(|| wrong("act"))?,
            entry: Arc::new(entry(*it.entry.ok_or_else(|| wrong("entry"))?)?),
            before: it.before.map(|before| entry(*before)).transpose()?.map(Arc::new),
            reason: it.reason,
        },
        Kind::InventoryImported(it) => What::InventoryImported {
            added: it.added,
            changed: it.changed,
            unchanged: it.unchanged,
            removed: it.removed,
            reason: it.reason,
        },
        Kind::InventoryRemoved(it) => What::InventoryRemoved {
            removed: it.removed,
            reason: it.reason,
        },
        Kind::PolicyFile(it) => What::PolicyFile {
            act: it.act,
            kind: it.kind,
            serial: it.serial,
            signed: it.signed,
            reason: it.reason,
            image_signer: it.image_signer,
            replaced_signer: it.replaced_signer,
        },
        Kind::Authority(it) => What::Authority {
            act: it.act,
            reason: it.reason,
            facts: it.facts.into_iter().map(|fact| (fact.name, fact.value)).collect(),
        },
        Kind::RollbackAccepted(it) => What::RollbackAccepted {
            code: it.code,
            found: it.found,
            incarnation: serial(it.incarnation).map_err(|_| wrong("incarnation"))?,
            reason: it.reason,
        },
        Kind::InstallStep(it) => What::InstallStep(install_step(it)?),
        Kind::Older(it) => What::Older {
            kind: RecordKind::from_number(it.kind).ok_or_else(|| wrong("kind of record"))?,
            at: it.at,
            detail: it.detail,
        },
    })
}

fn accepted(it: AcceptedMessage) -> Result<What, EncodingError> {
    Ok(What::Accepted {
        remote: remote(&it.remote)?,
        attestation_type: it.attestation_type,
        facts: typed(it.facts).unwrap_or(EventPart::Json(it.facts_json)),
        evidence_sha256: it.evidence_sha256.as_deref().map(hash).transpose()?,
    })
}

fn refused(it: RefusedMessage) -> Result<What, EncodingError> {
    Ok(What::Refused {
        remote: remote(&it.remote)?,
        attestation_type: it.attestation_type,
        text: it.text,
        compared: it.compared,
        evidence_sha256: it.evidence_sha256.as_deref().map(hash).transpose()?,
    })
}

fn reappraised(it: ReappraisedMessage) -> Result<What, EncodingError> {
    Ok(What::Reappraised {
        cause: it.cause,
        was_trusted: it.was_trusted,
        reason: typed(it.rule).or_else(|| it.rule_json.map(EventPart::Json)),
        evidence_sha256: it.evidence_sha256.as_deref().map(hash).transpose()?,
    })
}

fn remote(text: &str) -> Result<SocketAddr, EncodingError> {
    text.parse().map_err(|_| wrong("address"))
}

fn typed<T>(part: Option<Box<T>>) -> Option<EventPart<T>> {
    part.map(|part| EventPart::from(*part))
}
