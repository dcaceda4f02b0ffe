//! The place of one session, and who is in the module with it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hallmark_hsm::HsmError;

use crate::{connection::Connection, pulse::Pulse};

/// Who waits for a piece of work.
pub(crate) trait Waiter: Send + Sync {
    /// Tells that it is waited for no more: the thread that does it hangs.
    fn give_up(&self, error: HsmError);
}

/// A session's place. The lock is never held during a call into the module, so nobody who looks here waits for the token.
#[derive(Default)]
pub(crate) struct Seat {
    inner: Mutex<Inner>,
    idle: Condvar,
}

#[derive(Default)]
struct Inner {
    /// The session while no call is under way; meanwhile the one that takes its place.
    connection: Option<Box<Connection>>,
    call: Option<Call>,
    given_up: bool,
}

/// A piece of work under way.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) pulse: Arc<Pulse>,
    /// How long one call into the module may last.
    pub(crate) limit: Duration,
    pub(crate) waiter: Arc<dyn Waiter>,
    /// The opening of the token in which it began.
    pub(crate) generation: u64,
}

/// What becomes of a session after a call.
pub(crate) enum Left {
    /// It is kept, or closed for another one that has its place.
    Kept,
    /// The thread was given up, and has no place any more.
    GivenUp,
}

impl Seat {
    /// Takes the session for a call; `None` when it was closed.
    pub(crate) fn begin(&self, limit: Duration, waiter: Arc<dyn Waiter>, generation: u64) -> Option<Box<Connection>> {
        let mut inner = self.lock();
        let connection = inner.connection.take()?;
        connection.pulse.beat();
        inner.call = Some(Call {
            pulse: Arc::clone(&connection.pulse),
            limit,
            waiter,
            generation,
        });
        Some(connection)
    }

    /// Gives the session back after a call. One that nobody wants any more is closed, which is a call as well.
    pub(crate) fn end(&self, connection: Box<Connection>) -> Left {
        let mut inner = self.lock();
        let left = if inner.given_up {
            drop(inner);
            drop(connection);
            inner = self.lock();
            Left::GivenUp
        } else if inner.connection.is_some() {
            // The token was opened anew meanwhile.
            drop(inner);
            connection.pulse.beat();
            drop(connection);
            inner = self.lock();
            if inner.given_up { Left::GivenUp } else { Left::Kept }
        } else {
            inner.connection = Some(connection);
            Left::Kept
        };
        inner.call = None;
        drop(inner);
        self.idle.notify_all();
        left
    }

    /// Puts a session in: at once where none is in use, else for when the call under way ends. What was there must be closed.
    pub(crate) fn put(&self, connection: Connection) -> Option<Box<Connection>> {
        self.lock().connection.replace(Box::new(connection))
    }

    /// Waits until no call is under way; `false` when one still is at `deadline`.
    pub(crate) fn is_idle_by(&self, deadline: Instant) -> bool {
        let mut inner = self.lock();
        while inner.call.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self
                .idle
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// The session that no call uses, to be closed.
    pub(crate) fn take(&self) -> Option<Box<Connection>> {
        self.lock().connection.take()
    }

    /// Gives the thread up that is in the module and does not come back in time, and tells what it did.
    pub(crate) fn give_up_overdue(&self) -> Option<Call> {
        let mut inner = self.lock();
        let call = inner.call.as_ref().filter(|call| call.pulse.silence() >= call.limit)?;
        let call = call.clone();
        if inner.given_up {
            return None;
        }
        inner.given_up = true;
        Some(call)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
