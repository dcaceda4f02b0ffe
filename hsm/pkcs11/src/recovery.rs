//! Opening the token, and opening it again after it was lost.

use hallmark_hsm::{HsmError, TokenFacts};

use crate::{failure::Failure, module::Lifecycle, pool::Pool, token};

/// Opens the token again whenever it is lost, one attempt at a time, until the pool is closed.
pub(crate) fn recover(pool: &Pool) {
    while pool.health.wait_lost() {
        match open(pool) {
            Ok(facts) => pool.health.reopened(facts),
            Err(error) => pool.health.not_reopened(error),
        }
    }
}

/// Closes what is open and opens every session anew. When that fails for a token that may have come back since
/// the module was initialised, the module is restarted in between: several look for tokens only at that time.
pub(crate) fn open(pool: &Pool) -> Result<TokenFacts, HsmError> {
    let mut lifecycle = pool.module.lifecycle();
    for seat in &pool.seats {
        seat.lock().take();
    }
    match connect(pool) {
        Ok(facts) => Ok(facts),
        Err(Failure::Gone(_) | Failure::StaleHandle) => {
            restarted(pool, &mut lifecycle)?;
            connect(pool).map_err(|failure| told(pool, failure))
        }
        Err(Failure::Final(error)) => Err(error),
    }
}

fn restarted(pool: &Pool, lifecycle: &mut Lifecycle) -> Result<(), HsmError> {
    pool.module.restart(lifecycle)
}

fn connect(pool: &Pool) -> Result<TokenFacts, Failure> {
    let (facts, connections) = token::connect(&pool.module, &pool.config)?;
    for (seat, connection) in pool.seats.iter().zip(connections) {
        *seat.lock() = Some(connection);
    }
    Ok(facts)
}

fn told(pool: &Pool, failure: Failure) -> HsmError {
    match failure {
        Failure::Final(error) | Failure::Gone(error) => error,
        Failure::StaleHandle => HsmError::DeviceRemoved {
            label: pool.config.token_label.clone(),
            cause: "its objects change while it is opened".to_owned(),
        },
    }
}
