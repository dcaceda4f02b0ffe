//! What happened, and why.

use std::{net::SocketAddr, sync::Arc};

use hallmark_reason::ReasonCode;
use hallmark_spiffe::SpiffeId;

use super::{AttestedFacts, EventPart, InstallStep, Outcome, RecordKind, RefusingRule};
use crate::{Entry, NodeState};

/// What happened, about whom, how it came out, and why. Its canonical bytes are made by
/// [`encode`](super::encoding::encode).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whom it is about: a SPIFFE ID, an EK hash, an entry id, a key's label.
    pub subject: Arc<str>,
    /// How it came out.
    pub outcome: Outcome,
    /// The reason code; empty when nothing was refused.
    pub code: Arc<str>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A node's attestation was accepted.
    Accepted {
        /// Where it came from.
        remote: SocketAddr,
        /// How it attested.
        attestation_type: String,
        /// What it proved, for people.
        facts: EventPart<AttestedFacts>,
        /// The SHA-256 of the evidence that was judged; `None` in records from before that digest.
        evidence_sha256: Option<[u8; 32]>,
    },
    /// An attestation was refused, or failed.
    Refused {
        /// Where it came from.
        remote: SocketAddr,
        /// How it attested.
        attestation_type: String,
        /// Why.
        text: String,
        /// Both values compared.
        compared: Option<String>,
        /// The SHA-256 of the evidence that the rules refuse; `None` where it did not come to that, and in records from before
        /// that digest.
        evidence_sha256: Option<[u8; 32]>,
    },
    /// A node was judged again, and its verdict or its selectors changed.
    Reappraised {
        /// What made it due.
        cause: String,
        /// Whether it was trusted before.
        was_trusted: bool,
        /// The rule that refuses it; `None` for one that is trusted.
        reason: Option<EventPart<RefusingRule>>,
        /// The SHA-256 of the evidence that was judged; `None` where that was kept before there was such a digest.
        evidence_sha256: Option<[u8; 32]>,
    },
    /// An SVID is about to be signed.
    SvidIntent {
        /// Its serial number.
        serial: u128,
        /// Its `notAfter`, in Unix seconds.
        expires_at: i64,
        /// The entry that grants it; empty when none does (a node's own SVID, a minted one).
        entry: Arc<str>,
        /// Who asked (an agent's SPIFFE ID, or `local`), where that is not the transaction's actor.
        holder: Option<Arc<str>>,
    },
    /// A JWT-SVID is about to be signed.
    JwtSvidIntent {
        /// What tells it from others; its `jti`, where it has one.
        id: u128,
        /// Its `exp`, in Unix seconds.
        expires_at: i64,
        /// For whom it is.
        audience: Vec<String>,
        /// The id of the key that is to sign it.
        key_id: String,
        /// The entry that grants it; empty for a minted one.
        entry: Arc<str>,
    },
    /// What became of intents.
    SvidOutcome {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// A step in the life of a node.
    NodeStep {
        /// The step, as `agent-banned`.
        act: String,
        /// The state before; `None` for a node that nobody knew.
        from: Option<NodeState>,
        /// The state after; `None` for a node that is forgotten.
        to: Option<NodeState>,
        /// Why, in the operator's words.
        reason: String,
    },
    /// An entry was created, updated or deleted.
    Entry {
        /// What was done.
        act: EntryAct,
        /// The entry: as it is, or as it was where it was deleted.
        entry: Arc<Entry>,
        /// What an update replaced.
        before: Option<Arc<Entry>>,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Lines were taken into the inventory.
    InventoryImported {
        /// How many are new.
        added: u64,
        /// How many say something else than before.
        changed: u64,
        /// How many stay as they are.
        unchanged: u64,
        /// How many went.
        removed: u64,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Lines were taken out of the inventory.
    InventoryRemoved {
        /// Their EKs.
        removed: Vec<String>,
        /// Why, in the operator's words.
        reason: String,
    },
    /// A policy or baseline was applied or withdrawn.
    PolicyFile {
        /// `apply` or `withdraw`.
        act: String,
        /// `policy` or `baseline`.
        kind: String,
        /// Its serial number.
        serial: u64,
        /// Whether it came signed.
        signed: bool,
        /// Why, in the operator's words.
        reason: String,
        /// The key of images that signed a baseline; empty where operators alone stand for it.
        image_signer: String,
        /// Whose baseline had the name before, the key or `operators`; empty where the signer is the same.
        replaced_signer: String,
    },
    /// A step of an authority.
    Authority {
        /// The step, as `x509-authority-certify`.
        act: String,
        /// Why, in the operator's words; `None` where the server acts by itself.
        reason: Option<String>,
        /// Further facts, by name.
        facts: Vec<(String, String)>,
    },
    /// An operator accepted a store whose journal does not have all that was recorded.
    RollbackAccepted {
        /// The reason code of what was found.
        code: String,
        /// What was found.
        found: String,
        /// What tells the store from then on from what it was.
        incarnation: u128,
        /// Why, in the operator's words.
        reason: String,
    },
    /// A step of a machine's installation over the network.
    InstallStep(InstallStep),
    /// A record from before the journal.
    Older {
        /// What it is about.
        kind: RecordKind,
        /// When, in Unix seconds.
        at: i64,
        /// A JSON object, or empty.
        detail: String,
    },
}

/// What was done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryAct {
    /// It was created.
    Created,
    /// It was updated.
    Updated,
    /// It was deleted.
    Deleted,
}

impl EntryAct {
    /// Every act.
    pub const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Deleted];

    /// The act's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "entry-created",
            Self::Updated => "entry-updated",
            Self::Deleted => "entry-deleted",
        }
    }
}

