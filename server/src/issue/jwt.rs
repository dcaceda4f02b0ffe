//! JWT-SVIDs, by the same way: what was granted, the intent on record, the signature, the outcome.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::rand;
use hallmark_authority::{IssuedJwt, JwtClaims};
use hallmark_hsm::KeyStore;
use hallmark_reason::Coded as _;
use hallmark_state::{Decision, Event, Expect, Grant, Intents, Outcome, What};
use hallmark_store::StoreError;

use super::IssueError;
use crate::{authority::ActiveJwtKey, journal::Journal, metrics::Metrics};

/// Issues JWT-SVIDs.
#[derive(Debug, Clone)]
pub struct JwtIssuer {
    journal: Arc<Journal>,
    keys: Arc<dyn KeyStore>,
    active: Arc<ArcSwapOption<ActiveJwtKey>>,
    metrics: Arc<Metrics>,
    /// Who issued a token, as it says (`iss`), where that is configured.
    name: Option<Arc<str>>,
}

/// One JWT-SVID that was granted and is to be issued.
#[derive(Debug, Clone)]
pub struct JwtOrder {
    /// What was granted, and why.
    pub grant: Grant,
    /// For whom it is.
    pub audience: Vec<String>,
    /// The entry that grants it, for the record; empty for a minted one.
    pub entry: Arc<str>,
    /// Whether it says what tells it from others (`jti`).
    pub with_id: bool,
    /// The id of the key that signs by the state from which it was granted.
    pub key_id: String,
}

impl JwtIssuer {
    /// An issuer that signs with the `active` key, and records in `journal`.
    #[must_use]
    pub const fn new(
        journal: Arc<Journal>,
        keys: Arc<dyn KeyStore>,
        active: Arc<ArcSwapOption<ActiveJwtKey>>,
        metrics: Arc<Metrics>,
        name: Option<Arc<str>>,
    ) -> Self {
        Self {
            journal,
            keys,
            active,
            metrics,
            name,
        }
    }

    /// Issues the token to `holder`, as long as all that it was granted by still stands: `expect`. `None` where it does not; then
    /// nothing was signed.
    pub async fn issue(&self, holder: &str, expect: Expect, order: JwtOrder) -> Option<Result<IssuedJwt, IssueError>> {
        let Some(active) = self.active.load_full() else {
            return Some(Err(IssueError::NoJwtKey));
        };
        // The state has moved on to another key, which is there in a moment.
        if active.signer.authority().key_id() != order.key_id {
            return None;
        }
        let mut random = [0; 16];
        if rand::fill(&mut random).is_err() {
            return Some(Err(IssueError::Random));
        }
        let id = u128::from_be_bytes(random);
        let claims = JwtClaims {
            audience: &order.audience,
            issuer: self.name.as_deref(),
            id,
            with_id: order.with_id,
        };
        let draft = match active.signer.prepare(&order.grant, claims, self.journal.clock().unix()) {
            Ok(draft) => draft,
            Err(error) => return Some(Err(error.into())),
        };
        let intent = Event {
            outcome: Outcome::Pending,
            ..Event::done(
                draft.spiffe_id().as_str(),
                What::JwtSvidIntent {
                    id,
                    expires_at: draft.expires_at(),
                    audience: order.audience,
                    key_id: order.key_id,
                    entry: order.entry,
                },
            )
        };
        let intents = Intents::new(vec![draft]);
        let decision = Decision {
            expect,
            changes: Vec::new(),
            events: intents.events(|_| intent.clone()),
        };
        let committed = match self.journal.commit(holder, decision).await {
            Ok(committed) => committed,
            Err(StoreError::Conflict { .. }) => return None,
            Err(error) => return Some(Err(error.into())),
        };
        let Some(recorded) = intents.recorded(&committed) else {
            return Some(Err(IssueError::Interrupted));
        };
        let message = recorded.drafts().first().map(|draft| draft.signing_input().to_vec());
        let key = &active.key;
        let signed = self
            .keys
            .sign(&key.id, key.kind.signature_alg(), message.unwrap_or_default())
            .await;
        let (issued, outcome) = recorded.settle(|drafts| {
            let issued = signed.map_err(IssueError::from).and_then(|signature| {
                let draft = drafts.into_iter().next().ok_or(IssueError::Interrupted)?;
                if draft.is_cut_short() {
                    self.metrics.add_cut_short(1);
                }
                Ok(active.signer.seal(draft, &signature)?)
            });
            let failure = issued.as_ref().err().map(|error| error.code());
            (issued, failure)
        });
        match &issued {
            Ok(_) => {
                self.metrics.counters.issued.add(1);
                self.metrics.issued(holder, 1, 0);
            }
            Err(error) => {
                self.metrics.issued(holder, 0, 1);
                tracing::error!(code = %error.code(), %error, "a JWT-SVID was not issued");
            }
        }
        // It is not waited for: an outcome that is lost is settled at the next start.
        self.journal.commit_later(holder, outcome);
        Some(issued)
    }
}
