//! Where a node stands in its life, and what may happen to it there.
//!
//! ```text
//! (unknown) -> pre-registered -> pending -> active <-> suspended
//!                                   ^          \-> banned, retired
//!                                   +-- unban --+
//! ```
//! One function, [`step`], knows every transition; whoever changes a node asks it.

mod approval;
mod error;

pub use approval::{Approval, Approvals, Approvers};
pub use error::{ApproverRefusal, LifecycleError, RefusedStep};

use std::fmt;

/// Where a node stands. A node that the server knows nothing of has no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// The inventory lists its TPM; it was never seen.
    PreRegistered,
    /// Its TPM proved itself, and it waits for approval or for its next attestation.
    Pending,
    /// It holds an identity, or may at its next attestation.
    Active,
    /// An operator took its identity away for a time.
    Suspended,
    /// An operator took its identity away until it is unbanned or evicted.
    Banned,
    /// Out of service: its EK does not come back by itself, not even after an eviction.
    Retired,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::PreRegistered,
        Self::Pending,
        Self::Active,
        Self::Suspended,
        Self::Banned,
        Self::Retired,
    ];

    /// The state's name, as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreRegistered => "pre-registered",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Banned => "banned",
            Self::Retired => "retired",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the node may use what it holds and ask for more.
    #[must_use]
    pub const fn is_served(self) -> bool {
        matches!(self, Self::Active)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A line of the inventory names it.
    List,
    /// A line of the inventory names it, and the operator means to take it back into service.
    Readmit,
    /// Its line is taken out of the inventory.
    Unlist,
    /// Its TPM proved itself, and the approvals that it needs are missing.
    Prove,
    /// Its TPM proved itself, and it has the approvals that it needs.
    Admit,
    /// An operator approves it.
    Approve,
    /// An operator takes its identity away for a time.
    Suspend,
    /// An operator ends a suspension.
    Resume,
    /// An operator takes its identity away.
    Ban,
    /// An operator lifts a ban: it may come back like a new node.
    Unban,
    /// An operator takes it out of service for good.
    Retire,
    /// An operator makes the server forget it.
    Evict,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 12] = [
        Self::List,
        Self::Readmit,
        Self::Unlist,
        Self::Prove,
        Self::Admit,
        Self::Approve,
        Self::Suspend,
        Self::Resume,
        Self::Ban,
        Self::Unban,
        Self::Retire,
        Self::Evict,
    ];

    /// The action's name, as it is recorded.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Readmit => "readmit",
            Self::Unlist => "unlist",
            Self::Prove => "prove",
            Self::Admit => "admit",
            Self::Approve => "approve",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Ban => "ban",
            Self::Unban => "unban",
            Self::Retire => "retire",
            Self::Evict => "evict",
        }
    }

    /// The action of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }

    /// Whether an operator may ask for it of one node. The others follow from an attestation or the inventory.
    #[must_use]
    pub const fn is_of_operators(self) -> bool {
        !matches!(
            self,
            Self::List | Self::Readmit | Self::Unlist | Self::Prove | Self::Admit
        )
    }
}

impl Action {
    /// What the action is called in events.
    #[must_use]
    pub const fn act(self) -> &'static str {
        match self {
            Self::List => "node-listed",
            Self::Readmit => "node-readmitted",
            Self::Unlist => "node-unlisted",
            Self::Prove => "node-pending",
            Self::Admit => "node-admitted",
            Self::Approve => "node-approved",
            Self::Suspend => "node-suspended",
            Self::Resume => "node-resumed",
            Self::Ban => "agent-banned",
            Self::Unban => "node-unbanned",
            Self::Retire => "node-retired",
            Self::Evict => "agent-deleted",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `action` gives a node in `state` back what an operator took from it.
#[must_use]
pub const fn gives_back(state: Option<NodeState>, action: Action) -> bool {
    use NodeState::{Banned, Retired, Suspended};
    let is_out = matches!(state, Some(Suspended | Banned | Retired));
    is_out && matches!(action, Action::Resume | Action::Unban | Action::Readmit | Action::Evict)
}

/// The state after `action`; `None` stands for a node that the server knows nothing of.
///
/// # Errors
/// [`LifecycleError`] when the action is not allowed in this state.
pub const fn step(state: Option<NodeState>, action: Action) -> Result<Option<NodeState>, LifecycleError> {
    use NodeState::{Active, Banned, Pending, PreRegistered, Retired, Suspended};
    let refused = Err(LifecycleError::NotAllowed { state, action });
    let Some(now) = state else {
        return match action {
            Action::List | Action::Readmit => Ok(Some(PreRegistered)),
            Action::Unlist => Ok(None),
            Action::Prove => Ok(Some(Pending)),
            Action::Admit => Ok(Some(Active)),
            _ => Err(LifecycleError::Unknown { action }),
        };
    };
    let next = match (action, now) {
        // The inventory changes nothing for a node that is there; only being named anew ends a retirement.
        (Action::Readmit, Retired) => PreRegistered,
        (Action::Unlist, PreRegistered) => return Ok(None),
        (Action::List | Action::Readmit | Action::Unlist, same) => same,
        (Action::Prove, PreRegistered | Pending) | (Action::Approve, Pending) => Pending,
        // Approved before it was ever seen: it goes in at its first attestation.
        (Action::Approve, PreRegistered) => PreRegistered,
        // A node that was let in once needs no approval at its renewals.
        (Action::Prove, Active) | (Action::Admit, PreRegistered | Pending | Active) => Active,
        (Action::Suspend, Active) => Suspended,
        (Action::Resume, Suspended) => Active,
        // Banned again is banned.
        (Action::Ban, PreRegistered | Pending | Active | Suspended | Banned) => Banned,
        // Not active: a ban from before the approval must not be a way around it.
        (Action::Unban, Banned) => Pending,
        (Action::Retire, PreRegistered | Pending | Active | Suspended | Banned) => Retired,
        (Action::Evict, Pending | Active | Suspended | Banned) => return Ok(None),
        (
            Action::Prove
            | Action::Admit
            | Action::Approve
            | Action::Suspend
            | Action::Resume
            | Action::Ban
            | Action::Unban
            | Action::Retire
            | Action::Evict,
            _,
        ) => return refused,
    };
    Ok(Some(next))
}
