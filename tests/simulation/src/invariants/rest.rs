//! What must hold at rest, with every clock right.

use std::collections::BTreeSet;

use hallmark_node::EkId;
use hallmark_state::{Node, NodeState};

use super::{Checker, Law, Violation, broken};
use crate::machine::{MAX_AGE, Machine};

/// After how many seconds machines attest again.
const LATER: [i64; 6] = [0, 60, 600, 1800, 3600, 10_000];
/// How far right clocks may differ, in seconds.
const DIFFER: i64 = 10;

impl Checker {
    /// Every clock is right, and every server has seen to what that asks for.
    pub(crate) fn at_rest(&self, machines: &[Machine], now: i64) -> Result<(), Violation> {
        for machine in machines {
            let Some(held) = self.truth.attestation(&machine.id) else {
                continue;
            };
            let late = LATER.iter().find(|later| {
                let then = now + **later;
                machine.after(Some(held), then, then).is_none()
            });
            if let Some(later) = late {
                let found = format!("{} is not let in after {later} s", machine.id);
                return broken(Law::ClocksHeal, found);
            }
        }
        let too_long = |node: &&_| ends_after(node, now + DIFFER + MAX_AGE + 1);
        if let Some(node) = self.truth.nodes().map(|node| &**node).find(too_long) {
            let found = format!("the verdict on {} counts until {:?}", node.id, node.appraised.stale_at);
            return broken(Law::ClocksHeal, found);
        }
        let mut listed = self.truth.inventory().configured().inventory.machines();
        listed.try_for_each(|machine| self.goes_one_way(&machine))
    }

    fn goes_one_way(&self, machine: &BTreeSet<EkId>) -> Result<(), Violation> {
        let nodes = machine.iter().filter_map(|ek| match ek {
            EkId::Spki(ek) => self.truth.node_of_ek(ek),
            EkId::Name(_) => None,
        });
        let nodes: Vec<_> = nodes.collect();
        let is_out = |state| matches!(state, NodeState::Suspended | NodeState::Banned | NodeState::Retired);
        let is_in = nodes.iter().find(|node| node.state == NodeState::Active);
        match (is_in, nodes.iter().find(|node| is_out(node.state))) {
            (Some(one), Some(other)) => broken(
                Law::ListedIsOneMachine,
                format!(
                    "{} is active, and {} of the same machine is {}",
                    one.id, other.id, other.state
                ),
            ),
            _ => Ok(()),
        }
    }
}

fn ends_after(node: &Node, most: i64) -> bool {
    node.appraised.stale_at.is_some_and(|stale| stale > most)
}
