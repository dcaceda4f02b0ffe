//! What happens to one node's row: operators' acts, and what its agent tells.

use hallmark_state::{
    Action, Decision, Key, Role, View,
    decide::{Asker, NodeAsk, NodeOutcome, RoleHolder, change_node, report_version, role_stands, use_svid},
};

use super::{Context, Next, Work, operator::forgetful};
use crate::{Broken, admin};

/// Who asks.
pub(crate) enum By {
    /// A user at the admin socket.
    User(u32),
    /// An administrator over TLS.
    Tls(RoleHolder),
}

/// What is to happen to the node of a machine.
pub(crate) enum NodeAct {
    /// An operator asks for it.
    Operate { machine: usize, action: Action, by: By },
    /// Its agent shows the SVID that it got last.
    Use { machine: usize },
    /// Its agent tells its version.
    Version { machine: usize, version: usize },
}

/// Whether a broken server takes one administrator for two.
fn gives_back_alone(context: &Context<'_>, holder: &RoleHolder) -> bool {
    let view = View::new(context.state());
    let stands = role_stands(&view, holder, Role::Admin, &admin::configured(), context.server_now());
    context.broken == Some(Broken::OneGivesBack) && stands.is_ok()
}

/// Also one who is taken for two has the role.
fn resting_on_role(mut decision: Decision, over_tls: Option<&RoleHolder>) -> Decision {
    let keys = over_tls.map(|holder| [Key::Node(holder.agent.clone()), Key::Entries]);
    decision.expect.keys.extend(keys.into_iter().flatten());
    decision
}

impl Work for NodeAct {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let view = View::new(context.state());
        match *self {
            Self::Operate {
                machine,
                action,
                ref by,
            } => {
                let (actor, over_tls, approver) = match by {
                    By::User(user) => ("operator".to_owned(), None, Some(*user)),
                    By::Tls(holder) => (holder.to_string(), Some(holder), None),
                };
                let is_alone = over_tls.is_some_and(|holder| gives_back_alone(context, holder));
                let finish = |decision| {
                    forgetful(
                        resting_on_role(decision, over_tls.filter(|_| is_alone)),
                        context,
                        over_tls,
                    )
                };
                let ask = NodeAsk {
                    id: &context.machines[machine].id,
                    action,
                    approver,
                    reason: "",
                    dry_run: false,
                };
                let by = Asker {
                    actor: &actor,
                    over_tls: over_tls.filter(|_| !is_alone),
                    configured: &admin::configured(),
                };
                match change_node(view, &ask, &by, context.approval, context.server_now()) {
                    Ok((decision, NodeOutcome::Done(_, by))) => Next::commit(by, finish(decision)),
                    Ok((decision, NodeOutcome::SecondNeeded)) => Next::commit(actor.clone(), finish(decision)),
                    Err(_) => Next::End,
                }
            }
            Self::Use { machine } => {
                let machine = &context.machines[machine];
                let Some(svid) = machine.svid else { return Next::End };
                Next::commit("agent", use_svid(view, &machine.id, svid.serial))
            }
            Self::Version { machine, version } => {
                let version = format!("0.{version}");
                report_version(view, &context.machines[machine].id, &version)
                    .map_or(Next::End, |decision| Next::commit("agent", decision))
            }
        }
    }
}
