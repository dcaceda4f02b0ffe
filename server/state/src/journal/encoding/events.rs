//! Messages of events.

use std::sync::Arc;

use super::{
    EncodingError,
    rows::{EntryMessage, entry, entry_message},
    wrong,
};
use crate::{EntryAct, Event, NodeState, Outcome, RecordKind, What};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EventMessage {
    #[prost(string, tag = "1")]
    subject: String,
    #[prost(int64, tag = "2")]
    outcome: i64,
    #[prost(string, tag = "3")]
    code: String,
    #[prost(oneof = "Kind", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "4")]
    Accepted(VerdictMessage),
    #[prost(message, tag = "5")]
    Refused(VerdictMessage),
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
}

#[derive(Clone, PartialEq, prost::Message)]
struct VerdictMessage {
    #[prost(string, tag = "1")]
    remote: String,
    #[prost(string, tag = "2")]
    attestation_type: String,
    /// The facts, or the text of the refusal.
    #[prost(string, tag = "3")]
    text: String,
    #[prost(string, optional, tag = "4")]
    compared: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReappraisedMessage {
    #[prost(string, tag = "1")]
    cause: String,
    #[prost(bool, tag = "2")]
    was_trusted: bool,
    #[prost(string, optional, tag = "3")]
    reason: Option<String>,
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
        } => Kind::Accepted(VerdictMessage {
            remote: remote.to_string(),
            attestation_type,
            text: facts,
            compared: None,
        }),
        What::Refused {
            remote,
            attestation_type,
            text,
            compared,
        } => Kind::Refused(VerdictMessage {
            remote: remote.to_string(),
            attestation_type,
            text,
            compared,
        }),
        What::Reappraised {
            cause,
            was_trusted,
            reason,
        } => Kind::Reappraised(ReappraisedMessage {
            cause,
            was_trusted,
            reason,
        }),
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
        } => Kind::PolicyFile(PolicyFileMessage {
            act,
            kind,
            serial,
            signed,
            reason,
        }),
        What::Authority { act, reason, facts } => {
            let facts = facts.into_iter().map(|(name, value)| FactMessage { name, value });
            Kind::Authority(AuthorityMessage {
                act,
                reason,
                facts: facts.collect(),
            })
        }
        What::Older { kind, at, detail } => Kind::Older(OlderMessage {
            kind: kind.number(),
            at,
            detail,
        }),
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

fn what(kind: Kind) -> Result<What, EncodingError> {
    let remote = |text: &str| text.parse().map_err(|_| wrong("address"));
    Ok(match kind {
        Kind::Accepted(it) => What::Accepted {
            remote: remote(&it.remote)?,
            attestation_type: it.attestation_type,
            facts: it.text,
        },
        Kind::Refused(it) => What::Refused {
            remote: remote(&it.remote)?,
            attestation_type: it.attestation_type,
            text: it.text,
            compared: it.compared,
        },
        Kind::Reappraised(it) => What::Reappraised {
            cause: it.cause,
            was_trusted: it.was_trusted,
            reason: it.reason,
        },
        Kind::SvidIntent(it) => What::SvidIntent {
            serial: u128::from_be_bytes(it.serial.try_into().map_err(|_| wrong("serial number"))?),
            expires_at: it.expires_at,
            entry: it.entry.into(),
            holder: it.holder.map(Into::into),
        },
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
        },
        Kind::Authority(it) => What::Authority {
            act: it.act,
            reason: it.reason,
            facts: it.facts.into_iter().map(|fact| (fact.name, fact.value)).collect(),
        },
        Kind::Older(it) => What::Older {
            kind: RecordKind::from_number(it.kind).ok_or_else(|| wrong("kind of record"))?,
            at: it.at,
            detail: it.detail,
        },
    })
}
