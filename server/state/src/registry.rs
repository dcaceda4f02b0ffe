//! All entries, indexed by what is asked of them.

mod authorised;
mod places;
mod roles;

pub use roles::{Role, RoleWay};

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};

use crate::{
    Entry, EntryId, EntryLoad,
    query::{Filter, Page, PageToken},
};
use places::{ById, BySpiffeId, Places, file, forget};

/// The entries of one trust domain. It holds no lock and no clock: whoever shares it brings both.
#[derive(Debug)]
pub struct Registry {
    /// The id that the parents of node aliases have: `spiffe://<td>/spire/server`.
    server: SpiffeId,
    entries: HashSet<ById>,
    order: Places,
    by_parent: HashMap<SpiffeId, Places>,
    by_spiffe_id: HashMap<BySpiffeId, Places>,
    /// Node aliases, each filed under one of its selectors, so that a node finds its own among many.
    aliases: HashMap<Selector, Places>,
    /// Entries that give a role.
    roles: Places,
    /// What all entries together take.
    load: EntryLoad,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(trust_domain: &TrustDomain) -> Self {
        // The path is a constant that keeps the rules; the fallback only spares a panic.
        let server = SpiffeId::new(trust_domain, "/spire/server").unwrap_or_else(|_| trust_domain.id());
        Self {
            server,
            entries: HashSet::new(),
            order: Places::none(),
            by_parent: HashMap::new(),
            by_spiffe_id: HashMap::new(),
            aliases: HashMap::new(),
            roles: Places::none(),
            load: EntryLoad::default(),
        }
    }

    /// The trust domain that the entries belong to.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        self.server.trust_domain()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What all entries together take.
    pub(crate) const fn load(&self) -> EntryLoad {
        self.load
    }

    /// The id that the parents of node aliases have.
    pub(crate) const fn server(&self) -> &SpiffeId {
        &self.server
    }

    /// Whether an entry is a node alias: whoever has its selectors is authorised for what hangs below its SPIFFE ID.
    pub(crate) fn is_alias(&self, entry: &Entry) -> bool {
        entry.parent_id == self.server
    }

    /// The entries directly below a parent.
    pub(crate) fn children(&self, parent: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_parent.get(parent).into_iter().flat_map(Places::iter)
    }

    /// The entries that give a SPIFFE ID.
    pub(crate) fn of_id(&self, id: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_spiffe_id.get(id).into_iter().flat_map(Places::iter)
    }

    /// The entry with this id.
    #[must_use]
    pub fn entry(&self, id: &str) -> Option<&Arc<Entry>> {
        self.entries.get(id).map(|ById(entry)| entry)
    }

    /// Puts an entry in, in place of the one with the same id; returns that one. Whether a similar entry
    /// exists is asked before, with [`Registry::similar`].
    pub fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let replaced = self.remove(&entry.id);
        self.order.insert(&entry);
        file(&mut self.by_parent, entry.parent_id.clone(), &entry);
        file(&mut self.by_spiffe_id, BySpiffeId(Arc::clone(&entry)), &entry);
        if Role::ALL.iter().any(|role| entry.gives(*role)) {
            self.roles.insert(&entry);
        }
        if let Some(rarest) = self.rarest_selector(&entry) {
            file(&mut self.aliases, rarest, &entry);
        }
        self.load = self.load.plus(EntryLoad::of(&entry));
        self.entries.insert(ById(entry));
        replaced
    }

    /// Takes an entry out and returns it.
    pub fn remove(&mut self, id: &EntryId) -> Option<Arc<Entry>> {
        let ById(entry) = self.entries.take(id.as_str())?;
        self.load = self.load.minus(EntryLoad::of(&entry));
        self.order.remove(&entry);
        self.roles.remove(&entry);
        forget(&mut self.by_parent, &entry.parent_id, &entry);
        forget(&mut self.by_spiffe_id, &entry.spiffe_id, &entry);
        if self.is_alias(&entry) {
            for selector in &entry.selectors {
                forget(&mut self.aliases, selector, &entry);
            }
        }
        Some(entry)
    }

    /// The entry, other than `entry` itself, that says the same: see [`Entry::is_similar`].
    #[must_use]
    pub fn similar(&self, entry: &Entry) -> Option<&Arc<Entry>> {
        let places = self.fewest(&entry.spiffe_id, &entry.parent_id)?;
        places
            .iter()
            .find(|other| other.id != entry.id && other.is_similar(entry))
    }

    /// The entries that match `filter`, oldest first, at most `size` of them (0 for all), from `from` on.
    #[must_use]
    pub fn list(&self, filter: &Filter, size: usize, from: Option<&PageToken>) -> Page<'_> {
        let mut page = Page {
            entries: Vec::new(),
            next: None,
        };
        let Some(places) = self.candidates(filter) else {
            return page;
        };
        let behind = places.after(from.map(PageToken::place));
        for entry in behind.filter(|entry| filter.matches(entry)) {
            if size != 0 && page.entries.len() == size {
                page.next = page.entries.last().map(|last| PageToken::after(last));
                break;
            }
            page.entries.push(entry);
        }
        page
    }

    /// At most `limit` ids that start with `prefix`, in order. It reads every id: for people, who ask seldom.
    #[must_use]
    pub fn ids_from(&self, prefix: &str, limit: usize) -> Vec<&EntryId> {
        let mut ids: Vec<&EntryId> = self
            .entries
            .iter()
            .map(|ById(entry)| &entry.id)
            .filter(|id| id.as_str().starts_with(prefix))
            .collect();
        ids.sort_unstable();
        ids.truncate(limit);
        ids
    }

    /// How many entries match `filter`.
    #[must_use]
    pub fn count(&self, filter: &Filter) -> usize {
        self.candidates(filter)
            .map_or(0, |places| places.iter().filter(|entry| filter.matches(entry)).count())
    }

    /// Entries that have expired by `now` (Unix seconds), oldest first.
    #[must_use]
    pub fn expired(&self, now: i64) -> Vec<&Arc<Entry>> {
        self.order.iter().filter(|entry| entry.is_expired(now)).collect()
    }

    /// The smallest index that holds everything the filter can match.
    fn candidates(&self, filter: &Filter) -> Option<&Places> {
        match (&filter.spiffe_id, &filter.parent_id) {
            (Some(id), Some(parent)) => self.fewest(id, parent),
            (Some(id), None) => self.by_spiffe_id.get(id),
            (None, Some(parent)) => self.by_parent.get(parent),
            (None, None) => Some(&self.order),
        }
    }

    /// The places with this SPIFFE ID or those below this parent, whichever are fewer; `None` where one of them has none.
    fn fewest(&self, id: &SpiffeId, parent: &SpiffeId) -> Option<&Places> {
        let (held, below) = (self.by_spiffe_id.get(id)?, self.by_parent.get(parent)?);
        Some(if held.len() < below.len() { held } else { below })
    }

    fn rarest_selector(&self, entry: &Entry) -> Option<Selector> {
        if !self.is_alias(entry) {
            return None;
        }
        let filed = |selector: &&Selector| self.aliases.get(*selector).map_or(0, Places::len);
        entry.selectors.iter().min_by_key(filed).cloned()
    }
}
