//! Opening the token, and opening it again after it was lost.

use hallmark_hsm::HsmError;

use crate::{
    failure::Failure,
    module::Lifecycle,
    pool::Pool,
    sign,
    token::{self, OpenToken},
};

/// Opens the token again whenever it is lost, one attempt at a time, until the pool is closed.
pub(crate) fn recover(pool: &Pool) {
    while pool.health.wait_lost() {
        match open(pool) {
            Ok(token) => pool.health.reopened(token),
            Err(error) => pool.health.not_reopened(error),
        }
    }
}

/// Closes what is open, opens every session anew, and has the token sign to see that it works. When that fails for a token
/// that may have come back since the module was initialised, the module is restarted in between: several look for tokens only at
/// that time, and others keep sessions that look alive and sign nothing.
pub(crate) fn open(pool: &Pool) -> Result<OpenToken, HsmError> {
    let mut lifecycle = pool.module.lifecycle();
    close(pool);
    match connect(pool) {
        Ok(token) => Ok(token),
        Err(Failure::Gone(_) | Failure::StaleHandle) => restarted(pool, &mut lifecycle),
        Err(Failure::Final(error)) => Err(error),
    }
    .inspect_err(|_| close(pool))
}

/// A call that hangs is waited for: nothing may be closed under it.
fn close(pool: &Pool) {
    for seat in &pool.seats {
        seat.lock().take();
    }
}

fn restarted(pool: &Pool, lifecycle: &mut Lifecycle) -> Result<OpenToken, HsmError> {
    pool.module.restart(lifecycle)?;
    match connect(pool) {
        Ok(token) => Ok(token),
        // The token is as new, and the key is not there: it serves, and who wants the key is told.
        Err(Failure::Gone(HsmError::KeyMissing { key })) => {
            tracing::warn!(key, "the token is back without the key that signed last");
            pool.seen.forget_latest();
            connect(pool).map_err(|failure| told(pool, failure))
        }
        Err(failure) => Err(told(pool, failure)),
    }
}

fn connect(pool: &Pool) -> Result<OpenToken, Failure> {
    let generation = pool.health.next_generation();
    let (token, mut connections) = token::connect(&pool.module, &pool.config, &pool.seen, generation)?;
    if let Some(first) = connections.first_mut() {
        sign::prove(first)?;
    }
    for (seat, connection) in pool.seats.iter().zip(connections) {
        *seat.lock() = Some(connection);
    }
    Ok(token)
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
