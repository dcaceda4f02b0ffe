//! Issuing SVIDs to workloads, through their agents, and by hand.

mod downstream;
mod jwt;
mod mint;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hallmark_api::svid::{
    BatchNewX509svidRequest, BatchNewX509svidResponse, MintJwtsvidRequest, MintJwtsvidResponse, MintX509svidRequest,
    MintX509svidResponse, NewDownstreamX509caRequest, NewDownstreamX509caResponse, NewJwtsvidRequest,
    NewJwtsvidResponse, NewX509svidParams, batch_new_x509svid_response, svid_server::Svid,
};
use hallmark_authority::{AuthorityError, MAX_CSR_LEN};
use hallmark_reason::{Coded as _, Report};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{DnsNameRules, EntryId, Expect, GrantError, Role, View, decide::authorise};
use tonic::{Request, Response, Status};

use crate::{
    appraise::{Appraiser, PolicyFileError},
    authority::ActiveAuthority,
    caller::{self, Roles},
    config::{DownstreamSettings, Lifetimes},
    connection::remote_ip,
    convert::{DenialReason, denied, failed_item, ok_item},
    issue::{IssueError, IssuedSvid, Issuer, JwtIssuer, Order, OrderKey},
    journal::Journal,
    limits::Limits,
};

/// The most SVIDs in one batch.
const MAX_BATCH: usize = 500;
/// The most that the SVIDs of one answer take: agents read messages of 4 MiB.
const ANSWER_BYTES: usize = 3 << 20;
/// What an SVID takes beside its DNS names: its own certificate, and those between it and the authority.
const SVID_BYTES: usize = 4 << 10;
/// A CSR is a key, a signature and a few names; larger ones are not read.
const MAX_CSR: usize = MAX_CSR_LEN;

/// `spire.api.server.svid.v1.SVID`.
#[derive(Debug, Clone)]
pub struct SvidService {
    journal: Arc<Journal>,
    issuer: Issuer,
    /// `None` where no JWT-SVIDs are issued.
    jwt_issuer: Option<JwtIssuer>,
    appraiser: Arc<Appraiser>,
    roles: Roles,
    limits: Arc<Limits>,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    settings: Arc<SvidSettings>,
}

/// What the configuration says of SVIDs.
#[derive(Debug, Clone)]
pub struct SvidSettings {
    /// How long they are good for.
    pub lifetimes: Lifetimes,
    /// DNS names that may be minted whatever entries say.
    pub minted_names: DnsNameRules,
    /// What servers below this one get.
    pub downstream: DownstreamSettings,
}

impl SvidService {
    /// The service.
    #[must_use]
    pub fn new(
        journal: Arc<Journal>,
        (issuer, jwt_issuer, authority): (Issuer, Option<JwtIssuer>, Arc<ArcSwap<ActiveAuthority>>),
        appraiser: Arc<Appraiser>,
        roles: Roles,
        limits: Arc<Limits>,
        settings: Arc<SvidSettings>,
    ) -> Self {
        Self {
            journal,
            issuer,
            jwt_issuer,
            appraiser,
            roles,
            limits,
            authority,
            settings,
        }
    }

    /// What each item is granted, all from one state, with what that rests on. `None` for an agent that gets nothing now.
    fn orders(&self, agent: &SpiffeId, params: &[NewX509svidParams]) -> Option<Orders> {
        let (now, ttl) = (self.journal.clock().unix(), self.settings.lifetimes.x509_svid);
        let state = self.journal.state();
        let view = View::new(&state);
        let ids: Vec<Result<EntryId, Status>> = params.iter().map(entry_id).collect();
        let known: Vec<EntryId> = ids.iter().flatten().cloned().collect();
        let mut grants = authorise(&view, agent, &known, ttl, now)?.grants.into_iter();
        // By an entry that was written over TLS nobody gets an id with its role.
        let registry = state.entries();
        let has_role = |order: &Order| {
            let (id, mut roles) = (order.grant.spiffe_id(), Role::ALL.into_iter());
            registry.entry(&order.entry).is_some_and(|entry| !entry.over_tls)
                && roles.any(|role| self.roles.has_role(registry, id, role, now))
        };
        let mut orders = Vec::with_capacity(params.len());
        let mut order = |(params, id): (&NewX509svidParams, Result<EntryId, Status>)| {
            id?;
            let grant = grants.next().ok_or_else(not_granted)?;
            let order = Order {
                grant: grant.map_err(|error| refused(agent, &error))?.into(),
                key: OrderKey::Csr(params.csr.clone()),
                entry: params.entry_id.as_str().into(),
                has_role: false,
            };
            let has_role = has_role(&order);
            orders.push(Order { has_role, ..order });
            Ok(())
        };
        let granted = params.iter().zip(ids).map(&mut order).collect();
        Some(Orders {
            granted,
            orders,
            expect: view.into_expect(),
        })
    }

