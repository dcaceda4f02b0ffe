//! The keys that servers below this one sign JWT-SVIDs with: taken into the bundle, and out of it again.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hallmark_host::log;
use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::jwt::{JwtAuthority, JwtError};
use hallmark_state::{
    PublishedJwtKey, PublishedKeyError, Role,
    decide::{
        MAX_ALL_PUBLISHED_KEYS, NewPublishedKey, RoleHolder, end_published_jwt_key, publish_jwt_key, role_stands,
    },
};
use hallmark_store::StoreError;

use super::{Above, ActiveAuthority, AuthorityError};
use crate::{
    caller::RoleError,
    journal::{Failed, Journal},
};

/// How often is looked for what has ended.
const TICK: Duration = Duration::from_secs(10);

/// Keeps these keys.
#[derive(Debug, Clone)]
pub struct PublishedKeys {
    journal: Arc<Journal>,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    /// How long a key may last.
    longest: Duration,
    above: Option<Arc<Above>>,
}

/// Why a key is not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It is no key that tokens are verified with.
    #[error(transparent)]
    Key(#[from] JwtError),
    /// The bundle does not take it.
    #[error(transparent)]
    Refused(#[from] PublishedKeyError),
    /// Whoever publishes it is no downstream server (any more).
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bundle with it cannot be served.
    #[error(transparent)]
    Bundle(#[from] AuthorityError),
}

impl Coded for PublishError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Key(cause) => cause.code(),
            Self::Refused(cause) => cause.code(),
            Self::Role(cause) => cause.code(),
            Self::Store(cause) => cause.code(),
            Self::Bundle(cause) => cause.code(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        Some(match self {
            Self::Key(cause) => cause,
            Self::Refused(cause) => cause,
            Self::Role(cause) => cause,
            Self::Store(cause) => cause,
            Self::Bundle(cause) => cause,
        })
    }
}

impl PublishedKeys {
    /// Those of `journal`, in the bundle of `authority`; each lasts `longest` at most.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, authority: Arc<ArcSwap<ActiveAuthority>>, longest: Duration) -> Self {
        Self {
            journal,
            authority,
            longest,
            above: None,
        }
    }

    /// The same below this authority, which is told of each key.
    #[must_use]
    pub fn with_above(self, above: Arc<Above>) -> Self {
        Self {
            above: Some(above),
            ..self
        }
    }

    /// Takes a key of the server `holder` into the bundle.
    ///
    /// # Errors
    /// [`PublishError`]; then the bundle is what it was, unless the new one cannot be served.
    pub async fn publish(&self, holder: &RoleHolder, key: NewPublishedKey) -> Result<(), PublishError> {
        JwtAuthority::new(key.key_id.clone(), key.public_key.clone())?;
        let configured = std::collections::BTreeSet::new();
        let actor = holder.to_string();
        let done = self.journal.decide(&actor, |view| {
            let now = self.journal.clock().unix();
            let stands = role_stands(&view, holder, Role::Downstream, &configured, now);
            stands.map_err(|gap| RoleError::of(gap, holder, Role::Downstream))?;
            let decision = publish_jwt_key(view, holder, key.clone(), self.longest, now)?;
            Ok::<_, PublishError>((decision, ()))
        });
        match done.await {
            Ok(_) => {}
            Err(Failed::Refused(error)) => return Err(error),
            Err(Failed::Store(error)) => return Err(error.into()),
        }
        self.serve_bundle()?;
        if let Some(above) = &self.above {
            above
                .publish(hallmark_upstream::JwtKey {
                    key_id: key.key_id,
                    public_key: key.public_key,
                    expires_at: key.expires_at,
                    tainted: false,
                })
                .await?;
        }
        Ok(())
    }

    /// Takes the keys out of the bundle that have ended, or whose publishers are no downstream servers any more.
    ///
    /// # Errors
    /// When the store fails; what was done until then stands.
    pub async fn remove_due(&self) -> Result<(), AuthorityError> {
        for _ in 0..MAX_ALL_PUBLISHED_KEYS {
            let now = self.journal.clock().unix();
            let due = self.journal.state().due_published_jwt_key(now).cloned();
            let Some(due) = due else { break };
            let done = self.journal.decide("server", |view| {
                Ok::<_, Infallible>((end_published_jwt_key(view, &due.key_id, now), ()))
            });
            match done.await {
                Ok(_) => {}
                Err(Failed::Refused(never)) => match never {},
                Err(Failed::Store(error)) => return Err(error.into()),
            }
            tracing::info!(key_id = due.key_id, publisher = %due.publisher, "a published JWT key left the bundle");
            self.serve_bundle()?;
        }
        Ok(())
    }

    fn serve_bundle(&self) -> Result<(), AuthorityError> {
        ActiveAuthority::serve_bundle_of(&self.authority, &self.journal.state())
    }
}

/// The key as the bundle has it.
///
/// # Errors
/// When the row does not have a key that tokens are verified with.
pub(super) fn published_authority(key: &PublishedJwtKey) -> Result<JwtAuthority, AuthorityError> {
    let authority = JwtAuthority::new(key.key_id.clone(), key.public_key.clone());
    let mut authority = authority.map_err(AuthorityError::JwtKeyRow)?;
    authority.expires_at = key.expires_at;
    Ok(authority)
}

/// Takes out what is due, for ever. A failure is told, and tried again.
pub(crate) async fn keep_published_keys(keys: PublishedKeys) -> Infallible {
    let mut pace = keys.journal.clock().pace(TICK);
    let mut failing = false;
    loop {
        pace.next().await;
        match keys.remove_due().await {
            Err(error) if !failing => {
                log::error(&error);
                failing = true;
            }
            Ok(()) => failing = false,
            Err(_) => {}
        }
    }
}
