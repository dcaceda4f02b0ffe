//! The keys that sign JWT-SVIDs: made in the token, put into the bundle, used, and destroyed again, step by step.
//!
//! What is due says the state ([`State::due_jwt_key_step`](hallmark_state::State::due_jwt_key_step)); how keys are made and destroyed so
//! that a server that ends in the middle of a step leaves nothing that the next one does not find, say the keys of the token.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallmark_authority::JwtSigner;
use hallmark_host::log;
use hallmark_hsm::{KeyInfo, KeyStore};
use hallmark_reason::{Coded as _, ReasonCode};
use hallmark_spiffe::jwt::JwtAuthority;
use hallmark_state::{
    AuthorityKind, AuthorityState, AuthorityStepError, JwtKey,
    decide::{JwtKeyStep, Reason, activate_jwt_key, prepare_jwt_key, remove_jwt_key, taint_jwt_key},
};
use tokio::sync::Mutex;

use super::{Above, ActiveAuthority, AuthorityError, token_keys::TokenKeys};
use crate::{
    config::JwtKeySettings,
    journal::{Act, Journal},
};

/// How often is looked for what is due.
const TICK: Duration = Duration::from_secs(10);
/// More keys than any life has at a time: one signs, one waits, and old ones end.
const MAX_KEYS: usize = 32;

/// The key that signs JWT-SVIDs now.
#[derive(Debug, Clone)]
pub struct ActiveJwtKey {
    /// The key in the token.
    pub key: KeyInfo,
    /// What tokens say of it, and how they are put together.
    pub signer: JwtSigner,
}

/// Keeps the keys that sign JWT-SVIDs. One step is carried out at a time.
#[derive(Debug)]
pub struct JwtKeeper {
    journal: Arc<Journal>,
    token: TokenKeys,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    active: Arc<ArcSwapOption<ActiveJwtKey>>,
    /// `None` where no JWT-SVIDs are issued.
    settings: Option<JwtKeySettings>,
    above: Arc<Above>,
    turn: Mutex<()>,
    failure: ArcSwapOption<(ReasonCode, String)>,
}

impl JwtKeeper {
    /// A keeper of keys in `keys`, which puts them into the bundle of `authority`.
    #[must_use]
    pub fn new(
        journal: Arc<Journal>,
        keys: Arc<dyn KeyStore>,
        authority: Arc<ArcSwap<ActiveAuthority>>,
        settings: Option<JwtKeySettings>,
    ) -> Self {
        let token = TokenKeys::new(AuthorityKind::Jwt, journal.clone(), keys, authority.clone());
        Self {
            journal,
            token,
            authority,
            active: Arc::default(),
            settings,
            above: Arc::default(),
            turn: Mutex::default(),
            failure: ArcSwapOption::empty(),
        }
    }

    /// The same below this authority: a key is published to it before it signs.
    #[must_use]
    pub fn with_above(self, above: Arc<Above>) -> Self {
        Self { above, ..self }
    }

    /// The key that signs now; none before the first was made, and where the token does not have it.
    #[must_use]
    pub fn active(&self) -> Arc<ArcSwapOption<ActiveJwtKey>> {
        Arc::clone(&self.active)
    }

    /// Why the keys are not kept as they should be, as was found last: code and words.
    pub(crate) fn failure(&self) -> Option<(ReasonCode, String)> {
        self.failure.load().as_deref().cloned()
    }

