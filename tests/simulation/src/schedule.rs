//! One seed is one schedule: a list of steps, each with its own numbers, so that steps can be cut and the others stay what they
//! are.

use crate::random::Random;

/// What happens in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An agent begins an attestation.
    Attest,
    /// A machine starts anew, perhaps with other firmware.
    Reboot,
    /// An agent asks for SVIDs of entries.
    Issue,
    /// An agent uses its newest SVID, or tells its version.
    Use,
    /// An operator bans, unbans, suspends, resumes, retires, evicts or approves a node.
    Operate,
    /// An operator creates, updates and deletes entries.
    Entries,
    /// A server deletes entries that have expired.
    Expire,
    /// An operator imports or removes lines of the inventory.
    Inventory,
    /// An operator changes the rules.
    Policy,
    /// A server judges a page of nodes that are behind the rules.
    Reappraise,
    /// A server sees to the authorities, or an operator does.
    Authority,
    /// Something that is on its way goes on by one step.
    Advance,
    /// The store takes the next request; not always the oldest.
    Commit,
    /// What the store has taken becomes durable, and is answered.
    Flush,
    /// The store refuses a transaction because its medium fails.
    Fail,
    /// An answer of the store is lost.
    Lose,
    /// Somebody who waits for an answer asks what became of its transaction.
    TimeOut,
    /// A server learns of some records.
    Follow,
    /// A server stops; what it has sent arrives, or does not.
    Crash,
    /// A server starts from a snapshot.
    Restart,
    /// A snapshot is taken.
    Snapshot,
    /// The store stops and starts.
    StoreCrash,
    /// Another store takes over, that does not have the last records.
    FailOver,
    /// The configuration lists other machines, each with its keys, and what it lists is linked.
    Trust,
    /// A server's clock is set ahead, or right.
    Clock,
    /// A server looks whether quotes were seen while a clock was ahead.
    Doubt,
    /// Time goes by.
    Wait,
}

/// How often each happens, in relation to the others.
const WEIGHTS: [(Kind, usize); 27] = [
    (Kind::Attest, 6),
    (Kind::Reboot, 1),
    (Kind::Issue, 16),
    (Kind::Use, 2),
    (Kind::Operate, 8),
    (Kind::Entries, 5),
    (Kind::Expire, 1),
    (Kind::Inventory, 1),
    (Kind::Policy, 2),
    (Kind::Reappraise, 3),
    (Kind::Authority, 4),
    (Kind::Advance, 100),
    (Kind::Commit, 50),
    (Kind::Flush, 36),
    (Kind::Fail, 1),
    (Kind::Lose, 2),
    (Kind::TimeOut, 4),
    (Kind::Follow, 14),
    (Kind::Crash, 1),
    (Kind::Restart, 3),
    (Kind::Snapshot, 1),
    (Kind::StoreCrash, 1),
    (Kind::FailOver, 1),
    (Kind::Trust, 1),
    (Kind::Clock, 2),
    (Kind::Doubt, 2),
    (Kind::Wait, 5),
];

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its place in the schedule of its seed.
    pub at: usize,
    /// What happens.
    pub kind: Kind,
    /// What every choice in it follows from.
    pub pick: u64,
}

/// The schedule of a seed.
#[must_use]
pub fn schedule(seed: u64, length: usize) -> Vec<Step> {
    let mut random = Random::new(seed);
    let all: usize = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let step = |at| {
        let mut left = random.below(all);
        let kind = WEIGHTS.iter().find(|(_, weight)| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        Step {
            at,
            kind: kind.map_or(Kind::Wait, |(kind, _)| *kind),
            pick: random.number(),
        }
    };
    (0..length).map(step).collect()
}
