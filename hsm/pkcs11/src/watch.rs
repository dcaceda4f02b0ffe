//! Who looks whether calls into the module come back. This thread never calls the module itself.

use std::{sync::Arc, time::Duration};

use hallmark_hsm::HsmError;

use crate::{pool::Pool, recovery, seat::Seat, worker};

/// Looks until the pool is closed.
pub(crate) fn watch(pool: &Arc<Pool>) {
    let interval = (pool.config.call_limit / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
    while pool.health.is_open_after(interval) {
        let seats = pool.seats().clone();
        for (index, seat) in seats.iter().enumerate() {
            let Some(call) = seat.give_up_overdue() else {
                continue;
            };
            let error = HsmError::TimedOut {
                what: "a call into the token",
                after: call.limit,
            };
            // Counted before anybody is told, so that who is told finds it counted.
            given_up(pool, &error, Some(call.generation));
            call.waiter.give_up(error);
            replace(pool, index);
        }
        if let Some(limit) = pool.opening.give_up_overdue(pool.config.call_limit) {
            let error = HsmError::TimedOut {
                what: "opening the token",
                after: limit,
            };
            given_up(pool, &error, None);
            let recovering = Arc::clone(pool);
            let started = pool.spawn("hsm-recovery".to_owned(), move || recovery::recover(&recovering));
            if let Err(error) = started {
                tracing::error!(%error, "nobody opens the token again");
            }
        }
    }
}

/// Counts a thread that is left where it is: after too many the token is asked no more until some come back.
fn given_up(pool: &Pool, error: &HsmError, generation: Option<u64>) {
    let calls = pool.stuck.add();
    tracing::warn!(calls, %error, "a thread is given up: its call into the token does not come back");
    match generation {
        Some(generation) => {
            pool.failures.add(1);
            pool.health.lost(generation, error);
        }
        None => pool.health.not_reopened(error.clone()),
    }
    if calls >= pool.config.stuck_max {
        pool.health.out_of_service(HsmError::Stuck {
            label: pool.config.token.name().to_owned(),
            calls,
        });
    }
}

/// Another thread at a place of its own, which gets its session when the token is opened anew.
fn replace(pool: &Arc<Pool>, index: usize) {
    let seat = Arc::<Seat>::default();
    pool.module.register(std::slice::from_ref(&seat));
    if let Some(place) = pool.seats().get_mut(index) {
        *place = Arc::clone(&seat);
    }
    let working = Arc::clone(pool);
    if let Err(error) = pool.spawn(format!("hsm-{index}"), move || worker::work(&working, &seat)) {
        tracing::error!(%error, "a session of the token has no thread any more");
    }
}
