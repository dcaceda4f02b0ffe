//! The steps.

use std::{sync::Arc, time::SystemTime};

use aws_lc_rs::rand;
use hallmark_authority::{Draft, Serial, SubjectKey, X509Authority, prepare};
use hallmark_reason::Coded as _;
use hallmark_store::{Change, Outcome, RecordRange, SvidIntent, SvidIntents, SvidOutcome};

use super::{IssueError, IssuedSvid, Order, OrderKey};
use crate::{authority_keeper::ActiveAuthority, state::Server};

type Results = Vec<Result<IssuedSvid, IssueError>>;

/// Issues an SVID for every order, in order, to `holder` (an agent's SPIFFE ID, `local` or `server`). One order
/// that fails does not hold up the others; a store or a token that fails does.
pub async fn issue(server: &Arc<Server>, holder: &str, orders: Vec<Order>) -> Results {
    let count = orders.len();
    let authority = server.authority.load_full();
    let now = server.clock.now();
    let Ok(prepared) = prepare_all(server, orders, &authority, now).await else {
        return every(count, &IssueError::Interrupted);
    };
    let intents = intents(server, holder, &prepared);
    if intents.svids.is_empty() {
        return prepared
            .into_iter()
            .map(|order| order.and_then(|_| Err(IssueError::Interrupted)))
            .collect();
    }
    let recorded = match server.store.commit(vec![Change::SvidIntents(intents)]).await {
        Ok(committed) => committed.records,
        Err(error) => return all_of(prepared, &IssueError::Store(error)),
    };
    let drafts = prepared
        .iter()
        .flatten()
        .map(|order| order.draft.tbs().to_vec())
        .collect();
    let signatures = server
        .keys
        .sign_batch(&authority.key.id, authority.key.kind.signature_alg(), drafts)
        .await;
    let results = match signatures {
        Ok(signatures) => seal(prepared, signatures, &authority),
        Err(error) => all_of(prepared, &IssueError::Hsm(error)),
    };
    record_outcome(server, recorded, &results);
    results
}

/// Checks the keys and makes the certificates. A batch would hold up the async worker and goes to another thread.
async fn prepare_all(
    server: &Server,
    orders: Vec<Order>,
    authority: &Arc<ActiveAuthority>,
    now: SystemTime,
) -> Result<Vec<Result<Prepared, IssueError>>, tonic::Status> {
    let is_batch = orders.len() > 1;
    let authority = Arc::clone(authority);
    let make = move |order| Prepared::make(order, &authority.x509, now);
    let work = move || orders.into_iter().map(make).collect();
    if is_batch {
        server.compute.run(work).await
    } else {
        Ok(work())
    }
}

/// An order whose certificate is ready to be signed.
struct Prepared {
    draft: Draft,
    serial: Serial,
    entry: Arc<str>,
    subject: Arc<str>,
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
            subject: order.grant.spiffe_id().as_str().into(),
        })
    }
}

fn intents(server: &Server, holder: &str, prepared: &[Result<Prepared, IssueError>]) -> SvidIntents {
    let intent = |order: &Prepared| SvidIntent {
        subject: Arc::clone(&order.subject),
        serial: order.serial.value(),
        expires_at: order.draft.not_after(),
        entry: Arc::clone(&order.entry),
    };
    SvidIntents {
        at: server.clock.unix(),
        holder: holder.into(),
        svids: prepared.iter().flatten().map(intent).collect(),
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

/// What became of the intents. It is not waited for: an outcome that is lost is settled at the next start.
fn record_outcome(server: &Server, intents: Option<RecordRange>, results: &Results) {
    let issued = results.iter().flatten().count();
    server.counters.issued.add(u64::try_from(issued).unwrap_or(0));
    let Some(intents) = intents else {
        return;
    };
    // Orders that were refused before have no intent; among the others it is all or none.
    let failure = if issued > 0 {
        None
    } else {
        results.iter().find_map(|result| result.as_ref().err())
    };
    let outcome = SvidOutcome {
        at: server.clock.unix(),
        intents,
        outcome: if failure.is_none() {
            Outcome::Issued
        } else {
            Outcome::Failed
        },
        code: failure.map_or_else(String::new, |error| error.code().to_string()),
    };
    if let Some(error) = failure {
        tracing::error!(code = %error.code(), %error, "SVIDs were not issued");
    }
    server.store.commit_later(vec![Change::SvidOutcome(outcome)]);
}

fn every(count: usize, error: &IssueError) -> Results {
    (0..count).map(|_| Err(error.clone())).collect()
}

/// Refusals stay what they are; what was prepared fails with `error`.
fn all_of(prepared: Vec<Result<Prepared, IssueError>>, error: &IssueError) -> Results {
    prepared
        .into_iter()
        .map(|order| order.and_then(|_| Err(error.clone())))
        .collect()
}
