//! The steps.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use hallmark_authority::{AuthorityError, Draft, Serial, SubjectKey, X509Authority, prepare, prepare_downstream};
use hallmark_hsm::KeyStore;
use hallmark_reason::{Coded as _, ReasonCode};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Change, Committed, Decision, Event, Expect, Intents, NodeSvid, View};
use hallmark_store::StoreError;

use super::{Granted, IssueError, IssuedSvid, Order, OrderKey};
use crate::{authority::ActiveAuthority, compute::Compute, journal::Journal, metrics::Metrics};

/// What became of each order.
pub type Results = Vec<Result<IssuedSvid, IssueError>>;

/// How often SVIDs are prepared at most whose authority changes meanwhile.
const TRIES: usize = 8;

/// Issues SVIDs.
#[derive(Debug, Clone)]
pub struct Issuer {
    journal: Arc<Journal>,
    keys: Arc<dyn KeyStore>,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    compute: Compute,
    metrics: Arc<Metrics>,
}

impl Issuer {
    /// An issuer that signs with the key in `keys` of the `authority` in force, and records in `journal`.
    #[must_use]
    pub const fn new(
        journal: Arc<Journal>,
        keys: Arc<dyn KeyStore>,
        authority: Arc<ArcSwap<ActiveAuthority>>,
        compute: Compute,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            journal,
            keys,
            authority,
            compute,
            metrics,
        }
    }

    /// Issues the one SVID of an order that rests on nothing but the authority, to `holder` (`local` or `server`, or an
    /// administrator's SPIFFE ID).
    ///
    /// # Errors
    /// [`IssueError`]; then nothing was signed.
    pub async fn issue_one(&self, holder: &str, order: &Order) -> Result<IssuedSvid, IssueError> {
        for _ in 0..TRIES {
            let expect = {
                let state = self.journal.state();
                let view = View::new(&state);
                let _ = view.authorities();
                view.into_expect()
            };
            if let Some(mut issued) = self.issue(holder, expect, vec![order.clone()]).await {
                return issued.pop().unwrap_or(Err(IssueError::Interrupted));
            }
        }
        Err(IssueError::Interrupted)
    }

    /// Issues an SVID for every order, in order, to `holder`, as long as all that they were granted by still stands: `expect`.
    /// `None` where it does not; then nothing was signed. One order that fails does not hold up the others; a store or a token
    /// that fails does.
    pub async fn issue(&self, holder: &str, expect: Expect, orders: Vec<Order>) -> Option<Results> {
        let intended = self.prepare(holder, orders).await;
        let events = intended.intents(None);
        if events.is_empty() {
            return Some(intended.unsigned(&IssueError::Interrupted));
        }
        let decision = Decision {
            expect,
            changes: intended.role_svids(self.journal.clock().unix()),
            events,
        };
        match self.journal.commit(holder, decision).await {
            Ok(committed) => Some(self.sign(intended, &committed).await),
            Err(StoreError::Conflict { .. }) => None,
            Err(error) => Some(intended.unsigned(&IssueError::Store(error))),
        }
    }

    /// Checks keys and makes certificates, for `holder`, as in [`issue`](Self::issue).
    pub async fn prepare(&self, holder: &str, orders: Vec<Order>) -> Intended {
        let count = orders.len();
        let authority = self.authority.load_full();
        let prepared = self.prepare_all(orders, &authority, self.journal.clock().now()).await;
        let prepared = prepared.unwrap_or_else(|_| (0..count).map(|_| Err(IssueError::Interrupted)).collect());
        let refused = prepared.iter().map(|order| order.as_ref().err().cloned()).collect();
        let ready: Vec<Prepared> = prepared.into_iter().flatten().collect();
        Intended {
            holder: holder.into(),
            authority,
            refused,
            svids: ready.iter().map(|order| (order.svid(), order.has_role)).collect(),
            intents: Intents::new(ready),
        }
    }

    /// Checks the keys and makes the certificates. A batch would hold up the async worker and goes to another thread.
    async fn prepare_all(
        &self,
        orders: Vec<Order>,
        authority: &Arc<ActiveAuthority>,
        now: SystemTime,
    ) -> Result<Vec<Result<Prepared, IssueError>>, tonic::Status> {
        let is_batch = orders.len() > 1;
        let authority = Arc::clone(authority);
        let make = move |order| Prepared::make(order, &authority.x509, now);
        let work = move || orders.into_iter().map(make).collect();
        if is_batch {
            self.compute.run(work).await
        } else {
            Ok(work())
        }
    }

    /// Has the token sign, now that the intents are durable: the last events of what was `committed`; and tells what became of
    /// them.
    pub async fn sign(&self, intended: Intended, committed: &Committed) -> Results {
        let Intended {
            holder,
            authority,
            refused,
            intents,
            ..
        } = intended;
        let Some(recorded) = intents.recorded(committed) else {
            return unsigned(refused, &IssueError::Interrupted);
        };
        let drafts = recorded.drafts();
        let cut_short = drafts.iter().filter(|order| order.draft.is_cut_short()).count();
        let drafts = drafts.iter().map(|order| order.draft.tbs().to_vec()).collect();
        let key = &authority.key;
        let signed = self.keys.sign_batch(&key.id, key.kind.signature_alg(), drafts).await;
        let (results, outcome) = recorded.settle(|drafts| {
            let results = match signed {
                Ok(signatures) => {
                    self.metrics.add_cut_short(cut_short);
                    seal(refused, drafts, signatures, &authority)
                }
                Err(error) => unsigned(refused, &IssueError::Hsm(error)),
            };
            let failure = self.tell(&holder, &results);
            (results, failure)
        });
        // It is not waited for: an outcome that is lost is settled at the next start.
        self.journal.commit_later(&holder, outcome);
        results
    }

    /// Counts and logs what became of the intents; gives the code with which all of them failed.
    fn tell(&self, holder: &str, results: &Results) -> Option<ReasonCode> {
        let issued = results.iter().flatten().count();
        self.metrics.counters.issued.add(u64::try_from(issued).unwrap_or(0));
        self.metrics
            .issued(holder, issued, results.len().saturating_sub(issued));
        // Orders that were refused before have no intent; among the others it is all or none.
        let failure = if issued > 0 {
            None
        } else {
            results.iter().find_map(|result| result.as_ref().err())
        };
        let error = failure?;
        tracing::error!(code = %error.code(), %error, "SVIDs were not issued");
        Some(error.code())
    }
}

