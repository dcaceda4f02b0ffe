//! The X.509 authorities: each made in the token and put into the bundle, then signing, then old, and gone in the end, step by step.
//!
//! What is due says the state ([`State::due_x509_authority_step`](hallmark_state::State::due_x509_authority_step)). Each step is on
//! record, and one that a server did not come to the end of is finished, or taken back, by the next one.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use hallmark_authority::X509Authority;
use hallmark_host::log;
use hallmark_hsm::{KeyInfo, KeyKind, KeyStore};
use hallmark_reason::{Coded as _, ReasonCode};
use hallmark_state::{
    Authority, AuthorityKind, AuthorityState, AuthorityStepError,
    decide::{
        Reason, X509AuthorityStep, activate_x509_authority, end_x509_authority, follow_upstream,
        prepare_upstream_authority, prepare_x509_authority, revoke_upstream_root, revoke_x509_authority,
        taint_upstream_root, taint_x509_authority,
    },
};
use tokio::sync::Mutex;

use super::{
    Above, ActiveAuthority, AuthorityError,
    above::{self, Known, svid_chain},
    bootstrap::check_clock,
    token_keys::TokenKeys,
};
use crate::{
    clock::Clock,
    journal::{Act, Journal},
};

/// How often is looked for what is due; a short life is looked at more often.
const TICK: Duration = Duration::from_secs(10);
/// Looks in a life at least: the last sixth of it has room for several.
const LOOKS: u32 = 60;
/// More steps than are ever due at a time.
const MOST_STEPS: usize = 64;

/// How next authorities are made.
#[derive(Debug, Clone, Copy)]
pub struct X509KeySettings {
    /// The kind of the key.
    pub kind: KeyKind,
    /// How long the certificate is good for.
    pub lifetime: Duration,
}

/// Keeps the X.509 authorities. One step is carried out at a time.
#[derive(Debug)]
pub struct X509Keeper {
    journal: Arc<Journal>,
    keys: Arc<dyn KeyStore>,
    token: TokenKeys,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    settings: X509KeySettings,
    above: Arc<Above>,
    turn: Mutex<()>,
    failure: ArcSwapOption<(ReasonCode, String)>,
}

impl X509Keeper {
    /// A keeper of keys in `keys`, whose authority in force is `authority`.
    #[must_use]
    pub fn new(
        journal: Arc<Journal>,
        keys: Arc<dyn KeyStore>,
        authority: Arc<ArcSwap<ActiveAuthority>>,
        settings: X509KeySettings,
    ) -> Self {
        Self {
            token: TokenKeys::new(AuthorityKind::X509, journal.clone(), keys.clone(), authority.clone()),
            journal,
            keys,
            authority,
            settings,
            above: Arc::default(),
            turn: Mutex::default(),
            failure: ArcSwapOption::empty(),
        }
    }

    /// The same below this authority.
    #[must_use]
    pub fn with_above(self, above: Arc<Above>) -> Self {
        Self { above, ..self }
    }

    /// Why the authorities are not kept as they should be, as was found last: code and words.
    pub(crate) fn failure(&self) -> Option<(ReasonCode, String)> {
        self.failure.load().as_deref().cloned()
    }

    /// The step that is due and fails.
    pub(crate) fn overdue(&self) -> Option<X509AuthorityStep> {
        self.failure.load().as_ref()?;
        self.journal.state().due_x509_authority_step(self.clock().unix())
    }

    /// What time it is for the authorities.
    pub(crate) fn clock(&self) -> &Clock {
        self.journal.clock()
    }