    /// How many of the first items fit one answer, and at least one.
    fn fitting(&self, params: &[NewX509svidParams]) -> usize {
        let state = self.journal.state();
        let mut bytes = 0_usize;
        let fits = |params: &&NewX509svidParams| {
            let entry = state.entries().entry(params.entry_id.as_str());
            let names = entry.map_or(0, |entry| entry.dns_names.iter().map(|name| name.len() + 4).sum());
            bytes = bytes.saturating_add(SVID_BYTES).saturating_add(names);
            bytes <= ANSWER_BYTES
        };
        params.iter().take_while(fits).count().max(1)
    }

    /// Issues what the items are granted. What has changed between the grant and the record of the intents is looked at
    /// again: nothing is signed by what no longer counts. Items that others change again and again hold up no others: a batch
    /// that does not come through is split.
    async fn issue(&self, id: &SpiffeId, params: &[NewX509svidParams]) -> Result<Vec<ItemResult>, Status> {
        let mut open = VecDeque::from([params]);
        let mut all = Vec::with_capacity(params.len());
        while let Some(batch) = open.pop_front() {
            let tries = if batch.len() > 1 { BATCH_TRIES } else { TRIES };
            match self.try_to_issue(id, batch, tries).await? {
                Some(results) => all.extend(results),
                None if batch.len() > 1 => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    open.push_front(second);
                    open.push_front(first);
                }
                None => all.push(changes_too_often()),
            }
        }
        Ok(all)
    }

    /// `None` where something that it rests on changed each time.
    async fn try_to_issue(
        &self,
        id: &SpiffeId,
        params: &[NewX509svidParams],
        tries: u32,
    ) -> Result<Option<Vec<ItemResult>>, Status> {
        for turn in 0..tries {
            // The wait for a limit, or for the token, may have been long enough for a ban.
            caller::standing(&self.journal, id)?;
            self.appraiser
                .judge_one(id)
                .await
                .map_err(|error| refused_by_rules(&error))?;
            let Some(Orders {
                granted,
                orders,
                expect,
            }) = self.orders(id, params)
            else {
                caller::standing(&self.journal, id)?;
                continue;
            };
            let issued = if orders.is_empty() {
                Some(Vec::new())
            } else {
                self.issuer.issue(id.as_str(), expect, orders).await
            };
            if let Some(issued) = issued {
                return Ok(Some(results(granted, issued)));
            }
            // Whoever changes it all the time is not in step with this.
            tokio::time::sleep(PAUSE * turn.min(10)).await;
        }
        Ok(None)
    }
}

type ItemResult = batch_new_x509svid_response::Result;

/// How often what is granted together is looked at again at most, before it is split.
const BATCH_TRIES: u32 = 3;
/// And what is granted alone.
const TRIES: u32 = 32;
/// The step of the pauses between.
const PAUSE: Duration = Duration::from_millis(1);

fn changes_too_often() -> ItemResult {
    let status = Status::unavailable("what this SVID rests on changes too often to sign it; try again");
    ItemResult {
        status: Some(failed_item(&status)),
        svid: None,
    }
}

fn answer_is_full() -> ItemResult {
    let status = Status::resource_exhausted("the SVIDs of this batch do not fit one answer; ask again for this one");
    ItemResult {
        status: Some(failed_item(&status)),
        svid: None,
    }
}

/// What the items of a batch are granted.
struct Orders {
    granted: Vec<Result<(), Status>>,
    orders: Vec<Order>,
    expect: Expect,
}

fn entry_id(params: &NewX509svidParams) -> Result<EntryId, Status> {
    if params.entry_id.is_empty() {
        return Err(Status::invalid_argument("missing entry ID"));
    }
    check_csr(&params.csr)?;
    EntryId::parse(&params.entry_id).map_err(|_| not_granted())
}

/// An item that keeps no more in memory than its own CSR: while it waits, the rest of the message can go.
fn detached(params: NewX509svidParams) -> NewX509svidParams {
    let csr = params.csr.get(..=MAX_CSR).unwrap_or(&params.csr);
    NewX509svidParams {
        csr: bytes::Bytes::copy_from_slice(csr),
        ..params
    }
}

fn check_csr(csr: &[u8]) -> Result<(), Status> {
    match csr.len() {
        0 => Err(Status::invalid_argument("missing CSR")),
        1..=MAX_CSR => Ok(()),
        len => Err(Status::invalid_argument(
            Report(&AuthorityError::CsrTooLarge { len }).to_string(),
        )),
    }
}

/// Agents are not told whether an entry is absent or another node's.
fn not_granted() -> Status {
    Status::not_found("entry not found or not authorized")
}

fn refused(agent: &SpiffeId, error: &GrantError) -> Status {
    tracing::info!(code = %error.code(), %agent, %error, "an SVID was not granted");
    not_granted()
}

