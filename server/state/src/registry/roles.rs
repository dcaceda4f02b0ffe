//! Who has a role at the server, and what leads to one.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use hallmark_spiffe::{Selector, SpiffeId};

use super::Registry;
use crate::{Entry, EntryId};

/// What the holder of a SPIFFE ID may do at the server, beside having an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Administer it.
    Admin,
    /// Run a server below it.
    Downstream,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Admin, Self::Downstream];

    /// The role's name, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "administrator",
            Self::Downstream => "downstream server",
        }
    }
}

/// Whether entries give an agent an id with a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleWay<'a> {
    /// They do.
    Open,
    /// They would, but these were written by an administrator over TLS. In order.
    OverTls(Vec<&'a EntryId>),
    /// They do not.
    None,
}

impl Registry {
    /// Whether an entry that has not expired gives `id` this role.
    #[must_use]
    pub fn gives(&self, id: &SpiffeId, role: Role, now: i64) -> bool {
        self.of_id(id).any(|entry| entry.gives(role) && !entry.is_expired(now))
    }

    /// Whether `agent`, which has these selectors, may serve `id` with a role now: with `role` by an entry that gives it,
    /// with `None` by any entry for the id. Neither that entry nor one between it and the agent counts if an administrator
    /// over TLS wrote it: nobody prepares the way for a role that is given later.
    #[must_use]
    pub fn role_way(
        &self,
        id: &SpiffeId,
        role: Option<Role>,
        agent: &SpiffeId,
        node_selectors: &BTreeSet<Selector>,
        now: i64,
    ) -> RoleWay<'_> {
        let gives = |entry: &&Arc<Entry>| role.is_none_or(|role| entry.gives(role));
        let entries: Vec<&Arc<Entry>> = self.of_id(id).filter(gives).collect();
        let reaches = |counts: &dyn Fn(&Entry) -> bool| {
            let counts = |it: &Entry| counts(it) && !it.is_expired(now);
            entries
                .iter()
                .any(|entry| self.reaches(entry, agent, node_selectors, counts))
        };
        if reaches(&|it| !it.over_tls) {
            return RoleWay::Open;
        }
        if !reaches(&|_| true) {
            return RoleWay::None;
        }
        let above = self.upwards(entries.iter().map(|entry| &entry.parent_id));
        let above = above.into_iter().flat_map(|id| self.of_id(id));
        let on_the_way = entries.iter().copied().chain(above).filter(|entry| entry.over_tls);
        let ids: BTreeSet<&EntryId> = on_the_way.map(|entry| &entry.id).collect();
        RoleWay::OverTls(ids.into_iter().collect())
    }

    /// Every SPIFFE ID that leads to a role: those of entries that give one, those in `configured`, and the parents above
    /// them. Whoever writes an entry for one of these decides who has the role.
    #[must_use]
    pub fn leading_to_roles<'a>(&'a self, configured: impl IntoIterator<Item = &'a SpiffeId>) -> HashSet<&'a SpiffeId> {
        let given = self.roles.iter().map(|entry| &entry.spiffe_id);
        self.upwards(given.chain(configured))
    }

    /// These ids, and the parents above them.
    fn upwards<'a>(&'a self, ids: impl Iterator<Item = &'a SpiffeId>) -> HashSet<&'a SpiffeId> {
        let mut open: Vec<&SpiffeId> = ids.collect();
        let mut found: HashSet<&SpiffeId> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            for entry in self.of_id(id) {
                if found.insert(&entry.parent_id) {
                    open.push(&entry.parent_id);
                }
            }
        }
        found
    }
}
