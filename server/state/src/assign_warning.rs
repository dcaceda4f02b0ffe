//! What an assignment of an image says that probably means something else: it is made, and whoever makes it is told.

use std::fmt;

use hallmark_node::EkId;
use hallmark_spiffe::SpiffeId;

use crate::{NodeState, State};

/// Why a machine to which an image is assigned may never ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssignWarning {
    /// No inventory line, no node and no other machine's line names the key.
    Unknown {
        /// The key.
        machine: EkId,
    },
    /// The machine is told nothing until an operator lets it in.
    NotServed {
        /// Its node.
        node: SpiffeId,
        /// Where that stands.
        state: NodeState,
        /// What lets it in.
        command: &'static str,
    },
}

impl AssignWarning {
    /// What there is to be said of an assignment to this machine.
    #[must_use]
    pub fn of(state: &State, machine: &EkId) -> Option<Self> {
        let keys = state.links().keys_of_machine(machine);
        let mut nodes = keys
            .iter()
            .filter_map(|key| state.links().ek_of_key(key))
            .filter_map(|ek| state.node_of_ek(&ek))
            .peekable();
        if nodes.peek().is_none() {
            let is_listed = keys.iter().any(|key| state.inventory().line(key).is_some());
            return (!is_listed).then_some(Self::Unknown { machine: *machine });
        }
        nodes.find_map(|node| {
            let command = match node.state {
                NodeState::Pending => "approve",
                NodeState::Suspended => "resume",
                _ => return None,
            };
            let (node, state) = (node.id.clone(), node.state);
            Some(Self::NotServed { node, state, command })
        })
    }
}

impl fmt::Display for AssignWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { machine } => write!(
                f,
                "no machine with the endorsement key {machine} has attested or is in the inventory: if it is not new, look for \
                 a typo with `hallmark inventory list` and `hallmark node list`"
            ),
            Self::NotServed { node, state, command } => write!(
                f,
                "the machine is {state}, and is told nothing before `hallmark node {command} {node}`"
            ),
        }
    }
}
