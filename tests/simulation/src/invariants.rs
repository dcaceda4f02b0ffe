//! What must hold after each step.

mod authority;
mod rest;
mod roles;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use hallmark_spiffe::SpiffeId;
use hallmark_state::{Change, Entry, Event, NodeState, Record, State, What};
use hallmark_verify::Trust;

use crate::{
    Coverage,
    chain::Chain,
    server::{Server, first_state},
    store::{Id, Known, Store},
};

/// What was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// A server's state is a state folded from the first record on.
    StateIsAFold,
    /// Nothing is signed that is not on record as it was granted.
    NothingUnrecordedIsSigned,
    /// Numbers 1, 2, 3, … without a gap, in the order of commits.
    NumbersWithoutGap,
    /// No serial number is there twice.
    SerialOnce,
    /// Every acknowledged change is there.
    AcknowledgedIsThere,
    /// Nothing of a refused transaction is there.
    RefusedIsNotThere,
    /// No decision is there twice.
    DecidedOnce,
    /// The events of each server are a prefix of the longest.
    EventsArePrefix,
    /// Nobody waits for ever.
    NobodyWaitsForEver,
    /// What administrators over TLS do rests on a role that is theirs.
    RolesStand,
    /// What operators took from a machine, two administrators over TLS give back, or nobody.
    TwoGiveBack,
    /// Nothing is decided on records that a fail-over has lost.
    DecidedOnThisJournal,
    /// A clock that was ahead keeps no machine out, and no verdict in force, once it is right.
    ClocksHeal,
    /// What the configuration lists as one machine goes one way.
    ListedIsOneMachine,
    /// One authority signs, and one is prepared, at a time.
    OneSigns,
    /// An authority was in the bundle before it signs.
    PublishedBeforeItSigns,
    /// An authority whose end has come leaves behind nothing that is valid.
    NothingLosesItsAuthority,
    /// A real store answers as the simulated one does, and holds what it was given, also after a kill.
    RealStoreAgrees,
}

/// A law that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub law: Law,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.law, self.found)
    }
}

/// `Err` with the law.
pub(crate) fn broken<T>(law: Law, found: impl Into<String>) -> Result<T, Violation> {
    Err(Violation {
        law,
        found: found.into(),
    })
}

/// What the token is asked to sign.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) serial: u128,
    pub(crate) expires_at: i64,
    pub(crate) subject: SpiffeId,
    /// The entry that grants it, as the server saw it; `None` for a node's own.
    pub(crate) entry: Option<Arc<Entry>>,
    /// The label of the authority.
    pub(crate) authority: String,
    /// What a node's verdict trusted; `None` for a workload's.
    pub(crate) trust: Option<Arc<Trust>>,
}

/// An intent, as the journal has it, with what was true when it became durable.
#[derive(Debug)]
struct Intent {
    subject: Arc<str>,
    entry: Option<Arc<Entry>>,
    authority: Option<String>,
    expires_at: i64,
    trust: Arc<Trust>,
    /// Why nothing may be signed for it.
    fault: Option<String>,
}

/// Holds what happens against the laws.
#[derive(Debug)]
pub(crate) struct Checker {
    /// The state, folded from the first record on.
    truth: State,
    /// The events up to each record.
    chains: Vec<Chain>,
    next_event: u64,
    intents: BTreeMap<u128, Intent>,
    /// Those that a fail-over lost, and that were not signed before.
    lost: BTreeMap<u128, Intent>,
    signed: BTreeSet<u128>,
    refused: BTreeSet<Id>,
    acknowledged: BTreeMap<u64, Id>,
    /// What each transaction is to do: a task and its stage.
    purposes: BTreeMap<Id, (u64, u32)>,
    /// What was known to the server that decided.
    decided_on: BTreeMap<Id, Known>,
    done: BTreeSet<(u64, u32)>,
    /// What each server's state must be.
    folds: Vec<State>,
    counts: Coverage,
}

