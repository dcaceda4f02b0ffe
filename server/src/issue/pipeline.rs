//! The steps.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use hallmark_authority::{Draft, Serial, SubjectKey, X509Authority, prepare};
use hallmark_hsm::KeyStore;
use hallmark_reason::Coded as _;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Change, Committed, Decision, Event, EventRange, Expect, NodeSvid, Outcome, View};
use hallmark_store::StoreError;

use super::{IssueError, IssuedSvid, Order, OrderKey};
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
            Ok(Committed {
                events: Some(intents), ..
            }) => Some(self.sign(intended, intents).await),
            Ok(_) => Some(intended.unsigned(&IssueError::Interrupted)),
            Err(StoreError::Conflict { .. }) => None,
            Err(error) => Some(intended.unsigned(&IssueError::Store(error))),
        }
    }

    /// Checks keys and makes certificates, for `holder`, as in [`issue`](Self::issue).
    pub async fn prepare(&self, holder: &str, orders: Vec<Order>) -> Intended {
        let count = orders.len();
        let authority = self.authority.load_full();
        let prepared = self.prepare_all(orders, &authority, self.journal.clock().now()).await;
        Intended {
            holder: holder.into(),
            authority,
            orders: prepared.unwrap_or_else(|_| (0..count).map(|_| Err(IssueError::Interrupted)).collect()),
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

    /// Has the token sign, now that the intents are durable as `recorded`, and tells what became of them.
    pub async fn sign(&self, intended: Intended, recorded: EventRange) -> Results {
        let holder = Arc::clone(&intended.holder);
        let prepared = intended.orders.iter().flatten();
        let cut_short = prepared.clone().filter(|order| order.draft.is_cut_short()).count();
        let drafts = prepared.map(|order| order.draft.tbs().to_vec()).collect();
        let key = &intended.authority.key;
        let signed = self.keys.sign_batch(&key.id, key.kind.signature_alg(), drafts).await;
        let results = match signed {
            Ok(signatures) => {
                self.metrics.add_cut_short(cut_short);
                seal(intended.orders, signatures, &intended.authority)
            }
            Err(error) => intended.unsigned(&IssueError::Hsm(error)),
        };
        self.record_outcome(&holder, recorded, &results);
        results
    }

    /// What became of the intents. It is not waited for: an outcome that is lost is settled at the next start.
    fn record_outcome(&self, holder: &str, intents: EventRange, results: &Results) {
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
        let code = failure.map(hallmark_reason::Coded::code);
        let outcome = if code.is_none() {
            Outcome::Issued
        } else {
            Outcome::Failed
        };
        if let Some(error) = failure {
            tracing::error!(code = %error.code(), %error, "SVIDs were not issued");
        }
        let decision = Decision {
            expect: Expect::default(),
            changes: Vec::new(),
            events: vec![Event::svid_outcome(intents, outcome, code)],
        };
        self.journal.commit_later(holder, decision);
    }
}

/// Certificates that are ready, linted, and wait for their intents to be durable.
pub struct Intended {
    holder: Arc<str>,
    authority: Arc<ActiveAuthority>,
    orders: Vec<Result<Prepared, IssueError>>,
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
        let order = self.orders.first().ok_or(IssueError::Interrupted)?;
        let order = order.as_ref().map_err(IssueError::clone)?;
        Ok(NodeSvid {
            serial: order.serial.value(),
            expires_at: order.draft.not_after(),
        })
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
        self.orders.iter().flatten().map(intent).collect()
    }

    /// Through whom SVIDs are issued whose SPIFFE ID has a role.
    fn role_svids(&self, issued_at: i64) -> Vec<Change> {
        let with_role = self.orders.iter().flatten().filter(|order| order.has_role);
        let note = |order: &Prepared| {
            Some(Change::PutRoleSvid {
                serial: order.serial.value(),
                agent: SpiffeId::parse(&self.holder).ok()?,
                issued_at,
                expires_at: order.draft.not_after(),
            })
        };
        with_role.filter_map(note).collect()
    }

    /// Refusals stay what they are; what was ready fails with `error`.
    fn unsigned(self, error: &IssueError) -> Results {
        let orders = self.orders.into_iter();
        orders.map(|order| order.and_then(|_| Err(error.clone()))).collect()
    }
}

/// An order whose certificate is ready to be signed.
struct Prepared {
    draft: Draft,
    serial: Serial,
    entry: Arc<str>,
    subject: Arc<str>,
    has_role: bool,
}

impl Prepared {
    fn make(order: Order, authority: &X509Authority, now: SystemTime) -> Result<Self, IssueError> {
        let key = match order.key {
            OrderKey::Csr(csr) => SubjectKey::from_csr(&csr)?,
            OrderKey::Proven(key) => key,
        };
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| IssueError::Random)?;
        let serial = Serial::from_random(random);
        let draft = prepare(&order.grant, &key, authority, serial, now)?;
        Ok(Self {
            draft,
            serial,
            entry: order.entry,
            has_role: order.has_role,
            subject: order.grant.spiffe_id().as_str().into(),
        })
    }
}

fn seal(prepared: Vec<Result<Prepared, IssueError>>, signatures: Vec<Vec<u8>>, authority: &ActiveAuthority) -> Results {
    let mut signatures = signatures.into_iter();
    let mut one = |order: Prepared| {
        let signature = signatures.next().ok_or(IssueError::Interrupted)?;
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
    prepared.into_iter().map(|order| order.and_then(&mut one)).collect()
}
