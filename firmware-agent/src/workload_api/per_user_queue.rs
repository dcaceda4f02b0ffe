//! One at a time for each user: whose binary is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::timeout;

/// How many binaries are read at a time, each of another user.
const READING: usize = 16;
/// How long a caller waits for its binary to be read, with those of its user before it. The largest that is read, 256 MiB,
/// takes a second from memory and ten from a slow disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// Users are counted with their subordinate user ids. A binary takes up to a second to read, and its user can make it
/// unknown again by touching it. So that no user keeps the others waiting, each has one binary read at a time.
///
/// The file system of a binary may be a program of its user's, that never answers. Then the caller is refused after 30
/// seconds and the others have its place; the thread that waits in the kernel keeps its user's turn.
#[derive(Debug)]
pub(super) struct PerUserQueue {
    users: Mutex<HashMap<u32, Weak<tokio::sync::Mutex<()>>>>,
    reading: Semaphore,
    patience: Duration,
}

impl Default for PerUserQueue {
    fn default() -> Self {
        Self {
            users: Mutex::default(),
            reading: Semaphore::new(READING),
            patience: PATIENCE,
        }
    }
}

/// Why something was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It took longer than a caller waits, in seconds.
    Late(u64),
    /// The agent stops.
    Stopping,
}

impl PerUserQueue {
    /// Reads something of a user's on a thread that may block, when it is its turn; those of one user come in the order in
    /// which they began to wait. A caller that hangs up while it waits leaves nothing behind.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        uid: u32,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unread> {
        let done = async {
            let turn = self.queue(uid).lock_owned().await;
            let _place = self.reading.acquire().await.map_err(|_| Unread::Stopping)?;
            let reading = tokio::task::spawn_blocking(move || {
                let _turn: OwnedMutexGuard<()> = turn;
                read()
            });
            reading.await.map_err(|_| Unread::Stopping)
        };
        let late = |_| Err(Unread::Late(self.patience.as_secs()));
        timeout(self.patience, done).await.unwrap_or_else(late)
    }

    fn queue(&self, uid: u32) -> Arc<tokio::sync::Mutex<()>> {
        let mut queues = self.users.lock().unwrap_or_else(PoisonError::into_inner);
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
    use std::sync::mpsc;

    use super::*;

    fn impatient() -> Arc<PerUserQueue> {
        Arc::new(PerUserQueue {
            patience: Duration::from_secs(2),
            ..PerUserQueue::default()
        })
    }

    /// Begins to read what does not answer until the result is dropped or told something.
    async fn stuck(queue: &Arc<PerUserQueue>, uid: u32) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let queue = Arc::clone(queue);
        tokio::spawn(async move {
            let read = move || {
                begun.send(()).unwrap();
                released.recv().ok();
            };
            queue.read(uid, read).await
        });
        has_begun.await.unwrap();
        release
    }

    #[tokio::test]
    async fn one_user_waits_for_itself_and_nobody_else_does() {
        let queue = impatient();
        let release = stuck(&queue, 1).await;
        assert_eq!(queue.read(1, || ()).await, Err(Unread::Late(2)));
        assert_eq!(queue.read(2, || 7).await, Ok(7));
        drop(release);
        assert_eq!(queue.read(1, || 8).await, Ok(8), "its turn has come");
        // Nothing is kept of who is gone, from the next user on; a thread that has just ended may hold on for a moment.
        for uid in 3.. {
            assert!(uid < 1000, "something is kept");
            assert_eq!(queue.read(uid, || 9).await, Ok(9));
            if queue.users.lock().unwrap().len() <= 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn users_whose_files_never_answer_keep_no_other_out() {
        let queue = impatient();
        let mut held = Vec::new();
        for uid in 0..u32::try_from(READING).unwrap() {
            held.push(stuck(&queue, uid).await);
        }
        // As soon as these are refused, there is room.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3)).await;
        tokio::time::resume();
        assert_eq!(queue.read(1000, || 7).await, Ok(7));
        assert_eq!(
            queue.read(1, || ()).await,
            Err(Unread::Late(2)),
            "the control: it still waits"
        );
        drop(held);
        assert_eq!(queue.read(1, || 8).await, Ok(8));
    }
}
