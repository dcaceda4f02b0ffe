//! The keys of authorities in the token, whatever they sign: made, found again, and destroyed, so that a server that ends in the
//! middle of a step leaves nothing that the next one does not find.
//!
//! That a key is to be made is on record before it is made, under a label that no key has and none had. A key of this store's making
//! that no row names is destroyed; one that is not on record is another store's, and is left alone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use aws_lc_rs::{digest, rand};
use hallmark_authority::SubjectKey;
use hallmark_hsm::{HsmError, KeyInfo, KeyKind, KeyStore};
use hallmark_spiffe::TrustDomain;
use hallmark_state::{
    AuthorityKind, AuthorityStepError, Decision, Event, Expect, Outcome, RecordFilter, RecordQuery, StoredRecord, View,
    What, decide::Reason,
};

use super::{ActiveAuthority, AuthorityError};
use crate::journal::{Failed, Journal};

/// More steps than a key has in its life.
const MOST_STEPS: u32 = 32;
/// The random part of a label, in bytes.
const RANDOM: usize = 8;
/// Labels with a longer trust domain would not fit every token.
const MAX_NAME_IN_LABEL: usize = 96;
/// The highest number that the keys of first authorities have in their labels: so many are tried before giving up on a token that only
/// ever makes half keys.
pub(super) const MAX_NUMBER: usize = 16;

/// The keys of one kind of authority.
#[derive(Debug)]
pub(super) struct TokenKeys {
    kind: AuthorityKind,
    journal: Arc<Journal>,
    keys: Arc<dyn KeyStore>,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    /// Whether every key of this store's making that is in the token is named by a row.
    is_swept: AtomicBool,
}

impl TokenKeys {
    /// The keys in `keys` of this kind, by the records of `journal`. The token is known by the key of `authority`.
    pub(super) fn new(
        kind: AuthorityKind,
        journal: Arc<Journal>,
        keys: Arc<dyn KeyStore>,
        authority: Arc<ArcSwap<ActiveAuthority>>,
    ) -> Self {
        Self {
            kind,
            journal,
            keys,
            authority,
            is_swept: AtomicBool::new(false),
        }
    }

    /// Makes a key in the token. That it is to be made is on record before.
    pub(super) async fn make(&self, kind: KeyKind, by: &str, reason: Reason<'_>) -> Result<KeyInfo, AuthorityError> {
        let label = new_label(self.kind, self.journal.trust_domain())?;
        self.intend(&label, "generate", by, reason).await?;
        // Until it is seen that the token has no more than the rows name.
        self.is_swept.store(false, Ordering::Relaxed);
        let key = self.keys.generate(&label, kind).await?;
        tracing::info!(label, %kind, "a key for a {} authority was generated in the token", self.kind);
        Ok(key)
    }

    /// Puts on record that a step with the key of this label is about to be taken.
    pub(super) async fn intend(
        &self,
        label: &str,
        act: &str,
        by: &str,
        reason: Reason<'_>,
    ) -> Result<(), AuthorityError> {
        let intent = Event {
            outcome: Outcome::Pending,
            ..self.event(label, act, reason)
        };
        self.note(by, intent).await
    }

    /// Destroys a key that no row names; on record.
    async fn destroy(&self, key: &KeyInfo) -> Result<(), AuthorityError> {
        self.keys.destroy(&key.id).await?;
        tracing::info!(
            label = key.label,
            "a key for a {} authority was destroyed in the token",
            self.kind
        );
        self.note("server", self.event(&key.label, "destroy", None)).await
    }

    /// Destroys the key of a row that is gone, unless another row names it, or the token has another key under its label.
    pub(super) async fn destroy_gone(&self, label: &str, spki: &[u8]) -> Result<(), AuthorityError> {
        if self.is_named(label) {
            return Ok(());
        }
        // Until it is seen to be gone; a token that is away says that it has none.
        self.is_swept.store(false, Ordering::Relaxed);
        let found = match self.keys.find(label).await {
            // What is left of it signs nothing that would count, and is no key that the token destroys.
            Err(HsmError::KeyIncomplete { .. }) => None,
            found => found?,
        };
        match found.filter(|key| key.spki_der == spki) {
            Some(key) => self.destroy(&key).await,
            None => Ok(()),
        }
    }

