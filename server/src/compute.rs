//! Room for work that would hold up the async workers: certificate paths that strangers chose, event logs, batches.
//!
//! What takes less than a millisecond is done where it stands: the way to another thread and back costs as much as it
//! would spare.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::Status;

/// A bounded number of blocking threads for computation. Who comes when all are busy waits in line.
#[derive(Debug, Clone)]
pub struct Compute {
    permits: Arc<Semaphore>,
}

impl Compute {
    /// Permits for so many computations at a time.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(permits.max(1))),
        }
    }

    /// One permit per processor: more would only take turns.
    #[must_use]
    pub fn per_processor() -> Self {
        Self::new(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
    }

    /// Runs `work`: here if it `is_short`, for certain less than a millisecond, else as [`run`](Self::run) does.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_unless<T: Send + 'static>(
        &self,
        is_short: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        if is_short { Ok(work()) } else { self.run(work).await }
    }

    /// Runs `work` on a blocking thread once a permit is free. Dropping the future before `work` began takes it
    /// out of the line.
    ///
    /// # Errors
    /// `Internal` when the work panicked or the server is stopping.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let stopped = |_| Status::internal("the server is stopping");
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(stopped)?;
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "a computation was lost");
            Status::internal("internal error")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_computations_run_at_once_than_there_are_permits() {
        let compute = Compute::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for _ in 0..16 {
            let (compute, running, most) = (compute.clone(), Arc::clone(&running), Arc::clone(&most));
            tasks.push(tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    // Real time: work that takes as long, so that others begin meanwhile.
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                compute.run(work).await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_in_the_work_frees_its_permit() {
        let compute = Compute::new(1);
        assert!(compute.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(compute.run(|| 7).await.unwrap(), 7);
    }
}