impl Event {
    /// An event of an operator, or of the server itself, that changed something.
    #[must_use]
    pub fn done(subject: impl Into<Arc<str>>, what: What) -> Self {
        Self {
            subject: subject.into(),
            outcome: Outcome::Done,
            code: "".into(),
            what,
        }
    }

    /// An SVID is about to be signed; see [`What::SvidIntent`].
    #[must_use]
    pub fn svid_intent(id: Arc<str>, serial: u128, expires_at: i64, entry: Arc<str>, holder: Option<Arc<str>>) -> Self {
        Self {
            subject: id,
            outcome: Outcome::Pending,
            code: "".into(),
            what: What::SvidIntent {
                serial,
                expires_at,
                entry,
                holder,
            },
        }
    }

    /// What became of the intents with these numbers; with `failure` they were not signed.
    #[must_use]
    pub fn svid_outcome(intents: EventRange, outcome: Outcome, failure: Option<ReasonCode>) -> Self {
        Self {
            subject: "".into(),
            outcome,
            code: failure.map_or("", |code| code.as_str()).into(),
            what: What::SvidOutcome {
                first: intents.first,
                last: intents.last,
            },
        }
    }

    /// A step in the life of a node.
    #[must_use]
    pub fn node_step(node: &SpiffeId, act: &str, from: Option<NodeState>, to: Option<NodeState>, reason: &str) -> Self {
        let what = What::NodeStep {
            act: act.to_owned(),
            from,
            to,
            reason: reason.to_owned(),
        };
        Self::done(node.as_str(), what)
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        match &self.what {
            What::Accepted { .. } | What::Refused { .. } | What::Reappraised { .. } => RecordKind::Verdict,
            What::SvidIntent { .. } | What::JwtSvidIntent { .. } => RecordKind::SvidIntent,
            What::SvidOutcome { .. } => RecordKind::SvidOutcome,
            What::InstallStep(_) => RecordKind::Provision,
            What::Older { kind, .. } => *kind,
            _ => RecordKind::Admin,
        }
    }

    /// How many it counts for: an outcome is of as many SVIDs as it has intents.
    #[must_use]
    pub const fn count(&self) -> u64 {
        match &self.what {
            What::SvidOutcome { first, last } => last.saturating_sub(*first).saturating_add(1),
            _ => 1,
        }
    }
}

/// Numbers of events that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}
