//! The one encoding of changes and events: protobuf (proto3 wire format), fields in the order of their numbers, what has its
//! default left out. The same transaction always has the same bytes, and bytes that are not a transaction's own are refused.
//!
//! docs/reference/journal.md lists the fields.

mod assignment;
mod authority;
mod changes;
mod events;
mod rows;
mod upstream;

pub use upstream::{decode_certificates, decode_upstream, encode_certificates, encode_upstream};

use prost::Message as _;

use self::{
    changes::{ChangeMessage, Decoded, change, change_message},
    events::{EventMessage, event, event_message},
};
use super::{Change, Event, Expect, Transaction};

/// The bytes of a group of transactions, as the store keeps them: ids, times, actors, events and changes. What the decisions
/// rested on is not in them; bodies are, by their SHA-256.
#[must_use]
pub fn encode<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> Vec<u8> {
    let transactions = transactions.into_iter().map(|it| TransactionMessage {
        changes: it.changes.iter().map(change_message).collect(),
        ..transaction_message(it)
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
    let (transactions, missing) = decode_readable(bytes, body)?;
    match missing.first() {
        Some(missing) => Err(wrong(&format!("body: {missing}"))),
        None => Ok(transactions),
    }
}

/// The transactions of a group, without what changed and what it rested on: for readers of events. The bytes are held to the
/// same form as by [`decode`]; no body is needed.
///
/// # Errors
/// [`EncodingError`] for bytes that [`encode`] does not make.
pub fn decode_events(bytes: &[u8]) -> Result<Vec<Transaction>, EncodingError> {
    let (mut transactions, _) = decode_readable(bytes, &mut |_| None)?;
    transactions.iter_mut().for_each(|it| it.changes.clear());
    Ok(transactions)
}

/// As [`decode`]; changes whose body is missing or another one are left out, and told.
///
/// # Errors
/// [`EncodingError`] for bytes that [`encode`] does not make.
pub fn decode_readable(
    bytes: &[u8],
    body: &mut dyn FnMut(&[u8; 32]) -> Option<Vec<u8>>,
) -> Result<(Vec<Transaction>, Vec<MissingBody>), EncodingError> {
    let group = GroupMessage::decode(bytes).map_err(|error| EncodingError(error.to_string()))?;
    let (mut transactions, mut missing) = (Vec::with_capacity(group.transactions.len()), Vec::new());
    let mut canonical = GroupMessage::default();
    for it in group.transactions {
        let (mut changes, mut messages) = (Vec::new(), Vec::with_capacity(it.changes.len()));
        for message in it.changes {
            match change(message, body)? {
                Decoded::Whole(change) => {
                    messages.push(change_message(&change));
                    changes.push(change);
                }
                Decoded::Bodiless(message, what) => {
                    messages.push(message);
                    missing.push(what);
                }
            }
        }
        let transaction = transaction(&it.id, it.at, it.actor, it.events, changes)?;
        canonical.transactions.push(TransactionMessage {
            changes: messages,
            ..transaction_message(&transaction)
        });
        transactions.push(transaction);
    }
    if canonical.encode_to_vec() != bytes {
        return Err(wrong("encoding"));
    }
    Ok((transactions, missing))
}

/// A transaction, but for its changes.
fn transaction_message(it: &Transaction) -> TransactionMessage {
    TransactionMessage {
        id: it.id.to_vec(),
        at: it.at,
        actor: it.actor.to_string(),
        events: it.events.iter().map(event_message).collect(),
        changes: Vec::new(),
    }
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

/// What stands beside the journal, and is not there or another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingBody {
    /// The kind of the policy file that a change puts.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The SHA-256 of the body.
    pub sha256: [u8; 32],
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for MissingBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "of the {} {}: {}", self.kind, self.name, self.reason)
    }
}

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
