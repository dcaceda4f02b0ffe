//! The order in which nodes are listed: by id, those that were seen and those that an inventory lists; behind them the
//! inventory's machines of which only the Name of the endorsement key is known, and so no id.

use std::{fmt, ops::Bound};

use hallmark_node::{EkId, InventoryItem, NodeId};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Node, NodeState, State};
use tonic::Status;

use crate::nodes::id_of_line;

/// What stands before a Name in a token: no id begins so.
const NAMED: char = '~';
/// Every EK by its hash stands before those by their Name.
const LAST_HASH: EkId = EkId::Spki([0xff; 32]);

/// A place in the list; the next page begins behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Start,
    Id(SpiffeId),
    Named(EkId),
}

impl Place {
    /// The place that a page's token stands for.
    pub(super) fn read(token: &str) -> Result<Self, Status> {
        let malformed = || Status::invalid_argument("malformed page token");
        match token.strip_prefix(NAMED) {
            Some(name) => EkId::parse(name).map(Self::Named).map_err(|_| malformed()),
            None if token.is_empty() => Ok(Self::Start),
            None => SpiffeId::parse(token).map(Self::Id).map_err(|_| malformed()),
        }
    }

    fn id(&self) -> Option<&SpiffeId> {
        match self {
            Self::Id(id) => Some(id),
            Self::Start | Self::Named(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => Ok(()),
            Self::Id(id) => id.fmt(f),
            Self::Named(name) => write!(f, "{NAMED}{name}"),
        }
    }
}

/// A node of the list.
pub(super) enum Found<'a> {
    /// One that showed itself.
    Seen(&'a Node),
    /// One that only the inventory knows.
    Listed(&'a InventoryItem),
}

impl Found<'_> {
    pub(super) fn place(&self, state: &State) -> Place {
        match self {
            Self::Seen(row) => Place::Id(row.id.clone()),
            Self::Listed(line) => match &line.ek {
                EkId::Spki(_) => id_of_line(state, line).map_or(Place::Named(line.ek), Place::Id),
                EkId::Name(_) => Place::Named(line.ek),
            },
        }
    }
}

/// Which nodes are listed.
pub(super) struct Wanted<'a> {
    pub(super) of: &'a State,
    pub(super) state: Option<NodeState>,
    pub(super) now: i64,
}

impl<'a> Wanted<'a> {
    /// The first `limit` nodes behind `after`. What stands before them is not looked at.
    pub(super) fn from(&self, after: &Place, limit: usize) -> Vec<Found<'a>> {
        let mut found = match after {
            Place::Named(_) => Vec::new(),
            Place::Start | Place::Id(_) => self.with_ids(after.id(), limit),
        };
        let left = limit.saturating_sub(found.len());
        let from = match after {
            Place::Named(name) => *name,
            Place::Start | Place::Id(_) => LAST_HASH,
        };
        found.extend(self.named(from, left));
        found
    }

    fn with_ids(&self, after: Option<&SpiffeId>, limit: usize) -> Vec<Found<'a>> {
        let is_wanted = |row: &Node| self.state.is_none_or(|state| state == row.state);
        let rows = self.of.nodes_after(after).map(|row| &**row);
        let rows: Vec<&Node> = rows.filter(|row| is_wanted(row)).take(limit).collect();
        // Behind the last row of a full page no line is needed.
        let last = (rows.len() == limit)
            .then(|| rows.last().map(|row| row.id.clone()))
            .flatten();
        let mut found = self.listed(after, last.as_ref(), limit);
        found.extend(rows.into_iter().map(Found::Seen));
        found.sort_by_cached_key(|found| found.place(self.of));
        found.truncate(limit);
        found
    }

    /// Lines with an EK's hash, which gives the id, of machines that were never seen: behind `after`, and not behind
    /// `last`. Ids are in the order of their hashes.
    fn listed(&self, after: Option<&SpiffeId>, last: Option<&SpiffeId>, limit: usize) -> Vec<Found<'a>> {
        if !self.lists_unseen() {
            return Vec::new();
        }
        let hash_of = |id: &SpiffeId| NodeId::ek_of(id).map(EkId::Spki);
        let from = after.and_then(hash_of).map_or(Bound::Unbounded, Bound::Excluded);
        let to = last
            .and_then(hash_of)
            .map_or(Bound::Included(LAST_HASH), Bound::Excluded);
        if let (Bound::Excluded(from), Bound::Excluded(to)) = (from, to)
            && from >= to
        {
            return Vec::new();
        }
        let lines = self.of.inventory().lines().range((from, to)).map(|(_, line)| &**line);
        let unseen = lines.filter(|line| matches!(line.ek, EkId::Spki(_)) && self.is_unseen(line));
        unseen.take(limit).map(Found::Listed).collect()
    }

    /// Lines with an EK's Name behind `from`, of machines that were never seen.
    fn named(&self, from: EkId, limit: usize) -> Vec<Found<'a>> {
        let is_unseen = |line: &&InventoryItem| matches!(line.ek, EkId::Name(_)) && self.is_unseen(line);
        let limit = if self.lists_unseen() { limit } else { 0 };
        let lines = self
            .of
            .inventory()
            .lines()
            .range((Bound::Excluded(from), Bound::Unbounded));
        lines
            .map(|(_, line)| &**line)
            .filter(is_unseen)
            .take(limit)
            .map(Found::Listed)
            .collect()
    }

    fn is_unseen(&self, line: &InventoryItem) -> bool {
        line.is_valid_at(self.now) && self.of.node_of_line(line).is_none()
    }

    fn lists_unseen(&self) -> bool {
        self.state.is_none_or(|state| state == NodeState::PreRegistered)
    }
}