    /// Destroys keys in the token that this store made and that no row names, unless that was seen to: a server ended in the middle of
    /// a step, or the token was away when one was to be destroyed.
    pub(super) async fn sweep_once(&self) -> Result<(), AuthorityError> {
        if self.is_swept.load(Ordering::Relaxed) {
            return Ok(());
        }
        for key in self.there().await? {
            if !self.is_named(&key.label) && self.is_ours(&key).await? {
                self.destroy(&key).await?;
            }
        }
        self.is_swept.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What is in the token. One without the key of the X.509 authority that signs is away, or another one: it says nothing of ours.
    pub(super) async fn there(&self) -> Result<Vec<KeyInfo>, AuthorityError> {
        let there = self.keys.list().await?;
        let label = self.authority.load().label.clone();
        if there.iter().any(|key| key.label == label) {
            return Ok(there);
        }
        Err(AuthorityError::KeyMissing { label })
    }

    /// The key of a row, in the token.
    pub(super) async fn find(&self, label: &str, spki: &[u8]) -> Result<KeyInfo, AuthorityError> {
        let found = self.keys.find(label).await?;
        let key = found.ok_or_else(|| AuthorityError::KeyMissing { label: label.into() })?;
        if key.spki_der == spki {
            return Ok(key);
        }
        let hash = |spki: &[u8]| hex::encode(digest::digest(&digest::SHA256, spki));
        Err(AuthorityError::KeyMismatch {
            label: label.into(),
            certified: hash(spki),
            found: hash(&key.spki_der),
        })
    }

    /// Makes a decision durable.
    pub(super) async fn decide<T>(
        &self,
        by: &str,
        decide: impl FnMut(View<'_>) -> Result<(Decision, T), AuthorityStepError>,
    ) -> Result<T, AuthorityError> {
        match self.journal.decide(by, decide).await {
            Ok(done) => Ok(done.answer),
            Err(Failed::Refused(error)) => Err(error.into()),
            Err(Failed::Store(error)) => Err(error.into()),
        }
    }

    fn is_named(&self, label: &str) -> bool {
        let state = self.journal.state();
        state.jwt_keys().iter().any(|key| key.label == label) || state.authorities().iter().any(|it| it.label == label)
    }

    /// Whether this store's records say that it made this key. A label with a number may be used again, also by another store: what is
    /// on record of its key has to name this one.
    async fn is_ours(&self, key: &KeyInfo) -> Result<bool, AuthorityError> {
        let numbered = match Label::of(self.kind, self.journal.trust_domain(), &key.label) {
            Some(Label::Random) => None,
            Some(Label::Numbered) => match SubjectKey::from_spki(&key.spki_der) {
                Ok(known) => Some(hex::encode(known.key_id())),
                Err(_) => return Ok(false),
            },
            None => return Ok(false),
        };
        let records = self.journal.store().records(RecordQuery {
            limit: MOST_STEPS,
            filter: RecordFilter::Admin,
            subject: Some(key.label.clone()),
            ..RecordQuery::default()
        });
        let records = records.await?;
        let says = |what: &str| {
            let what = format!("\"{what}\"");
            move |it: &StoredRecord| it.record.detail.contains(&what)
        };
        let is_made = records
            .iter()
            .any(says(&format!("{}-authority-generate", self.kind.as_str())));
        Ok(is_made && numbered.is_none_or(|key_id| records.iter().any(says(&key_id))))
    }

    /// An event that changes nothing and rests on nothing.
    async fn note(&self, by: &str, event: Event) -> Result<(), AuthorityError> {
        let noted = Decision {
            expect: Expect::default(),
            changes: Vec::new(),
            events: vec![event],
        };
        self.journal.commit(by, noted).await?;
        Ok(())
    }

    fn event(&self, label: &str, act: &str, reason: Reason<'_>) -> Event {
        Event::done(
            label,
            What::Authority {
                act: format!("{}-authority-{act}", self.kind.as_str()),
                reason: reason.map(str::to_owned),
                facts: Vec::new(),
            },
        )
    }
}

/// What a label of a trust domain's keys says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// It is told apart from all others by chance.
    Random,
    /// It has a number, as first authorities have.
    Numbered,
}

impl Label {
    /// What kind of label of this trust domain's keys it is; `None` where it is none.
    pub(super) fn of(kind: AuthorityKind, trust_domain: &TrustDomain, label: &str) -> Option<Self> {
        let rest = label.strip_prefix(&label_start(kind, trust_domain))?;
        if rest.len() == 2 * RANDOM && rest.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')) {
            return Some(Self::Random);
        }
        let is_number = (1..=MAX_NUMBER).any(|number| rest == number.to_string());
        (kind == AuthorityKind::X509 && is_number).then_some(Self::Numbered)
    }
}

