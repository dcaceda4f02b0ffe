//! Administrators and downstream servers over TLS: who holds a role, on which machine, and whether that machine is still
//! served.
//!
//! A role is held by an SVID that was issued through an agent. It ends with that agent: whoever is banned, suspended, retired,
//! evicted or no longer trusted takes the roles of its workloads along, at once.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use hallmark_reason::Coded as _;
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
use crate::{appraise::Appraiser, connection::TlsInfo, journal::Journal};

/// SPIFFE IDs that administer the server over TLS, by configuration; a reload replaces them.
#[derive(Debug, Clone)]
pub struct AdminIds(Arc<ArcSwap<BTreeSet<SpiffeId>>>);

impl AdminIds {
    /// These.
    #[must_use]
    pub fn new(ids: BTreeSet<SpiffeId>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(ids)))
    }

    /// As they are now.
    #[must_use]
    pub fn load(&self) -> Arc<BTreeSet<SpiffeId>> {
        self.0.load_full()
    }

    /// These from now on.
    pub fn set(&self, ids: BTreeSet<SpiffeId>) {
        self.0.store(Arc::new(ids));
    }
}

/// Who has which role.
#[derive(Debug, Clone)]
pub struct Roles {
    pub(super) journal: Arc<Journal>,
    admin_ids: AdminIds,
    appraiser: Arc<Appraiser>,
}

impl Roles {
    /// By the entries of `journal` and the configuration's `admin_ids`, on machines that `appraiser` has judged.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, admin_ids: AdminIds, appraiser: Arc<Appraiser>) -> Self {
        Self {
            journal,
            admin_ids,
            appraiser,
        }
    }

    /// Whether the configuration or an entry of `registry` gives this id the role; nothing is said of its holder.
    pub(crate) fn has_role(&self, registry: &Registry, id: &SpiffeId, role: Role, now: i64) -> bool {
        self.is_configured(id, role) || registry.gives(id, role, now)
    }

    fn is_configured(&self, id: &SpiffeId, role: Role) -> bool {
        role == Role::Admin && self.admin_ids.load().contains(id)
    }

    /// The caller in the role that a method asks for; `None` for whom it does not have. `is_agent` is for an agent that has
    /// been looked at and shows its own SVID.
    ///
    /// # Errors
    /// When the id has the role and this holder does not; when the store cannot be read.
    pub(super) async fn holder(
        &self,
        access: Access,
        info: &TlsInfo,
        peer: &VerifiedLeaf,
        is_agent: bool,
    ) -> Result<Option<Caller>, RoleFailure> {
        let now = self.journal.clock().unix();
        let asked = [(access.admin, Role::Admin), (access.downstream, Role::Downstream)];
        let asked = asked.into_iter().filter_map(|(asked, role)| asked.then_some(role));
        let found = {
            let state = self.journal.state();
            asked
                .into_iter()
                .find(|role| self.has_role(state.entries(), &peer.id, *role, now))
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
                    Some(serial) => self.journal.store().role_svid(serial).await,
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
        self.judge(&holder).await;
        // Last: what was waited for above may have been long enough for a ban.
        self.stands(&holder, role).map_err(RoleFailure::Refused)?;
        Ok(Some(match role {
            Role::Admin => Caller::Admin(holder),
            Role::Downstream => Caller::Downstream(holder),
        }))
    }

    /// Whether the role is this holder's now: its machine is served, and may serve the id with the role.
    ///
    /// # Errors
    /// [`RoleError`], which says what is missing.
    fn stands(&self, holder: &RoleHolder, role: Role) -> Result<(), RoleError> {
        let (state, configured) = (self.journal.state(), self.admin_ids.load());
        let stands = role_stands(
            &View::new(&state),
            holder,
            role,
            &configured,
            self.journal.clock().unix(),
        );
        stands.map_err(|gap| RoleError::of(gap, holder, role))
    }

    /// Has a holder's machine judged, if the rules in force have not judged it yet: whoever they let in keeps its role meanwhile.
    /// Where that fails, the role does not stand.
    async fn judge(&self, holder: &RoleHolder) {
        if let Err(error) = self.appraiser.judge_one(&holder.agent).await {
            tracing::warn!(code = %error.code(), agent = %holder.agent, %error, "a holder's machine could not be judged");
        }
    }

    /// As [`require_standing`](Self::require_standing), where rules that came into force meanwhile are held against the
    /// caller's machine first.
    ///
    /// # Errors
    /// As [`require_standing`](Self::require_standing).
    pub(crate) async fn require_standing_judged(&self, caller: &Caller) -> Result<(), Status> {
        if let Caller::Admin(holder) | Caller::Downstream(holder) = caller {
            self.judge(holder).await;
        }
        self.require_standing(caller)
    }

    /// Whether the caller still is what its request was let through as: asked again by what takes its time.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub fn require_standing(&self, caller: &Caller) -> Result<(), Status> {
        match caller {
            Caller::Local(_) | Caller::Anyone => Ok(()),
            Caller::Agent(id) => super::standing(&self.journal, id).map(drop),
            Caller::Admin(holder) => Ok(self.stands(holder, Role::Admin)?),
            Caller::Downstream(holder) => Ok(self.stands(holder, Role::Downstream)?),
        }
    }
}

/// Why a caller does not have its role.
pub(super) enum RoleFailure {
    Refused(RoleError),
    Store(hallmark_store::StoreError),
}
