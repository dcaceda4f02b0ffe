//! Whether the process that opened a connection is the one that speaks on it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use hallmark_workload::PeerError;
use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the process may take to acknowledge a PING. Every HTTP/2 library does it by itself, at once.
const ANSWER: Duration = Duration::from_secs(5);

/// What is known of who speaks on one connection.
///
/// The socket's side notes the writer of whatever arrives, sends the PING that is asked for and finds its
/// acknowledgement. Whoever wants to know asks with [`Speaker::acknowledge`], and has it watched from then on with
/// [`Speaker::guard`].
#[derive(Debug)]
pub(super) struct Speaker {
    pid: i32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The first other process that wrote something.
    foreign: Option<String>,
    /// Nobody else may write any more.
    guarded: bool,
    asked: Option<Asked>,
    /// Wakes the connection, so that it sends a PING though it has nothing else to do.
    connection: Option<Waker>,
}

#[derive(Debug)]
struct Asked {
    payload: [u8; 8],
    sent: bool,
    done: oneshot::Sender<()>,
}

impl Speaker {
    /// Of a connection that this process opened.
    pub(super) fn new(pid: i32) -> Self {
        Self {
            pid,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that nobody else has written anything yet.
    pub(super) fn alone(&self) -> Result<(), PeerError> {
        self.unless_foreign(&self.state())
    }

    /// Has the process answer something that it could not know before. Everything that it wrote until then was written
    /// by itself, and so is the answer.
    ///
    /// # Errors
    /// When somebody else wrote, or no answer came in time.
    pub(super) async fn acknowledge(&self) -> Result<(), PeerError> {
        let mut payload = [0; 8];
        aws_lc_rs::rand::fill(&mut payload).map_err(|_| PeerError::System {
            call: "getrandom",
            errno: Errno::IO,
        })?;
        let (done, answer) = oneshot::channel();
        let connection = {
            let mut state = self.state();
            self.unless_foreign(&state)?;
            state.asked = Some(Asked {
                payload,
                sent: false,
                done,
            });
            state.connection.take()
        };
        if let Some(connection) = connection {
            connection.wake();
        }
        let answered = matches!(timeout(ANSWER, answer).await, Ok(Ok(())));
        let mut state = self.state();
        state.asked = None;
        self.unless_foreign(&state)?;
        if answered {
            Ok(())
        } else {
            Err(PeerError::Unacknowledged {
                pid: self.pid,
                waited: ANSWER.as_secs(),
            })
        }
    }

    /// From now on, the first octet that somebody else writes ends the connection.
    ///
    /// # Errors
    /// When somebody else wrote before.
    pub(super) fn guard(&self) -> Result<(), PeerError> {
        let mut state = self.state();
        self.unless_foreign(&state)?;
        state.guarded = true;
        Ok(())
    }

    /// Notes who wrote what has arrived.
    ///
    /// # Errors
    /// When it is somebody else, and the connection is guarded.
    pub(super) fn heard(&self, sender: Option<i32>) -> io::Result<()> {
        if sender == Some(self.pid) {
            return Ok(());
        }
        let mut state = self.state();
        let sender = sender.map_or_else(|| "an unknown one".into(), |pid| pid.to_string());
        state.foreign.get_or_insert(sender);
        match self.unless_foreign(&state) {
            Err(error) if state.guarded => Err(io::Error::new(io::ErrorKind::PermissionDenied, error)),
            _ => Ok(()),
        }
    }

    /// Notes whom to wake when a PING is asked for.
    pub(super) fn on_ask(&self, connection: &Waker) {
        let mut state = self.state();
        match &mut state.connection {
            Some(waker) => waker.clone_from(connection),
            none => *none = Some(connection.clone()),
        }
    }

    /// Whether a PING is to be sent.
    pub(super) fn is_asked(&self) -> bool {
        self.state().asked.as_ref().is_some_and(|asked| !asked.sent)
    }

    /// The payload of the PING that is to be sent; it counts as sent.
    pub(super) fn send(&self) -> Option<[u8; 8]> {
        let mut state = self.state();
        let asked = state.asked.as_mut().filter(|asked| !asked.sent)?;
        asked.sent = true;
        Some(asked.payload)
    }

    /// The payload of the PING that was sent and not acknowledged yet.
    pub(super) fn awaited(&self) -> Option<[u8; 8]> {
        let state = self.state();
        let asked = state.asked.as_ref().filter(|asked| asked.sent)?;
        Some(asked.payload)
    }

    /// Notes the acknowledgement.
    pub(super) fn acknowledged(&self) {
        if let Some(asked) = self.state().asked.take() {
            // Whoever asked may have gone.
            let _ = asked.done.send(());
        }
    }

    fn unless_foreign(&self, state: &State) -> Result<(), PeerError> {
        match &state.foreign {
            None => Ok(()),
            Some(sender) => Err(PeerError::ForeignSender {
                pid: self.pid,
                sender: sender.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hallmark_reason::Coded as _;

    use super::*;

    const PID: i32 = 42;

    #[tokio::test(start_paused = true)]
    async fn only_an_answer_to_what_was_sent_counts() {
        let speaker = Arc::new(Speaker::new(PID));
        let asking = tokio::spawn({
            let speaker = Arc::clone(&speaker);
            async move { speaker.acknowledge().await }
        });
        while !speaker.is_asked() {
            tokio::task::yield_now().await;
        }
        assert_eq!(speaker.awaited(), None, "nothing is awaited before it is sent");
        let payload = speaker.send().unwrap();
        assert_ne!(payload, [0; 8]);
        assert_eq!((speaker.send(), speaker.awaited()), (None, Some(payload)));
        speaker.acknowledged();
        assert!(asking.await.unwrap().is_ok());
        assert_eq!(speaker.awaited(), None);
        assert!(speaker.guard().is_ok());

        let error = speaker.acknowledge().await.unwrap_err();
        assert_eq!(error.code().as_str(), "HM-WL-0007", "nobody answers");
    }

    #[tokio::test]
    async fn another_writer_spoils_what_follows_and_ends_what_is_guarded() {
        let speaker = Speaker::new(PID);
        speaker.heard(Some(PID)).unwrap();
        assert!(speaker.alone().is_ok());
        for sender in [Some(43), None] {
            let speaker = Speaker::new(PID);
            assert!(speaker.heard(sender).is_ok(), "it may speak for a user");
            speaker.heard(Some(PID)).unwrap();
            for refused in [speaker.alone(), speaker.guard(), speaker.acknowledge().await] {
                assert_eq!(refused.unwrap_err().code().as_str(), "HM-WL-0006");
            }
        }
        speaker.guard().unwrap();
        speaker.heard(Some(PID)).unwrap();
        assert!(speaker.heard(Some(43)).is_err());
    }
}
