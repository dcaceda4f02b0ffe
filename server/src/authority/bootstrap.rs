//! Making the authority, and finding it again.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::rand;
use hallmark_authority::{Serial, X509Authority};
use hallmark_hsm::{HsmError, KeyInfo, KeyKind, KeyStore};
use hallmark_spiffe::TrustDomain;
use hallmark_state::{
    Authority, AuthorityKind, AuthorityState, Change, Decision, Event, Expect, Key, Outcome, RecordFilter, RecordQuery,
    Snapshot, UpstreamBundle, UpstreamRoot, UpstreamRootState, What,
    decide::{activated, bundle_certificates},
};
use hallmark_store::{Store, StoreError};
use hallmark_upstream::Upstream;

use super::{
    AuthorityError,
    above::{self, Certified, svid_chain, upstream_key},
    active::{ActiveAuthority, bundle_of, is_of, keys_of, tainted_of},
    jwt::authority_of,
    published::published_authority,
    token_keys::{Label, MAX_NUMBER, label_start},
};
use crate::{clock::Clock, journal::transaction};

/// What keeping the authority takes.
#[derive(Clone, Copy)]
pub struct Keeper<'a> {
    /// Where the certificate is kept.
    pub store: &'a dyn Store,
    /// The file of the store, for people.
    pub store_path: &'a Path,
    /// Where the key is kept.
    pub keys: &'a dyn KeyStore,
    /// Whose authority it is.
    pub trust_domain: &'a TrustDomain,
    /// What time it is.
    pub clock: &'a Clock,
    /// The authority above; with none, authorities are self-signed.
    pub upstream: Option<&'a dyn Upstream>,
}

/// The label of the trust domain's first authority key, or of the `number`th that is tried for it.
#[must_use]
pub fn key_label(trust_domain: &TrustDomain, number: usize) -> String {
    format!("{}{number}", label_start(AuthorityKind::X509, trust_domain))
}

/// Whether a key with this label is one of the trust domain's authority keys.
pub(crate) fn is_key_label(trust_domain: &TrustDomain, label: &str) -> bool {
    Label::of(AuthorityKind::X509, trust_domain, label).is_some()
}

