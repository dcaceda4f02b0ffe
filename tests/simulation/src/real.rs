//! The same schedule on a real store: what the simulated one takes is committed to SQLite as well, which has to answer the same.

use std::{io::Write, path::Path};

use hallmark_state::{Committed, RecordFilter, RecordKind, RecordQuery, State, Transaction};
use hallmark_store::{SqliteOptions, SqliteStore, Store as _, StoreError};
use tokio::runtime::Runtime;

use crate::{
    Law, Violation,
    invariants::broken,
    machine::trust_domain,
    server::{Saved, first_state},
};

/// What the simulated store made of a transaction: `None` where it conflicted.
pub(crate) type Taken = (Transaction, Option<Committed>);

/// A real store beside the simulated one.
pub(crate) struct Real {
    store: SqliteStore,
    runtime: Runtime,
    /// Where it is told, a line each, what was acknowledged and what was signed.
    told: Box<dyn Write>,
}

impl Real {
    /// A new store in this folder.
    pub(crate) fn create(folder: &Path, told: Box<dyn Write>) -> Self {
        Self {
            store: SqliteStore::open(&options(folder)).unwrap(),
            runtime: runtime(),
            told,
        }
    }

    /// Commits what was taken, as one group, and holds the answers against those of the simulated store.
    pub(crate) fn commit(&mut self, taken: Vec<Taken>) -> Result<(), Violation> {
        let (transactions, expected): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        let commits = transactions
            .into_iter()
            .map(|transaction| self.store.commit(transaction));
        let answers = self.runtime.block_on(futures_util::future::join_all(commits));
        for (answer, expected) in answers.into_iter().zip(expected) {
            let answer = match answer {
                Ok(committed) => Some(committed),
                Err(StoreError::Conflict { .. }) => None,
                Err(error) => return broken(Law::RealStoreAgrees, error.to_string()),
            };
            if answer != expected {
                let found = format!("{answer:?}, where the simulated store says {expected:?}");
                return broken(Law::RealStoreAgrees, found);
            }
            if let Some(committed) = answer {
                writeln!(self.told, "acknowledged {}", committed.revision).unwrap();
            }
        }
        self.told.flush().unwrap();
        Ok(())
    }

    /// The token is about to sign this.
    pub(crate) fn signs(&mut self, serial: u128) {
        writeln!(self.told, "signs {serial:032x}").unwrap();
        self.told.flush().unwrap();
    }

    /// A state made of what it holds is this one.
    pub(crate) fn must_hold(&self, truth: &State) -> Result<(), Violation> {
        agree(&load(&self.runtime, &self.store, truth), truth)
    }
}

/// What a store held that was opened after the program that wrote it was killed.
#[derive(Debug)]
pub struct Found {
    /// The number of the last record that the program wrote.
    pub revision: u64,
    /// The serial numbers of the intents on record.
    pub intents: Vec<u128>,
    state: State,
}

/// Opens the store in this folder. `truth` is a state with the configuration that is in force.
fn open(folder: &Path, truth: &State) -> Found {
    let verified = SqliteStore::verify(&options(folder)).unwrap().unwrap();
    let (runtime, store) = (runtime(), SqliteStore::open(&options(folder)).unwrap());
    let query = RecordQuery {
        limit: u32::MAX,
        filter: RecordFilter::Svids,
        ..RecordQuery::default()
    };
    let records = runtime.block_on(store.records(query)).unwrap().into_iter();
    let intents = records.filter(|it| it.record.kind == RecordKind::SvidIntent).map(|it| {
        let detail: serde_json::Value = serde_json::from_str(&it.record.detail).unwrap();
        u128::from_str_radix(detail["serial"].as_str().unwrap(), 16).unwrap()
    });
    Found {
        revision: verified.revision,
        intents: intents.collect(),
        state: load(&runtime, &store, truth),
    }
}

/// Holds the store in this folder against the records of the run that wrote it: it is a fold of the first of them, all that
/// was acknowledged among them. Gives what it held.
///
/// # Errors
/// What does not hold.
pub(crate) fn hold(folder: &Path, records: &[hallmark_state::Record]) -> Result<Found, Violation> {
    let revision = SqliteStore::verify(&options(folder)).unwrap().unwrap().revision;
    let Some(written) = records.get(..usize::try_from(revision).unwrap()) else {
        return broken(Law::RealStoreAgrees, format!("it has {revision} records"));
    };
    let mut truth = first_state();
    written.iter().for_each(|record| truth.apply(record));
    let found = open(folder, &truth);
    agree(&found.state, &truth)?;
    Ok(found)
}

fn agree(found: &State, truth: &State) -> Result<(), Violation> {
    let mut differences = found.differences(truth);
    // What a start settles of intents that were left open is a record of its own, with events alone.
    differences.retain(|part| *part != "revision" || found.revision() > truth.revision() + 1);
    if differences.is_empty() {
        return Ok(());
    }
    broken(
        Law::RealStoreAgrees,
        format!("it differs in {}", differences.join(", ")),
    )
}

fn load(runtime: &Runtime, store: &SqliteStore, truth: &State) -> State {
    Saved::with(runtime.block_on(store.load()).unwrap(), truth).state()
}

fn options(folder: &Path) -> SqliteOptions {
    SqliteOptions::new(folder.join("server.db"), trust_domain())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}
