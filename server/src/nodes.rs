//! What operators do with nodes and with the inventory: requests, made decisions.

mod approver;
mod change;
mod inventory;

pub use approver::ApproverRule;
pub use change::{Ask, ChangeFailed};
pub(crate) use inventory::relink;
pub use inventory::{Removal, import, remove};

use std::sync::Arc;

use hallmark_node::{EkId, InventoryItem, NodeId};
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{State, decide::ApprovalRules};

use crate::{caller::AdminIds, config::Tpm2, journal::Journal};

/// Who approves new nodes.
#[derive(Debug)]
pub struct Approval {
    /// How many, and for how long that counts.
    pub rules: ApprovalRules,
    /// Which users may.
    pub approver: ApproverRule,
}

impl Approval {
    /// As configured.
    #[must_use]
    pub fn new(tpm2: &Tpm2) -> Self {
        Self {
            rules: ApprovalRules {
                approvers: tpm2.approvers,
                lifetime: tpm2.approval_lifetime,
            },
            approver: ApproverRule::new(tpm2.approver_list.clone()),
        }
    }
}

/// Changes nodes as operators ask.
#[derive(Debug, Clone)]
pub struct Nodes {
    journal: Arc<Journal>,
    admin_ids: AdminIds,
    approval: Arc<Approval>,
}

impl Nodes {
    /// The nodes of `journal`.
    #[must_use]
    pub fn new(journal: Arc<Journal>, admin_ids: AdminIds, approval: Approval) -> Self {
        Self {
            journal,
            admin_ids,
            approval: Arc::new(approval),
        }
    }

    /// Of which trust domain they are.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        self.journal.trust_domain()
    }

    /// How many approve a new node, and for how long that counts.
    #[must_use]
    pub fn approval_rules(&self) -> &ApprovalRules {
        &self.approval.rules
    }
}

/// The id that a line's machine has or will have, as far as that is known: of several EKs the first one's.
pub(crate) fn id_of_line(state: &State, line: &InventoryItem) -> Option<SpiffeId> {
    let first = line.eks().find_map(|ek| match ek {
        EkId::Spki(ek) => Some(ek),
        EkId::Name(_) => None,
    });
    NodeId::new(state.trust_domain(), &first?)
        .map(NodeId::into_spiffe_id)
        .ok()
}
