//! Nodes, counted.

use super::State;
use crate::NodeState;

/// Nodes, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Those that were ever let in.
    pub admitted: u64,
    /// Those that wait, for approval or for their next attestation.
    pub pending: u64,
    /// Those that an operator took the identity from, for a time.
    pub suspended: u64,
    /// Those of the admitted that are banned.
    pub banned: u64,
    /// Those in service that get no SVIDs, since what they proved last does not hold.
    pub untrusted: u64,
    /// Those in service by their state.
    pub active: u64,
    /// Those in service whose newest SVID has run out.
    pub expired: u64,
    /// Those out of service for good.
    pub retired: u64,
}

impl State {
    /// How many nodes there are of each state at `now` (Unix seconds).
    #[must_use]
    pub fn count_nodes(&self, now: i64) -> NodeCounts {
        let mut counts = NodeCounts::default();
        for node in self.nodes() {
            counts.admitted += u64::from(node.was_admitted());
            counts.untrusted += u64::from(node.state.is_served() && !node.untrusted_reason.is_empty());
            match node.state {
                NodeState::Pending => counts.pending += 1,
                NodeState::Suspended => counts.suspended += 1,
                NodeState::Banned => counts.banned += u64::from(node.was_admitted()),
                NodeState::Active => {
                    counts.active += 1;
                    counts.expired += u64::from(node.has_expired(now));
                }
                NodeState::Retired => counts.retired += 1,
                NodeState::PreRegistered => {}
            }
        }
        counts
    }

    /// How many machines the inventory lists at `now` (Unix seconds) that were never seen, those included that were approved
    /// meanwhile.
    #[must_use]
    pub fn count_unseen(&self, now: i64) -> u64 {
        let listed = self.inventory().lines().values().filter(|line| line.is_valid_at(now));
        let is_unseen =
            |node: Option<&std::sync::Arc<crate::Node>>| node.is_none_or(|node| node.state == NodeState::PreRegistered);
        let unseen = listed.filter(|line| is_unseen(self.node_of_line(line)));
        u64::try_from(unseen.count()).unwrap_or(u64::MAX)
    }
}
