//! A new beginning, with an empty store and a token that was used before.

use std::collections::BTreeSet;

use hallmark_state::{Outcome, Snapshot};

use super::{
    AuthorityError, Keeper,
    bootstrap::{self, event},
};

impl Keeper<'_> {
    /// The keys that keep a server from starting with this store.
    ///
    /// # Errors
    /// When the store has an authority, or token or store fail.
    pub async fn keys_in_the_way(&self, loaded: &Snapshot) -> Result<BTreeSet<String>, AuthorityError> {
        if let Some(authority) = bootstrap::active_of(loaded) {
            return Err(AuthorityError::Begun {
                label: authority.label.clone(),
                store: self.store_path.to_owned(),
            });
        }
        self.keys_of_another_store().await
    }

    /// Records that these keys may be used with this store. `by` and `reason` go into the records.
    ///
    /// # Errors
    /// When the store fails; then nothing was allowed.
    pub async fn allow(&self, labels: &BTreeSet<String>, by: &str, reason: &str) -> Result<(), AuthorityError> {
        let events = labels
            .iter()
            .map(|label| event(label, Outcome::Done, "begin", Some(reason), Vec::new()));
        self.commit(by, Vec::new(), events.collect()).await?;
        Ok(())
    }
}
