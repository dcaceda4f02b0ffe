//! The simulated store: one order of records, expectations held against the real [`Tail`], and every fault that a store has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hallmark_spiffe::SpiffeId;
use hallmark_state::{Change, Committed, Record, Tail, Transaction};

use crate::{Broken, chain::Chain, real::Taken};

/// What tells a transaction from every other.
pub(crate) type Id = [u8; 16];

/// The last record that a server knew when it sent something, and which records led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) revision: u64,
    pub(crate) chain: Chain,
}

/// What a server sends.
#[derive(Debug, Clone)]
enum Request {
    Commit(Transaction, Known),
    /// What became of a transaction; if nothing did, nothing ever will.
    Ask(Id),
}

/// What a server is told.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Committed(Committed),
    /// Something that it rested on has changed; all of it is known up to `head`.
    Conflict {
        head: u64,
    },
    Failed,
    Never,
    /// What the server knows is not of this journal.
    Astray,
}

/// Bodies beside the journal: what each node proved last, by the record that brought it.
pub(crate) type Facts = BTreeMap<SpiffeId, (u64, String)>;

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    broken: Option<Broken>,
    records: Vec<Record>,
    /// The records up to each revision.
    chains: Vec<Chain>,
    durable: usize,
    tail: Tail,
    queue: Vec<(Id, Request)>,
    /// Answers that wait for the flush.
    group: Vec<(Id, Answer)>,
    answers: BTreeMap<Id, Answer>,
    tombstones: BTreeSet<Id>,
    facts: Facts,
    /// What was taken since the last flush, for a real store beside this one.
    taken: Option<Vec<Taken>>,
    /// As a store would number that gives numbers before it commits.
    sent: BTreeMap<Id, u64>,
}

impl Store {
    pub(crate) fn new(broken: Option<Broken>) -> Self {
        Self {
            broken,
            records: Vec::new(),
            chains: vec![Chain::default()],
            durable: 0,
            tail: Tail::new(0),
            queue: Vec::new(),
            group: Vec::new(),
            answers: BTreeMap::new(),
            tombstones: BTreeSet::new(),
            facts: Facts::new(),
            taken: None,
            sent: BTreeMap::new(),
        }
    }

    /// From now on it is kept what was taken, until it is asked for.
    pub(crate) fn keep_taken(&mut self) {
        self.taken = Some(Vec::new());
    }

