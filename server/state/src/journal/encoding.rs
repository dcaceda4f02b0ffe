//! The one encoding of events: protobuf (proto3 wire format), fields in the order of their numbers, what has its default
//! left out. The same event always has the same bytes, and bytes that are not an event's own are refused.
//!
//! docs/reference/journal.md lists the fields.

use std::{sync::Arc, time::Duration};

use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use prost::Message as _;

use super::{EntryAct, Event, Outcome, RecordKind, Transaction, What};
use crate::{Entry, EntryId, NodeState};

/// The bytes of a group of transactions, as the store keeps them: ids, times, actors and events. What changed is in the rows.
#[must_use]
pub fn encode<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> Vec<u8> {
    let transactions = transactions.into_iter().map(|it| TransactionMessage {
        id: it.id.to_vec(),
        at: it.at,
        actor: it.actor.to_string(),
        events: it.events.iter().map(event_message).collect(),
    });
    let group = GroupMessage {
        transactions: transactions.collect(),
    };
    group.encode_to_vec()
}

/// The transactions of a group, without what changed and what it rested on.
///
/// # Errors
/// [`EncodingError`] for bytes that [`encode`] does not make.
pub fn decode(bytes: &[u8]) -> Result<Vec<Transaction>, EncodingError> {
    let group = GroupMessage::decode(bytes).map_err(|error| EncodingError(error.to_string()))?;
    let transaction = |message: TransactionMessage| {
        let id = message.id.as_slice().try_into();
        Ok(Transaction {
            id: id.map_err(|_| wrong("transaction id"))?,
            at: message.at,
            actor: message.actor.into(),
            expect: super::Expect::default(),
            changes: Vec::new(),
            events: message.events.into_iter().map(event).collect::<Result<_, _>>()?,
        })
    };
    let transactions: Vec<_> = group
        .transactions
        .into_iter()
        .map(transaction)
        .collect::<Result<_, _>>()?;
    if encode(&transactions) != bytes {
        return Err(wrong("encoding"));
    }
    Ok(transactions)
}

/// The canonical bytes of one event.
#[must_use]
pub fn event_bytes(event: &Event) -> Vec<u8> {
    event_message(event).encode_to_vec()
}

/// Bytes that are no event's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid journal bytes: {0}")]
pub struct EncodingError(String);

fn wrong(what: &str) -> EncodingError {
    EncodingError(format!("wrong {what}"))
}

#[derive(Clone, PartialEq, prost::Message)]
struct GroupMessage {
    #[prost(message, repeated, tag = "1")]
    transactions: Vec<TransactionMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TransactionMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(int64, tag = "2")]
    at: i64,
    #[prost(string, tag = "3")]
    actor: String,
    #[prost(message, repeated, tag = "4")]
    events: Vec<EventMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EventMessage {
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
struct EntryMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    spiffe_id: String,
    #[prost(string, tag = "3")]
    parent_id: String,
    #[prost(string, repeated, tag = "4")]
    selectors: Vec<String>,
    #[prost(uint64, tag = "5")]
    x509_svid_ttl: u64,
    #[prost(uint64, tag = "6")]
    jwt_svid_ttl: u64,
    #[prost(string, repeated, tag = "7")]
    federates_with: Vec<String>,
    #[prost(bool, tag = "8")]
    admin: bool,
    #[prost(bool, tag = "9")]
    downstream: bool,
    #[prost(int64, optional, tag = "10")]
    expires_at: Option<i64>,
    #[prost(string, repeated, tag = "11")]
    dns_names: Vec<String>,
    #[prost(int64, tag = "12")]
    revision: i64,
    #[prost(bool, tag = "13")]
    store_svid: bool,
    #[prost(string, tag = "14")]
    hint: String,
    #[prost(int64, tag = "15")]
    created_at: i64,
    #[prost(bool, tag = "16")]
    disable_x509_svid_prefetch: bool,
    #[prost(bool, tag = "17")]
    jwt_svid_include_jti: bool,
    #[prost(bool, tag = "18")]
    over_tls: bool,
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

fn event_message(event: &Event) -> EventMessage {
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

fn entry_message(entry: &Entry) -> EntryMessage {
    EntryMessage {
        id: entry.id.to_string(),
        spiffe_id: entry.spiffe_id.to_string(),
        parent_id: entry.parent_id.to_string(),
        selectors: entry.selectors.iter().map(ToString::to_string).collect(),
        x509_svid_ttl: entry.x509_svid_ttl.as_secs(),
        jwt_svid_ttl: entry.jwt_svid_ttl.as_secs(),
        federates_with: entry.federates_with.iter().map(ToString::to_string).collect(),
        admin: entry.admin,
        downstream: entry.downstream,
        expires_at: entry.expires_at,
        dns_names: entry.dns_names.clone(),
        revision: entry.revision,
        store_svid: entry.store_svid,
        hint: entry.hint.clone(),
        created_at: entry.created_at,
        disable_x509_svid_prefetch: entry.disable_x509_svid_prefetch,
        jwt_svid_include_jti: entry.jwt_svid_include_jti,
        over_tls: entry.over_tls,
    }
}

fn event(message: EventMessage) -> Result<Event, EncodingError> {
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

fn entry(it: EntryMessage) -> Result<Entry, EncodingError> {
    let id = |text: &str| SpiffeId::parse(text).map_err(|_| wrong("SPIFFE ID"));
    let selectors = it.selectors.iter().map(|text| Selector::parse(text));
    let federates_with = it.federates_with.iter().map(|name| TrustDomain::parse(name));
    Ok(Entry {
        id: EntryId::parse(&it.id).map_err(|_| wrong("entry id"))?,
        spiffe_id: id(&it.spiffe_id)?,
        parent_id: id(&it.parent_id)?,
        selectors: selectors.collect::<Result<_, _>>().map_err(|_| wrong("selector"))?,
        x509_svid_ttl: Duration::from_secs(it.x509_svid_ttl),
        jwt_svid_ttl: Duration::from_secs(it.jwt_svid_ttl),
        federates_with: federates_with
            .collect::<Result<_, _>>()
            .map_err(|_| wrong("trust domain"))?,
        admin: it.admin,
        downstream: it.downstream,
        expires_at: it.expires_at,
        dns_names: it.dns_names,
        revision: it.revision,
        store_svid: it.store_svid,
        hint: it.hint,
        created_at: it.created_at,
        disable_x509_svid_prefetch: it.disable_x509_svid_prefetch,
        jwt_svid_include_jti: it.jwt_svid_include_jti,
        over_tls: it.over_tls,
    })
}
