//! The state as a decision sees it: what it looks at is what it rests on.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use hallmark_node::{EkId, InventoryItem};
use hallmark_spiffe::SpiffeId;
use hallmark_tpm_wire::Name;

use crate::{
    Action, AttestationState, Change, Committed, Entry, EntryId, Event, Expect, FirstRequest, InventorySnapshot, Key,
    Links, Node, Registry, RulesInForce, State, Transaction, node::node_id,
};

/// The state, read by a decision. Every part that is looked at becomes an expectation of the transaction: none is forgotten.
#[derive(Debug)]
pub struct View<'a> {
    state: &'a State,
    keys: RefCell<BTreeSet<Key>>,
}

impl<'a> View<'a> {
    /// A view of `state`, at which nothing was looked at yet.
    #[must_use]
    pub const fn new(state: &'a State) -> Self {
        Self {
            state,
            keys: RefCell::new(BTreeSet::new()),
        }
    }

    /// The state, for what no protection hangs on: limits, texts, what is only shown.
    #[must_use]
    pub const fn unprotected(&self) -> &'a State {
        self.state
    }

    /// The decision rests on this part, without a further look at it.
    pub fn rests_on(&self, key: Key) {
        self.keys.borrow_mut().insert(key);
    }

    /// A node's row.
    #[must_use]
    pub fn node(&self, id: &SpiffeId) -> Option<&'a Arc<Node>> {
        self.rests_on(Key::Node(id.clone()));
        self.state.node(id)
    }

    /// The row of the node with this EK.
    #[must_use]
    pub fn node_of_ek(&self, ek: &[u8; 32]) -> Option<&'a Arc<Node>> {
        self.node(&node_id(self.state.trust_domain(), ek)?)
    }

    /// How far a node's evidence goes.
    #[must_use]
    pub fn attestation(&self, id: &SpiffeId) -> Option<&'a Arc<AttestationState>> {
        self.rests_on(Key::Node(id.clone()));
        self.state.attestation(id)
    }

    /// One entry.
    #[must_use]
    pub fn entry(&self, id: &EntryId) -> Option<&'a Arc<Entry>> {
        self.rests_on(Key::Entry(id.clone()));
        self.state.entries().entry(id.as_str())
    }

    /// The entry, other than `entry` itself, that says the same.
    #[must_use]
    pub fn similar(&self, entry: &Entry) -> Option<&'a Arc<Entry>> {
        self.rests_on(Key::EntryPair(entry.spiffe_id.clone(), entry.parent_id.clone()));
        self.state.entries().similar(entry)
    }

    /// All entries together.
    #[must_use]
    pub fn entries(&self) -> &'a Registry {
        self.rests_on(Key::Entries);
        self.state.entries()
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &'a RulesInForce {
        self.rests_on(Key::Rules);
        self.state.rules()
    }

    /// Which EKs operators list as one machine's. Of Names only [`ek_of_name`](Self::ek_of_name) may be asked.
    #[must_use]
    pub fn machines(&self) -> &'a Links {
        self.rests_on(Key::Machines);
        self.state.links()
    }

    /// The EK that a Name was proven beside.
    #[must_use]
    pub fn ek_of_name(&self, name: &Name) -> Option<[u8; 32]> {
        self.rests_on(Key::TpmName(name.clone()));
        self.state.links().ek_of(name)
    }

    /// What is known of an EK and these Names.
    #[must_use]
    pub fn links_of(&self, ek: &[u8; 32], names: &[Name]) -> &'a Links {
        self.rests_on(Key::NamesOf(*ek));
        names.iter().for_each(|name| self.rests_on(Key::TpmName(name.clone())));
        self.machines()
    }

    /// The inventory, of which only the lines of `eks` are looked at.
    #[must_use]
    pub fn inventory_lines(&self, eks: &[EkId]) -> &'a InventorySnapshot {
        eks.iter().for_each(|ek| self.rests_on(Key::InventoryLine(*ek)));
        self.state.inventory()
    }

    /// The line of the inventory that names this EK.
    #[must_use]
    pub fn inventory_line(&self, ek: &EkId) -> Option<&'a Arc<InventoryItem>> {
        self.rests_on(Key::InventoryLine(*ek));
        self.state.inventory().line(ek)
    }

    /// The whole inventory.
    #[must_use]
    pub fn inventory(&self) -> &'a Arc<InventorySnapshot> {
        self.rests_on(Key::Inventory);
        self.state.inventory()
    }

    /// Where a node stands, by its row or by the inventory.
    #[must_use]
    pub fn standing(&self, node: Option<&Node>, ek: &[u8; 32], now: i64) -> Option<crate::NodeState> {
        if node.is_none() {
            self.rests_on(Key::InventoryLine(EkId::Spki(*ek)));
        }
        self.state.standing(node, ek, now)
    }

    /// Every policy and baseline that was ever applied.
    #[must_use]
    pub fn policy_files(&self) -> &'a State {
        self.rests_on(Key::PolicyFiles);
        self.state
    }

    /// The trust domain's authorities, and its bundle.
    #[must_use]
    pub fn authorities(&self) -> &'a State {
        self.rests_on(Key::Authorities);
        self.state
    }

    /// What administrators over TLS asked for of a node.
    #[must_use]
    pub fn requests(&self, node: &SpiffeId, action: Action) -> &'a [FirstRequest] {
        self.rests_on(Key::Requests(node.clone()));
        self.state.requests(node, action)
    }

    /// What was looked at.
    #[must_use]
    pub fn into_expect(self) -> Expect {
        Expect {
            revision: self.state.revision(),
            keys: self.keys.into_inner(),
        }
    }

    /// What is to be done, given all that was looked at.
    pub fn decide(self, changes: Vec<Change>, events: Vec<Event>) -> Decision {
        Decision {
            expect: self.into_expect(),
            changes,
            events,
        }
    }
}

/// What is to be done, and what that rests on.
#[derive(Debug, Clone)]
#[must_use]
pub struct Decision {
    /// What it rests on.
    pub expect: Expect,
    /// What changes, in order.
    pub changes: Vec<Change>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl Decision {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty()
    }

    /// The transaction that does it: `id` is random, `actor` who decided, `at` the time in Unix seconds.
    #[must_use]
    pub fn into_transaction(self, id: [u8; 16], actor: impl Into<Arc<str>>, at: i64) -> Transaction {
        Transaction {
            id,
            at,
            actor: actor.into(),
            expect: self.expect,
            changes: self.changes,
            events: self.events,
        }
    }
}

/// What a decision came to: what was made durable, and what its caller is told.
#[derive(Debug, Clone)]
pub struct Done<T> {
    /// What was made durable.
    pub committed: Committed,
    /// What the caller is told.
    pub answer: T,
}
