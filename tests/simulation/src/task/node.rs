//! What happens to one node's row: operators' acts, and what its agent tells.

use std::collections::BTreeSet;

use hallmark_state::{
    Action, View,
    decide::{Asker, NodeAsk, change_node, report_version, use_svid},
};

use super::{Context, Next, Work};

/// What is to happen to the node of a machine.
pub(crate) enum NodeAct {
    /// An operator asks for it.
    Operate {
        machine: usize,
        action: Action,
        operator: u32,
    },
    /// Its agent shows the SVID that it got last.
    Use { machine: usize },
    /// Its agent tells its version.
    Version { machine: usize, version: usize },
}

impl Work for NodeAct {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let view = View::new(context.state());
        match *self {
            Self::Operate {
                machine,
                action,
                operator,
            } => {
                let configured = BTreeSet::new();
                let ask = NodeAsk {
                    id: &context.machines[machine].id,
                    action,
                    approver: Some(operator),
                    reason: "",
                    dry_run: false,
                };
                let by = Asker {
                    actor: "operator",
                    over_tls: None,
                    configured: &configured,
                };
                match change_node(view, &ask, &by, context.approval, context.server_now()) {
                    Ok((decision, _)) => Next::commit("operator", decision),
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
