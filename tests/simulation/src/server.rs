//! A server: its own state, which follows the journal, and how it starts from a snapshot.

use std::sync::{Arc, LazyLock};

use hallmark_policy::PolicySet;
use hallmark_state::{
    Action, AttestationState, Configured, Filter, HeldEvidence, Record, Snapshot, State, TpmName, Transaction,
    UpstreamBundle,
};
use hallmark_verify::Trust;

use crate::{
    Broken,
    chain::Chain,
    machine::{MACHINES, Machine, trust_domain},
    random::Random,
    store::{Known, Store},
};

/// Rows of some revision, with what is made of them, and the events up to it.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    rows: Snapshot,
    set: Arc<PolicySet>,
    trust: Arc<Trust>,
    chain: Chain,
}

impl Saved {
    /// The rows that make this state.
    pub(crate) fn of(state: &State, chain: Chain, broken: Option<Broken>) -> Self {
        let mut rows = rows(state);
        if broken == Some(Broken::TornSnapshot) {
            rows.nodes.pop();
        }
        Self {
            rows,
            set: Arc::clone(&state.rules().set),
            trust: Arc::clone(state.inventory().configured()),
            chain,
        }
    }

    /// These rows, with the configuration and the rules of a state.
    pub(crate) fn with(rows: Snapshot, state: &State) -> Self {
        Self {
            rows,
            ..Self::of(state, Chain::default(), None)
        }
    }

    /// The state that a start makes of the rows.
    pub(crate) fn state(&self) -> State {
        let configured = Configured {
            trust: Arc::clone(&self.trust),
            set: Arc::clone(&self.set),
        };
        State::new(&trust_domain(), self.rows.clone(), configured)
    }

    /// The last record that it is of.
    pub(crate) const fn revision(&self) -> u64 {
        self.rows.revision
    }
}

/// What every server is configured to trust at first.
static FIRST_TRUST: LazyLock<Arc<Trust>> = LazyLock::new(Arc::default);

/// A state of which nothing was decided yet.
pub(crate) fn first_state() -> State {
    let configured = Configured {
        trust: Arc::clone(&FIRST_TRUST),
        set: Arc::default(),
    };
    State::new(&trust_domain(), Snapshot::default(), configured)
}

fn rows(state: &State) -> Snapshot {
    let entries = state.entries().list(&Filter::default(), 0, None).entries;
    // Also of nodes that were evicted since.
    let ids = || (0..MACHINES).map(|number| Machine::new(number).id);
    let requests = ids().flat_map(|id| {
        let of = |action| (id.clone(), action, state.requests(&id, action).to_vec());
        Action::ALL.map(of)
    });
    Snapshot {
        revision: state.revision(),
        entries: entries.into_iter().cloned().collect(),
        left_out: Vec::new(),
        nodes: state.nodes().cloned().collect(),
        damaged_nodes: Vec::new(),
        inventory: state
            .inventory()
            .lines()
            .values()
            .map(|line| (**line).clone())
            .collect(),
        tpm_names: state
            .links()
            .names()
            .into_iter()
            .map(|(name, ek_sha256)| TpmName { name, ek_sha256 })
            .collect(),
        machine_eks: state.links().machines().into_iter().collect(),
        authorities: state.authorities().iter().map(|it| (**it).clone()).collect(),
        jwt_keys: state.jwt_keys().iter().map(|it| (**it).clone()).collect(),
        upstream: UpstreamBundle::clone(state.upstream()),
        published_jwt_keys: state.published_jwt_keys().iter().map(|it| (**it).clone()).collect(),
        held: ids()
            .filter_map(|node| Some(held_row(&node, state.attestation(&node)?)))
            .collect(),
        policy_files: state.policy_files().values().map(|file| (**file).clone()).collect(),
        requests: requests.filter(|(_, _, requests)| !requests.is_empty()).collect(),
        image_assignments: state.image_assignments().values().map(|it| (**it).clone()).collect(),
        bundle_sequence: state.bundle_sequence(),
        rules_revision: state.rules().revision,
        rules_digest: state.rules().digest,
        totals: Vec::new(),
        interrupted: 0,
    }
}

fn held_row(node: &hallmark_spiffe::SpiffeId, held: &AttestationState) -> HeldEvidence {
    HeldEvidence {
        node: node.clone(),
        runs: held.runs_json(),
        ima: String::new(),
        lengths: Vec::new(),
        revision: held.revision,
        evidence_sha256: held.evidence_sha256,
    }
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) number: usize,
    /// `None` while it is down.
    pub(crate) state: Option<State>,
    pub(crate) chain: Chain,
    /// Which of its runs this is: what an earlier one began is lost.
    pub(crate) run: u32,
    /// By how many seconds its clock is ahead.
    pub(crate) ahead: i64,
    /// Whether a fail-over lost records that it knows.
    pub(crate) is_astray: bool,
    /// Serial numbers given in this run.
    pub(crate) serials: u128,
    broken: Option<Broken>,
}

impl Server {
    pub(crate) fn new(number: usize, broken: Option<Broken>) -> Self {
        Self {
            number,
            state: Some(first_state()),
            chain: Chain::default(),
            run: 0,
            ahead: i64::try_from(number).unwrap(),
            is_astray: false,
            serials: 0,
            broken,
        }
    }

    /// The number of the last record that it knows of.
    pub(crate) fn revision(&self) -> u64 {
        self.state.as_ref().map_or(0, State::revision)
    }

    /// What it knows.
    pub(crate) fn known(&self) -> Known {
        Known {
            revision: self.revision(),
            chain: self.chain,
        }
    }

    /// Its clock goes as far ahead as this, or is right again.
    pub(crate) fn set_clock(&mut self, ahead: i64) {
        self.ahead = i64::try_from(self.number).unwrap() + ahead;
    }

    /// Learns of the records up to `revision`, as far as they are durable.
    pub(crate) fn follow(&mut self, store: &Store, revision: u64, random: &mut Random) {
        let Some(state) = &mut self.state else { return };
        let from = usize::try_from(state.revision()).unwrap();
        let durable = store.durable();
        let until = usize::try_from(revision).unwrap().min(durable.len());
        for record in durable.get(from..until).unwrap_or_default() {
            let seen = match self.broken {
                Some(Broken::LosesRecord) if random.one_in(20) => without_changes(record),
                Some(Broken::ReordersEvents) if random.one_in(4) => reordered(record),
                _ => record.clone(),
            };
            state.follow(&seen).unwrap();
            self.chain = self.chain.with(&seen);
        }
    }

    pub(crate) fn stop(&mut self) {
        self.state = None;
    }

    pub(crate) fn start(&mut self, from: &Saved) {
        self.state = Some(from.state());
        self.chain = from.chain;
        self.is_astray = false;
        self.run += 1;
        self.serials = 0;
    }

    /// A serial number that nobody gave before.
    pub(crate) fn serial(&mut self, random: &mut Random) -> u128 {
        self.serials += 1;
        match self.broken {
            Some(Broken::RepeatsSerials) => (self.serials << 8) | self.number as u128,
            _ => random.wide(),
        }
    }
}

fn without_changes(record: &Record) -> Record {
    Record {
        transaction: Arc::new(Transaction {
            changes: Vec::new(),
            ..Transaction::clone(&record.transaction)
        }),
        ..record.clone()
    }
}

fn reordered(record: &Record) -> Record {
    let mut transaction = Transaction::clone(&record.transaction);
    transaction.events.reverse();
    Record {
        transaction: Arc::new(transaction),
        ..record.clone()
    }
}
