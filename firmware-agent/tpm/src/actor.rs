//! One thread owns the TPM; everything else holds a handle to its queue.
//!
//! A TPM works on one command at a time and takes milliseconds to seconds for it, so neither an async worker nor two
//! threads may wait in it. The queue is bounded: who asks too much waits in his own place.

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use hallmark_tpm_wire::{PcrSelection, PcrValues, PublicArea};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::{
    TpmError,
    port::{Credential, Endorsement, KeyId, Properties, Signed, SvidKey, Tpm, Unique},
};

const QUEUE: usize = 32;
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(2);

type Job = Box<dyn FnOnce(&mut dyn Tpm) + Send>;

enum Message {
    Job(Job),
    Stop(oneshot::Sender<()>),
}

/// Whoever wants to know what the TPM's thread does. It is called on that thread and must not hold it up.
pub trait Observer: Send + Sync {
    /// A piece of work begins.
    fn begins(&self);
    /// It has ended: which one it was, how long it took, and what it failed with.
    fn ended(&self, work: &'static str, took: Duration, error: Option<&TpmError>);
}

/// A handle to the TPM's thread; cheap to clone. The thread ends, and the TPM is left clean, when the last handle is
/// dropped or [`TpmHandle::stop`] is called.
#[derive(Clone)]
pub struct TpmHandle {
    queue: SyncSender<Message>,
    observer: Option<Arc<dyn Observer>>,
}

impl TpmHandle {
    /// Gives the TPM its thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn spawn(tpm: impl Tpm + 'static) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        thread::Builder::new()
            .name("tpm".into())
            .spawn(move || serve(tpm, &jobs))?;
        Ok(Self { queue, observer: None })
    }

    /// The same, observed in what this handle and its clones ask for.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// See [`Tpm::endorsement`].
    ///
    /// # Errors
    /// As [`Tpm::endorsement`]; or the thread has stopped.
    pub async fn endorsement(&self) -> Result<Endorsement, TpmError> {
        self.call("endorsement", |tpm| tpm.endorsement()).await
    }

    /// See [`Tpm::endorsement_chain`].
    ///
    /// # Errors
    /// As [`Tpm::endorsement_chain`]; or the thread has stopped.
    pub async fn endorsement_chain(&self) -> Result<Vec<Vec<u8>>, TpmError> {
        self.call("endorsement_chain", |tpm| tpm.endorsement_chain()).await
    }

    /// See [`Tpm::attestation_key`].
    ///
    /// # Errors
    /// As [`Tpm::attestation_key`]; or the thread has stopped.
    pub async fn attestation_key(&self) -> Result<PublicArea, TpmError> {
        self.call("attestation_key", |tpm| tpm.attestation_key()).await
    }

    /// See [`Tpm::svid_key`].
    ///
    /// # Errors
    /// As [`Tpm::svid_key`]; or the thread has stopped.
    pub async fn svid_key(&self, unique: Unique) -> Result<SvidKey, TpmError> {
        self.call("svid_key", move |tpm| tpm.svid_key(&unique)).await
    }

    /// See [`Tpm::activate`].
    ///
    /// # Errors
    /// As [`Tpm::activate`]; or the thread has stopped.
    pub async fn activate(
        &self,
        endorsement: PublicArea,
        credential: Credential,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.call("activate", move |tpm| tpm.activate(&endorsement, &credential))
            .await
    }

    /// See [`Tpm::certify`].
    ///
    /// # Errors
    /// As [`Tpm::certify`]; or the thread has stopped.
    pub async fn certify(&self, key: KeyId, qualifying: [u8; 32]) -> Result<Signed, TpmError> {
        self.call("certify", move |tpm| tpm.certify(key, &qualifying)).await
    }

    /// See [`Tpm::quote`].
    ///
    /// # Errors
    /// As [`Tpm::quote`]; or the thread has stopped.
    pub async fn quote(&self, selection: PcrSelection, qualifying: [u8; 32]) -> Result<Signed, TpmError> {
        self.call("quote", move |tpm| tpm.quote(&selection, &qualifying)).await
    }

