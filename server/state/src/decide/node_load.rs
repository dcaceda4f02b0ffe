//! How much one node is authorised for: an agent has to take all of it, so there is a bound.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use hallmark_node::NodeId;
use hallmark_spiffe::{Selector, SpiffeId};

use super::entry_overlay::EntryOverlay;
use crate::{Entry, EntryError, EntryLoad, Node, Registry, State};

/// How often, for one entry, what several ids of a node share is counted once. Beyond that it counts for each.
const UNIONS: usize = 16;
/// How often, in one batch, a node's load is counted as it was before an update: of a node that has too much already.
const COMPARISONS: usize = 64;

/// What is known of nodes' loads while entries are staged.
#[derive(Debug, Default)]
pub(super) struct NodeLoads {
    /// All that was staged.
    staged: EntryLoad,
    /// By parent: the most that a node is authorised for which an entry below this parent concerns, and what was staged then.
    known: HashMap<SpiffeId, (EntryLoad, EntryLoad)>,
    /// By parent: why an entry below it was refused, and what the smallest one took that was. To count all again for each
    /// entry that is refused would hold others up.
    full: HashMap<SpiffeId, (EntryError, usize)>,
    /// How often a node's load was counted as it was before an update.
    comparisons: usize,
}

impl NodeLoads {
    /// Something was deleted, or became another thing: what was full may have room.
    pub(super) fn changed(&mut self) {
        self.full.clear();
    }

    /// Requires that no node is authorised for more than it may be with `entry`, which is staged in `overlay`, and in whose
    /// place `before` was. An update that makes no node's load larger than it was is let through, also where that is more than
    /// fits by now.
    ///
    /// # Errors
    /// [`EntryError::NodeFull`].
    pub(super) fn require_room(
        &mut self,
        state: &State,
        overlay: &EntryOverlay,
        entry: &Arc<Entry>,
        before: Option<&Entry>,
    ) -> Result<(), EntryError> {
        let own = EntryLoad::of(entry);
        let staged = self.staged.plus(own);
        let is_smaller = before.is_some_and(|before| {
            let same_place = before.parent_id == entry.parent_id && before.spiffe_id == entry.spiffe_id;
            let same_nodes = before.selectors == entry.selectors || !state.entries().is_alias(entry);
            same_place && same_nodes && own.minus(EntryLoad::of(before)) == EntryLoad::default()
        });
        if !is_smaller && !state.entries().load().plus(staged).fits(EntryLoad::most_with(entry)) {
            self.require_room_below(state, overlay, (entry, before), staged)?;
        }
        self.staged = staged;
        Ok(())
    }

    fn require_room_below(
        &mut self,
        state: &State,
        overlay: &EntryOverlay,
        (entry, before): (&Arc<Entry>, Option<&Entry>),
        staged: EntryLoad,
    ) -> Result<(), EntryError> {
        let registry = state.entries();
        // Where nothing hangs below the entry, it adds itself alone.
        let is_leaf = !registry.is_alias(entry) && overlay.children(registry, &entry.spiffe_id).next().is_none();
        let bytes = EntryLoad::of(entry).bytes;
        // An update may well make smaller what a new entry makes too large.
        if is_leaf
            && before.is_none()
            && let Some((error, smallest)) = self.full.get(&entry.parent_id)
            && let EntryError::NodeFull { load, most, .. } = error
            && *most == EntryLoad::most_with(entry)
            && (load.entries > most.entries || bytes >= *smallest)
        {
            return Err(error.clone());
        }
        if is_leaf
            && let Some((load, then)) = self.known.get(&entry.parent_id)
            && load.plus(staged.minus(*then)).fits(EntryLoad::most_with(entry))
        {
            return Ok(());
        }
        let mut look = Look {
            state,
            overlay,
            most: EntryLoad::most_with(entry),
            below: HashMap::new(),
            unions: 0,
            updated: before.map(|before| (&**entry, before)),
            comparisons: &mut self.comparisons,
        };
        let load = look.heaviest(entry).inspect_err(|error| {
            if is_leaf && before.is_none() {
                self.full.insert(entry.parent_id.clone(), (error.clone(), bytes));
            }
        })?;
        if !is_leaf {
            self.known.clear();
        }
        self.known.insert(entry.parent_id.clone(), (load, staged));
        Ok(())
    }
}

/// A look at the entries as they will be.
struct Look<'a> {
    state: &'a State,
    overlay: &'a EntryOverlay,
    /// What fits.
    most: EntryLoad,
    /// What hangs below an id.
    below: HashMap<&'a SpiffeId, EntryLoad>,
    unions: usize,
    /// An entry that is updated, as it is staged and as it was.
    updated: Option<(&'a Entry, &'a Entry)>,
    comparisons: &'a mut usize,
}

