//! One at a time for each user: whose binary is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Users are counted with their subordinate user ids. A binary takes up to a second to read, and its user can make it unknown again by touching it. So that no user keeps
/// the others waiting, each has one binary read at a time.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<u32, Weak<tokio::sync::Mutex<()>>>>);

/// A user's turn, until it is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for this user's turn; those of one user come in the order in which they began to wait.
    pub(super) async fn wait(&self, uid: u32) -> Turn {
        self.queue(uid).lock_owned().await
    }

    fn queue(&self, uid: u32) -> Arc<tokio::sync::Mutex<()>> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(&uid).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::default();
        queues.insert(uid, Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const AT_ONCE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn one_user_waits_for_itself_and_nobody_else_does() {
        let turns = Turns::default();
        let first = turns.wait(1).await;
        for _ in 0..100 {
            assert!(timeout(Duration::from_millis(1), turns.wait(1)).await.is_err());
        }
        let other = timeout(AT_ONCE, turns.wait(2)).await.unwrap();
        drop(first);
        assert!(timeout(AT_ONCE, turns.wait(1)).await.is_ok());
        drop(other);
        drop(turns.wait(3).await);
        assert!(turns.0.lock().unwrap().len() <= 1, "nothing is kept of who is gone");
    }
}