impl Checker {
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            truth: first_state(),
            chains: vec![Chain::default()],
            next_event: 1,
            intents: BTreeMap::new(),
            lost: BTreeMap::new(),
            signed: BTreeSet::new(),
            refused: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            purposes: BTreeMap::new(),
            decided_on: BTreeMap::new(),
            counts: Coverage::default(),
            done: BTreeSet::new(),
            folds: (0..servers).map(|_| first_state()).collect(),
        }
    }

    pub(crate) const fn truth(&self) -> &State {
        &self.truth
    }

    pub(crate) fn chain(&self) -> Chain {
        self.chains.last().copied().unwrap_or_default()
    }

    pub(crate) fn signed(&self) -> usize {
        self.signed.len()
    }

    /// What it counted, over what others did.
    pub(crate) const fn counted(&self, others: Coverage) -> Coverage {
        Coverage {
            over_tls: self.counts.over_tls,
            by_two: self.counts.by_two,
            with_an_end: self.counts.with_an_end,
            doubted: self.counts.doubted,
            rotations: self.counts.rotations,
            authorities_ended: self.counts.authorities_ended,
            ..others
        }
    }

    pub(crate) fn sent(&mut self, id: Id, purpose: (u64, u32), known: Known) {
        self.purposes.insert(id, purpose);
        self.decided_on.insert(id, known);
    }

    /// Another store took over, that has only these records. Intents that it lost may be signed by who does not know yet.
    pub(crate) fn fail_over(&mut self, store: &Store) {
        let records = store.durable();
        self.truth = first_state();
        records.iter().for_each(|record| self.truth.apply(record));
        self.chains.truncate(records.len() + 1);
        let last = records.last();
        self.next_event = last.map_or(1, |last| last.first_event + last.transaction.events.len() as u64);
        self.acknowledged.retain(|revision, id| store.has(*revision, id));
        let events = records.iter().flat_map(|record| &record.transaction.events);
        let serials: BTreeSet<u128> = events.filter_map(serial_of_intent).collect();
        let (kept, lost) = std::mem::take(&mut self.intents)
            .into_iter()
            .partition(|(serial, _)| serials.contains(serial) || self.signed.contains(serial));
        self.intents = kept;
        let mut lost: BTreeMap<u128, Intent> = lost;
        self.lost.append(&mut lost);
        let purposes = records
            .iter()
            .filter_map(|record| self.purposes.get(&record.transaction.id));
        self.done = purposes.copied().collect();
        for fold in &mut self.folds {
            if fold.revision() > self.truth.revision() {
                *fold = first_state();
            }
        }
    }

    /// The transaction was refused: it conflicted, failed, or comes after it was asked for.
    pub(crate) fn refuse(&mut self, id: Id, store: &Store) -> Result<(), Violation> {
        if store.durable().iter().any(|record| record.transaction.id == id) {
            return broken(Law::RefusedIsNotThere, "a transaction was refused that is on record");
        }
        self.refused.insert(id);
        Ok(())
    }

    /// A server was told that the transaction is durable.
    pub(crate) fn acknowledge(&mut self, revision: u64, id: Id) {
        self.acknowledged.insert(revision, id);
    }

    /// Every acknowledged change is in what the store has.
    pub(crate) fn all_is_there(&self, store: &Store) -> Result<(), Violation> {
        match self
            .acknowledged
            .iter()
            .find(|(revision, id)| !store.has(**revision, id))
        {
            None => Ok(()),
            Some((revision, _)) => broken(
                Law::AcknowledgedIsThere,
                format!("record {revision} was acknowledged and is gone"),
            ),
        }
    }

    /// Takes in what became durable.
    pub(crate) fn follow(&mut self, store: &Store) -> Result<(), Violation> {
        let known = self.chains.len() - 1;
        for record in &store.durable()[known..] {
            self.check(record)?;
            roles::check(&self.truth, record, &mut self.counts)?;
            self.authorities_stand(record)?;
            let node = node_of_attestation(record);
            let before = node
                .as_ref()
                .and_then(|node| self.truth.node(node))
                .map(|node| node.state);
            let mut intents = self.intents_of(record, before)?;
            self.truth.apply(record);
            self.one_signs()?;
            for intent in intents.values_mut().filter(|intent| intent.entry.is_none()) {
                let fault = node
                    .as_ref()
                    .and_then(|node| self.fault_of_node(node, record.transaction.at));
                intent.fault = intent.fault.take().or(fault);
            }
            self.intents.append(&mut intents);
            self.chains.push(self.chain().with(record));
            self.next_event += record.transaction.events.len() as u64;
        }
        Ok(())
    }

    fn check(&mut self, record: &Record) -> Result<(), Violation> {
        let next = self.truth.revision() + 1;
        if (record.revision, record.first_event) != (next, self.next_event) {
            let found = format!("record {} came where {next} was due", record.revision);
            return broken(Law::NumbersWithoutGap, found);
        }
        let id = &record.transaction.id;
        if self.refused.contains(id) {
            return broken(Law::RefusedIsNotThere, format!("record {next} was refused"));
        }
        if let Some(known) = self.decided_on.get(id)
            && self.chains.get(known.revision as usize) != Some(&known.chain)
        {
            let found = format!("record {next} was decided on another record {}", known.revision);
            return broken(Law::DecidedOnThisJournal, found);
        }
        let is_doubt = |change: &&Change| matches!(change, Change::PutQuoteTime { .. });
        self.counts.doubted += record.transaction.changes.iter().filter(is_doubt).count();
        match self.purposes.get(id) {
            Some(purpose) if !self.done.insert(*purpose) => {
                broken(Law::DecidedOnce, format!("record {next} was decided before"))
            }
            _ => Ok(()),
        }
    }

    /// The intents of a record, held against the state before it.
    fn intents_of(&mut self, record: &Record, node: Option<NodeState>) -> Result<BTreeMap<u128, Intent>, Violation> {
        let mut intents = BTreeMap::new();
        for event in &record.transaction.events {
            let What::SvidIntent {
                serial,
                entry,
                expires_at,
                ..
            } = &event.what
            else {
                continue;
            };
            let (at, granted) = (record.transaction.at, self.truth.entries().entry(entry).cloned());
            let fault = if entry.is_empty() {
                use NodeState::{Banned, Retired, Suspended};
                let is_out = matches!(node, Some(Banned | Suspended | Retired));
                is_out.then(|| format!("{} is out", event.subject))
            } else {
                self.fault_of_grant(&record.transaction.actor, granted.as_deref(), at)
            };
            let intent = Intent {
                subject: Arc::clone(&event.subject),
                entry: granted,
                authority: self.truth.active_authority().map(|it| it.label.clone()),
                expires_at: *expires_at,
                trust: Arc::clone(self.truth.inventory().configured()),
                fault,
            };
            if self.intents.contains_key(serial) || intents.insert(*serial, intent).is_some() {
                return broken(Law::SerialOnce, format!("serial number {serial:x} is on record twice"));
            }
        }
        Ok(intents)
    }

    /// Why an agent may not have anything now.
    fn fault_of_node(&self, node: &SpiffeId, at: i64) -> Option<String> {
        let Some(node) = self.truth.node(node) else {
            return Some(format!("{node} is not known"));
        };
        let rules = self.truth.rules().revision;
        if node.state != NodeState::Active {
            return Some(format!("{} is {}", node.id, node.state));
        }
        if !node.untrusted_reason.is_empty() {
            return Some(format!("{} is not trusted: {}", node.id, node.untrusted_reason));
        }
        // What is denied to one key of a machine is denied to all.
        let others = node.ek_sha256.map_or_else(Vec::new, |ek| self.truth.siblings(&ek));
        let is_out = |state| matches!(state, NodeState::Banned | NodeState::Suspended | NodeState::Retired);
        let mut others = others.iter().filter_map(|other| self.truth.node(other));
        if let Some(other) = others.find(|other| is_out(other.state)) {
            return Some(format!(
                "{} is the machine of {}, which is {}",
                node.id, other.id, other.state
            ));
        }
        let is_stale = node.appraised.stale_at.is_some_and(|stale| stale <= at);
        (node.appraised.rules != rules || is_stale).then(|| {
            format!(
                "{} was judged by rules {}, {rules} are in force",
                node.id, node.appraised.rules
            )
        })
    }

    fn fault_of_grant(&mut self, agent: &str, entry: Option<&Entry>, at: i64) -> Option<String> {
        let agent = SpiffeId::parse(agent).ok()?;
        if let Some(fault) = self.fault_of_node(&agent, at) {
            return Some(fault);
        }
        let Some(entry) = entry else {
            return Some("its entry is gone".to_owned());
        };
        let node = self.truth.node(&agent)?;
        self.counts.with_an_end += usize::from(node.appraised.stale_at.is_some());
        let is_authorised = self.truth.entries().is_authorised(entry, &agent, &node.selectors, at);
        (!is_authorised).then(|| format!("entry {} does not lead to {agent}", entry.id))
    }

    /// The token signed this.
    pub(crate) fn sign(&mut self, draft: &Draft) -> Result<(), Violation> {
        let law = Law::NothingUnrecordedIsSigned;
        let intent = self.intents.get(&draft.serial).or_else(|| self.lost.get(&draft.serial));
        let Some(intent) = intent else {
            return broken(
                law,
                format!("{} was signed before its intent was on record", draft.subject),
            );
        };
        if let Some(fault) = &intent.fault {
            return broken(law, format!("{} was signed, but {fault}", draft.subject));
        }
        if *intent.subject != *draft.subject.as_str() || intent.entry != draft.entry {
            return broken(
                law,
                format!("{} was signed by an entry as it was before", draft.subject),
            );
        }
        if intent.authority.as_deref() != Some(&*draft.authority) {
            return broken(
                law,
                format!(
                    "{} was signed by {}, which no longer does",
                    draft.subject, draft.authority
                ),
            );
        }
        if draft
            .trust
            .as_ref()
            .is_some_and(|trust| !Arc::ptr_eq(trust, &intent.trust))
        {
            let found = format!("{} was signed by a verdict on what is no longer trusted", draft.subject);
            return broken(law, found);
        }
        if !self.signed.insert(draft.serial) {
            return broken(
                Law::SerialOnce,
                format!("serial number {:x} was signed twice", draft.serial),
            );
        }
        Ok(())
    }

    /// The server's memory is what its records say.
    pub(crate) fn server(&mut self, server: &Server, store: &Store) -> Result<(), Violation> {
        let Some(state) = server.state.as_ref().filter(|_| !server.is_astray) else {
            return Ok(());
        };
        let revision = state.revision();
        let fold = &mut self.folds[server.number];
        if fold.revision() > revision {
            *fold = first_state();
        }
        let (from, until) = (fold.revision() as usize, revision as usize);
        let records = store.durable().get(from..until).unwrap_or_default();
        records.iter().for_each(|record| fold.apply(record));
        let differences = state.differences(fold);
        if !differences.is_empty() {
            let found = format!("server {} at {revision}: {}", server.number, differences.join(", "));
            return broken(Law::StateIsAFold, found);
        }
        if self.chains.get(until) != Some(&server.chain) {
            let found = format!("server {} has other events up to {revision}", server.number);
            return broken(Law::EventsArePrefix, found);
        }
        Ok(())
    }
}

fn serial_of_intent(event: &Event) -> Option<u128> {
    match event.what {
        What::SvidIntent { serial, .. } => Some(serial),
        _ => None,
    }
}

/// The node that a record lets in.
fn node_of_attestation(record: &Record) -> Option<SpiffeId> {
    let mut events = record.transaction.events.iter();
    let intent = events.find(|event| matches!(&event.what, What::SvidIntent { entry, .. } if entry.is_empty()))?;
    SpiffeId::parse(&intent.subject).ok()
}
