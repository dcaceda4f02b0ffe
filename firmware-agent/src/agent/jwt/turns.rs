//! How many calls to the server are under way, for each user and for all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Calls of one user at a time, and of all users. Who waits is served in the order of coming, and no user has more than its few
/// waiting among all.
const OF_USER: usize = 8;
const OF_ALL: usize = 64;

/// Calls under way.
#[derive(Debug)]
pub(super) struct Turns {
    users: Mutex<HashMap<u32, Weak<Semaphore>>>,
    all: Arc<Semaphore>,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _of_all: OwnedSemaphorePermit,
    _of_user: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            users: Mutex::default(),
            all: Arc::new(Semaphore::new(OF_ALL)),
        }
    }
}

impl Turns {
    /// Waits until a call of this user may be made.
    ///
    /// # Errors
    /// Never: nothing closes these.
    pub(super) async fn take(&self, user: u32) -> Result<Turn, AcquireError> {
        let of_user = self.of(user).acquire_owned().await?;
        let of_all = Arc::clone(&self.all).acquire_owned().await?;
        Ok(Turn {
            _of_all: of_all,
            _of_user: of_user,
        })
    }

    fn of(&self, user: u32) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = users.get(&user).and_then(Weak::upgrade) {
            return known;
        }
        users.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(OF_USER));
        users.insert(user, Arc::downgrade(&new));
        new
    }
}
