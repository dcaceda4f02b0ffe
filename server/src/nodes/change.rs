//! What operators do with a node.

use hallmark_reason::{Coded as _, Report};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Action, LifecycleError, RefusedStep, Role,
    decide::{Asker, Changed, NodeAsk, NodeOutcome, StepRefusal, change_node},
};
use hallmark_store::StoreError;

use super::Nodes;
use crate::{
    caller::{Caller, RoleError},
    journal::{Failed, store_failed},
};

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Of which node.
    pub id: &'a SpiffeId,
    /// What.
    pub action: Action,
    /// Who asks.
    pub by: &'a Caller,
    /// Why, in their words.
    pub reason: &'a str,
    /// Whether it is only to be said what would happen.
    pub dry_run: bool,
}

/// Why nothing changed.
#[derive(Debug)]
pub enum ChangeFailed {
    /// The node's state does not allow it.
    Refused(LifecycleError),
    /// The role of whoever asks does not allow it.
    Role(RoleError),
    /// The store did not take it.
    Store(StoreError),
}

impl ChangeFailed {
    /// What the caller hears who asked for a change of `node`.
    #[must_use]
    pub fn status(&self, node: &SpiffeId) -> tonic::Status {
        match self {
            Self::Refused(error @ LifecycleError::Unknown { .. }) => {
                tonic::Status::not_found(format!("{}: agent not found", error.code()))
            }
            Self::Refused(error @ LifecycleError::ApproverRefused { .. }) => {
                tonic::Status::permission_denied(Report(error).to_string())
            }
            Self::Refused(error) => {
                let node = node.as_str();
                tonic::Status::failed_precondition(Report(&RefusedStep { error, node }).to_string())
            }
            Self::Role(error) => error.clone().into(),
            Self::Store(error) => store_failed(error),
        }
    }
}

impl Nodes {
    /// Changes a node as an operator asks, with the record of it: both or neither. Other nodes that operators list as the same
    /// machine go the same way in the same step, as far as their states allow.
    ///
    /// # Errors
    /// [`ChangeFailed`]; then nothing was changed, but that the first of two administrators asked is on record.
    pub async fn change(&self, ask: Ask<'_>) -> Result<Changed, ChangeFailed> {
        let approver = match ask.action {
            Action::Approve => Some(self.approval.approver.approver(ask.by).await),
            _ => None,
        };
        let approver = approver.transpose().map_err(ChangeFailed::Refused)?;
        let (actor, configured) = (ask.by.actor(), self.admin_ids.load());
        let by = Asker {
            actor: &actor,
            over_tls: ask.by.role_holder(),
            configured: &configured,
        };
        let of_node = NodeAsk {
            id: ask.id,
            action: ask.action,
            approver,
            reason: ask.reason,
            dry_run: ask.dry_run,
        };
        let rules = &self.approval.rules;
        let decided = self.journal.decide_as(|view| {
            let (decision, outcome) = change_node(view, &of_node, &by, rules, self.journal.clock().unix())?;
            let actor = match &outcome {
                NodeOutcome::Done(_, by) => by.clone(),
                NodeOutcome::SecondNeeded => actor.clone(),
            };
            Ok((actor, decision, outcome))
        });
        match decided.await.map(|done| done.answer) {
            Ok(NodeOutcome::Done(changed, by)) => {
                if !ask.dry_run {
                    tracing::info!(agent = %ask.id, by, action = %ask.action, "a node is changed by an administrator");
                }
                Ok(changed)
            }
            Ok(NodeOutcome::SecondNeeded) => Err(ChangeFailed::Role(RoleError::SecondNeeded {
                action: ask.action,
                node: ask.id.clone(),
                lifetime: rules.lifetime,
            })),
            Err(Failed::Refused(StepRefusal::Lifecycle(error))) => Err(ChangeFailed::Refused(error)),
            Err(Failed::Refused(StepRefusal::Role(gap))) => {
                let holder = ask.by.role_holder();
                Err(holder.map_or(ChangeFailed::Store(StoreError::Closed), |holder| {
                    ChangeFailed::Role(RoleError::of(gap, holder, Role::Admin))
                }))
            }
            Err(Failed::Store(error)) => Err(ChangeFailed::Store(error)),
        }
    }
}