    /// See [`Tpm::read_pcrs`].
    ///
    /// # Errors
    /// As [`Tpm::read_pcrs`]; or the thread has stopped.
    pub async fn read_pcrs(&self, selection: PcrSelection) -> Result<PcrValues, TpmError> {
        self.call("read_pcrs", move |tpm| tpm.read_pcrs(&selection)).await
    }

    /// See [`Tpm::sign`].
    ///
    /// # Errors
    /// As [`Tpm::sign`]; or the thread has stopped.
    pub async fn sign(&self, key: KeyId, digest: [u8; 32]) -> Result<Vec<u8>, TpmError> {
        self.call("sign", move |tpm| tpm.sign(key, &digest)).await
    }

    /// As [`Self::sign`], for code that cannot await (a TLS handshake). Blocks the calling thread, which must
    /// therefore be none of the async workers.
    ///
    /// # Errors
    /// As [`Tpm::sign`]; or the thread has stopped.
    pub fn sign_blocking(&self, key: KeyId, digest: [u8; 32]) -> Result<Vec<u8>, TpmError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let work = self.observed("sign", move |tpm: &mut dyn Tpm| tpm.sign(key, &digest));
        let job: Job = Box::new(move |tpm| {
            // The asker may have gone; then nobody wants the answer.
            let _ = reply.send(work(tpm));
        });
        self.queue.send(Message::Job(job)).map_err(|_| TpmError::Stopped)?;
        answer.recv().map_err(|_| TpmError::Stopped)?
    }

    /// See [`Tpm::release`].
    ///
    /// # Errors
    /// As [`Tpm::release`]; or the thread has stopped.
    pub async fn release(&self, key: KeyId) -> Result<(), TpmError> {
        self.call("release", move |tpm| tpm.release(key)).await
    }

    /// See [`Tpm::release_endorsement`].
    ///
    /// # Errors
    /// As [`Tpm::release_endorsement`]; or the thread has stopped.
    pub async fn release_endorsement(&self) -> Result<(), TpmError> {
        self.call("release_endorsement", |tpm| tpm.release_endorsement()).await
    }

    /// See [`Tpm::properties`].
    ///
    /// # Errors
    /// As [`Tpm::properties`]; or the thread has stopped.
    pub async fn properties(&self) -> Result<Properties, TpmError> {
        self.call("properties", |tpm| tpm.properties()).await
    }

    /// Ends the thread after the jobs that are queued already, and returns when the TPM has been left clean. Other
    /// handles answer [`TpmError::Stopped`] from then on.
    pub async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.enqueue(Message::Stop(reply)).await.is_ok() {
            // An error means that the thread is gone already.
            let _ = stopped.await;
        }
    }

    /// The work, with its observer told.
    fn observed<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut dyn Tpm) -> Result<T, TpmError> + Send + 'static,
    ) -> impl FnOnce(&mut dyn Tpm) -> Result<T, TpmError> + Send + 'static {
        let observer = self.observer.clone();
        move |tpm| {
            let Some(observer) = observer else { return work(tpm) };
            observer.begins();
            let start = Instant::now();
            let done = work(tpm);
            observer.ended(name, start.elapsed(), done.as_ref().err());
            done
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut dyn Tpm) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let (reply, answer) = oneshot::channel();
        let work = self.observed(name, work);
        let job: Job = Box::new(move |tpm| {
            // The asker may have been cancelled; the chip is in order all the same.
            let _ = reply.send(work(tpm));
        });
        self.enqueue(Message::Job(job)).await?;
        answer.await.map_err(|_| TpmError::Stopped)?
    }

    async fn enqueue(&self, mut message: Message) -> Result<(), TpmError> {
        loop {
            match self.queue.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(TpmError::Stopped),
                Err(TrySendError::Full(back)) => message = back,
            }
            tokio::time::sleep(FULL_QUEUE_PAUSE).await;
        }
    }
}

impl fmt::Debug for TpmHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TpmHandle")
    }
}

fn serve(mut tpm: impl Tpm, jobs: &Receiver<Message>) {
    while let Ok(message) = jobs.recv() {
        match message {
            Message::Job(job) => job(&mut tpm),
            Message::Stop(reply) => {
                // The driver lets go of everything in its Drop; only then may the asker go on.
                drop(tpm);
                let _ = reply.send(());
                return;
            }
        }
    }
}