/// What labels of the trust domain's keys of this kind begin with.
pub(super) fn label_start(kind: AuthorityKind, trust_domain: &TrustDomain) -> String {
    format!("hallmark-{}-{}-", kind.as_str(), label_name(trust_domain))
}

/// The trust domain, as labels have it.
fn label_name(trust_domain: &TrustDomain) -> String {
    let name = trust_domain.as_str();
    if name.len() <= MAX_NAME_IN_LABEL {
        return name.to_owned();
    }
    let hash = hex::encode(digest::digest(&digest::SHA256, name.as_bytes()));
    format!("sha256.{hash}")
}

/// A label that no key has and none had: by the records of its making each store knows its own keys.
fn new_label(kind: AuthorityKind, trust_domain: &TrustDomain) -> Result<String, AuthorityError> {
    let mut random = [0; RANDOM];
    rand::fill(&mut random).map_err(|_| AuthorityError::Random)?;
    Ok(format!("{}{}", label_start(kind, trust_domain), hex::encode(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_other_trust_domains_and_kinds_are_told_apart() {
        let of = |name: &str| TrustDomain::parse(name).unwrap();
        let label = |label: &str| Label::of(AuthorityKind::X509, &of("example.org"), label);
        for number in [1, MAX_NUMBER] {
            assert_eq!(
                label(&format!("hallmark-x509-example.org-{number}")),
                Some(Label::Numbered)
            );
        }
        let random = new_label(AuthorityKind::X509, &of("example.org")).unwrap();
        assert_eq!(label(&random), Some(Label::Random));
        for foreign in [
            "hallmark-x509-example.org-0",
            "hallmark-x509-example.org-01",
            "hallmark-x509-example.org-17",
            "hallmark-x509-example.org-",
            "hallmark-x509-example.org-2-1",
            "hallmark-x509-example.com-1",
            "hallmark-x509-example.org-00112233445566",
            "hallmark-x509-example.org-00112233445566FF",
            "hallmark-jwt-example.org-0011223344556677",
        ] {
            assert_eq!(label(foreign), None, "{foreign}");
        }
        assert_eq!(Label::of(AuthorityKind::X509, &of("example.org-2"), &random), None);
        let jwt = new_label(AuthorityKind::Jwt, &of("example.org")).unwrap();
        assert_eq!(
            Label::of(AuthorityKind::Jwt, &of("example.org"), &jwt),
            Some(Label::Random)
        );
        assert_eq!(
            Label::of(AuthorityKind::Jwt, &of("example.org"), "hallmark-jwt-example.org-1"),
            None
        );
        // One that would not fit a label is named by its hash.
        let long = of(&"a".repeat(200));
        assert!(new_label(AuthorityKind::X509, &long).unwrap().len() < 110);
    }
}
