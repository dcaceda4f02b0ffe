//! Opening the token, and opening it again after it was lost.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hallmark_hsm::HsmError;

use crate::{
    connection::Connection,
    failure::Failure,
    module::Entry,
    pool::Pool,
    pulse::Pulse,
    sign,
    token::{self, OpenToken},
};

/// How long calls under way may take to end before the token is opened anew without their sessions.
const CALLS_UNDER_WAY: Duration = Duration::from_millis(250);

/// The opening of the token that is under way, if one is, so that one that hangs can be given up.
#[derive(Debug, Default)]
pub(crate) struct Opening(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Tells the openings apart.
    number: u64,
    under_way: Option<Arc<Pulse>>,
}

impl Opening {
    fn begin(&self) -> (u64, Arc<Pulse>) {
        let mut inner = self.lock();
        inner.number = inner.number.wrapping_add(1);
        let pulse = Arc::<Pulse>::default();
        inner.under_way = Some(Arc::clone(&pulse));
        (inner.number, pulse)
    }

    /// Whether it still counts; it does not once it was given up.
    fn end(&self, number: u64) -> bool {
        let mut inner = self.lock();
        inner.number == number && inner.under_way.take().is_some()
    }

    /// Gives it up when a call of it lasts for `limit`, which is returned then.
    pub(crate) fn give_up_overdue(&self, limit: Duration) -> Option<Duration> {
        let mut inner = self.lock();
        let hangs = inner.under_way.as_ref().is_some_and(|pulse| pulse.silence() >= limit);
        if !hangs {
            return None;
        }
        inner.under_way = None;
        inner.number = inner.number.wrapping_add(1);
        Some(limit)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the token again whenever it is lost, one attempt at a time, until the pool is closed or an attempt was given up.
pub(crate) fn recover(pool: &Pool) {
    while pool.health.wait_lost() {
        let (number, pulse) = pool.opening.begin();
        let opened = open(pool, &pulse);
        if !pool.opening.end(number) {
            drop(opened);
            pool.came_back();
            return;
        }
        match opened {
            Ok(opened) => pool.health.reopened(take_place(pool, opened)),
            Err(error) => pool.health.not_reopened(error),
        }
    }
}

/// A token that was opened, and its sessions, which are nobody's yet. Nobody restarts the module meanwhile.
pub(crate) struct Opened {
    token: OpenToken,
    connections: Vec<Connection>,
    entry: Entry,
}

/// Puts the sessions in their places.
pub(crate) fn take_place(pool: &Pool, opened: Opened) -> OpenToken {
    let Opened {
        token,
        connections,
        entry,
    } = opened;
    let seats = pool.seats().clone();
    for (seat, connection) in seats.iter().zip(connections) {
        drop(seat.put(connection));
    }
    drop(entry);
    token
}

/// Closes what is open, opens every session anew, and has the token sign to see that it works. When that fails for a token
/// that may have come back since the module was initialised, the module is restarted in between: several look for tokens only at
/// that time, and others keep sessions that look alive and sign nothing.
pub(crate) fn open(pool: &Pool, pulse: &Arc<Pulse>) -> Result<Opened, HsmError> {
    let entry = pool.module.enter()?;
    close(pool, pulse);
    match connect(pool, pulse) {
        Ok((token, connections)) => Ok(Opened {
            token,
            connections,
            entry,
        }),
        Err(failure @ (Failure::Gone(_) | Failure::StaleHandle)) => restarted(pool, pulse, entry, failure),
        Err(Failure::Final(error)) => Err(error),
    }
}

/// Calls under way may end first, for a little while. One that goes on does so in a session of its own, which is closed behind it.
fn close(pool: &Pool, pulse: &Pulse) {
    let deadline = Instant::now() + CALLS_UNDER_WAY.min(pool.config.call_limit / 4);
    let seats = pool.seats().clone();
    for seat in &seats {
        let _ = seat.is_idle_by(deadline);
        drop(seat.take());
        pulse.beat();
    }
}

fn restarted(pool: &Pool, pulse: &Arc<Pulse>, entry: Entry, before: Failure) -> Result<Opened, HsmError> {
    pulse.beat();
    let entry = match pool.module.restart(entry)? {
        Some(entry) => entry,
        // Somebody is in the module: it cannot be ended.
        None => return Err(told(pool, before)),
    };
    pulse.beat();
    let connected = match connect(pool, pulse) {
        // The token is as new, and the key is not there: it serves, and who wants the key is told.
        Err(Failure::Gone(HsmError::KeyMissing { key })) => {
            tracing::warn!(key, "the token is back without the key that signed last");
            pool.seen.forget_latest();
            connect(pool, pulse)
        }
        other => other,
    };
    let (token, connections) = connected.map_err(|failure| told(pool, failure))?;
    Ok(Opened {
        token,
        connections,
        entry,
    })
}

fn connect(pool: &Pool, pulse: &Arc<Pulse>) -> Result<(OpenToken, Vec<Connection>), Failure> {
    let generation = pool.health.next_generation();
    let few = pool.stuck.get() > 0;
    let (token, mut connections) = token::connect(&pool.module, &pool.config, &pool.seen, generation, pulse, few)?;
    if let Some(first) = connections.first_mut() {
        sign::prove(first)?;
    }
    for connection in &mut connections {
        // From now on each has its own.
        connection.pulse = Arc::default();
    }
    Ok((token, connections))
}

fn told(pool: &Pool, failure: Failure) -> HsmError {
    match failure {
        Failure::Final(error) | Failure::Gone(error) => error,
        Failure::StaleHandle => HsmError::DeviceRemoved {
            label: pool.config.token.name().to_owned(),
            cause: "its objects change while it is opened".to_owned(),
        },
    }
}