    /// What was taken since this was asked for.
    pub(crate) fn taken(&mut self) -> Vec<Taken> {
        self.taken.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Every record that is durable.
    pub(crate) fn durable(&self) -> &[Record] {
        &self.records[..self.durable]
    }

    /// What a node proved last.
    pub(crate) fn facts(&self, node: &SpiffeId) -> Option<&(u64, String)> {
        self.facts.get(node)
    }

    /// Whether what a server knows is of this journal: a fail-over may have lost it.
    pub(crate) fn leads_here(&self, known: Known) -> bool {
        let chain = self.chains.get(usize::try_from(known.revision).unwrap());
        match self.broken {
            Some(Broken::IgnoresFailOver) => true,
            Some(Broken::ComparesNumbersOnly) => chain.is_some(),
            _ => chain == Some(&known.chain),
        }
    }

    pub(crate) fn send(&mut self, transaction: Transaction, known: Known) {
        let number = self.sent.len() as u64 + 1;
        self.sent.insert(transaction.id, number);
        self.queue.push((transaction.id, Request::Commit(transaction, known)));
    }

    pub(crate) fn ask(&mut self, id: Id) {
        self.queue.push((id, Request::Ask(id)));
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn answer(&mut self, id: &Id) -> Option<Answer> {
        self.answers.remove(id)
    }

    /// Whether an answer is there that nobody took yet.
    pub(crate) fn answered(&self) -> Vec<Id> {
        self.answers.keys().copied().collect()
    }

    /// Whether the transaction waits, or its answer does.
    pub(crate) fn knows_of(&self, id: &Id) -> bool {
        let (queue, group) = (self.queue.iter().map(|(it, _)| it), self.group.iter().map(|(it, _)| it));
        queue.chain(group).any(|it| it == id) || self.answers.contains_key(id)
    }

    pub(crate) fn lose(&mut self, id: &Id) {
        self.answers.remove(id);
    }

    /// Requests of these transactions that did not arrive.
    pub(crate) fn drop_requests(&mut self, is_lost: impl FnMut(&Id) -> bool) {
        let mut is_lost = is_lost;
        self.queue.retain(|(id, _)| !is_lost(id));
    }

    /// Takes the request at this place of the queue. Gives the transactions that were refused.
    pub(crate) fn take(&mut self, place: usize) -> Option<Id> {
        if place >= self.queue.len() {
            return None;
        }
        let (id, request) = self.queue.remove(place);
        let transaction = match request {
            Request::Commit(_, known) if !self.leads_here(known) => {
                self.group.push((id, Answer::Astray));
                return Some(id);
            }
            Request::Commit(transaction, _) => transaction,
            Request::Ask(id) => {
                let there = self.records.iter().find(|record| record.transaction.id == id);
                let answer = there.map_or(Answer::Never, |record| Answer::Committed(committed(record)));
                if there.is_none() {
                    self.tombstones.insert(id);
                }
                self.group.push((id, answer));
                return None;
            }
        };
        let ignores = self.broken == Some(Broken::IgnoresExpectations);
        if self.tombstones.contains(&id) {
            return Some(id);
        }
        if self.tail.conflict(&transaction.expect).is_some() && !ignores {
            let head = self.records.len() as u64;
            if let Some(taken) = &mut self.taken {
                taken.push((transaction.clone(), None));
            }
            self.group.push((id, Answer::Conflict { head }));
            if self.broken == Some(Broken::KeepsRefused) {
                self.push(transaction);
            }
            return Some(id);
        }
        let committed = self.push(transaction);
        if self.broken == Some(Broken::AnswersBeforeFlush) {
            self.answers.insert(id, Answer::Committed(committed));
        } else {
            self.group.push((id, Answer::Committed(committed)));
        }
        None
    }

    fn push(&mut self, transaction: Transaction) -> Committed {
        let last = self.records.last();
        let revision = match self.broken {
            Some(Broken::NumbersBeforeCommit) => self.sent[&transaction.id],
            _ => self.records.len() as u64 + 1,
        };
        let first_event = last.map_or(1, |last| last.first_event + last.transaction.events.len() as u64);
        self.tail.push(revision, &transaction);
        let record = Record {
            revision,
            first_event,
            transaction: Arc::new(transaction),
        };
        let committed = committed(&record);
        if let Some(taken) = &mut self.taken {
            taken.push((Transaction::clone(&record.transaction), Some(committed)));
        }
        let last = self.chains.last().copied().unwrap_or_default();
        self.chains.push(last.with(&record));
        self.records.push(record);
        committed
    }

    /// Makes durable what was taken, and answers. Gives how much is durable now.
    pub(crate) fn flush(&mut self) {
        let records = &self.records[self.durable..];
        records.iter().for_each(|record| keep_bodies(&mut self.facts, record));
        self.durable = self.records.len();
        self.answers.extend(self.group.drain(..));
    }

    /// Refuses the transaction at this place of the queue: the medium fails.
    pub(crate) fn fail(&mut self, place: usize) -> Option<Id> {
        let (id, request) = self.queue.get(place)?;
        let id = *id;
        if matches!(request, Request::Ask(_)) {
            return None;
        }
        self.queue.remove(place);
        self.answers.insert(id, Answer::Failed);
        Some(id)
    }

    /// Stops and starts: what was not flushed is gone, and so is whatever was on its way.
    pub(crate) fn crash(&mut self) {
        self.records.truncate(self.durable);
        self.chains.truncate(self.durable + 1);
        self.group.clear();
        if let Some(taken) = &mut self.taken {
            taken.clear();
        }
        self.queue.clear();
        self.tail = Tail::new(self.records.last().map_or(0, |record| record.revision));
    }

    /// Another one takes over that does not have the last `lost` records; every connection ends.
    pub(crate) fn fail_over(&mut self, lost: usize) {
        self.durable = self.durable.saturating_sub(lost);
        self.crash();
        self.answers.clear();
        self.facts.clear();
        let records = self.records.iter();
        records.for_each(|record| keep_bodies(&mut self.facts, record));
    }

    /// Whether the transaction is the record with this number.
    pub(crate) fn has(&self, revision: u64, id: &Id) -> bool {
        let place = usize::try_from(revision).unwrap().checked_sub(1);
        let record = place.and_then(|place| self.records.get(place));
        record.is_some_and(|record| record.transaction.id == *id)
    }
}

fn keep_bodies(facts: &mut Facts, record: &Record) {
    for change in &record.transaction.changes {
        match change {
            Change::PutEvidence {
                node, body: Some(body), ..
            } => {
                facts.insert(node.clone(), (record.revision, body.evidence.facts.clone()));
            }
            Change::PutFacts { body: Some(new), .. } => {
                let revision = facts.get(&new.node).map_or(0, |(revision, _)| *revision);
                facts.insert(new.node.clone(), (revision, new.facts.clone()));
            }
            _ => {}
        }
    }
}

fn committed(record: &Record) -> Committed {
    Committed {
        revision: record.revision,
        events: record.events(),
    }
}
