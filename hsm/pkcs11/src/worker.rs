//! A thread that works for one session.

use std::sync::Arc;

use hallmark_hsm::HsmError;

use crate::{
    connection::Seat,
    failure::Failure,
    pool::Pool,
    queue::{Job, Queued},
};

/// Takes jobs until the pool is closed.
pub(crate) fn work(pool: &Pool, seat: &Arc<Seat>) {
    while let Some(queued) = pool.queue.pop() {
        if !queued.job.is_abandoned() {
            serve(pool, seat, queued);
        }
    }
    seat.lock().take();
}

/// Does one job; when the token is lost under it, once more after it was opened again.
fn serve(pool: &Pool, seat: &Seat, mut queued: Queued) {
    let deadline = queued.arrived + pool.config.patience;
    let mut tries_left = if queued.job.is_repeatable() { 2 } else { 1 };
    loop {
        let generation = match pool.health.wait_ready(deadline) {
            Ok(generation) => generation,
            Err(error) => return fail(pool, &mut *queued.job, error),
        };
        tries_left -= 1;
        queued.job.begin(generation);
        match attempt(pool, seat, &mut *queued.job) {
            Ok(()) => return,
            Err(Failure::Final(error)) => {
                if is_fault_of_token(&error) {
                    pool.health.note(&error);
                }
                return fail(pool, &mut *queued.job, error);
            }
            Err(Failure::Gone(error)) => {
                pool.health.lost(generation, &error);
                if tries_left == 0 {
                    return fail(pool, &mut *queued.job, error);
                }
            }
            Err(Failure::StaleHandle) => {
                let error = vanished(pool);
                pool.health.lost(generation, &error);
                if tries_left == 0 {
                    return fail(pool, &mut *queued.job, error);
                }
            }
        }
    }
}

fn attempt(pool: &Pool, seat: &Seat, job: &mut dyn Job) -> Result<(), Failure> {
    match seat.lock().as_mut() {
        Some(connection) => job.run(connection),
        // Another pool of this process had to restart the module.
        None => Err(Failure::Gone(HsmError::DeviceRemoved {
            label: pool.config.token.name().to_owned(),
            cause: "its session was closed".to_owned(),
        })),
    }
}

fn vanished(pool: &Pool) -> HsmError {
    HsmError::DeviceRemoved {
        label: pool.config.token.name().to_owned(),
        cause: "an object that was there is not there any more".to_owned(),
    }
}

fn fail(pool: &Pool, job: &mut dyn Job, error: HsmError) {
    if is_fault_of_token(&error) {
        pool.failures.add(1);
    }
    job.fail(error);
}

/// Whether the error is the token's and not the caller's, such as a name that does not exist.
const fn is_fault_of_token(error: &HsmError) -> bool {
    !matches!(
        error,
        HsmError::KeyMissing { .. }
            | HsmError::KeyExists { .. }
            | HsmError::BadLabel { .. }
            | HsmError::WrongAlgorithm { .. }
            | HsmError::Closed
    )
}