    /// Carries out all that is due.
    ///
    /// # Errors
    /// When token or store fail; what was done until then stands.
    pub async fn keep(&self) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        let kept = self.keep_all().await;
        let failure = kept
            .as_ref()
            .err()
            .map(|error| Arc::new((error.code(), error.to_string())));
        self.failure.store(failure);
        kept
    }

    async fn keep_all(&self) -> Result<(), AuthorityError> {
        self.serve().await?;
        self.drop_misplaced().await?;
        self.drop_lost().await?;
        // What is due is done whatever the authority above says.
        let followed = self.follow().await;
        for _ in 0..MOST_STEPS {
            let now = self.journal.clock().unix();
            let due = self.journal.state().due_x509_authority_step(now);
            match due {
                Some(X509AuthorityStep::Prepare) => self.prepare_due(now).await?,
                Some(X509AuthorityStep::Activate { key_id }) => self.activate_or_drop(&key_id).await?,
                Some(X509AuthorityStep::Remove { certificate }) => self.end(&certificate, now).await?,
                None => break,
            }
        }
        self.token.sweep_once().await?;
        followed?;
        self.require_as_configured()
    }

    /// Makes the next authority, unless the one above is not to be asked yet.
    async fn prepare_due(&self, now: i64) -> Result<(), AuthorityError> {
        self.above.require_turn()?;
        if !self.above.is_there() {
            // Whoever knows the bundle would not believe a root that is made behind the end.
            check_clock(&self.authority.load().x509, now)?;
        }
        let made = self.make("server", None).await;
        self.above.note(&made);
        made.map(drop)
    }

    /// Takes over what the authority above says; and where there is none any more, that it says nothing.
    async fn follow(&self) -> Result<(), AuthorityError> {
        let clock = self.journal.clock();
        let now = clock.unix();
        let known = Known::of(&self.journal.state(), now);
        let Some(says) = self.above.says(known, self.journal.trust_domain(), clock).await? else {
            return Ok(());
        };
        self.token
            .decide("server", |view| Ok((follow_upstream(view, &says, now), ())))
            .await?;
        self.serve().await
    }

    /// Takes back a prepared authority that is self-signed where it should not be, or the reverse: it has signed nothing.
    async fn drop_misplaced(&self) -> Result<(), AuthorityError> {
        let prepared = self.journal.state().prepared_authority().cloned();
        let misplaced = prepared.filter(|it| it.upstream.is_empty() == self.above.is_there());
        let Some(key_id) = misplaced.and_then(|it| it.key_id()) else {
            return Ok(());
        };
        let why = AuthorityError::NotAsConfigured { found: "prepared" }.code().to_string();
        tracing::warn!(
            key_id,
            code = why,
            "a prepared authority is not as configured, and is taken back"
        );
        let (_, gone) = self
            .token
            .decide("server", |view| revoke_x509_authority(view, &key_id, &why))
            .await?;
        self.serve().await?;
        for row in &gone {
            self.destroy_of(row).await?;
        }
        Ok(())
    }

    fn require_as_configured(&self) -> Result<(), AuthorityError> {
        let active = self.journal.state().active_authority().cloned();
        match active {
            Some(active) if active.upstream.is_empty() == self.above.is_there() => {
                Err(AuthorityError::NotAsConfigured {
                    found: if active.upstream.is_empty() {
                        "self-signed"
                    } else {
                        "signed by an authority above"
                    },
                })
            }
            _ => Ok(()),
        }
    }

    /// Prepares the next authority, as an operator asks.
    ///
    /// # Errors
    /// When one is prepared already, or token or store fail.
    pub async fn prepare_now(&self, act: &Act) -> Result<Arc<Authority>, AuthorityError> {
        let _turn = self.turn.lock().await;
        self.make(&act.by, Some(&act.reason)).await
    }

    /// Has the prepared authority sign from now on, as an operator asks; where `key_id` is not empty, it has to be that one.
    ///
    /// # Errors
    /// When it is not prepared, or token or store fail.
    pub async fn activate_now(&self, key_id: &str, act: &Act) -> Result<Arc<Authority>, AuthorityError> {
        let _turn = self.turn.lock().await;
        let prepared = self.journal.state().prepared_authority().cloned();
        let prepared = prepared.ok_or(AuthorityStepError::NonePrepared {
            kind: AuthorityKind::X509,
        })?;
        let known = prepared.key_id().ok_or(AuthorityStepError::Unreadable)?;
        let key_id = if key_id.is_empty() { &known } else { key_id };
        self.activate(key_id, &act.by, Some(&act.reason)).await?;
        Ok(prepared)
    }

    /// Marks an old authority as tainted, as an operator asks.
    ///
    /// # Errors
    /// When there is no such authority, it is not old, or the store fails.
    pub async fn taint(&self, key_id: &str, act: &Act) -> Result<Arc<Authority>, AuthorityError> {
        let _turn = self.turn.lock().await;
        let named = self.journal.state().authorities().to_vec();
        let mut named = named.iter().filter(|it| it.key_id().is_some_and(|it| it == key_id));
        if named.any(|it| !it.upstream.is_empty()) {
            return Err(AuthorityError::SignedAbove { act: "tainted" });
        }
        let tainted = self
            .token
            .decide(&act.by, |view| taint_x509_authority(view, key_id, &act.reason))
            .await?;
        self.serve().await?;
        Ok(tainted)
    }

    /// Takes an authority out of the bundle and destroys its key, as an operator asks.
    ///
    /// # Errors
    /// When there is no such authority, it signs, or token or store fail.
    pub async fn revoke(&self, key_id: &str, act: &Act) -> Result<Arc<Authority>, AuthorityError> {
        let _turn = self.turn.lock().await;
        let (revoked, gone) = self
            .token
            .decide(&act.by, |view| revoke_x509_authority(view, key_id, &act.reason))
            .await?;
        self.serve().await?;
        for row in &gone {
            self.destroy_of(row).await?;
        }
        Ok(revoked)
    }

    /// Marks a root of the authority above as tainted, as an operator asks.
    ///
    /// # Errors
    /// When there is no such root, the authority that signs hangs on it, or the store fails.
    pub async fn taint_upstream(&self, key_id: &str, act: &Act) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        self.require_upstream()?;
        self.token
            .decide(&act.by, |view| {
                Ok((taint_upstream_root(view, key_id, &act.reason)?, ()))
            })
            .await?;
        self.serve().await
    }

    /// Takes a root of the authority above out of the bundle, and the authorities that hang on it, as an operator asks.
    ///
    /// # Errors
    /// When there is no such root, the authority that signs hangs on it, or token or store fail.
    pub async fn revoke_upstream(&self, key_id: &str, act: &Act) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        self.require_upstream()?;
        let gone = self
            .token
            .decide(&act.by, |view| revoke_upstream_root(view, key_id, &act.reason))
            .await?;
        self.serve().await?;
        for row in &gone {
            self.destroy_of(row).await?;
        }
        Ok(())
    }

    fn require_upstream(&self) -> Result<(), AuthorityError> {
        let has_roots = !self.journal.state().upstream().roots.is_empty();
        if has_roots || self.above.is_there() {
            return Ok(());
        }
        Err(AuthorityError::NoUpstream)
    }

    /// Makes a key in the token and its certificate, and puts what relying parties trust into the bundle.
    async fn make(&self, by: &str, reason: Reason<'_>) -> Result<Arc<Authority>, AuthorityError> {
        let prepared = self.journal.state().prepared_authority().cloned();
        if let Some(prepared) = prepared {
            let now = self.journal.clock().unix();
            if prepared.facts().is_some_and(|facts| now < facts.not_after) {
                return Err(AuthorityStepError::Prepared {
                    kind: AuthorityKind::X509,
                    key_id: prepared.key_id().unwrap_or_default(),
                }
                .into());
            }
        }
        let key = self.token.make(self.settings.kind, by, reason).await?;
        let made = self.publish(&key, by, reason).await;
        if made.is_err() {
            // Nobody knows it, unless a row has come to name it.
            self.token.destroy_gone(&key.label, &key.spki_der).await?;
        }
        made
    }

    async fn publish(&self, key: &KeyInfo, by: &str, reason: Reason<'_>) -> Result<Arc<Authority>, AuthorityError> {
        // The intent is on record before the signature.
        self.token.intend(&key.label, "certify", by, reason).await?;
        let (trust_domain, clock) = (self.journal.trust_domain(), self.journal.clock());
        let lifetime = self.settings.lifetime;
        let certified = above::certify(self.above.port(), &*self.keys, key, trust_domain, lifetime, clock).await?;
        let row = Authority {
            label: key.label.clone(),
            certificate: certified.certificate,
            upstream: certified.upstream,
            created_at: clock.unix(),
            state: AuthorityState::Prepared,
        };
        let now = row.created_at;
        self.token
            .decide(by, |view| {
                let decision = match certified.roots.as_slice() {
                    [] => prepare_x509_authority(view, row.clone(), now, reason)?,
                    roots => prepare_upstream_authority(view, row.clone(), roots, now, reason)?,
                };
                Ok((decision, ()))
            })
            .await?;
        self.serve().await?;
        Ok(Arc::new(row))
    }

    /// Has the prepared authority sign; one whose key the token has lost goes, and another one is made when that is due.
    async fn activate_or_drop(&self, key_id: &str) -> Result<(), AuthorityError> {
        match self.activate(key_id, "server", None).await {
            Err(error) if error.is_lost_key() => self.drop_prepared(key_id, &error).await,
            done => done,
        }
    }

    /// Takes a prepared authority back whose key the token has lost, in time for another one: it has signed nothing.
    async fn drop_lost(&self) -> Result<(), AuthorityError> {
        let Some(prepared) = self.journal.state().prepared_authority().cloned() else {
            return Ok(());
        };
        let facts = prepared.facts().ok_or(AuthorityStepError::Unreadable)?;
        match self.token.find(&prepared.label, &facts.spki).await {
            Err(error) if error.is_lost_key() => self.drop_prepared(&hex::encode(facts.key_id), &error).await,
            found => found.map(drop),
        }
    }

    async fn drop_prepared(&self, key_id: &str, lost: &AuthorityError) -> Result<(), AuthorityError> {
        // A token that is away has lost nothing.
        self.token.there().await?;
        log::error(lost);
        let why = lost.code().to_string();
        self.token
            .decide("server", |view| revoke_x509_authority(view, key_id, &why))
            .await?;
        self.serve().await
    }

    /// One whose key the token does not have would sign nothing; and from the record on, there is nothing to wait for.
    async fn activate(&self, key_id: &str, by: &str, reason: Reason<'_>) -> Result<(), AuthorityError> {
        let row = self
            .journal
            .state()
            .prepared_authority()
            .filter(|it| it.key_id().is_some_and(|it| it == key_id))
            .cloned();
        let next = match &row {
            Some(row) => Some(self.loaded(row).await?),
            // The decision refuses it.
            None => None,
        };
        let now = self.journal.clock().unix();
        if let Some((_, x509, _)) = &next {
            check_clock(x509, now)?;
        }
        self.token
            .decide(by, |view| Ok((activate_x509_authority(view, key_id, now, reason)?, ())))
            .await?;
        if let Some(next) = next {
            ActiveAuthority::serve_signer(&self.authority, next);
        }
        tracing::info!(key_id, "this authority signs X509-SVIDs from now on");
        Ok(())
    }

    /// Out of the bundle first, then out of the token: a key that is in neither is where it should be.
    async fn end(&self, certificate: &[u8], now: i64) -> Result<(), AuthorityError> {
        let gone = self
            .token
            .decide("server", |view| Ok(end_x509_authority(view, certificate, now)))
            .await?;
        self.serve().await?;
        match gone {
            Some(row) => self.destroy_of(&row).await,
            None => Ok(()),
        }
    }

    /// Destroys the key of a row that is gone. A certificate that was renewed on its key leaves it to the others.
    async fn destroy_of(&self, row: &Authority) -> Result<(), AuthorityError> {
        let spki = row.facts().ok_or(AuthorityStepError::Unreadable)?.spki;
        self.token.destroy_gone(&row.label, &spki).await
    }

    /// Serves what the state has: the bundle, and the authority that signs.
    async fn serve(&self) -> Result<(), AuthorityError> {
        ActiveAuthority::serve_bundle_of(&self.authority, &self.journal.state())?;
        let active = self.journal.state().active_authority().cloned();
        let served = self.authority.load_full();
        let Some(active) = active.filter(|it| it.certificate != served.x509.certificate()) else {
            return Ok(());
        };
        ActiveAuthority::serve_signer(&self.authority, self.loaded(&active).await?);
        Ok(())
    }

    /// The key and the certificate of a row, ready to sign, and the certificates that go with what it signs.
    async fn loaded(&self, row: &Authority) -> Result<(KeyInfo, X509Authority, Vec<Bytes>), AuthorityError> {
        let x509 = X509Authority::from_certificate(&row.certificate, self.journal.trust_domain())?;
        let key = self.token.find(&row.label, x509.spki()).await?;
        Ok((key, x509, svid_chain(row)))
    }
}

/// Carries out what is due, for ever. A failure is told, and tried again.
pub(crate) async fn keep_x509_authorities(keeper: Arc<X509Keeper>) -> Infallible {
    let mut pace = keeper.journal.clock().pace(TICK.min(keeper.settings.lifetime / LOOKS));
    let mut failing = false;
    loop {
        // The start has looked.
        pace.next().await;
        match keeper.keep().await {
            Err(error) if !failing => {
                log::error(&error);
                failing = true;
            }
            Ok(()) if failing => {
                tracing::info!("the X.509 authorities are kept again");
                failing = false;
            }
            _ => {}
        }
    }
}