impl<'a> Look<'a> {
    /// The most that a node is authorised for which `entry` concerns: those whose ids are above it, and those that have the
    /// selectors of an alias above it.
    fn heaviest(&mut self, entry: &'a Arc<Entry>) -> Result<EntryLoad, EntryError> {
        let (registry, overlay) = (self.state.entries(), self.overlay);
        let above = overlay.above(registry, &entry.parent_id);
        let holders = above.iter().copied().flat_map(|id| overlay.holders(registry, id));
        let aliases: Vec<&Arc<Entry>> = holders.chain([entry]).filter(|it| registry.is_alias(it)).collect();
        let mut heaviest = EntryLoad::default();
        for id in above.iter().copied().filter(|id| NodeId::ek_of(id).is_some()) {
            heaviest = heaviest.max(match self.state.node(id) {
                Some(node) => self.of_node(&node.id, &node.selectors)?,
                None => self.of_roots(id, &HashSet::from([id]))?,
            });
        }
        if aliases.is_empty() {
            return Ok(heaviest);
        }
        // A node with the selectors of an alias may come, where there is none yet. It has those of all aliases with fewer.
        let all: Vec<&'a Arc<Entry>> = overlay.children(registry, registry.server()).collect();
        for alias in &aliases {
            let less: BTreeSet<Selector> = alias.selectors.iter().cloned().collect();
            for more in &all {
                let selectors: BTreeSet<Selector> = more.selectors.iter().cloned().collect();
                if less.is_subset(&selectors) {
                    let roots = all.iter().filter(|it| it.selectors.is_subset(&selectors));
                    let roots = roots.map(|it| &it.spiffe_id).collect();
                    heaviest = heaviest.max(self.of_roots(&more.spiffe_id, &roots)?);
                }
            }
        }
        let has = |node: &&Arc<Node>| aliases.iter().any(|alias| alias.selectors.is_subset(&node.selectors));
        for node in self.state.nodes().filter(has) {
            heaviest = heaviest.max(self.of_node(&node.id, &node.selectors)?);
        }
        Ok(heaviest)
    }

    fn of_node(&mut self, id: &'a SpiffeId, selectors: &'a BTreeSet<Selector>) -> Result<EntryLoad, EntryError> {
        let registry = self.state.entries();
        let aliases = self.overlay.aliases_of(registry, selectors);
        let roots = aliases.map(|alias| &alias.spiffe_id).chain([id]).collect();
        self.of_roots(id, &roots).or_else(|error| {
            let no_larger = self.not_larger(id, selectors, &roots);
            no_larger.ok_or(error)
        })
    }

    /// The load of a node of which the update makes nothing larger that is too large.
    fn not_larger(
        &mut self,
        id: &'a SpiffeId,
        selectors: &'a BTreeSet<Selector>,
        roots: &HashSet<&'a SpiffeId>,
    ) -> Option<EntryLoad> {
        let (entry, before) = self.updated?;
        if *self.comparisons >= COMPARISONS {
            return None;
        }
        *self.comparisons += 1;
        let (registry, overlay) = (self.state.entries(), self.overlay);
        let whole = |roots: &HashSet<&'a SpiffeId>, instead| {
            let after = |_: EntryLoad| true;
            below(overlay, registry, roots.iter().copied(), instead, after)
        };
        let others = overlay.aliases_of(registry, selectors).filter(|it| it.id != entry.id);
        let was_alias = registry.is_alias(before) && before.selectors.is_subset(selectors);
        let own = was_alias.then_some(&before.spiffe_id);
        let roots_before = others.map(|it| &it.spiffe_id).chain(own).chain([id]).collect();
        let (now, then) = (whole(roots, None), whole(&roots_before, Some((entry, before))));
        now.fits(then.max(self.most)).then_some(now)
    }

    fn of_roots(&mut self, node: &SpiffeId, roots: &HashSet<&'a SpiffeId>) -> Result<EntryLoad, EntryError> {
        let mut load = EntryLoad::default();
        for root in roots {
            let below = match self.below.get(root) {
                Some(below) => *below,
                None => {
                    let below = self.below(std::iter::once(*root));
                    self.below.insert(root, below);
                    below
                }
            };
            load = load.plus(below);
        }
        if !load.fits(self.most) && roots.len() > 1 && self.unions < UNIONS {
            self.unions += 1;
            load = self.below(roots.iter().copied());
        }
        if load.fits(self.most) {
            return Ok(load);
        }
        Err(EntryError::NodeFull {
            node: node.clone(),
            load,
            most: self.most,
        })
    }

    /// What hangs below these ids, counted up to the first that no longer fits.
    fn below(&self, roots: impl Iterator<Item = &'a SpiffeId>) -> EntryLoad {
        below(self.overlay, self.state.entries(), roots, None, |load| {
            load.fits(self.most)
        })
    }
}

/// What hangs below these ids, counted while `goes_on`; with an entry as it was before `instead` of as it is staged.
fn below<'a>(
    overlay: &'a EntryOverlay,
    registry: &'a Registry,
    roots: impl Iterator<Item = &'a SpiffeId>,
    instead: Option<(&'a Entry, &'a Entry)>,
    goes_on: impl Fn(EntryLoad) -> bool,
) -> EntryLoad {
    let mut open: Vec<&SpiffeId> = roots.collect();
    let mut seen: HashSet<&SpiffeId> = open.iter().copied().collect();
    let mut load = EntryLoad::default();
    while let Some(parent) = open.pop() {
        let staged = overlay.children(registry, parent).map(|entry| &**entry);
        let staged = staged.filter(|entry| instead.is_none_or(|(now, _)| now.id != entry.id));
        let before = instead.map(|(_, before)| before);
        for entry in staged.chain(before.filter(|before| before.parent_id == *parent)) {
            load = load.plus(EntryLoad::of(entry));
            if !goes_on(load) {
                return load;
            }
            if seen.insert(&entry.spiffe_id) {
                open.push(&entry.spiffe_id);
            }
        }
    }
    load
}
