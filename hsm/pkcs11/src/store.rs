//! The key store itself.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use hallmark_hsm::{BoxFuture, HsmError, KeyId, KeyInfo, KeyKind, KeyStore, SignatureAlg, Status, check_label};
use tokio::sync::oneshot;

use crate::{
    Pkcs11Config,
    connection::Connection,
    failure::Failure,
    health::Health,
    keys,
    module::Module,
    pool::{self, Count, Pool, Stuck},
    public::Seen,
    queue::{Queue, Reply, Typed},
    recovery::{self, Opening},
    seat::Seat,
    sign::{self, Unverified},
    watch, worker,
};

/// How long dropping a store waits for calls into the token to end.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// A PKCS#11 token as a [`KeyStore`].
///
/// Its futures need a tokio runtime with a timer; the work is done on threads of its own. Dropping the store ends
/// these threads and fails what still waits.
pub struct Pkcs11KeyStore {
    pool: Arc<Pool>,
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
        pool::spawn("hsm-open".to_owned(), move || {
            let _ = sender.send(Self::opened(config));
        })?;
        let pool = opened.recv_timeout(limit).map_err(|_| HsmError::TimedOut {
            what: "opening the token",
            after: limit,
        })??;
        let store = Self { pool };
        store.start()?;
        Ok(store)
    }

    fn opened(config: Pkcs11Config) -> Result<Arc<Pool>, HsmError> {
        let module = Module::load(&config.module)?;
        let seats: Vec<Arc<Seat>> = (0..config.sessions.max(1)).map(|_| Arc::default()).collect();
        module.register(&seats);
        let pool = Arc::new(Pool {
            queue: Queue::new(config.queue),
            health: Health::new(),
            opening: Opening::default(),
            seen: Arc::<Seen>::default(),
            config,
            module,
            seats: Mutex::new(seats),
            signatures: Count::default(),
            failures: Count::default(),
            stuck: Stuck::default(),
            threads: Mutex::default(),
        });
        let opened = recovery::open(&pool, &Arc::default())?;
        pool.health.opened(recovery::take_place(&pool, opened));
        Ok(pool)
    }

    fn start(&self) -> Result<(), HsmError> {
        let seats = self.pool.seats().clone();
        for (index, seat) in seats.into_iter().enumerate() {
            let pool = Arc::clone(&self.pool);
            self.pool
                .spawn(format!("hsm-{index}"), move || worker::work(&pool, &seat))?;
        }
        let pool = Arc::clone(&self.pool);
        self.pool
            .spawn("hsm-recovery".to_owned(), move || recovery::recover(&pool))?;
        let pool = Arc::clone(&self.pool);
        self.pool.spawn("hsm-watch".to_owned(), move || watch::watch(&pool))
    }

    /// Has `work` done on a session and waits for the answer, as long as the patience lasts.
    async fn submit<T, W>(
        &self,
        what: &'static str,
        patience: Patience,
        repeatable: bool,
        work: W,
    ) -> Result<T, HsmError>
    where
        T: Send + 'static,
        W: FnMut(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let wake = self.pool.queue.push(Box::new(Typed {
            work,
            reply: Reply::new(reply),
            repeatable,
            limit: patience.call,
        }))?;
        // Tasks that became ready together, as they do after a flush of the store, put in their jobs first. Sessions that are
        // woken for the first job take the processor from those who bring the others.
        tokio::task::yield_now().await;
        drop(wake);
        match tokio::time::timeout(patience.whole, answer).await {
            Ok(Ok(Err(HsmError::TimedOut { after, .. }))) => Err(HsmError::TimedOut { what, after }),
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(HsmError::Closed),
            Err(_) => {
                // Nothing hangs, or the thread in it would have been given up before.
                let error = HsmError::TimedOut {
                    what,
                    after: patience.whole,
                };
                self.pool.failures.add(1);
                self.pool.health.note(&error);
                Err(error)
            }
        }
    }

    fn patience(&self) -> Patience {
        Patience {
            whole: self.pool.config.time_limit,
            call: self.pool.config.call_limit,
        }
    }

    /// Has the token sign. Nothing leaves before it is verified.
    async fn made(
        &self,
        key: &KeyId,
        algorithm: SignatureAlg,
        messages: &Arc<[Vec<u8>]>,
        patience: Patience,
    ) -> Result<Unverified, HsmError> {
        let (key, messages) = (key.clone(), Arc::clone(messages));
        self.submit("signing", patience, true, move |connection| {
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

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// From the job's arrival.
    whole: Duration,
    /// For one call into the module.
    call: Duration,
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
            let Patience { whole, call } = self.patience();
            let patience = Patience {
                whole: whole.saturating_mul(10),
                call: call.saturating_mul(10),
            };
            self.submit("making a key", patience, false, move |connection| {
                keys::generate(connection, &label, kind)
            })
            .await
        })
    }

    fn find<'a>(&'a self, label: &'a str) -> BoxFuture<'a, Result<Option<KeyInfo>, HsmError>> {
        Box::pin(async move {
            check_label(label)?;
            let label = label.to_owned();
            self.submit("finding a key", self.patience(), true, move |connection| {
                keys::find(connection, &label)
            })
            .await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<KeyInfo>, HsmError>> {
        Box::pin(self.submit("listing the keys", self.patience(), true, keys::list))
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
                let Patience { whole, call } = self.patience();
                let patience = Patience {
                    whole: if tries_left == 1 {
                        whole
                    } else {
                        whole.saturating_sub(asked.elapsed())
                    },
                    call,
                };
                let made = match self.made(key, algorithm, &messages, patience).await {
                    // One session hangs; another may not.
                    Err(HsmError::TimedOut { .. }) if tries_left == 1 && asked.elapsed() < whole => continue,
                    made => made?,
                };
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
            self.submit("destroying a key", self.patience(), false, move |connection| {
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
            sessions: self.pool.seats().len(),
            stuck: self.pool.stuck.get(),
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
        let threads = std::mem::take(&mut *self.pool.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
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
