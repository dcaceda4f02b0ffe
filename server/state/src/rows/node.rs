//! An attested node, as it is kept.

use std::collections::BTreeSet;

use hallmark_spiffe::{Selector, SpiffeId};

use crate::{Approvals, AttestationState, NodeState};

/// Serial number and expiry of an SVID that a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeSvid {
    /// The certificate's serial number.
    pub serial: u128,
    /// Its `notAfter`, in Unix seconds.
    pub expires_at: i64,
}

/// What a node was last judged by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appraised {
    /// The revision of the rules; 0 for none that are in force.
    pub rules: u64,
    /// From when on, in Unix seconds, the verdict no longer counts; `None` while only other rules can change it.
    pub stale_at: Option<i64>,
}

/// Where an SVID with a role comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSvid {
    /// The agent that it was issued through.
    pub agent: SpiffeId,
    /// When, in Unix seconds.
    pub issued_at: i64,
}

/// A node. One whose key is the agent's SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The agent's SPIFFE ID.
    pub id: SpiffeId,
    /// How it attested: `tpm2`.
    pub attestation_type: String,
    /// SHA-256 of the endorsement key's SPKI; `None` for attestation types without one.
    pub ek_sha256: Option<[u8; 32]>,
    /// Name (TPM 2.0 part 1, section 16) of the attestation key that was activated for this EK.
    pub ak_name: Vec<u8>,
    /// The SVID that the node was last seen to use; `None` while banned or before the first use.
    pub current: Option<NodeSvid>,
    /// The SVID issued last, until it is first seen in use; then it becomes `current`.
    pub next: Option<NodeSvid>,
    /// Node selectors from the last accepted attestation.
    pub selectors: BTreeSet<Selector>,
    /// Where it stands in its life.
    pub state: NodeState,
    /// Since when it stands there, in Unix seconds.
    pub since: i64,
    /// Who approved it, while that is still to be of use.
    pub approvals: Approvals,
    /// The reason code for which what the node proved last is no longer enough; empty while it is. Then it gets nothing
    /// until it proves something better, or the rules change back.
    pub untrusted_reason: String,
    /// By what it was judged last.
    pub appraised: Appraised,
    /// Whether the node renews by attesting again.
    pub can_reattest: bool,
    /// The version that the agent last reported; empty if it has not.
    pub agent_version: String,
    /// What the last accepted attestation proved, as JSON: facts for people, no decision reads them.
    pub facts: String,
    /// When its attestation was last accepted, in Unix seconds; 0 for one that was never let in.
    pub attested_at: i64,
}

impl Node {
    /// What counts where the row of the node with this EK does not read back: it is out, and holds nothing. It stays retired
    /// where that can still be read; else it counts as banned, since it may have been.
    #[must_use]
    pub fn of_damaged_row(id: SpiffeId, ek_sha256: [u8; 32], state: Option<NodeState>, code: &str) -> Self {
        Self {
            id,
            attestation_type: "tpm2".to_owned(),
            ek_sha256: Some(ek_sha256),
            ak_name: Vec::new(),
            current: None,
            next: None,
            selectors: BTreeSet::new(),
            state: state
                .filter(|state| *state == NodeState::Retired)
                .unwrap_or(NodeState::Banned),
            since: 0,
            approvals: Approvals::default(),
            untrusted_reason: code.to_owned(),
            appraised: Appraised::default(),
            can_reattest: true,
            agent_version: String::new(),
            facts: String::new(),
            attested_at: 0,
        }
    }

    /// Whether the node may have anything: operators let it, and what it proved last is enough.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state.is_served() && self.untrusted_reason.is_empty()
    }

    /// When the newest SVID that the node holds expires, in Unix seconds; 0 when it holds none.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.next.or(self.current).map_or(0, |svid| svid.expires_at)
    }

    /// Whether the newest SVID that it holds has expired at `now` (Unix seconds): it did not renew. One that holds none, as
    /// after it was suspended, has none that could.
    #[must_use]
    pub fn has_expired(&self, now: i64) -> bool {
        self.next.or(self.current).is_some_and(|svid| svid.expires_at <= now)
    }

    /// Whether the verdict on it is by the rules of this revision, and still counts at `now` (Unix seconds).
    #[must_use]
    pub fn is_appraised_by(&self, rules: u64, now: i64) -> bool {
        self.appraised.rules == rules && self.appraised.stale_at.is_none_or(|stale| now < stale)
    }

    /// Whether it was ever let in. One that was not is known to operators, and is nobody's agent.
    #[must_use]
    pub const fn was_admitted(&self) -> bool {
        self.attested_at > 0
    }

    /// Whether what was proven is of an earlier life: of a node that an operator evicted, and that was not admitted since. An
    /// operator's word makes a new beginning.
    #[must_use]
    pub fn begins_anew(&self, proven: &AttestationState) -> bool {
        let since = u64::try_from(self.since).unwrap_or_default().saturating_mul(1000);
        let is_older = proven.quote_clock.seen_at < since;
        !self.was_admitted() && (self.state == NodeState::PreRegistered || is_older)
    }
}
