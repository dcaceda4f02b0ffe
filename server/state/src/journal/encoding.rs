//! The one encoding of changes and events: protobuf (proto3 wire format), fields in the order of their numbers, what has its
//! default left out. The same transaction always has the same bytes, and bytes that are not a transaction's own are refused.
//!
//! docs/reference/journal.md lists the fields.

mod assignment;
mod changes;
mod events;
mod rows;

use prost::Message as _;

use self::{
    changes::{ChangeMessage, change, change_message},
    events::{EventMessage, event, event_message},
};
use super::{Change, Event, Expect, Transaction};

/// The bytes of a group of transactions, as the store keeps them: ids, times, actors, events and changes. What the decisions
/// rested on is not in them; bodies are, by their SHA-256.
#[must_use]
pub fn encode<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> Vec<u8> {
    let transactions = transactions.into_iter().map(|it| TransactionMessage {
        id: it.id.to_vec(),
        at: it.at,
        actor: it.actor.to_string(),
        events: it.events.iter().map(event_message).collect(),
        changes: it.changes.iter().map(change_message).collect(),
    });
    let group = GroupMessage {
        transactions: transactions.collect(),
    };
    group.encode_to_vec()
}

/// The transactions of a group, without what they rested on. `body` gives what stands beside the journal under a SHA-256: of
/// what is a part of the state it is asked, and checked; of evidence, facts and EK certificates a change has the SHA-256 alone.
///
/// # Errors
/// [`EncodingError`] for bytes that [`encode`] does not make, and where a body is missing or another one.
pub fn decode(
    bytes: &[u8],
    body: &mut dyn FnMut(&[u8; 32]) -> Option<Vec<u8>>,
) -> Result<Vec<Transaction>, EncodingError> {
    let group = GroupMessage::decode(bytes).map_err(|error| EncodingError(error.to_string()))?;
    let mut transactions = Vec::with_capacity(group.transactions.len());
    for it in group.transactions {
        let changes = it.changes.into_iter().map(|it| change(it, body));
        let changes = changes.collect::<Result<_, _>>()?;
        transactions.push(transaction(&it.id, it.at, it.actor, it.events, changes)?);
    }
    if encode(&transactions) != bytes {
        return Err(wrong("encoding"));
    }
    Ok(transactions)
}

/// The transactions of a group, without what changed and what it rested on: for readers of events, in a fraction of the time.
/// Whether the bytes are canonical is not looked at: the chain hash of their row tells that they are those that were written.
///
/// # Errors
/// [`EncodingError`] for bytes that are no transactions'.
pub fn decode_events(bytes: &[u8]) -> Result<Vec<Transaction>, EncodingError> {
    let group = GroupOfEventsMessage::decode(bytes).map_err(|error| EncodingError(error.to_string()))?;
    let transactions = group.transactions.into_iter();
    transactions
        .map(|it| transaction(&it.id, it.at, it.actor, it.events, Vec::new()))
        .collect()
}

fn transaction(
    id: &[u8],
    at: i64,
    actor: String,
    events: Vec<EventMessage>,
    changes: Vec<Change>,
) -> Result<Transaction, EncodingError> {
    Ok(Transaction {
        id: id.try_into().map_err(|_| wrong("transaction id"))?,
        at,
        actor: actor.into(),
        expect: Expect::default(),
        changes,
        events: events.into_iter().map(event).collect::<Result<_, _>>()?,
    })
}

/// The canonical bytes of one event.
#[must_use]
pub fn event_bytes(event: &Event) -> Vec<u8> {
    event_message(event).encode_to_vec()
}

/// The canonical bytes of one change.
#[must_use]
pub fn change_bytes(change: &Change) -> Vec<u8> {
    change_message(change).encode_to_vec()
}

/// The canonical bytes of a line of the inventory, behind their length.
pub(super) fn line_bytes(line: &hallmark_node::InventoryItem) -> Vec<u8> {
    rows::line_message(line).encode_length_delimited_to_vec()
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
    #[prost(message, repeated, tag = "5")]
    changes: Vec<ChangeMessage>,
}

/// A group, of which changes are passed over.
#[derive(Clone, PartialEq, prost::Message)]
struct GroupOfEventsMessage {
    #[prost(message, repeated, tag = "1")]
    transactions: Vec<EventsMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EventsMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(int64, tag = "2")]
    at: i64,
    #[prost(string, tag = "3")]
    actor: String,
    #[prost(message, repeated, tag = "4")]
    events: Vec<EventMessage>,
}
