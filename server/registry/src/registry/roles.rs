//! Who has a role at the server, and what leads to one.

use std::collections::{BTreeSet, HashSet};

use hallmark_spiffe::{Selector, SpiffeId};

use super::Registry;

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

impl Registry {
    /// Whether an entry that has not expired gives `id` this role.
    #[must_use]
    pub fn gives(&self, id: &SpiffeId, role: Role, now: i64) -> bool {
        let places = self.by_spiffe_id.get(id);
        let mut entries = places.into_iter().flat_map(|places| self.at(places));
        entries.any(|entry| entry.gives(role) && !entry.is_expired(now))
    }

    /// Whether `agent`, which has these selectors, may serve `id` now: with `role`, by an entry that gives it.
    #[must_use]
    pub fn may_serve(
        &self,
        id: &SpiffeId,
        role: Option<Role>,
        agent: &SpiffeId,
        node_selectors: &BTreeSet<Selector>,
        now: i64,
    ) -> bool {
        let places = self.by_spiffe_id.get(id);
        let mut entries = places.into_iter().flat_map(|places| self.at(places));
        entries.any(|entry| {
            role.is_none_or(|role| entry.gives(role)) && self.is_authorised(entry, agent, node_selectors, now)
        })
    }

    /// Every SPIFFE ID that leads to a role: those of entries that give one, those in `configured`, and the parents above
    /// them. Whoever writes an entry for one of these decides who has the role.
    #[must_use]
    pub fn leading_to_roles<'a>(&'a self, configured: impl IntoIterator<Item = &'a SpiffeId>) -> HashSet<&'a SpiffeId> {
        let given = self.at(&self.roles).map(|entry| &entry.spiffe_id);
        let mut open: Vec<&SpiffeId> = given.chain(configured).collect();
        let mut found: HashSet<&SpiffeId> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            let places = self.by_spiffe_id.get(id);
            for entry in places.into_iter().flat_map(|places| self.at(places)) {
                if found.insert(&entry.parent_id) {
                    open.push(&entry.parent_id);
                }
            }
        }
        found
    }
}
