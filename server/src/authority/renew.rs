//! The next certificate of the authority, for the same key and the same name.
//!
//! The old one stays in the bundle until it ends. Whoever knows only the old one believes what is issued now as long as
//! the old one lasts, so nobody is locked out while the new bundle goes round.

use std::{sync::Arc, time::Duration};

use hallmark_authority::{AuthorityDraft, X509Authority, prepare_renewal};
use hallmark_hsm::KeyInfo;
use hallmark_state::{Authority, AuthorityState, Change, Outcome, Snapshot};

use super::{
    AuthorityError, Keeper,
    active::is_of,
    bootstrap::{self, event},
    error::date,
};

/// A certificate that is ready to be signed. Nothing was written yet.
#[derive(Debug)]
pub struct Renewal {
    active: Authority,
    sequence: u64,
    key: KeyInfo,
    draft: AuthorityDraft,
    /// When the present certificate ends, in Unix seconds.
    pub ended: i64,
    /// When the new one ends, in Unix seconds.
    pub ends: i64,
}

impl Renewal {
    /// The label of the key.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.active.label
    }
}

impl Keeper<'_> {
    /// Prepares another certificate for the authority that `loaded` records, good for `lifetime`. It may have expired.
    ///
    /// # Errors
    /// When there is no authority yet, the token's key is missing or another one, the clock is before the present
    /// certificate, or the new one would not last longer.
    pub async fn prepare_renewal(&self, loaded: &Snapshot, lifetime: Duration) -> Result<Renewal, AuthorityError> {
        let active = bootstrap::active_of(loaded).ok_or(AuthorityError::None)?;
        if !active.upstream.is_empty() {
            return Err(AuthorityError::SignedAbove { act: "renewed" });
        }
        let key = self.find(active).await?;
        let x509 = X509Authority::from_certificate(&active.certificate, self.trust_domain)?;
        is_of(&x509, &key, &active.label)?;
        let now = self.clock.unix();
        if now < x509.not_before() {
            return Err(AuthorityError::ClockBehind {
                now,
                not_before: x509.not_before(),
            });
        }
        let draft = prepare_renewal(&x509, lifetime, bootstrap::serial()?, self.clock.now())?;
        Ok(Renewal {
            active: active.clone(),
            sequence: loaded.bundle_sequence.saturating_add(1),
            key,
            draft,
            ended: x509.not_after(),
            ends: now.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
        })
    }

    /// Has the token sign it, and puts it in the place of the present one. `by` and `reason` go into the records.
    ///
    /// # Errors
    /// When token or store fail; then the authority is as it was.
    pub async fn carry_out(&self, renewal: Renewal, by: &str, reason: &str) -> Result<(), AuthorityError> {
        let Renewal { active, key, draft, .. } = renewal;
        let facts = vec![
            ("from".to_owned(), date(renewal.ended)),
            ("to".to_owned(), date(renewal.ends)),
        ];
        let step = |outcome| event(&active.label, outcome, "renew", Some(reason), facts.clone());
        self.commit(by, Vec::new(), vec![step(Outcome::Pending)]).await?;
        let signature = self
            .keys
            .sign(&key.id, key.kind.signature_alg(), draft.tbs().to_vec())
            .await?;
        let done = step(Outcome::Done);
        let next = Authority {
            label: active.label.clone(),
            certificate: draft.seal(&signature)?,
            upstream: Vec::new(),
            created_at: self.clock.unix(),
            state: AuthorityState::Active,
        };
        let old = Authority {
            state: AuthorityState::Old,
            ..active
        };
        let changes = vec![
            Change::PutAuthority(Arc::new(old)),
            Change::PutAuthority(Arc::new(next)),
            Change::PutBundleSequence(renewal.sequence),
        ];
        self.commit(by, changes, vec![done]).await?;
        Ok(())
    }
}
