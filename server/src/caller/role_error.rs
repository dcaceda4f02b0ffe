//! Why a role does not let a caller do something.

use std::time::Duration;

use hallmark_reason::{Coded, ReasonCode, Report};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Action, EntryId, Role,
    decide::{RoleGap, RoleHolder},
};
use tonic::Status;

/// Why a role does not let a caller do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// Through which agent the SVID was issued is not known.
    #[error("the SVID of {id} is not known to come from an agent, so it has no role")]
    NotNoted {
        /// Its SPIFFE ID.
        id: SpiffeId,
        /// Its serial number, in hex.
        serial: String,
    },
    /// An authority below this server's issued the SVID.
    #[error("the SVID of {id} was issued by a server below this one, and is nobody's here")]
    IssuedBelow {
        /// Its SPIFFE ID.
        id: SpiffeId,
        /// Its serial number, in hex.
        serial: String,
    },
    /// The agent that the SVID was issued through is not served.
    #[error("the machine of this SVID is not admitted, so the SVID has no role")]
    AgentOut {
        /// The agent.
        agent: SpiffeId,
        /// Why it is out.
        found: String,
    },
    /// The agent may not serve the id with the role (any more).
    #[error("{id} is not the {} on this machine", role.as_str())]
    NotGiven {
        /// The SPIFFE ID.
        id: SpiffeId,
        /// The agent.
        agent: SpiffeId,
        /// The role.
        role: Role,
    },
    /// An entry that decides who has a role is written at the admin socket alone.
    #[error("an entry for {id} decides who has a role, and can be written only at the admin socket")]
    LeadsToRole {
        /// The entry's SPIFFE ID.
        id: SpiffeId,
    },
    /// Entries by which this agent serves the id were written over TLS, and those give nobody a role.
    #[error("the entries that bring {id} to this machine were written over TLS, and give no role")]
    WrittenOverTls {
        /// The SPIFFE ID that has the role.
        id: SpiffeId,
        /// The agent.
        agent: SpiffeId,
        /// The entries.
        entries: Vec<EntryId>,
    },
    /// Rules came into force, and the agent is not judged by them yet: asked again, the answer is another one.
    #[error("the machine of this SVID has not been judged by the rules that just came into force")]
    NotJudged {
        /// The agent that the SVID was issued through.
        agent: SpiffeId,
        /// What was found of it.
        found: String,
    },
    /// What operators took from a machine, one administrator over TLS does not give back alone.
    #[error("{action} of {node} needs a second administrator: this request is noted as the first")]
    SecondNeeded {
        /// What is asked for.
        action: Action,
        /// Of which node.
        node: SpiffeId,
        /// How long the request counts.
        lifetime: Duration,
    },
}

/// The most entries that a refusal names.
const SHOWN: usize = 10;

fn shown(entries: &[EntryId]) -> String {
    let mut named: Vec<_> = entries.iter().take(SHOWN).map(ToString::to_string).collect();
    if entries.len() > SHOWN {
        named.push(format!("and {} more", entries.len().saturating_sub(SHOWN)));
    }
    named.join(", ")
}

impl From<RoleError> for Status {
    fn from(error: RoleError) -> Self {
        let text = Report(&error).to_string();
        match error {
            RoleError::SecondNeeded { .. } => Self::failed_precondition(text),
            RoleError::NotJudged { .. } => Self::unavailable(text),
            _ => Self::permission_denied(text),
        }
    }
}

impl RoleError {
    /// Why the role is not this holder's.
    #[must_use]
    pub fn of(gap: RoleGap, holder: &RoleHolder, role: Role) -> Self {
        let (id, agent) = (holder.id.clone(), holder.agent.clone());
        match gap {
            RoleGap::AgentOut(found) => Self::AgentOut { agent, found },
            RoleGap::NotJudged(found) => Self::NotJudged { agent, found },
            RoleGap::WrittenOverTls(entries) => Self::WrittenOverTls { id, agent, entries },
            RoleGap::NotGiven => Self::NotGiven { id, agent, role },
        }
    }
}

impl Coded for RoleError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NotNoted { .. } => ReasonCode::new("HM-SRV-0341"),
            Self::IssuedBelow { .. } => ReasonCode::new("HM-SRV-0348"),
            Self::AgentOut { .. } => ReasonCode::new("HM-SRV-0342"),
            Self::NotGiven { .. } => ReasonCode::new("HM-SRV-0343"),
            Self::LeadsToRole { .. } => ReasonCode::new("HM-SRV-0344"),
            Self::SecondNeeded { .. } => ReasonCode::new("HM-SRV-0345"),
            Self::WrittenOverTls { .. } => ReasonCode::new("HM-SRV-0346"),
            Self::NotJudged { .. } => ReasonCode::new("HM-SRV-0347"),
        }
    }

    fn compared(&self) -> Option<String> {
        Some(match self {
            Self::NotNoted { serial, .. } => format!("serial {serial}, none of that number is noted with a role"),
            Self::IssuedBelow { serial, .. } => {
                format!("serial {serial}, its issuer is not this server's own authority")
            }
            Self::AgentOut { agent, found } | Self::NotJudged { agent, found } => format!("{agent}: {found}"),
            Self::NotGiven { id, agent, role } => format!("no entry gives {id} as {} to {agent}", role.as_str()),
            Self::LeadsToRole { .. } => "asked over TLS, allowed at the admin socket".to_owned(),
            Self::WrittenOverTls { agent, entries, .. } => format!(
                "entries written at the admin socket needed on the way to {agent}, over TLS were written: {}",
                shown(entries)
            ),
            Self::SecondNeeded { lifetime, .. } => format!(
                "2 administrators with different ids on different machines needed within {} s, 1 asked",
                lifetime.as_secs()
            ),
        })
    }

    fn precise_step(&self) -> Option<String> {
        Some(match self {
            Self::AgentOut { agent, .. } | Self::NotJudged { agent, .. } => format!("hallmark node show {agent}"),
            Self::NotGiven { id, .. } => format!("hallmark entry list --spiffe-id {id}"),
            Self::WrittenOverTls { entries, .. } => {
                let first = entries.first().map_or("ENTRY", EntryId::as_str);
                format!(
                    "hallmark entry show {first}; delete it if it should not be, or confirm it on the server's machine: hallmark \
                     entry update {first} --confirm"
                )
            }
            Self::SecondNeeded { node, .. } => {
                format!(
                    "have another administrator ask for the same, or use the server's machine: hallmark node show {node}"
                )
            }
            Self::NotNoted { .. } | Self::IssuedBelow { .. } | Self::LeadsToRole { .. } => return None,
        })
    }
}
