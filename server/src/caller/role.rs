//! Administrators and downstream servers over TLS: who holds a role, on which machine, and whether that machine is still
//! served.
//!
//! A role is held by an SVID that was issued through an agent. It ends with that agent: whoever is banned, suspended, retired,
//! evicted or no longer trusted takes the roles of its workloads along, at once.

use std::fmt;

use hallmark_spiffe::{
    SpiffeId,
    x509::{SerialHex, VerifiedLeaf},
};
use hallmark_state::{Registry, Role, RoleWay};
use hallmark_store::{Agent, RoleSvid};
use tokio::sync::MutexGuard;
use tonic::Status;

use super::{Access, Caller, RoleError, denial};
use crate::{connection::TlsInfo, state::Server};

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

/// Whether the configuration or an entry of `registry` gives this id the role; nothing is said of its holder.
pub(crate) fn has_role(server: &Server, registry: &Registry, id: &SpiffeId, role: Role, now: i64) -> bool {
    is_configured(server, id, role) || registry.gives(id, role, now)
}

fn is_configured(server: &Server, id: &SpiffeId, role: Role) -> bool {
    role == Role::Admin && server.admin_ids.load().contains(id)
}

/// The caller in the role that a method asks for; `None` for whom it does not have. `is_agent` is for an agent that has
/// been looked at and shows its own SVID.
///
/// # Errors
/// When the id has the role and this holder does not; when the store cannot be read.
pub(super) async fn holder(
    server: &Server,
    access: Access,
    info: &TlsInfo,
    peer: &VerifiedLeaf,
    is_agent: bool,
) -> Result<Option<Caller>, RoleFailure> {
    let now = server.clock.unix();
    let asked = [(access.admin, Role::Admin), (access.downstream, Role::Downstream)];
    let asked = asked.into_iter().filter_map(|(asked, role)| asked.then_some(role));
    let found = {
        let registry = server.registry();
        asked
            .into_iter()
            .find(|role| has_role(server, &registry, &peer.id, *role, now))
    };
    let Some(role) = found else {
        return Ok(None);
    };
    let origin = if is_agent {
        Some(RoleSvid {
            agent: peer.id.clone(),
            issued_at: now,
        })
    } else {
        let find = || async {
            match super::authorise::serial(&peer.serial) {
                Some(serial) => server.store.role_svid(serial).await,
                None => Ok(None),
            }
        };
        info.origin
            .get_or_try_init(find)
            .await
            .map_err(RoleFailure::Store)?
            .clone()
    };
    let origin = origin.ok_or_else(|| RoleError::NotNoted {
        id: peer.id.clone(),
        serial: SerialHex(&peer.serial).to_string(),
    });
    let RoleSvid { agent, issued_at } = origin.map_err(RoleFailure::Refused)?;
    let holder = RoleHolder {
        id: peer.id.clone(),
        agent,
        issued_at,
    };
    // Last: what was waited for above may have been long enough for a ban.
    stands(server, &holder, role).map_err(RoleFailure::Refused)?;
    Ok(Some(match role {
        Role::Admin => Caller::Admin(holder),
        Role::Downstream => Caller::Downstream(holder),
    }))
}

/// Why a caller does not have its role.
pub(super) enum RoleFailure {
    Refused(RoleError),
    Store(hallmark_store::StoreError),
}

/// Whether the role is this holder's now: its machine is served, and may serve the id with the role.
///
/// # Errors
/// [`RoleError`], which says what is missing.
pub(crate) fn stands(server: &Server, holder: &RoleHolder, role: Role) -> Result<(), RoleError> {
    let out = |found: String| RoleError::AgentOut {
        agent: holder.agent.clone(),
        found,
    };
    let Some(agent) = server.agents.find(&holder.agent) else {
        return Err(out("it is not attested".to_owned()));
    };
    if denial(&agent).is_some() {
        return Err(out(why(&agent)));
    }
    if holder.id == holder.agent {
        return if is_configured(server, &holder.id, role) {
            Ok(())
        } else {
            Err(not_given(holder, role))
        };
    }
    // What was issued before it was put out does not come back with it.
    if holder.issued_at < agent.since {
        return Err(out(format!(
            "in service since {}, the SVID was issued at {} (Unix seconds)",
            agent.since, holder.issued_at
        )));
    }
    let by_entry = (!is_configured(server, &holder.id, role)).then_some(role);
    let now = server.clock.unix();
    let registry = server.registry();
    match registry.role_way(&holder.id, by_entry, &holder.agent, &agent.selectors, now) {
        RoleWay::Open => Ok(()),
        RoleWay::OverTls(entries) => Err(RoleError::WrittenOverTls {
            id: holder.id.clone(),
            agent: holder.agent.clone(),
            entries: entries.into_iter().cloned().collect(),
        }),
        RoleWay::None => Err(not_given(holder, role)),
    }
}

fn not_given(holder: &RoleHolder, role: Role) -> RoleError {
    RoleError::NotGiven {
        id: holder.id.clone(),
        agent: holder.agent.clone(),
        role,
    }
}

fn why(agent: &Agent) -> String {
    if agent.state.is_served() {
        format!("what it proved last is not enough: {}", agent.distrust)
    } else {
        format!("it is {}", agent.state)
    }
}

/// Whether the caller still is what its request was let through as: asked again by what takes its time.
///
/// # Errors
/// `PermissionDenied`.
pub fn require_standing(server: &Server, caller: &Caller) -> Result<(), Status> {
    match caller {
        Caller::Local(_) | Caller::Anyone => Ok(()),
        Caller::Agent(id) => super::standing(server, id).map(drop),
        Caller::Admin(holder) => Ok(stands(server, holder, Role::Admin)?),
        Caller::Downstream(holder) => Ok(stands(server, holder, Role::Downstream)?),
    }
}

/// While it is held, nobody changes the agent that a caller's role rests on.
#[derive(Debug)]
pub struct Hold<'a>(#[expect(dead_code, reason = "it is held, not read")] Vec<MutexGuard<'a, ()>>);

/// Takes hold of the caller's standing: what is changed under it comes before a ban of the caller's machine, or not at all.
/// Never for two callers at once, and not while a node is being changed.
///
/// # Errors
/// `PermissionDenied` for a caller who no longer is what its request was let through as.
pub async fn hold<'a>(server: &'a Server, caller: &Caller) -> Result<Hold<'a>, Status> {
    let held = match caller {
        Caller::Admin(holder) | Caller::Downstream(holder) => server.agents.turns([&holder.agent]).await,
        Caller::Agent(id) => server.agents.turns([id]).await,
        Caller::Local(_) | Caller::Anyone => Vec::new(),
    };
    require_standing(server, caller)?;
    Ok(Hold(held))
}