/// A node that the rules in force could not be held against. What does not read back comes anew with an attestation.
fn refused_by_rules(error: &PolicyFileError) -> Status {
    let text = format!("the server cannot judge this node now ({})", error.code());
    if let PolicyFileError::Unreadable(_) = error {
        return denied(&text, Some(DenialReason::MustReattest));
    }
    tracing::error!(code = %error.code(), %error, "a node could not be judged by the rules in force");
    Status::unavailable(text)
}

/// Answers the items in their order: those that were granted with what was issued, the others with their refusal.
fn results(
    granted: Vec<Result<(), Status>>,
    issued: Vec<Result<IssuedSvid, IssueError>>,
) -> Vec<batch_new_x509svid_response::Result> {
    let mut issued = issued.into_iter();
    let answer = |granted: Result<(), Status>| {
        let svid = granted.and_then(|()| {
            let result = issued.next().unwrap_or(Err(IssueError::Interrupted));
            result.map_err(|error| error.status())
        });
        match svid {
            Ok(svid) => batch_new_x509svid_response::Result {
                status: Some(ok_item()),
                svid: Some(svid.into_message()),
            },
            Err(status) => batch_new_x509svid_response::Result {
                status: Some(failed_item(&status)),
                svid: None,
            },
        }
    };
    granted.into_iter().map(answer).collect()
}

#[tonic::async_trait]
impl Svid for SvidService {
    async fn mint_x509svid(
        &self,
        request: Request<MintX509svidRequest>,
    ) -> Result<Response<MintX509svidResponse>, Status> {
        let caller = caller::of(&request)?;
        self.mint_x509(&caller, request.into_inner()).await.map(Response::new)
    }

    async fn batch_new_x509svid(
        &self,
        request: Request<BatchNewX509svidRequest>,
    ) -> Result<Response<BatchNewX509svidResponse>, Status> {
        let id = caller::agent_of(&request)?;
        let address = remote_ip(request.extensions());
        let params = request.into_inner().params;
        if params.is_empty() {
            return Err(Status::invalid_argument("missing parameters"));
        }
        let asked = params.len();
        if asked > MAX_BATCH {
            return Err(Status::resource_exhausted(format!(
                "{asked} SVIDs in one batch, at most {MAX_BATCH} allowed"
            )));
        }
        let params: Vec<_> = params.into_iter().map(detached).collect();
        self.limits.signing.take(address, asked).await?;
        let (first, rest) = params.split_at(self.fitting(&params).min(params.len()));
        let mut results = self.issue(&id, first).await?;
        results.extend(rest.iter().map(|_| answer_is_full()));
        // What a ban finds on its way is not handed out.
        caller::standing(&self.journal, &id)?;
        Ok(Response::new(BatchNewX509svidResponse { results }))
    }

    async fn mint_jwtsvid(
        &self,
        request: Request<MintJwtsvidRequest>,
    ) -> Result<Response<MintJwtsvidResponse>, Status> {
        let caller = caller::of(&request)?;
        self.mint_jwt(&caller, request.into_inner()).await.map(Response::new)
    }

    async fn new_jwtsvid(&self, request: Request<NewJwtsvidRequest>) -> Result<Response<NewJwtsvidResponse>, Status> {
        let agent = caller::agent_of(&request)?;
        let address = remote_ip(request.extensions());
        self.limits.signing.take(address, 1).await?;
        self.new_jwt(&agent, request.into_inner()).await.map(Response::new)
    }

    async fn new_downstream_x509ca(
        &self,
        request: Request<NewDownstreamX509caRequest>,
    ) -> Result<Response<NewDownstreamX509caResponse>, Status> {
        let (caller, address) = (caller::of(&request)?, remote_ip(request.extensions()));
        self.limits.signing.take(address, 1).await?;
        self.new_downstream(&caller, request.into_inner())
            .await
            .map(Response::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_spiffe::SpiffeId;

    fn issued(path: &str) -> IssuedSvid {
        IssuedSvid {
            id: SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap(),
            chain: vec![b"leaf".as_slice().into()],
            serial: 1,
            expires_at: 2,
        }
    }

    #[test]
    fn answers_keep_the_order_of_the_questions() {
        let granted = vec![Ok(()), Err(not_granted()), Ok(()), Ok(())];
        let issued = vec![Ok(issued("/a")), Err(IssueError::Random), Ok(issued("/c"))];
        let answers = results(granted, issued);
        let codes: Vec<_> = answers
            .iter()
            .map(|answer| answer.status.as_ref().unwrap().code)
            .collect();
        assert_eq!(codes, [0, 5, 14, 0]);
        let path = |at: usize| {
            answers[at]
                .svid
                .as_ref()
                .map(|svid| svid.id.as_ref().unwrap().path.as_str())
        };
        assert_eq!(
            [path(0), path(1), path(2), path(3)],
            [Some("/a"), None, None, Some("/c")]
        );
    }

    #[test]
    fn a_csr_has_a_size() {
        assert!(check_csr(&[0; MAX_CSR]).is_ok());
        assert!(check_csr(&[]).is_err() && check_csr(&[0; MAX_CSR + 1]).is_err());
    }
}
