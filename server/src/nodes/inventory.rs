//! The inventory: what operators import and remove.

use std::convert::Infallible;

use hallmark_node::EkId;
use hallmark_state::{
    Done,
    decide::{self, Import, Imported},
};
use hallmark_store::StoreError;

use crate::journal::{Failed, Journal};

/// Takes machines into the inventory, and with `readmit` lets those that were retired come back: all or nothing.
///
/// # Errors
/// When the store does not take it; then nothing was changed.
pub async fn import(journal: &Journal, import: Import<'_>, by: &str) -> Result<Imported, StoreError> {
    let decided = journal.decide(by, |view| {
        Ok::<_, Infallible>(decide::import(view, &import, journal.clock().unix()))
    });
    answer(decided.await)
}

/// What an operator takes out of the inventory.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    /// Which machines: any EK of a machine stands for its line.
    pub eks: &'a [EkId],
    /// Why, in the operator's words.
    pub reason: &'a str,
    /// Whether it is only to be said what would happen.
    pub dry_run: bool,
}

/// Takes lines out of the inventory, all or none; gives those that were there.
///
/// # Errors
/// [`StoreError::Missing`] when one is not there; when the store does not take it. Then nothing was changed.
pub async fn remove(journal: &Journal, removal: Removal<'_>, by: &str) -> Result<Vec<EkId>, StoreError> {
    let Removal { eks, reason, dry_run } = removal;
    let decided = journal.decide(by, |view| decide::remove(view, eks, reason, dry_run));
    match decided.await {
        Ok(Done { answer, .. }) => Ok(answer),
        Err(Failed::Refused(ek)) => Err(StoreError::Missing {
            what: format!("inventory line {ek}"),
        }),
        Err(Failed::Store(error)) => Err(error),
    }
}

/// What the configured inventory lists as one machine's is that from now on, and so are nodes of older versions that have one
/// AK.
///
/// # Errors
/// The store's.
pub(crate) async fn relink(journal: &Journal) -> Result<(), StoreError> {
    let decided = journal.decide("server", |view| {
        Ok::<_, Infallible>(decide::link_machines(view, journal.clock().unix()))
    });
    answer(decided.await).map(drop)
}

fn answer<T>(decided: Result<Done<T>, Failed<Infallible>>) -> Result<T, StoreError> {
    match decided {
        Ok(Done { answer, .. }) => Ok(answer),
        Err(Failed::Store(error)) => Err(error),
        Err(Failed::Refused(never)) => match never {},
    }
}
