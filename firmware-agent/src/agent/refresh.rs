//! Asking the server channel for the newest entries: whoever asks takes a number, and one answer of the server serves all
//! numbers that were taken before it was asked for.

use tokio::sync::watch;

/// The askers' end; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct RefreshHandle {
    taken: watch::Sender<u64>,
    served: watch::Receiver<u64>,
}

/// The server channel's end.
#[derive(Debug)]
pub(super) struct Refresh {
    taken: watch::Receiver<u64>,
    served: watch::Sender<u64>,
}

/// Both ends.
pub(super) fn refresh() -> (RefreshHandle, Refresh) {
    let (numbers, taken) = watch::channel(0);
    let (serving, served) = watch::channel(0);
    let handle = RefreshHandle { taken: numbers, served };
    (handle, Refresh { taken, served: serving })
}

impl RefreshHandle {
    /// Waits until the server has been asked for the entries after this call, whether it answered or not. Returns at once
    /// where there is no channel any more.
    pub(super) async fn refreshed(&self) {
        let mut number = 0;
        self.taken.send_modify(|last| {
            *last = last.wrapping_add(1);
            number = *last;
        });
        let mut served = self.served.clone();
        // An error means that the channel has ended.
        let _ = served.wait_for(|served| *served >= number).await;
    }
}

impl Refresh {
    /// Whether somebody waits.
    pub(super) fn is_wanted(&self) -> bool {
        *self.taken.borrow() > *self.served.borrow()
    }

    /// Waits until somebody waits; for ever where nobody can ask any more.
    pub(super) async fn wanted(&mut self) {
        let served = *self.served.borrow();
        if self.taken.wait_for(|taken| *taken > served).await.is_err() {
            std::future::pending().await
        }
    }

    /// The last number that was taken: all up to it are served by what begins now.
    pub(super) fn begin(&self) -> u64 {
        *self.taken.borrow()
    }

    /// All up to this number are served.
    pub(super) fn end(&self, number: u64) {
        self.served.send_replace(number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_asks_while_an_answer_is_on_its_way_waits_for_the_next() {
        let (handle, mut channel) = refresh();
        assert!(!channel.is_wanted() && channel.wanted().now_or_never().is_none());
        let mut early = Box::pin(handle.refreshed());
        assert!(early.as_mut().now_or_never().is_none());
        channel.wanted().await;
        let begun = channel.begin();
        let mut late = Box::pin(handle.refreshed());
        assert!(late.as_mut().now_or_never().is_none());
        channel.end(begun);
        early.await;
        assert!(late.as_mut().now_or_never().is_none() && channel.is_wanted());
        channel.end(channel.begin());
        late.await;
        drop(channel);
        handle.refreshed().await;
    }
}