    /// Carries out all that is due.
    ///
    /// # Errors
    /// When token or store fail; what was done until then stands.
    pub async fn keep(&self) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        let kept = match self.settings {
            Some(settings) => self.keep_by(settings).await,
            None => self.remove_ended().await,
        };
        let failure = kept
            .as_ref()
            .err()
            .map(|error| Arc::new((error.code(), error.to_string())));
        self.failure.store(failure);
        kept
    }

    /// The key that signs comes first: it is served whether or not the token makes another one.
    async fn keep_by(&self, settings: JwtKeySettings) -> Result<(), AuthorityError> {
        self.serve_bundle()?;
        match self.find_active().await {
            // What it signed stays good for whoever verifies it. What is to be signed waits for no key that is gone.
            Err(error) if error.is_lost_key() => {
                // A token that is away has lost nothing.
                self.token.there().await?;
                log::error(&error);
                self.replace(settings).await?;
            }
            found => found?,
        }
        self.drop_lost().await?;
        for _ in 0..MAX_KEYS {
            let due = self.journal.state().due_jwt_key_step(self.journal.clock().unix());
            match due {
                Some(JwtKeyStep::Prepare) => drop(self.make(settings, "server", None).await?),
                Some(JwtKeyStep::Activate { key_id }) => self.activate_or_drop(&key_id).await?,
                Some(JwtKeyStep::Remove { key_id }) => drop(self.remove(&key_id, "server", None).await?),
                None => break,
            }
        }
        self.token.sweep_once().await
    }

    /// Has the prepared key sign; one that the token has lost goes, and another one is made when that is due.
    async fn activate_or_drop(&self, key_id: &str) -> Result<(), AuthorityError> {
        match self.activate(key_id, "server", None).await {
            Err(error) if error.is_lost_key() => self.drop_prepared(key_id, &error).await,
            done => done,
        }
    }

    /// Takes a prepared key back that the token has lost, in time for another one: it has signed nothing.
    async fn drop_lost(&self) -> Result<(), AuthorityError> {
        let Some(prepared) = self.journal.state().prepared_jwt_key().cloned() else {
            return Ok(());
        };
        match self.token.find(&prepared.label, &prepared.public_key).await {
            Err(error) if error.is_lost_key() => self.drop_prepared(&prepared.key_id, &error).await,
            found => found.map(drop),
        }
    }

    async fn drop_prepared(&self, key_id: &str, lost: &AuthorityError) -> Result<(), AuthorityError> {
        // A token that is away has lost nothing.
        self.token.there().await?;
        log::error(lost);
        self.remove(key_id, "server", None).await.map(drop)
    }

    /// Another key in the place of one that the token does not have.
    async fn replace(&self, settings: JwtKeySettings) -> Result<(), AuthorityError> {
        let prepared = self.journal.state().prepared_jwt_key().cloned();
        if let Some(prepared) = prepared {
            self.activate_or_drop(&prepared.key_id).await?;
            if self.active.load().is_some() {
                return Ok(());
            }
        }
        let made = self.make(settings, "server", None).await?;
        self.activate(&made.key_id, "server", None).await
    }

    /// Where no JWT-SVIDs are issued any more: the keys that there were go when nothing that they signed is valid.
    async fn remove_ended(&self) -> Result<(), AuthorityError> {
        for _ in 0..MAX_KEYS {
            let now = self.journal.clock().unix();
            let ended = self.journal.state().ended_jwt_key(now).cloned();
            let Some(ended) = ended else { break };
            self.remove(&ended.key_id, "server", None).await?;
        }
        self.token.sweep_once().await
    }

    /// Prepares the next key, as an operator asks.
    ///
    /// # Errors
    /// When one is prepared already, no JWT-SVIDs are issued, or token or store fail.
    pub async fn prepare_now(&self, act: &Act) -> Result<Arc<JwtKey>, AuthorityError> {
        let settings = self.settings.ok_or(AuthorityError::NoJwtSvids)?;
        let _turn = self.turn.lock().await;
        self.make(settings, &act.by, Some(&act.reason)).await
    }

    /// Has the prepared key sign from now on, as an operator asks; where `key_id` is not empty, it has to be that one.
    ///
    /// # Errors
    /// When it is not prepared, or token or store fail.
    pub async fn activate_now(&self, key_id: &str, act: &Act) -> Result<Arc<JwtKey>, AuthorityError> {
        let _turn = self.turn.lock().await;
        let prepared = self.journal.state().prepared_jwt_key().cloned();
        let prepared = prepared.ok_or(AuthorityStepError::NonePrepared {
            kind: AuthorityKind::Jwt,
        })?;
        let key_id = if key_id.is_empty() { &prepared.key_id } else { key_id };
        self.activate(key_id, &act.by, Some(&act.reason)).await?;
        Ok(prepared)
    }

    /// Marks an old key as tainted, as an operator asks.
    ///
    /// # Errors
    /// When there is no such key, it is not old, or the store fails.
    pub async fn taint(&self, key_id: &str, act: &Act) -> Result<Arc<JwtKey>, AuthorityError> {
        let _turn = self.turn.lock().await;
        let tainted = self
            .token
            .decide(&act.by, |view| taint_jwt_key(view, key_id, &act.reason))
            .await?;
        self.serve_bundle()?;
        Ok(tainted)
    }

    /// Takes a key out of the bundle and destroys it, as an operator asks.
    ///
    /// # Errors
    /// When there is no such key, it signs, or token or store fail.
    pub async fn revoke(&self, key_id: &str, act: &Act) -> Result<Arc<JwtKey>, AuthorityError> {
        let _turn = self.turn.lock().await;
        self.remove(key_id, &act.by, Some(&act.reason)).await
    }

    /// Makes a key in the token, and puts it into the bundle.
    async fn make(
        &self,
        settings: JwtKeySettings,
        by: &str,
        reason: Reason<'_>,
    ) -> Result<Arc<JwtKey>, AuthorityError> {
        if let Some(prepared) = self.journal.state().prepared_jwt_key() {
            let now = self.journal.clock().unix();
            if prepared.expires_at > now {
                let key_id = prepared.key_id.clone();
                let kind = AuthorityKind::Jwt;
                return Err(AuthorityStepError::Prepared { kind, key_id }.into());
            }
        }
        let key = self.token.make(settings.kind, by, reason).await?;
        let made = self.publish(&key, settings, by, reason).await;
        if made.is_err() {
            // Nobody knows it, unless a row has come to name it.
            self.token.destroy_gone(&key.label, &key.spki_der).await?;
        }
        made
    }

    async fn publish(
        &self,
        key: &KeyInfo,
        settings: JwtKeySettings,
        by: &str,
        reason: Reason<'_>,
    ) -> Result<Arc<JwtKey>, AuthorityError> {
        let now = self.journal.clock().unix();
        let lifetime = i64::try_from(settings.lifetime.as_secs()).unwrap_or(i64::MAX);
        let digest = digest::digest(&digest::SHA256, &key.spki_der);
        let row = JwtKey {
            key_id: URL_SAFE_NO_PAD.encode(digest.as_ref()),
            label: key.label.clone(),
            public_key: key.spki_der.clone(),
            created_at: now,
            expires_at: now.saturating_add(lifetime),
            state: AuthorityState::Prepared,
        };
        // What no token could be signed with is not published.
        JwtSigner::new(self.journal.trust_domain(), authority_of(&row)?)?;
        self.token
            .decide(by, |view| Ok((prepare_jwt_key(view, row.clone(), now, reason)?, ())))
            .await?;
        self.serve_bundle()?;
        Ok(Arc::new(row))
    }

    /// One that the token does not have would sign nothing; and from the record on, there is nothing to wait for.
    async fn activate(&self, key_id: &str, by: &str, reason: Reason<'_>) -> Result<(), AuthorityError> {
        let row = self
            .journal
            .state()
            .jwt_keys()
            .iter()
            .find(|key| key.key_id == key_id)
            .cloned();
        let next = match &row {
            Some(row) => {
                let loaded = self.loaded(row).await?;
                self.above
                    .publish(hallmark_upstream::JwtKey {
                        key_id: row.key_id.clone(),
                        public_key: row.public_key.clone(),
                        expires_at: row.expires_at,
                        tainted: false,
                    })
                    .await?;
                Some(loaded)
            }
            // The decision refuses it.
            None => None,
        };
        let now = self.journal.clock().unix();
        self.token
            .decide(by, |view| Ok((activate_jwt_key(view, key_id, now, reason)?, ())))
            .await?;
        self.active.store(next.map(Arc::new));
        tracing::info!(key_id, "this key signs JWT-SVIDs from now on");
        Ok(())
    }

    /// Out of the bundle first, then out of the token: a key that is in neither is where it should be.
    async fn remove(&self, key_id: &str, by: &str, reason: Reason<'_>) -> Result<Arc<JwtKey>, AuthorityError> {
        let now = self.journal.clock().unix();
        let gone = self
            .token
            .decide(by, |view| remove_jwt_key(view, key_id, now, reason))
            .await?;
        self.serve_bundle()?;
        self.token.destroy_gone(&gone.label, &gone.public_key).await?;
        Ok(gone)
    }

    /// Has the key sign that the state says, where the token has it.
    async fn find_active(&self) -> Result<(), AuthorityError> {
        let row = self.journal.state().active_jwt_key().cloned();
        let Some(row) = row else {
            self.active.store(None);
            return Ok(());
        };
        // One that is not there signs nothing, and neither does the one before.
        let found = self.loaded(&row).await;
        self.active.store(found.as_ref().ok().cloned().map(Arc::new));
        found.map(drop)
    }

    /// The key of a row, ready to sign.
    async fn loaded(&self, row: &JwtKey) -> Result<ActiveJwtKey, AuthorityError> {
        let key = self.token.find(&row.label, &row.public_key).await?;
        let signer = JwtSigner::new(self.journal.trust_domain(), authority_of(row)?)?;
        Ok(ActiveJwtKey { key, signer })
    }

    /// Serves the bundle that the state has.
    fn serve_bundle(&self) -> Result<(), AuthorityError> {
        ActiveAuthority::serve_bundle_of(&self.authority, &self.journal.state())
    }
}

/// The key as the bundle has it.
///
/// # Errors
/// When the row does not have a key that tokens are verified with.
pub(super) fn authority_of(key: &JwtKey) -> Result<JwtAuthority, AuthorityError> {
    let authority = JwtAuthority::new(key.key_id.clone(), key.public_key.clone());
    let mut authority = authority.map_err(AuthorityError::JwtKeyRow)?;
    authority.expires_at = key.expires_at;
    authority.tainted = key.state == AuthorityState::Tainted;
    Ok(authority)
}

/// Carries out what is due, for ever. A failure is told, and tried again; X.509-SVIDs do not wait for it.
pub(crate) async fn keep_jwt_keys(keeper: Arc<JwtKeeper>) -> Infallible {
    let mut pace = keeper.journal.clock().pace(TICK);
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
                tracing::info!("the keys for JWT-SVIDs are kept again");
                failing = false;
            }
            _ => {}
        }
    }
}
