//! The key store itself.

use std::{
    fmt,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hallmark_hsm::{BoxFuture, HsmError, KeyId, KeyInfo, KeyKind, KeyStore, SignatureAlg, Status, check_label};
use tokio::sync::oneshot;

use crate::{
    Pkcs11Config,
    connection::{Connection, Seat},
    failure::Failure,
    health::Health,
    keys,
    module::Module,
    pool::{Count, Pool},
    public::Seen,
    queue::{Begun, Queue, Typed},
    recovery,
    sign::{self, Unverified},
    worker,
};

/// How long dropping a store waits for calls into the token to end.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// A PKCS#11 token as a [`KeyStore`].
///
/// Its futures need a tokio runtime with a timer; the work is done on threads of its own. Dropping the store ends
/// these threads and fails what still waits.
pub struct Pkcs11KeyStore {
    pool: Arc<Pool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pkcs11KeyStore {
    /// Loads the module, finds the token and logs in. Blocks while the token answers, `time_limit` at most.
    ///
    /// A PIN that the token refuses is not offered to it again by this process, however often this is called;
    /// a process that starts anew offers it once more. So do not restart it in a loop over this error.
    ///
    /// # Errors
    /// When the module cannot be loaded, no token or several have the label, the PIN is wrong, locked or not
    /// set, the token opens too few sessions, or it does not answer in time.
    pub fn open(config: Pkcs11Config) -> Result<Self, HsmError> {
        let limit = config.time_limit;
        let (sender, opened) = mpsc::channel();
        // A module that hangs keeps this thread, and nobody who waits for it.
        spawn("hsm-open".to_owned(), move || {
            let _ = sender.send(Self::opened(config));
        })?;
        let pool = opened.recv_timeout(limit).map_err(|_| HsmError::TimedOut {
            what: "opening the token",
            after: limit,
        })??;
        let mut store = Self {
            pool,
            threads: Vec::new(),
        };
        store.start()?;
        Ok(store)
    }

    fn opened(config: Pkcs11Config) -> Result<Arc<Pool>, HsmError> {
        let module = Module::load(&config.module)?;
        let seats: Vec<Arc<Seat>> = (0..config.sessions.max(1)).map(|_| Arc::default()).collect();
        module.lifecycle().register(&seats);
        let pool = Arc::new(Pool {
            queue: Queue::new(config.queue),
            health: Health::new(),
            seen: Arc::<Seen>::default(),
            config,
            module,
            seats,
            signatures: Count::default(),
            failures: Count::default(),
        });
        pool.health.opened(recovery::open(&pool)?);
        Ok(pool)
    }

    fn start(&mut self) -> Result<(), HsmError> {
        for (index, seat) in self.pool.seats.iter().enumerate() {
            let (pool, seat) = (Arc::clone(&self.pool), Arc::clone(seat));
            let thread = spawn(format!("hsm-{index}"), move || worker::work(&pool, &seat))?;
            self.threads.push(thread);
        }
        let pool = Arc::clone(&self.pool);
        self.threads.push(spawn("hsm-recovery".to_owned(), move || {
            recovery::recover(&pool);
        })?);
        Ok(())
    }

    /// Has `work` done on a session and waits for the answer, `time_limit` at most.
    async fn submit<T, W>(
        &self,
        what: &'static str,
        time_limit: Duration,
        repeatable: bool,
        work: W,
    ) -> Result<T, HsmError>
    where
        T: Send + 'static,
        W: FnMut(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let begun = Begun::default();
        let wake = self.pool.queue.push(Box::new(Typed {
            work,
            reply: Some(reply),
            repeatable,
            begun: begun.clone(),
        }))?;
        // Tasks that became ready together, as they do after a flush of the store, put in their jobs first. Sessions that are
        // woken for the first job take the processor from those who bring the others.
        tokio::task::yield_now().await;
        drop(wake);
        match tokio::time::timeout(time_limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(HsmError::Closed),
            Err(_) => {
                let error = HsmError::TimedOut {
                    what,
                    after: time_limit,
                };
                self.pool.failures.add(1);
                match begun.get() {
                    // It was not the queue that took the time: the token hangs.
                    Some((since, generation)) if since.elapsed() >= time_limit / 2 => {
                        self.pool.health.lost(generation, &error);
                    }
                    _ => self.pool.health.note(&error),
                }
                Err(error)
            }
        }
    }

    fn time_limit(&self) -> Duration {
        self.pool.config.time_limit
    }

    /// Has the token sign. Nothing leaves before it is verified.
    async fn made(
        &self,
        key: &KeyId,
        algorithm: SignatureAlg,
        messages: &Arc<[Vec<u8>]>,
        time_limit: Duration,
    ) -> Result<Unverified, HsmError> {
        let (key, messages) = (key.clone(), Arc::clone(messages));
        self.submit("signing", time_limit, true, move |connection| {
            sign::batch(connection, &key, algorithm, &messages)
        })
        .await
    }

    /// What the token can do by its own word: each kind of key, and the mechanism that each of its algorithms is asked for by, or
    /// why it cannot be had.
    #[must_use]
    pub fn abilities(&self) -> Vec<Ability> {
        let (token, ..) = self.pool.health.history();
        KeyKind::ALL
            .into_iter()
            .map(|kind| Ability {
                kind,
                makes: token.mechanisms.require(kind),
                signs: kind
                    .algorithms()
                    .iter()
                    .map(|algorithm| {
                        (
                            *algorithm,
                            token.mechanisms.name(*algorithm, self.pool.seen.way(*algorithm)),
                        )
                    })
                    .collect(),
            })
            .collect()
    }
}

/// What a token can do with one kind of key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// The kind.
    pub kind: KeyKind,
    /// Whether it makes such keys, or why not.
    pub makes: Result<(), HsmError>,
    /// Each algorithm with the mechanism by its name in PKCS#11, or why there is none.
    pub signs: Vec<(SignatureAlg, Result<&'static str, HsmError>)>,
}

/// So many signatures are verified where they are waited for; more would hold up the async worker.
const VERIFIED_IN_PLACE: usize = 2;

/// The signatures, where all of them verify. That is done away from the threads that hold the token's sessions.
async fn verified(made: Unverified, messages: &Arc<[Vec<u8>]>) -> Result<Option<Vec<Vec<u8>>>, HsmError> {
    if messages.len() <= VERIFIED_IN_PLACE {
        return Ok(made.verified(messages));
    }
    let messages = Arc::clone(messages);
    let done = tokio::task::spawn_blocking(move || made.verified(&messages)).await;
    done.map_err(|_| HsmError::Closed)
}

impl KeyStore for Pkcs11KeyStore {
    fn generate<'a>(&'a self, label: &'a str, kind: KeyKind) -> BoxFuture<'a, Result<KeyInfo, HsmError>> {
        Box::pin(async move {
            check_label(label)?;
            let label = label.to_owned();
            let time_limit = self.time_limit().saturating_mul(10);
            self.submit("making a key", time_limit, false, move |connection| {
                keys::generate(connection, &label, kind)
            })
            .await
        })
    }

    fn find<'a>(&'a self, label: &'a str) -> BoxFuture<'a, Result<Option<KeyInfo>, HsmError>> {
        Box::pin(async move {
            check_label(label)?;
            let label = label.to_owned();
            self.submit("finding a key", self.time_limit(), true, move |connection| {
                keys::find(connection, &label)
            })
            .await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<KeyInfo>, HsmError>> {
        Box::pin(self.submit("listing the keys", self.time_limit(), true, keys::list))
    }

    fn sign_batch<'a>(
        &'a self,
        key: &'a KeyId,
        algorithm: SignatureAlg,
        messages: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, HsmError>> {
        Box::pin(async move {
            if messages.is_empty() {
                return Ok(Vec::new());
            }
            let messages: Arc<[Vec<u8>]> = messages.into();
            let asked = Instant::now();
            let mut tries_left = 2;
            loop {
                tries_left -= 1;
                let time_left = if tries_left == 1 {
                    self.time_limit()
                } else {
                    self.time_limit().saturating_sub(asked.elapsed())
                };
                let made = self.made(key, algorithm, &messages, time_left).await?;
                let generation = made.generation;
                if let Some(signatures) = verified(made, &messages).await? {
                    self.pool.signatures.add(signatures.len());
                    return Ok(signatures);
                }
                let error = HsmError::SignatureWrong {
                    label: self.pool.config.token.name().to_owned(),
                    key: key.to_string(),
                };
                self.pool.failures.add(1);
                self.pool.health.lost(generation, &error);
                if tries_left == 0 {
                    return Err(error);
                }
            }
        })
    }

    fn destroy<'a>(&'a self, key: &'a KeyId) -> BoxFuture<'a, Result<(), HsmError>> {
        Box::pin(async move {
            let key = key.clone();
            self.submit("destroying a key", self.time_limit(), false, move |connection| {
                keys::destroy(connection, &key)
            })
            .await
        })
    }

    fn status(&self) -> Status {
        let (token, reopened, last_failure) = self.pool.health.history();
        Status {
            module: self.pool.module.path().display().to_string(),
            token: token.facts,
            state: self.pool.health.state(),
            sessions: self.pool.seats.len(),
            queued: self.pool.queue.len(),
            signatures: self.pool.signatures.get(),
            failures: self.pool.failures.get(),
            reopened,
            last_failure,
        }
    }
}

impl fmt::Debug for Pkcs11KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11KeyStore")
            .field("token", &self.pool.config.token.name())
            .field("state", &self.pool.health.state())
            .finish_non_exhaustive()
    }
}

impl Drop for Pkcs11KeyStore {
    fn drop(&mut self) {
        self.pool.queue.close();
        self.pool.health.close();
        // A process that ends while a thread is inside the module may crash, so calls under way may end first;
        // a token that hangs must not keep the process.
        let patience = Instant::now() + LAST_CALLS;
        let mut all_ended = true;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < patience {
                thread::sleep(Duration::from_micros(200));
            }
            all_ended &= thread.is_finished();
        }
        if all_ended {
            tracing::debug!("nobody calls the token any more");
        } else {
            tracing::warn!("a call into the token has not ended and is left alone");
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, HsmError> {
    thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| HsmError::DeviceError {
            function: "starting a thread for the token".to_owned(),
            cause: error.to_string(),
        })
}
