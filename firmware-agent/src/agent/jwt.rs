//! JWT-SVIDs of workloads: asked of the server when a workload wants one, kept for as long as they are good.
//!
//! One call to the server answers all who want the same at the same time. Its wait is nobody else's: it runs beside everything,
//! and each user has a few calls under way at most, so that one who wants many tokens keeps the others from none.

mod accept;
mod tokens;
mod turns;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};

use hallmark_host::log::{self, LogThrottle};
use tokio::{
    sync::watch,
    time::{Instant as Deadline, timeout, timeout_at},
};

use super::{
    channel::Connection,
    refresh::{RefreshHandle, refresh},
    report::{ReportHandle, reports},
};
use crate::{
    AgentError,
    cache::{Cache, Snapshot, WorkloadEntry},
    connect::CALL,
};
use accept::accept;
use tokens::{Key, Tokens};
use turns::Turns;

pub(crate) use tokens::Token;

/// How long a caller waits for a new token while the one at hand is good.
const RENEWAL: Duration = Duration::from_secs(5);

/// What a workload wants.
#[derive(Debug, Clone)]
pub(crate) struct WantedToken {
    /// The user whose call it is.
    pub(crate) user: u32,
    /// The entry that grants it.
    pub(crate) entry: Arc<WorkloadEntry>,
    /// For whom it is to be, as asked.
    pub(crate) audience: Arc<[String]>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoToken {
    /// The agent has no identity to ask the server with.
    #[error("the agent has no identity of its own now")]
    NotAttested,
    /// The server does not have the entry for this agent.
    #[error("the server has no such entry for this agent")]
    Gone,
    /// The entry or the key changed while the token was asked for.
    #[error("its entry or its key has changed meanwhile")]
    Changed,
    /// The call failed, or what it brought cannot be used.
    #[error(transparent)]
    Failed(#[from] AgentError),
}

impl NoToken {
    /// Whether the server was not reached, or could not answer: it has not refused.
    const fn is_away(&self) -> bool {
        match self {
            Self::NotAttested => true,
            Self::Gone | Self::Changed => false,
            Self::Failed(error) => !matches!(
                error,
                AgentError::Banned { .. }
                    | AgentError::Suspended { .. }
                    | AgentError::NotAccepted { .. }
                    | AgentError::Refused { .. }
            ),
        }
    }
}

/// What came of a call, for all who wait for it.
type Outcome = Option<Result<Arc<Token>, NoToken>>;

/// Gets and keeps JWT-SVIDs; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct JwtSvids(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connections: watch::Receiver<Option<Connection>>,
    refresh: RefreshHandle,
    reports: ReportHandle,
    tokens: Mutex<Tokens>,
    under_way: Mutex<HashMap<Key, Weak<watch::Sender<Outcome>>>>,
    turns: Turns,
    throttle: LogThrottle,
}

impl JwtSvids {
    /// Asks over the newest of `connections`.
    pub(super) fn new(
        connections: watch::Receiver<Option<Connection>>,
        refresh: RefreshHandle,
        reports: ReportHandle,
    ) -> Self {
        Self(Arc::new(Shared {
            connections,
            refresh,
            reports,
            tokens: Mutex::default(),
            under_way: Mutex::default(),
            turns: Turns::default(),
            throttle: LogThrottle::new(),
        }))
    }

    /// Nobody to ask.
    pub(super) fn none() -> Self {
        Self::new(watch::channel(None).1, refresh().0, reports().0)
    }

    /// A token: the one at hand in the first half of its life; then a new one, or the one at hand where the server is away.
    ///
    /// # Errors
    /// [`NoToken`].
    pub(crate) async fn get(&self, wanted: WantedToken, cache: &Cache) -> Result<Arc<Token>, NoToken> {
        let key = Key::of(&wanted);
        let held = self.0.tokens().find(&key, &wanted.entry, &cache.snapshot());
        let held = held.filter(|token| token.is_valid(SystemTime::now()));
        if let Some(token) = held
            .as_ref()
            .filter(|token| token.is_settled(SystemTime::now(), Instant::now()))
        {
            return Ok(Arc::clone(token));
        }
        let limit = if held.is_some() { RENEWAL } else { CALL };
        match (self.asked(&key, wanted, cache, limit).await, held) {
            // What it was good for may have been taken away meanwhile.
            (Err(error), Some(held))
                if error.is_away() && held.is_valid(SystemTime::now()) && held.is_of(&cache.snapshot()) =>
            {
                held.put_off(Instant::now());
                Ok(held)
            }
            (asked, _) => asked,
        }
    }

