//! A thread that works for one session.

use hallmark_hsm::HsmError;

use crate::{
    failure::Failure,
    pool::Pool,
    queue::{Job, Queued},
    seat::{Left, Seat},
};

/// Takes jobs until the pool is closed, or until it was given up for a call that did not come back in time.
pub(crate) fn work(pool: &Pool, seat: &Seat) {
    while let Some(queued) = pool.queue.pop() {
        if !queued.job.is_abandoned()
            && let Left::GivenUp = serve(pool, seat, queued)
        {
            pool.came_back();
            return;
        }
    }
    drop(seat.take());
}

/// Does one job; when the token is lost under it, once more after it was opened again.
fn serve(pool: &Pool, seat: &Seat, mut queued: Queued) -> Left {
    let deadline = queued.arrived + pool.config.patience;
    let job = &mut *queued.job;
    let mut tries_left = if job.is_repeatable() { 2 } else { 1 };
    loop {
        let generation = match pool.health.wait_ready(deadline) {
            Ok(generation) => generation,
            Err(error) => {
                fail(pool, job, error);
                return Left::Kept;
            }
        };
        tries_left -= 1;
        let (done, left) = attempt(pool, seat, job, generation);
        let error = match done {
            Ok(()) => return left,
            Err(Failure::Final(error)) => {
                if is_fault_of_token(&error) {
                    pool.health.note(&error);
                }
                fail(pool, job, error);
                return left;
            }
            Err(Failure::Gone(error)) => error,
            Err(Failure::StaleHandle) => vanished(pool),
        };
        pool.health.lost(generation, &error);
        if tries_left == 0 || matches!(left, Left::GivenUp) {
            fail(pool, job, error);
            return left;
        }
    }
}

fn attempt(pool: &Pool, seat: &Seat, job: &mut dyn Job, generation: u64) -> (Result<(), Failure>, Left) {
    match seat.begin(job.limit(), job.waiter(), generation) {
        Some(mut connection) => {
            let done = job.run(&mut connection);
            (done, seat.end(connection))
        }
        // Another pool of this process had to restart the module.
        None => {
            let closed = Failure::Gone(HsmError::DeviceRemoved {
                label: pool.config.token.name().to_owned(),
                cause: "its session was closed".to_owned(),
            });
            (Err(closed), Left::Kept)
        }
    }
}

fn vanished(pool: &Pool) -> HsmError {
    HsmError::DeviceRemoved {
        label: pool.config.token.name().to_owned(),
        cause: "an object that was there is not there any more".to_owned(),
    }
}

fn fail(pool: &Pool, job: &mut dyn Job, error: HsmError) {
    if is_fault_of_token(&error) && !job.is_abandoned() {
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
