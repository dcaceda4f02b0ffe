//! How connections are closed: where that may take its time, not by the thread that serves the others.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hallmark_workload::nothing_waits;
use rustix::net::{Shutdown, shutdown};
use tokio::net::UnixStream;

use super::concurrency::Permit;

/// Closes connections. With one that holds what was never received, the kernel closes the descriptors that somebody sent
/// along, which can take as long as the sender likes: that is done by a thread of its user's.
#[derive(Debug, Default)]
pub(super) struct Closer {
    waiting: Mutex<HashMap<u32, VecDeque<Ending>>>,
}

/// A connection that is being closed. Until it is, it keeps its permit.
#[derive(Debug)]
struct Ending {
    _socket: OwnedFd,
    _permit: Option<Permit>,
}

/// A connection that is closed elsewhere once this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    closer: Arc<Closer>,
    user: u32,
    ending: Option<Ending>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            self.closer.take(self.user, ending);
        }
    }
}

impl Closer {
    /// Is called before the connection of a user is dropped, which then takes no time; what it gives is dropped after it.
    #[must_use]
    pub(super) fn hold(self: &Arc<Self>, socket: &UnixStream, user: u32, permit: Option<Permit>) -> Option<Held> {
        // From now on nothing arrives.
        let ended = shutdown(socket, Shutdown::Read).map_err(Into::into);
        if ended.and_then(|()| nothing_waits(socket)).unwrap_or(false) {
            return None;
        }
        // Without another descriptor, this one is the last: there is no way then but to wait.
        let held = socket.as_fd().try_clone_to_owned().ok()?;
        Some(Held {
            closer: Arc::clone(self),
            user,
            ending: Some(Ending {
                _socket: held,
                _permit: permit,
            }),
        })
    }

    fn take(self: &Arc<Self>, user: u32, ending: Ending) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = waiting.get_mut(&user) {
            queue.push_back(ending);
            return;
        }
        waiting.insert(user, VecDeque::from([ending]));
        drop(waiting);
        let closer = Arc::clone(self);
        let started = thread::Builder::new()
            .name("workload-close".into())
            .spawn(move || while closer.close_one(user) {});
        if let Err(error) = started {
            tracing::warn!(%error, user, "no thread to close a connection on");
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let here = waiting.remove(&user);
            drop(waiting);
            drop(here);
        }
    }

    /// Closes the first that waits; whether there was one.
    fn close_one(&self, user: u32) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.get_mut(&user).and_then(VecDeque::pop_front);
        if first.is_none() {
            waiting.remove(&user);
        }
        drop(waiting);
        first.is_some()
    }
}