/// Certificates that are ready, linted, and wait for their intents to be durable.
pub struct Intended {
    holder: Arc<str>,
    authority: Arc<ActiveAuthority>,
    /// Of each order, why it has no certificate; those without a reason have theirs among the intents, in order.
    refused: Vec<Option<IssueError>>,
    intents: Intents<Prepared>,
    /// Each certificate, and whether its id has a role.
    svids: Vec<(NodeSvid, bool)>,
}

impl Intended {
    /// Label of the token key that is to sign.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority.label
    }

    /// The one certificate that was ordered.
    ///
    /// # Errors
    /// Why it was not made.
    pub fn only(&self) -> Result<NodeSvid, IssueError> {
        if let Some(Some(error)) = self.refused.first() {
            return Err(error.clone());
        }
        let svid = self.svids.first().map(|(svid, _)| *svid);
        svid.ok_or(IssueError::Interrupted)
    }

    /// What must be durable before anything is signed: one event for each SVID; of another `holder` than the actor, if that
    /// is named.
    #[must_use]
    pub fn intents(&self, holder: Option<&str>) -> Vec<Event> {
        let holder: Option<Arc<str>> = holder.map(Into::into);
        let intent = |order: &Prepared| {
            let (subject, entry) = (Arc::clone(&order.subject), Arc::clone(&order.entry));
            Event::svid_intent(
                subject,
                order.serial.value(),
                order.draft.not_after(),
                entry,
                holder.clone(),
            )
        };
        self.intents.events(intent)
    }

    /// Through whom SVIDs are issued whose SPIFFE ID has a role.
    fn role_svids(&self, issued_at: i64) -> Vec<Change> {
        let with_role = self.svids.iter().filter(|(_, has_role)| *has_role);
        let note = |(svid, _): &(NodeSvid, bool)| {
            Some(Change::PutRoleSvid {
                serial: svid.serial,
                agent: SpiffeId::parse(&self.holder).ok()?,
                issued_at,
                expires_at: svid.expires_at,
            })
        };
        with_role.filter_map(note).collect()
    }

    fn unsigned(self, error: &IssueError) -> Results {
        unsigned(self.refused, error)
    }
}

/// An order whose certificate is ready to be signed.
struct Prepared {
    draft: Draft,
    serial: Serial,
    entry: Arc<str>,
    subject: Arc<str>,
    has_role: bool,
    /// Whether others will be signed by it.
    is_authority: bool,
}

impl Prepared {
    fn svid(&self) -> NodeSvid {
        NodeSvid {
            serial: self.serial.value(),
            expires_at: self.draft.not_after(),
        }
    }

    fn make(order: Order, authority: &X509Authority, now: SystemTime) -> Result<Self, IssueError> {
        let key = match order.key {
            OrderKey::Csr(csr) => SubjectKey::from_csr(&csr)?,
            OrderKey::Proven(key) => key,
        };
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| IssueError::Random)?;
        let serial = Serial::from_random(random);
        let draft = match &order.grant {
            Granted::Svid(grant) => prepare(grant, &key, authority, serial, now)?,
            Granted::Authority(grant, path_len) => prepare_downstream(grant, *path_len, &key, authority, serial, now)?,
        };
        Ok(Self {
            draft,
            is_authority: matches!(order.grant, Granted::Authority(..)),
            serial,
            entry: order.entry,
            has_role: order.has_role,
            subject: order.grant.spiffe_id().as_str().into(),
        })
    }
}

/// Refusals stay what they are; what was ready fails with `error`.
fn unsigned(refused: Vec<Option<IssueError>>, error: &IssueError) -> Results {
    let refused = refused.into_iter();
    refused
        .map(|refused| Err(refused.unwrap_or_else(|| error.clone())))
        .collect()
}

fn seal(
    refused: Vec<Option<IssueError>>,
    drafts: Vec<Prepared>,
    signatures: Vec<Vec<u8>>,
    authority: &ActiveAuthority,
) -> Results {
    let mut signed = drafts.into_iter().zip(signatures);
    let mut one = || {
        let (order, signature) = signed.next().ok_or(IssueError::Interrupted)?;
        // Of these there are few, and everything that they sign hangs on it.
        if order.is_authority && !authority.x509.has_signed(order.draft.tbs(), &signature) {
            return Err(AuthorityError::AuthoritySignature.into());
        }
        let svid = order.draft.seal(&signature)?;
        let mut chain = vec![svid.certificate().to_vec().into()];
        chain.extend(authority.upstream_chain.iter().cloned());
        Ok(IssuedSvid {
            id: svid.spiffe_id().clone(),
            chain,
            serial: order.serial.value(),
            expires_at: svid.not_after(),
        })
    };
    let refused = refused.into_iter();
    refused.map(|refused| refused.map_or_else(&mut one, Err)).collect()
}
