//! Why a node's state does not change.

use hallmark_reason::{Coded, ReasonCode};

use super::{Action, Approvals, NodeState};

/// Why a node's state does not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// The action does not lead on from this state.
    #[error("a node that is {} cannot be changed by: {action}", name(*.state))]
    NotAllowed {
        /// The state.
        state: Option<NodeState>,
        /// The action.
        action: Action,
    },
    /// The server does not know the node.
    #[error("the node is not known")]
    Unknown {
        /// The action.
        action: Action,
    },
    /// The operator has approved the node already; the same operator twice is one.
    #[error("this operator has approved the node already")]
    SameOperator {
        /// The operator.
        uid: u32,
        /// When, in Unix seconds.
        at: i64,
    },
    /// More approvals than are ever needed.
    #[error("the node has more approvals than are kept")]
    TooManyApprovals {
        /// How many.
        count: usize,
    },
    /// The approval cannot be tied to a person.
    #[error("it is not known who approves")]
    ApproverUnknown,
}

fn name(state: Option<NodeState>) -> &'static str {
    state.map_or("unknown", NodeState::as_str)
}

impl Coded for LifecycleError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NotAllowed { .. } => ReasonCode::new("HM-REG-0060"),
            Self::Unknown { .. } => ReasonCode::new("HM-REG-0061"),
            Self::SameOperator { .. } => ReasonCode::new("HM-REG-0062"),
            Self::TooManyApprovals { .. } => ReasonCode::new("HM-REG-0063"),
            Self::ApproverUnknown => ReasonCode::new("HM-REG-0064"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::NotAllowed { state, action } => Some(format!(
                "{action} needs a node that is {}, found {}",
                needed(*action),
                name(*state)
            )),
            Self::SameOperator { uid, at } => Some(format!("uid {uid} approved at {at} (Unix seconds)")),
            Self::TooManyApprovals { count } => Some(format!("{count}, at most {} kept", Approvals::MAX)),
            Self::Unknown { .. } | Self::ApproverUnknown => None,
        }
    }

    fn likely_cause(&self) -> Option<String> {
        let cause = match self {
            Self::NotAllowed { .. } => "somebody else changed the node first, or another node was meant",
            Self::Unknown { .. } => "it never attested and no inventory line names it, or it was evicted",
            Self::SameOperator { .. } => "two approvals are asked of two people",
            Self::TooManyApprovals { .. } => "many operators approved a node that does not come back",
            Self::ApproverUnknown => "the call did not come from a process on the admin socket",
        };
        Some(cause.into())
    }

    fn next_step(&self) -> Option<String> {
        let step = match self {
            Self::NotAllowed { .. } => "hallmark node show NODE",
            Self::Unknown { .. } => "hallmark node list",
            Self::SameOperator { .. } => "ask another operator, with an account of their own, to approve it",
            Self::TooManyApprovals { .. } => "wait for the node, or evict it",
            Self::ApproverUnknown => "run hallmark node approve on the server's machine",
        };
        Some(step.into())
    }
}

/// The states that an action leads on from, for people.
fn needed(action: Action) -> String {
    let from = NodeState::ALL
        .into_iter()
        .filter(|state| super::step(Some(*state), action).is_ok());
    from.map(NodeState::as_str).collect::<Vec<_>>().join(" or ")
}