    /// Drops what may no longer be served: tokens of entries that are gone or have changed, and of keys that are tainted or gone.
    pub(super) fn retain(&self, snapshot: &Snapshot) {
        self.0.tokens().retain(snapshot, SystemTime::now());
    }

    /// Waits for the call that is under way for the same, or makes it.
    async fn asked(
        &self,
        key: &Key,
        wanted: WantedToken,
        cache: &Cache,
        limit: Duration,
    ) -> Result<Arc<Token>, NoToken> {
        // A call ends early when nobody waits for it: who comes just then makes another one.
        for _ in 0..2 {
            let mut outcome = self.join(key, &wanted, cache, limit);
            if let Ok(ended) = outcome.wait_for(Option::is_some).await
                && let Some(ended) = ended.clone()
            {
                return ended;
            }
        }
        let detail = "a call was given up".into();
        Err(AgentError::System { detail }.into())
    }

    fn join(&self, key: &Key, wanted: &WantedToken, cache: &Cache, limit: Duration) -> watch::Receiver<Outcome> {
        let mut under_way = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = under_way.get(key).and_then(Weak::upgrade) {
            return call.subscribe();
        }
        let (call, outcome) = watch::channel(None);
        let call = Arc::new(call);
        under_way.insert(key.clone(), Arc::downgrade(&call));
        drop(under_way);
        let (shared, key) = (Arc::clone(&self.0), key.clone());
        let (wanted, cache) = (wanted.clone(), cache.clone());
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = shared.ask(&key, &wanted, &cache, limit) => Some(ended),
                () = call.closed() => None,
            };
            shared.ended(&key, &call);
            call.send_replace(ended);
        });
        outcome
    }
}

impl Shared {
    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the next who wants the same makes another call.
    fn ended(&self, key: &Key, call: &Arc<watch::Sender<Outcome>>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way
            .get(key)
            .is_some_and(|it| std::ptr::eq(it.as_ptr(), Arc::as_ptr(call)))
        {
            under_way.remove(key);
        }
    }

    async fn ask(
        &self,
        key: &Key,
        wanted: &WantedToken,
        cache: &Cache,
        limit: Duration,
    ) -> Result<Arc<Token>, NoToken> {
        let late = || AgentError::Call {
            call: "NewJWTSVID",
            detail: format!("no answer within {} s", limit.as_secs()),
        };
        let asked = timeout(limit, self.ask_server(wanted, cache)).await;
        let token = asked.unwrap_or_else(|_| Err(late().into()));
        let token = token.inspect_err(|error| self.tell(error))?;
        // The snapshot is looked at while nothing is dropped: what is withdrawn at the same moment does not stay.
        let mut tokens = self.tokens();
        if !token.is_of(&cache.snapshot()) {
            return Err(NoToken::Changed);
        }
        tokens.keep(key.clone(), Arc::clone(&token), SystemTime::now());
        Ok(token)
    }

    async fn ask_server(&self, wanted: &WantedToken, cache: &Cache) -> Result<Arc<Token>, NoToken> {
        let _turn = self.turns.take(wanted.user).await;
        let connection = self.connections.borrow().clone().ok_or(NoToken::NotAttested)?;
        let answer = connection
            .client
            .new_jwt_svid(&wanted.entry.entry_id, &wanted.audience)
            .await;
        let text = answer.inspect_err(|error| {
            self.reports.unusable(&connection.serial, error);
        })?;
        let text = text.ok_or(NoToken::Gone)?;
        let accepted = accept(text.clone(), wanted, &cache.snapshot().jwt_bundle);
        if !accepted.as_ref().is_err_and(accept::is_of_unknown_key) {
            return Ok(accepted.map(Arc::new)?);
        }
        // A key that was prepared and activated within one interval of the agent's: the server tells it when it is asked.
        let until = Deadline::now() + RENEWAL;
        let _ = timeout_at(until, self.refresh.refreshed()).await;
        Ok(accept(text, wanted, &cache.snapshot().jwt_bundle).map(Arc::new)?)
    }

    /// Callers cause it as often as they like.
    fn tell(&self, error: &NoToken) {
        if let NoToken::Failed(error) = error
            && self.throttle.due(Instant::now()).is_some()
        {
            log::error(error);
        }
    }
}