impl Keeper<'_> {
    /// Finds the authority that `loaded` records, or makes the first one with a key of `kind`, for `lifetime`.
    ///
    /// # Errors
    /// When the token's key is missing or another one, the clock is outside the certificate's time, or token or
    /// store fail.
    pub async fn keep(
        &self,
        loaded: &Snapshot,
        kind: KeyKind,
        lifetime: Duration,
    ) -> Result<ActiveAuthority, AuthorityError> {
        if let Some(authority) = self.take_up(loaded).await? {
            let key = self.find(&authority).await?;
            return self.activate(&authority, key, loaded);
        }
        // What was in the bundle once was the authority's: a row is gone, and another certificate would not bring it back.
        if loaded.bundle_sequence > 0 {
            let sequence = loaded.bundle_sequence;
            return Err(AuthorityError::Store(StoreError::Corrupt {
                path: self.store_path.to_owned(),
                reason: format!("it has no authority, and a bundle with the sequence number {sequence}"),
            }));
        }
        let sequence = loaded.bundle_sequence.saturating_add(1);
        let (authority, key, upstream) = self.make(kind, lifetime, sequence).await?;
        let made = Snapshot {
            authorities: vec![authority.clone()],
            upstream,
            bundle_sequence: sequence,
            ..Snapshot::default()
        };
        self.activate(&authority, key, &made)
    }

    /// The authority that signs, where there is one. Where it has ended and a prepared one is valid, that one signs from now on: it is
    /// in the bundle.
    async fn take_up(&self, loaded: &Snapshot) -> Result<Option<Authority>, AuthorityError> {
        let Some(next) = in_force(&loaded.authorities, self.clock.unix()) else {
            return Ok(None);
        };
        if next.state == AuthorityState::Active {
            return Ok(Some(next.clone()));
        }
        self.find(next).await?;
        let (changes, event) = activated(active_of(loaded), next, None);
        self.commit("server", changes, vec![event]).await?;
        Ok(Some(next.clone()))
    }

    /// The recorded key, if the token still has it.
    pub(super) async fn find(&self, authority: &Authority) -> Result<KeyInfo, AuthorityError> {
        let label = &authority.label;
        let key = self
            .keys
            .find(label)
            .await?
            .ok_or_else(|| AuthorityError::KeyMissing { label: label.clone() })?;
        tracing::info!(label, kind = %key.kind, "authority key found in the token");
        Ok(key)
    }

    /// Makes key and certificate. Each step is on record before it is done.
    async fn make(
        &self,
        kind: KeyKind,
        lifetime: Duration,
        sequence: u64,
    ) -> Result<(Authority, KeyInfo, UpstreamBundle), AuthorityError> {
        let key = self.key_to_certify(kind).await?;
        let certified = self.certify(&key, lifetime).await?;
        let now = self.clock.unix();
        let authority = Authority {
            label: key.label.clone(),
            certificate: certified.certificate,
            upstream: certified.upstream,
            created_at: now,
            state: AuthorityState::Active,
        };
        let roots = certified.roots.into_iter().map(|certificate| UpstreamRoot {
            certificate,
            added_at: now,
            state: UpstreamRootState::Current,
        });
        let upstream = UpstreamBundle {
            roots: roots.collect(),
            jwt_keys: Vec::new(),
        };
        let done = step(&authority.label, Outcome::Done, "certify");
        let mut changes = vec![Change::PutAuthority(Arc::new(authority.clone()))];
        if !upstream.roots.is_empty() {
            changes.push(Change::PutUpstream(Arc::new(upstream.clone())));
        }
        changes.push(Change::PutBundleSequence(sequence));
        self.commit("server", changes, vec![done]).await?;
        Ok((authority, key, upstream))
    }

    /// The labels of this trust domain under which the token has a key, or half of one, that this store knows nothing of:
    /// it records the intent before a key is made. So another store does, and this one is not the server's.
    ///
    /// # Errors
    /// When token or store fail.
    pub(super) async fn keys_of_another_store(&self) -> Result<BTreeSet<String>, AuthorityError> {
        let mut unknown = BTreeSet::new();
        for label in self.labels().await? {
            let records = self.store.records(RecordQuery {
                limit: 1,
                filter: RecordFilter::Admin,
                subject: Some(label.clone()),
                ..RecordQuery::default()
            });
            if records.await?.is_empty() {
                unknown.insert(label);
            }
        }
        Ok(unknown)
    }

    /// The labels of this trust domain under which the token has a key, or half of one.
    async fn labels(&self) -> Result<BTreeSet<String>, AuthorityError> {
        let whole = self.keys.list().await?.into_iter().map(|key| key.label);
        let mut labels: BTreeSet<String> = whole.filter(|it| is_key_label(self.trust_domain, it)).collect();
        for number in 1..=MAX_NUMBER {
            let label = key_label(self.trust_domain, number);
            match self.keys.find(&label).await {
                Ok(Some(_)) | Err(HsmError::KeyIncomplete { .. }) => drop(labels.insert(label)),
                Ok(None) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(labels)
    }

    /// The key that an earlier start made and did not come to certify, or a new one.
    async fn key_to_certify(&self, kind: KeyKind) -> Result<KeyInfo, AuthorityError> {
        if let Some(label) = self.keys_of_another_store().await?.pop_first() {
            return Err(AuthorityError::OtherStore {
                label,
                store: self.store_path.to_owned(),
            });
        }
        for number in 1..=MAX_NUMBER {
            let label = key_label(self.trust_domain, number);
            match self.keys.find(&label).await {
                Ok(Some(key)) if key.kind == kind => {
                    tracing::warn!(
                        label,
                        "a key of an earlier start was found in the token and is taken up"
                    );
                    return Ok(key);
                }
                Ok(Some(KeyInfo { kind: found, .. })) => {
                    return Err(AuthorityError::OtherKind {
                        label,
                        found,
                        configured: kind,
                    });
                }
                Ok(None) => return self.generate(&label, kind).await,
                // A token that was cut off while it made a key may be left with half of one. It never signed, and
                // is left for the operator to look at.
                Err(HsmError::KeyIncomplete { cause, .. }) => {
                    tracing::warn!(label, cause, "half a key was found in the token and is passed over");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(AuthorityError::TooManyHalves { count: MAX_NUMBER })
    }

    async fn generate(&self, label: &str, kind: KeyKind) -> Result<KeyInfo, AuthorityError> {
        let intent = step(label, Outcome::Pending, "generate");
        self.commit("server", Vec::new(), vec![intent]).await?;
        let key = self.keys.generate(label, kind).await?;
        tracing::info!(label, %kind, "authority key generated in the token");
        Ok(key)
    }

    /// The certificate. The intent is on record before the signature.
    async fn certify(&self, key: &KeyInfo, lifetime: Duration) -> Result<Certified, AuthorityError> {
        let intent = step(&key.label, Outcome::Pending, "certify");
        self.commit("server", Vec::new(), vec![intent]).await?;
        above::certify(self.upstream, self.keys, key, self.trust_domain, lifetime, self.clock).await
    }

    fn activate(
        &self,
        authority: &Authority,
        key: KeyInfo,
        loaded: &Snapshot,
    ) -> Result<ActiveAuthority, AuthorityError> {
        let x509 = X509Authority::from_certificate(&authority.certificate, self.trust_domain)?;
        is_of(&x509, &key, &authority.label)?;
        match check_clock(&x509, self.clock.unix()) {
            // The one above signs the next one before anything is issued, and the bundle stays as it is.
            Err(AuthorityError::Expired { .. }) if self.upstream.is_some() && !authority.upstream.is_empty() => {}
            checked => checked?,
        }
        let certificates = bundle_certificates(&loaded.authorities, &loaded.upstream);
        let tainted = tainted_of(&certificates);
        let above = loaded.upstream.jwt_keys.iter().map(upstream_key);
        let published = loaded.published_jwt_keys.iter().map(published_authority);
        let jwt_keys = loaded.jwt_keys.iter().map(authority_of).chain(published).chain(above);
        let jwt_keys = jwt_keys.collect::<Result<_, _>>()?;
        let bundle = bundle_of(self.trust_domain, certificates, jwt_keys, loaded.bundle_sequence);
        let authorities = bundle.authorities()?;
        Ok(ActiveAuthority {
            label: authority.label.clone(),
            key,
            x509,
            upstream_chain: svid_chain(authority),
            own_keys: keys_of(loaded.authorities.iter()),
            bundle,
            tainted,
            authorities,
        })
    }

    /// Makes a step durable. Nothing else writes the store meanwhile: no server runs, or nobody is served yet.
    pub(super) async fn commit(&self, actor: &str, changes: Vec<Change>, events: Vec<Event>) -> Result<(), StoreError> {
        let decision = Decision {
            expect: Expect {
                revision: self.store.statistics().revision,
                keys: BTreeSet::from([Key::Authorities]),
            },
            changes,
            events,
        };
        self.store
            .commit(transaction(actor, decision, self.clock)?)
            .await
            .map(drop)
    }
}

/// A step of an authority, taken by the server itself.
fn step(label: &str, outcome: Outcome, act: &str) -> Event {
    event(label, outcome, act, None, Vec::new())
}

/// A step of an authority; with a `reason` it is an operator's.
pub(super) fn event(
    label: &str,
    outcome: Outcome,
    act: &str,
    reason: Option<&str>,
    facts: Vec<(String, String)>,
) -> Event {
    Event {
        outcome,
        ..Event::done(
            label,
            What::Authority {
                act: format!("x509-authority-{act}"),
                reason: reason.map(str::to_owned),
                facts,
            },
        )
    }
}

/// The authority that signs, as the store has it.
pub(super) fn active_of(loaded: &Snapshot) -> Option<&Authority> {
    let mut authorities = loaded.authorities.iter();
    authorities.rfind(|authority| authority.state == AuthorityState::Active)
}

/// The authority that signs at `now`, in Unix seconds: the one that did, or the prepared one where that has ended and this is valid.
pub(super) fn in_force(all: &[Authority], now: i64) -> Option<&Authority> {
    let last = |state| all.iter().rfind(move |it| it.state == state);
    let active = last(AuthorityState::Active)?;
    let is_valid = |it: &&Authority| it.facts().is_some_and(|it| it.not_before <= now && now < it.not_after);
    let has_ended = active.facts().is_some_and(|it| it.not_after <= now);
    let next = last(AuthorityState::Prepared).filter(|it| has_ended && is_valid(it));
    Some(next.unwrap_or(active))
}

/// A serial number for a certificate of the authority's own.
pub(super) fn serial() -> Result<Serial, AuthorityError> {
    let mut random = [0; 16];
    rand::fill(&mut random).map_err(|_| AuthorityError::Random)?;
    Ok(Serial::from_random(random))
}

/// Whether an authority can be used at `now`, Unix seconds.
///
/// # Errors
/// When its certificate has not begun or has ended.
pub(crate) const fn check_clock(x509: &X509Authority, now: i64) -> Result<(), AuthorityError> {
    let (not_before, not_after) = (x509.not_before(), x509.not_after());
    if now < not_before {
        return Err(AuthorityError::ClockBehind { now, not_before });
    }
    if now >= not_after {
        return Err(AuthorityError::Expired { now, not_after });
    }
    Ok(())
}

impl std::fmt::Debug for Keeper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}
