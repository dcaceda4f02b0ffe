//! Why a node's state does not change.

use hallmark_reason::{Coded, ReasonCode};

use super::{Action, Approvals, NodeState};

/// Why a node's state does not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// The action does not lead on from this state.
    #[error("{action} is not possible: the node is {}", name(*.state))]
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
    /// The user's approval counts for nothing.
    #[error("the user {uid} may not approve nodes")]
    ApproverRefused {
        /// The user id of the process on the admin socket.
        uid: u32,
        /// Why.
        why: ApproverRefusal,
    },
    /// The approval cannot be tied to a person.
    #[error("it is not known who approves")]
    ApproverUnknown,
}

/// Why a user's approval counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApproverRefusal {
    /// Another user can be this one.
    Subordinate {
        /// Who, as `/etc/subuid` names them.
        owner: String,
    },
    /// It is the user id of everybody who has none on this machine.
    Unmapped,
    /// The user has no account.
    NoAccount,
    /// The configuration lists others.
    NotListed {
        /// Whom.
        listed: String,
    },
    /// It could not be looked up.
    Unreadable(String),
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
            Self::ApproverRefused { .. } => ReasonCode::new("HM-REG-0065"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::NotAllowed { state, action } => Some(format!("expected {}, found {}", needed(*action), name(*state))),
            Self::SameOperator { uid, at } => Some(format!("uid {uid} approved at {at} (Unix seconds)")),
            Self::TooManyApprovals { count } => Some(format!("{count}, at most {} kept", Approvals::MAX)),
            Self::ApproverRefused { uid, why } => Some(match why {
                ApproverRefusal::Subordinate { owner } => {
                    format!("uid {uid} is a subordinate user id of {owner}, by /etc/subuid")
                }
                ApproverRefusal::Unmapped => {
                    format!("uid {uid} stands for every user that has none in the server's user namespace")
                }
                ApproverRefusal::NoAccount => format!("uid {uid} has no account"),
                ApproverRefusal::NotListed { listed } => format!("uid {uid}; the configuration lists {listed}"),
                ApproverRefusal::Unreadable(cause) => format!("uid {uid} could not be looked up: {cause}"),
            }),
            Self::Unknown { .. } | Self::ApproverUnknown => None,
        }
    }

    fn precise_cause(&self) -> Option<String> {
        let cause = match self {
            Self::NotAllowed { state, action } if *state == leads_to(*action) => {
                "it was done before, or another node was meant"
            }
            Self::NotAllowed { .. } => "someone else changed the node first, or another node was meant",
            Self::ApproverRefused { why, .. } => match why {
                ApproverRefusal::Subordinate { .. } => "the command was run in a user namespace or a container",
                ApproverRefusal::Unmapped => "the command was run in another user namespace than the server",
                ApproverRefusal::NoAccount => "the command was run in a container, or the account was deleted",
                ApproverRefusal::NotListed { .. } => "`approvers` in the server's configuration names other people",
                ApproverRefusal::Unreadable(_) => "/etc/subuid is not readable, or the directory service is away",
            },
            _ => return None,
        };
        Some(cause.into())
    }

    fn precise_step(&self) -> Option<String> {
        self.step_for("NODE")
    }
}

impl LifecycleError {
    /// The next step where it depends on the refusal's values; `node` names the node in it.
    fn step_for(&self, node: &str) -> Option<String> {
        Some(match self {
            Self::NotAllowed { state, action } if *state == leads_to(*action) => {
                format!("nothing: the node is {} already", name(*state))
            }
            Self::NotAllowed { state, .. } => match state {
                Some(NodeState::PreRegistered | NodeState::Pending) => {
                    format!("hallmark node approve {node}, then again")
                }
                Some(NodeState::Suspended) => format!("hallmark node resume {node}, then again"),
                Some(NodeState::Banned) => format!("hallmark node unban {node}, then again"),
                Some(NodeState::Retired) => {
                    "hallmark inventory import FILE --readmit takes a retired machine back".to_owned()
                }
                Some(NodeState::Active) | None => format!("hallmark node show {node} says what happened to it"),
            },
            Self::ApproverRefused { why, .. } => match why {
                ApproverRefusal::Subordinate { .. } | ApproverRefusal::Unmapped | ApproverRefusal::NoAccount => {
                    "run hallmark node approve from an account of your own"
                }
                ApproverRefusal::NotListed { .. } => {
                    "ask one of them, or add the user to [attestation.tpm2] approvers and restart the server"
                }
                ApproverRefusal::Unreadable(_) => "ls -l /etc/subuid; getent passwd; then approve again",
            }
            .to_owned(),
            _ => return None,
        })
    }
}

/// A refusal with the node that it is about, so that its next step can be typed as it stands.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{error}")]
pub struct RefusedStep<'a> {
    /// The refusal.
    pub error: &'a LifecycleError,
    /// The node's id.
    pub node: &'a str,
}

impl Coded for RefusedStep<'_> {
    fn code(&self) -> ReasonCode {
        self.error.code()
    }

    fn inner(&self) -> Option<&dyn Coded> {
        Some(self.error)
    }

    fn precise_step(&self) -> Option<String> {
        self.error.step_for(self.node)
    }
}

/// The state that an action leads to, where it is one that an operator means.
const fn leads_to(action: Action) -> Option<NodeState> {
    match action {
        Action::List => Some(NodeState::PreRegistered),
        Action::Admit | Action::Approve | Action::Resume => Some(NodeState::Active),
        Action::Prove | Action::Unban => Some(NodeState::Pending),
        Action::Suspend => Some(NodeState::Suspended),
        Action::Ban => Some(NodeState::Banned),
        Action::Retire => Some(NodeState::Retired),
        Action::Readmit | Action::Unlist | Action::Evict => None,
    }
}

/// The states that an action leads on from, for people.
fn needed(action: Action) -> String {
    let from = NodeState::ALL
        .into_iter()
        .filter(|state| super::step(Some(*state), action).is_ok());
    from.map(NodeState::as_str).collect::<Vec<_>>().join(" or ")
}
