//! Who holds a role over TLS, and whether the role still is this holder's.
//!
//! A role is held by an SVID that was issued through an agent. It ends with that agent: whoever is banned, suspended, retired,
//! evicted or no longer trusted takes the roles of its workloads along, at once. Whoever the rules in force have not judged yet
//! has no role until they have.

use std::{collections::BTreeSet, fmt};

use hallmark_spiffe::SpiffeId;

use crate::{EntryId, Node, Role, RoleWay, View};

/// Who holds a role over TLS, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleHolder {
    /// The SPIFFE ID that has the role.
    pub id: SpiffeId,
    /// The agent that its SVID was issued through; itself, where an agent has a role.
    pub agent: SpiffeId,
    /// When the SVID was issued, in Unix seconds.
    pub issued_at: i64,
}

impl fmt::Display for RoleHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.id == self.agent {
            write!(f, "{}", self.id)
        } else {
            write!(f, "{} through {}", self.id, self.agent)
        }
    }
}

/// Why a role is not its holder's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleGap {
    /// Its agent is out, or no longer trusted: what was found of it.
    AgentOut(String),
    /// The rules in force have not judged its agent yet, which is served otherwise: what was found of it.
    NotJudged(String),
    /// These entries lead to it, and administrators over TLS wrote them.
    WrittenOverTls(Vec<EntryId>),
    /// Nothing gives it.
    NotGiven,
}

/// Whether `role` is this holder's at `now` (Unix seconds): its machine is served, and may serve the id with the role.
/// `configured` are the SPIFFE IDs that the configuration makes administrators.
///
/// # Errors
/// [`RoleGap`], which says what is missing.
pub fn role_stands(
    view: &View<'_>,
    holder: &RoleHolder,
    role: Role,
    configured: &BTreeSet<SpiffeId>,
    now: i64,
) -> Result<(), RoleGap> {
    let is_configured = role == Role::Admin && configured.contains(&holder.id);
    let Some(agent) = view.node(&holder.agent) else {
        return Err(RoleGap::AgentOut("it is not attested".to_owned()));
    };
    if !agent.is_active() {
        return Err(RoleGap::AgentOut(why(agent)));
    }
    let rules = view.rules().revision;
    if !agent.is_appraised_by(rules, now) {
        return Err(RoleGap::NotJudged(format!(
            "the rules in force (revision {rules}) have not judged it yet; it was judged by revision {}",
            agent.appraised.rules
        )));
    }
    if holder.id == holder.agent {
        return if is_configured { Ok(()) } else { Err(RoleGap::NotGiven) };
    }
    // What was issued before it was put out does not come back with it.
    if holder.issued_at < agent.since {
        return Err(RoleGap::AgentOut(format!(
            "in service since {}, the SVID was issued at {} (Unix seconds)",
            agent.since, holder.issued_at
        )));
    }
    let by_entry = (!is_configured).then_some(role);
    let entries = view.entries();
    match entries.role_way(&holder.id, by_entry, &holder.agent, &agent.selectors, now) {
        RoleWay::Open => Ok(()),
        RoleWay::OverTls(entries) => Err(RoleGap::WrittenOverTls(entries.into_iter().cloned().collect())),
        RoleWay::None => Err(RoleGap::NotGiven),
    }
}

fn why(agent: &Node) -> String {
    if agent.state.is_served() {
        format!("what it proved last is not enough: {}", agent.untrusted_reason)
    } else {
        format!("it is {}", agent.state)
    }
}
