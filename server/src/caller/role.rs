//! Administrators and downstream servers over TLS: who holds a role, on which machine, and whether that machine is still
//! served.
//!
//! A role is held by an SVID that was issued through an agent. It ends with that agent: whoever is banned, suspended, retired,
//! evicted or no longer trusted takes the roles of its workloads along, at once.

use hallmark_spiffe::{
    SpiffeId,
    x509::{SerialHex, VerifiedLeaf},
};
use hallmark_state::{
    Registry, Role, RoleSvid, View,
    decide::{RoleHolder, role_stands},
};
use tonic::Status;

use super::{Access, Caller, RoleError};
use crate::{connection::TlsInfo, server::Server};

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
        let state = server.state();
        asked
            .into_iter()
            .find(|role| has_role(server, state.entries(), &peer.id, *role, now))
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
fn stands(server: &Server, holder: &RoleHolder, role: Role) -> Result<(), RoleError> {
    let (state, configured) = (server.state(), server.admin_ids.load());
    let stands = role_stands(&View::new(&state), holder, role, &configured, server.clock.unix());
    stands.map_err(|gap| RoleError::of(gap, holder, role))
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
